//! A server that is killed at any moment, and the next one on its database.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Client, Folder, Heard, metric, newest, number, publish, text};

/// Rounds, unless `ROOMCAST_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 20;

const PUBLISHERS: u64 = 3;

/// Messages read at once.
const PAGE: u64 = 64;

const CONFIG: &str = r#"
[client]
history_max_publication_limit = 10000
recovery_max_publication_limit = 10000
[[channel.namespaces]]
name = "async"
storage = "async"
history_size = 1000000
[[channel.namespaces]]
name = "stored"
storage = "stored"
history_size = 1000000
"#;

/// The binary, serving; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn start(folder: &Folder) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_with(folder: &Folder, variables: &[(&str, PathBuf)]) -> Self {
        Self::start_by(folder, CONFIG, variables)
    }

    /// The same by another configuration.
    pub(crate) fn start_by(folder: &Folder, text: &str, variables: &[(&str, PathBuf)]) -> Self {
        Self::spawn(folder, text, &["--listen", "127.0.0.1:0"], variables)
    }

    /// The next one, which takes over from this one by that configuration.
    pub(crate) fn taken_over(&self, folder: &Folder, text: &str) -> Self {
        let socket = folder.0.join("handover.sock");
        crate::harness::eventually("a socket to ask at", || socket.exists());
        Self::spawn(folder, text, &["--take-over", "--listen", &self.address.to_string()], &[])
    }

    /// The same; `watch` is told which process it is before it serves.
    pub(crate) fn taken_over_beside(
        &self,
        folder: &Folder,
        text: &str,
        variables: &[(&str, PathBuf)],
        watch: impl FnOnce(u32),
    ) -> Self {
        let socket = folder.0.join("handover.sock");
        crate::harness::eventually("a socket to ask at", || socket.exists());
        Self::spawn_beside(folder, text, &["--take-over", "--listen", &self.address.to_string()], variables, watch)
    }

    /// One that is started with these arguments, where it listens first.
    pub(crate) fn spawn(folder: &Folder, text: &str, arguments: &[&str], variables: &[(&str, PathBuf)]) -> Self {
        Self::spawn_beside(folder, text, arguments, variables, |_| {})
    }

    fn spawn_beside(
        folder: &Folder,
        text: &str,
        arguments: &[&str],
        variables: &[(&str, PathBuf)],
        watch: impl FnOnce(u32),
    ) -> Self {
        let config = folder.0.join("roomcast.toml");
        std::fs::write(&config, text).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_roomcast"))
            .args(["serve", "--dev", "--log-level", "info"])
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(&folder.0)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary");
        watch(child.id());
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| {
            let (_, place) = line.split_once("listening on http")?;
            let (_, address) = place.split_once("://")?;
            address.split_whitespace().next()?.parse().ok()
        });
        // What else it says is not to fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("where it listens") }
    }

    pub(crate) fn connected(&self) -> Client {
        let mut client = Client::open(self.address);
        client.send(r#"{"id":1,"connect":{}}"#);
        client.reply(1);
        client
    }

    /// What the system says of its memory: a line of its status, in bytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        memory_of(self.child.id(), line).expect("that line")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The sum of a metric over all shards.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(self.address, name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a process to signal");
    }

    /// Waits until it has ended by itself, as it should.
    pub(crate) fn ends(&mut self) {
        assert!(self.child.wait().expect("an end").success());
    }

    /// Waits until it has ended, in whatever way.
    pub(crate) fn is_over(&mut self) {
        self.child.wait().expect("an end");
    }

    /// Whether it is still there.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a process").is_none()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("an end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same of any process; nothing of one that is gone.
