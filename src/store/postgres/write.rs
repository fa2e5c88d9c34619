//! What changes the tables.

use std::collections::{BTreeMap, HashSet};

use postgres::{Client, Error, Row, SimpleQueryMessage, Transaction};

use super::{read, schema};
use crate::message::Epoch;
use crate::store::backend::Erasure;
use crate::store::batch::{Batch, Incarnation};
use crate::store::epoch_chain::Seen;
use crate::store::fence::{self, Foreign, Unwritten};
use crate::store::incarnation_rows::IncarnationRows;
use crate::store::options::Durability;

type Result<R> = std::result::Result<R, Unwritten<Error>>;

/// The connection that writes.
pub(super) struct Writer {
    pub(super) client: Client,
    run: i64,
    rows: IncarnationRows,
}

impl Writer {
    pub(super) fn new(client: Client, run: i64) -> Self {
        Self { client, run, rows: IncarnationRows::default() }
    }

    /// What a transaction has come to, once it is over: of a store that went back no incarnation goes on.
    pub(super) fn seen_through<R>(&mut self, done: Result<R>) -> Result<R> {
        match &done {
            Err(Unwritten::Foreign(foreign)) if foreign.is_of_an_earlier_state() => {
                distrust(&mut self.client, self.run)?
            }
            _ => {}
        }
        done
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<()> {
        let Self { client, run, rows } = self;
        rows.during(|rows| write(client, *run, rows, batch))
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.durably("UPDATE roomcast.runs SET is_clean = true WHERE run = $1", &[&self.run.clone()]).map(|_| ())
    }

    pub(super) fn remove(&mut self, room: &str, before: u64, limit: usize) -> Result<usize> {
        let (room, before) = (room.as_bytes(), number(before));
        let removed = self.durably(
            "DELETE FROM roomcast.messages WHERE (life, sequence) IN (
                 SELECT life, sequence FROM roomcast.lives JOIN roomcast.messages USING (life)
                 WHERE room = $1 AND sequence < $2 ORDER BY life, sequence LIMIT $3)",
            &[&room, &before, &number(limit as u64)],
        )?;
        // Of earlier incarnations of which nothing is left, nothing needs to be known.
        self.durably(
            "DELETE FROM roomcast.lives WHERE room = $1
             AND life < (SELECT max(life) FROM roomcast.lives WHERE room = $1)
             AND NOT EXISTS (SELECT FROM roomcast.messages WHERE messages.life = lives.life)",
            &[&room],
        )?;
        self.rows.clear();
        Ok(removed)
    }

    pub(super) fn erase(&mut self, author: &str, limit: usize) -> Result<usize> {
        self.durably(
            "UPDATE roomcast.messages SET body = NULL, author = NULL WHERE (life, sequence) IN (
                 SELECT life, sequence FROM roomcast.messages WHERE author = $1 LIMIT $2)",
            &[&author.as_bytes(), &number(limit as u64)],
        )
    }

    pub(super) fn erase_in(&mut self, room: &str, erasure: Erasure<'_>, before: u64, limit: usize) -> Result<Vec<u64>> {
        let incarnations = read::incarnations(&mut self.client, room)?;
        let mut transaction = begin(&mut self.client, self.run, Durability::Stored)?;
        let mut erased = Vec::new();
        for Seen { row, range, .. } in incarnations {
            let (start, end) = (number(range.start), number(range.end.min(before)));
            let rows = match erasure {
                Erasure::Author(author) => transaction.query(
                    "UPDATE roomcast.messages SET body = NULL, author = NULL WHERE life = $1 AND sequence IN (
                         SELECT sequence FROM roomcast.messages
                         WHERE author = $2 AND life = $1 AND sequence >= $3 AND sequence < $4 LIMIT $5)
                     RETURNING sequence",
                    &[&row, &author.as_bytes(), &start, &end, &number((limit - erased.len()) as u64)],
                )?,
                Erasure::Sequences(sequences) => {
                    let sequences: Vec<i64> = sequences.iter().map(|sequence| number(*sequence)).collect();
                    transaction.query(
                        "UPDATE roomcast.messages SET body = NULL, author = NULL
                         WHERE life = $1 AND sequence = ANY($2) AND sequence >= $3 AND sequence < $4 AND body IS NOT NULL
                         RETURNING sequence",
                        &[&row, &sequences, &start, &end],
                    )?
                }
            };
            erased.extend(rows.iter().map(|row| row.get::<_, i64>(0) as u64));
        }
        transaction.commit()?;
        if let Erasure::Author(author) = erasure
            && erased.len() < limit
        {
            while self.erase_unreachable(room, author, limit)? == limit {}
        }
        Ok(erased)
    }

    /// Erases what up to `limit` messages of an author say that are in a room's earlier incarnations, where nobody finds them any more.
    fn erase_unreachable(&mut self, room: &str, author: &str, limit: usize) -> Result<usize> {
        self.durably(
            "UPDATE roomcast.messages SET body = NULL, author = NULL WHERE (life, sequence) IN (
                 SELECT life, sequence FROM roomcast.messages JOIN roomcast.lives USING (life)
                 WHERE author = $1 AND room = $2
                 AND life < (SELECT max(life) FROM roomcast.lives WHERE room = $2) LIMIT $3)",
            &[&author.as_bytes(), &room.as_bytes(), &number(limit as u64)],
        )
    }

    /// One statement, on the disk when this returns; how many rows it has changed.
    fn durably(&mut self, statement: &str, values: &[&(dyn postgres::types::ToSql + Sync)]) -> Result<usize> {
        let mut transaction = begin(&mut self.client, self.run, Durability::Stored)?;
        let changed = transaction.execute(statement, values)?;
        transaction.commit()?;
        Ok(changed as usize)
    }
}

