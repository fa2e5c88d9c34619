//! What reads the file.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

use super::schema;
use crate::message::Epoch;
use crate::store::backend::{Page, Record, RetentionCutoff, RoomEntry, Span};
use crate::store::epoch_chain::{self, INCARNATIONS_MAX, Messages, Seen};
use crate::store::options::Durability;

/// The incarnations of a room that go on from each other, the newest first.
pub(super) fn incarnations(connection: &Connection, room: &str) -> Result<Vec<Seen>> {
    let unclean = schema::last_unclean(connection)?;
    let mut select = connection.prepare_cached(
        "SELECT life, epoch, first, next, is_stored, run > ?2 FROM lives WHERE room = ?1 ORDER BY life DESC LIMIT ?3",
    )?;
    let rows = select.query_map(params![room, unclean, INCARNATIONS_MAX], |row| {
        let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
        let range = number(2)?..number(3)?;
        let durability = if row.get(4)? { Durability::Stored } else { Durability::Async };
        let is_whole = durability == Durability::Stored || row.get(5)?;
        Ok(Seen { row: row.get(0)?, epoch: Epoch(number(1)?), range, is_whole, durability })
    })?;
    epoch_chain::chain(rows)
}

pub(super) fn span(connection: &Connection, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>> {
    epoch_chain::span(&incarnations(connection, room)?, &mut Looks(connection), cutoff)
}

/// Single looks at messages.
struct Looks<'a>(&'a Connection);

impl Messages for Looks<'_> {
    type Error = rusqlite::Error;

    fn least(&mut self, row: i64, end: u64) -> Result<Option<u64>> {
        let mut least =
            self.0.prepare_cached("SELECT min(sequence) FROM messages WHERE life = ?1 AND sequence < ?2")?;
        let found: Option<i64> = least.query_row(params![row, end as i64], |found| found.get(0))?;
        Ok(found.map(|sequence| sequence as u64))
    }

    fn time(&mut self, row: i64, sequence: u64) -> Result<Option<u64>> {
        let mut time = self.0.prepare_cached("SELECT time FROM messages WHERE life = ?1 AND sequence = ?2")?;
        let found: Option<i64> = time.query_row(params![row, sequence as i64], |found| found.get(0)).optional()?;
        Ok(found.map(|time| time as u64))
    }
}

pub(super) fn messages(connection: &Connection, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>> {
    let mut incarnations = incarnations(connection, room)?;
    if !page.newest_first {
        incarnations.reverse();
    }
    let order = if page.newest_first { "DESC" } else { "ASC" };
    let mut select = connection.prepare_cached(&format!(
        "SELECT sequence, time, author, body FROM messages
         WHERE life = ?1 AND sequence >= ?2 AND sequence < ?3 ORDER BY sequence {order} LIMIT ?4"
    ))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for seen in incarnations {
        let (start, end) = (seen.range.start.max(range.start), seen.range.end.min(range.end));
        if start >= end {
            continue;
        }
        let limit = i64::try_from(page.limit - found.len()).unwrap_or(i64::MAX);
        let mut rows = select.query(params![seen.row, start as i64, end as i64, limit])?;
        while let Some(row) = rows.next()? {
            let record = record(row)?;
            bytes += record.body.as_ref().map_or(0, Vec::len);
            if bytes > page.bytes_max && !found.is_empty() {
                return Ok(found);
            }
            found.push(record);
        }
        if found.len() >= page.limit {
            break;
        }
    }
    Ok(found)
}

fn record(row: &Row<'_>) -> Result<Record> {
    Ok(Record {
        sequence: row.get::<_, i64>(0)? as u64,
        time: row.get::<_, i64>(1)? as u64,
        author: row.get(2)?,
        body: row.get(3)?,
    })
}

pub(super) fn room_names(connection: &Connection, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
    let mut select =
        connection.prepare_cached("SELECT DISTINCT room FROM lives WHERE room > ?1 ORDER BY room LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    select.query_map(params![after.unwrap_or_default(), limit], |row| row.get(0))?.collect()
}

pub(super) fn rooms(connection: &Connection, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>> {
    let names = room_names(connection, after, limit)?;
    let mut rooms = Vec::with_capacity(names.len());
    for name in names {
        if let Some(span) = span(connection, &name, RetentionCutoff::default())? {
            rooms.push(RoomEntry { name, span });
        }
    }
    Ok(rooms)
}
