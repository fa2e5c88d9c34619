//! Either process is killed or told to end at each stage of a hand-over: one of them has the rooms, or nobody and it is said; nothing that
//! was acknowledged is lost, and nobody takes a gap for none.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use roomcast_server::config::Config;
use roomcast_server::{ServeError, Server};

use super::broken::{
    ALL_GIVEN, Asker, GO, HELLO, HOLDS, READY, REFUSED, ROOMS, SERVES, SETTLED, SOCKETS, WELCOME, WORKING, publishes,
};
use super::{Process, config, connected};
use crate::harness::{Folder, PATIENCE, number, text};

/// How far the new process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Connected,
    Welcomed,
    Settled,
    HasSockets,
    HasRooms,
    HasAll,
    AtWork,
}

const STAGES: [Stage; 7] = [
    Stage::Connected,
    Stage::Welcomed,
    Stage::Settled,
    Stage::HasSockets,
    Stage::HasRooms,
    Stage::HasAll,
    Stage::AtWork,
];

/// What happens to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    NewIsLost,
    OldIsToldToEnd,
    OldIsToldToEndAndNewIsLost,
}

/// Messages in each room.
const SAID: u64 = 5;
const ROOMS_HERE: [&str; 2] = ["off:hall", "stored:hall"];

/// Comes that far.
fn come_to(stage: Stage, data_dir: &Path) -> Asker {
    let mut new = Asker::at(data_dir);
    let hears_until = |new: &mut Asker, last: u8| while new.hear().expect("it gives what it has").0 != last {};
    if stage >= Stage::Welcomed {
        // It reads notes.
        new.say(HELLO, b"roomcast\x01\0\x01");
        new.hears(WELCOME);
    }
    if stage >= Stage::Settled {
        new.say(READY, b"");
        new.hears(SETTLED);
    }
    if stage >= Stage::HasSockets {
        new.say(GO, b"");
        hears_until(&mut new, SOCKETS);
    }
    if stage >= Stage::HasRooms {
        // Before the first of them it is said what there is in memory.
        let mut kinds = Vec::new();
        while !kinds.contains(&ROOMS) {
            kinds.push(new.hear().expect("it gives what it has").0);
        }
        assert_eq!(kinds, [HOLDS, ROOMS]);
    }
    if stage >= Stage::HasAll {
        hears_until(&mut new, ALL_GIVEN);
    }
    if stage >= Stage::AtWork {
        let (kind, body) = new.hear().expect("what is left there");
        assert_eq!((kind, body.len()), (HOLDS, 8));
        (0..3).for_each(|_| new.say(WORKING, b""));
    }
    new
}

/// Where the rooms stand after all has been said.
fn say_all(address: SocketAddr) -> Vec<String> {
    let mut ann = connected(address);
    let said = ROOMS_HERE.iter().map(|room| {
        (0..SAID).for_each(|number| ann.publish(2, room, &number.to_string()));
        text(&ann.subscribe(3, room)["epoch"]).to_owned()
    });
    said.collect()
}

/// Who comes back has everything, or is told that it has not: that of memory where another process began anew.
fn is_all_there(address: SocketAddr, epochs: &[String], began_anew: bool, when: &str) {
    let mut ben = connected(address);
    for ((room, epoch), id) in ROOMS_HERE.iter().zip(epochs).zip(2..) {
        ben.send(&format!(
            r#"{{"id":{id},"subscribe":{{"channel":"{room}","recover":true,"offset":0,"epoch":"{epoch}"}}}}"#
        ));
        let reply = ben.reply(id);
        let found = reply["subscribe"]["publications"].as_array().map_or(0, Vec::len) as u64;
        let is_gone = began_anew && room.starts_with("off:");
        let is_recovered = reply["subscribe"]["recovered"] == true;
        assert_eq!(is_recovered, !is_gone, "{when}, {room}: {reply}");
        assert_eq!(found, if is_gone { 0 } else { SAID }, "{when}, {room}: {reply}");
    }
}

