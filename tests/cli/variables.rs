//! What the environment of Centrifugo says of a configuration that moves in.

use std::time::Duration;

use roomcast_server::config::{Flags, review_from};

use crate::moving::{options, refused_key, review};

#[test]
fn the_environment_of_centrifugo_counts_and_ours_counts_more() {
    let written = r#"{"channel": {"namespaces": [{"name": "chat"}, {"name": "big-news", "presence": true}]}}"#;
    let environment = [
        ("CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY", "hush"),
        ("CENTRIFUGO_CLIENT_CHANNEL_LIMIT", "7"),
        ("ROOMCAST_CLIENT_CHANNEL_LIMIT", "8"),
        ("CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZE", "10"),
        ("CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_HISTORY_TTL", "1h"),
        ("CENTRIFUGO_CHANNEL_NAMESPACES_BIG_NEWS_PRESENCE", "false"),
        ("ROOMCAST_CHANNEL_NAMESPACES_BIG_NEWS_JOIN_LEAVE", "true"),
        ("CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_MAP_MODE", "recoverable"),
        ("CENTRIFUGO_ENGINE_TYPE", "redis"),
        ("CENTRIFUGO_ADMIN_ENABLED", "false"),
        ("CENTRIFUGO_SERVICE_HOST", "10.0.0.1"),
        ("CENTRIFUGO_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("CENTRIFUGO_VAR_SECRET", "hush"),
        ("CENTRIFUGO_CLIENT_PINGS", "1"),
    ];
    let found = review("c.json", written, &[], &environment);
    let config = &found.loaded.config;
    assert!(config.client.token.has_key());
    assert_eq!(config.client.channel_limit, 8);
    let chat = config.channel.options_for("chat:1").unwrap();
    assert_eq!((chat.history_size, chat.history_ttl), (10, Duration::from_secs(3_600)));
    let news = config.channel.options_for("big-news:1").unwrap();
    assert_eq!((news.presence, news.join_leave), (false, true));
    assert_eq!(found.problems.iter().map(refused_key).collect::<Vec<_>>(), ["engine.type"]);
    let [warning] = &found.loaded.warnings[..] else { panic!("{:?}", found.loaded.warnings) };
    assert!(warning.contains("CENTRIFUGO_CLIENT_PINGS means nothing"), "{warning}");
    let of_map = found.answers.iter().find(|answer| answer.key == "channel.namespaces.map.mode").unwrap();
    assert!(of_map.place.contains("CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_MAP_MODE"), "{of_map}");

    let list = r#"[{"name": "other", "presence": true}]"#;
    let environment =
        [("CENTRIFUGO_CHANNEL_NAMESPACES", list), ("CENTRIFUGO_CHANNEL_NAMESPACES_OTHER_JOIN_LEAVE", "true")];
    let found = review("c.json", written, &[], &environment);
    assert!(found.loaded.config.channel.options_for("chat:1").is_none(), "the list is another");
    let other = found.loaded.config.channel.options_for("other:1").unwrap();
    assert!(other.presence && other.join_leave);
}

/// A variable that somebody has emptied takes nothing back that the file says, wherever the option stands.
#[test]
fn an_empty_variable_turns_off_nothing_in_a_namespace() {
    let written = "channel:\n  namespaces:\n  - {name: chat, subscribe_proxy_enabled: true, history_ttl: 1h, history_size: 5, channel_regex: ^a$}\n\
                   \x20 proxy: {subscribe: {endpoint: http://127.0.0.1/}}\n";
    let of = |option: &str| (format!("CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_{option}"), "");
    let said = ["SUBSCRIBE_PROXY_ENABLED", "HISTORY_TTL", "HISTORY_SIZE", "PRESENCE"].map(of);
    let said: Vec<_> = said.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let found = review("c.yaml", written, &[], &said);
    assert!(found.problems.is_empty() && found.loaded.warnings.is_empty(), "{found:?}");
    let chat = found.loaded.config.channel.options_for("chat:1").unwrap();
    assert!(chat.subscribe_proxy_enabled && !chat.presence);
    assert_eq!((chat.history_size, chat.history_ttl), (5, Duration::from_secs(3_600)));
    let found = review("c.yaml", written, &[], &[("CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_CHANNEL_REGEX", "")]);
    let chat = found.loaded.config.channel.options_for("chat:1").unwrap();
    assert!(chat.channel_regex.is_none(), "a text can be empty, as with Centrifugo");
}

/// `a-b` and `a.b` are one in the name of a variable: what it shuts is shut in both.
#[test]
fn a_variable_of_two_namespaces_is_said_of_both() {
    let written = r#"{"channel": {"namespaces": [
        {"name": "a-b", "allow_publish_for_client": true}, {"name": "a.b", "allow_publish_for_client": true}]}}"#;
    let said = [("CENTRIFUGO_CHANNEL_NAMESPACES_A_B_ALLOW_PUBLISH_FOR_CLIENT", "false")];
    let found = review("c.json", written, &[], &said);
    assert!(found.problems.is_empty() && found.loaded.warnings.is_empty(), "{found:?}");
    for room in ["a-b:1", "a.b:1"] {
        assert!(!found.loaded.config.channel.options_for(room).unwrap().allow_publish_for_client, "{room}");
    }
}

#[test]
fn an_environment_with_every_option_at_its_default_asks_for_nothing_that_is_missing() {
    let variables: Vec<(String, String)> = options()
        .filter(|(path, ..)| !path.contains("[]"))
        .map(|(path, kind, default)| {
            let value = match (kind, default) {
                ("bool", "") => "false",
                ("number", "") => "0",
                ("time", "") => "0s",
                ("map", _) => "{}",
                ("things", _) => "[]",
                (_, default) => default,
            };
            (format!("CENTRIFUGO_{}", path.replace('.', "_").to_ascii_uppercase()), value.to_owned())
        })
        .collect();
    let count = variables.len();
    let found = review_from(&Flags::default(), variables);
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, [""; 0]);
    assert_eq!(found.loaded.warnings, [""; 0]);
    // Lists of things are printed as if there were none.
    assert!(found.answers.len() > count - 20, "{} of {count}", found.answers.len());
}
