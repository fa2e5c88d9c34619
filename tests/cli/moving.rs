//! Moving in with the configuration of Centrifugo 6: what becomes of each option, and what `serve` takes.

use std::collections::BTreeMap;
use std::time::Duration;

use roomcast_server::config::{Config, ConfigError, Flags, LogFile, Review, Verdict, review_from};
use serde_json::{Map, Value, json};

use super::{Refused as _, TempDir, TempFile, command, roomcast, text};

/// A site with Redis, a backend and most of what people write.
const JSON: &str = r#"{
  "http_server": {"address": "", "port": 8000, "internal_port": "9000"},
  "log": {"level": "none", "file": ""},
  "engine": {"type": "redis", "redis": {"address": ["redis://10.0.0.5:6379"], "prefix": "site"}},
  "admin": {"enabled": true, "password": "hush", "secret": "hush"},
  "client": {
    "allowed_origins": ["https://site.example", "https://*.site.example"],
    "token": {"hmac_secret_key": "hush", "audience": "site", "user_id_claim": ""},
    "ping_interval": "25s",
    "pong_timeout": "8s",
    "queue_max_size": 1048576,
    "user_connection_limit": 0,
    "insecure": false
  },
  "channel": {
    "history_meta_ttl": "360h",
    "without_namespace": {"allow_subscribe_for_client": true},
    "namespaces": [
      {
        "name": "chat",
        "presence": true,
        "join_leave": true,
        "history_size": 100,
        "history_ttl": "1.5h",
        "history_meta_ttl": "0s",
        "force_recovery": true,
        "force_recovery_mode": "",
        "channel_regex": "",
        "subscription_type": "map",
        "map": {"mode": "recoverable", "key_ttl": "60s"}
      }
    ]
  },
  "http_api": {"key": "hush"},
  "websocket": {"compression": true, "compression_level": 1, "message_size_limit": 65536},
  "prometheus": {"enabled": true},
  "usage_stats": {"disabled": true},
  "consumers": [{"name": "orders", "enabled": true, "type": "kafka", "kafka": {"brokers": ["k:9092"], "topics": ["o"]}}]
}"#;

const TOML: &str = r#"
[http_server]
address = ""
port = 8000
internal_port = "9000"
[log]
level = "none"
file = ""
[engine]
type = "redis"
[engine.redis]
address = ["redis://10.0.0.5:6379"]
prefix = "site"
[admin]
enabled = true
password = "hush"
secret = "hush"
[client]
allowed_origins = ["https://site.example", "https://*.site.example"]
ping_interval = "25s"
pong_timeout = "8s"
queue_max_size = 1048576
user_connection_limit = 0
insecure = false
[client.token]
hmac_secret_key = "hush"
audience = "site"
user_id_claim = ""
[channel]
history_meta_ttl = "360h"
[channel.without_namespace]
allow_subscribe_for_client = true
[[channel.namespaces]]
name = "chat"
presence = true
join_leave = true
history_size = 100
history_ttl = "1.5h"
history_meta_ttl = "0s"
force_recovery = true
force_recovery_mode = ""
channel_regex = ""
subscription_type = "map"
[channel.namespaces.map]
mode = "recoverable"
key_ttl = "60s"
[http_api]
key = "hush"
[websocket]
compression = true
compression_level = 1
message_size_limit = 65536
[prometheus]
enabled = true
[usage_stats]
disabled = true
[[consumers]]
name = "orders"
enabled = true
type = "kafka"
[consumers.kafka]
brokers = ["k:9092"]
topics = ["o"]
"#;

const YAML: &str = r#"
http_server: {address: "", port: 8000, internal_port: "9000"}
log: {level: none, file: ""}
engine:
  type: redis
  redis:
    address: ["redis://10.0.0.5:6379"]
    prefix: site
admin: {enabled: true, password: hush, secret: hush}
client:
  allowed_origins:
    - https://site.example
    - https://*.site.example
  token:
    hmac_secret_key: hush
    audience: site
    user_id_claim: ""
  ping_interval: 25s
  pong_timeout: 8s
  queue_max_size: 1048576
  user_connection_limit: 0
  insecure: false