pub(crate) fn memory_of(process: u32, line: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
    let kib: u64 = found.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What is known about a room from outside.
#[derive(Default)]
struct Known {
    /// Payloads by epoch and offset, as they were delivered or read.
    places: HashMap<(String, u64), u64>,
    /// Payloads that were acknowledged.
    acknowledged: Vec<u64>,
    /// Where a member stood at last.
    epoch: String,
    offset: u64,
}

impl Known {
    fn take(&mut self, room: &str, epoch: &str, publication: &Value) {
        let (offset, data) = (number(&publication["offset"]), number(&publication["data"]));
        let known = self.places.insert((epoch.to_owned(), offset), data);
        assert!(known.is_none_or(|known| known == data), "{room}: {offset} of {epoch} was {known:?} and is {data}");
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_and_no_place_is_given_twice() {
    let rounds = std::env::var("ROOMCAST_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let folder = Folder::new();
    let mut rooms = [("stored:hall", Known::default()), ("async:hall", Known::default())];
    let payloads = AtomicU64::new(1);
    let mut ahead = 0;
    for round in 0..rounds {
        let mut server = Process::start(&folder);
        for (room, known) in &mut rooms {
            let mut client = server.connected();
            let ask = format!(
                r#"{{"id":2,"subscribe":{{"channel":"{room}","recover":true,"offset":{},"epoch":"{}"}}}}"#,
                known.offset, known.epoch
            );
            client.send(&ask);
            let back = client.reply(2)["subscribe"].clone();
            let epoch = text(&back["epoch"]).to_owned();
            // One into which nothing was stored yet has no epoch to keep.
            if !known.acknowledged.is_empty() && *room == "stored:hall" {
                assert_eq!(epoch, known.epoch, "a stored room keeps its epoch");
                assert_eq!(back["recovered"], true, "{back}");
            }
            if epoch == known.epoch {
                for publication in back["publications"].as_array().cloned().unwrap_or_default() {
                    known.take(room, &epoch, &publication);
                }
            } else if round > 0 {
                assert_ne!(back["recovered"], true, "a client that may be ahead is told");
                ahead += 1;
            }
            let all = read_all(&mut client, room);
            let offsets: Vec<u64> = all.iter().map(|publication| number(&publication["offset"])).collect();
            assert_eq!(offsets, (1..=newest(&back)).collect::<Vec<_>>(), "{room} has neither gaps nor doubles");
            if *room == "stored:hall" {
                all.iter().for_each(|publication| known.take(room, &epoch, publication));
                let kept: std::collections::HashSet<u64> = all.iter().map(|it| number(&it["data"])).collect();
                let lost: Vec<_> = known.acknowledged.iter().filter(|data| !kept.contains(data)).collect();
                assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}");
            }
            (known.epoch, known.offset) = (epoch, newest(&back));
        }
        crash(&mut server, &mut rooms, &payloads, round);
    }
    let acknowledged = rooms[0].1.acknowledged.len();
    assert!(acknowledged as u64 > rounds, "only {acknowledged} acknowledgements in {rounds} rounds");
    assert!(ahead > 0, "the asynchronous room never began a new epoch");
    eprintln!(
        "server | {rounds} rounds of kill -9: {acknowledged} messages acknowledged as stored and all there, {ahead} new epochs of \
         the room that is stored later"
    );
}

/// Publishes into both rooms, listens, and kills the server at some moment.
fn crash(server: &mut Process, rooms: &mut [(&str, Known); 2], payloads: &AtomicU64, round: u64) {
    // In before the time runs: that they may fail to come in is not what this is about.
    let mut clients: Vec<Client> = (0..2 * PUBLISHERS + 2).map(|_| server.connected()).collect();
    let mut next = || clients.pop().expect("one for each");
    let [(_, stored), (_, other)] = rooms;
    let acknowledged = Mutex::new(&mut stored.acknowledged);
    std::thread::scope(|scope| {
        for at in 0..2 * PUBLISHERS {
            let acknowledged = &acknowledged;
            let room = if at % 2 == 0 { "stored:hall" } else { "async:hall" };
            let mut client = next();
            scope.spawn(move || {
                for id in 2.. {
                    let data = payloads.fetch_add(1, Relaxed);
                    client.send(&publish(id, room, &data.to_string()));
                    match next_reply(&mut client) {
                        Some(reply) if reply.get("publish").is_some() && at % 2 == 0 => {
                            acknowledged.lock().expect("no panic").push(data);
                        }
                        Some(_) => {}
                        None => return,
                    }
                }
            });
        }
        let mut listeners = Vec::new();
        for (room, known) in
            [("stored:hall", (&stored.epoch, stored.offset)), ("async:hall", (&other.epoch, other.offset))]
        {
            let (epoch, offset) = (known.0.clone(), known.1);
            let client = next();
            listeners.push(scope.spawn(move || listen(client, room, &epoch, offset)));
        }
        // Any moment: sooner or later than a disk writes, in steps that do not repeat with the rounds.
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 181));
        server.kill();
        for (listener, known) in listeners.into_iter().zip([&mut stored.places, &mut other.places]) {
            for (place, data) in listener.join().expect("no panic") {
                let before = known.insert(place.clone(), data);
                assert!(before.is_none_or(|before| before == data), "{place:?} was {before:?} and is {data}");
            }
        }
    });
    for (_, known) in rooms {
        let epoch = known.epoch.clone();
        let newest = known.places.keys().filter(|(at, _)| *at == epoch).map(|(_, offset)| *offset).max();
        known.offset = newest.unwrap_or(known.offset).max(known.offset);
    }
}

/// What a member is given until the server is gone.
fn listen(mut client: Client, room: &str, epoch: &str, offset: u64) -> Vec<((String, u64), u64)> {
    client.send(&format!(
        r#"{{"id":2,"subscribe":{{"channel":"{room}","recover":true,"offset":{offset},"epoch":"{epoch}"}}}}"#
    ));
    let mut given = Vec::new();
    loop {
        match client.hear() {
            Heard::Object(value) => {
                let replayed = value["subscribe"]["publications"].as_array().cloned().unwrap_or_default();
                let pushed = value["push"].get("pub").cloned();
                given.extend(replayed.into_iter().chain(pushed).map(|publication| {
                    ((epoch.to_owned(), number(&publication["offset"])), number(&publication["data"]))
                }));
            }
            _ => return given,
        }
    }
}

/// The next reply; nothing when the server is gone.
pub(crate) fn next_reply(client: &mut Client) -> Option<Value> {
    loop {
        match client.hear() {
            Heard::Object(value) if value.get("id").is_some() => return Some(value),
            Heard::Object(_) => {}
            _ => return None,
        }
    }
}

/// All of a room, in pages.
pub(crate) fn read_all(client: &mut Client, room: &str) -> Vec<Value> {
    let mut all = Vec::<Value>::new();
    for id in 100.. {
        let since = all.last().map_or(0, |last| number(&last["offset"]));
        client.send(&format!(
            r#"{{"id":{id},"history":{{"channel":"{room}","limit":{PAGE},"since":{{"offset":{since},"epoch":""}}}}}}"#
        ));
        let page = client.reply(id)["history"]["publications"].as_array().cloned().unwrap_or_default();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    all
}
