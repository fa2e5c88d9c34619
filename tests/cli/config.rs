//! What files, variables and flags come to, and what is refused.

use std::time::Duration;

use roomcast_server::config::{ApiKey, Config, ConfigError, Flags, check_from, load_from};

use super::TempFile;

const TOML: &str = r#"
data_dir = "there"

[client]
allowed_origins = ["https://example.com"]
ping_interval = "10s"
pong_timeout = "500ms"
channel_limit = 7

[channel.without_namespace]
presence = true

[[channel.namespaces]]
name = "chat"
history_size = 50
history_ttl = "1h30m"
force_recovery = true
channel_regex = "^[0-9]+$"

[[channel.namespaces]]
name = "news"
allow_subscribe_for_client = true
"#;

const YAML: &str = r"
data_dir: there
client:
  allowed_origins: [https://example.com]
  ping_interval: 10s
  pong_timeout: 500ms
  channel_limit: 7
channel:
  without_namespace:
    presence: true
  namespaces:
    - name: chat
      history_size: 50
      history_ttl: 1h30m
      force_recovery: true
      channel_regex: '^[0-9]+$'
    - name: news
      allow_subscribe_for_client: true
";

const JSON: &str = r#"{
  "data_dir": "there",
  "client": {
    "allowed_origins": ["https://example.com"],
    "ping_interval": "10s",
    "pong_timeout": "500ms",
    "channel_limit": 7
  },
  "channel": {
    "without_namespace": {"presence": true},
    "namespaces": [
      {"name": "chat", "history_size": 50, "history_ttl": "1h30m", "force_recovery": true, "channel_regex": "^[0-9]+$"},
      {"name": "news", "allow_subscribe_for_client": true}
    ]
  }
}"#;

#[test]
fn each_format_says_the_same() {
    let [toml, yaml, json] =
        [("c.toml", TOML), ("c.yaml", YAML), ("c.json", JSON)].map(|(name, text)| read(name, text).unwrap());
    assert_eq!(toml, yaml);
    assert_eq!(toml, json);
    assert_eq!(toml.client.ping_interval, Duration::from_secs(10));
    assert_eq!(toml.client.pong_timeout, Duration::from_millis(500));
    assert_eq!(toml.client.allowed_origins, ["https://example.com"]);
    assert_eq!(toml.client.channel_limit, 7);
    let chat = toml.channel.options_for("chat:1").unwrap();
    assert_eq!((chat.history_size, chat.history_ttl), (50, Duration::from_secs(5400)));
    assert!(toml.channel.allows("chat:1", chat) && !toml.channel.allows("chat:one", chat));
    assert!(toml.channel.options_for("news:1").unwrap().allow_subscribe_for_client);
    assert!(toml.channel.options_for("plain").unwrap().presence);
}

#[test]
fn an_empty_file_leaves_the_defaults() {
    for name in ["c.toml", "c.yaml", "c.json"] {
        assert_eq!(read(name, "").unwrap(), Config::default(), "{name}");
    }
    assert_eq!(read("c.yml", "---\n# nothing yet\n").unwrap(), Config::default());
}

#[test]
fn what_is_printed_reads_as_the_same_configuration() {
    for config in [read("c.toml", TOML).unwrap(), Config::default()] {
        assert_eq!(read("printed.toml", &config.to_toml()).unwrap(), config);
    }
    let dev = load_dev(&Config::dev().to_toml());
    assert_eq!(dev.channel, Config::dev().channel);
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let file = TempFile::new("c.toml", "[http_server]\nport = 1\n[log]\nlevel = \"warn\"\nformat = \"json\"\n");
    let environment = variables(&[("ROOMCAST_HTTP_SERVER_PORT", "2"), ("ROOMCAST_LOG_LEVEL", "debug")]);
    let mut flags = Flags { config: Some(file.path().into()), ..Flags::default() };

    let config = load_from(&flags, environment.clone()).unwrap().config;
    assert_eq!((config.http_server.port, config.log.level.as_str()), (2, "debug"));

    flags.listen = Some("127.0.0.1:3".parse().unwrap());
    flags.log_level = Some("error".to_owned());
    let config = load_from(&flags, environment).unwrap().config;
    assert_eq!((config.http_server.port, config.log.level.as_str()), (3, "error"));
    assert_eq!(config.log.format, roomcast_server::config::LogFormat::Json, "what nobody overrides stays the file's");
}

