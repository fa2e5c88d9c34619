//! Server and backend are killed under churn, again and again.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::Value;

use super::backend::{Backend, Manner, SECRET};
use super::user;
use crate::crash::{Process, next_reply};
use crate::failing_disk::{BROKEN, Disk, FULL};
use crate::harness::{Client, Folder, dial, eventually};

/// Rounds, unless `ROOMCAST_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 6;

pub(super) const ROOMS: [&str; 3] = ["seen:hall", "seen:yard", "seen:attic"];

/// Those who come and go until the server is gone, and how often each does at most.
const CHURNERS: usize = 4;
const COMINGS: usize = 8;

pub(super) fn config(backend: &Backend, vacated_delay: &str) -> String {
    format!(
        r#"
[client]
user_id_http_header = "X-User"
[events]
users = true
endpoint = "{}"
secret = "{SECRET}"
batch_size = 20
timeout = "2s"
vacated_delay = "{vacated_delay}"
[[channel.namespaces]]
name = "seen"
room_events = true
storage = "off"
history_size = 0
"#,
        backend.endpoint()
    )
}

#[test]
fn whoever_is_killed_the_backend_knows_who_is_there() {
    let rounds = std::env::var("ROOMCAST_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let (backend, folder) = (Backend::start(), Folder::new());
    let config = config(&backend, "50ms");
    let mut restarted = 0;
    for round in 0..rounds {
        let was_there = backend.books().members.len();
        let mut server = Process::start_by(&folder, &config, &[]);
        backend.behaves(Manner::Takes);
        // Nobody has come yet: whoever was there is told to be gone.
        eventually("an empty server", || {
            let books = backend.books();
            books.members.is_empty() && books.connected.is_empty()
        });
        restarted += was_there;
        let settled = settle(&server, &backend, round);
        churn(&mut server, &backend, round);
        drop(settled);
    }
    let server = Process::start_by(&folder, &config, &[]);
    backend.behaves(Manner::Takes);
    eventually("empty rooms", || {
        let books = backend.books();
        books.members.is_empty() && books.connected.is_empty() && books.occupied.is_empty()
    });
    drop(server);
    let books = backend.books();
    assert_eq!(books.events.keys().copied().collect::<Vec<_>>(), (1..=books.cursor).collect::<Vec<_>>(), "no gaps");
    let of = |kind: &str| books.events.values().filter(|event| event["type"] == kind).count();
    let restarts = books.events.values().filter(|event| event["reason"] == "restart").count();
    assert!(
        of("join") as u64 > rounds && of("connect") as u64 > rounds && of("vacated") > 0,
        "{} events",
        books.events.len()
    );
    assert!(restarts > 0 && restarted > 0, "nobody was there when it was killed");
    eprintln!(
        "server | {rounds} rounds of kill -9, of the backend as well: {} room events in order and each told, {} of them again, in {} \
         batches; {restarts} ends written by the next start",
        books.events.len(),
        books.repeated,
        books.batches,
    );
}

/// A disk that is full, or broken: nobody waits for it, and when it works again the backend is told all that happened; or the
/// server is killed meanwhile, and the next one makes up for it.
#[test]
fn a_disk_that_fails_holds_up_nobody_and_the_backend_is_told_later() {
    for error in [FULL, BROKEN] {
        let (folder, tools, backend) = (Folder::new(), Folder::new(), Backend::start());
        let disk = Disk::under(&folder.0, &tools.0);
        let config = config(&backend, "50ms");
        let mut server = Process::start_by(&folder, &config, &disk.variables());
        let mut settled = settle(&server, &backend, 0);
        disk.fails_with(error);
        let mut late = user(server.address, "late");
        late.subscribe(2, ROOMS[0]);
        settled.pop();
        eventually("trouble", || metric(&server, "roomcast_events_trouble ") == 1);
        let mut later = user(server.address, "later");
        later.subscribe(2, ROOMS[0]);
        let known = backend.books().members.clone();
        disk.works();
        eventually("what is there to be told", || {
            let there = members(&mut settled);
            assert_ne!(there, known);
            backend.books().members == there
        });
        assert_eq!(metric(&server, "roomcast_events_lost_total"), 0, "{error}");
        disk.fails_with(error);
        drop(late);
        eventually("trouble", || metric(&server, "roomcast_events_trouble ") == 1);
        server.kill();
        disk.works();
        let _server = Process::start_by(&folder, &config, &disk.variables());
        eventually("an empty server", || backend.books().members.is_empty() && backend.books().connected.is_empty());
    }
}

fn metric(server: &Process, name: &str) -> u64 {
    let mut stream = dial(server.address);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let line = answer.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Some who come and stay: what the backend is told is what the server says of who is there.
fn settle(server: &Process, backend: &Backend, round: u64) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..3).map(|at| user(server.address, &format!("user-{at}"))).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        for (nth, room) in ROOMS.iter().enumerate().filter(|(nth, _)| !(nth + at + round as usize).is_multiple_of(3)) {
            client.subscribe(10 + nth as u32, room);
        }
    }
    let there = members(&mut clients);
    assert_eq!(there.len(), 6);
    eventually("what is so to be told", || backend.books().members == there && backend.books().connected.len() == 3);
    clients
}

