//! A store over such a disk, behind the trait that databases implement: a log that is read from memory.

use crate::util::panics::lock;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use roomcast::Epoch;
use roomcast::store::{
    Batch, Durability, Erasure, Incarnation, Page, Record, RetentionCutoff, RoomEntry, Span, Store, StoreError,
    StoreErrorKind,
};

use super::disk::{Disk, Entry, is_stored};
use super::threads::{Pause, pause};

/// How often one who would write looks whether another still does.
const TURN_LOOK: Duration = Duration::from_millis(1);

/// The database of one process.
#[derive(Debug)]
pub(super) struct LogStore {
    disk: Arc<Disk>,
    rooms: Mutex<Rooms>,
    is_written: Mutex<bool>,
}

/// The incarnations of each room, the oldest first.
type Rooms = BTreeMap<String, Vec<Life>>;

/// One incarnation.
#[derive(Clone, Debug)]
struct Life {
    epoch: Epoch,
    first: u64,
    /// The sequence after the newest one stored.
    next: u64,
    durability: Durability,
    is_whole: bool,
    records: BTreeMap<u64, Record>,
}

/// Whose turn it is to write.
struct Turn<'a>(&'a LogStore);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.is_written) = false;
    }
}

impl LogStore {
    pub(super) fn new(disk: Arc<Disk>) -> Self {
        Self { disk, rooms: Mutex::default(), is_written: Mutex::default() }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        lock(&self.rooms)
    }

    /// Waits until nobody else writes.
    fn turn(&self) -> Turn<'_> {
        let is_taken = || {
            let mut is_written = lock(&self.is_written);
            std::mem::replace(&mut *is_written, true)
        };
        while is_taken() {
            pause(Pause::For(TURN_LOOK));
        }
        Turn(self)
    }

    /// Writes an entry and does what it says.
    fn write(&self, entry: Entry, is_synced: bool) -> Result<(), StoreError> {
        let apply = entry.clone();
        self.disk.write(entry, is_synced, || apply_to(&mut self.rooms(), &apply))
    }

    /// What of a batch is not there yet.
    ///
    /// # Errors
    /// When something else stands in the place of a message.
    fn news(&self, batch: &Batch) -> Result<Vec<(String, Epoch, Record)>, StoreError> {
        let rooms = self.rooms();
        let mut news = Vec::new();
        let mut nexts = BTreeMap::new();
        for part in batch.parts() {
            let Incarnation { room, epoch, first, .. } = part.incarnation;
            let known = rooms.get(room).and_then(|lives| lives.iter().find(|life| life.epoch == *epoch));
            // One incarnation may come more than once, and then goes on.
            let next = nexts.entry((room, *epoch)).or_insert_with(|| known.map_or(*first, |life| life.next));
            for (sequence, time, author, body) in part.messages() {
                let record = Record { sequence, time, author: author.map(str::to_owned), body: Some(body.to_vec()) };
                if sequence < *next {
                    let there = known.and_then(|life| life.records.get(&sequence));
                    if there.is_some_and(|there| there.body.is_some() && there.body != record.body) {
                        self.disk.complain(format!("{room}: another message in place of {sequence}"));
                        return Err(StoreError::new(StoreErrorKind::Overtaken, "another message is there"));
                    }
                    continue;
                }
                if sequence > *next {
                    self.disk.complain(format!("{room}: {sequence} is stored, and {next} is not"));
                }
                *next = sequence + 1;
                news.push((room.clone(), *epoch, record));
            }
        }
        Ok(news)
    }
}

