//! What changes the file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{BUSY_TIMEOUT, read, schema};
use crate::store::backend::Erasure;
use crate::store::batch::{Batch, Incarnation};
use crate::store::beside;
use crate::store::epoch_chain::Seen;
use crate::store::fence::{self, Foreign, Unwritten};
use crate::store::file_lock::FileId;
use crate::store::incarnation_rows::IncarnationRows;
use crate::store::options::Durability;

/// Between two tries to cut a log that somebody reads.
const CUT_INTERVAL: Duration = Duration::from_secs(1);

type Result<R, E = Unwritten<rusqlite::Error>> = std::result::Result<R, E>;

/// The connection that writes.
pub(super) struct Writer {
    pub(super) connection: Connection,
    tenure: Tenure,
    rows: IncarnationRows,
    /// How safely the last transaction was committed.
    durability: Option<Durability>,
    /// Since when the log is to be cut, or was tried to be: what was erased is in it.
    uncut_since: Option<Instant>,
}

impl Writer {
    pub(super) fn new(connection: Connection, tenure: Tenure) -> Self {
        Self { connection, tenure, rows: IncarnationRows::default(), durability: None, uncut_since: None }
    }

    /// What a transaction has come to, once it is over: what was written into files that are not there any more is lost, and of a
    /// store that went back no incarnation goes on.
    pub(super) fn seen_through<R>(&mut self, done: Result<R>) -> Result<R> {
        match &done {
            Ok(_) => self.tenure.is_in_place()?,
            Err(Unwritten::Foreign(foreign)) if foreign.is_of_an_earlier_state() => self.distrust()?,
            Err(_) => {}
        }
        done
    }

    fn distrust(&mut self) -> Result<()> {
        self.be_durable(Durability::Stored)?;
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        fence::confirm(self.tenure.run, schema::newest_run(&transaction)?)?;
        schema::distrust(&transaction)?;
        Ok(transaction.commit()?)
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.be_durable(batch.durability())?;
        let Self { connection, tenure, rows, .. } = self;
        rows.during(|rows| write(connection, tenure, rows, batch))?;
        self.cut_log_again();
        Ok(())
    }

    /// Cuts the log, if that is left to be done and nobody reads it any more; whoever does is not waited for.
    pub(super) fn cut_log_again(&mut self) {
        if self.uncut_since.is_none_or(|since| since.elapsed() < CUT_INTERVAL)
            || self.tenure.is_in_place::<()>().is_err()
        {
            return;
        }
        let is_cut = self.connection.busy_timeout(Duration::ZERO).is_ok() && schema::cut_log(&self.connection);
        if let Err(error) = self.connection.busy_timeout(BUSY_TIMEOUT) {
            tracing::debug!(%error, "how long a busy database is waited for was not set");
        }
        self.uncut_since = (!is_cut).then(Instant::now);
        if is_cut {
            tracing::info!("log of the database cut: what was erased is in it no more");
        }
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.be_durable(Durability::Stored)?;
        let transaction = begin(&mut self.connection, &self.tenure)?;
        schema::end_run(&transaction, self.tenure.run)?;
        transaction.commit()?;
        schema::cut_log(&self.connection);
        Ok(())
    }