/// Who is in which room, as the server says.
pub(super) fn members(clients: &mut [Client]) -> BTreeSet<(String, String)> {
    let mut there = BTreeSet::new();
    for (nth, room) in ROOMS.iter().enumerate() {
        let id = 100 + nth as u32;
        clients[0].send(&format!(r#"{{"id":{id},"presence":{{"channel":"{room}"}}}}"#));
        let reply = clients[0].reply(id);
        let Value::Object(members) = &reply["presence"]["presence"] else { panic!("{reply}") };
        there.extend(members.keys().map(|client| ((*room).to_owned(), client.clone())));
    }
    there
}

/// Many come and go, the backend is killed and comes back, and at some moment the server is killed.
fn churn(server: &mut Process, backend: &Backend, round: u64) {
    // The sockets are there before the time runs: that they may fail to come in is not what this is about.
    let knock = |at: usize| Client::over_with(dial(server.address), &format!("X-User: churner-{at}\r\n"));
    let churners: Vec<Vec<Client>> = (0..CHURNERS).map(|at| (0..COMINGS).map(|_| knock(at)).collect()).collect();
    std::thread::scope(|scope| {
        for (at, clients) in churners.into_iter().enumerate() {
            scope.spawn(move || clients.into_iter().enumerate().all(|(nth, client)| come_and_go(client, at + nth)));
        }
        let manners = [Manner::DiesAfter, Manner::Dead, Manner::DiesBefore, Manner::Answers(503)];
        // Any moment, in steps that do not repeat with the rounds.
        std::thread::sleep(Duration::from_millis(10 + round * 29 % 97));
        backend.behaves(manners[round as usize % manners.len()]);
        std::thread::sleep(Duration::from_millis(5 + round * 37 % 181));
        if round.is_multiple_of(3) {
            backend.behaves(Manner::Takes);
            std::thread::sleep(Duration::from_millis(round * 13 % 61));
        }
        server.kill();
    });
}

/// Connects, enters and leaves rooms, and is gone; false when the server is.
fn come_and_go(mut client: Client, at: usize) -> bool {
    client.send(r#"{"id":1,"connect":{}}"#);
    if next_reply(&mut client).is_none() {
        return false;
    }
    for id in 2..6 {
        let room = ROOMS[(at + id) % 3];
        client.send(&format!(r#"{{"id":{id},"subscribe":{{"channel":"{room}"}}}}"#));
        if next_reply(&mut client).is_none() {
            return false;
        }
        if id % 2 == 0 {
            client.send(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"{room}"}}}}"#, id + 100));
            if next_reply(&mut client).is_none() {
                return false;
            }
        }
    }
    true
}
