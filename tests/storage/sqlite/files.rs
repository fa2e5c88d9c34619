//! Files that are taken away, or put in the place of others, while they are written.

use std::fs;
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use roomcast::store::{Batch, Durability, Erasure, Incarnation, NotStored, Options, Record, StoreErrorKind as Kind};
use rusqlite::Connection;

use super::refused;
use crate::support::{Folder, Place as _, Run, until};

fn message(incarnation: &Incarnation, sequence: u64) -> Batch {
    let mut batch = Batch::default();
    batch.add(incarnation, &Record { sequence, time: 7, author: None, body: Some(b"a".to_vec()) });
    batch
}

/// What is written goes on into a log that nobody finds any more: it is not acknowledged.
#[test]
fn a_log_that_is_deleted_stops_the_archive() {
    for end in ["-wal", "-shm"] {
        let folder = Folder::new();
        let run = Run::start(folder.open(), Options::all(Durability::Stored));
        let ledger = run.open("ledger");
        ledger.publish("a: 0".to_owned()).unwrap();
        run.flush();
        let file = format!("{}{end}", folder.file().display());
        fs::remove_file(&file).unwrap();
        let watermark = run.archive.watermark(&ledger).unwrap();
        let sequence = ledger.publish("a: 1".to_owned()).unwrap();
        assert_eq!(block_on(watermark.reached(sequence + 1)), Err(NotStored), "{end}");
        let (kind, text) = run.archive.status().trouble.expect("it says why");
        assert!(kind == Kind::Overtaken && text.contains(&format!("{file} was moved, replaced or deleted")), "{text}");
    }
}

/// The file goes while the transaction runs, after it was looked at: what was committed is not where anybody looks for it.
#[test]
fn a_file_that_goes_during_a_commit_is_noticed() {
    let folder = Folder::new();
    let store = folder.open();
    store.begin().unwrap();
    let incarnation = Incarnation::going_on("lobby", None, Durability::Stored);
    store.commit(&message(&incarnation, 0)).unwrap();
    let other = Connection::open(folder.file()).unwrap();
    // Takes its time, which is time enough.
    other
        .execute_batch(
            "CREATE TABLE counted (number);
             CREATE TRIGGER slow AFTER INSERT ON messages BEGIN
                 INSERT INTO counted WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000000)
                                     SELECT count(*) FROM n;
             END",
        )
        .unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    thread::scope(|scope| {
        let commit = scope.spawn(|| store.commit(&message(&incarnation, 1)));
        until("the transaction has begun", || other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err());
        fs::rename(folder.file(), folder.path().join("elsewhere")).unwrap();
        refused(commit.join().unwrap(), Kind::Overtaken, "was moved, replaced or deleted");
    });
}

/// A state from before the run: its incarnations do not go on, though they were whole then.
#[test]
fn a_store_that_forgot_the_run_begins_new_incarnations() {
    let folder = Folder::new();
    let incarnation = Incarnation::going_on("lobby", None, Durability::Stored);
    let store = folder.open();
    store.begin().unwrap();
    store.commit(&message(&incarnation, 0)).unwrap();
    Connection::open(folder.file()).unwrap().execute_batch("DELETE FROM runs").unwrap();
    store.confirm().expect("who reads may be behind");
    refused(
        store.commit(&message(&incarnation, 1)),
        Kind::Overtaken,
        "went back to an earlier state: our run 1 is not in it",
    );
    drop(store);
    let store = folder.open();
    store.begin().unwrap();
    assert!(!store.span("lobby", Default::default()).unwrap().unwrap().is_whole);
    store.finish().unwrap();
}

/// As many as are erased in one transaction: no further one comes that would see to the log.
#[test]
fn what_is_erased_is_in_no_file_however_many_it_is() {
    let folder = Folder::new();
    let run = Run::start(folder.open(), Options::all(Durability::Async));
    let room = run.open("lobby");
    for _ in 0..4_096 {
        room.publish_blocking("eve: an-address".to_owned()).unwrap();
    }
    let all: Vec<u64> = (0..4_096).collect();
    assert_eq!(run.archive.erase_in("lobby", Erasure::Sequences(&all)).unwrap(), 4_096);
    assert_eq!(files_with(&folder, "an-address"), Vec::<String>::new());
    run.end();
}

/// Whatever it is that takes it away.
#[test]
fn what_is_removed_or_erased_of_an_author_is_in_no_file() {
    for is_removed in [false, true] {
        let folder = Folder::new();
        let run = Run::start(folder.open(), Options::all(Durability::Async));
        run.open("lobby").publish("eve: an-address".to_owned()).unwrap();
        run.flush();
        assert!(!files_with(&folder, "an-address").is_empty());
        match is_removed {
            true => run.archive.remove("lobby").unwrap(),
            false => assert_eq!(run.archive.erase("eve").unwrap(), 1),
        }
        assert_eq!(files_with(&folder, "an-address"), Vec::<String>::new(), "removed: {is_removed}");
        run.end();
    }
}

/// Somebody reads the file while it is erased: the log is cut when that is over, though nothing more is written.
#[test]
fn a_log_that_is_read_is_cut_later() {
    let folder = Folder::new();
    let run = Run::start(folder.open(), Options::all(Durability::Async));
    run.open("lobby").publish("eve: an-address".to_owned()).unwrap();
    run.flush();
    let reader = Connection::open(folder.file()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM messages").unwrap();
    assert_eq!(run.archive.erase_in("lobby", Erasure::Sequences(&[0])).unwrap(), 1);
    assert!(!files_with(&folder, "an-address").is_empty(), "it cannot be cut yet");
    reader.execute_batch("COMMIT").unwrap();
    until("it is cut", || files_with(&folder, "an-address").is_empty());
    run.end();
}

/// Those of its files in which that is to be found.
fn files_with(folder: &Folder, text: &str) -> Vec<String> {
    let has_it = |end: &&str| {
        let bytes = fs::read(format!("{}{end}", folder.file().display())).unwrap_or_default();
        bytes.windows(text.len()).any(|it| it == text.as_bytes())
    };
    ["", "-wal"].into_iter().filter(has_it).map(str::to_owned).collect()
}
