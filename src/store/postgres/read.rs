//! What reads the tables.

use std::ops::Range;

use postgres::{Client, Error, Row};

use super::schema;
use crate::message::Epoch;
use crate::store::backend::{Page, Record, RetentionCutoff, RoomEntry, Span};
use crate::store::epoch_chain::{self, INCARNATIONS_MAX, Messages, Seen};
use crate::store::options::Durability;

/// Bytes of bodies fetched from the server at once at most, a single larger message excepted.
const FETCHED_MAX: usize = 8 << 20;

/// The incarnations of a room that go on from each other, the newest first.
pub(super) fn incarnations(client: &mut Client, room: &str) -> Result<Vec<Seen>, Error> {
    let select = format!(
        "SELECT life, epoch, first, next, is_stored, run > {} FROM roomcast.lives WHERE room = $1
         ORDER BY life DESC LIMIT $2",
        schema::LAST_UNCLEAN
    );
    let rows = client.query(&select, &[&room.as_bytes(), &INCARNATIONS_MAX])?;
    epoch_chain::chain(rows.iter().map(|row| {
        let number = |at| row.get::<_, i64>(at) as u64;
        let durability = if row.get(4) { Durability::Stored } else { Durability::Async };
        let is_whole = durability == Durability::Stored || row.get(5);
        Ok(Seen { row: row.get(0), epoch: Epoch(number(1)), range: number(2)..number(3), is_whole, durability })
    }))
}

pub(super) fn span(client: &mut Client, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>, Error> {
    let incarnations = incarnations(client, room)?;
    epoch_chain::span(&incarnations, &mut Looks(client), cutoff)
}

/// Single looks at messages.
struct Looks<'a>(&'a mut Client);

impl Messages for Looks<'_> {
    type Error = Error;

    fn least(&mut self, row: i64, end: u64) -> Result<Option<u64>, Error> {
        let least = "SELECT min(sequence) FROM roomcast.messages WHERE life = $1 AND sequence < $2";
        let found: Option<i64> = self.0.query_one(least, &[&row, &(end as i64)])?.get(0);
        Ok(found.map(|sequence| sequence as u64))
    }

    fn time(&mut self, row: i64, sequence: u64) -> Result<Option<u64>, Error> {
        let select = "SELECT time FROM roomcast.messages WHERE life = $1 AND sequence = $2";
        let found = self.0.query_opt(select, &[&row, &(sequence as i64)])?;
        Ok(found.map(|found| found.get::<_, i64>(0) as u64))
    }
}

/// Bodies are fetched in portions that stay small, though how large each is shows only when it is there.
pub(super) fn messages(client: &mut Client, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, Error> {
    let mut incarnations = incarnations(client, room)?;
    if !page.newest_first {
        incarnations.reverse();
    }
    let order = if page.newest_first { "DESC" } else { "ASC" };
    // The sum up to each message, so that the server sends no more than is wanted.
    let select = format!(
        "SELECT sequence, time, author, body, total FROM (
             SELECT *, row_number() OVER place AS count, sum(octet_length(body)) OVER place AS bytes, count(*) OVER () AS total
             FROM (
                 SELECT sequence, time, author, body FROM roomcast.messages
                 WHERE life = $1 AND sequence >= $2 AND sequence < $3 ORDER BY sequence {order} LIMIT $4
             ) AS page
             WINDOW place AS (ORDER BY sequence {order} ROWS UNBOUNDED PRECEDING)
         ) AS counted WHERE count = 1 OR coalesce(bytes, 0) <= $5 ORDER BY sequence {order}"
    );
    let (mut found, mut bytes) = (Vec::new(), 0);
    for seen in incarnations {
        let (start, end) = (seen.range.start.max(range.start), seen.range.end.min(range.end));
        if start >= end {
            continue;
        }
        let limit = i64::try_from(page.limit - found.len()).unwrap_or(i64::MAX);
        let most = i64::try_from(page.bytes_max.min(FETCHED_MAX)).unwrap_or(i64::MAX);
        let rows = client.query(&select, &[&seen.row, &(start as i64), &(end as i64), &limit, &most])?;
        for row in &rows {
            let record = record(row);
            bytes += record.body.as_ref().map_or(0, Vec::len);
            if bytes > page.bytes_max && !found.is_empty() {
                return Ok(found);
            }
            found.push(record);
        }
        let is_cut_short = rows.first().is_some_and(|row| row.get::<_, i64>(4) > rows.len() as i64);
        if found.len() >= page.limit || is_cut_short {
            break;
        }
    }
    Ok(found)
}

fn record(row: &Row) -> Record {
    Record {
        sequence: row.get::<_, i64>(0) as u64,
        time: row.get::<_, i64>(1) as u64,
        author: row.get::<_, Option<&[u8]>>(2).map(|author| String::from_utf8_lossy(author).into_owned()),
        body: row.get(3),
    }
}

pub(super) fn room_names(client: &mut Client, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
    let select = "SELECT DISTINCT room FROM roomcast.lives WHERE room > $1 ORDER BY room LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = client.query(select, &[&after.unwrap_or_default().as_bytes(), &limit])?;
    Ok(rows.iter().map(|row| String::from_utf8_lossy(row.get(0)).into_owned()).collect())
}

pub(super) fn rooms(client: &mut Client, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, Error> {
    let mut rooms = Vec::new();
    for name in room_names(client, after, limit)? {
        if let Some(span) = span(client, &name, RetentionCutoff::default())? {
            rooms.push(RoomEntry { name, span });
        }
    }
    Ok(rooms)
}