/// Does to what is in memory what an entry says.
fn apply_to(rooms: &mut Rooms, entry: &Entry) {
    match entry {
        Entry::Begin | Entry::End => {}
        Entry::Batch(incarnations, messages) => {
            for incarnation in incarnations {
                let lives = rooms.entry(incarnation.room.clone()).or_default();
                match lives.last_mut().filter(|life| life.epoch == incarnation.epoch) {
                    Some(life) => life.durability = incarnation.durability,
                    None => lives.push(Life::new(incarnation)),
                }
            }
            for (room, epoch, record) in messages {
                let Some(lives) = rooms.get_mut(room) else { continue };
                if let Some(life) = lives.iter_mut().find(|life| life.epoch == *epoch) {
                    life.next = life.next.max(record.sequence + 1);
                    life.records.insert(record.sequence, record.clone());
                }
            }
        }
        Entry::Removed(room, before) => {
            for life in rooms.get_mut(room).into_iter().flatten() {
                life.records.retain(|sequence, _| sequence >= before);
            }
        }
        Entry::Erased(room, sequences) => {
            let Some(lives) = rooms.get_mut(room) else { return };
            for (_, life) in seen_mut(lives) {
                for sequence in sequences {
                    if let Some(record) = life.records.get_mut(sequence) {
                        (record.body, record.author) = (None, None);
                    }
                }
            }
        }
    }
}

impl Life {
    fn new(incarnation: &Incarnation) -> Self {
        Self {
            epoch: incarnation.epoch,
            first: incarnation.first,
            next: incarnation.first,
            durability: incarnation.durability,
            is_whole: true,
            records: BTreeMap::new(),
        }
    }
}

/// Those that go on from each other, the newest first, each with what is seen of it.
fn seen(lives: &[Life]) -> Vec<(Range<u64>, &Life)> {
    ranges(lives).into_iter().map(|(range, at)| (range, &lives[at])).collect()
}

fn seen_mut(lives: &mut [Life]) -> Vec<(Range<u64>, &mut Life)> {
    let mut ranges: BTreeMap<usize, Range<u64>> = ranges(lives).into_iter().map(|(range, at)| (at, range)).collect();
    let lives = lives.iter_mut().enumerate();
    lives.filter_map(|(at, life)| Some((ranges.remove(&at)?, life))).collect()
}

fn ranges(lives: &[Life]) -> Vec<(Range<u64>, usize)> {
    let mut ranges: Vec<(Range<u64>, usize)> = Vec::new();
    for (at, life) in lives.iter().enumerate().rev() {
        let upper = ranges.last().map_or(life.next, |(after, _)| after.start);
        if life.next < upper || life.first > upper {
            break;
        }
        if life.first < upper || ranges.is_empty() {
            ranges.push((life.first..upper, at));
        }
    }
    ranges
}

/// How far a room is stored.
fn span(lives: &[Life], cutoff: RetentionCutoff) -> Option<Span> {
    let seen = seen(lives);
    let (range, newest) = seen.first()?;
    let next = range.end;
    let mut oldest = next;
    for (range, life) in &seen {
        let least = life.records.range(range.clone()).next().map(|(sequence, _)| *sequence);
        match least {
            Some(least) => oldest = least,
            None if range.is_empty() => {}
            None => break,
        }
        if oldest > range.start {
            break;
        }
    }
    oldest = oldest.max(next.saturating_sub(cutoff.messages_max.unwrap_or(u64::MAX)));
    let is_young = |sequence: &u64| {
        let record =
            seen.iter().find_map(|(range, life)| life.records.get(sequence).filter(|_| range.contains(sequence)));
        record.is_some_and(|record| record.time >= cutoff.before_time)
    };
    oldest = (oldest..next).find(is_young).unwrap_or(next);
    Some(Span { epoch: newest.epoch, oldest, next, is_whole: newest.is_whole, durability: newest.durability })
}

