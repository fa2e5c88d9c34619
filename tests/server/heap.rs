//! What the server takes from the heap: nothing that bad input leaves behind, and nothing for a member of a room.
//!
//! The allocator counts for all threads, so each test runs itself again, alone in a process of its own.

use std::env;
use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use roomcast_server::config::Storage;

use crate::ALLOCATOR;
use crate::bad_input::cases;
use crate::frames::frame;
use crate::harness::{Folder, Running, eventually, publish};

const REPETITIONS: usize = 1_000;
const GROWTH_BYTES_MAX: usize = 1024 * 1024;

/// Set in the process that measures.
const ALONE: &str = "ROOMCAST_TEST_ALONE";

/// Runs `measure` if this process runs it alone, otherwise such a process.
fn alone(name: &str, measure: impl FnOnce()) {
    if env::var_os(ALONE).is_some() {
        return measure();
    }
    let this = env::current_exe().expect("the path of the tests");
    let run =
        Command::new(this).args(["--exact", "--nocapture", name]).env(ALONE, "1").output().expect("a second process");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("1 passed"), "it ran nothing: {said}");
    eprintln!("{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn a_thousand_bad_clients_leave_the_heap_as_it_was() {
    alone("heap::a_thousand_bad_clients_leave_the_heap_as_it_was", bad_clients);
}

#[test]
fn a_delivery_allocates_nothing_for_a_member() {
    alone("heap::a_delivery_allocates_nothing_for_a_member", deliveries);
}

#[test]
fn what_waits_for_a_database_that_takes_nothing_is_bounded() {
    alone("heap::what_waits_for_a_database_that_takes_nothing_is_bounded", stalled);
}

#[test]
fn a_room_that_nobody_has_published_into_takes_no_more_than_it_counts_for() {
    alone("heap::a_room_that_nobody_has_published_into_takes_no_more_than_it_counts_for", rooms_at_rest);
}

/// Rooms that are made while it is measured: maps have grown by then, and what they have for more is shared by all.
const ROOMS: usize = 10_000;