    pub(super) fn remove(&mut self, room: &str, before: u64, limit: usize) -> Result<usize> {
        // For good: also when the power fails.
        self.be_durable(Durability::Stored)?;
        // Rows of incarnations go with it.
        self.rows.clear();
        let transaction = begin(&mut self.connection, &self.tenure)?;
        let removed = transaction.execute(
            "DELETE FROM messages WHERE (life, sequence) IN (
                 SELECT life, sequence FROM lives JOIN messages USING (life)
                 WHERE room = ?1 AND sequence < ?2 ORDER BY life, sequence LIMIT ?3)",
            params![room, number(before), number(limit as u64)],
        )?;
        // Of earlier incarnations of which nothing is left, nothing needs to be known.
        transaction.execute(
            "DELETE FROM lives WHERE room = ?1 AND life < (SELECT max(life) FROM lives WHERE room = ?1)
             AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.life = lives.life)",
            params![room],
        )?;
        transaction.commit()?;
        Ok(removed)
    }

    pub(super) fn erase(&mut self, author: &str, limit: usize) -> Result<usize> {
        self.be_durable(Durability::Stored)?;
        let transaction = begin(&mut self.connection, &self.tenure)?;
        let erased = transaction.execute(
            "UPDATE messages SET body = NULL, author = NULL WHERE (life, sequence) IN (
                 SELECT life, sequence FROM messages WHERE author = ?1 LIMIT ?2)",
            params![author, number(limit as u64)],
        )?;
        transaction.commit()?;
        Ok(erased)
    }

    pub(super) fn erase_in(&mut self, room: &str, erasure: Erasure<'_>, before: u64, limit: usize) -> Result<Vec<u64>> {
        self.be_durable(Durability::Stored)?;
        let transaction = begin(&mut self.connection, &self.tenure)?;
        let mut erased = Vec::new();
        {
            let mut of_author = transaction.prepare_cached(
                "UPDATE messages SET body = NULL, author = NULL WHERE life = ?1 AND sequence IN (
                     SELECT sequence FROM messages WHERE author = ?2 AND life = ?1 AND sequence >= ?3 AND sequence < ?4 LIMIT ?5)
                 RETURNING sequence",
            )?;
            let mut one = transaction.prepare_cached(
                "UPDATE messages SET body = NULL, author = NULL WHERE life = ?1 AND sequence = ?2 AND body IS NOT NULL",
            )?;
            for Seen { row, range, .. } in read::incarnations(&transaction, room)? {
                let range = range.start..range.end.min(before);
                match erasure {
                    Erasure::Author(author) => {
                        let (start, end, left) =
                            (number(range.start), number(range.end), number((limit - erased.len()) as u64));
                        let sequences =
                            of_author.query_map(params![row, author, start, end, left], |row| row.get::<_, i64>(0))?;
                        for sequence in sequences {
                            erased.push(sequence? as u64);
                        }
                    }
                    Erasure::Sequences(sequences) => {
                        for sequence in sequences.iter().filter(|sequence| range.contains(sequence)) {
                            if one.execute(params![row, number(*sequence)])? > 0 {
                                erased.push(*sequence);
                            }
                        }
                    }
                }
            }
        }
        transaction.commit()?;
        if erased.len() < limit {
            if let Erasure::Author(author) = erasure {
                while self.erase_unreachable(room, author, limit)? == limit {}
            }
            self.scrub();
        }
        Ok(erased)
    }

    /// Erases what up to `limit` messages of an author say that are in a room's earlier incarnations, where nobody finds them any more.
    fn erase_unreachable(&mut self, room: &str, author: &str, limit: usize) -> Result<usize> {
        let transaction = begin(&mut self.connection, &self.tenure)?;
        let erased = transaction.execute(
            "UPDATE messages SET body = NULL, author = NULL WHERE (life, sequence) IN (
                 SELECT life, sequence FROM messages JOIN lives USING (life)
                 WHERE author = ?1 AND room = ?2 AND life < (SELECT max(life) FROM lives WHERE room = ?2) LIMIT ?3)",
            params![author, room, number(limit as u64)],
        )?;
        transaction.commit()?;
        Ok(erased)
    }

    /// Carries the log over and cuts it: what was removed and erased is in it, too, until then. Where somebody reads it, later.
    pub(super) fn scrub(&mut self) {
        schema::forget_row(&self.connection);
        let is_cut = schema::cut_log(&self.connection);
        self.uncut_since = (!is_cut).then(Instant::now);
        if !is_cut {
            tracing::warn!("what was erased is in the log of the database until that is cut: somebody reads it");
        }
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

/// Commits a batch in one transaction.
fn write(connection: &mut Connection, tenure: &Tenure, rows: &mut IncarnationRows, batch: &Batch) -> Result<()> {
    let transaction = begin(connection, tenure)?;
    let run = &tenure.run;
    {
        let mut add = transaction.prepare_cached("INSERT OR IGNORE INTO messages VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut touch = transaction.prepare_cached(
            "UPDATE lives SET next = max(next, ?2), run = ?3, is_stored = ?4 WHERE life = ?1 AND next >= ?5",
        )?;
        for incarnation in batch.incarnations() {
            find(&transaction, rows, incarnation, *run)?;
        }
        for part in batch.parts() {
            let row = find(&transaction, rows, part.incarnation, *run)?;
            let mut first = None;
            for (sequence, time, author, body) in part.messages() {
                first.get_or_insert(sequence);
                let place = (row, sequence as i64);
                let is_new = add.execute(params![place.0, place.1, time as i64, author, body])? > 0;
                if !is_new && !is_repeat(&transaction, place, (time as i64, author, body))? {
                    let room = part.incarnation.room.clone();
                    return Err(Unwritten::Foreign(Foreign::Message { room, sequence }));
                }
            }
            let first = first.unwrap_or(part.incarnation.first);
            let touched =
                touch.execute(params![row, part.next() as i64, *run, is_stored(part.incarnation), first as i64])?;
            if touched == 0 {
                refuse_gap(&transaction, row, part.incarnation, first)?;
            }
        }
    }
    Ok(transaction.commit()?)
}

/// A transaction that writes, in which nobody else has begun a run: they would have to wait for its end.
fn begin<'a>(connection: &'a mut Connection, tenure: &Tenure) -> Result<Transaction<'a>> {
    tenure.is_in_place()?;
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    fence::admit(tenure.run, schema::newest_run(&transaction)?)?;
    Ok(transaction)
}

