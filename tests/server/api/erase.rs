//! Erasing messages while the server runs.

use std::fs;
use std::thread;
use std::time::Duration;

use roomcast_server::config::{RecoveryMode, Storage};
use rusqlite::Connection;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};

use super::{error, result, with};
use crate::harness::{Client, Folder, Heard, Running, number, text};
use crate::tokens::{connected, options, token};

/// What nobody is to see.
const SECRET: &str = "an-address-that-nobody-is-to-see";

fn server(storage: Storage, folder: &Folder) -> Running {
    with(|config| {
        config.data_dir.clone_from(&folder.0);
        let options = &mut config.channel.without_namespace;
        (options.storage, options.force_push_join_leave) = (storage, false);
        let mut cache = options.clone();
        (cache.force_recovery, cache.force_recovery_mode) = (true, RecoveryMode::Cache);
        config.channel.namespaces.insert("cache".to_owned(), cache);
    })
}

/// What each publication says, by offset.
fn said(publications: &Value) -> Vec<(u64, Value)> {
    let publications = publications.as_array().map_or(&[][..], |all| all);
    publications.iter().map(|it| (number(&it["offset"]), it["data"].clone())).collect()
}

fn history(server: &Running, room: &str) -> Vec<(u64, Value)> {
    said(&result(server, "history", json!({ "channel": room, "limit": -1 }))["publications"])
}

fn subscribe(client: &mut Client, room: &str, offset: u64, epoch: &str) -> Value {
    client.send(&format!(
        r#"{{"id":7,"subscribe":{{"channel":"{room}","recover":true,"offset":{offset},"epoch":"{epoch}"}}}}"#
    ));
    client.reply(7)["subscribe"].clone()
}

