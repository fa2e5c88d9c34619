//! Rooms by name: two threads replace a room that has ended.

use loom::sync::Arc;
use loom::thread;

use super::support::{model, room_ref, shared};
use crate::CloseReason;
use crate::ring::{Geometry, Ring};
use crate::room::{Added, RoomRef, Table};

fn open(table: &Table<u64>, epoch: u64, shared: &Arc<crate::room::Shared<u64>>) -> RoomRef<u64> {
    let hash = table.hash("a");
    loop {
        if let Some(found) = table.find(hash, "a") {
            if found.0.ended().is_none() {
                return found;
            }
            table.remove(hash, &found);
        }
        let fresh = room_ref("a", epoch, Ring::new(Geometry::new(1, 2), false, None), shared.clone());
        if let Added::New = table.add(hash, &fresh) {
            return fresh;
        }
    }
}

#[test]
fn reap_get_or_create() {
    model(2..=3, || {
        let shared = shared();
        let table = Arc::new(Table::new(4));
        open(&table, 1, &shared).end(CloseReason::Closed);
        let other = {
            let (table, shared) = (table.clone(), shared.clone());
            thread::spawn(move || open(&table, 2, &shared).0.epoch)
        };
        let mine = open(&table, 3, &shared).0.epoch;
        assert_eq!(other.join().unwrap(), mine, "two rooms of one name are alive");
        assert_eq!(table.len(), 1);
    });
}
