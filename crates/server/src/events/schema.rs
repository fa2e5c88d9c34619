//! The tables of the log, and their versions.

use rusqlite::{Connection, Result, Transaction, TransactionBehavior};

/// Marks the file as a log of room events: "rmev".
const APPLICATION_ID: i32 = 0x726d_6576;

/// What leads from each version of the tables to the next. What has been released is never changed, only added to.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE state (
        epoch TEXT NOT NULL,     -- names this log: one that begins anew counts from 1 again
        cursor INTEGER NOT NULL, -- the newest event that the backend has taken
        bytes INTEGER NOT NULL   -- what the events weigh
    );
    CREATE TABLE events (
        place INTEGER PRIMARY KEY AUTOINCREMENT, -- the offset; none is given twice, however many have gone
        time INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        room TEXT NOT NULL,
        client TEXT NOT NULL,
        user TEXT NOT NULL,
        code INTEGER NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE members (
        room TEXT NOT NULL, -- empty for the server itself: whose clients are connected
        client TEXT NOT NULL,
        user TEXT NOT NULL,
        PRIMARY KEY (room, client)
    ) WITHOUT ROWID;
    CREATE TABLE rooms ( -- those that are occupied, as the backend is told
        room TEXT PRIMARY KEY,
        empty_since INTEGER -- NULL while somebody is in it
    ) WITHOUT ROWID;
"];

/// Pages of the journal before it is carried over into the file: 4 MB.
const CHECKPOINT_PAGES: u32 = 1_000;

/// To what the journal is cut when it has been carried over.
const WAL_BYTES_KEPT: u32 = 16 << 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or a log of this version or one before it.
    Usable,
    /// A log of a newer version.
    Newer,
    /// Something else.
    Other,
}

/// Looks what a file is, and changes nothing.
pub(super) fn look(connection: &Connection) -> Result<Found> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let is_empty: bool =
        connection.query_row("SELECT NOT EXISTS (SELECT * FROM sqlite_schema)", [], |row| row.get(0))?;
    Ok(match (id, is_empty) {
        (APPLICATION_ID, _) if version(connection)? > MIGRATIONS.len() => Found::Newer,
        (APPLICATION_ID, _) | (0, true) => Found::Usable,
        _ => Found::Other,
    })
}

/// Readies a connection for writing. What it commits is on the disk.
pub(super) fn prepare(connection: &Connection, epoch: &str) -> Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    for (at, step) in MIGRATIONS.iter().enumerate().skip(version(connection)?) {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", at as u32 + 1)?;
        if at == 0 {
            transaction.execute("INSERT INTO state VALUES (?1, 0, 0)", [epoch])?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// The version of its tables; 0 of a file in which there are none yet.
pub(super) fn version(connection: &Connection) -> Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).map(|version| version as usize)
}