/// Commits a batch in one transaction.
fn write(client: &mut Client, run: i64, rows: &mut IncarnationRows, batch: &Batch) -> Result<()> {
    let mut transaction = begin(client, run, batch.durability())?;
    learn(&mut transaction, rows, batch.incarnations(), run)?;
    let mut ends: BTreeMap<i64, End> = BTreeMap::new();
    let count = batch.len();
    let (mut places, mut sequences, mut times) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut authors, mut bodies) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for part in batch.parts() {
        let row = rows.of(part.incarnation).unwrap_or_else(|| unreachable!("it was learned above"));
        let first = part.messages().next().map_or(part.incarnation.first, |(sequence, ..)| sequence) as i64;
        let end = ends.entry(row).or_insert(End { first, next: first, is_stored: false });
        *end = End { next: end.next.max(part.next() as i64), is_stored: is_stored(part.incarnation), ..*end };
        for (sequence, time, author, body) in part.messages() {
            places.push(row);
            sequences.push(sequence as i64);
            times.push(time as i64);
            authors.push(author.map(str::as_bytes));
            bodies.push(body);
        }
    }
    if !places.is_empty() {
        let added = transaction.execute(
            "INSERT INTO roomcast.messages
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
             ON CONFLICT DO NOTHING",
            &[&places, &sequences, &times, &authors, &bodies],
        )?;
        if added != places.len() as u64 {
            // A batch may come again. What is there must be what comes, unless it was erased since.
            let other = transaction.query_opt(
                "SELECT lives.room, new.sequence
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
                      AS new (life, sequence, time, author, body)
                 JOIN roomcast.messages USING (life, sequence) JOIN roomcast.lives USING (life)
                 WHERE messages.time <> new.time OR (messages.body IS NOT NULL
                       AND (messages.body IS DISTINCT FROM new.body OR messages.author IS DISTINCT FROM new.author))
                 LIMIT 1",
                &[&places, &sequences, &times, &authors, &bodies],
            )?;
            if let Some(row) = other {
                let (room, sequence) = (name(&row), row.get::<_, i64>(1) as u64);
                return Err(Unwritten::Foreign(Foreign::Message { room, sequence }));
            }
        }
    }
    let ended: Vec<i64> = ends.keys().copied().collect();
    let firsts: Vec<i64> = ends.values().map(|end| end.first).collect();
    let nexts: Vec<i64> = ends.values().map(|end| end.next).collect();
    let stored: Vec<bool> = ends.values().map(|end| end.is_stored).collect();
    let touched = transaction.execute(
        "UPDATE roomcast.lives SET next = greatest(lives.next, ends.next), run = $5, is_stored = ends.is_stored
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[]) AS ends (life, first, next, is_stored)
         WHERE lives.life = ends.life AND lives.next >= ends.first",
        &[&ended, &firsts, &nexts, &stored, &run],
    )?;
    if touched != ended.len() as u64 {
        let gap = transaction.query_opt(
            "SELECT lives.room, lives.next, ends.first FROM unnest($1::bigint[], $2::bigint[]) AS ends (life, first)
             JOIN roomcast.lives USING (life) WHERE lives.next < ends.first LIMIT 1",
            &[&ended, &firsts],
        )?;
        if let Some(row) = gap {
            let (next, sequence) = (row.get::<_, i64>(1) as u64, row.get::<_, i64>(2) as u64);
            return Err(Unwritten::Foreign(Foreign::Gap { room: name(&row), next, sequence }));
        }
    }
    Ok(transaction.commit()?)
}

