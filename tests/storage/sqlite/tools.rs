//! Copies, and reading beside the one who writes.

use roomcast::store::{Durability, Options, SqliteStore, StoreErrorKind as Kind};

use super::{publish, refused};
use crate::support::{Folder, Place as _, Run, stored};

/// A copy that is made while publishers run is whole up to some moment, and its rooms begin new incarnations: the ones they were made
/// of may have gone on.
#[test]
fn a_backup_of_a_running_store_begins_new_incarnations() {
    let folder = Folder::new();
    let run = Run::start(folder.open(), Options::all(Durability::Stored));
    publish(&run, "ledger", 500);
    run.flush();
    let copy = Folder::new();
    let reader = SqliteStore::open_to_read(folder.file()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&run, "ledger", 500));
        reader.backup(copy.file()).expect("a copy is made");
    });
    refused(reader.backup(copy.file()), Kind::Other, "exists already; name a file that does not");
    let epoch = run.open("ledger").epoch();
    run.end();
    let run = Run::start(copy.open(), Options::all(Durability::Stored));
    let ledger = run.open("ledger");
    assert_ne!(ledger.epoch(), epoch);
    assert!((500..=1_000).contains(&ledger.tail()), "{}", ledger.tail());
    let copied = run.stored("ledger");
    assert!(copied.iter().map(|record| record.sequence).eq(0..ledger.tail()));
    run.end();
    SqliteStore::open_to_read(copy.file()).unwrap().check().expect("it is sound");
}

#[test]
fn a_store_is_read_while_another_writes_it() {
    let folder = Folder::new();
    let run = Run::start(folder.open(), Options::all(Durability::Async));
    publish(&run, "lobby", 100);
    run.flush();
    let reader = SqliteStore::open_to_read(folder.file()).unwrap();
    assert_eq!(stored(&reader, "lobby").len(), 100);
    publish(&run, "lobby", 100);
    run.flush();
    assert_eq!(stored(&reader, "lobby").len(), 200);
    run.end();
    assert_eq!(stored(&reader, "lobby").len(), 200);
}