channel:
  history_meta_ttl: 360h
  without_namespace:
    allow_subscribe_for_client: true
  namespaces:
    - name: chat
      presence: true
      join_leave: true
      history_size: 100
      history_ttl: 1.5h
      history_meta_ttl: 0s
      force_recovery: true
      force_recovery_mode: ""
      channel_regex: ""
      subscription_type: map
      map:
        mode: recoverable
        key_ttl: 60s
http_api:
  key: hush
websocket:
  compression: true
  compression_level: 1
  message_size_limit: 65536
prometheus:
  enabled: true
usage_stats:
  disabled: true
consumers:
  - name: orders
    enabled: true
    type: kafka
    kafka:
      brokers: ["k:9092"]
      topics: [o]
"#;

/// Of the file above, what `serve` does not start with.
const REFUSED: [&str; 3] = ["channel.namespaces.subscription_type", "consumers.enabled", "engine.type"];

#[test]
fn a_file_in_each_notation_comes_to_the_same_with_all_that_is_missing_named() {
    let mut all: Vec<(Config, BTreeMap<String, Verdict>)> = Vec::new();
    for (name, written) in [("c.json", JSON), ("c.toml", TOML), ("c.yaml", YAML)] {
        let Review { loaded, problems, answers, .. } = review(name, written, &[], &[]);
        let mut refused: Vec<String> = problems.iter().map(refused_key).collect();
        refused.sort();
        assert_eq!(refused, REFUSED, "{name}");
        let answers = answers.into_iter().map(|answer| {
            assert!(answer.place.contains(name), "{answer}");
            (answer.key, answer.verdict)
        });
        all.push((loaded.config, answers.collect()));
    }
    assert!(all.iter().all(|one| *one == all[0]), "{all:#?}");
    let (config, answers) = all.remove(0);
    assert_eq!(config.http_server.socket_addr().to_string(), "0.0.0.0:8000");
    assert_eq!(config.http_server.internal_port, Some(9000));
    assert_eq!((config.log.level.as_str(), &config.log.file), ("off", &LogFile::Off));
    let chat = config.channel.options_for("chat:1").unwrap();
    assert_eq!(chat.history_ttl, Duration::from_secs(5_400));
    assert_eq!(chat.history_meta_ttl, Duration::from_secs(360 * 3_600), "what holds for all rooms");
    assert!(chat.channel_regex.is_none());
    let verdict = |key: &str| *answers.get(key).unwrap_or_else(|| panic!("{key}"));
    for (key, expected) in [
        ("client.token.hmac_secret_key", "holds"),
        ("http_server.internal_port", "holds"),
        ("client.user_connection_limit", "differs"),
        ("client.queue_max_size", "differs"),
        ("client.allowed_origins", "differs"),
        ("prometheus.enabled", "differs"),
        ("websocket.compression", "holds"),
        ("websocket.compression_level", "holds"),
        ("admin.enabled", "missing"),
        ("admin.password", "unused"),
        ("engine.type", "refused"),
        ("engine.redis.address", "unused"),
        ("channel.namespaces.map.mode", "unused"),
        ("consumers.kafka.topics", "unused"),
    ] {
        assert_eq!(word(&verdict(key)), expected, "{key}");
    }
}

#[test]
fn the_command_says_key_by_key_what_becomes_of_a_file_and_repeats_no_secret() {
    let file = TempFile::new("c.json", JSON);
    let output = roomcast(&["config", "check", file.path()]);
    assert_eq!(output.status.code(), Some(2));
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    for line in [
        "c.json:8: `client.token.hmac_secret_key`",
        "c.json:11: `client.queue_max_size`: members read",
        "c.json:5: `admin.enabled`: there is no page",
        "c.json:4: `engine.type`: this is one server",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains(" missing, 3 refused") && !said.contains("can be used"), "{said}");
    assert_eq!(complained.lines().count(), 3, "one for each option that is refused: {complained}");
    for key in REFUSED {
        assert!(complained.contains(&format!("`{key}` is not served: ")), "{complained}");
        assert!(complained.contains(&format!("--accept {key}")), "{complained}");
    }
    assert!(!said.contains("hush") && !complained.contains("hush"), "{said}{complained}");

    let accept = REFUSED.map(|key| ["--accept", key]).concat();
    let output = roomcast(&[&["config", "check", file.path()], &accept[..]].concat());
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(said.contains(" 0 refused\nthe configuration can be used\n"), "{said}");
}

