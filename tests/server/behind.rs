//! Members that are behind in rooms that are stored: what they are given is on the disk, and stays there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use roomcast_server::config::{SlowConsumer, Storage};
use rusqlite::Connection;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::Value;

use crate::crash::{Process, next_reply, read_all};
use crate::failing_disk::{BROKEN, Disk, FULL};
use crate::harness::{Client, Folder, Heard, Running, eventually, number, publish, text};

/// Rounds, unless `ROOMCAST_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 20;

/// Rounds in one folder, after which a fresh one is taken: each leaves its ten megabytes.
const ROUNDS_PER_FOLDER: u64 = 8;

/// How long a slow disk takes to sync.
const SYNC: Duration = Duration::from_millis(50);

/// How far a reader is behind: messages of 60 kB, ten megabytes together.
const BEHIND: u64 = 170;

/// Publishers that wait for the disk at any time.
const PUBLISHERS: u64 = 8;

fn large(number: u64) -> String {
    format!("[{number},\"{}\"]", "x".repeat(60_000))
}

fn small(number: u64) -> String {
    format!("[{number}]")
}

/// A client whose socket takes little.
fn narrow(client: &Client) {
    set_socket_recv_buffer_size(&client.stream, 128 * 1024).expect("a socket option");
}

/// Payloads by offset, and the newest position that was told: what somebody has seen of a room.
#[derive(Debug, Default)]
struct Seen {
    payloads: BTreeMap<u64, u64>,
    top: u64,
}

impl Seen {
    fn take(&mut self, publication: &Value) {
        let (offset, data) = (number(&publication["offset"]), number(&publication["data"][0]));
        let known = self.payloads.insert(offset, data);
        assert!(known.is_none_or(|known| known == data), "{offset} was {known:?} and is {data}");
    }

    /// Of a subscribe or history reply.
    fn take_all(&mut self, result: &Value) {
        result["publications"].as_array().into_iter().flatten().for_each(|publication| self.take(publication));
        self.top = self.top.max(number(&result["offset"]));
    }

    fn join(&mut self, other: Self) {
        other.payloads.into_iter().for_each(|(offset, data)| {
            let known = self.payloads.insert(offset, data);
            assert!(known.is_none_or(|known| known == data), "{offset} was {known:?} and is {data}");
        });
        self.top = self.top.max(other.top);
    }
}