fn strike(stage: Stage, blow: Blow) {
    let when = format!("{blow:?} at {stage:?}");
    let folder = Folder::new();
    let config = config(&folder);
    let (mut first, address, _) = Process::first(&config);
    let epochs = say_all(address);
    let mut new = come_to(stage, &folder.0);
    let is_given = stage >= Stage::HasSockets;
    let told_to_end = blow != Blow::NewIsLost;
    if told_to_end {
        first.shutdown.begin();
    }
    if blow == Blow::OldIsToldToEnd {
        if is_given {
            // It goes on giving, and is served.
            let mut heard = if stage < Stage::HasAll { SOCKETS } else { ALL_GIVEN };
            while heard != ALL_GIVEN {
                heard = new.hear().expect("it goes on giving").0;
            }
            new.say(SERVES, b"");
        } else if stage > Stage::Connected {
            if stage == Stage::Welcomed {
                new.say(READY, b"");
            }
            if stage == Stage::Settled {
                new.say(GO, b"");
            }
            // It may have gone without a word, and never gives anything.
            while let Some((kind, reason)) = new.hear() {
                assert!(kind == REFUSED || kind == SETTLED, "{when}: {kind}");
                if kind == REFUSED {
                    let reason = String::from_utf8(reason).expect("words");
                    assert!(reason.contains("is being stopped"), "{when}: {reason}");
                }
            }
        }
    }
    drop(new);
    match (is_given, blow) {
        // It has them, and goes on.
        (false, Blow::NewIsLost) => {
            publishes(&mut connected(address), 2);
            let mut ann = connected(address);
            ann.send(r#"{"id":2,"history":{"channel":"off:hall","limit":0}}"#);
            assert_eq!(number(&ann.reply(2)["history"]["offset"]), SAID + 1, "{when}");
            first.stop();
            let (again, address, _) = Process::first(&config);
            let mut ben = connected(address);
            ben.send(r#"{"id":2,"history":{"channel":"stored:hall","limit":0}}"#);
            let reply = ben.reply(2);
            assert_eq!(number(&reply["history"]["offset"]), SAID, "{when}");
            assert_eq!(reply["history"]["epoch"], epochs[1].as_str(), "{when}");
            return again.stop();
        }
        (true, Blow::NewIsLost | Blow::OldIsToldToEndAndNewIsLost) => {
            let ended = first.ended().expect_err("nobody serves");
            assert!(matches!(ended, ServeError::Orphaned(_)), "{when}: {ended}");
        }
        _ => first.ended().unwrap_or_else(|ended| panic!("{when}: {ended}")),
    }
    // Nobody has the database, or the place.
    let (again, address, _) = Process::first(&config);
    is_all_there(address, &epochs, true, &when);
    again.stop();
}

#[test]
fn a_new_process_that_is_killed_at_any_stage_loses_nothing_that_was_acknowledged() {
    STAGES.into_iter().for_each(|stage| strike(stage, Blow::NewIsLost));
}

#[test]
fn an_old_process_that_is_told_to_end_at_any_stage_loses_nothing_that_was_acknowledged() {
    STAGES.into_iter().for_each(|stage| strike(stage, Blow::OldIsToldToEnd));
}

#[test]
fn both_may_go_at_any_stage() {
    STAGES.into_iter().for_each(|stage| strike(stage, Blow::OldIsToldToEndAndNewIsLost));
}

/// An old process that says what it is told to, and is gone then.
fn old_that_says(folder: &Folder, said: impl FnOnce(&mut Asker) + Send + 'static) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(folder.0.join("handover.sock")).expect("a socket");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("somebody asks");
        // Nobody else is there to be asked.
        drop(listener);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        said(&mut Asker(stream));
    })
}

