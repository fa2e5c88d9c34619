//! Where incarnations stand in the tables of a database: their rows, remembered so that they need not be looked up for each batch.

use std::collections::HashMap;

use super::batch::Incarnation;
use crate::message::Epoch;

/// Rows that are remembered: some ten megabytes of names. Beyond that all are forgotten, and looked up again.
const ROWS_MAX: usize = 1 << 16;

/// The rows of incarnations that were committed.
#[derive(Debug, Default)]
pub(super) struct IncarnationRows(HashMap<(Box<str>, Epoch), i64>);

impl IncarnationRows {
    /// Runs a transaction, which may ask for rows and take new ones in. Where it fails all are forgotten: some may be gone with it.
    pub(super) fn during<R, E>(&mut self, transaction: impl FnOnce(&mut Self) -> Result<R, E>) -> Result<R, E> {
        if self.0.len() > ROWS_MAX {
            self.clear();
        }
        let done = transaction(self);
        if done.is_err() {
            self.clear();
        }
        done
    }

    pub(super) fn of(&self, incarnation: &Incarnation) -> Option<i64> {
        // Borrowing a pair from two references would need a key of its own; this is once per room and batch.
        self.0.get(&key(&incarnation.room, incarnation.epoch)).copied()
    }

    pub(super) fn insert(&mut self, room: &str, epoch: Epoch, row: i64) {
        self.0.insert(key(room, epoch), row);
    }

    /// Forgets all: rows were removed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn key(room: &str, epoch: Epoch) -> (Box<str>, Epoch) {
    (room.into(), epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::options::Durability;

    #[test]
    fn what_a_transaction_took_in_is_forgotten_with_it() {
        let lobby = Incarnation::going_on("lobby", None, Durability::Async);
        let mut rows = IncarnationRows::default();
        let taken = rows.during(|rows| {
            rows.insert(&lobby.room, lobby.epoch, 7);
            Ok::<_, &str>(())
        });
        assert_eq!((taken, rows.of(&lobby)), (Ok(()), Some(7)));
        assert_eq!(rows.during(|_| Err::<(), _>("rolled back")), Err("rolled back"));
        assert_eq!(rows.of(&lobby), None);
    }
}
