//! Hand-overs that do not come off: until the new process has said the last word everything goes on, and afterwards it ends loudly.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use roomcast_server::{ServeError, Server};

use super::{Process, config, connected, wait_for};
use crate::harness::{Client, Folder, PATIENCE};

pub(super) const HELLO: u8 = 1;
pub(super) const WELCOME: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const READY: u8 = 4;
pub(super) const SETTLED: u8 = 5;
pub(super) const GO: u8 = 6;
pub(super) const SOCKETS: u8 = 7;
pub(super) const ROOMS: u8 = 8;
pub(super) const ALL_GIVEN: u8 = 9;
pub(super) const SERVES: u8 = 10;
pub(super) const WORKING: u8 = 128;
pub(super) const HOLDS: u8 = 129;

/// A process at one end that says what it is told to: the new one, unless somebody has accepted it.
pub(super) struct Asker(pub(super) UnixStream);

impl Asker {
    pub(super) fn at(data_dir: &Path) -> Self {
        wait_for(data_dir);
        let stream = UnixStream::connect(data_dir.join("handover.sock")).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Self(stream)
    }

    pub(super) fn say(&mut self, kind: u8, body: &[u8]) {
        let mut message = vec![kind];
        message.extend_from_slice(&(body.len() as u32).to_le_bytes());
        message.extend_from_slice(body);
        // Who is refused before it has said anything hears that.
        let _ = self.0.write_all(&message);
    }

    pub(super) fn hello(&mut self, version: u16) {
        self.say(HELLO, &[b"roomcast".as_slice(), &version.to_le_bytes()].concat());
    }

    /// The next message; nothing when the other end is closed.
    pub(super) fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let [kind, length @ ..] = head;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut body).ok()?;
        Some((kind, body))
    }

    pub(super) fn hears(&mut self, expected: u8) {
        let (kind, body) = self.hear().expect("something is said");
        assert_eq!(kind, expected, "{}", String::from_utf8_lossy(&body));
    }

    pub(super) fn is_refused(&mut self) -> String {
        let (kind, body) = self.hear().expect("a reason");
        assert_eq!(kind, REFUSED);
        String::from_utf8(body).expect("words")
    }

    /// Everything up to the last word before there is no way back.
    pub(super) fn until_settled(&mut self) {
        self.hello(1);
        self.hears(WELCOME);
        self.say(READY, b"");
        self.hears(SETTLED);
    }
}

/// Publishes until it is taken.
pub(super) fn publishes(client: &mut Client, id: u32) {
    let began = Instant::now();
    loop {
        client.send(&crate::harness::publish(id, "off:hall", "7"));
        let reply = client.reply(id);
        if reply.get("publish").is_some() {
            return;
        }
        assert_eq!(reply["error"]["code"], 111, "{reply}");
        assert!(began.elapsed() < PATIENCE, "it takes nothing any more");
        std::thread::yield_now();
    }
}

#[test]
fn who_asks_for_a_server_and_says_nothing_more_is_given_up() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.handover.timeout = Duration::from_secs(1);
    let (mut first, address, _) = Process::first(&config);
    let mut ann = connected(address);
    let mut silent = Asker::at(&folder.0);
    silent.hello(1);
    silent.hears(WELCOME);
    publishes(&mut ann, 2);
    assert!(silent.is_refused().contains("lost"));
    assert!(silent.hear().is_none());
    publishes(&mut ann, 3);
    let second = Process::next(&config);
    assert_eq!(ann.closed().0, 3001);
    first.ended().expect("handed over");
    connected(address);
    second.stop();
}

#[test]
fn of_two_that_ask_at_once_one_is_refused() {
    let folder = Folder::new();
    let config = config(&folder);
    let (first, address, _) = Process::first(&config);
    let mut one = Asker::at(&folder.0);
    one.hello(1);
    one.hears(WELCOME);
    let mut other = Asker::at(&folder.0);
    other.hello(1);
    assert!(other.is_refused().contains("another process"));
    let refused = Server::take_over(config.clone()).expect_err("somebody else is about to");
    assert!(matches!(&refused, ServeError::NotHandedOver(why) if why.contains("another process")), "{refused}");
    drop(one);
    publishes(&mut connected(address), 2);
    first.stop();
}

#[test]
fn who_speaks_another_version_or_nonsense_is_refused_and_nothing_changes() {
    let folder = Folder::new();
    let config = config(&folder);
    let (first, address, _) = Process::first(&config);
    let mut ann = connected(address);
    let mut later = Asker::at(&folder.0);
    later.hello(2);
    assert!(later.is_refused().contains("version 2"));
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[HELLO, 0xff, 0xff, 0xff, 0xff], &[99; 64], &[GO, 0, 0, 0, 0]] {
        let mut stranger = Asker::at(&folder.0);
        stranger.0.write_all(nonsense).expect("it is there");
        assert!(stranger.is_refused().contains("lost"), "{nonsense:?}");
    }
    publishes(&mut ann, 2);
    first.stop();
}

