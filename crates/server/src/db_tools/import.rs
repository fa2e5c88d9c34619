//! The import: reads lines of JSON into the database.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{self, BufRead};

use super::line::Line;
use super::{PAGE, ToolError, to_write};
use crate::config::Config;
use roomcast::store::{Batch, Durability, Incarnation, Record, RetentionCutoff, Store, StoreError};

/// The longest line that is imported: a message of the largest size allowed, as text, and what stands beside it.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// What has been imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Messages that are in the database now.
    pub messages: u64,
    /// Messages that were there already, or come too late in their room to be put before others.
    pub skipped: u64,
}

/// Reads what [`export`](super::export) has written into the database. Rooms keep their offsets and begin a new epoch, since
/// clients may have seen more of them elsewhere. Called again after it was cut short, it goes on where it stopped.
///
/// # Errors
/// [`ToolError::Line`] for a line that is none of ours, or says what no server would take; and as the input has it. What came
/// before is in the database.
pub fn import(config: &Config, input: &mut dyn BufRead) -> Result<Imported, ToolError> {
    let store = to_write(config)?;
    store.begin()?;
    let mut import =
        Import { config, store: &*store, done: Imported::default(), batch: Batch::default(), ends: HashMap::new() };
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
    batch: Batch,
    /// The incarnations that go on, and where.
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
            if self.batch.len() >= PAGE.limit || self.batch.bytes() >= PAGE.bytes_max {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Takes a message in, where it is the next one of its room; what is wrong with it where it comes too early.
    fn take(&mut self, room: String, record: &Record) -> Result<Result<(), String>, StoreError> {
        if !self.ends.contains_key(&room) {
            let span = self.store.span(&room, RetentionCutoff::default())?;
            let mut incarnation = Incarnation::going_on(&room, span, Durability::Async);
            incarnation.first = span.map_or(record.sequence, |span| span.next);
            let next = incarnation.first;
            self.ends.insert(room.clone(), (incarnation, next));
        }
        let Some((incarnation, next)) = self.ends.get_mut(&room) else { return Ok(Ok(())) };
        match record.sequence.cmp(next) {
            Ordering::Equal => {
                *next += 1;
                self.batch.add(incarnation, record);
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
        self.store.commit(&self.batch)?;
        self.done.messages += self.batch.len() as u64;
        self.batch = Batch::default();
        Ok(())
    }
}

/// What some programs put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
