//! The log in its file: events by offset, who is in which room, how far the backend is.
//!
//! One connection writes, and only while this process has the lock beside the file; others read beside it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roomcast::internal::{FileId, FileLock, FileLockError, private, private_folder};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Result, Row, Transaction, TransactionBehavior, ffi, params,
};

use super::error::EventsError;
use super::event::{Event, Reason, What};
use super::schema::{self, Found};

/// How long one connection waits for another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What an event weighs beside its names: its columns, and its place in the tree.
const EVENT_BYTES: u64 = 40;

/// Bytes of events that are read at once: more than goes into a batch.
const READ_BYTES_MAX: u64 = 512 * 1024;

/// The log, for writing.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    connection: Connection,
    /// Which file it is.
    file: Option<FileId>,
    /// Held as long as it may be written.
    lock: FileLock,
}

/// How far a log and its backend are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Names the log.
    pub(super) epoch: String,
    /// The newest event that the backend has taken.
    pub(super) cursor: u64,
    /// The newest event; 0 where there never was one.
    pub(super) head: u64,
    /// What the events weigh.
    pub(super) bytes: u64,
}

/// A member as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row3 {
    pub(super) room: Box<str>,
    pub(super) client: Box<str>,
    pub(super) user: Box<str>,
}

impl Log {
    /// Opens the log of a file, which is created when it is not there, then under the name `epoch`.
    pub(super) fn open(path: &Path, epoch: &str) -> std::result::Result<Self, EventsError> {
        let explain = |error| EventsError::sqlite(path, error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            private_folder(folder).map_err(|error| {
                EventsError::io(format_args!("the folder {} cannot be created", folder.display()), error)
            })?;
        }
        let lock = lock(path)?;
        private().create(true).truncate(false).write(true).open(path).map_err(|error| unwritable(path, error))?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(explain)?;
        ours(&connection, path)?;
        schema::prepare(&connection, epoch).map_err(explain)?;
        Ok(Self { path: path.to_owned(), connection, file: FileId::of(path).ok(), lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is still where it was. What is written into one that somebody has removed is gone with the server.
    pub(super) fn is_there(&self) -> bool {
        self.file.is_some_and(|file| file.is_at(&self.path))
    }

    /// For reading beside no transaction.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A transaction; what it has done is gone again unless it is committed. There is none where another process may have the
    /// file by now, since the lock beside it was removed: that one has a transaction before this one or behind it, and whoever
    /// has taken a new lock has done so before.
    pub(super) fn begin(&self) -> Result<Transaction<'_>> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        match self.lock.is_in_place() {
            true => Ok(transaction),
            false => Err(lock_is_gone(&self.path)),
        }
    }
}

/// The log of a file that another process may be writing, for reading alone.
pub(super) fn open_to_read(path: &Path) -> std::result::Result<Connection, EventsError> {
    let missing = || EventsError::new(format!("there is no log of room events at {}", path.display()));
    if !path.exists() {
        return Err(missing());
    }
    // Not read-only: a reader that comes first after a crash has to recover the journal.
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
        .map_err(|error| EventsError::sqlite(path, error))?;
    ours(&connection, path)?;
    match schema::version(&connection).map_err(|error| EventsError::sqlite(path, error))? {
        0 => Err(missing()),
        _ => Ok(connection),
    }
}

fn ours(connection: &Connection, path: &Path) -> std::result::Result<(), EventsError> {
    match schema::look(connection).map_err(|error| EventsError::sqlite(path, error))? {
        Found::Usable => Ok(()),
        Found::Newer => Err(EventsError::new(format!("a newer version of roomcast has written {}", path.display()))),
        Found::Other => Err(EventsError::new(format!("{} is no log of room events", path.display()))),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn lock_is_gone(path: &Path) -> rusqlite::Error {
    let path = path.display();
    let text =
        format!("{path}.lock was removed while it was held: another process may write the log; restart this one");
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED), Some(text))
}

/// Takes the file for this process.
fn lock(path: &Path) -> std::result::Result<FileLock, EventsError> {
    FileLock::take(path).map_err(|error| match error {
        FileLockError::Unwritable(lock, error) => unwritable(&lock, error),
        _ => EventsError::new(format!(
            "another process has {}; stop it first, or choose another data directory",
            path.display()
        )),
    })
}

fn unwritable(path: &Path, error: std::io::Error) -> EventsError {
    EventsError::io(format_args!("{} cannot be written", path.display()), error)
}

/// How far everything is.
pub(super) fn position(connection: &Connection) -> Result<Position> {
    let mut state = connection.prepare_cached(
        "SELECT epoch, cursor, bytes, (SELECT seq FROM sqlite_sequence WHERE name = 'events') FROM state",
    )?;
    state.query_row([], |row| {
        Ok(Position {
            epoch: row.get(0)?,
            cursor: number(row, 1)?,
            bytes: number(row, 2)?,
            head: row.get::<_, Option<i64>>(3)?.unwrap_or(0) as u64,
        })
    })
}

/// Remembers how far the backend is, and what the events weigh.
pub(super) fn save(transaction: &Transaction<'_>, cursor: u64, bytes: u64) -> Result<()> {
    transaction
        .prepare_cached("UPDATE state SET cursor = ?1, bytes = ?2")?
        .execute(params![cursor as i64, bytes as i64])
        .map(drop)
}

/// Adds an event; what it weighs.
pub(super) fn append(transaction: &Transaction<'_>, event: &Event) -> Result<u64> {
    let (kind, [room, client, user, reason], code) = columns(&event.what);
    transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        event.offset as i64,
        event.time_ms as i64,
        kind,
        room,
        client,
        user,
        code as i64,
        reason
    ])?;
    Ok(bytes_of(&event.what))
}

