//! What an operator does with the database: look into it, copy it, carry it elsewhere.
//!
//! Reading goes on beside a running server. What changes the database needs it alone: stop the server first.
//!
//! It uses `rooms`, `config` and the library's store. It is used by the command line.

mod line;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use self::line::Line;
use crate::config::Config;
use crate::rooms::stored::PublicationCodec;
use roomcast::internal::Beside;
use roomcast::store::{
    Batch, Codec as _, Durability, FileStore, Incarnation, OwnTools, Page, Record, Retention, RetentionCutoff, Store,
    StoreError,
};

/// Messages read or written at once.
const PAGE: Page = Page { limit: 1_000, bytes_max: 4 << 20, newest_first: false };

/// Rooms listed at once.
const ROOMS_AT_ONCE: usize = 1_000;

/// The longest line that is imported: a message of the largest size allowed, as text, and what stands beside it.
const LINE_BYTES_MAX: u64 = 64 << 20;

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

/// Which part of a room's past is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryRange {
    /// Only what comes after this offset (or, in reverse, before it).
    pub since: Option<u64>,
    /// The most messages.
    pub limit: usize,
    /// From the newest down.
    pub reverse: bool,
}

/// What of a room's past was not shown, as it was beyond the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How many messages.
    pub messages: u64,
    /// The [`HistoryRange::since`] that goes on with them.
    pub since: u64,
}

/// Writes part of a room's past, a JSON object a line; what is left of it.
///
/// # Errors
/// [`ToolError::UnknownRoom`]; and as the database or `out` have it.
pub fn history(config: &Config, room: &str, part: HistoryRange, out: &mut dyn Write) -> Result<Rest, ToolError> {
    let store = to_read(config)?;
    let cut = RetentionCutoff::at(retention(config, room), crate::util::clock::unix_ms());
    let span = store.span(room, cut)?.ok_or_else(|| ToolError::UnknownRoom(room.to_owned()))?;
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
    let (mut after, mut count) = (None::<String>, 0);
    loop {
        let rooms = store.rooms(after.as_deref(), ROOMS_AT_ONCE)?;
        let Some(last) = rooms.last() else { return Ok(count) };
        after = Some(last.name.clone());
        for room in rooms.iter().filter(|room| is_meant(&room.name)) {
            let mut at = room.span.oldest;
            while at < room.span.next {
                match store.read(&room.name, at..room.span.next, PAGE) {
                    Ok(records) => {
                        at = records.last().map_or(room.span.next, |last| last.sequence + 1);
                        count += records.len() as u64;
                        for record in &records {
                            Line::new(&room.name, record).write(out)?;
                        }
                    }
                    Err(error) => {
                        complain(&room.name, &error);
                        break;
                    }
                }
            }
        }
        out.flush()?;
    }
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

/// What has been imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Messages that are in the database now.
    pub messages: u64,
    /// Messages that were there already, or come too late in their room to be put before others.
    pub skipped: u64,
}

/// Reads what [`export`] has written into the database. Rooms keep their offsets and begin a new epoch, since clients may have
/// seen more of them elsewhere. Called again after it was cut short, it goes on where it stopped.
///
/// # Errors
/// [`ToolError::Line`] for a line that is none of ours, or says what no server would take; and as the input has it. What came
/// before is in the database.
pub fn import(config: &Config, input: &mut dyn BufRead) -> Result<Imported, ToolError> {
    let store = to_write(config)?;
    store.begin()?;
    let mut import =
        Import { config, store: &*store, done: Imported::default(), group: Batch::default(), ends: HashMap::new() };
    let read = import.lines(input);
    if let Err(error @ ToolError::Store(_)) = read {
        // Nothing more can be put there.
        return Err(error);
    }
    import.commit()?;
    store.finish()?;
    let done = import.done;
    read.map(|()| done).map_err(|error| match error {
        ToolError::Line { number, message, .. } => ToolError::Line { number, message, before: done },
        error => error,
    })
}

/// An import under way.
struct Import<'a> {
    config: &'a Config,
    store: &'a dyn Store,
    done: Imported,
    group: Batch,
    /// The lives that go on, and where.
    ends: HashMap<String, (Incarnation, u64)>,
}

impl Import<'_> {
    fn lines(&mut self, input: &mut dyn BufRead) -> Result<(), ToolError> {
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let length = io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
            if length == 0 {
                break;
            }
            let line = if number == 1 { text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text) } else { &text };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let wrong = |message| ToolError::Line { number, message, before: Imported::default() };
            if length as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
                return Err(wrong(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
            }
            let (room, record) = Line::read(line, &self.config.limits()).map_err(wrong)?;
            self.take(room, &record)?.map_err(wrong)?;
            if self.group.len() >= PAGE.limit || self.group.bytes() >= PAGE.bytes_max {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Takes a message in, where it is the next one of its room; what is wrong with it where it comes too early.
    fn take(&mut self, room: String, record: &Record) -> Result<Result<(), String>, StoreError> {
        if !self.ends.contains_key(&room) {
            let span = self.store.span(&room, RetentionCutoff::default())?;
            let mut life = Incarnation::going_on(&room, span, Durability::Async);
            life.first = span.map_or(record.sequence, |span| span.next);
            let next = life.first;
            self.ends.insert(room.clone(), (life, next));
        }
        let Some((life, next)) = self.ends.get_mut(&room) else { return Ok(Ok(())) };
        match record.sequence.cmp(next) {
            Ordering::Equal => {
                *next += 1;
                self.group.add(life, record);
            }
            Ordering::Less => self.done.skipped += 1,
            Ordering::Greater => {
                let offset = record.sequence + 1;
                return Ok(Err(format!("after offset {next} of {room:?} comes {offset}: some are missing between")));
            }
        }
        Ok(Ok(()))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.store.commit(&self.group)?;
        self.done.messages += self.group.len() as u64;
        self.group = Batch::default();
        Ok(())
    }
}

/// What some programs put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    let (mut after, mut count) = (None::<String>, 0);
    loop {
        let rooms = store.rooms(after.as_deref(), ROOMS_AT_ONCE)?;
        let Some(last) = rooms.last() else { return Ok(count) };
        after = Some(last.name.clone());
        for room in &rooms {
            let mut at = room.span.oldest;
            while at < room.span.next {
                let records = store.read(&room.name, at..room.span.next, PAGE)?;
                at = records.last().map_or(room.span.next, |last| last.sequence + 1);
                count += records.iter().filter(|record| record.author.as_deref() == Some(user)).count() as u64;
            }
        }
    }
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
