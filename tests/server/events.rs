//! Who comes and who goes: told to whoever listens, all of it, each at its place among the publications, or not without a word.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;
use std::time::Duration;

use roomcast_server::config::{Config, Storage};
use rusqlite::Connection;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::Value;

use crate::crash::next_reply;
use crate::frames::{Received, frame, read_frame};
use crate::harness::{Client, Folder, Running, dial, eventually, number, publish, read_head, text};

/// Two shards, on which clients come to lie in turn.
fn server(change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.shards = NonZeroUsize::new(2);
        change(config);
    })
}

/// What a watcher is told: of whom, and of a publication its number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Join(String),
    Leave(String),
    Publication(String, u64),
    /// It is out of the room, by that code.
    Out(u64),
}

use Told::{Join, Leave, Out, Publication};

/// Somebody in the hall.
trait Watcher {
    fn told(&mut self) -> Told;
}

impl Watcher for Client {
    fn told(&mut self) -> Told {
        let push = self.push();
        let client = |value: &Value| text(&value["info"]["client"]).to_owned();
        if let Some(join) = push.get("join") {
            return Join(client(join));
        }
        if let Some(leave) = push.get("leave") {
            return Leave(client(leave));
        }
        if let Some(publication) = push.get("pub") {
            let data = &publication["data"];
            return Publication(client(publication), number(if data.is_array() { &data[0] } else { data }));
        }
        Out(number(&push["unsubscribe"]["code"]))
    }
}

/// A watcher that speaks Protobuf.
struct Binary {
    stream: std::net::TcpStream,
    input: Vec<u8>,
    told: VecDeque<Told>,
}

impl Binary {
    fn in_hall(server: &Running) -> Self {
        let mut stream = dial(server.address);
        let head = "GET /connection/websocket HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Protocol: centrifuge-protobuf\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("a handshake");
        read_head(&mut stream);
        // connect (4) with the id 1, subscribe (5) to the channel (1) "hall" with the id 2, each behind its length.
        let commands = [&[4, 8, 1, 0x22, 0][..], &[10, 8, 2, 0x2a, 6, 0x0a, 4], b"hall"].concat();
        stream.write_all(&frame(0x82, &commands)).expect("commands");
        let mut this = Self { stream, input: Vec::new(), told: VecDeque::new() };
        // Its own join comes behind the subscribe reply.
        assert!(matches!(this.told(), Join(_)));
        this
    }

    fn reply(&mut self, reply: &[u8]) {
        let one = |fields: &[(u64, Vec<u8>)], field| {
            fields.iter().find(|(it, _)| *it == field).map(|(_, value)| value.clone())
        };
        let Some(push) = one(&fields(reply), 4) else { return };
        let push = fields(&push);
        let client = |info: Vec<u8>| String::from_utf8(one(&fields(&info), 2).expect("a client")).expect("text");
        let info = |event: Vec<u8>| client(one(&fields(&event), 1).expect("an info"));
        if let Some(join) = one(&push, 5) {
            self.told.push_back(Join(info(join)));
        } else if let Some(leave) = one(&push, 6) {
            self.told.push_back(Leave(info(leave)));
        } else if let Some(publication) = one(&push, 4) {
            let publication = fields(&publication);
            let data = String::from_utf8(one(&publication, 4).expect("data")).expect("text");
            self.told.push_back(Publication(
                client(one(&publication, 5).expect("an info")),
                data.parse().expect("a number"),
            ));
        }
    }
}

/// The fields of a message that are not numbers, by number.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        if tag & 7 == 2 {
            let (field, rest) = message.split_at(value as usize);
            found.push((tag >> 3, field.to_vec()));
            message = rest;
        }
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
    }
    value
}

impl Watcher for Binary {
    fn told(&mut self) -> Told {
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            if let Some(Received { first, payload, length }) = read_frame(&self.input).expect("a frame of a server") {
                assert_eq!(first, 0x82, "a binary frame");
                let payload = payload.to_vec();
                self.input.drain(..length);
                let mut replies = &payload[..];
                while !replies.is_empty() {
                    let bytes = varint(&mut replies) as usize;
                    let (reply, rest) = replies.split_at(bytes);
                    self.reply(reply);
                    replies = rest;
                }
                continue;
            }
            let mut buffer = [0; 4_096];
            let n = self.stream.read(&mut buffer).expect("more");
            assert!(n > 0, "the end");
            self.input.extend_from_slice(&buffer[..n]);
        }
    }
}

/// A client in the hall that has heard of itself.
fn watcher(server: &Running) -> Client {
    let mut client = server.member("watcher", "hall");
    assert_eq!(client.told(), Join(client.id.clone()));
    client
}

