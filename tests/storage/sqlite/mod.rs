//! What can happen to the one file.

mod disk;
mod files;
mod tools;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use roomcast::PublishError;
use roomcast::store::{Durability, Options, SqliteStore, Store as _, StoreError, StoreErrorKind as Kind};
use rusqlite::Connection;

use crate::HEAP;
use crate::faulty::Faulty;
use crate::support::{Folder, Place as _, Run, until};

fn asynchronous() -> Options {
    Options::all(Durability::Async)
}

#[track_caller]
pub(super) fn refused(done: Result<impl std::fmt::Debug, StoreError>, kind: Kind, words: &str) {
    let error = done.expect_err(words);
    assert!(error.kind() == kind && error.to_string().contains(words), "{error:?}");
}

fn publish(run: &Run, room: &str, count: u64) {
    let room = run.open(room);
    (0..count).for_each(|_| _ = room.publish_blocking(format!("a: {:0100}", room.tail())).unwrap());
}

/// Another program writes into the file for longer than is waited for: that is said, and passes with it.
#[test]
fn a_locked_file_is_waited_for() {
    let folder = Folder::new();
    let run = Run::start(folder.open(), asynchronous());
    publish(&run, "lobby", 1);
    run.flush();
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    publish(&run, "lobby", 40);
    until("the trouble is seen", || run.archive.status().trouble.is_some());
    let (kind, text) = run.archive.status().trouble.unwrap();
    assert_eq!(kind, Kind::Locked);
    assert_eq!(text, format!("another program has locked {}; close it", folder.file().display()));
    assert_eq!(run.stored("lobby").len(), 1, "what is there can be read meanwhile");
    other.execute_batch("COMMIT").unwrap();
    run.flush();
    assert_eq!(run.archive.status().trouble, None);
    assert_eq!(run.stored("lobby").len(), 41);
    run.end();
}

#[test]
fn another_process_has_the_file() {
    let folder = Folder::new();
    Run::start(folder.open(), asynchronous()).end();
    let lock = format!("{}.lock", folder.file().display());
    let mut other = Command::new("flock").args(["-o", &lock, "cat"]).stdin(Stdio::piped()).spawn().expect("flock runs");
    let words = format!("another process has {}; stop it first", folder.file().display());
    until("the other has it", || folder.open().begin().is_err());
    refused(folder.open().begin(), Kind::Locked, &words);
    drop(other.stdin.take());
    other.wait().unwrap();
    folder.open().begin().expect("it is free again");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = Folder::new();
    fs::write(folder.file(), "These are the notes of somebody else. ".repeat(100)).unwrap();
    refused(folder.open().begin(), Kind::Damaged, "is no database; move it away");
    fs::remove_file(folder.file()).unwrap();
    Connection::open(folder.file()).unwrap().execute_batch("CREATE TABLE birds (name TEXT)").unwrap();
    refused(folder.open().begin(), Kind::Damaged, "is the database of another program; choose another data directory");
    refused(SqliteStore::open_to_read(folder.file()), Kind::Damaged, "is the database of another program");
    let birds: u32 =
        Connection::open(folder.file()).unwrap().query_row("SELECT count(*) FROM birds", [], |row| row.get(0)).unwrap();
    assert_eq!(birds, 0);
    refused(SqliteStore::open_to_read(folder.path().join("none")), Kind::Unavailable, "there is no database at");
    fs::write(folder.path().join("file"), "").unwrap();
    refused(SqliteStore::open(folder.path().join("file/rooms.db")), Kind::Unavailable, "cannot be created");
    fs::create_dir(folder.path().join("folder")).unwrap();
    refused(
        SqliteStore::open(folder.path().join("folder")).unwrap().begin(),
        Kind::Unavailable,
        "cannot be opened; see whether",
    );
}

#[test]
fn a_newer_version_is_not_guessed_at() {
    let folder = Folder::new();
    let run = Run::start(folder.open(), asynchronous());
    publish(&run, "lobby", 5);
    run.end();
    let set = |version| Connection::open(folder.file()).unwrap().pragma_update(None, "user_version", version).unwrap();
    set(99);
    refused(
        folder.open().begin(),
        Kind::Damaged,
        "was written by a newer version of roomcast (its tables have version 99",
    );
    refused(SqliteStore::open_to_read(folder.file()), Kind::Damaged, "was written by a newer version");
    set(1);
    let run = Run::start(folder.open(), asynchronous());
    assert_eq!(run.open("lobby").tail(), 5, "nothing was done to it");
    run.end();
}

/// Found at the start after a run that did not end cleanly, by the check at any time, and by whoever reads there.
#[test]
fn damage_is_found_and_the_ways_out_are_named() {
    let folder = Folder::new();
    let run = Run::start(folder.open(), asynchronous());
    publish(&run, "lobby", 5_000);
    run.end();
    SqliteStore::open_to_read(folder.file()).unwrap().check().expect("it is sound");
    let _crashed = Run::start(folder.open(), asynchronous()).crash();
    until("the file is free", || folder.open().begin().is_ok());
    let other = Connection::open(folder.file()).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(other);
    let mut bytes = fs::read(folder.file()).unwrap();
    let pages = bytes.len() / 4_096;
    assert!(pages > 50, "{pages} pages");
    for page in 10..pages {
        bytes[page * 4_096..][..64].fill(0xa5);
    }
    fs::write(folder.file(), bytes).unwrap();
    refused(folder.open().begin(), Kind::Damaged, "is damaged (");
    refused(folder.open().begin(), Kind::Damaged, "Ways out: put a backup in its place (`roomcast backup` makes them)");
    let reader = SqliteStore::open_to_read(folder.file()).unwrap();
    refused(reader.check(), Kind::Damaged, "is damaged (");
    let page = roomcast::store::Page { limit: 10_000, bytes_max: usize::MAX, newest_first: false };
    refused(reader.read("lobby", 0..5_000, page), Kind::Damaged, "save what can be read with `roomcast export`");
}

/// Publishers go on at full rate for as long as they are let, into many rooms, while nothing is committed: what the process
/// holds is what the rings hold, and one batch.
#[test]
fn memory_is_bounded_while_the_store_stalls() {
    let folder = Folder::new();
    let store = Faulty::new(folder.open());
    let run = Run::start(store.clone(), asynchronous().batch_bytes_max(1 << 20));
    let rooms: Vec<_> = (0..50).map(|room| run.open(&format!("room:{room}"))).collect();
    store.stall(true);
    let (mut accepted, mut refusals) = (0_u64, 0_u64);
    let before = HEAP.allocated();
    let mut full = 0;
    for turn in 0..4_000 {
        for room in &rooms {
            match room.publish("x".repeat(1_000)) {
                Ok(_) => accepted += 1,
                Err(PublishError::Full(_)) => refusals += 1,
                Err(error) => panic!("{error}"),
            }
        }
        if turn == 1_000 {
            full = HEAP.allocated();
            assert!(refusals > 0, "the rooms are full");
        }
    }
    // Other tests of this process may use some of it.
    let grown = HEAP.allocated().saturating_sub(full);
    assert!(grown < 16 << 20, "once full it does not grow: {grown} bytes more");
    let held = full.saturating_sub(before);
    assert!(held < 64 << 20, "50 rooms of 64 messages of 1,000 bytes took {held} bytes");
    store.stall(false);
    run.flush();
    let stored: usize = rooms.iter().map(|room| run.stored(room.name()).len()).sum();
    assert_eq!(stored as u64, accepted, "what was accepted is there");
    assert!(run.archive.flush_within(Duration::from_secs(60)).is_ok());
    run.end();
}