fn rooms_at_rest() {
    // What a room counts for, and for each byte of its name: as in `rooms/tally.rs`.
    for (storage, (itself, each)) in [(Storage::Off, (448, 1)), (Storage::Async, (1_184, 2))] {
        for name_bytes in [8, 250] {
            let server = Running::with(|config| {
                let options = &mut config.channel.without_namespace;
                (options.storage, options.history_size) = (storage, 100);
                config.client.ping_interval = Duration::ZERO;
            });
            let mut client = server.connected("Eve");
            let mut make = |rooms: std::ops::Range<usize>| {
                for first in rooms.step_by(100) {
                    let ask = |nth| format!(r#"{{"id":{},"history":{{"channel":"{nth:0>name_bytes$}"}}}}"#, nth + 2);
                    client.send(&(first..first + 100).map(ask).collect::<Vec<_>>().join("\n"));
                    for nth in first..first + 100 {
                        let reply = client.reply(nth as u32 + 2);
                        assert!(reply.get("history").is_some(), "{reply}");
                    }
                }
            };
            make(0..1_000);
            let before = ALLOCATOR.allocated();
            make(1_000..1_000 + ROOMS);
            let found = ALLOCATOR.allocated().saturating_sub(before) / ROOMS;
            eprintln!("a room with storage {storage:?} and a name of {name_bytes} bytes: {found} bytes");
            assert!(found > name_bytes, "{found} bytes: nothing is counted");
            assert!(found <= itself + each * name_bytes, "{found} bytes for a name of {name_bytes}, {storage:?}");
        }
    }
}

/// How long the database takes nothing, unless `ROOMCAST_STALL_SECONDS` says otherwise.
const STALL_SECONDS: u64 = 2;

/// Four clients publish into fifty rooms without a pause; every ring is full after a moment, and then nothing grows.
fn stalled() {
    let seconds = env::var("ROOMCAST_STALL_SECONDS").map_or(STALL_SECONDS, |text| text.parse().expect("a number"));
    let folder = Folder::new();
    let server = Running::with(|config| {
        config.data_dir.clone_from(&folder.0);
        config.client.ping_interval = Duration::from_secs(3_600);
    });
    server.connected("Eve").publish(2, "room0", "1");
    let thief = rusqlite::Connection::open(folder.0.join("rooms.db")).expect("the database");
    thief.busy_timeout(Duration::from_secs(10)).expect("a time");
    thief.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let (taken, refused, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for publisher in 0..4 {
            let (server, taken, refused, is_over) = (&server, &taken, &refused, &is_over);
            scope.spawn(move || {
                let mut client = server.connected("Ann");
                let data = format!("\"{}\"", "x".repeat(1_000));
                let rooms: Vec<String> = (0..50).map(|room| format!("room{}", (room + publisher) % 50)).collect();
                while !is_over.load(Relaxed) {
                    rooms.iter().zip(2..).for_each(|(room, id)| client.send(&publish(id, room, &data)));
                    for id in (2..).take(rooms.len()) {
                        let reply = client.reply(id);
                        if reply.get("error").is_some() { refused } else { taken }.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        eventually("every ring is full", || refused.load(Relaxed) > 20_000);
        let (full, at_first) = (ALLOCATOR.allocated(), taken.load(Relaxed));
        std::thread::sleep(Duration::from_secs(seconds));
        let grown = ALLOCATOR.allocated().saturating_sub(full);
        is_over.store(true, Relaxed);
        eprintln!(
            "{seconds} s: {at_first} messages taken at first, {} in all, {} refused; {full} bytes, {grown} more at the end",
            taken.load(Relaxed),
            refused.load(Relaxed),
        );
        assert!(grown < 4 * GROWTH_BYTES_MAX, "grown by {grown} of {full} bytes");
    });
    drop(thief);
    let all = taken.load(Relaxed) + 1;
    eventually("nothing of it is lost", || server.metric("roomcast_storage_messages_total") == all);
}

fn bad_clients() {
    let server = Running::start();
    let cases = cases();
    let run = |repetitions: usize| {
        for (_, connected, bytes, code) in cases.iter().cycle().take(repetitions) {
            let mut client = match connected {
                true => server.member("Eve", "hall"),
                false => server.client(),
            };
            client.send_raw(bytes);
            assert_eq!(client.closed().0, *code);
        }
        eventually("the last one is gone", || {
            server.metric("roomcast_connections{") == 0 && server.metric("roomcast_sockets") == 1
        });
        ALLOCATOR.allocated()
    };
    // What is kept for good (buffers of shards, counters by code, the room) is there after one of each, many times over.
    let before = run(10 * cases.len());
    let after = run(REPETITIONS);
    let growth = after.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more after {REPETITIONS} bad clients");
}

/// Messages that are delivered while it is counted.
const MESSAGES: usize = 100;
/// Members of a small room, and of a large one.
const FEW: usize = 10;
const MANY: usize = 510;
/// Whatever else allocates meanwhile, on a busy machine, only adds: the least of so many is the server's.
const TIMES: usize = 3;

fn deliveries() {
    let server = Running::with(|config| {
        config.shards = NonZeroUsize::new(1);
        // Pings come at any moment, and are kept for each client that is written to later.
        config.client.ping_interval = Duration::ZERO;
        let options = &mut config.channel.without_namespace;
        (options.join_leave, options.force_push_join_leave) = (false, false);
    });
    let least = |name: &str, members| {
        let rooms = (0..TIMES).map(|time| format!("{name}{time}"));
        rooms.map(|room| allocated_in(&server, &room, members)).min().expect("it is measured at least once")
    };
    let (few, many) = (least("few", FEW), least("many", MANY));
    let each = many.saturating_sub(few) as f64 / ((MANY - FEW) * MESSAGES) as f64;
    assert!(few > 0, "the counter counts nothing");
    // An allocation for each of them would be some eight bytes at least; what a message costs once is shared by them.
    assert!(each < 1.0, "{each} bytes for a delivery: {few} for {FEW} members, {many} for {MANY}");
}

/// Bytes allocated while messages are delivered to so many members, who leave them in their sockets; the publisher, who
/// joined last and so is written to last, reads into one buffer and allocates nothing either.
fn allocated_in(server: &Running, room: &str, members: usize) -> usize {
    let members: Vec<_> = (1..members).map(|_| server.member("Ann", room)).collect();
    let mut publisher = server.member("Bob", room);
    let frames: Vec<_> = (3..).map(|id| frame(0x81, publish(id, room, "1").as_bytes())).take(2 * MESSAGES).collect();
    let mut buffer = vec![0; 64 * 1024];
    let mut deliver = |frames: &[Vec<u8>]| {
        for frame in frames {
            publisher.stream.write_all(frame).expect("the server reads");
            let mut filled = 0;
            while !buffer[..filled].windows(PUSH.len()).any(|bytes| bytes == PUSH) {
                filled += publisher.stream.read(&mut buffer[filled..]).expect("its own message comes");
            }
        }
    };
    // What is kept for good is there before it is counted.
    deliver(&frames[..MESSAGES]);
    let before = ALLOCATOR.total_allocated();
    deliver(&frames[MESSAGES..]);
    let allocated = ALLOCATOR.total_allocated() - before;
    drop(members);
    allocated
}

/// What a push has and a reply has not.
const PUSH: &[u8] = b"\"offset\"";