#[test]
fn every_kind_of_value_can_come_from_the_environment() {
    let environment = variables(&[
        ("ROOMCAST_CLIENT_ALLOWED_ORIGINS", "https://a.example https://b.example"),
        ("ROOMCAST_CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "true"),
        ("ROOMCAST_CHANNEL_NAMESPACES", r#"[{"name": "chat", "join_leave": true}]"#),
        ("ROOMCAST_DATA_DIR", "elsewhere"),
        ("ROOMCAST_SHARDS", "3"),
    ]);
    let loaded = load_from(&Flags::default(), environment).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.config.client.allowed_origins, ["https://a.example", "https://b.example"]);
    assert!(loaded.config.channel.without_namespace.presence);
    assert!(loaded.config.channel.options_for("chat:1").unwrap().join_leave);
    assert_eq!(loaded.config.data_dir.to_str(), Some("elsewhere"));
    assert_eq!(loaded.config.shards.map(std::num::NonZeroUsize::get), Some(3));
}

#[test]
fn variables_of_container_platforms_do_no_harm() {
    let environment =
        variables(&[("ROOMCAST_PORT", "tcp://10.0.0.1:8000"), ("ROOMCAST_NODE_SERVICE_HOST", "10.0.0.2")]);
    let loaded = load_from(&Flags::default(), environment).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings.len(), 2);
}

#[test]
fn unknown_keys_are_refused_with_line_and_suggestion() {
    let cases = [
        ("c.toml", "[client]\n# so\nchanel_limit = 1\n", "c.toml:3", "client.channel_limit"),
        ("c.yaml", "client:\n  # so\n  chanel_limit: 1\n", "c.yaml:3", "client.channel_limit"),
        ("c.json", "{\"client\": {\n\n\"chanel_limit\": 1}}", "c.json:3", "client.channel_limit"),
        ("c.toml", "[clients]\n", "c.toml:1", "client"),
        ("c.toml", "[channel]\n[[channel.namespace]]\nname = \"a\"\n", "c.toml:2", "channel.namespaces"),
        (
            "c.toml",
            "[[channel.namespaces]]\nname = \"a\"\nhistory_sise = 1\n",
            "c.toml:3",
            "channel.namespaces.history_size",
        ),
    ];
    for (name, text, place, nearest) in cases {
        match read(name, text).unwrap_err() {
            ConfigError::UnknownKey { place: found, nearest: Some(suggestion), .. } => {
                assert!(found.ends_with(place), "{found} instead of {place}");
                assert_eq!(suggestion, nearest);
            }
            other => panic!("{name} {text:?}: {other}"),
        }
    }
}

#[test]
fn a_key_like_no_other_gets_no_suggestion() {
    assert!(matches!(read("c.toml", "xyzzy = 1"), Err(ConfigError::UnknownKey { nearest: None, .. })));
}

#[test]
fn what_grants_or_loses_something_by_not_being_served_is_refused_and_not_ignored() {
    let texts = [
        "[engine]\ntype = \"redis\"\n",
        "[[channel.namespaces]]\nname = \"a\"\nsubscription_type = \"map\"",
        "[channel.without_namespace]\nsubscribe_stream_proxy_enabled = true",
        "[[consumers]]\nname = \"a\"\nenabled = true",
    ];
    for text in texts {
        assert!(matches!(read("c.toml", text), Err(ConfigError::NotServed { .. })), "{text}");
    }
    let environment = variables(&[("ROOMCAST_ENGINE_TYPE", "redis")]);
    let refused = load_from(&Flags::default(), environment).unwrap_err();
    assert!(matches!(refused, ConfigError::NotServed { .. }), "{refused}");
    for text in ["pid_file = \"x\"", "[admin]\nenabled = true", "[graphite]\nenabled = true"] {
        let file = TempFile::new("c.toml", text);
        let loaded = load_from(&Flags { config: Some(file.path().into()), ..Flags::default() }, []).unwrap();
        assert!(loaded.warnings.len() == 1 && loaded.warnings[0].contains("is not served: "), "{:?}", loaded.warnings);
    }
}

