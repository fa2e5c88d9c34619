//! What reads the file.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

use super::schema;
use crate::message::Epoch;
use crate::store::options::Durability;
use crate::store::record::{Cut, Page, Record, RoomEntry, Span};

/// Lives of a room that are looked at, the newest first: one more for each time it may have lost messages.
const LIVES_MAX: usize = 1_000;

/// A life, as far as it can be seen from those after it.
struct Seen {
    life: i64,
    epoch: Epoch,
    /// The sequences that are read from it.
    range: Range<u64>,
    is_whole: bool,
    durability: Durability,
}

/// The lives of a room that go on from each other, the newest first.
fn lives(connection: &Connection, room: &str) -> Result<Vec<Seen>> {
    let unclean = schema::last_unclean(connection)?;
    let mut lives = connection.prepare_cached(
        "SELECT life, epoch, first, next, is_stored, run > ?2 FROM lives WHERE room = ?1 ORDER BY life DESC LIMIT ?3",
    )?;
    let mut seen: Vec<Seen> = Vec::new();
    let rows = lives.query_map(params![room, unclean, LIVES_MAX as i64], |row| {
        let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
        let range = number(2)?..number(3)?;
        let durability = if row.get(4)? { Durability::Stored } else { Durability::Async };
        let is_whole = durability == Durability::Stored || row.get(5)?;
        Ok(Seen { life: row.get(0)?, epoch: Epoch(number(1)?), range, is_whole, durability })
    })?;
    for row in rows {
        let mut row = row?;
        if let Some(after) = seen.last() {
            let upper = after.range.start;
            if row.range.end < upper || row.range.start >= upper {
                break;
            }
            row.range.end = upper;
        }
        seen.push(row);
    }
    Ok(seen)
}

pub(super) fn span(connection: &Connection, room: &str, cut: Cut) -> Result<Option<Span>> {
    let lives = lives(connection, room)?;
    let Some(newest) = lives.first() else { return Ok(None) };
    let next = newest.range.end;
    let mut oldest = next;
    let mut least =
        connection.prepare_cached("SELECT min(sequence) FROM messages WHERE life = ?1 AND sequence < ?2")?;
    for Seen { life, range, .. } in &lives {
        let first: Option<i64> = least.query_row(params![life, range.end as i64], |row| row.get(0))?;
        match first {
            Some(first) => oldest = first as u64,
            None if range.is_empty() => {}
            None => break,
        }
        if oldest > range.start {
            break;
        }
    }
    oldest = oldest.max(next.saturating_sub(cut.messages_max.unwrap_or(u64::MAX)));
    if cut.before_time > 0 {
        // Times never fall along the sequences: halve until the first that is young enough is found.
        let (mut old, mut young) = (oldest, next);
        while old < young {
            let middle = old + (young - old) / 2;
            match time(connection, &lives, middle)? {
                Some(time) if time < cut.before_time => old = middle + 1,
                _ => young = middle,
            }
        }
        oldest = young;
    }
    let &Seen { epoch, is_whole, durability, .. } = newest;
    Ok(Some(Span { epoch, oldest, next, is_whole, durability }))
}

fn time(connection: &Connection, lives: &[Seen], sequence: u64) -> Result<Option<u64>> {
    let Some(seen) = lives.iter().find(|seen| seen.range.contains(&sequence)) else { return Ok(None) };
    let mut time = connection.prepare_cached("SELECT time FROM messages WHERE life = ?1 AND sequence = ?2")?;
    let found: Option<i64> = time.query_row(params![seen.life, sequence as i64], |row| row.get(0)).optional()?;
    Ok(found.map(|time| time as u64))
}

pub(super) fn messages(connection: &Connection, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>> {
    let mut lives = lives(connection, room)?;
    if !page.newest_first {
        lives.reverse();
    }
    let order = if page.newest_first { "DESC" } else { "ASC" };
    let mut select = connection.prepare_cached(&format!(
        "SELECT sequence, time, author, body FROM messages
         WHERE life = ?1 AND sequence >= ?2 AND sequence < ?3 ORDER BY sequence {order} LIMIT ?4"
    ))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for seen in lives {
        let (start, end) = (seen.range.start.max(range.start), seen.range.end.min(range.end));
        if start >= end {
            continue;
        }
        let limit = i64::try_from(page.limit - found.len()).unwrap_or(i64::MAX);
        let mut rows = select.query(params![seen.life, start as i64, end as i64, limit])?;
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

pub(super) fn rooms(connection: &Connection, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>> {
    let mut select =
        connection.prepare_cached("SELECT DISTINCT room FROM lives WHERE room > ?1 ORDER BY room LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let names: Vec<String> =
        select.query_map(params![after.unwrap_or_default(), limit], |row| row.get(0))?.collect::<Result<_>>()?;
    let mut rooms = Vec::with_capacity(names.len());
    for name in names {
        if let Some(span) = span(connection, &name, Cut::default())? {
            rooms.push(RoomEntry { name, span });
        }
    }
    Ok(rooms)
}