#[test]
fn serve_refuses_what_it_cannot_do_without_and_starts_where_it_is_told_to() {
    let data = TempDir::new();
    let written = JSON.replace("\"address\": \"\", \"port\": 8000", "\"address\": \"127.0.0.1\", \"port\": 0");
    let written = written.replace("\"9000\"", "\"0\"");
    let file = TempFile::new("c.json", &written.replace("\"none\"", "\"info\""));
    let serve = ["serve", "--config", file.path(), "--data-dir", data.path()];
    let output = roomcast(&serve);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 3), "{said}");
    assert!(REFUSED.iter().all(|key| said.contains(&format!("`{key}`"))), "{said}");
    let one = roomcast(&[&serve[..], &["--accept", REFUSED[0], "--accept", REFUSED[1]]].concat());
    assert!(one.refused().contains(REFUSED[2]));

    let accept = REFUSED.map(|key| ["--accept", key]).concat();
    let accept = [&accept[..], &["--accept", "client.pings"]].concat();
    let mut child = command(&[&serve[..], &accept].concat()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let mut said = String::new();
    let is_up =
        lines.by_ref().map_while(Result::ok).inspect(|line| said.push_str(line)).any(|it| it.contains("listening on"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_up, "{said}");
    for warned in ["`engine.type` is not served", "`admin.enabled` is not served", "--accept client.pings` has nothing"]
    {
        assert!(said.contains(warned), "{warned}: {said}");
    }
    assert!(!std::path::Path::new(data.path()).join("logs").exists(), "the file asks for no log file");
}

#[test]
fn headers_cite_variables_in_the_file_and_in_the_environment() {
    let written = "client:\n  proxy:\n    connect:\n      endpoint: http://127.0.0.1:9000/connect\n      http:\n        static_headers:\n          \
                   X-Key: key ${CENTRIFUGO_VAR_KEY}, ${OTHER}\nproxies:\n  - name: first-one\n    endpoint: http://127.0.0.1:9000/first\n";
    let of_item = ("CENTRIFUGO_PROXIES_FIRST_ONE_HTTP_STATIC_HEADERS", r#"{"X-Key": "${CENTRIFUGO_VAR_KEY}"}"#);
    let found = review("c.yaml", written, &[], &[of_item, ("CENTRIFUGO_VAR_KEY", "hush\\")]);
    assert!(found.problems.is_empty() && found.loaded.warnings.is_empty(), "{found:?}");
    let printed = found.loaded.config.to_toml();
    let cited = printed.lines().filter(|line| line.contains("hush\\"));
    assert_eq!(cited.count(), 2, "as it is, also through JSON: {printed}");
    assert!(printed.contains("${OTHER}"), "no other variable is cited");
    let list = r#"[{"name": "first", "endpoint": "http://127.0.0.1:9000/a", "http": {"static_headers": {"X-Key": "${CENTRIFUGO_VAR_KEY}"}}}]"#;
    let found = review("c.yaml", "", &[], &[("CENTRIFUGO_PROXIES", list), ("CENTRIFUGO_VAR_KEY", "hush")]);
    assert!(found.loaded.config.to_toml().contains("\"hush\""), "in a whole list, too: {:?}", found.problems);
    let found = review("c.yaml", written, &[], &[of_item]);
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().all(|problem| problem.contains("no variable CENTRIFUGO_VAR_KEY")), "{problems:?}");
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_site_that_says_nothing_of_where_to_listen_learns_that_it_is_alone() {
    let written = r#"{"admin": {"enabled": false}, "client": {"channel_limit": 7}}"#;
    let hint = |written: &str, listen: Option<&str>| {
        let file = TempFile::new("c.json", written);
        let listen = listen.map(str::to_owned);
        review_from(&Flags { config: Some(file.path().into()), listen, ..Flags::default() }, []).loaded.hint
    };
    assert!(hint(written, None).unwrap().contains("it is 127.0.0.1 here"));
    let address = written.replace("{\"admin\"", "{\"http_server\": {\"address\": \"0.0.0.0\"}, \"admin\"");
    assert_eq!(hint(&address, None), None);
    assert_eq!(hint(written, Some("127.0.0.1:0")), None);
    assert_eq!(hint(r#"{"client": {"channel_limit": 7}}"#, None), None, "nothing in it is Centrifugo's alone");
}

#[test]
fn tools_take_a_file_that_serve_does_not() {
    let file = TempFile::new("c.json", JSON);
    let made = roomcast(&["gentoken", "-c", file.path(), "-u", "42", "-q"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let checked = roomcast(&["checktoken", "-c", file.path(), text(&made.stdout).trim()]);
    assert_eq!(text(&checked.stdout), "valid token for user \"42\"\n");
    let data = TempDir::new();
    std::fs::create_dir(data.path()).unwrap();
    let output = roomcast(&["history", "chat:1", "--config", file.path(), "--data-dir", data.path()]);
    assert!(!text(&output.stderr).contains("is not served"), "{}", text(&output.stderr));
}

#[test]
fn what_stands_empty_is_not_set() {
    let written = "http_server:\nlog: ~\nclient:\n  channel_limit:\n  token:\n    hmac_secret_key: null\n    rsa_public_key: ~\n    audience:\n";
    let environment = [("CENTRIFUGO_CLIENT_PING_INTERVAL", ""), ("CENTRIFUGO_CHANNEL_NAMESPACES", "")];
    let found = review("c.yaml", written, &[], &environment);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.loaded.config, Config::default());
}

#[test]
fn an_option_that_nobody_knows_is_refused_and_can_be_accepted() {
    let written =
        r#"{"client": {"allowed_origin": ["*"]}, "token_hmac_secret_key": "hush", "controller": {"enabeld": true}}"#;
    let keys = ["client.allowed_origin", "token_hmac_secret_key"];
    let found = review("c.json", written, &[], &[]);
    let unknown = found.problems.iter().map(|problem| match problem {
        ConfigError::UnknownKey { key, .. } => key.as_str(),
        other => panic!("{other}"),
    });
    assert_eq!(unknown.collect::<Vec<_>>(), keys);
    let accepted = review("c.json", written, &keys, &[]);
    assert!(accepted.problems.is_empty());
    assert_eq!(accepted.loaded.warnings.len(), 2, "{:?}", accepted.loaded.warnings);
}

/// All options that Centrifugo 6 has, one line each: its path, what it takes, its default.
const OPTIONS: &str = include_str!("centrifugo_options.txt");

pub(crate) fn options() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    OPTIONS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut parts = line.splitn(3, ' ');
        (parts.next().unwrap(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    })
}

#[test]
fn every_option_of_centrifugo_has_an_answer() {
    assert!(options().count() > 1_100);
    let mut counts = BTreeMap::new();
    for (path, kind, _) in options() {
        let value = match kind {
            "bool" => json!(true),
            "number" => json!(7),
            "text" => json!("x"),
            "time" => json!("7s"),
            "texts" => json!(["x"]),
            "map" => json!({"x": "y"}),
            "things" => json!([{"name": "thing"}]),
            other => panic!("{path}: {other}"),
        };
        let mut root = Value::Object(Map::new());
        put(&mut root, path, value);
        let found = review("c.json", &root.to_string(), &[], &[]);
        let key = path.replace("[]", "");
        let key = key.strip_suffix(".name").unwrap_or(&key);
        let is_about = |said: &str| said.contains(key.rsplit('.').next().unwrap());
        for problem in &found.problems {
            assert!(
                !matches!(problem, ConfigError::UnknownKey { .. } | ConfigError::Syntax { .. }),
                "{path}: {problem}"
            );
        }
        let answer = found.answers.iter().find(|answer| is_about(&answer.key));
        let word = answer.map_or("wrong value", |answer| word(&answer.verdict));
        let has_answer = answer.is_some() || found.problems.iter().any(|problem| is_about(&problem.to_string()));
        // The name of a thing is no option of its own, and a list of things is what is in it.
        assert!(has_answer || path.ends_with("].name") || kind == "things", "{path}: {found:?}");
        *counts.entry(word).or_insert(0) += 1;
    }
    assert!(counts["holds"] > 60 && counts.contains_key("refused"), "{counts:?}");
}

#[test]
fn a_file_with_every_option_at_its_default_asks_for_nothing_that_is_missing() {
    let mut root = Value::Object(Map::new());
    for (path, kind, default) in options().filter(|(path, ..)| !path.contains("[]")) {
        let value = match (kind, default) {
            ("bool", default) => json!(default == "true"),
            ("number", default) => json!(default.parse::<i64>().unwrap_or_default()),
            ("text", default) => json!(default),
            ("time", "") => json!("0s"),
            ("time", default) => json!(default),
            ("texts", "") => json!(null),
            ("texts", default) => json!([default]),
            ("map", _) => json!({}),
            _ => json!([]),
        };
        put(&mut root, path, value);
    }
    let found = review("c.json", &root.to_string(), &[], &[]);
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, [""; 0]);
    assert_eq!(found.loaded.warnings, [""; 0]);
}

#[test]
fn a_file_of_variables_beside_the_configuration_counts_less_than_the_environment() {
    let folder = TempDir::new();
    std::fs::create_dir(folder.path()).unwrap();
    let config = std::path::Path::new(folder.path()).join("config.json");
    std::fs::write(&config, r#"{"client": {"channel_limit": 5}}"#).unwrap();
    let lines = "# of the site\nCENTRIFUGO_CLIENT_CHANNEL_LIMIT=6\nexport CENTRIFUGO_HTTP_API_KEY=\"hush\"\n\
                 CENTRIFUGO_LOG_LEVEL=loud\nPATH=/nowhere\n";
    std::fs::write(config.with_file_name(".env"), lines).unwrap();
    let read = |environment: &[(&str, &str)]| {
        let flags = Flags { config: Some(config.clone()), ..Flags::default() };
        review_from(&flags, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    };
    let found = read(&[]);
    assert_eq!(found.loaded.config.client.channel_limit, 6);
    assert_ne!(found.loaded.config.http_api.key, Config::default().http_api.key);
    let [problem] = &found.problems[..] else { panic!("{:?}", found.problems) };
    assert!(problem.to_string().contains(".env:4, CENTRIFUGO_LOG_LEVEL: `log.level`"), "{problem}");
    let found = read(&[("CENTRIFUGO_CLIENT_CHANNEL_LIMIT", "7"), ("ROOMCAST_LOG_LEVEL", "info")]);
    assert_eq!(found.loaded.config.client.channel_limit, 7);
}

/// Centrifugo's reader takes them, and people whose files are filled in by a tool write them so.
/// What is served whatever the file says of it does not "hold" where the file turns it off.
#[test]
fn what_a_file_turns_off_and_is_served_all_the_same_is_said_to_differ() {
    for option in ["prometheus", "health", "swagger"] {
        let written = format!(r#"{{"{option}": {{"enabled": false}}}}"#);
        let found = review("c.json", &written, &[], &[]);
        let [answer] = &found.answers[..] else { panic!("{:?}", found.answers) };
        assert_eq!(word(&answer.verdict), "differs", "{answer}");
        assert!(found.problems.is_empty() && found.loaded.warnings.is_empty());
    }
}

#[test]
fn an_option_is_accepted_for_one_namespace_or_for_all() {
    let written = r#"{"channel": {"namespaces": [
        {"name": "chat", "subscription_type": "map", "presense": true}, {"name": "news", "subscription_type": "map"}]}}"#;
    let of_chat = ["channel.namespaces.chat.subscription_type", "channel.namespaces.chat.presense"];
    let found = review("c.json", written, &of_chat, &[]);
    let [problem] = &found.problems[..] else { panic!("{:?}", found.problems) };
    assert!(
        problem.to_string().contains("c.json:2:") && refused_key(problem) == "channel.namespaces.subscription_type"
    );
    assert_eq!(found.loaded.warnings.len(), 2, "{:?}", found.loaded.warnings);
    let of_all = ["channel.namespaces.subscription_type", "channel.namespaces.presense"];
    assert!(review("c.json", written, &of_all, &[]).problems.is_empty());
    let found = review("c.json", written, &["channel.namespaces.sport.subscription_type", of_all[0], of_all[1]], &[]);
    assert!(found.loaded.warnings.iter().any(|warning| warning.contains("sport.subscription_type` has nothing")));
}

/// What stands in a second document of YAML was read by nobody, and said by nobody.
#[test]
fn a_second_document_is_refused() {
    for (written, line) in [
        ("client:\n  insecure: true\n---\nclient:\n  insecure: false\n", Some(4)),
        ("---\nclient: {insecure: true}\n...\n# that was all\nclient: {insecure: false}\n", Some(5)),
        ("# mine\n%YAML 1.2\n---\nclient: {insecure: true}\n---\n", None),
        ("client:\n  token:\n    hmac_secret_key: |\n      a\n      ---\n      b\n", None),
    ] {
        let found = review("c.yaml", written, &[], &[]);
        let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
        match line {
            Some(line) => assert!(problems[0].contains(&format!("c.yaml:{line}: a second document")), "{problems:?}"),
            None => assert_eq!(problems, [""; 0], "{written}"),
        }
    }
}

/// As large as a file may be, and all of it small things: minutes it took, line by line and key by key.
#[test]
fn a_file_of_very_many_things_is_read_at_once() {
    let began = std::time::Instant::now();
    let keys: String = (0..60_000).map(|key| format!("\"{key}\":0,\n")).collect();
    for (name, written) in [
        ("c.json", format!("{{\"consumers\": [{}0]}}", "0,\n".repeat(300_000))),
        ("c.toml", format!("consumers = [{}0]", "0,\n".repeat(300_000))),
        ("c.json", format!("{{\"engine\": {{{keys}\"type\": \"memory\"}}}}")),
    ] {
        review(name, &written, &[], &[]);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn numbers_and_truths_may_stand_in_quotes() {
    let written = r#"{"http_server": {"port": "8001"}, "client": {"insecure": "true", "channel_limit": "7"}}"#;
    let config = review("c.json", written, &[], &[("CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "1")]);
    assert!(config.problems.is_empty(), "{:?}", config.problems);
    let config = config.loaded.config;
    assert_eq!((config.http_server.port, config.client.insecure, config.client.channel_limit), (8001, true, 7));
    assert!(config.channel.without_namespace.presence);
}

#[test]
fn what_looks_like_a_file_of_variables_and_is_none_does_no_harm_or_is_said() {
    let folder = TempDir::new();
    let config = std::path::Path::new(folder.path()).join("config.json");
    std::fs::create_dir_all(config.with_file_name(".env")).unwrap();
    std::fs::write(&config, "{}").unwrap();
    let read = || review_from(&Flags { config: Some(config.clone()), ..Flags::default() }, []);
    assert!(read().problems.is_empty());
    std::fs::remove_dir(config.with_file_name(".env")).unwrap();
    for bytes in [&b"CENTRIFUGO_A=\xff"[..], &vec![b'#'; 2 << 20]] {
        std::fs::write(config.with_file_name(".env"), bytes).unwrap();
        let problems = read().problems;
        assert!(problems.len() == 1 && problems[0].to_string().contains(".env"), "{problems:?}");
    }
}

#[test]
fn pings_can_be_off_and_read_as_they_were_printed() {
    let written = "[client]\nping_interval = \"-1\"\npong_timeout = \"-1\"\n[log]\nfile = \"/var/log/site.log\"\n";
    let found = review("c.toml", written, &[], &[]);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let config = found.loaded.config;
    assert_eq!((config.client.ping_interval, config.client.pong_timeout), (Duration::ZERO, Duration::ZERO));
    assert_eq!(config.log.file, LogFile::At("/var/log/site.log".into()));
    assert_eq!(review("c.toml", &config.to_toml(), &[], &[]).loaded.config, config);
}

pub(crate) fn review(name: &str, written: &str, accept: &[&str], environment: &[(&str, &str)]) -> Review {
    let file = TempFile::new(name, written);
    let accept = accept.iter().map(|key| (*key).to_owned()).collect();
    let flags = Flags { config: Some(file.path().into()), accept, ..Flags::default() };
    review_from(&flags, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

pub(crate) fn refused_key(problem: &ConfigError) -> String {
    match problem {
        ConfigError::NotServed { key, .. } => key.clone(),
        other => panic!("{other}"),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Differs(_) => "differs",
        Verdict::Unused(_) => "unused",
        Verdict::Missing(_) => "missing",
        Verdict::Refused(_) => "refused",
        other => panic!("{other:?}"),
    }
}

/// Puts a value at a path, in which a list of things has one thing.
fn put(root: &mut Value, path: &str, value: Value) {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Some(members) = root.as_object_mut() else { panic!("{path}") };
    let Some(rest) = rest else {
        members.insert(key.to_owned(), value);
        return;
    };
    match key.strip_suffix("[]") {
        None => put(members.entry(key).or_insert_with(|| json!({})), rest, value),
        Some(list) => {
            let things = members.entry(list).or_insert_with(|| json!([{"name": "thing"}]));
            put(&mut things[0], rest, value);
        }
    }
}