#[test]
fn what_is_erased_is_seen_by_no_way_and_its_place_stays() {
    for storage in [Storage::Off, Storage::Async, Storage::Stored] {
        let folder = Folder::new();
        let server_1 = server(storage, &folder);
        let mut ann = server_1.member("ann", "hall");
        let epoch = text(&result(&server_1, "history", json!({ "channel": "hall" }))["epoch"]).to_owned();
        let mut eve = server_1.connected("eve");
        for id in 2..6 {
            let data = if id == 3 { format!("\"{SECRET}\"") } else { id.to_string() };
            eve.publish(id, "hall", &data);
            ann.publication();
        }
        let erase = |params: Value| result(&server_1, "history_erase", params);
        let one = json!({ "channel": "hall", "offsets": [2], "epoch": epoch });
        assert_eq!(erase(one.clone()), json!({ "erased": 1 }), "{storage:?}");
        assert_eq!(erase(one), json!({ "erased": 0 }), "once");
        let left = vec![(1, json!(2)), (2, Value::Null), (3, json!(4)), (4, json!(5))];
        assert_eq!(history(&server_1, "hall"), left, "{storage:?}");
        let wrong = json!({ "channel": "hall", "offsets": [1], "epoch": "another" });
        assert_eq!(error(&server_1, "history_erase", wrong).0, 112);
        let mut bob = server_1.connected("bob");
        let recovered = subscribe(&mut bob, "hall", 0, &epoch);
        assert_eq!((recovered["recovered"].clone(), said(&recovered["publications"])), (json!(true), left.clone()));
        bob.send(r#"{"id":8,"history":{"channel":"hall","limit":10,"reverse":true}}"#);
        assert_eq!(said(&bob.reply(8)["history"]["publications"])[2], (2, Value::Null));

        // The newest one, in a room that gives it to whoever comes.
        eve.publish(10, "cache:1", &format!("\"{SECRET}\""));
        assert_eq!(erase(json!({ "channel": "cache:1", "offsets": [1] })), json!({ "erased": 1 }));
        let cached = subscribe(&mut bob, "cache:1", 0, "");
        assert_eq!(said(&cached["publications"]), [(1, Value::Null)], "{storage:?}");

        if storage == Storage::Off {
            continue;
        }
        for file in ["rooms.db", "rooms.db-wal"] {
            let bytes = fs::read(folder.0.join(file)).unwrap_or_default();
            assert!(!bytes.windows(SECRET.len()).any(|it| it == SECRET.as_bytes()), "{storage:?}: it is in {file}");
        }
        server_1.stop().expect("it ends");
        let server_2 = server(storage, &folder);
        assert_eq!(history(&server_2, "hall"), left, "{storage:?}");
        // Read into memory by who comes back first.
        let mut cid = server_2.connected("cid");
        assert_eq!(said(&subscribe(&mut cid, "hall", 2, &epoch)["publications"]), left[2..]);
        assert_eq!(result(&server_2, "history_erase", json!({ "channel": "hall", "offsets": [3] }))["erased"], 1);
        let mut dan = server_2.connected("dan");
        let recovered = said(&subscribe(&mut dan, "hall", 2, &epoch)["publications"]);
        assert_eq!(recovered, [(3, Value::Null), (4, json!(5))], "{storage:?}");
    }
}

#[test]
fn what_a_user_has_said_in_a_room_is_erased() {
    for storage in [Storage::Off, Storage::Async, Storage::Stored] {
        let server = with(|config| {
            config.dev = false;
            config.client.token = options().token;
            config.channel.without_namespace.storage = storage;
        });
        let [mut ann, mut eve] = ["ann", "eve"].map(|user| connected(&server, &json!({ "sub": user })));
        for id in 3..8 {
            ann.publish(id, "hall", "1");
            eve.publish(id, "hall", "2");
            eve.publish(id + 100, "yard", "3");
        }
        let erase = |params: Value| result(&server, "history_erase", params)["erased"].clone();
        assert_eq!(erase(json!({ "channel": "hall", "user": "nobody" })), 0);
        assert_eq!(erase(json!({ "channel": "hall", "user": "eve" })), 5, "{storage:?}");
        let data: Vec<Value> = history(&server, "hall").into_iter().map(|(_, data)| data).collect();
        assert_eq!(data, [json!(1), Value::Null].into_iter().cycle().take(10).collect::<Vec<_>>(), "{storage:?}");
        assert_eq!(history(&server, "yard").len(), 5);
        assert!(history(&server, "yard").iter().all(|(_, data)| data == 3), "another room is another matter");
        eve.publish(9, "hall", "4");
        assert_eq!(history(&server, "hall").last(), Some(&(11, json!(4))), "and so is what is said later");
    }
}

#[test]
fn who_is_behind_is_given_the_empty_place() {
    for storage in [Storage::Off, Storage::Async, Storage::Stored] {
        let folder = Folder::new();
        let server = server(storage, &folder);
        let mut ann = server.connected("ann");
        set_socket_recv_buffer_size(&ann.stream, 128 * 1024).expect("a socket option");
        ann.subscribe(2, "hall");
        let mut bob = server.connected("bob");
        // Off the ring where there is a database to go on from.
        const MESSAGES: u64 = 900;
        for number in 1..=MESSAGES {
            bob.publish(number as u32 + 1, "hall", &format!("\"{number} {}\"", "x".repeat(10_000)));
        }
        let offsets: Vec<u64> = (800..=850).collect();
        let erased = result(&server, "history_erase", json!({ "channel": "hall", "offsets": offsets }));
        assert_eq!(erased["erased"], 51);
        for offset in 1..=MESSAGES {
            let publication = ann.publication();
            assert_eq!(number(&publication["offset"]), offset, "{storage:?}");
            assert_eq!(publication["data"].is_null(), offsets.contains(&offset), "{storage:?}: {offset}");
            assert_eq!(publication.get("info").is_none(), offsets.contains(&offset), "{storage:?}: {offset}");
        }
    }
}

/// Members who read nothing of what is published, so many messages of 10 KB.
fn members_behind(server: &Running, messages: u64) -> Vec<Client> {
    let mut slow: Vec<Client> = (0..3).map(|_| server.connected("ann")).collect();
    for ann in &mut slow {
        set_socket_recv_buffer_size(&ann.stream, 128 * 1024).expect("a socket option");
        ann.subscribe(2, "hall");
    }
    let mut bob = server.connected("bob");
    for number in 1..=messages {
        bob.publish(number as u32 + 1, "hall", &format!("\"{number} {}\"", "x".repeat(10_000)));
    }
    slow
}

/// The end of a batch that a socket has begun to take waits for it in the server: it is not given any more.
#[test]
fn who_has_begun_to_take_what_is_erased_is_cut_off_and_comes_again() {
    const MESSAGES: u64 = 900;
    for storage in [Storage::Off, Storage::Stored] {
        let folder = Folder::new();
        let server = server(storage, &folder);
        let slow = members_behind(&server, MESSAGES);
        let offsets: Vec<u64> = (1..=MESSAGES).collect();
        let erased = result(&server, "history_erase", json!({ "channel": "hall", "offsets": offsets }));
        assert_eq!(erased["erased"], MESSAGES);
        let mut are_cut = 0;
        for mut ann in slow {
            let mut given = Vec::new();
            while given.len() < MESSAGES as usize {
                match ann.hear() {
                    Heard::Object(object) => given.push(object["push"]["pub"]["data"].is_null()),
                    Heard::End => break,
                    other => panic!("{storage:?}: heard {other:?}"),
                }
            }
            // Where a whole batch had been taken nothing waits, and she goes on.
            let is_cut = given.len() < MESSAGES as usize;
            assert!(!is_cut || !given.contains(&true), "{storage:?}: nothing comes behind what is kept back");
            are_cut += usize::from(is_cut);
        }
        assert!(are_cut > 0, "{storage:?}");
        let mut again = server.connected("ann");
        let recovered = subscribe(&mut again, "hall", MESSAGES - 100, "");
        assert!(said(&recovered["publications"]).iter().all(|(_, data)| data.is_null()), "{storage:?}");
        assert_eq!(recovered["recovered"], true, "{storage:?}");
    }
}

/// What waits for a socket when its connection is closed is written for a while: not what was erased since.
#[test]
fn who_is_being_closed_is_not_given_what_is_erased_meanwhile() {
    const MESSAGES: u64 = 900;
    let folder = Folder::new();
    let server = server(Storage::Off, &folder);
    let slow = members_behind(&server, MESSAGES);
    for ann in &slow {
        result(&server, "disconnect", json!({ "client": ann.id }));
    }
    let offsets: Vec<u64> = (1..=MESSAGES).collect();
    result(&server, "history_erase", json!({ "channel": "hall", "offsets": offsets }));
    let mut are_cut = 0;
    for mut ann in slow {
        // Nothing comes behind what the system had taken, not even why it was closed.
        let mut heard = ann.hear();
        while let Heard::Object(_) = heard {
            heard = ann.hear();
        }
        are_cut += usize::from(heard == Heard::End);
    }
    assert!(are_cut > 0, "all were given the rest");
}

/// The answer has been read from the database, and its client has not taken those before it.
#[test]
fn what_is_erased_while_an_answer_waits_for_its_client_is_not_in_it() {
    const ANSWERS: u32 = 80;
    let folder = Folder::new();
    let server = with(|config| {
        config.data_dir.clone_from(&folder.0);
        let options = &mut config.channel.without_namespace;
        (options.storage, options.history_size) = (Storage::Async, 20_000);
    });
    let mut eve = server.connected("eve");
    for number in 1..=20 {
        eve.publish(number + 1, "hall", &format!("\"{SECRET} {}\"", "x".repeat(10_000)));
    }
    // Enough for the ring not to have them any more.
    let one = json!({ "publish": { "channel": "hall", "data": 1 } });
    result(&server, "batch", json!({ "commands": vec![one; 9_000] }));
    let mut ann = server.connected("ann");
    set_socket_recv_buffer_size(&ann.stream, 128 * 1024).expect("a socket option");
    let written = || server.metric("roomcast_bytes_out_total");
    let before = written();
    for id in 10..10 + ANSWERS {
        let history = json!({ "channel": "hall", "limit": 20, "since": { "offset": 0, "epoch": "" } });
        ann.send(&json!({ "id": id, "history": history }).to_string());
    }
    let mut after = before;
    while after == before || after != written() {
        after = written();
        thread::sleep(Duration::from_millis(500));
    }
    let offsets: Vec<u64> = (1..=20).collect();
    assert_eq!(result(&server, "history_erase", json!({ "channel": "hall", "offsets": offsets }))["erased"], 20);
    let (mut with, mut length) = (0, 0);
    let mut heard = ann.hear();
    while let Heard::Object(reply) = heard {
        assert_eq!(said(&reply["history"]["publications"]).len(), 20);
        (with, length) = (with + 1, reply.to_string().len() as u64);
        heard = ann.hear();
    }
    // What was on its way has come. For what had been answered and waited for its socket it is to come again.
    assert_eq!(heard, Heard::End);
    assert!((1..u64::from(ANSWERS)).contains(&with), "{with}");
    assert!(with * length < after - before, "{with} of {length} bytes, of {}", after - before);
    let mut ann = server.connected("ann");
    ann.send(
        &json!({ "id": 2, "history": { "channel": "hall", "limit": 20, "since": { "offset": 0, "epoch": "" } } })
            .to_string(),
    );
    let again = ann.reply(2);
    assert!(said(&again["history"]["publications"]).iter().all(|(_, data)| data.is_null()), "{again}");
}

/// Its client is put into two rooms, and into the second one only when somebody has let go of the database.
#[test]
fn what_is_erased_while_a_connect_reply_waits_is_not_in_it() {
    let folder = Folder::new();
    let start = || {
        with(|config| {
            config.dev = false;
            config.client.token = options().token;
            config.data_dir.clone_from(&folder.0);
            let mut stored = config.channel.without_namespace.clone();
            stored.storage = Storage::Stored;
            config.channel.without_namespace.storage = Storage::Off;
            config.channel.namespaces.insert("kept".to_owned(), stored);
        })
    };
    let server = start();
    let mut eve = connected(&server, &json!({ "sub": "eve" }));
    eve.publish(2, "kept:1", "1");
    eve.publish(3, "kept:1", "2");
    drop(eve);
    server.stop().expect("it ends");
    let server = start();
    connected(&server, &json!({ "sub": "eve" })).publish(2, "a", &format!("\"{SECRET}\""));
    let other = Connection::open(folder.0.join("rooms.db")).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("it is free");
    let reply = thread::scope(|scope| {
        // It has what is read of the room, and waits for the database.
        let erasing = scope.spawn(|| result(&server, "history_erase", json!({ "channel": "kept:1", "offsets": [1] })));
        thread::sleep(Duration::from_millis(500));
        let mut ann = server.client();
        let token = token(&json!({ "sub": "ann", "subs": { "a": {}, "kept:1": {} } }));
        let from_the_start = json!({ "recover": true, "offset": 0 });
        let subs = json!({ "a": from_the_start, "kept:1": from_the_start });
        ann.send(&json!({ "id": 1, "connect": { "token": token, "subs": subs } }).to_string());
        thread::sleep(Duration::from_millis(500));
        assert_eq!(result(&server, "history_erase", json!({ "channel": "a", "offsets": [1] }))["erased"], 1);
        other.execute_batch("COMMIT").expect("it was begun");
        assert_eq!(erasing.join().expect("it is answered")["erased"], 1);
        ann.reply(1)
    });
    let found = |room: &str| said(&reply["connect"]["subs"][room]["publications"]);
    assert_eq!(found("a"), [(1, Value::Null)], "{reply}");
    assert_eq!(found("kept:1"), [(1, Value::Null), (2, json!(2))], "{reply}");
}

#[test]
fn what_cannot_be_erased_is_told_why() {
    let server = server(Storage::Off, &Folder::new());
    for (params, code) in [
        (json!({ "offsets": [1] }), 107),
        (json!({ "channel": "hall" }), 107),
        (json!({ "channel": "hall", "offsets": [1], "user": "ann" }), 107),
        (json!({ "channel": "hall", "offsets": [0] }), 107),
        (json!({ "channel": "no:where", "offsets": [1] }), 102),
        (json!({ "channel": "hall", "offsets": vec![1; 10_001] }), 106),
    ] {
        assert_eq!(error(&server, "history_erase", params.clone()).0, code, "{params}");
    }
    for room in ["hall", "new"] {
        let nothing = result(&server, "history_erase", json!({ "channel": room, "offsets": [1] }));
        assert_eq!(nothing, json!({ "erased": 0 }));
    }
}