/// Kill -9 while the disk takes its time and a reader is ten megabytes behind: what it was given, what others were told, and what
/// they read, is there after the restart.
#[test]
fn nothing_is_seen_that_is_not_there_after_a_restart() {
    let rounds = std::env::var("ROOMCAST_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let tools = Folder::new();
    let (mut pushed, mut folder) = (0, Folder::new());
    for round in 0..rounds {
        if round > 0 && round % ROUNDS_PER_FOLDER == 0 {
            folder = Folder::new();
        }
        let disk = Disk::under(&folder.0, &tools.0);
        let room = format!("stored:hall-{round}");
        let mut server = Process::start_with(&folder, &disk.variables());
        let (seen, epoch) = behind_and_killed(&mut server, &disk, &room, round);
        disk.works();
        let server = Process::start_with(&folder, &disk.variables());
        let mut client = server.connected();
        let joined = client.subscribe(2, &room);
        assert_eq!(text(&joined["epoch"]), epoch, "a stored room keeps its epoch");
        let top = number(&joined["offset"]);
        assert!(seen.top <= top, "round {round}: {} was told, {top} is there", seen.top);
        let mut there = Seen::default();
        read_all(&mut client, &room).iter().for_each(|publication| there.take(publication));
        for (offset, data) in &seen.payloads {
            let kept = there.payloads.get(offset);
            assert_eq!(kept, Some(data), "round {round}: {offset} was seen, of {top} that are there");
        }
        pushed += seen.payloads.keys().filter(|offset| **offset > BEHIND).count();
    }
    assert!(pushed > 0, "nobody came to what was published last");
    eprintln!(
        "server | {rounds} rounds of kill -9 with a reader {} MB behind and a sync of {} ms: {pushed} messages seen of those \
         published meanwhile, all there",
        BEHIND * 60_000 / 1_000_000,
        SYNC.as_millis()
    );
}

/// What was seen until the server was killed, and the room's epoch.
fn behind_and_killed(server: &mut Process, disk: &Disk, room: &str, round: u64) -> (Seen, String) {
    let mut reader = server.connected();
    narrow(&reader);
    let epoch = text(&reader.subscribe(2, room)["epoch"]).to_owned();
    let mut publishers: Vec<Client> = (0..PUBLISHERS).map(|_| server.connected()).collect();
    let mut asker = server.connected();
    for first in (1..=BEHIND).step_by(PUBLISHERS as usize) {
        let numbers = || (first..=BEHIND).zip(0..PUBLISHERS as usize);
        numbers().for_each(|(number, at)| publishers[at].send(&publish(2, room, &large(number))));
        numbers().for_each(|(_, at)| assert!(publishers[at].reply(2).get("publish").is_some()));
    }
    disk.is_slow(SYNC);
    let (payloads, is_over, (came, comes)) = (AtomicU64::new(BEHIND), AtomicBool::new(false), mpsc::channel());
    thread::scope(|scope| {
        for mut client in publishers {
            let payloads = &payloads;
            scope.spawn(move || {
                for id in 3.. {
                    client.send(&publish(id, room, &small(payloads.fetch_add(1, Relaxed) + 1)));
                    if next_reply(&mut client).is_none() {
                        return;
                    }
                }
            });
        }
        // Reads, and says when it has come to what is being published.
        let reads = scope.spawn(move || {
            let mut seen = Seen::default();
            while let Heard::Object(value) = reader.hear() {
                if let Some(publication) = value["push"].get("pub") {
                    seen.take(publication);
                    if number(&publication["offset"]) > BEHIND {
                        let _ = came.send(());
                    }
                }
            }
            seen
        });
        // Asks in every other way.
        let epoch_asked = epoch.clone();
        let asks = scope.spawn({
            let is_over = &is_over;
            move || {
                let mut seen = Seen::default();
                for id in (3..).step_by(3) {
                    let ways = [
                        format!(r#"{{"id":{id},"history":{{"channel":"{room}","limit":10,"reverse":true}}}}"#),
                        format!(
                            r#"{{"id":{},"subscribe":{{"channel":"{room}","recover":true,"offset":{BEHIND},"epoch":"{epoch_asked}"}}}}"#,
                            id + 1
                        ),
                        format!(r#"{{"id":{},"unsubscribe":{{"channel":"{room}"}}}}"#, id + 2),
                    ];
                    for way in ways {
                        asker.send(&way);
                        let Some(reply) = next_reply(&mut asker) else { return seen };
                        ["history", "subscribe"].iter().for_each(|kind| seen.take_all(&reply[*kind]));
                    }
                    if is_over.load(Relaxed) {
                        return seen;
                    }
                }
                seen
            }
        });
        let _ = comes.recv_timeout(Duration::from_secs(20));
        // Any moment of a sync.
        thread::sleep(Duration::from_millis(round * 37 % 61));
        server.kill();
        is_over.store(true, Relaxed);
        let mut seen = reads.join().expect("the reader reads");
        seen.join(asks.join().expect("the asker asks"));
        (seen, epoch)
    })
}

/// A disk that is full, or broken: publishers are refused, members that go along and members that are behind are given what was
/// stored and nothing else, and when it works again everybody goes on. Then the same, and the process is killed meanwhile.
#[test]
fn what_a_failing_disk_does_not_take_is_not_seen() {
    for error in [FULL, BROKEN] {
        let (folder, tools) = (Folder::new(), Folder::new());
        let disk = Disk::under(&folder.0, &tools.0);
        let [shim, of, control] = disk.variables();
        let variables = [shim, of, control, ("ROOMCAST_STORAGE_TIMEOUT", "500ms".into())];
        let mut server = Process::start_with(&folder, &variables);
        let room = "stored:hall";
        let (mut live, mut reader) = (server.connected(), server.connected());
        narrow(&reader);
        let epoch = text(&live.subscribe(2, room)["epoch"]).to_owned();
        reader.subscribe(2, room);
        let mut ann = server.connected();
        (1..=BEHIND).for_each(|number| ann.publish(number as u32 + 1, room, &large(number)));
        let mut seen = Seen::default();
        for _ in 0..BEHIND {
            seen.take(&live.publication());
        }
        disk.fails_with(error);
        let mut refused = 0;
        for number in BEHIND + 1..=BEHIND + 20 {
            ann.send(&publish(number as u32 + 1, room, &small(number)));
            let reply = ann.reply(number as u32 + 1);
            assert_eq!(reply["error"]["code"], 111, "{error}: {reply}");
            refused += 1;
        }
        for offset in 1..=BEHIND {
            assert_eq!(number(&reader.publication()["offset"]), offset);
        }
        for client in [&mut live, &mut reader] {
            client.send(&format!(r#"{{"id":9,"history":{{"channel":"{room}","limit":1,"reverse":true}}}}"#));
            let told = client.reply(9);
            assert_eq!((number(&told["history"]["offset"]), client.pushes.len()), (BEHIND, 0), "{error}: {told}");
        }
        disk.works();
        let mut id = 1_000;
        eventually("it takes messages again", || {
            id += 1;
            ann.send(&publish(id, room, &small(u64::from(id))));
            ann.reply(id).get("publish").is_some()
        });
        // What was refused may have been stored all the same, each at one place.
        while seen.payloads.values().next_back() != Some(&u64::from(id)) {
            let (one, other) = (live.publication(), reader.publication());
            assert_eq!(one, other, "{error}");
            assert_eq!(number(&one["offset"]), seen.payloads.len() as u64 + 1, "{error}");
            seen.take(&one);
        }
        assert!(seen.payloads.len() as u64 <= BEHIND + refused + u64::from(id - 1_000), "{error}");
        disk.fails_with(error);
        ann.send(&publish(5_000, room, &small(5_000)));
        assert!(ann.reply(5_000).get("error").is_some());
        server.kill();
        disk.works();
        let server = Process::start_with(&folder, &variables);
        let mut client = server.connected();
        let joined = client.subscribe(2, room);
        assert_eq!(text(&joined["epoch"]), epoch, "{error}: a stored room keeps its epoch");
        let mut there = Seen::default();
        read_all(&mut client, room).iter().for_each(|publication| there.take(publication));
        assert!(seen.payloads.iter().all(|(offset, data)| there.payloads.get(offset) == Some(data)), "{error}");
    }
}

/// A database that is locked: the member that is behind reads up to what was stored, and no further until it is.
#[test]
fn a_member_that_is_behind_is_given_what_is_stored_and_nothing_else() {
    for policy in [SlowConsumer::Disconnect, SlowConsumer::Skip, SlowConsumer::Latest] {
        let folder = Folder::new();
        let server = Running::with(|config| {
            config.data_dir.clone_from(&folder.0);
            config.storage.timeout = Duration::from_secs(60);
            let options = &mut config.channel.without_namespace;
            (options.storage, options.history_size, options.slow_consumer) = (Storage::Stored, 100_000, policy);
            options.force_push_join_leave = false;
        });
        let mut reader = server.connected("Reader");
        narrow(&reader);
        reader.subscribe(2, "hall");
        let mut ann = server.connected("Ann");
        for number in 1..=BEHIND {
            ann.publish(number as u32 + 1, "hall", &large(number));
        }
        let thief = Connection::open(folder.0.join("rooms.db")).expect("the database");
        thief.busy_timeout(Duration::from_secs(10)).expect("a time");
        thief.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        let mut waiting: Vec<Client> = (1..=20)
            .map(|at| {
                let mut client = server.connected("Bob");
                client.send(&publish(2, "hall", &small(BEHIND + at)));
                client
            })
            .collect();
        for offset in 1..=BEHIND {
            assert_eq!(number(&reader.publication()["offset"]), offset);
        }
        // It has everything, and is asked for it; nothing else comes before the answer.
        reader.send(r#"{"id":9,"history":{"channel":"hall","limit":1,"reverse":true}}"#);
        let history = reader.reply(9)["history"].clone();
        assert_eq!((number(&history["offset"]), &reader.pushes), (BEHIND, &Default::default()), "{policy:?}");
        drop(thief);
        for offset in BEHIND + 1..=BEHIND + 20 {
            assert_eq!(number(&reader.publication()["offset"]), offset, "and it is woken when there is more");
        }
        waiting.iter_mut().for_each(|client| assert!(client.reply(2).get("publish").is_some()));
    }
}
