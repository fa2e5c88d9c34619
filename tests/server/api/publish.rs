//! Publishing over the server API.

use std::thread;
use std::time::Duration;

use roomcast_server::config::{SlowConsumer, Storage};
use rusqlite::Connection;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};

use super::{error, result, server, with};
use crate::harness::{Folder, number, publish, text};

#[test]
fn what_is_published_is_given_to_everybody_and_kept() {
    let server = server();
    let mut ann = server.member("ann", "hall");
    let told = result(&server, "publish", json!({ "channel": "hall", "data": {"t": 1}, "tags": {"kind": "news"} }));
    assert_eq!(told["offset"], 1);
    assert!(!text(&told["epoch"]).is_empty());
    let heard = ann.publication();
    assert_eq!(
        (&heard["data"], &heard["tags"], &heard["offset"]),
        (&json!({"t": 1}), &json!({"kind": "news"}), &json!(1))
    );
    assert!(heard.get("info").is_none(), "the server is nobody: {heard}");
    // In base64: JSON, and what is none.
    for (b64data, shown) in [("eyJiIjogMn0=", json!({"b": 2})), ("AP8=", json!("AP8="))] {
        result(&server, "publish", json!({ "channel": "hall", "b64data": b64data }));
        assert_eq!(ann.publication()["data"], shown);
    }
    result(&server, "publish", json!({ "channel": "hall", "data": null }));
    assert_eq!(ann.publication()["data"], Value::Null);
    assert_eq!(server.metric("roomcast_api_messages_total"), 4);

    let kept = result(&server, "history", json!({ "channel": "hall", "limit": -1 }));
    assert_eq!((&kept["offset"], &kept["epoch"]), (&json!(4), &told["epoch"]));
    let publications = kept["publications"].as_array().expect("a list");
    assert_eq!(publications.len(), 4);
    assert_eq!((&publications[0]["data"], &publications[0]["tags"]), (&json!({"t": 1}), &json!({"kind": "news"})));
    let newest = result(&server, "history", json!({ "channel": "hall", "limit": 1, "reverse": true }));
    assert_eq!(newest["publications"][0]["offset"], 4);
    let since = json!({ "offset": 2, "epoch": kept["epoch"] });
    let later = result(&server, "history", json!({ "channel": "hall", "limit": 10, "since": since }));
    assert_eq!(later["publications"].as_array().map(Vec::len), Some(2));
    let position = result(&server, "history", json!({ "channel": "hall" }));
    assert_eq!((&position["offset"], &position["publications"]), (&json!(4), &json!([])));
    let lost = json!({ "channel": "hall", "limit": 10, "since": { "offset": 1, "epoch": "another" } });
    assert_eq!(error(&server, "history", lost), (112, "unrecoverable position".to_owned()));
}

#[test]
fn what_cannot_be_published_is_told_why() {
    let server = with(|config| config.websocket.message_size_limit = 2_000);
    for (params, code) in [
        (json!({ "data": 1 }), 107),
        (json!({ "channel": "", "data": 1 }), 107),
        (json!({ "channel": "a\nb", "data": 1 }), 107),
        (json!({ "channel": "x".repeat(256), "data": 1 }), 107),
        (json!({ "channel": "hall" }), 107),
        (json!({ "channel": "hall", "b64data": "?" }), 107),
        (json!({ "channel": "nobody:1", "data": 1 }), 102),
        (json!({ "channel": "hall", "data": "x".repeat(2_000) }), 106),
        (json!({ "channel": "hall", "data": 1, "tags": { "a": "x".repeat(2_000) } }), 106),
        (json!({ "channel": "hall", "data": 1, "tags": tags(16) }), 106),
    ] {
        assert_eq!(error(&server, "publish", params.clone()).0, code, "{params}");
    }
    assert_eq!(server.metric("roomcast_api_messages_total"), 0);
    result(&server, "publish", json!({ "channel": "hall", "data": 1, "tags": tags(8) }));
}

