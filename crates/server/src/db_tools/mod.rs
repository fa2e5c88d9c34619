//! What an operator does with the database: look into it, copy it, carry it elsewhere.
//!
//! Reading goes on beside a running server. What changes the database needs it alone: stop the server first.
//!
//! It uses `rooms`, `config` and the library's store. It is used by the command line.

mod import;
mod line;
mod walk;

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

pub use self::import::{Imported, import};
use self::line::Line;
use crate::config::Config;
use crate::rooms::stored::PublicationCodec;
use roomcast::internal::Beside;
use roomcast::store::{Codec as _, FileStore, OwnTools, Page, Record, Retention, RetentionCutoff, Store, StoreError};

/// Messages read or written at once.
const PAGE: Page = Page { limit: 1_000, bytes_max: 4 << 20, newest_first: false };

/// Why a tool did not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ToolError {
    /// The database.
    Store(StoreError),
    /// The file or stream on the other side.
    Io(io::Error),
    /// A line that is to be imported.
    Line {
        /// Which, counted from 1.
        number: u64,
        /// What is wrong with it.
        message: String,
        /// What came before it, and is in the database.
        before: Imported,
    },
    /// There is no such room.
    UnknownRoom(String),
    /// Of some rooms an export has not everything, since the database is damaged.
    Incomplete {
        /// Messages that were written.
        messages: u64,
        /// Rooms that could not be read to their ends.
        rooms: u64,
    },
    /// It cannot be done with this database.
    NotHere(String),
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Io(error) => write!(f, "{error}"),
            Self::Line { number, message, before: Imported { messages, skipped } } => write!(
                f,
                "line {number}: {message}; what came before it is in the database ({messages} messages imported, {skipped} were there \
                 already). Mend the line, and import the file again"
            ),
            Self::UnknownRoom(room) => write!(f, "the database knows no room {room:?}; `roomcast export` shows all"),
            Self::Incomplete { messages, rooms } => {
                write!(
                    f,
                    "{messages} messages written; {rooms} rooms could not be read to their ends, and what is missing stays so"
                )
            }
            Self::NotHere(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ToolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for ToolError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Which part of a room's history is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryRange {
    /// Only what comes after this offset (or, in reverse, before it).
    pub since: Option<u64>,
    /// The most messages.
    pub limit: usize,
    /// From the newest down.
    pub reverse: bool,
}

/// What of a room's history was not shown, as it was beyond the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How many messages.
    pub messages: u64,
    /// The [`HistoryRange::since`] that goes on with them.
    pub since: u64,
}

/// Writes part of a room's history, a JSON object a line; what is left of it.
///
/// # Errors
/// [`ToolError::UnknownRoom`]; and as the database or `out` have it.
pub fn history(config: &Config, room: &str, part: HistoryRange, out: &mut dyn Write) -> Result<Rest, ToolError> {
    let store = to_read(config)?;
    let cutoff = RetentionCutoff::at(retention(config, room), crate::util::clock::unix_ms());
    let span = store.span(room, cutoff)?.ok_or_else(|| ToolError::UnknownRoom(room.to_owned()))?;
    // An offset counts from 1: it is also the sequence that comes next.
    let mut range = match (part.since, part.reverse) {
        (None, _) => span.oldest..span.next,
        (Some(offset), false) => span.oldest.max(offset)..span.next,
        (Some(offset), true) => span.oldest..span.next.min(offset.saturating_sub(1)),
    };
    let mut left = part.limit;
    while left > 0 && !range.is_empty() {
        let page = Page { limit: left.min(PAGE.limit), newest_first: part.reverse, ..PAGE };
        let records = store.read(room, range.clone(), page)?;
        let Some(last) = records.last() else { break };
        match part.reverse {
            true => range.end = last.sequence,
            false => range.start = last.sequence + 1,
        }
        left -= records.len();
        for record in &records {
            Line::new(room, record).write(out)?;
        }
    }
    out.flush()?;
    // The last one that was shown has the offset after its sequence.
    let since = if part.reverse { range.end + 1 } else { range.start };
    Ok(Rest { messages: range.end.saturating_sub(range.start), since })
}

/// Writes every message of the rooms whose names `is_meant` says yes to, a JSON object a line; how many. Rooms that cannot be
/// read, where a database is damaged, are reported to `complain` and passed over.
///
/// # Errors
/// As the database or `out` have it.
pub fn export(
    config: &Config,
    is_meant: impl Fn(&str) -> bool,
    out: &mut dyn Write,
    mut complain: impl FnMut(&str, &StoreError),
) -> Result<u64, ToolError> {
    let store = to_read(config)?;
    let mut count = 0;
    for room in walk::rooms(&*store) {
        let (name, room) = room?;
        if !is_meant(&name) {
            continue;
        }
        let room = match room {
            Ok(room) => room,
            Err(error) => {
                complain(&name, &error);
                continue;
            }
        };
        for page in walk::pages(&*store, &room) {
            match page {
                Ok(records) => {
                    count += records.len() as u64;
                    for record in &records {
                        Line::new(&room.name, record).write(out)?;
                    }
                }
                Err(error) => complain(&room.name, &error),
            }
        }
    }
    out.flush()?;
    Ok(count)
}

