//! The process that is killed.

use std::collections::HashMap;
use std::env;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use roomcast::store::{Durability, Options, SqliteStore, Store};
use roomcast::{PublishError, RoomOptions};
use rusqlite::Connection;

use crate::support::{Dice, Folder, Place as _, Run};

/// The file it keeps its rooms in; without it, it has a folder of its own, and ends by itself.
pub(super) const FILE: &str = "ROOMCAST_CRASH_FILE";
pub(super) const ROUND: &str = "ROOMCAST_CRASH_ROUND";

pub(super) const ROOMS: [&str; 5] = ["ledger", "purse", "till", "chat", "hall"];

const PUBLISHERS: u64 = 4;

pub(super) fn durability(room: &str) -> Durability {
    if ["chat", "hall"].contains(&room) { Durability::Async } else { Durability::Stored }
}

/// FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo).
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Reads a stored room to its watermark, slowly, so that it is behind, from the ring and from the store; says what it was given.
fn read(run: &Run, mut dice: Dice, is_over: &AtomicBool) {
    let mut at = HashMap::new();
    while !is_over.load(SeqCst) {
        let name = ROOMS[dice.roll(3) as usize];
        let room = run.archive.open(name, RoomOptions::new()).expect("the room opens");
        let Some(watermark) = run.archive.watermark(&room) else { continue };
        let next = at.entry(name).or_insert_with(|| watermark.first());
        let end = watermark.stored();
        let history = run.archive.history(&room, *next..end, 1 + dice.roll(8) as usize).expect("the history is read");
        for message in history {
            let sum = checksum(message.message.as_deref().unwrap_or_default().as_bytes());
            let line = format!("seen {name} {} {} {sum}\n", room.epoch(), message.sequence);
            std::io::stdout().lock().write_all(line.as_bytes()).expect("somebody listens");
            *next = message.sequence + 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Publishes into all rooms and says so, line by line, for as long as it is let: of stored rooms when their watermarks say that a
/// message is stored, of the others at once. Rooms expire under it. When nobody kills it, all it has said is stored.
#[test]
fn a_process_that_publishes() {
    let file = env::var_os(FILE);
    let folder = file.is_none().then(Folder::new);
    let store: Arc<dyn Store> = match (&file, &folder) {
        (Some(file), _) => Arc::new(SqliteStore::open(file).expect("the store opens")),
        (None, folder) => folder.as_ref().expect("it was made").open(),
    };
    let seed = env::var(ROUND).map_or(0, |round| round.parse().expect("a number"));
    let run = Run::start(store, Options::by_room(|room| Some(durability(room))).batch_messages_max(64));
    let until = Instant::now() + if file.is_some() { Duration::from_secs(60) } else { Duration::from_millis(50) };
    let is_over = AtomicBool::new(false);
    let said: u64 = thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (run, is_over) = (&run, &is_over);
                scope.spawn(move || publish(run, Dice::new(seed, publisher), is_over))
            })
            .collect();
        scope.spawn(|| read(&run, Dice::new(seed, PUBLISHERS), &is_over));
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(7));
            run.broker.expire_idle();
            // The log is carried over at any moment, not only when it is large.
            if let Some(file) = &file {
                let other = Connection::open(file).expect("the file opens");
                let carried = other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                carried.expect("the log is carried over");
            }
        }
        is_over.store(true, SeqCst);
        publishers.into_iter().map(|publisher| publisher.join().expect("it publishes")).sum()
    });
    run.close();
    assert_eq!(run.archive.status().stored, said);
}

fn publish(run: &Run, mut dice: Dice, is_over: &AtomicBool) -> u64 {
    let (mut said, began) = (0, Instant::now());
    while !is_over.load(SeqCst) {
        // At times nobody waits for the disk, by which they would be much faster.
        let is_lazy = began.elapsed().as_millis() / 20 % 2 == 1;
        let name =
            if is_lazy { ROOMS[3 + dice.roll(2) as usize] } else { ROOMS[dice.roll(ROOMS.len() as u64) as usize] };
        let room = run.archive.open(name, RoomOptions::new()).expect("the room opens");
        // None when the room has expired since.
        let Some(watermark) = run.archive.watermark(&room) else { continue };
        let text = format!("a: {:x} {}", dice.roll(u64::MAX), "x".repeat(dice.roll(200) as usize));
        let sum = checksum(text.as_bytes());
        let sequence = match room.publish_blocking(text) {
            Ok(sequence) => sequence,
            Err(PublishError::Closed(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        let what = if durability(name) == Durability::Stored {
            block_on(watermark.reached(sequence + 1)).expect("the archive runs");
            "stored"
        } else {
            thread::sleep(Duration::from_millis(1));
            "given"
        };
        // One write for a line: a killed process leaves whole ones.
        let line = format!("{what} {name} {} {sequence} {sum}\n", room.epoch());
        std::io::stdout().lock().write_all(line.as_bytes()).expect("somebody listens");
        said += 1;
    }
    said
}
