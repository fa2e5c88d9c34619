//! The tables, their versions, and the runs.

use rusqlite::{Connection, Result, TransactionBehavior, params};

/// Marks the file as ours: "room".
const APPLICATION_ID: i32 = 0x726f_6f6d;

/// What leads from each version of the tables to the next. What has been released is never changed, only added to: an
/// incarnation stays a row of `lives`, its number its `life`.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE runs (
        run INTEGER PRIMARY KEY,  -- counts from 1
        is_clean INTEGER NOT NULL -- whether it has ended with everything stored
    );
    CREATE TABLE lives (
        life INTEGER PRIMARY KEY,
        room TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        first INTEGER NOT NULL,     -- the first sequence
        next INTEGER NOT NULL,      -- the sequence after the last one stored
        run INTEGER NOT NULL,       -- in which it was written last
        is_stored INTEGER NOT NULL, -- whether nobody was given what is not here
        UNIQUE (room, epoch)
    );
    CREATE TABLE messages (
        life INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        time INTEGER NOT NULL,
        author TEXT,
        body BLOB, -- NULL once it was erased
        PRIMARY KEY (life, sequence)
    ) WITHOUT ROWID;
    CREATE INDEX messages_by_author ON messages (author) WHERE author IS NOT NULL;
"];

/// Pages of the log before it is carried over into the file: 16 MB, so that a stream of commits does not wait for the disk all
/// the time.
const CHECKPOINT_PAGES: u32 = 4_000;

/// To what the log is cut when it has been carried over.
const LOG_BYTES_KEPT: u32 = 64 << 20;

/// Readies a connection for writing: the journal, the tables of the newest version.
pub(super) fn prepare(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    // What was erased or removed is not to be found in the file.
    connection.pragma_update(None, "secure_delete", "ON")?;
    let version = version(connection)?;
    for (at, step) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", at as u32 + 1)?;
        transaction.commit()?;
        tracing::info!(version = at + 1, "the tables of the database are of this version now");
    }
    Ok(())
}

/// Whether anything was ever put in.
pub(super) fn has_tables(connection: &Connection) -> Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// Whether any room is known.
pub(super) fn has_rooms(connection: &Connection) -> Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM lives)", [], |row| row.get(0))
}

/// Pages of the log that count, those that were carried over already among them.
pub(super) fn log_pages(connection: &Connection) -> Result<u64> {
    let pages: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))?;
    Ok(u64::try_from(pages).unwrap_or(0))
}

/// How many pages a log of that size may hold, at the usual size of a page.
pub(super) fn pages_of_log(bytes: u64) -> u64 {
    bytes.saturating_sub(LOG_HEAD_BYTES) / (PAGE_BYTES + LOG_FRAME_HEAD_BYTES)
}

/// The head of the log, of each page in it, and a page: as the format of the file has it.
const LOG_HEAD_BYTES: u64 = 32;
const LOG_FRAME_HEAD_BYTES: u64 = 24;
const PAGE_BYTES: u64 = 4_096;

/// Why the file is none of ours, or not one that this version can use; `None` when it is, or is empty.
pub(super) fn refusal(connection: &Connection) -> Result<Option<String>> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let file = connection.path().unwrap_or_default();
    if tables > 0 && application != APPLICATION_ID {
        return Ok(Some(format!("{file} is the database of another program; choose another data directory")));
    }
    let (version, known) = (version(connection)?, MIGRATIONS.len());
    Ok((version > known).then(|| {
        format!(
            "{file} was written by a newer version of roomcast (its tables have version {version}, this one knows {known}); \
             run that version, or use another data directory"
        )
    }))
}

fn version(connection: &Connection) -> Result<usize> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version as usize)
}

/// Whether the last run, if there was one, has ended with everything stored.
pub(super) fn was_clean(connection: &Connection) -> Result<bool> {
    connection
        .query_row("SELECT coalesce((SELECT is_clean FROM runs ORDER BY run DESC LIMIT 1), 1)", [], |row| row.get(0))
}

/// Begins the next run.
pub(super) fn begin_run(connection: &Connection) -> Result<i64> {
    connection.execute("INSERT INTO runs (is_clean) VALUES (0)", [])?;
    let run = connection.last_insert_rowid();
    // Of earlier runs, only the last one that was not clean counts.
    connection.execute(
        "DELETE FROM runs WHERE run < ?1 AND run <> (SELECT coalesce(max(run), 0) FROM runs WHERE is_clean = 0 AND run < ?1)
         AND run <> ?1 - 1",
        params![run],
    )?;
    Ok(run)
}

/// The newest run at this moment.
pub(super) fn newest_run(connection: &Connection) -> Result<Option<i64>> {
    connection.prepare_cached("SELECT max(run) FROM runs")?.query_row([], |row| row.get(0))
}

/// Has no incarnation go on: what was confirmed of them is not all there.
pub(super) fn distrust(connection: &Connection) -> Result<()> {
    connection.execute("UPDATE lives SET is_stored = 0, run = 0", []).map(|_| ())
}

/// Notes that everything published in this run is stored.
pub(super) fn end_run(connection: &Connection, run: i64) -> Result<()> {
    connection.execute("UPDATE runs SET is_clean = 1 WHERE run = ?1", params![run]).map(|_| ())
}

/// Writes zeros over what SQLite keeps in memory of the row that was put in last: it builds each in one buffer, which stays as it is
/// until the next one. Best effort.
pub(super) fn forget_row(connection: &Connection) {
    let overwrite = || -> Result<()> {
        let transaction = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        transaction.execute("INSERT INTO messages VALUES (-1, -1, 0, NULL, zeroblob(?1))", params![ROW_BYTES])?;
        transaction.rollback()
    };
    if let Err(error) = overwrite() {
        tracing::debug!(%error, "the last row was not overwritten in memory");
    }
}

/// As much of a row as is in its page, about; the rest of a longer one has pages of its own.
const ROW_BYTES: i64 = 960;

/// Carries the log over and cuts it, so that the file alone is the database. Best effort: whether it is.
pub(super) fn cut_log(connection: &Connection) -> bool {
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)) {
        Ok(is_busy) => is_busy == 0,
        Err(error) => {
            tracing::debug!(%error, "the log was not cut");
            false
        }
    }
}

/// The last run before the one that goes on that has not ended cleanly; 0 if all have. What incarnations wrote after it is whole.
pub(super) fn last_unclean(connection: &Connection) -> Result<i64> {
    let mut last = connection.prepare_cached(
        "SELECT coalesce(max(run), 0) FROM runs WHERE is_clean = 0 AND run < (SELECT max(run) FROM runs)",
    )?;
    last.query_row([], |row| row.get(0))
}

/// Marks a copy: its rooms may have gone on elsewhere since, so that no incarnation of it goes on.
pub(super) fn set_free(connection: &Connection) -> Result<()> {
    connection.execute_batch("UPDATE runs SET is_clean = 0; UPDATE lives SET is_stored = 0")
}
