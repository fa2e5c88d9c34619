//! What changes the file.

use std::collections::HashMap;

use rusqlite::{Connection, Result, Transaction, TransactionBehavior, params};

use super::schema;
use crate::message::Epoch;
use crate::store::group::{Group, Life};
use crate::store::options::Durability;

/// Lives whose rows are remembered, so that they need not be looked up for each group.
const KNOWN_LIVES_MAX: usize = 1 << 16;

/// The connection that writes.
pub(super) struct Writer {
    pub(super) connection: Connection,
    run: i64,
    known: HashMap<(Box<str>, Epoch), i64>,
    /// How safely the last transaction was committed.
    durability: Option<Durability>,
}

impl Writer {
    pub(super) fn new(connection: Connection, run: i64) -> Self {
        Self { connection, run, known: HashMap::new(), durability: None }
    }

    pub(super) fn commit(&mut self, group: &Group) -> Result<()> {
        self.be_durable(group.durability())?;
        if self.known.len() > KNOWN_LIVES_MAX {
            self.known.clear();
        }
        let committed = self.write(group);
        if committed.is_err() {
            // Their rows may be gone with the transaction.
            self.known.clear();
        }
        committed
    }

    fn write(&mut self, group: &Group) -> Result<()> {
        let Self { connection, run, known, .. } = self;
        let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
        {
            let mut add = transaction.prepare_cached("INSERT OR IGNORE INTO messages VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let mut touch = transaction
                .prepare_cached("UPDATE lives SET next = max(next, ?2), run = ?3, is_stored = ?4 WHERE life = ?1")?;
            for life in group.lives() {
                find(&transaction, known, life, *run)?;
            }
            for part in group.runs() {
                let life = find(&transaction, known, part.life, *run)?;
                for (sequence, time, author, body) in part.messages() {
                    add.execute(params![life, sequence as i64, time as i64, author, body])?;
                }
                touch.execute(params![life, part.next() as i64, *run, is_stored(part.life)])?;
            }
        }
        transaction.commit()
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.be_durable(Durability::Stored)?;
        schema::end_run(&self.connection, self.run)
    }

    pub(super) fn remove(&mut self, room: &str, before: u64, limit: usize) -> Result<usize> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let removed = transaction.execute(
            "DELETE FROM messages WHERE (life, sequence) IN (
                 SELECT life, sequence FROM lives JOIN messages USING (life)
                 WHERE room = ?1 AND sequence < ?2 ORDER BY life, sequence LIMIT ?3)",
            params![room, number(before), number(limit as u64)],
        )?;
        // Of earlier lives of which nothing is left, nothing needs to be known.
        transaction.execute(
            "DELETE FROM lives WHERE room = ?1 AND life < (SELECT max(life) FROM lives WHERE room = ?1)
             AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.life = lives.life)",
            params![room],
        )?;
        transaction.commit()?;
        Ok(removed)
    }

    pub(super) fn erase(&mut self, author: &str, limit: usize) -> Result<usize> {
        self.connection.execute(
            "UPDATE messages SET body = NULL, author = NULL WHERE (life, sequence) IN (
                 SELECT life, sequence FROM messages WHERE author = ?1 LIMIT ?2)",
            params![author, number(limit as u64)],
        )
    }

    /// Has the next transaction wait for the disk, or not.
    fn be_durable(&mut self, durability: Durability) -> Result<()> {
        if self.durability != Some(durability) {
            let level = if durability == Durability::Stored { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.durability = Some(durability);
        }
        Ok(())
    }
}

/// The row of a life, which is made when it is new.
fn find(
    transaction: &Transaction<'_>,
    known: &mut HashMap<(Box<str>, Epoch), i64>,
    life: &Life,
    run: i64,
) -> Result<i64> {
    // Borrowing a pair from two references would need a key of its own; this is once per room and group.
    let key = (life.room.as_str().into(), life.epoch);
    if let Some(row) = known.get(&key) {
        return Ok(*row);
    }
    let mut add = transaction.prepare_cached(
        "INSERT INTO lives (room, epoch, first, next, run, is_stored) VALUES (?1, ?2, ?3, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET run = excluded.run, is_stored = excluded.is_stored RETURNING life",
    )?;
    let epoch = u64::from(life.epoch) as i64;
    let row = add.query_row(params![life.room, epoch, life.first as i64, run, is_stored(life)], |row| row.get(0))?;
    known.insert(key, row);
    Ok(row)
}

fn is_stored(life: &Life) -> bool {
    life.durability == Durability::Stored
}

/// As SQLite has it, which is more than anything is.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