#[test]
fn who_breaks_off_before_the_last_word_changes_nothing() {
    let folder = Folder::new();
    let config = config(&folder);
    let (first, address, _) = Process::first(&config);
    let mut ann = connected(address);
    ann.subscribe(2, "stored:hall");
    for round in 0..3_u32 {
        let mut gone = Asker::at(&folder.0);
        gone.until_settled();
        if round == 1 {
            gone.say(ROOMS, b"nobody expects it");
            assert!(gone.is_refused().contains("lost"));
        }
        drop(gone);
        publishes(&mut ann, 10 + round);
        // Newcomers are accepted, and rooms of the database are there.
        let mut bob = connected(address);
        bob.subscribe(2, "stored:hall");
        bob.publish(3, "stored:hall", "1");
        assert_eq!(ann.publication()["data"], 1);
    }
    first.stop();
}

#[test]
fn who_comes_while_nothing_is_accepted_waits() {
    let folder = Folder::new();
    let config = config(&folder);
    let (first, address, _) = Process::first(&config);
    let mut gone = Asker::at(&folder.0);
    gone.until_settled();
    let waiting = std::thread::spawn(move || publishes(&mut connected(address), 2));
    drop(gone);
    waiting.join().expect("it is served in the end");
    first.stop();
}

#[test]
fn a_server_whose_successor_is_lost_with_everything_ends_and_says_so() {
    for last in [GO, SOCKETS, ALL_GIVEN] {
        let folder = Folder::new();
        let config = config(&folder);
        let (mut first, address, _) = Process::first(&config);
        let mut ann = connected(address);
        let mut lost = Asker::at(&folder.0);
        lost.until_settled();
        lost.say(GO, b"");
        let mut heard = GO;
        while heard != last {
            heard = lost.hear().expect("it gives what it has").0;
        }
        drop(lost);
        assert_eq!(ann.closed().0, 3001, "after {last}");
        let ended = first.ended().expect_err("nobody serves");
        assert!(matches!(ended, ServeError::Orphaned(_)), "{ended}");
        assert!(ended.to_string().contains("start the server again"), "{ended}");
        let (again, address, _) = Process::first(&config);
        publishes(&mut connected(address), 2);
        again.stop();
    }
}

#[test]
fn who_is_told_to_end_when_everything_is_given_away_gives_it_all_the_same() {
    for last in [SOCKETS, ALL_GIVEN] {
        let folder = Folder::new();
        let config = config(&folder);
        let (mut first, address, _) = Process::first(&config);
        publishes(&mut connected(address), 2);
        let mut next = Asker::at(&folder.0);
        next.until_settled();
        next.say(GO, b"");
        let mut heard = GO;
        while heard != last {
            heard = next.hear().expect("it gives what it has").0;
        }
        first.shutdown.begin();
        // Longer than a server takes to end that has nobody.
        std::thread::sleep(Duration::from_millis(500));
        while heard != ALL_GIVEN {
            heard = next.hear().expect("it goes on giving").0;
        }
        next.say(SERVES, b"");
        first.ended().unwrap_or_else(|ended| panic!("after {last}: {ended}"));
    }
}

#[test]
fn who_is_told_to_end_before_gives_nothing() {
    let folder = Folder::new();
    let config = config(&folder);
    let (mut first, address, _) = Process::first(&config);
    let ann = connected(address);
    let mut late = Asker::at(&folder.0);
    late.until_settled();
    first.shutdown.begin();
    drop(ann);
    late.say(GO, b"");
    // It may have gone by then.
    if let Some((kind, reason)) = late.hear() {
        assert_eq!(kind, REFUSED);
        assert!(String::from_utf8_lossy(&reason).contains("stopped"));
    }
    first.ended().expect("a plain end");
}

#[test]
fn where_a_path_is_too_long_to_ask_at_it_begins_plainly() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.data_dir = folder.0.join("x".repeat(108));
    std::fs::create_dir(&config.data_dir).expect("a folder");
    let server = Server::take_over(config).expect("nobody can be there");
    let address = server.local_addr();
    let process = Process::of(server);
    publishes(&mut connected(address), 2);
    process.stop();
}

#[test]
fn a_process_that_hangs_is_not_waited_for() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.handover.timeout = Duration::from_secs(1);
    let socket = folder.0.join("handover.sock");
    let _nobody_answers = UnixListener::bind(&socket).expect("a socket");
    let began = Instant::now();
    let refused = Server::take_over(config).expect_err("nobody answers");
    assert!(matches!(&refused, ServeError::NotHandedOver(why) if why.contains("nothing in time")), "{refused}");
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn where_nobody_serves_it_begins_plainly_and_asks_nobody_else() {
    let folder = Folder::new();
    let config = config(&folder);
    let socket = folder.0.join("handover.sock");
    // What a process has left that was killed.
    drop(UnixListener::bind(&socket).expect("a socket"));
    let server = Server::take_over(config).expect("nobody is there");
    let address = server.local_addr();
    let process = Process::of(server);
    publishes(&mut connected(address), 2);
    let mode = std::fs::metadata(&socket).expect("its own").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    process.stop();
    assert!(!socket.exists());
}