/// What an event weighs.
fn bytes_of(what: &What) -> u64 {
    let (_, names, _) = columns(what);
    EVENT_BYTES + names.map(str::len).iter().sum::<usize>() as u64
}

/// What has gone of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trimmed {
    /// Up to which offset.
    pub(super) to: u64,
    pub(super) bytes: u64,
    /// Offsets behind the backend that events among these said to be missing.
    pub(super) known_lost: u64,
    /// Whether more would have to go.
    pub(super) is_unfinished: bool,
}

/// Removes the oldest events: those before `before_ms`, and as many as weigh `excess` bytes; at most `events_max` at once. The
/// backend has taken all up to `cursor`.
pub(super) fn trim(
    transaction: &Transaction<'_>,
    before_ms: u64,
    excess: u64,
    cursor: u64,
    events_max: usize,
) -> Result<Option<Trimmed>> {
    let mut trimmed = Trimmed::default();
    let mut oldest = transaction.prepare_cached(
        "SELECT place, time, octet_length(room) + octet_length(client) + octet_length(user) + octet_length(reason),
                CASE kind WHEN 6 THEN code END
         FROM events ORDER BY place LIMIT ?1",
    )?;
    let mut rows = oldest.query([events_max as i64 + 1])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        if number(row, 1)? >= before_ms && trimmed.bytes >= excess {
            break;
        }
        if count == events_max {
            trimmed.is_unfinished = true;
            break;
        }
        count += 1;
        trimmed.to = number(row, 0)?;
        trimmed.bytes += EVENT_BYTES + number(row, 2)?;
        if let Some(from) = row.get::<_, Option<i64>>(3)? {
            trimmed.known_lost += trimmed.to.saturating_sub(cursor.max(from as u64 - 1));
        }
    }
    drop(rows);
    if count == 0 {
        return Ok(None);
    }
    transaction.prepare_cached("DELETE FROM events WHERE place <= ?1")?.execute([trimmed.to as i64])?;
    Ok(Some(trimmed))
}

