//! How often clients may do something: commands by their kind, bytes, errors.

use roomcast_server::config::{OperationLimit, RateBucket, RateLimit, RateOverride};
use serde_json::Value;

use super::{name_users, of_user, once, refused};
use crate::harness::{Client, Running, publish};

fn limit(buckets: Vec<RateBucket>) -> OperationLimit {
    OperationLimit { enabled: true, buckets, overrides: Vec::new() }
}

/// The code of the error that a command is answered with; 0 for none.
fn error(reply: &Value) -> u64 {
    reply["error"]["code"].as_u64().unwrap_or(0)
}

fn ask(client: &mut Client, id: u32, command: &str) -> u64 {
    client.send(&format!(r#"{{"id":{id},{command}}}"#));
    error(&client.reply(id))
}

#[test]
fn a_flood_of_commands_is_told_to_try_again_and_then_cut_off_while_others_go_on() {
    let server = Running::with(|config| {
        let rates = &mut config.client.rate_limit;
        (rates.client_command.enabled, rates.client_error.enabled) = (true, true);
        rates.client_command.total = limit(once(10));
        rates.client_error.total = limit(once(5));
    });
    let (mut bob, mut ann) = (server.member("Bob", "hall"), server.member("Ann", "hall"));
    let flood: Vec<_> = (10..40).map(|id| publish(id, "hall", "1")).collect();
    ann.send(&flood.join("\n"));
    let found: Vec<_> = (10..24).map(|id| error(&ann.reply(id))).collect();
    assert_eq!(found, [[0; 8].as_slice(), &[111; 6]].concat(), "it has connected and entered a room before");
    assert_eq!(ann.closed(), (3509, "too many errors".to_owned()));
    bob.publish(3, "hall", "2");
    assert_eq!(refused(&server, "client.rate_limit.client_command.total"), 6);
    assert_eq!(refused(&server, "client.rate_limit.client_error.total"), 1);
}

#[test]
fn errors_of_its_own_cut_a_client_off() {
    let server = Running::with(|config| {
        config.client.rate_limit.client_error.enabled = true;
        config.client.rate_limit.client_error.total = limit(once(5));
    });
    let (mut bob, mut ann) = (server.member("Bob", "hall"), server.member("Ann", "hall"));
    for id in 3..9 {
        assert_eq!(ask(&mut ann, id, r#""subscribe":{"channel":"hall"}"#), 105, "it is there");
    }
    assert_eq!(ann.closed().0, 3509);
    bob.publish(3, "hall", "2");
}

/// Each kind, a command of it, and another where the same may not come twice.
const KINDS: [(&str, &str, &str); 8] = [
    ("subscribe", r#""subscribe":{"channel":"yard"}"#, r#""subscribe":{"channel":"garden"}"#),
    ("publish", r#""publish":{"channel":"hall","data":1}"#, ""),
    ("history", r#""history":{"channel":"hall"}"#, ""),
    ("presence", r#""presence":{"channel":"hall"}"#, ""),
    ("presence_stats", r#""presence_stats":{"channel":"hall"}"#, ""),
    ("refresh", r#""refresh":{"token":"t"}"#, ""),
    ("sub_refresh", r#""sub_refresh":{"channel":"hall","token":"t"}"#, ""),
    ("rpc", r#""rpc":{"method":"m","data":1}"#, ""),
];

#[test]
fn each_kind_of_command_has_a_limit_and_leaving_is_never_refused() {
    let server = Running::with(|config| {
        let of = &mut config.client.rate_limit.client_command;
        of.enabled = true;
        of.total.enabled = false;
        of.subscribe = limit(once(2));
        let others = [
            &mut of.unsubscribe,
            &mut of.publish,
            &mut of.history,
            &mut of.presence,
            &mut of.presence_stats,
            &mut of.refresh,
            &mut of.sub_refresh,
            &mut of.rpc,
        ];
        for other in others {
            *other = limit(once(1));
        }
    });
    let (mut bob, mut ann) = (server.member("Bob", "hall"), server.member("Ann", "hall"));
    for (nth, (kind, first, second)) in (0..).zip(KINDS) {
        assert_ne!(ask(&mut ann, 10 + 2 * nth, first), 111, "{kind}");
        let second = if second.is_empty() { first } else { second };
        assert_eq!(ask(&mut ann, 11 + 2 * nth, second), 111, "{kind}");
        assert_eq!(refused(&server, &format!("client.rate_limit.client_command.{kind}")), 1);
    }
    for id in [90, 91, 92] {
        assert_eq!(ask(&mut ann, id, r#""unsubscribe":{"channel":"yard"}"#), 0);
    }
    assert_eq!(refused(&server, "client.rate_limit.client_command.unsubscribe"), 2);
    bob.publish(3, "hall", "2");
}

#[test]
fn kinds_that_say_nothing_have_the_default_and_namespaces_their_own() {
    let server = Running::with(|config| {
        let chat = config.channel.without_namespace.clone();
        config.channel.namespaces.insert("chat".to_owned(), chat);
        let of = &mut config.client.rate_limit.client_command;
        of.enabled = true;
        of.default = limit(once(3));
        of.publish = limit(once(1));
        of.publish.overrides = vec![RateOverride { name: "chat".to_owned(), enabled: true, buckets: once(2) }];
    });
    let mut ann = server.member("Ann", "hall");
    let mut asked = |from: u32, command: &str| [0, 1, 2, 3].map(|n| ask(&mut ann, from + n, command));
    assert_eq!(asked(10, r#""publish":{"channel":"hall","data":1}"#), [0, 111, 111, 111]);
    assert_eq!(asked(20, r#""publish":{"channel":"chat:1","data":1}"#), [0, 0, 111, 111]);
    assert_eq!(asked(30, r#""presence":{"channel":"hall"}"#), [0, 0, 0, 111]);
}

#[test]
fn all_connections_of_a_user_share_its_limits() {
    let server = Running::with(|config| {
        name_users(config);
        let of = &mut config.client.rate_limit.user_command;
        of.enabled = true;
        of.connect = limit(once(2));
        of.total = limit(once(4));
    });
    let mut first = of_user(&server, "7");
    let mut second = of_user(&server, "7");
    let mut other = of_user(&server, "8");
    for client in [&mut first, &mut second, &mut other] {
        assert_eq!(error(&client.reply(1)), 0);
    }
    assert_eq!(error(&of_user(&server, "7").reply(1)), 111, "the third");
    let mut found = Vec::new();
    for id in 2..4 {
        for client in [&mut first, &mut second] {
            found.push(ask(client, id, r#""publish":{"channel":"hall","data":1}"#));
        }
    }
    assert_eq!(found, [0, 0, 111, 111], "connecting counts as well");
    assert_eq!(ask(&mut other, 2, r#""publish":{"channel":"hall","data":1}"#), 0);
}

#[test]
fn each_kind_of_command_has_a_limit_that_all_connections_of_a_user_share() {
    let server = Running::with(|config| {
        name_users(config);
        let of = &mut config.client.rate_limit.user_command;
        of.enabled = true;
        of.connect = limit(once(10));
        // What says nothing itself, as `presence_stats`.
        of.default = limit(once(1));
        for own in [
            &mut of.subscribe,
            &mut of.unsubscribe,
            &mut of.publish,
            &mut of.history,
            &mut of.presence,
            &mut of.refresh,
            &mut of.sub_refresh,
            &mut of.rpc,
        ] {
            *own = limit(once(2));
        }
    });
    let [mut first, mut second, mut other] = ["7", "7", "8"].map(|user| {
        let mut client = of_user(&server, user);
        assert_eq!(error(&client.reply(1)), 0);
        client
    });
    for (nth, (kind, command, another)) in (0..).zip(KINDS) {
        let another = if another.is_empty() { command } else { another };
        let rate = if kind == "presence_stats" { 1 } else { 2 };
        let refused_at = |id: u32, client: &mut Client, command| ask(client, 10 * nth + id, command) == 111;
        assert!(!refused_at(10, &mut first, command), "{kind}");
        assert_eq!(refused_at(11, &mut second, another), rate == 1, "{kind}");
        assert!(refused_at(12, &mut first, another), "{kind}");
        assert!(!refused_at(10, &mut other, command), "{kind}");
        assert_eq!(refused(&server, &format!("client.rate_limit.user_command.{kind}")), 3 - rate, "{kind}");
    }
    for id in 100..103 {
        assert_eq!(ask(&mut first, id, r#""unsubscribe":{"channel":"yard"}"#), 0);
    }
    assert_eq!(refused(&server, "client.rate_limit.user_command.unsubscribe"), 1);
}

#[test]
fn a_client_and_a_user_send_so_many_bytes() {
    let server = Running::with(|config| {
        name_users(config);
        let rates = &mut config.client.rate_limit;
        (rates.client_bytes.enabled, rates.client_bytes.buckets) = (true, once(4_000));
        (rates.user_bytes.enabled, rates.user_bytes.buckets) = (true, once(6_000));
    });
    let large = format!(r#""publish":{{"channel":"hall","data":"{}"}}"#, "x".repeat(3_000));
    let [mut first, mut second, mut other] = ["7", "7", "8"].map(|user| {
        let mut client = of_user(&server, user);
        assert_eq!(error(&client.reply(1)), 0);
        client
    });
    assert_eq!([ask(&mut first, 2, &large), ask(&mut first, 3, &large)], [0, 111]);
    assert_eq!(ask(&mut second, 2, &large), 111, "of the user");
    assert_eq!(ask(&mut other, 2, &large), 0);
    for limit in ["client_bytes", "user_bytes"] {
        assert_eq!(refused(&server, &format!("client.rate_limit.{limit}")), 1, "{limit}");
    }
}

#[test]
fn a_client_that_comes_back_to_all_its_rooms_meets_no_limit_and_one_that_floods_does() {
    let server = Running::with(|config| config.client.rate_limit = RateLimit::default());
    let rooms = |from: u32| (0..128).map(move |n| format!(r#"{{"id":{},"subscribe":{{"channel":"r{n}"}}}}"#, from + n));
    for _ in 0..3 {
        let mut ann = server.client();
        let frame: Vec<_> = [r#"{"id":1,"connect":{}}"#.to_owned()].into_iter().chain(rooms(2)).collect();
        ann.send(&frame.join("\n"));
        for id in 1..130 {
            assert_eq!(error(&ann.reply(id)), 0, "{id}");
        }
    }
    let mut eve = server.connected("Eve");
    let flood: Vec<_> = (10..1_000).map(|id| publish(id, "r1", "1")).collect();
    // Until a busy machine has not given back as many as are sent.
    for _ in 0..200 {
        eve.send(&flood.join("\n"));
    }
    assert_eq!(eve.closed().0, 3509);
}