/// Enters, publishes so many messages, and leaves, so many times, in one frame; ids from `id` on. What is to be told of it.
fn cycles(client: &mut Client, id: u32, times: u64, publications: u64) -> Vec<Told> {
    let (mut lines, mut expected, mut id) = (Vec::new(), Vec::new(), id);
    for time in 0..times {
        lines.push(format!(r#"{{"id":{id},"subscribe":{{"channel":"hall"}}}}"#));
        expected.push(Join(client.id.clone()));
        for at in 0..publications {
            id += 1;
            let data = time * publications + at;
            lines.push(publish(id, "hall", &data.to_string()));
            expected.push(Publication(client.id.clone(), data));
        }
        lines.push(format!(r#"{{"id":{},"unsubscribe":{{"channel":"hall"}}}}"#, id + 1));
        expected.push(Leave(client.id.clone()));
        id += 2;
    }
    client.send(&lines.join("\n"));
    expected
}

fn of(told: &Told) -> Option<&str> {
    match told {
        Join(client) | Leave(client) | Publication(client, _) => Some(client),
        Out(_) => None,
    }
}

/// Reads so many things and sorts them by whom they are of.
fn by_client(watcher: &mut impl Watcher, count: usize) -> BTreeMap<String, Vec<Told>> {
    let mut by = BTreeMap::<String, Vec<Told>>::new();
    for _ in 0..count {
        let told = watcher.told();
        let client = of(&told).unwrap_or_else(|| panic!("{told:?}")).to_owned();
        by.entry(client).or_default().push(told);
    }
    by
}

/// Several at once, on both shards, each in frames that enter, publish and leave again and again.
#[test]
fn a_members_join_publications_and_leave_come_in_that_order() {
    const TIMES: u64 = 40;
    let server = server(|_| {});
    let (mut json, mut binary) = (watcher(&server), Binary::in_hall(&server));
    assert!(matches!(json.told(), Join(_)), "the other watcher");
    let mut members: Vec<Client> = (0..6).map(|at| server.connected(&format!("m{at}"))).collect();
    let expected: HashMap<String, Vec<Told>> =
        members.iter_mut().map(|member| (member.id.clone(), cycles(member, 2, TIMES, 3))).collect();
    let count = expected.values().map(Vec::len).sum();
    for (encoding, told) in [("JSON", by_client(&mut json, count)), ("Protobuf", by_client(&mut binary, count))] {
        for (client, expected) in &expected {
            assert_eq!(told.get(client), Some(expected), "{encoding}");
        }
    }
}

#[test]
fn each_of_many_cycles_in_one_frame_is_told() {
    let server = server(|_| {});
    let mut watcher = watcher(&server);
    let mut mover = server.connected("mover");
    let expected = cycles(&mut mover, 2, 400, 0);
    let told: Vec<Told> = (0..expected.len()).map(|_| watcher.told()).collect();
    assert_eq!(told, expected);
}

/// Three thousand come and go; the watcher reads all the time.
#[test]
fn whoever_reads_is_told_of_all_who_come_and_go() {
    const CLIENTS: usize = 6;
    const TIMES: u64 = 500;
    let server = server(|_| {});
    let mut watcher = watcher(&server);
    let movers: Vec<Client> = (0..CLIENTS).map(|at| server.connected(&format!("m{at}"))).collect();
    let ids: Vec<String> = movers.iter().map(|mover| mover.id.clone()).collect();
    let moving: Vec<_> = movers
        .into_iter()
        .map(|mut mover| {
            std::thread::spawn(move || {
                for round in 0..TIMES / 100 {
                    cycles(&mut mover, 2 + round as u32 * 1_000, 100, 0);
                    (0..200).for_each(|_| drop(next_reply(&mut mover)));
                }
                mover
            })
        })
        .collect();
    let told = by_client(&mut watcher, CLIENTS * 2 * TIMES as usize);
    for id in ids {
        let expected: Vec<_> = (0..TIMES).flat_map(|_| [Join(id.clone()), Leave(id.clone())]).collect();
        assert_eq!(told.get(&id), Some(&expected));
    }
    moving.into_iter().for_each(|it| drop(it.join().expect("no panic")));
}

/// More than is kept for it: it is told so, and learns the truth when it comes again.
#[test]
fn whoever_does_not_read_is_told_all_or_that_it_has_lost_some() {
    const ROUNDS: u32 = 40;
    // Nobody asks it whether it is there, nor closes it for what it does not take, however long all of it takes to be said.
    let server = server(|config| {
        config.client.ping_interval = Duration::ZERO;
        config.client.write_timeout = Duration::from_secs(3_600);
    });
    let mut watcher = watcher(&server);
    set_socket_recv_buffer_size(&watcher.stream, 64 * 1024).expect("a socket option");
    // Long names make long events.
    let mut mover = server.connected(&"\u{1f426}".repeat(60));
    for round in 0..ROUNDS {
        let expected = cycles(&mut mover, 2 + round * 1_000, 200, 0);
        (0..expected.len()).for_each(|_| drop(next_reply(&mut mover)));
    }
    // From here on it takes all there is, at once.
    set_socket_recv_buffer_size(&watcher.stream, 4 << 20).expect("a socket option");
    let mut heard = 0;
    let lost = loop {
        match watcher.told() {
            Out(code) => break code,
            told if heard % 2 == 0 => assert_eq!(told, Join(mover.id.clone()), "in order up to the loss"),
            told => assert_eq!(told, Leave(mover.id.clone())),
        }
        heard += 1;
    };
    assert_eq!(lost, 2500);
    assert!(heard < 400 * ROUNDS, "it was not slow at all");
    watcher.subscribe(3, "hall");
    watcher.send(r#"{"id":4,"presence":{"channel":"hall"}}"#);
    let present = watcher.reply(4)["presence"]["presence"].as_object().cloned().expect("members");
    assert_eq!(present.keys().collect::<Vec<_>>(), [&watcher.id]);
    assert_eq!(watcher.told(), Join(watcher.id.clone()), "and hears again");
}

/// A watcher that is behind the publications, on the ring or off it, goes on with everything at its place.
#[test]
fn a_watcher_that_is_behind_is_given_everything_in_order() {
    // 1,024 messages are in the ring.
    for (storage, rounds) in [(Storage::Off, 100_u64), (Storage::Async, 600)] {
        let server = server(|config| {
            let options = &mut config.channel.without_namespace;
            (options.storage, options.history_size) = (storage, 100_000);
            config.storage.overload = roomcast_server::config::Overload::Wait;
        });
        let mut watcher = watcher(&server);
        set_socket_recv_buffer_size(&watcher.stream, 64 * 1024).expect("a socket option");
        let mut movers = [server.connected("a"), server.connected("b")];
        let filler = "x".repeat(20_000);
        let mut expected = HashMap::<String, Vec<Told>>::new();
        for round in 0..rounds {
            for mover in &mut movers {
                let id = 2 + round as u32 * 10;
                let lines = [
                    format!(r#"{{"id":{id},"subscribe":{{"channel":"hall"}}}}"#),
                    publish(id + 1, "hall", &format!("[{},\"{filler}\"]", 2 * round)),
                    publish(id + 2, "hall", &(2 * round + 1).to_string()),
                    format!(r#"{{"id":{},"unsubscribe":{{"channel":"hall"}}}}"#, id + 3),
                ];
                mover.send(&lines.join("\n"));
                (0..4).for_each(|_| drop(next_reply(mover)));
                let client = mover.id.clone();
                let told = [
                    Join(client.clone()),
                    Publication(client.clone(), 2 * round),
                    Publication(client.clone(), 2 * round + 1),
                    Leave(client),
                ];
                expected.entry(mover.id.clone()).or_default().extend(told);
            }
        }
        let count = expected.values().map(Vec::len).sum();
        let told = by_client(&mut watcher, count);
        for (client, expected) in expected {
            assert_eq!(told.get(&client), Some(&expected), "{storage:?}");
        }
    }
}

/// What is not on the disk is not seen, and what happened after it waits behind it.
#[test]
fn in_a_stored_room_a_join_waits_behind_what_was_published_before_it() {
    let folder = Folder::new();
    let server = server(|config| {
        config.data_dir.clone_from(&folder.0);
        config.storage.timeout = Duration::from_secs(60);
        config.channel.without_namespace.storage = Storage::Stored;
    });
    let mut watcher = watcher(&server);
    let mut ann = server.member("Ann", "hall");
    assert_eq!(watcher.told(), Join(ann.id.clone()));
    ann.publish(3, "hall", "1");
    assert_eq!(watcher.told(), Publication(ann.id.clone(), 1));
    let thief = Connection::open(folder.0.join("rooms.db")).expect("the database");
    thief.busy_timeout(Duration::from_secs(10)).expect("a time");
    thief.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut eve = server.member("Eve", "hall");
    assert_eq!(watcher.told(), Join(eve.id.clone()), "nothing is before it");
    ann.send(&publish(4, "hall", "2"));
    eve.send(&publish(3, "hall", "3"));
    eventually("the room has them", || server.metric("roomcast_storage_lag_messages") >= 2);
    let bob = server.member("Bob", "hall");
    let bob_id = bob.id.clone();
    drop(bob);
    eventually("Bob is gone", || {
        let mut asker = server.connected("asker");
        asker.send(r#"{"id":2,"presence":{"channel":"hall"}}"#);
        asker.reply(2)["presence"]["presence"].as_object().is_some_and(|members| !members.contains_key(&bob_id))
    });
    watcher.send(r#"{"id":9,"ping":{}}"#);
    watcher.reply(9);
    assert!(watcher.pushes.is_empty(), "nothing that comes after what is not stored: {:?}", watcher.pushes);
    drop(thief);
    let told: Vec<Told> = (0..4).map(|_| watcher.told()).collect();
    let place = |what: &Told| told.iter().position(|it| it == what).unwrap_or_else(|| panic!("{what:?} in {told:?}"));
    let of_ann_and_eve = [place(&Publication(ann.id.clone(), 2)), place(&Publication(eve.id.clone(), 3))];
    assert!(of_ann_and_eve.into_iter().all(|at| at < 2), "{told:?}");
    assert!(place(&Join(bob_id.clone())) < place(&Leave(bob_id)), "{told:?}");
}
