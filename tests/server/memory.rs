//! The memory that a server takes, whatever its clients do: within what it was given, and whoever wants more is told so.
//!
//! The binary runs in a process of its own, and what the system says of that process is judged.

use std::io::{Read as _, Write as _};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::Value;

use crate::crash::Process;
use crate::frames::frame;
use crate::harness::{Client, Folder, dial, eventually, number, publish, text};

/// What the server is given.
const LIMIT: u64 = 256 << 20;

/// Rooms whose messages are in memory and nowhere else.
const MEMORY: &str = r#"
[client]
history_max_publication_limit = 1000
recovery_max_publication_limit = 1000
write_timeout = "1h"
ping_interval = "-1"
pong_timeout = "-1"
[channel.without_namespace]
storage = "off"
history_size = 1000
history_ttl = "1h"
"#;

fn server_by(folder: &Folder, text: &str) -> Process {
    let variables = [("ROOMCAST_MEMORY_LIMIT", LIMIT.to_string().into()), ("ROOMCAST_SHARDS", "2".into())];
    Process::start_by(folder, text, &variables)
}

/// As long a message as fits into a frame.
fn large() -> String {
    format!("\"{}\"", "x".repeat(60_000))
}

/// Publishes into rooms, some at a time; what each was answered.
fn publish_all(client: &mut Client, rooms: impl Iterator<Item = String>, data: &str) -> Vec<Option<u64>> {
    let rooms: Vec<_> = rooms.collect();
    let mut answers = Vec::new();
    for rooms in rooms.chunks(16) {
        rooms.iter().zip(10..).for_each(|(room, id)| client.send(&publish(id, room, data)));
        for id in (10..).take(rooms.len()) {
            let reply = client.reply(id);
            answers.push(reply.get("error").map(|error| number(&error["code"])));
        }
    }
    answers
}