#[test]
fn wrong_values_are_refused_with_what_was_expected() {
    let cases = [
        ("[client]\nping_interval = 25\n", "c.toml:2", "expected a duration"),
        ("[client]\nchannel_limit = \"many\"\n", "c.toml:2", "expected a whole number"),
        ("[client]\nchannel_limit = -1\n", "c.toml:2", "expected a whole number"),
        ("[client]\nchannel_limit = 0\n", "c.toml:2", "expected 1 to"),
        ("[client]\nallowed_origins = [\"example.com\"]\n", "c.toml:2", "https://example.com"),
        ("client = 1\n", "c.toml:1", "expected a section"),
        ("[log]\nlevel = \"inof\"\n", "c.toml:2", "expected trace, debug"),
        ("[http_server]\nport = 65536\n", "c.toml:2", "expected a port"),
        ("[http_server]\naddress = \"localhost\"\n", "c.toml:2", "expected an IP address"),
        ("[channel.without_namespace]\nchannel_regex = \"(\"\n", "c.toml:2", "expected a regular expression"),
        ("[channel.without_namespace]\nslow_consumer = \"wait\"\n", "c.toml:2", "\"skip\" or"),
        ("[channel.without_namespace]\ndelivery_delay = \"1s\"\n", "c.toml:2", "expected 0s to 100ms"),
        ("[[channel.namespaces]]\npresence = true\n", "c.toml:1", "needs a `name`"),
        ("[[channel.namespaces]]\nname = \"a:b\"\n", "c.toml:2", "letters, digits"),
        ("[[channel.namespaces]]\nname = \"a\"\n[[channel.namespaces]]\nname = \"a\"\n", "c.toml:4", "twice"),
    ];
    for (text, place, expected) in cases {
        match read("c.toml", text).unwrap_err() {
            ConfigError::Value { place: found, message, .. } => {
                assert!(found.ends_with(place), "{text:?}: {found} instead of {place}");
                assert!(message.contains(expected), "{text:?}: {message}");
            }
            other => panic!("{text:?}: {other}"),
        }
    }
}

/// Clients that come back send connect and all their subscribes in one message.
#[test]
fn a_client_in_as_many_rooms_as_it_may_be_in_can_come_back() {
    let load = |text: &str| {
        let file = TempFile::new("c.toml", text);
        load_from(&Flags { config: Some(file.path().into()), ..Flags::default() }, [])
    };
    let bytes = |text: &str| {
        let loaded = load(text).unwrap();
        (loaded.config.websocket.message_size_limit, loaded.warnings)
    };
    assert_eq!(bytes(""), (64 * 1024, vec![]));
    assert_eq!(bytes("[client]\nchannel_limit = 7"), (64 * 1024, vec![]), "never less than usual");
    assert_eq!(bytes("[client]\nchannel_limit = 1000"), (512_000, vec![]), "it follows");
    let both = "[client]\nchannel_limit = 1000\n[websocket]\nmessage_size_limit =";
    assert_eq!(bytes(&format!("{both} 512000")), (512_000, vec![]));
    let (said, warnings) = bytes(&format!("{both} 65536"));
    assert_eq!(said, 65_536, "what was said holds");
    assert!(warnings.len() == 1 && warnings[0].contains("512000"), "{warnings:?}");

    let few = load("[client]\nmessage_command_limit = 128").unwrap_err().to_string();
    assert!(few.contains("`client.message_command_limit` 128 must be 129 or more"), "{few}");
    assert!(load("[client]\nmessage_command_limit = 129").is_ok());
    assert!(load("[client]\nchannel_limit = 32769").is_err(), "the largest message has no space for more");
}