/// So many small ones.
fn tags(count: usize) -> Value {
    (0..count).map(|number| (number.to_string(), json!(""))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_broadcast_is_answered_room_by_room() {
    let server = server();
    let (mut ann, mut bob) = (server.member("ann", "one"), server.member("bob", "two"));
    let told = result(&server, "broadcast", json!({ "channels": ["one", "no:where", "two", ""], "data": 7 }));
    let responses = told["responses"].as_array().expect("a list");
    assert_eq!(responses[0]["result"]["offset"], 1);
    assert_eq!(responses[1]["error"], json!({ "code": 102, "message": "unknown channel" }));
    assert_eq!(responses[2]["result"]["offset"], 1);
    assert_eq!(responses[3]["error"]["code"], 107);
    assert_eq!((ann.publication()["data"].clone(), bob.publication()["data"].clone()), (json!(7), json!(7)));
    assert_eq!(error(&server, "broadcast", json!({ "data": 1 })).0, 107);
    let nothing = result(&server, "broadcast", json!({ "channels": ["a"] }));
    assert_eq!(nothing["responses"][0]["error"]["code"], 107, "some rooms take a message of nothing");
    let many: Vec<String> = (0..10_001).map(|n| format!("r{n}")).collect();
    assert_eq!(error(&server, "broadcast", json!({ "channels": many, "data": 1 })).0, 106);
    let most = result(&server, "broadcast", json!({ "channels": many[..10_000], "data": 1 }));
    assert_eq!(most["responses"].as_array().map(Vec::len), Some(10_000));
}

#[test]
fn a_key_is_published_once_however_often_it_is_sent() {
    let server = server();
    let mut ann = server.member("ann", "hall");
    let publish = |channel: &str, data: u64, key: &str| {
        result(&server, "publish", json!({ "channel": channel, "data": data, "idempotency_key": key }))
    };
    let first = publish("hall", 1, "k");
    assert_eq!(publish("hall", 2, "k"), first, "it is answered as the first one");
    assert_eq!(publish("yard", 3, "k")["offset"], 1, "in another room it is another");
    assert_eq!(publish("hall", 4, "l")["offset"], 2);
    let heard = [ann.publication(), ann.publication()].map(|it| it["data"].clone());
    assert_eq!(heard, [json!(1), json!(4)]);
    let told = json!({ "channels": ["hall", "fore"], "data": 5, "idempotency_key": "k" });
    let responses = result(&server, "broadcast", told);
    assert_eq!(responses["responses"][0]["result"], first);
    assert_eq!(responses["responses"][1]["result"]["offset"], 1);
    let long = json!({ "channel": "hall", "data": 1, "idempotency_key": "k".repeat(256) });
    assert_eq!(error(&server, "publish", long).0, 107);
    // Many at once, on all shards.
    let offsets: Vec<u64> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| number(&publish("attic", 1, "k")["offset"]));
        let asked: Vec<_> = (0..8).map(|_| ask()).collect();
        asked.into_iter().map(|it| it.join().expect("an answer")).collect()
    });
    assert_eq!(offsets, [1; 8]);
    assert_eq!(result(&server, "history", json!({ "channel": "attic" }))["offset"], 1);
}

#[test]
fn an_older_version_is_not_published_after_a_newer_one() {
    let server = with(|config| {
        let mut quiet = config.channel.without_namespace.clone();
        quiet.history_size = 0;
        config.channel.namespaces.insert("quiet".to_owned(), quiet);
    });
    let publish = |version: u64, epoch: &str| {
        let told = json!({ "channel": "hall", "data": version, "version": version, "version_epoch": epoch });
        number(&result(&server, "publish", told)["offset"])
    };
    assert_eq!([publish(5, "a"), publish(4, "a"), publish(5, ""), publish(6, "a"), publish(1, "b")], [1, 1, 1, 2, 3]);
    let kept = result(&server, "history", json!({ "channel": "hall", "limit": 10 }));
    let data: Vec<_> = kept["publications"].as_array().expect("a list").iter().map(|it| number(&it["data"])).collect();
    assert_eq!(data, [5, 6, 1]);
    // The same where nothing is kept.
    let mut ann = server.member("ann", "quiet:1");
    for version in [2, 1, 3] {
        let told = json!({ "channel": "quiet:1", "data": version, "version": version });
        assert_eq!(result(&server, "publish", told), json!({}));
    }
    assert_eq!([ann.publication(), ann.publication()].map(|it| number(&it["data"])), [2, 3]);
}