/// The events behind `after`, at most `events_max` and some half a megabyte, the first of them a gap where some are missing; and the newest offset.
pub(super) fn read(connection: &Connection, after: u64, events_max: usize, now_ms: u64) -> Result<(Vec<Event>, u64)> {
    // Both are seen as they are at one moment.
    let seen = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let head = position(&seen)?.head;
    let mut select = seen.prepare_cached(
        "SELECT place, time, kind, room, client, user, code, reason FROM events WHERE place > ?1 ORDER BY place LIMIT ?2",
    )?;
    // No offset is beyond what the file counts to.
    let behind = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = select.query(params![behind, events_max as i64])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < READ_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let event = event(row)?;
        bytes += bytes_of(&event.what);
        events.push(event);
    }
    let missing_to = events.first().map_or(head, |first| first.first() - 1);
    if missing_to > after {
        let from = after + 1;
        match events.first_mut() {
            Some(Event { what: What::Gap { from: first }, .. }) => *first = from,
            _ => {
                let time_ms = events.first().map_or(now_ms, |first| first.time_ms);
                events.insert(0, Event { offset: missing_to, time_ms, what: What::Gap { from } });
                events.truncate(events_max.max(1));
            }
        }
    }
    Ok((events, head))
}

/// The offset that the oldest event stands for, or the first of them.
pub(super) fn first(connection: &Connection) -> Result<Option<u64>> {
    let mut select = connection
        .prepare_cached("SELECT CASE kind WHEN 6 THEN code ELSE place END FROM events ORDER BY place LIMIT 1")?;
    select.query_row([], |row| number(row, 0)).optional()
}

/// When the oldest event behind `after` was.
pub(super) fn time_after(connection: &Connection, after: u64) -> Result<Option<u64>> {
    let mut select = connection.prepare_cached("SELECT time FROM events WHERE place > ?1 ORDER BY place LIMIT 1")?;
    select.query_row([after as i64], |row| number(row, 0)).optional()
}

/// Notes somebody in a room; false if that was known.
pub(super) fn enter(transaction: &Transaction<'_>, room: &str, client: &str, user: &str) -> Result<bool> {
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO members VALUES (?1, ?2, ?3)")?;
    Ok(insert.execute([room, client, user])? > 0)
}

/// Notes that somebody is gone; whose it was, if it was there.
pub(super) fn leave(transaction: &Transaction<'_>, room: &str, client: &str) -> Result<Option<Box<str>>> {
    let mut delete =
        transaction.prepare_cached("DELETE FROM members WHERE room = ?1 AND client = ?2 RETURNING user")?;
    delete.query_row([room, client], |row| row.get::<_, Box<str>>(0)).optional()
}

/// Who is in a room.
pub(super) fn members_of(connection: &Connection, room: &str) -> Result<Vec<Box<str>>> {
    let mut select = connection.prepare_cached("SELECT client FROM members WHERE room = ?1")?;
    select.query_map([room], |row| row.get(0))?.collect()
}

/// Everybody in rooms, then everybody who is connected; each `count` at once.
pub(super) fn some_members(connection: &Connection, count: usize) -> Result<Vec<Row3>> {
    let mut select =
        connection.prepare_cached("SELECT room, client, user FROM members ORDER BY room DESC, client DESC LIMIT ?1")?;
    select.query_map([count as i64], row3)?.collect()
}

/// Everybody who is in a room or connected.
pub(super) fn clients(connection: &Connection) -> Result<HashSet<Box<str>>> {
    let mut select = connection.prepare_cached("SELECT DISTINCT client FROM members")?;
    select.query_map([], |row| row.get(0))?.collect()
}