#[test]
fn broken_notation_is_refused_in_one_line() {
    let cases = [
        ("c.toml", "[client\n"),
        ("c.toml", "a = 1\na = 2\n"),
        ("c.yaml", "client: [\n"),
        ("c.json", "{\n\"a\": }"),
        ("c.json", "{// no\n}"),
    ];
    for (name, text) in cases {
        let refused = read(name, text).unwrap_err();
        assert!(matches!(refused, ConfigError::Syntax { .. }), "{name} {text:?}: {refused}");
        assert_eq!(refused.to_string().lines().count(), 1, "{refused}");
    }
    assert!(matches!(read("c.ini", ""), Err(ConfigError::UnknownFormat { .. })));
    assert!(matches!(read("c.toml", &"#".repeat(2 << 20)), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let texts = [
        "[client]\nping_interval = \"5s\"\npong_timeout = \"5s\"\n",
        "[channel.without_namespace]\nhistory_size = 10\n",
        "[channel.without_namespace]\nforce_recovery = true\n",
    ];
    for text in texts {
        assert!(matches!(read("c.toml", text), Err(ConfigError::Conflict(_))), "{text}");
    }
}

#[test]
fn development_mode_fills_only_what_the_file_leaves_unset() {
    let config = load_dev(
        "[channel.without_namespace]\npresence = false\n[[channel.namespaces]]\nname = \"quiet\"\nhistory_size = 0\n",
    );
    let plain = config.channel.options_for("room").unwrap();
    assert!(!plain.presence && plain.join_leave && plain.allow_publish_for_anonymous);
    assert_eq!((plain.history_size, plain.history_ttl), (1_000, Duration::from_secs(30 * 86_400)));
    let quiet = config.channel.options_for("quiet:1").unwrap();
    assert!(quiet.history_size == 0 && quiet.presence);
    assert!(config.client.allow_anonymous_connect_without_token);
}

#[test]
fn the_server_api_has_a_key_that_shows_in_no_error() {
    let of_environment = load_from(&Flags::default(), variables(&[("ROOMCAST_HTTP_API_KEY", "mine")])).unwrap().config;
    let of_file = read("c.toml", "[http_api]\nkey = \"mine\"\nerror_mode = \"transport\"\n").unwrap();
    assert_eq!((&of_environment.http_api.key, &of_file.http_api.key), (&ApiKey::new("mine"), &ApiKey::new("mine")));
    assert!(!format!("{of_file:?}").contains("mine"));
    assert_eq!(read("c.toml", &of_file.to_toml()).unwrap(), of_file);
    let refused = read("c.toml", "[http_api]\nkey = 123456\n").unwrap_err().to_string();
    assert!(refused.contains("http_api.key") && !refused.contains("123456"), "{refused}");
    for wrong in ["error_mode = \"loud\"", "handler_prefix = \"api\"", "handler_prefix = \"/metrics\"", "insecure = 1"]
    {
        let text = format!("[http_api]\n{wrong}\n");
        let refused = read("c.toml", &text).unwrap_err().to_string();
        assert!(refused.contains("c.toml:2") && refused.contains("expected"), "{refused}");
    }
}

#[test]
fn lists_in_the_environment_are_separated_by_commas_or_spaces_or_in_json() {
    for text in ["news,x", "news x", " news , x ", r#"["news", "x"]"#] {
        let environment = variables(&[("ROOMCAST_CLIENT_SUBSCRIBE_ON_CONNECT", text)]);
        let config = load_from(&Flags::default(), environment).unwrap().config;
        assert_eq!(config.client.subscribe_on_connect, ["news", "x"], "{text}");
    }
    for text in ["https://a.example:443,null", r#"["https://A.example", "null"]"#] {
        let environment = variables(&[("ROOMCAST_CLIENT_ALLOWED_ORIGINS", text)]);
        let config = load_from(&Flags::default(), environment).unwrap().config;
        assert_eq!(config.client.allowed_origins, ["https://a.example", "null"], "{text}");
    }
    let environment = variables(&[("ROOMCAST_HTTP_SERVER_ALLOWED_HOSTS", "chat.example,*.chat.example")]);
    let config = load_from(&Flags::default(), environment).unwrap().config;
    assert_eq!(config.http_server.allowed_hosts, ["chat.example", "*.chat.example"]);
    let yaml = read("c.yaml", "client:\n  subscribe_on_connect: news, x\n").unwrap();
    assert_eq!(yaml.client.subscribe_on_connect, ["news", "x"]);
    let broken = variables(&[("ROOMCAST_CLIENT_SUBSCRIBE_ON_CONNECT", r#"["news", "x""#)]);
    let refused = load_from(&Flags::default(), broken).unwrap_err().to_string();
    assert!(refused.contains("ROOMCAST_CLIENT_SUBSCRIBE_ON_CONNECT") && refused.contains("JSON"), "{refused}");
}

#[test]
fn entries_of_lists_that_can_never_match_are_refused_with_what_to_write() {
    for (option, text, advice) in [
        ("client", "allowed_origins = [\"https://example.com/chat\"]", "write \"https://example.com\""),
        ("client", "allowed_origins = [\"https://a.example,https://b.example\"]", "an entry of its own"),
        ("client", "allowed_origins = [\"example.com\"]", "write \"https://example.com\""),
        ("client", "subscribe_on_connect = [\"\"]", "no name of a room"),
        ("http_server", "allowed_hosts = [\"https://example.com/\"]", "write \"example.com\""),
        ("http_server", "allowed_hosts = [\"example.com:8000\"]", "write \"example.com\""),
    ] {
        let refused = read("c.toml", &format!("[{option}]\n{text}\n")).unwrap_err().to_string();
        assert!(refused.contains("c.toml:2") && refused.contains(advice), "{text}: {refused}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    for (name, text) in [("c.toml", TOML), ("c.yaml", YAML), ("c.json", JSON)] {
        assert_eq!(read(name, &format!("\u{feff}{text}")).unwrap(), read(name, text).unwrap(), "{name}");
        assert_eq!(read(name, "\u{feff}").unwrap(), Config::default(), "{name}");
    }
}

#[test]
fn everything_that_is_wrong_is_found_at_once_and_contradictions_have_lines() {
    let text = "[client]\npong_timeout = \"30s\"\nchanel_limit = 1\n[http_server]\nport = \"web\"\n\n\
                [[channel.namespaces]]\nname = \"a\"\nhistory_size = 5\n\
                [[channel.namespaces]]\nname = \"b\"\nhistory_size = 5\nhistory_ttl = \"soon\"\n\
                [[channel.namespaces]]\nname = \"c\"\nforce_recovery = true\npresense = true\n";
    let file = TempFile::new("c.toml", text);
    let flags = Flags { config: Some(file.path().into()), ..Flags::default() };
    let problems = check_from(&flags, variables(&[("ROOMCAST_SHARDS", "none")])).unwrap_err();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        ("c.toml:3", "chanel_limit"),
        ("c.toml:5", "`http_server.port`"),
        ("c.toml:13", "history_ttl"),
        ("c.toml:17", "presense"),
        ("ROOMCAST_SHARDS", "a whole number"),
        ("c.toml:2", "`client.pong_timeout` 30s must be shorter"),
        ("c.toml:9", "namespace `a`: `history_size` needs"),
        ("c.toml:16", "namespace `c`: recovery needs"),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for ((place, what), problem) in expected.iter().zip(&problems) {
        assert!(problem.contains(place) && problem.contains(what), "{place} {what}: {problem}");
    }
}

#[test]
fn development_mode_refuses_addresses_others_can_reach() {
    for variable in ["ROOMCAST_HTTP_SERVER_ADDRESS=0.0.0.0", "ROOMCAST_HTTP_SERVER_ADDRESS=::"] {
        let environment = variables(&[variable.split_once('=').unwrap()]);
        let mut flags = Flags { dev: true, ..Flags::default() };
        let refused = load_from(&flags, environment.clone());
        assert!(matches!(refused, Err(ConfigError::DevExposed { .. })), "{variable}");
        flags.dev_anywhere = true;
        assert!(load_from(&flags, environment).is_ok(), "{variable}");
    }
}

pub(crate) fn read(name: &str, text: &str) -> Result<Config, ConfigError> {
    let file = TempFile::new(name, text);
    let flags = Flags { config: Some(file.path().into()), ..Flags::default() };
    load_from(&flags, []).map(|loaded| loaded.config)
}

fn load_dev(text: &str) -> Config {
    let file = TempFile::new("dev.toml", text);
    let flags = Flags { config: Some(file.path().into()), dev: true, ..Flags::default() };
    load_from(&flags, []).unwrap().config
}

pub(crate) fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn keys_of_tokens_stand_in_sections_of_their_own_and_are_shown_to_nobody() {
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n\
               6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n-----END PUBLIC KEY-----\n";
    let text = format!(
        "[client]\ninsecure = true\n[client.token]\nhmac_secret_key = \"hush\"\naudience = \"\"\n\
         ecdsa_public_key = \"\"\"{pem}\"\"\"\n[client.subscription_token]\nenabled = true\nissuer_regex = \"^a$\"\n"
    );
    let config = read("c.toml", &text).unwrap();
    assert!(config.client.insecure && config.client.token.has_key() && config.client.subscription_token_enabled);
    assert_eq!(config.client.token.audience, None, "an empty text is none");
    assert!(!config.client.subscription_token.has_key());
    let json = r#"{"client":{"token":{"hmac_secret_key":"hush"}}}"#;
    assert!(read("c.json", json).unwrap().client.token.has_key());
    let environment = variables(&[
        ("ROOMCAST_CLIENT_TOKEN_HMAC_SECRET_KEY", "hush"),
        ("ROOMCAST_CLIENT_SUBSCRIPTION_TOKEN_ENABLED", "true"),
    ]);
    let loaded = load_from(&Flags::default(), environment).unwrap();
    assert!(loaded.config.client.token.has_key() && loaded.config.client.subscription_token_enabled);
    assert_eq!(read("c.toml", &config.to_toml()).unwrap(), config, "what is printed is read again");
    let shown = config.without_password();
    for text in [shown.to_toml(), format!("{config:?}")] {
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_without_being_repeated() {
    for (text, expected) in [
        ("hmac_secret_key = 1234567", "expected text"),
        ("rsa_public_key = \"hush\"", "expected a public key of RSA"),
        ("ecdsa_public_key = \"-----BEGIN PRIVATE KEY-----\\nhush\"", "expected a public key of ECDSA"),
        ("audience_regex = \"(hush\"", "expected a regular expression"),
        ("user_id_claim = \"a-b\"", "expected letters"),
        ("hmac_secret_keys = \"hush\"", "did you mean `client.token.hmac_secret_key`"),
        ("audience = \"a\"\naudience_regex = \"b\"", "audience_regex"),
        ("issuer = \"a\"\nissuer_regex = \"b\"", "issuer_regex"),
    ] {
        let said = read("c.toml", &format!("[client.token]\n{text}\n")).unwrap_err().to_string();
        assert!(said.contains("c.toml:") && said.contains(expected), "{said}");
        assert!(!said.contains("hush") && !said.contains("1234567"), "{said}");
    }
    assert!(matches!(read("c.toml", "[\"client.token\"]\n"), Err(ConfigError::UnknownKey { .. })));
}

#[test]
fn rooms_of_users_are_for_them_alone() {
    let section = "[client.subscribe_to_user_personal_channel]\nenabled = true\n";
    let config = read("c.toml", &format!("{section}single_connection = true\n")).unwrap();
    assert!(config.client.subscribe_to_user_personal_channel.single_connection);
    let json = r#"{"client":{"subscribe_to_user_personal_channel":{"enabled":true,"personal_channel_namespace":"own"}},
                   "channel":{"namespaces":[{"name":"own"}]}}"#;
    let config = read("c.json", json).unwrap();
    assert_eq!(read("c.toml", &config.to_toml()).unwrap(), config, "what is printed is read again");
    let open = "[channel.without_namespace]\nallow_subscribe_for_client = true\n";
    for (text, line, expected) in [
        (format!("{section}personal_channel_namespace = \"own\"\n"), 3, "nobody declared the namespace \"own\""),
        (format!("{section}{open}"), 4, "add `allow_user_limited_channels = true`"),
        (format!("{section}personal_chanel_namespace = \"own\"\n"), 3, "personal_channel_namespace"),
    ] {
        let said = read("c.toml", &text).unwrap_err().to_string();
        assert!(said.contains(&format!("c.toml:{line}")) && said.contains(expected), "{said}");
    }
    let limited = format!("{section}{open}allow_user_limited_channels = true\n");
    assert!(read("c.toml", &limited).is_ok());
    let elsewhere =
        format!("{section}personal_channel_namespace = \"own\"\n{open}[[channel.namespaces]]\nname = \"own\"\n");
    assert!(read("c.toml", &elsewhere).is_ok(), "where others may enter is no room of a user");
    assert!(read("c.toml", open).is_ok());
    assert!(load_dev(section).client.subscribe_to_user_personal_channel.enabled, "there everybody may do everything");
}

#[test]
fn names_have_the_signs_of_the_file_and_an_empty_one_is_the_usual_one() {
    let text = "[channel]\nprivate_prefix = '~'\nnamespace_boundary = '/'\nuser_boundary = ''\n\
                [[channel.namespaces]]\nname = 'chat'\npresence = true\n\
                [client.subscribe_to_user_personal_channel]\nenabled = true\npersonal_channel_namespace = 'chat'\n";
    let config = read("c.toml", text).unwrap();
    assert_eq!((&*config.channel.syntax.private_prefix, &*config.channel.syntax.user_boundary), ("~", "#"));
    assert!(config.channel.options_for("~chat/1").unwrap().presence);
    assert_eq!(read("c.toml", &config.to_toml()).unwrap(), config, "it is printed as it is");
    let error = read("c.toml", "[channel]\nuser_boundary = \"a\\u0000\"\n").unwrap_err().to_string();
    assert!(error.contains("c.toml:2") && error.contains("expected a sign"), "{error}");
}

#[test]
fn a_permission_that_goes_less_far_than_elsewhere_is_named() {
    let warnings = |namespaces: &str| {
        let environment = variables(&[("ROOMCAST_CHANNEL_NAMESPACES", namespaces)]);
        load_from(&Flags::default(), environment).unwrap().warnings
    };
    assert_eq!(warnings(r#"[{"name": "dialog", "allow_user_limited_channels": true}]"#), Vec::<String>::new());
    let told =
        warnings(r#"[{"name": "dialog", "allow_user_limited_channels": true, "allow_publish_for_client": true}]"#);
    assert!(told.len() == 1 && told[0].contains("`allow_publish_for_client`") && told[0].contains("`#`"), "{told:?}");
}

#[test]
fn what_codes_become_is_read_from_everywhere_and_bounded() {
    let toml = "[uni_sse.connect_code_to_http_response]\nenabled = true\n\
                transforms = [{ code = 109, to = { status_code = 401, body = \"again\" } }]\n\
                [[client.connect_code_to_unidirectional_disconnect.transforms]]\ncode = 109\nto = { code = 4109 }\n";
    let json = r#"{"uni_sse": {"connect_code_to_http_response": {"enabled": true, "transforms":
                     [{"code": 109, "to": {"status_code": 401, "body": "again"}}]}},
                   "client": {"connect_code_to_unidirectional_disconnect": {"transforms":
                     [{"code": 109, "to": {"code": 4109, "reason": ""}}]}}}"#;
    let yaml = "uni_sse:\n  connect_code_to_http_response:\n    enabled: true\n    transforms:\n    - code: 109\n\
                \x20     to: {status_code: 401, body: again}\n\
                client:\n  connect_code_to_unidirectional_disconnect:\n    transforms: [{code: 109, to: {code: 4109}}]\n";
    let config = read("c.toml", toml).unwrap();
    assert_eq!(config.unidirectional.sse.connect_code_to_http_response.transforms.len(), 1);
    assert_eq!(config.client.connect_code_to_unidirectional_disconnect.transforms[0].to.code, 4109);
    assert_eq!(read("c.json", json).unwrap(), config);
    assert_eq!(read("c.yaml", yaml).unwrap(), config);
    assert_eq!(read("c.toml", &config.to_toml()).unwrap(), config, "what is printed is read again");
    let environment = variables(&[
        ("ROOMCAST_UNI_SSE_CONNECT_CODE_TO_HTTP_RESPONSE_ENABLED", "true"),
        (
            "ROOMCAST_UNI_SSE_CONNECT_CODE_TO_HTTP_RESPONSE_TRANSFORMS",
            r#"[{"code":109,"to":{"status_code":401,"body":"again"}}]"#,
        ),
        (
            "ROOMCAST_CLIENT_CONNECT_CODE_TO_UNIDIRECTIONAL_DISCONNECT_TRANSFORMS",
            r#"[{"code":109,"to":{"code":4109}}]"#,
        ),
    ]);
    assert_eq!(load_from(&Flags::default(), environment).unwrap().config, config);
    for wrong in [
        "109",
        "[109]",
        "[{ code = 109 }]",
        "[{ to = { status_code = 401 } }]",
        "[{ code = 0, to = { status_code = 401 } }]",
        "[{ code = 109, to = { status_code = 199 } }]",
        "[{ code = 109, to = { status_code = 600 } }]",
        "[{ code = 109, to = { code = 4109 } }]",
        "[{ code = 109, to = { status_code = 401 }, more = 1 }]",
    ] {
        let text = format!("[uni_http_stream.connect_code_to_http_response]\ntransforms = {wrong}\n");
        let said = read("c.toml", &text).unwrap_err().to_string();
        assert!(said.contains("c.toml:2") && said.contains("status_code = …"), "{said}");
    }
    for wrong in ["code = 2999", "code = 5000", "code = 4000, reason = \"ü\""] {
        let text = format!(
            "[client.connect_code_to_unidirectional_disconnect]\ntransforms = [{{ code = 109, to = {{ {wrong} }} }}]\n"
        );
        assert!(read("c.toml", &text).unwrap_err().to_string().contains("3000 to 4999"), "{wrong}");
    }
}

#[test]
fn transports_have_places_of_their_own() {
    let config = read("c.toml", "[uni_sse]\nenabled = true\nhandler_prefix = \"/events\"\n").unwrap();
    assert_eq!(config.unidirectional.sse.handler_prefix, "/events");
    for bad in ["events", "/", "/a/", "/a b", "/metrics", "/connection/websocket"] {
        let said = read("c.toml", &format!("[uni_websocket]\nhandler_prefix = \"{bad}\"\n")).unwrap_err().to_string();
        assert!(said.contains("c.toml:2") && said.contains("expected a path"), "{said}");
    }
    let same = "[uni_sse]\nenabled = true\nhandler_prefix = \"/connection/sse\"\n";
    assert!(read("c.toml", same).unwrap_err().to_string().contains("are the same place"));
    assert!(read("c.toml", &same.replace("true", "false")).is_ok(), "who is not there is in nobody's way");
    let within = "[http_api]\nhandler_prefix = \"/v1\"\n[init]\nenabled = true\nhandler_prefix = \"/v1/init\"\n";
    assert!(read("c.toml", within).unwrap_err().to_string().contains("`http_api.handler_prefix`"));
}

#[test]
fn compression_is_off_unless_it_is_asked_for_and_has_bounds() {
    for section in ["websocket", "uni_websocket"] {
        let said = |line: &str| read("c.toml", &format!("[{section}]\n{line}\n"));
        let config = said("compression = true\ncompression_min_size = 1000\ncompression_level = 9").unwrap();
        let of = |config: &Config| match section {
            "websocket" => config.websocket.compression,
            _ => config.unidirectional.websocket.compression,
        };
        assert_eq!((of(&config).enabled, of(&config).min_size, of(&config).level), (true, 1_000, 9));
        assert!(!of(&Config::default()).enabled && !of(&Config::dev()).enabled);
        for (line, expected) in [
            ("compression_min_size = 65536", "expected 0 to 65535"),
            ("compression_level = 0", "expected 1 to 9"),
            ("compression_level = 10", "expected 1 to 9"),
        ] {
            let wrong = said(line).unwrap_err().to_string();
            assert!(wrong.contains("c.toml:2") && wrong.contains(expected), "{wrong}");
        }
    }
}