#[test]
fn a_message_without_history_is_given_to_who_is_there_and_kept_nowhere() {
    for storage in [Storage::Off, Storage::Stored] {
        let server = with(|config| config.channel.without_namespace.storage = storage);
        // One that hears who comes and goes, and one that does not.
        let mut ann = server.member("ann", "hall");
        let mut bob = server.connected("bob");
        bob.send(r#"{"id":2,"subscribe":{"channel":"hall","join_leave":true}}"#);
        bob.reply(2);
        let publish = |data: u64, skip: bool| {
            result(&server, "publish", json!({ "channel": "hall", "data": data, "skip_history": skip }))
        };
        assert_eq!(publish(1, false)["offset"], 1);
        assert_eq!(publish(2, true), json!({}));
        assert_eq!(publish(3, false)["offset"], 2);
        assert_eq!(publish(4, true), json!({}));
        for client in [&mut ann, &mut bob] {
            let heard: Vec<(u64, u64)> =
                (0..4).map(|_| client.publication()).map(|it| (number(&it["data"]), number(&it["offset"]))).collect();
            assert_eq!(heard, [(1, 1), (2, 0), (3, 2), (4, 0)], "{storage:?}: each at its place");
        }
        let kept = result(&server, "history", json!({ "channel": "hall", "limit": 10 }));
        assert_eq!(kept["publications"].as_array().map(Vec::len), Some(2));
        assert_eq!(kept["offset"], 2);
        // Into a room that nobody is in.
        assert_eq!(
            result(&server, "publish", json!({ "channel": "yard", "data": 1, "skip_history": true })),
            json!({})
        );
        let key = json!({ "channel": "hall", "data": 5, "skip_history": true, "idempotency_key": "k" });
        assert_eq!([result(&server, "publish", key.clone()), result(&server, "publish", key)], [json!({}), json!({})]);
        publish(6, false);
        let heard = [ann.publication(), ann.publication()].map(|it| number(&it["data"]));
        assert_eq!(heard, [5, 6], "once");
    }
}

#[test]
fn a_history_that_is_removed_is_seen_no_more_and_its_position_stays() {
    for storage in [Storage::Off, Storage::Stored] {
        let server = with(|config| config.channel.without_namespace.storage = storage);
        let publish = |data: u64| result(&server, "publish", json!({ "channel": "hall", "data": data }));
        assert_eq!(result(&server, "history_remove", json!({ "channel": "hall" })), json!({}), "there is none");
        let epoch = publish(1)["epoch"].clone();
        publish(2);
        assert_eq!(result(&server, "history_remove", json!({ "channel": "hall" })), json!({}));
        let nothing = json!({ "publications": [], "epoch": epoch, "offset": 2 });
        assert_eq!(result(&server, "history", json!({ "channel": "hall", "limit": -1 })), nothing, "{storage:?}");
        assert_eq!(publish(3), json!({ "offset": 3, "epoch": epoch }));
        let left = result(&server, "history", json!({ "channel": "hall", "limit": -1 }));
        let left = left["publications"].as_array().expect("a list");
        assert_eq!((left.len(), &left[0]["data"]), (1, &json!(3)));
        // Who was there before does not recover over it, who was there since does.
        for (offset, recovered) in [(1, false), (2, true), (3, true)] {
            let mut ann = server.connected("ann");
            ann.send(&format!(
                r#"{{"id":2,"subscribe":{{"channel":"hall","recover":true,"epoch":{epoch},"offset":{offset}}}}}"#
            ));
            let reply = ann.reply(2)["subscribe"].clone();
            assert_eq!(reply["recovered"] == true, recovered, "{storage:?} from {offset}: {reply}");
        }
    }
}

#[test]
fn a_history_that_is_removed_takes_nothing_from_who_is_there() {
    for storage in [Storage::Off, Storage::Async, Storage::Stored] {
        let server = with(|config| {
            config.channel.without_namespace.storage = storage;
            config.channel.without_namespace.force_push_join_leave = false;
        });
        let mut ann = server.member("ann", "hall");
        let mut bob = server.connected("bob");
        const MESSAGES: u64 = 900;
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=MESSAGES {
                    bob.send(&publish(number as u32 + 1, "hall", &number.to_string()));
                }
                (1..=MESSAGES).for_each(|number| assert!(bob.reply(number as u32 + 1).get("publish").is_some()));
            });
            let removes = scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(result(&server, "history_remove", json!({ "channel": "hall" })), json!({}));
                }
            });
            for offset in 1..=MESSAGES {
                let heard = ann.publication();
                assert_eq!((number(&heard["offset"]), number(&heard["data"])), (offset, offset), "{storage:?}");
            }
            removes.join().expect("it is removed");
        });
    }
}