/// A client that says something and reads nothing from then on.
fn deaf(server: &Process, says: &str) -> Client {
    let stream = dial(server.address);
    set_socket_recv_buffer_size(&stream, 16 * 1024).expect("a socket option");
    let mut client = Client::over(stream);
    client.send(r#"{"id":1,"connect":{}}"#);
    client.reply(1);
    client.send(says);
    client
}

/// Whoever does nothing of that kind is served.
fn is_served(server: &Process) {
    let (mut ann, mut bob) = (server.connected(), server.connected());
    ann.subscribe(2, "honest");
    bob.publish(2, "honest", "1");
    assert_eq!(ann.publication()["data"], 1);
}

fn stays_within(server: &Process, what: &str) {
    let peak = server.memory("VmHWM");
    assert!(peak < LIMIT, "{peak} bytes of {LIMIT} at most: {what}");
}

fn histories(count: u32) -> String {
    let command = |id| format!(r#"{{"id":{id},"history":{{"channel":"hall","limit":1000}}}}"#);
    (2..2 + count).map(command).collect::<Vec<_>>().join("\n")
}

#[test]
fn clients_that_ask_for_much_and_take_nothing_are_held_little() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let answers = publish_all(&mut server.connected(), (0..300).map(|_| "hall".to_owned()), &large());
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
    let deaf: Vec<_> = (0..200).map(|_| deaf(&server, &histories(4))).collect();
    is_served(&server);
    // Who takes what it asks for has all of it, a page after the other.
    let mut reader = server.connected();
    let (mut offset, mut epoch) = (0, String::new());
    while offset < 300 {
        reader.send(&format!(
            r#"{{"id":2,"history":{{"channel":"hall","limit":1000,"since":{{"offset":{offset},"epoch":"{epoch}"}}}}}}"#
        ));
        let reply = reader.reply(2);
        match reply.get("error") {
            Some(error) => assert_eq!(error["code"], 111, "{error}"),
            None => {
                let page = reply["history"]["publications"].as_array().expect("publications");
                assert_eq!(number(&page[0]["offset"]), offset + 1);
                offset += page.len() as u64;
                epoch = text(&reply["history"]["epoch"]).to_owned();
            }
        }
    }
    stays_within(&server, "200 clients that take nothing");
    drop(deaf);
    eventually("what was held is given back", || server.metric("roomcast_memory_used_bytes{share=\"replies\"}") == 0);
    eventually("and comes to the system", || server.memory("VmRSS") < LIMIT / 2);
}

#[test]
fn large_messages_in_many_rooms_drive_out_the_coldest() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let mut ann = server.connected();
    ann.subscribe(2, "room0");
    let mut eve = server.connected();
    let answers = publish_all(&mut eve, (0..6_000).map(|room| format!("room{room}")), &large());
    assert!(answers.iter().all(Option::is_none), "colder ones go for it");
    stays_within(&server, "360 MB in 6,000 rooms");
    is_served(&server);
    // The first room has a member, and stays while there are others.
    assert_eq!(ann.publication()["offset"], 1);
    eve.publish(3, "room0", "2");
    assert_eq!(ann.publication()["offset"], 2);
    // The second has lost what it had, and says so.
    ann.send(r#"{"id":3,"subscribe":{"channel":"room1","recover":true,"offset":0,"epoch":""}}"#);
    let back = &ann.reply(3)["subscribe"];
    assert_ne!(back["recovered"], true, "{back}");
}

#[test]
fn members_of_rooms_that_are_let_go_are_told() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let rooms: Vec<_> = (0..2_000).map(|room| format!("room{room}")).collect();
    let member = |rooms: &[String]| {
        let mut client = server.connected();
        let subscribe = |(room, id): (&String, u32)| format!(r#"{{"id":{id},"subscribe":{{"channel":"{room}"}}}}"#);
        client.send(&rooms.iter().zip(2..).map(subscribe).collect::<Vec<_>>().join("\n"));
        (2..).take(rooms.len()).for_each(|id| assert!(client.reply(id).get("subscribe").is_some()));
        client
    };
    let mut members: Vec<_> = rooms.chunks(100).map(member).collect();
    let answers = publish_all(&mut server.connected(), rooms.iter().cloned(), &large());
    assert!(answers.iter().all(Option::is_none), "colder ones go for it");
    let told = |push: &Value| push["unsubscribe"]["code"] == 2500;
    let expelled = std::iter::repeat_with(|| members[0].push()).find(told).expect("one of the coldest");
    let room = text(&expelled["channel"]).to_owned();
    members[0].send(&format!(r#"{{"id":300,"subscribe":{{"channel":"{room}","recover":true,"epoch":""}}}}"#));
    let back = &members[0].reply(300)["subscribe"];
    assert_ne!(back["recovered"], true, "{back}");
    stays_within(&server, "2,000 rooms with a member each");
}

#[test]
fn places_in_rooms_beyond_what_there_is_memory_for_are_refused() {
    let folder = Folder::new();
    let variables = [("ROOMCAST_MEMORY_LIMIT", (128_u64 << 20).to_string().into())];
    let server = Process::start_by(&folder, MEMORY, &variables);
    let subscribe = |id: u32| format!(r#"{{"id":{id},"subscribe":{{"channel":"room{id}"}}}}"#);
    let frame = (2..122).map(subscribe).collect::<Vec<_>>().join("\n");
    let mut refused = 0;
    let members: Vec<_> = (0..200)
        .map(|_| {
            let mut client = server.connected();
            client.send(&frame);
            for id in 2..122 {
                let reply = client.reply(id);
                if let Some(error) = reply.get("error") {
                    assert_eq!(error["code"], 106, "{reply}");
                    refused += 1;
                }
            }
            client
        })
        .collect();
    assert!(refused > 1_000 && refused < 20_000, "{refused} of 24,000");
    let peak = server.memory("VmHWM");
    assert!(peak < 128 << 20, "{peak} bytes");
    members.into_iter().for_each(drop);
    eventually("there is memory again", || server.connected().subscribe(2, "room1").is_object());
}

#[test]
fn who_reads_is_answered_beside_many_who_do_not() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let answers = publish_all(&mut server.connected(), (0..300).map(|_| "hall".to_owned()), &large());
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
    let deaf: Vec<_> = (0..400).map(|_| deaf(&server, &histories(8))).collect();
    eventually("those go who take nothing", || server.metric("roomcast_closes_total{code=\"3008\"}") > 0);
    let mut reader = server.connected();
    eventually("there is memory for an answer", || {
        reader.send(r#"{"id":2,"history":{"channel":"hall","limit":1000}}"#);
        let reply = reader.reply(2);
        reply["history"]["publications"].as_array().is_some_and(|page| page.len() >= 10)
    });
    stays_within(&server, "400 clients that take nothing");
    drop(deaf);
}

#[test]
fn a_room_has_no_more_bytes_in_memory_than_it_may() {
    let folder = Folder::new();
    let server = server_by(&folder, &format!("{MEMORY}ring_size_bytes = 4194304\n"));
    let mut eve = server.connected();
    let answers = publish_all(&mut eve, (0..200).map(|_| "hall".to_owned()), &large());
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
    eve.send(r#"{"id":2,"history":{"channel":"hall","limit":1000}}"#);
    let reply = eve.reply(2);
    let page = reply["history"]["publications"].as_array().expect("publications");
    let oldest = number(&page[0]["offset"]);
    assert!((131..=190).contains(&oldest), "4 MiB are 69 of them: {oldest}");
    assert_eq!(number(&reply["history"]["offset"]), 200);
}

#[test]
fn rooms_beyond_what_there_is_memory_for_are_refused() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let answers = publish_all(&mut server.connected(), (0..36_000).map(|room| format!("room{room}")), "1");
    let refused: Vec<_> = answers.iter().flatten().collect();
    assert!(!refused.is_empty() && refused.iter().all(|code| **code == 106), "{refused:?}");
    assert!(refused.len() < 28_000, "{} of them", refused.len());
    stays_within(&server, "36,000 rooms");
    let mut ann = server.connected();
    ann.publish(2, "room1", "1");
}

#[test]
fn a_client_that_is_put_into_many_rooms_has_a_reply_of_bounded_size_and_all_messages() {
    let folder = Folder::new();
    let rooms: Vec<_> = (0..16).map(|room| format!("room{room}")).collect();
    let put_into = format!("[client]\nsubscribe_on_connect = {rooms:?}\n");
    let server = server_by(&folder, &MEMORY.replacen("[client]\n", &put_into, 1));
    let mut eve = server.connected();
    let answers = publish_all(&mut eve, (0..16 * 50).map(|n| format!("room{}", n % 16)), &large());
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
    let epochs: Vec<_> = (rooms.iter().zip(2..))
        .map(|(room, id)| {
            eve.send(&format!(r#"{{"id":{id},"history":{{"channel":"{room}","limit":0}}}}"#));
            text(&eve.reply(id)["history"]["epoch"]).to_owned()
        })
        .collect();
    let mut ann = Client::open(server.address);
    let subs = rooms.iter().zip(&epochs);
    let subs = subs.map(|(room, epoch)| format!(r#""{room}":{{"recover":true,"offset":0,"epoch":"{epoch}"}}"#));
    ann.send(&format!(r#"{{"id":1,"connect":{{"subs":{{{}}}}}}}"#, subs.collect::<Vec<_>>().join(",")));
    let reply = ann.reply(1);
    let mut next: Vec<u64> = Vec::new();
    for room in &rooms {
        let subscribed = &reply["connect"]["subs"][room];
        assert_eq!(subscribed["recovered"], true, "{room}");
        let found = subscribed["publications"].as_array().map_or(0, Vec::len);
        next.push(found as u64);
    }
    assert!(next.iter().sum::<u64>() < 120, "{next:?}");
    while next.iter().any(|offset| *offset < 50) {
        let push = ann.push();
        let Some(publication) = push.get("pub") else { continue };
        let room = rooms.iter().position(|room| *room == text(&push["channel"])).expect("one of these");
        next[room] += 1;
        assert_eq!(number(&publication["offset"]), next[room], "{}", rooms[room]);
    }
    // The same from many who take nothing.
    let connect = |_| {
        let mut stream = dial(server.address);
        set_socket_recv_buffer_size(&stream, 16 * 1024).expect("a socket option");
        let mut client = Client::over(stream.try_clone().expect("a descriptor"));
        client.send(&format!(
            r#"{{"id":1,"connect":{{"subs":{{"room0":{{"recover":true,"epoch":"{}"}}}}}}}}"#,
            epochs[0]
        ));
        let _ = stream.flush();
        client
    };
    let deaf: Vec<_> = (0..100).map(connect).collect();
    is_served_beside_rooms(&server);
    stays_within(&server, "many rooms recovered at once");
    drop(deaf);
}

/// [`is_served`] where everybody is in rooms.
fn is_served_beside_rooms(server: &Process) {
    let mut bob = server.connected();
    bob.publish(2, "honest", "1");
}

#[test]
fn after_a_restart_a_look_at_rooms_does_not_bring_all_of_them_back() {
    let folder = Folder::new();
    let stored = MEMORY.replace("storage = \"off\"", "storage = \"async\"");
    let server = server_by(&folder, &stored);
    let mut eve = server.connected();
    let answers = publish_all(&mut eve, (0..12 * 200).map(|n| format!("room{}", n % 12)), &large());
    assert!(answers.iter().all(|code| code.is_none_or(|code| code == 111)), "{answers:?}");
    eventually("all is stored", || server.metric("roomcast_storage_lag_messages") == 0);
    stays_within(&server, "144 MB published");
    drop(server);
    let server = server_by(&folder, &stored);
    let mut eve = server.connected();
    for room in 0..12 {
        for (id, what) in
            [(2, r#""limit":1"#), (3, r#""limit":1,"reverse":true"#), (4, r#""limit":1000,"reverse":true"#)]
        {
            eve.send(&format!(r#"{{"id":{id},"history":{{"channel":"room{room}",{what}}}}}"#));
            let reply: Value = eve.reply(id);
            assert!(!reply["history"]["publications"].as_array().expect("some").is_empty(), "{reply}");
        }
    }
    let all: Vec<_> =
        (0..100).map(|n| deaf(&server, &histories(20).replace("hall", &format!("room{}", n % 12)))).collect();
    is_served(&server);
    stays_within(&server, "12 rooms read, and 100 clients that take nothing");
    drop(all);
}

#[test]
fn what_clients_begin_to_say_and_do_not_end_is_bounded() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let begun = frame(0x81, &vec![b' '; 65_000]);
    let begun: Vec<_> = (0..2_000)
        .map(|_| {
            let mut client = Client::open(server.address);
            client.send_raw(&begun[..begun.len() - 1]);
            client
        })
        .collect();
    is_served(&server);
    stays_within(&server, "2,000 messages that do not end");
    drop(begun);
}

/// Whether somebody who asks for the page is given it.
fn is_given_the_page(server: &Process) -> bool {
    let mut stream = dial(server.address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn bodies_that_are_announced_and_do_not_come_take_no_memory_from_others() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let head = b"POST /emulation HTTP/1.1\r\nHost: localhost\r\nContent-Length: 130000\r\n\r\n ";
    let begun: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = dial(server.address);
            stream.write_all(head).expect("a request");
            stream
        })
        .collect();
    let used = || server.metric("roomcast_memory_used_bytes{share=\"requests\"}");
    eventually("all of them are read", || used() >= 60 * 20 * 1024);
    assert!(used() < 60 * 32 * 1024, "{} bytes for 60 that have come", used());
    assert!(is_given_the_page(&server), "others are served");
    drop(begun);
}

#[test]
fn streams_that_take_no_answer_give_way_where_there_is_little_memory() {
    let folder = Folder::new();
    let server = server_by(&folder, &format!("{MEMORY}\n[http_server]\nh2c_external = true\n"));
    // Connections of HTTP/2 that have no window for an answer, with as many requests as they may have.
    let request = |stream: u32| {
        let fields = b"\x82\x86\x84\x41\x09localhost";
        [&[0, 0, fields.len() as u8, 1, 5][..], &stream.to_be_bytes(), fields].concat()
    };
    let requests: Vec<u8> = (0..100).flat_map(|nth| request(2 * nth + 1)).collect();
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0][..]].concat();
    let stalled: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = dial(server.address);
            stream.write_all(&[&begin[..], &requests].concat()).expect("it is taken");
            stream
        })
        .collect();
    // Long before the half minute is over that they would have.
    eventually("others are given something again", || is_given_the_page(&server));
    stays_within(&server, "4,000 answers that nobody takes");
    drop(stalled);
}

#[test]
fn requests_that_do_not_end_leave_others_their_connections() {
    let folder = Folder::new();
    let server = server_by(&folder, MEMORY);
    let begin = || {
        let mut stream = dial(server.address);
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n").expect("a request");
        stream
    };
    let mut begun: Vec<_> = (0..1_000).map(|_| begin()).collect();
    let refused = || {
        let mut stream = dial(server.address);
        // One that is answered ends with that: it does not wait for another one while those that were begun are given up.
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("a request");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 503 ")
    };
    eventually("there is memory for no more", || {
        let is_refused = refused();
        if !is_refused {
            // On a machine that has much to do the first ones may have had their time before the last have come.
            begun.extend((0..100).map(|_| begin()));
        }
        is_refused
    });
    is_served(&server);
    stays_within(&server, "1,000 requests that do not end");
    drop(begun);
    eventually("they have given back what they had", || !refused());
}