/// It has no sockets, a second for a step, and reads notes.
fn welcome(old: &mut Asker) {
    old.hears(HELLO);
    old.say(WELCOME, &[1_000_u64.to_le_bytes().as_slice(), &[0xff]].concat());
}

fn config_with_port(folder: &Folder) -> (Config, SocketAddr) {
    let mut config = config(folder);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its place");
    config.http_server.port = free.port();
    config.handover.timeout = Duration::from_secs(1);
    (config, free)
}

#[test]
fn an_old_process_that_is_killed_at_any_stage_leaves_one_that_serves_or_nobody_and_says_so() {
    for stage in 0..8 {
        let folder = Folder::new();
        let (config, address) = config_with_port(&folder);
        let old = old_that_says(&folder, move |old| {
            let says = |old: &mut Asker, at: usize, kind: u8| {
                if stage > at {
                    old.say(kind, b"");
                }
            };
            if stage == 0 {
                return old.hears(HELLO);
            }
            welcome(old);
            if stage > 1 {
                old.hears(READY);
            }
            says(old, 2, SETTLED);
            if stage > 2 {
                old.hears(GO);
            }
            says(old, 3, WORKING);
            says(old, 4, SOCKETS);
            if stage > 5 {
                old.say(HOLDS, &[0xff; 8]);
            }
            says(old, 6, ALL_GIVEN);
        });
        let server = Server::take_over(config.clone());
        if stage == 0 {
            let refused = server.expect_err("nobody is there");
            assert!(matches!(&refused, ServeError::NotHandedOver(why) if why.contains("lost")), "{refused}");
        } else if stage < 3 {
            let refused = server.expect("it is welcome").run().expect_err("the old one has it all");
            assert!(matches!(&refused, ServeError::NotHandedOver(why) if why.contains("lost")), "{stage}: {refused}");
        } else {
            let process = Process::of(server.expect("it is welcome"));
            let began = Instant::now();
            while std::net::TcpStream::connect(address).is_err() {
                assert!(began.elapsed() < PATIENCE, "nobody serves after {stage}");
                std::thread::sleep(Duration::from_millis(5));
            }
            publishes(&mut connected(address), 2);
            process.stop();
        }
        old.join().expect("it says what it is told to");
    }
}

/// Longer than the new process waits for one that says nothing.
#[test]
fn an_old_process_that_lets_go_slowly_is_waited_for_as_long_as_it_says_so() {
    let folder = Folder::new();
    let (config, address) = config_with_port(&folder);
    let old = old_that_says(&folder, |old| {
        welcome(old);
        old.hears(READY);
        old.say(SETTLED, b"");
        old.hears(GO);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            old.say(WORKING, b"");
            std::thread::sleep(Duration::from_millis(200));
        }
        old.say(SOCKETS, b"");
        old.say(ALL_GIVEN, b"");
        // It is told as soon as it is so; that the other one is at work may stand before it.
        while old.hear().expect("a word").0 != SERVES {}
    });
    let process = Process::of(Server::take_over(config).expect("it is welcome"));
    old.join().expect("it was waited for");
    publishes(&mut connected(address), 2);
    process.stop();
}

/// What cannot be had would be found out when the old process has let go of everything.
#[test]
fn a_database_that_the_new_process_cannot_use_leaves_the_old_one_as_it_is() {
    let folder = Folder::new();
    let config = config(&folder);
    let (first, address, _) = Process::first(&config);
    let mut ann = connected(address);
    let mut other = config.clone();
    other.data_dir = folder.0.join("other");
    std::fs::create_dir(&other.data_dir).expect("a folder");
    std::fs::write(other.data_dir.join("rooms.db"), [7; 8_192]).expect("a file");
    other.handover.socket = Some(folder.0.join("handover.sock"));
    super::wait_for(&folder.0);
    let refused = Server::take_over(other).expect_err("it is no database");
    assert!(matches!(refused, ServeError::Store(_)), "{refused}");
    publishes(&mut ann, 2);
    first.stop();
}