#[test]
fn who_is_behind_where_the_history_is_removed_is_told_as_who_is_overrun() {
    for policy in [SlowConsumer::Disconnect, SlowConsumer::Skip] {
        let server = with(|config| {
            let options = &mut config.channel.without_namespace;
            (options.storage, options.slow_consumer) = (Storage::Async, policy);
            options.force_push_join_leave = false;
        });
        let mut ann = server.connected("ann");
        set_socket_recv_buffer_size(&ann.stream, 128 * 1024).expect("a socket option");
        ann.subscribe(2, "hall");
        let mut bob = server.connected("bob");
        // More than sockets and the ring hold.
        const BEFORE: u64 = 1_500;
        for number in 1..=BEFORE {
            bob.publish(number as u32 + 1, "hall", &format!("\"{}\"", "x".repeat(10_000)));
        }
        assert_eq!(result(&server, "history_remove", json!({ "channel": "hall" })), json!({}));
        if policy == SlowConsumer::Disconnect {
            assert_eq!(ann.closed(), (3008, "slow".to_owned()));
            continue;
        }
        let mut offset = 0;
        let push = loop {
            let push = ann.push();
            match push.get("pub") {
                Some(publication) => assert_eq!(number(&publication["offset"]), offset + 1, "none is left out"),
                None => break push,
            }
            offset += 1;
        };
        assert_eq!((text(&push["channel"]), number(&push["unsubscribe"]["code"])), ("hall", 2500));
        assert!(offset < BEFORE, "some are gone");
    }
}

#[test]
fn a_broadcast_publishes_into_all_rooms_before_it_waits_for_any() {
    let folder = Folder::new();
    let server = with(|config| {
        config.data_dir.clone_from(&folder.0);
        config.storage.timeout = Duration::from_secs(600);
        let mut stored = config.channel.without_namespace.clone();
        stored.storage = Storage::Stored;
        config.channel.namespaces.insert("stored".to_owned(), stored);
    });
    let mut ann = server.member("ann", "hall");
    server.connected("bob").subscribe(2, "stored:open");
    let thief = Connection::open(folder.0.join("rooms.db")).expect("the database");
    thief.busy_timeout(Duration::from_secs(10)).expect("a time");
    thief.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    thread::scope(|scope| {
        let told = json!({ "channels": ["stored:open", "stored:new", "hall"], "data": 1 });
        let told = scope.spawn(|| result(&server, "broadcast", told));
        assert_eq!(ann.publication()["data"], 1, "while the disk takes nothing");
        drop(thief);
        let told = told.join().expect("an answer");
        let offsets: Vec<u64> =
            told["responses"].as_array().expect("a list").iter().map(|it| number(&it["result"]["offset"])).collect();
        assert_eq!(offsets, [1, 1, 1]);
    });
}