/// Those of `clients` who are in rooms, then those who are connected; each `count` at once.
pub(super) fn some_of(connection: &Connection, clients: &HashSet<Box<str>>, count: usize) -> Result<Vec<Row3>> {
    let mut select =
        connection.prepare_cached("SELECT room, client, user FROM members ORDER BY room DESC, client DESC")?;
    let is_one = |row: &Result<Row3>| row.as_ref().map_or(true, |row| clients.contains(&row.client));
    select.query_map([], row3)?.filter(is_one).take(count).collect()
}

fn row3(row: &Row<'_>) -> Result<Row3> {
    Ok(Row3 { room: row.get(0)?, client: row.get(1)?, user: row.get(2)? })
}

/// A room that is occupied, as the backend is told: how many are in it, and since when nobody is.
pub(super) type Occupied = (Box<str>, u32, Option<u64>);

/// The rooms that are occupied.
pub(super) fn rooms(connection: &Connection) -> Result<Vec<Occupied>> {
    let mut select = connection.prepare_cached(
        "SELECT room, (SELECT count(*) FROM members WHERE members.room = rooms.room), empty_since FROM rooms",
    )?;
    select
        .query_map([], |row| {
            let since = row.get::<_, Option<i64>>(2)?;
            Ok((row.get(0)?, row.get(1)?, since.map(|since| since as u64)))
        })?
        .collect()
}

/// Notes a room as occupied, with somebody in it or, since then, nobody.
pub(super) fn occupy(transaction: &Transaction<'_>, room: &str, empty_since: Option<u64>) -> Result<()> {
    let mut replace = transaction.prepare_cached("INSERT OR REPLACE INTO rooms VALUES (?1, ?2)")?;
    replace.execute(params![room, empty_since.map(|since| since as i64)]).map(drop)
}

/// Notes a room as vacated.
pub(super) fn vacate(transaction: &Transaction<'_>, room: &str) -> Result<()> {
    transaction.prepare_cached("DELETE FROM rooms WHERE room = ?1")?.execute([room]).map(drop)
}

/// Notes of all occupied rooms that nobody is in them.
pub(super) fn empty_all(transaction: &Transaction<'_>, now_ms: u64) -> Result<()> {
    transaction.execute("UPDATE rooms SET empty_since = ?1", [now_ms as i64]).map(drop)
}

fn columns(what: &What) -> (i64, [&str; 4], u64) {
    match what {
        What::Join { room, client, user } => (0, [room, client, user, ""], 0),
        What::Leave { room, client, user, reason } => (1, [room, client, user, &reason.text], u64::from(reason.code)),
        What::Occupied { room } => (2, [room, "", "", ""], 0),
        What::Vacated { room } => (3, [room, "", "", ""], 0),
        What::Connect { client, user } => (4, ["", client, user, ""], 0),
        What::Disconnect { client, user, reason } => (5, ["", client, user, &reason.text], u64::from(reason.code)),
        What::Gap { from } => (6, [""; 4], *from),
    }
}

fn event(row: &Row<'_>) -> Result<Event> {
    let (room, client, user) = (|| row.get(3), || row.get(4), || row.get(5));
    let reason = || -> Result<Reason> {
        let code = number(row, 6)? as u16;
        Ok(Reason { code, text: row.get::<_, String>(7)?.into() })
    };
    let what = match row.get::<_, i64>(2)? {
        0 => What::Join { room: room()?, client: client()?, user: user()? },
        1 => What::Leave { room: room()?, client: client()?, user: user()?, reason: reason()? },
        2 => What::Occupied { room: room()? },
        3 => What::Vacated { room: room()? },
        4 => What::Connect { client: client()?, user: user()? },
        5 => What::Disconnect { client: client()?, user: user()?, reason: reason()? },
        6 => What::Gap { from: number(row, 6)? },
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(2, other)),
    };
    Ok(Event { offset: number(row, 0)?, time_ms: number(row, 1)?, what })
}

fn number(row: &Row<'_>, at: usize) -> Result<u64> {
    row.get::<_, i64>(at).map(|number| number as u64)
}
