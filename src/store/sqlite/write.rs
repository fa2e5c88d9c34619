//! What changes the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::schema;
use crate::message::Epoch;
use crate::store::fence::{self, Foreign, Unwritten};
use crate::store::group::{Group, Life};
use crate::store::options::Durability;

/// Lives whose rows are remembered, so that they need not be looked up for each group.
const KNOWN_LIVES_MAX: usize = 1 << 16;

type Result<R, E = Unwritten<rusqlite::Error>> = std::result::Result<R, E>;

/// The connection that writes.
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// Where the file is, and which it was when it was opened.
    file: Option<(PathBuf, FileId)>,
    run: i64,
    known: HashMap<(Box<str>, Epoch), i64>,
    /// How safely the last transaction was committed.
    durability: Option<Durability>,
}

impl Writer {
    pub(super) fn new(connection: Connection, path: Option<&Path>, run: i64) -> Self {
        let file = path.and_then(|path| Some((path.to_owned(), FileId::of(path).ok()?)));
        Self { connection, file, run, known: HashMap::new(), durability: None }
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
        let Self { connection, run, known, file, .. } = self;
        let transaction = begin(connection, file.as_ref(), *run)?;
        {
            let mut add = transaction.prepare_cached("INSERT OR IGNORE INTO messages VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let mut touch = transaction.prepare_cached(
                "UPDATE lives SET next = max(next, ?2), run = ?3, is_stored = ?4 WHERE life = ?1 AND next >= ?5",
            )?;
            for life in group.lives() {
                find(&transaction, known, life, *run)?;
            }
            for part in group.runs() {
                let life = find(&transaction, known, part.life, *run)?;
                let mut first = None;
                for (sequence, time, author, body) in part.messages() {
                    first.get_or_insert(sequence);
                    let place = (life, sequence as i64);
                    let is_new = add.execute(params![place.0, place.1, time as i64, author, body])? > 0;
                    if !is_new && !is_repeat(&transaction, place, (time as i64, author, body))? {
                        let room = part.life.room.clone();
                        return Err(Unwritten::Foreign(Foreign::Message { room, sequence }));
                    }
                }
                let first = first.unwrap_or(part.life.first);
                let touched =
                    touch.execute(params![life, part.next() as i64, *run, is_stored(part.life), first as i64])?;
                if touched == 0 {
                    refuse_gap(&transaction, life, part.life, first)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.be_durable(Durability::Stored)?;
        let transaction = begin(&mut self.connection, self.file.as_ref(), self.run)?;
        schema::end_run(&transaction, self.run)?;
        transaction.commit()?;
        schema::cut_log(&self.connection);
        Ok(())
    }

    pub(super) fn remove(&mut self, room: &str, before: u64, limit: usize) -> Result<usize> {
        let transaction = begin(&mut self.connection, self.file.as_ref(), self.run)?;
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
        let transaction = begin(&mut self.connection, self.file.as_ref(), self.run)?;
        let erased = transaction.execute(
            "UPDATE messages SET body = NULL, author = NULL WHERE (life, sequence) IN (
                 SELECT life, sequence FROM messages WHERE author = ?1 LIMIT ?2)",
            params![author, number(limit as u64)],
        )?;
        transaction.commit()?;
        Ok(erased)
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

/// A transaction that writes, in which nobody else has begun a run: they would have to wait for its end.
fn begin<'a>(connection: &'a mut Connection, file: Option<&(PathBuf, FileId)>, run: i64) -> Result<Transaction<'a>> {
    if let Some((path, id)) = file
        && !id.is_at(path)
    {
        return Err(Unwritten::Foreign(Foreign::Moved));
    }
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let newest = transaction.prepare_cached("SELECT max(run) FROM runs")?.query_row([], |row| row.get(0))?;
    fence::admit(run, newest)?;
    Ok(transaction)
}

/// Whether the message at that place of a life is this one, or was erased since: a group may come again.
fn is_repeat(
    transaction: &Transaction<'_>,
    (life, sequence): (i64, i64),
    (time, author, body): (i64, Option<&str>, &[u8]),
) -> Result<bool> {
    let mut same = transaction.prepare_cached(
        "SELECT 1 FROM messages WHERE life = ?1 AND sequence = ?2 AND time = ?3
         AND (body IS NULL OR (body = ?5 AND author IS ?4))",
    )?;
    Ok(same.exists(params![life, sequence, time, author, body])?)
}

/// Refuses to leave out messages that were confirmed before and are not there.
fn refuse_gap(transaction: &Transaction<'_>, row: i64, life: &Life, sequence: u64) -> Result<()> {
    let mut end = transaction.prepare_cached("SELECT next FROM lives WHERE life = ?1")?;
    let next: Option<i64> = end.query_row(params![row], |row| row.get(0)).optional()?;
    match next.map(|next| next as u64).filter(|next| *next < sequence) {
        Some(next) => Err(Unwritten::Foreign(Foreign::Gap { room: life.room.clone(), next, sequence })),
        None => Ok(()),
    }
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> std::io::Result<Self> {
        let file = path.metadata()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Ok(Self { device: file.dev(), inode: file.ino() })
        }
        #[cfg(not(unix))]
        {
            let _ = file;
            Ok(Self {})
        }
    }

    /// Whether it lies there still; also where that cannot be seen.
    fn is_at(self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found == self,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
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
