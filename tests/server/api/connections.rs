//! Commands of a backend for a user's connections.

use roomcast_server::config::Config;
use serde_json::{Value, json};

use super::{error, result, server, with};
use crate::harness::{Client, Running, number};
use crate::tokens::seconds_from_now;

#[test]
fn connections_obey() {
    let server = server();
    let [mut ann, mut bob, mut cid] = ["ann", "bob", "cid"].map(|name| server.connected(name));
    let of = |client: &str| json!({ "channel": "hall", "client": client });
    assert_eq!(result(&server, "subscribe", of(&ann.id)), json!({}));
    let push = ann.push();
    assert_eq!((&push["channel"], &push["subscribe"]["recoverable"]), (&json!("hall"), &json!(true)));
    result(&server, "publish", json!({ "channel": "hall", "data": 1 }));
    assert_eq!(ann.publication()["data"], 1);
    assert_eq!(result(&server, "unsubscribe", of(&ann.id)), json!({}));
    let left = loop {
        let push = ann.push();
        if push.get("unsubscribe").is_some() {
            break push;
        }
    };
    assert_eq!(left["unsubscribe"]["code"], 2000);
    for method in ["subscribe", "unsubscribe"] {
        assert_eq!(error(&server, method, json!({ "channel": "no:where" })).0, 102);
        assert_eq!(error(&server, method, json!({})).0, 107);
    }
    for wrong in [
        json!({ "code": 1000 }),
        json!({ "code": 5000 }),
        json!({ "code": 4000, "reason": "x".repeat(124) }),
        json!({}),
    ] {
        assert_eq!(error(&server, "disconnect", json!({ "disconnect": wrong })).0, 107);
    }
    let long = json!({ "whitelist": vec!["x"; 10_001] });
    assert_eq!(error(&server, "disconnect", long).0, 106);
    let but = json!({ "whitelist": [bob.id, cid.id], "disconnect": { "code": 4321, "reason": "go home" } });
    assert_eq!(result(&server, "disconnect", but), json!({}));
    assert_eq!(ann.closed(), (4321, "go home".to_owned()));
    bob.send(r#"{"id":9,"presence_stats":{"channel":"hall"}}"#);
    assert_eq!(bob.reply(9)["presence_stats"]["num_clients"], 0, "it is still there");
    let again = json!({ "code": 3011, "reason": "force reconnect" });
    result(&server, "disconnect", json!({ "client": bob.id, "disconnect": again }));
    assert_eq!(bob.closed(), (3011, "force reconnect".to_owned()));
    result(&server, "disconnect", json!({ "user": "nobody" }));
    result(&server, "disconnect", json!({ "client": cid.id }));
    assert_eq!(cid.closed(), (3503, "force disconnect".to_owned()));
}

/// The first push of that kind that comes, others passed over.
fn push(client: &mut Client, kind: &str) -> Value {
    loop {
        let mut push = client.push();
        if push.get(kind).is_some() {
            return push[kind].take();
        }
    }
}

#[test]
fn a_subscription_is_made_with_what_is_said_of_it() {
    let server = with(|config: &mut Config| {
        let options = &mut config.channel.without_namespace;
        (options.force_recovery, options.allow_recovery, options.presence) = (false, false, true);
        (options.allow_history_for_client, options.allow_history_for_subscriber) = (false, false);
        (options.allow_positioning, options.force_positioning) = (false, false);
    });
    for data in 1..=3 {
        result(&server, "publish", json!({ "channel": "hall", "data": data }));
    }
    let mut ann = server.connected("ann");
    let told = json!({
        "channel": "hall",
        "client": ann.id,
        "info": { "role": "host" },
        "data": { "hello": [1, 2] },
        "recover_since": { "offset": 1 },
        "override": { "force_recovery": { "value": true } },
    });
    assert_eq!(result(&server, "subscribe", told), json!({}));
    let made = push(&mut ann, "subscribe");
    assert_eq!(
        (&made["data"], &made["recoverable"], &made["offset"]),
        (&json!({"hello": [1, 2]}), &json!(true), &json!(1))
    );
    let missed = [push(&mut ann, "pub"), push(&mut ann, "pub")].map(|it| number(&it["data"]));
    assert_eq!(missed, [2, 3]);
    result(&server, "publish", json!({ "channel": "hall", "data": 4 }));
    assert_eq!(push(&mut ann, "pub")["offset"], 4, "and goes on from there");
    let here = result(&server, "presence", json!({ "channel": "hall" }));
    assert_eq!(here["presence"][&ann.id]["chan_info"], json!({ "role": "host" }));
    // Without all that.
    let mut bob = server.connected("bob");
    result(&server, "subscribe", json!({ "channel": "hall", "client": bob.id, "recover_since": { "offset": 1 } }));
    let made = push(&mut bob, "subscribe");
    assert_eq!(made, json!({}), "nothing is granted that the room does not");
    // It may not be seen there.
    let mut cid = server.connected("cid");
    let hidden = json!({ "channel": "hall", "client": cid.id, "override": { "presence": { "value": false } } });
    result(&server, "subscribe", hidden);
    push(&mut cid, "subscribe");
    assert_eq!(result(&server, "presence_stats", json!({ "channel": "hall" }))["num_clients"], 2);
    let large = "x".repeat(70_000);
    for (wrong, code) in [
        (json!({ "channel": "hall", "b64data": "?" }), 107),
        (json!({ "channel": "hall", "b64info": "?" }), 107),
        (json!({ "channel": "hall", "expire_at": 1 }), 107),
        (json!({ "channel": "hall", "expire_at": -1 }), 107),
        (json!({ "channel": "hall", "data": large }), 106),
        (json!({ "channel": "hall", "info": large }), 106),
    ] {
        assert_eq!(error(&server, "subscribe", wrong.clone()).0, code, "{wrong}");
    }
}

/// A server on which what is said to end ends.
fn with_ends() -> Running {
    with(|config| {
        config.dev = false;
        config.client.ping_interval = std::time::Duration::from_secs(25);
    })
}

#[test]
fn a_subscription_ends_when_it_is_said_to() {
    let server = with_ends();
    let mut ann = server.connected("ann");
    let soon = seconds_from_now(2);
    result(&server, "subscribe", json!({ "channel": "hall", "client": ann.id, "expire_at": soon }));
    push(&mut ann, "subscribe");
    assert_eq!(ann.closed(), (3006, "subscription expired".to_owned()));
}

#[test]
fn a_connection_is_let_stay_and_ended() {
    let server = with_ends();
    let mut ann = server.connected("ann");
    let later = json!({ "client": ann.id, "expire_at": seconds_from_now(3_600), "info": { "plan": "paid" } });
    assert_eq!(result(&server, "refresh", later), json!({}));
    let told = push(&mut ann, "refresh");
    let ttl = number(&told["ttl"]);
    assert!(told["expires"] == true && (3_500..=3_600).contains(&ttl), "{told}");
    assert_eq!(result(&server, "refresh", json!({ "client": ann.id })), json!({}));
    assert_eq!(push(&mut ann, "refresh"), json!({}), "for good");
    ann.subscribe(2, "hall");
    let here = result(&server, "presence", json!({ "channel": "hall" }));
    assert_eq!(here["presence"][&ann.id]["conn_info"], json!({ "plan": "paid" }));
    result(&server, "refresh", json!({ "client": ann.id, "expired": true }));
    assert_eq!(ann.closed(), (3005, "connection expired".to_owned()));
    let mut bob = server.connected("bob");
    result(&server, "refresh", json!({ "client": bob.id, "expire_at": 1_000 }));
    assert_eq!(bob.closed().0, 3005);
    assert_eq!(error(&server, "refresh", json!({ "info": "x".repeat(70_000) })).0, 106);
}