/// What is ours while we write: a run, and the files it was begun on.
#[derive(Clone, Debug)]
pub(super) struct Tenure {
    run: i64,
    /// Where each is, and which it was when the run began: the database, its log, and the index of that, by which processes
    /// know of each other.
    files: Vec<(PathBuf, FileId)>,
}

impl Tenure {
    /// Of a run that was begun at `path`; in memory without one.
    pub(super) fn new(path: Option<&Path>, run: i64) -> Self {
        let known = |path: PathBuf| FileId::of(&path).ok().map(|id| (path, id));
        let files = path.map_or_else(Vec::new, |path| {
            ["", "-wal", "-shm"].into_iter().filter_map(|end| known(beside::named(path, end))).collect()
        });
        Self { run, files }
    }

    pub(super) fn is_in_place<E>(&self) -> Result<(), Unwritten<E>> {
        match self.files.iter().find(|(path, id)| !id.is_at(path)) {
            Some((path, _)) => Err(Unwritten::Foreign(Foreign::Moved(path.clone()))),
            None => Ok(()),
        }
    }

    /// Whether it is ours still, as far as a reader sees.
    pub(super) fn confirm(&self, connection: &Connection) -> Result<()> {
        self.is_in_place()?;
        fence::confirm(self.run, schema::newest_run(connection)?)
    }
}

/// Whether the message at that place of an incarnation is this one, or was erased since: a batch may come again.
fn is_repeat(
    transaction: &Transaction<'_>,
    (row, sequence): (i64, i64),
    (time, author, body): (i64, Option<&str>, &[u8]),
) -> Result<bool> {
    let mut same = transaction.prepare_cached(
        "SELECT 1 FROM messages WHERE life = ?1 AND sequence = ?2 AND time = ?3
         AND (body IS NULL OR (body = ?5 AND author IS ?4))",
    )?;
    Ok(same.exists(params![row, sequence, time, author, body])?)
}

/// Refuses to leave out messages that were confirmed before and are not there.
fn refuse_gap(transaction: &Transaction<'_>, row: i64, incarnation: &Incarnation, sequence: u64) -> Result<()> {
    let mut end = transaction.prepare_cached("SELECT next FROM lives WHERE life = ?1")?;
    let next: Option<i64> = end.query_row(params![row], |row| row.get(0)).optional()?;
    match next.map(|next| next as u64).filter(|next| *next < sequence) {
        Some(next) => Err(Unwritten::Foreign(Foreign::Gap { room: incarnation.room.clone(), next, sequence })),
        None => Ok(()),
    }
}

/// The row of an incarnation, which is made when it is new.
fn find(transaction: &Transaction<'_>, rows: &mut IncarnationRows, incarnation: &Incarnation, run: i64) -> Result<i64> {
    if let Some(row) = rows.of(incarnation) {
        return Ok(row);
    }
    let mut add = transaction.prepare_cached(
        "INSERT INTO lives (room, epoch, first, next, run, is_stored) VALUES (?1, ?2, ?3, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET run = excluded.run, is_stored = excluded.is_stored RETURNING life",
    )?;
    let Incarnation { room, epoch, first, .. } = incarnation;
    let values = params![room, u64::from(*epoch) as i64, *first as i64, run, is_stored(incarnation)];
    let row = add.query_row(values, |row| row.get(0))?;
    rows.insert(room, *epoch, row);
    Ok(row)
}

fn is_stored(incarnation: &Incarnation) -> bool {
    incarnation.durability == Durability::Stored
}

/// As SQLite has it, which is more than anything is.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