/// From where to where a batch takes an incarnation.
#[derive(Clone, Copy, Debug)]
struct End {
    first: i64,
    next: i64,
    is_stored: bool,
}

/// A transaction that writes, in which nobody else has begun a run: whoever does waits for its end (see
/// [`schema::begin_run`]). One exchange with the server.
fn begin(client: &mut Client, run: i64, durability: Durability) -> Result<Transaction<'_>> {
    let mut transaction = client.transaction()?;
    let level = if durability == Durability::Stored { "on" } else { "off" };
    let rows = transaction.simple_query(&format!("SET LOCAL synchronous_commit = {level}; {}", schema::NEWEST_RUN))?;
    for row in &rows {
        if let SimpleQueryMessage::Row(row) = row {
            fence::admit(run, row.get(0).and_then(|newest| newest.parse().ok()))?;
        }
    }
    Ok(transaction)
}

/// Has no incarnation go on, unless somebody else has begun a run since ours: what was confirmed is not all there.
pub(super) fn distrust(client: &mut Client, run: i64) -> Result<()> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute("LOCK TABLE roomcast.runs IN ROW SHARE MODE")?;
    let newest = transaction.query_one("SELECT max(run) FROM roomcast.runs", &[])?.get(0);
    fence::confirm(run, newest)?;
    transaction.batch_execute("UPDATE roomcast.lives SET is_stored = false, run = 0")?;
    Ok(transaction.commit()?)
}

fn name(row: &Row) -> String {
    String::from_utf8_lossy(row.get(0)).into_owned()
}

/// Makes rows for the incarnations that are new, and remembers where all are.
fn learn(
    transaction: &mut Transaction<'_>,
    rows: &mut IncarnationRows,
    incarnations: &[Incarnation],
    run: i64,
) -> Result<()> {
    // In their order: of the incarnations of a room, the last one is the newest.
    let mut taken = HashSet::new();
    let unknown = incarnations.iter().filter(|incarnation| rows.of(incarnation).is_none());
    let unknown: Vec<_> = unknown.filter(|&new| taken.insert((new.room.as_str(), new.epoch))).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let rooms: Vec<&[u8]> = unknown.iter().map(|new| new.room.as_bytes()).collect();
    let epochs: Vec<i64> = unknown.iter().map(|new| u64::from(new.epoch) as i64).collect();
    let firsts: Vec<i64> = unknown.iter().map(|new| new.first as i64).collect();
    let stored: Vec<bool> = unknown.iter().map(|new| is_stored(new)).collect();
    let made = transaction.query(
        "INSERT INTO roomcast.lives (room, epoch, first, next, run, is_stored)
         SELECT room, epoch, first, first, $5, is_stored
         FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::boolean[]) WITH ORDINALITY
              AS new (room, epoch, first, is_stored, place)
         ORDER BY place
         ON CONFLICT (room, epoch) DO UPDATE SET run = excluded.run, is_stored = excluded.is_stored
         RETURNING room, epoch, life",
        &[&rooms, &epochs, &firsts, &stored, &run],
    )?;
    for row in made {
        rows.insert(&name(&row), Epoch(row.get::<_, i64>(1) as u64), row.get(2));
    }
    Ok(())
}

fn is_stored(incarnation: &Incarnation) -> bool {
    incarnation.durability == Durability::Stored
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