impl Store for LogStore {
    fn begin(&self) -> Result<(), StoreError> {
        let mut is_running = false;
        let mut rooms = self.rooms();
        for entry in self.disk.entries().iter().chain([&Entry::Begin]) {
            match entry {
                // A run that has not ended may have said more in any room than it has stored.
                Entry::Begin if is_running => {
                    for life in rooms.values_mut().filter_map(|lives| lives.last_mut()) {
                        life.is_whole = life.durability == Durability::Stored;
                    }
                }
                Entry::Begin => is_running = true,
                Entry::End => is_running = false,
                entry => apply_to(&mut rooms, entry),
            }
        }
        self.disk.write(Entry::Begin, true, || {})
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let _turn = self.turn();
        let entry = Entry::Batch(batch.incarnations().to_vec(), self.news(batch)?);
        self.write(entry, is_stored(batch.durability()))
    }

    fn finish(&self) -> Result<(), StoreError> {
        let _turn = self.turn();
        self.write(Entry::End, true)
    }

    fn span(&self, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>, StoreError> {
        self.disk.read()?;
        Ok(self.rooms().get(room).and_then(|lives| span(lives, cutoff)))
    }

    fn read(&self, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError> {
        self.disk.read()?;
        let mut found = Vec::new();
        {
            let rooms = self.rooms();
            let lives = rooms.get(room).map_or(&[][..], |lives| lives);
            for (seen, life) in seen(lives).iter().rev() {
                let (start, end) = (seen.start.max(range.start), seen.end.min(range.end));
                found.extend(life.records.range(start..end.max(start)).map(|(_, record)| record.clone()));
            }
        }
        if page.newest_first {
            found.reverse();
        }
        let mut bytes = 0;
        let fits = |record: &Record| {
            let before = bytes;
            bytes += record.body.as_ref().map_or(0, Vec::len);
            before == 0 || bytes <= page.bytes_max
        };
        self.disk.wait();
        Ok(found.into_iter().take(page.limit).take_while(fits).collect())
    }

    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError> {
        self.disk.read()?;
        let rooms = self.rooms();
        let later = rooms.iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        let entry = |(name, lives): (&String, &Vec<Life>)| {
            Some(RoomEntry { name: name.clone(), span: span(lives, RetentionCutoff::default())? })
        };
        Ok(later.filter_map(entry).take(limit).collect())
    }

    fn remove(&self, room: &str, before: u64, limit: usize) -> Result<usize, StoreError> {
        let _turn = self.turn();
        let old: Vec<u64> = {
            let rooms = self.rooms();
            let lives = rooms.get(room).map_or(&[][..], |lives| lives);
            let old = lives.iter().flat_map(|life| life.records.range(..before)).map(|(sequence, _)| *sequence);
            old.take(limit).collect()
        };
        let Some(last) = old.iter().max() else { return Ok(0) };
        self.write(Entry::Removed(room.to_owned(), last + 1), true)?;
        Ok(old.len())
    }

    fn erase(&self, author: &str, limit: usize) -> Result<usize, StoreError> {
        let rooms: Vec<String> = self.rooms().keys().cloned().collect();
        let mut erased = 0;
        for room in rooms {
            erased += self.erase_in(&room, Erasure::Author(author), u64::MAX, limit - erased)?.len();
        }
        Ok(erased)
    }

    fn erase_in(&self, room: &str, erasure: Erasure<'_>, before: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let _turn = self.turn();
        let is_meant = |record: &Record| match erasure {
            Erasure::Author(author) => record.author.as_deref() == Some(author),
            Erasure::Sequences(sequences) => sequences.contains(&record.sequence),
        };
        let meant: Vec<u64> = {
            let rooms = self.rooms();
            let lives = rooms.get(room).map_or(&[][..], |lives| lives);
            let seen = seen(lives).into_iter();
            let records = seen.flat_map(|(range, life)| life.records.range(range).map(|(_, record)| record));
            let meant = records.filter(|record| record.sequence < before && record.body.is_some() && is_meant(record));
            meant.take(limit).map(|record| record.sequence).collect()
        };
        if !meant.is_empty() {
            self.write(Entry::Erased(room.to_owned(), meant.clone()), true)?;
        }
        Ok(meant)
    }
}