/// [`export`] into a new file, which appears when all of it is there.
///
/// # Errors
/// As [`export`], and when there is such a file already.
pub fn export_to(
    config: &Config,
    is_meant: impl Fn(&str) -> bool,
    file: &Path,
    complain: impl FnMut(&str, &StoreError),
) -> Result<u64, ToolError> {
    let named = |error: io::Error| {
        let said = match error.kind() {
            io::ErrorKind::AlreadyExists => "exists already; name a file that does not".to_owned(),
            _ => format!("cannot be written: {error}"),
        };
        io::Error::new(error.kind(), format!("{} {said}", file.display()))
    };
    let (beside, out) = Beside::create(file).map_err(named)?;
    let mut out = BufWriter::new(out);
    let count = export(config, is_meant, &mut out, complain)?;
    let out = out.into_inner().map_err(|error| named(error.into_error()))?;
    beside.finish(&out).map_err(named)?;
    Ok(count)
}

/// Copies the whole database into a new file, while a server may be running on it; how such a copy is put back, in words.
/// Restored, its rooms begin new epochs.
///
/// # Errors
/// [`ToolError::NotHere`] for a database with tools of its own; and as the database has it.
pub fn backup(config: &Config, to: &Path) -> Result<String, ToolError> {
    let otherwise = |by: OwnTools| format!("`roomcast backup` copies the built-in database; {}", by.copied_by);
    let store = file(config, otherwise)?;
    store.backup(to)?;
    Ok(store.restoring())
}

/// Reads the whole database and says whether it is sound; whether there are rooms in it.
///
/// # Errors
/// As [`backup`], and when it is damaged, or a file that was never written or was emptied.
pub fn check(config: &Config) -> Result<bool, ToolError> {
    let otherwise = |by: OwnTools| format!("`roomcast check` reads the built-in database; {}", by.checked_by);
    let store = file(config, otherwise)?;
    store.check()?;
    Ok(!store.rooms(None, 1)?.is_empty())
}

/// How many messages [`remove`] would remove.
///
/// # Errors
/// [`ToolError::UnknownRoom`]; and as the database has it.
pub fn removable(config: &Config, room: &str) -> Result<u64, ToolError> {
    let span = to_read(config)?
        .span(room, RetentionCutoff::default())?
        .ok_or_else(|| ToolError::UnknownRoom(room.to_owned()))?;
    Ok(span.next - span.oldest)
}

/// How many messages [`erase`] would erase. Reads all of them.
///
/// # Errors
/// As the database has it.
pub fn erasable(config: &Config, user: &str) -> Result<u64, ToolError> {
    let store = to_read(config)?;
    let mut count = 0;
    for room in walk::rooms(&*store) {
        for page in walk::pages(&*store, &room?.1?) {
            count += page?.iter().filter(|record| record.author.as_deref() == Some(user)).count() as u64;
        }
    }
    Ok(count)
}

/// Removes all messages of a room for good; how many. Its position stays.
///
/// # Errors
/// When a server has the database; and as the database has it.
pub fn remove(config: &Config, room: &str) -> Result<u64, ToolError> {
    alone(config, |store| {
        let span =
            store.span(room, RetentionCutoff::default())?.ok_or_else(|| ToolError::UnknownRoom(room.to_owned()))?;
        Ok(until_none(|| store.remove(room, span.next, PAGE.limit))?)
    })
}

/// Erases what a user has said in all rooms for good; how many messages. Their places stay taken.
///
/// # Errors
/// As [`remove`].
pub fn erase(config: &Config, user: &str) -> Result<u64, ToolError> {
    alone(config, |store| Ok(until_none(|| store.erase(user, PAGE.limit))?))
}

/// Does something in a run of its own. That is ended however it went: nothing is published in it, and rooms would not go on in
/// their epochs after it otherwise.
fn alone<R>(config: &Config, work: impl FnOnce(&dyn Store) -> Result<R, ToolError>) -> Result<R, ToolError> {
    // A new one would be made otherwise, and nobody be told that it is not the one that was meant.
    drop(to_read(config)?);
    let store = to_write(config)?;
    store.begin()?;
    let done = work(&*store);
    let finished = store.finish();
    let done = done?;
    finished?;
    Ok(done)
}

fn until_none(mut some: impl FnMut() -> Result<usize, StoreError>) -> Result<u64, StoreError> {
    let mut total = 0;
    loop {
        match some()? {
            0 => return Ok(total),
            more => total += more as u64,
        }
    }
}

/// The database, to be written.
fn to_write(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    config.storage.kind.open(config.database())
}

/// The database, to be read while a server may be writing it.
fn to_read(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    config.storage.kind.open_to_read(config.database())
}

/// The database, if it is a file; `otherwise` says what does instead what is asked for.
fn file(config: &Config, otherwise: impl Fn(OwnTools) -> String) -> Result<Arc<dyn FileStore>, ToolError> {
    match config.storage.kind.own_tools() {
        Some(tools) => Err(ToolError::NotHere(otherwise(tools))),
        None => Ok(config.storage.kind.open_file(config.database())?),
    }
}

fn retention(config: &Config, room: &str) -> Retention {
    config.channel.options_for(room).map_or_else(Retention::default, |options| options.retention())
}

/// What an erased message is where it must be something.
fn body_of(record: &Record) -> Option<roomcast_protocol::Publication> {
    PublicationCodec.decode(record.body.as_deref()?).ok()
}
