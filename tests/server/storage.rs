//! Rooms whose messages are kept in the database.

use std::time::Duration;

use roomcast_server::config::{Config, Overload};
use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{Client, Folder, Running, eventually, number, of_each_storage, publish, text};

/// A server with rooms of each kind that keeps them in `folder`.
fn keeping(folder: &Folder, change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.data_dir.clone_from(&folder.0);
        of_each_storage(config);
        change(config);
    })
}

fn history(client: &mut Client, id: u32, room: &str, what: &str) -> Value {
    client.send(&format!(r#"{{"id":{id},"history":{{"channel":"{room}"{what}}}}}"#));
    client.reply(id)
}

fn offsets(result: &Value) -> Vec<u64> {
    let publications = result["publications"].as_array().cloned().unwrap_or_default();
    publications.iter().map(|publication| number(&publication["offset"])).collect()
}

fn recover(client: &mut Client, id: u32, room: &str, offset: u64, epoch: &str) -> Value {
    client.send(&format!(
        r#"{{"id":{id},"subscribe":{{"channel":"{room}","recover":true,"offset":{offset},"epoch":"{epoch}"}}}}"#
    ));
    client.reply(id)["subscribe"].clone()
}

/// Publishes `count` messages whose payloads are their offsets, some at a time.
fn publish_many(client: &mut Client, room: &str, first: u64, count: u64) {
    for start in (first..first + count).step_by(64) {
        let numbers = start..(start + 64).min(first + count);
        numbers.clone().for_each(|n| client.send(&publish(1_000_000 + n as u32, room, &n.to_string())));
        for n in numbers {
            let reply = client.reply(1_000_000 + n as u32);
            assert!(reply.get("publish").is_some(), "{reply}");
        }
    }
}

#[test]
fn a_drained_server_goes_on_where_it_ended() {
    let folder = Folder::new();
    let mut epochs = Vec::new();
    for run in 0..3 {
        let server = keeping(&folder, |_| {});
        let mut ann = server.connected("Ann");
        for (id, room) in [(10, "async:hall"), (20, "stored:hall"), (30, "plain")] {
            let joined = ann.subscribe(id, room);
            assert_eq!(number(&joined["offset"]), run, "{room}");
            epochs.push((room, text(&joined["epoch"]).to_owned()));
            ann.publish(id + 1, room, &run.to_string());
            assert_eq!(number(&ann.publication()["offset"]), run + 1);
            let all = history(&mut ann, id + 2, room, r#","limit":10"#)["history"].clone();
            assert_eq!(offsets(&all), (1..=run + 1).collect::<Vec<_>>(), "{room} {all}");
            assert_eq!(number(&all["publications"][0]["data"]), 0);
            assert_eq!(all["publications"][0]["info"]["conn_info"]["name"], "Ann");
        }
        drop(ann);
        server.stop().expect("a clean end");
    }
    for (room, epoch) in &epochs {
        assert!(epochs.iter().all(|(other, it)| other != room || it == epoch), "{room} has one epoch: {epochs:?}");
    }
}

#[test]
fn who_comes_back_after_a_restart_recovers() {
    let folder = Folder::new();
    let server = keeping(&folder, |_| {});
    let mut bob = server.connected("Bob");
    let epoch = text(&bob.subscribe(2, "async:hall")["epoch"]).to_owned();
    let mut ann = server.connected("Ann");
    publish_many(&mut ann, "async:hall", 1, 5);
    drop((ann, bob));
    server.stop().expect("a clean end");

    let server = keeping(&folder, |_| {});
    let mut bob = server.connected("Bob");
    let back = recover(&mut bob, 2, "async:hall", 2, &epoch);
    assert_eq!((&back["recovered"], offsets(&back)), (&Value::from(true), vec![3, 4, 5]), "{back}");
    let mut ann = server.connected("Ann");
    publish_many(&mut ann, "async:hall", 6, 1);
    assert_eq!(number(&bob.publication()["offset"]), 6, "and it goes on, without gap or overlap");
    let stranger = recover(&mut ann, 3, "async:hall", 2, "another");
    assert_eq!((stranger.get("recovered"), offsets(&stranger)), (None, vec![]));
}

#[test]
fn the_past_is_one_in_ring_and_database() {
    const MESSAGES: u64 = 5_000;
    let folder = Folder::new();
    let server = keeping(&folder, |config| config.storage.overload = Overload::Wait);
    let mut ann = server.connected("Ann");
    for room in ["async:hall", "stored:hall"] {
        publish_many(&mut ann, room, 1, MESSAGES);
        let epoch = text(&history(&mut ann, 2, room, "")["history"]["epoch"]).to_owned();
        let mut read = |what: &str| history(&mut ann, 3, room, what)["history"].clone();
        assert_eq!(offsets(&read(r#","limit":3"#)), [1, 2, 3]);
        assert_eq!(offsets(&read(r#","limit":2,"reverse":true"#)), [5_000, 4_999]);
        let since =
            |offset: u64, rest: &str| format!(r#","limit":300,"since":{{"offset":{offset},"epoch":"{epoch}"}}{rest}"#);
        // Across the border of what the ring has.
        for start in [0, 100, MESSAGES - 1_100, MESSAGES - 1_024, MESSAGES - 900, MESSAGES - 2, MESSAGES] {
            let page = read(&since(start, ""));
            assert_eq!(offsets(&page), (start + 1..=(start + 300).min(MESSAGES)).collect::<Vec<_>>(), "{room} {start}");
            let page = read(&since(start, r#","reverse":true"#));
            let expected: Vec<_> = (start.saturating_sub(300).max(1)..start).rev().take(300).collect();
            assert_eq!(offsets(&page), expected, "{room} back from {start}");
        }
        let page = read(&since(1_000, ""));
        assert!(page["publications"].as_array().unwrap().iter().all(|it| it["data"] == it["offset"]), "{page}");
    }
}

#[test]
fn a_client_recovers_more_than_the_ring_has() {
    const MESSAGES: u64 = 3_000;
    let folder = Folder::new();
    let server = keeping(&folder, |config| {
        config.client.recovery_max_publication_limit = MESSAGES as usize;
        config.storage.overload = Overload::Wait;
    });
    let mut ann = server.connected("Ann");
    for room in ["async:hall", "stored:hall"] {
        publish_many(&mut ann, room, 1, MESSAGES);
        let mut bob = server.connected("Bob");
        let back = recover(&mut bob, 2, room, 10, "");
        assert_eq!(back["recovered"], true, "{room}");
        assert_eq!(offsets(&back), (11..=MESSAGES).collect::<Vec<_>>());
        publish_many(&mut ann, room, MESSAGES + 1, 1);
        assert_eq!(number(&bob.publication()["offset"]), MESSAGES + 1);
    }
}

/// Keeps the database from being written.
fn seize(folder: &Folder) -> Connection {
    let thief = Connection::open(folder.0.join("rooms.db")).expect("the database");
    thief.busy_timeout(Duration::from_secs(10)).expect("a time");
    thief.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    thief
}

#[test]
fn what_is_to_be_stored_is_neither_acknowledged_nor_delivered_nor_told_before_it_is() {
    let folder = Folder::new();
    let server = keeping(&folder, |config| config.storage.timeout = Duration::from_secs(60));
    let mut ann = server.connected("Ann");
    ann.publish(2, "stored:hall", "1");
    let mut bob = server.connected("Bob");
    bob.subscribe(2, "stored:hall");
    bob.subscribe(3, "off:bell");
    let thief = seize(&folder);
    ann.send(&publish(3, "stored:hall", "2"));
    // What comes behind it, through another connection, overtakes it.
    let mut eve = server.connected("Eve");
    eve.publish(4, "off:bell", "\"ding\"");
    assert_eq!(bob.publication()["data"], "ding");
    assert!(bob.pushes.iter().all(|push| push.get("pub").is_none()), "{:?}", bob.pushes);
    let joined = eve.subscribe(5, "stored:hall");
    assert_eq!(number(&joined["offset"]), 1, "nobody is told of a position that may be lost");
    let seen = history(&mut eve, 6, "stored:hall", r#","limit":10"#)["history"].clone();
    assert_eq!((offsets(&seen), number(&seen["offset"])), (vec![1], 1));
    drop(thief);
    assert!(ann.reply(3).get("publish").is_some());
    assert_eq!(number(&bob.publication()["offset"]), 2);
    assert_eq!(number(&eve.publication()["offset"]), 2);
}

#[test]
fn who_publishes_faster_than_the_database_takes_it_is_refused_and_nothing_is_lost() {
    let folder = Folder::new();
    let server = keeping(&folder, |_| {});
    let mut ann = server.connected("Ann");
    ann.publish(2, "async:hall", "0");
    eventually("the first one is stored", || server.metric("roomcast_storage_messages_total") >= 1);
    let thief = seize(&folder);
    let mut taken = 1;
    let refusal = loop {
        ann.send(&publish(3, "async:hall", "1"));
        let reply = ann.reply(3);
        match reply.get("error") {
            None => taken += 1,
            Some(error) => break error.clone(),
        }
        assert!(taken < 100_000, "what waits for the database is bounded");
    };
    assert_eq!((number(&refusal["code"]), &refusal["temporary"]), (111, &Value::from(true)));
    assert!(taken > 1_000, "a whole ring is taken: {taken}");
    drop(thief);
    eventually("the database has it all", || server.metric("roomcast_storage_messages_total") >= taken);
    ann.publish(4, "async:hall", "2");
    let newest = history(&mut ann, 5, "async:hall", r#","limit":1,"reverse":true"#)["history"].clone();
    assert_eq!(offsets(&newest), [taken + 1]);
}

#[test]
fn where_publishers_may_wait_they_wait() {
    let folder = Folder::new();
    let server = keeping(&folder, |config| {
        config.storage.overload = Overload::Wait;
        config.storage.timeout = Duration::from_secs(60);
    });
    let mut ann = server.connected("Ann");
    ann.publish(2, "async:hall", "0");
    let thief = seize(&folder);
    let flood = std::thread::spawn(move || {
        publish_many(&mut ann, "async:hall", 2, 20_000);
        ann
    });
    std::thread::sleep(Duration::from_millis(300));
    drop(thief);
    let mut ann = flood.join().expect("nobody is refused");
    let newest = history(&mut ann, 3, "async:hall", r#","limit":1,"reverse":true"#)["history"].clone();
    assert_eq!(offsets(&newest), [20_001]);
}

#[test]
fn a_publisher_that_waits_too_long_for_the_disk_is_told_to_try_again() {
    let folder = Folder::new();
    let server = keeping(&folder, |config| config.storage.timeout = Duration::from_millis(300));
    let mut ann = server.connected("Ann");
    ann.publish(2, "stored:hall", "0");
    let thief = seize(&folder);
    ann.send(&publish(3, "stored:hall", "1"));
    assert_eq!(number(&ann.reply(3)["error"]["code"]), 111);
    drop(thief);
}

#[test]
fn a_member_that_does_not_read_is_given_everything_when_it_does() {
    const MESSAGES: u64 = 20_000;
    let folder = Folder::new();
    let server = keeping(&folder, |config| config.storage.overload = Overload::Wait);
    let mut ann = server.connected("Ann");
    let mut bob = server.connected("Bob");
    bob.subscribe(2, "async:hall");
    // More than all the buffers between the two hold, and twenty times what the ring does.
    let text = "x".repeat(1_000);
    for first in (1..=MESSAGES).step_by(64) {
        let numbers = first..(first + 64).min(MESSAGES + 1);
        numbers.clone().for_each(|n| ann.send(&publish(n as u32 + 9, "async:hall", &format!("[{n},\"{text}\"]"))));
        numbers.for_each(|n| assert!(ann.reply(n as u32 + 9).get("publish").is_some()));
    }
    for n in 1..=MESSAGES {
        let publication = bob.publication();
        assert_eq!((number(&publication["offset"]), number(&publication["data"][0])), (n, n));
    }
    assert_eq!(server.metric("roomcast_slow_consumers_total"), 0);
}

#[test]
fn retention_bounds_what_is_seen() {
    let folder = Folder::new();
    let server = keeping(&folder, |config| {
        for room in config.channel.namespaces.values_mut() {
            room.storage_size = 10;
        }
    });
    let mut ann = server.connected("Ann");
    publish_many(&mut ann, "async:hall", 1, 50);
    let all = history(&mut ann, 2, "async:hall", r#","limit":100"#)["history"].clone();
    assert_eq!(offsets(&all), (41..=50).collect::<Vec<_>>());
    let back = recover(&mut ann, 3, "async:hall", 39, "");
    assert_eq!((back.get("recovered"), offsets(&back)), (None, vec![]), "the fortieth is gone");
    let mut bob = server.connected("Bob");
    assert_eq!(recover(&mut bob, 3, "async:hall", 40, "")["recovered"], true);
}

/// The lock is deleted and a second server started: the first one stops loudly, and what either has acknowledged is there.
#[test]
fn a_server_whose_database_another_has_taken_refuses_and_says_so() {
    let folder = Folder::new();
    let first = keeping(&folder, |config| config.storage.timeout = Duration::from_secs(60));
    let mut ann = first.connected("Ann");
    let joined = ann.subscribe(2, "stored:hall");
    ann.subscribe(3, "async:hall");
    for room in ["stored:hall", "async:hall"] {
        ann.publish(4, room, "\"first\"");
    }
    eventually("it is stored", || first.metric("roomcast_storage_messages_total") >= 2);
    assert!(first.get("/health", "").0.starts_with("HTTP/1.1 200"));
    std::fs::remove_file(folder.0.join("rooms.db.lock")).expect("there is a lock");
    let second = keeping(&folder, |_| {});
    let mut bob = second.connected("Bob");
    let taken_over = bob.subscribe(2, "stored:hall");
    assert_eq!((&taken_over["epoch"], number(&taken_over["offset"])), (&joined["epoch"], 1));
    ann.send(&publish(5, "stored:hall", "\"lost\""));
    assert_eq!(number(&ann.reply(5)["error"]["code"]), 111, "who waits for the disk is answered");
    for (id, room) in [(6, "stored:hall"), (7, "async:hall"), (8, "async:new"), (9, "stored:new")] {
        ann.send(&publish(id, room, "\"lost\""));
        let refused = ann.reply(id);
        assert_eq!(number(&refused["error"]["code"]), 111, "{room}: {refused}");
    }
    ann.publish(10, "off:bell", "\"ding\"");
    bob.publish(5, "stored:hall", "\"second\"");
    let all = history(&mut bob, 6, "stored:hall", r#","limit":10"#)["history"].clone();
    let said = |n: usize| text(&all["publications"][n]["data"]).to_owned();
    assert_eq!((offsets(&all), said(0), said(1)), (vec![1, 2], "first".to_owned(), "second".to_owned()));
    let (head, body) = first.get("/health", "");
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("storage has stopped"), "{head} {body}");
    assert!(second.get("/health", "").0.starts_with("HTTP/1.1 200"));
    assert_eq!((first.metric("roomcast_storage_trouble"), second.metric("roomcast_storage_trouble")), (1, 0));
    drop((ann, bob));
    let told = first.stop().expect_err("not everything was stored").to_string();
    assert!(told.contains("another process has used") && told.contains("restart this one"), "{told}");
    second.stop().expect("a clean end");
}

#[test]
fn two_servers_do_not_share_a_database() {
    let folder = Folder::new();
    let first = keeping(&folder, |_| {});
    first.connected("Ann");
    let mut config = Config::dev();
    config.http_server.port = 0;
    config.data_dir.clone_from(&folder.0);
    let second = roomcast_server::Server::bind(config).expect("a port");
    let refused = second.run().expect_err("the database is taken").to_string();
    assert!(refused.contains("another process"), "{refused}");
}
