//! A room's history, read as one from its store and its ring.

use std::ops::Range;
use std::time::Duration;

use super::archive::Archive;
use super::backend::{Page, Record, RetentionCutoff};
use super::error::StoreError;
use crate::error::TryRecvError;
use crate::message::{Position, Start};
use crate::room::{Room, Subscription};

/// How long reading waits for a message that has left the ring and is not committed yet.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of one page of the store, a single larger message excepted: what a reader makes us hold at once.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// A message of a room's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry<T> {
    /// Its place in the room.
    pub sequence: u64,
    /// When it was published, on the broker's clock; 0 without one.
    pub time: u64,
    /// What it said; `None` when it was erased since, or is not to be read any more.
    pub message: Option<T>,
}

/// Messages of a room's history, in the order asked for.
pub type HistoryPage<T> = Vec<HistoryEntry<T>>;

impl<T: Clone + Send + Sync + 'static> Archive<T> {
    /// The messages of a kept room in `range`, the first `limit` of them, oldest first: from the store where the ring no longer
    /// has them, from the ring where the store does not have them yet. Where some are missing they were removed or have
    /// outlived their retention.
    ///
    /// # Errors
    /// When the store does not answer, or does not take what has left the ring.
    pub fn history(&self, room: &Room<T>, range: Range<u64>, limit: usize) -> Result<HistoryPage<T>, StoreError> {
        let mut found = HistoryPage::new();
        let cutoff = self.cutoff(room.name());
        let range = range.start.max(self.floor(room, cutoff))..range.end.min(room.tail());
        let mut at = range.start;
        while at < range.end && found.len() < limit {
            let left = limit - found.len();
            let from_ring = self.read_ring(room, at..range.end, left, cutoff, &mut found);
            if from_ring > at {
                at = from_ring;
                continue;
            }
            let end = self.stored_end(room, at, range.end)?;
            let page = Page { limit: left, bytes_max: PAGE_BYTES_MAX, newest_first: false };
            let records = self.read_store(room, at..end, page)?;
            // Fewer than there are come where they are large; none where they are gone.
            at = records.last().map_or(end, |last| last.sequence + 1);
            found.extend(records.into_iter().map(|record| self.entry(room, record)));
        }
        Ok(found)
    }

    /// The same from the newest down: the last `limit` messages in `range`.
    ///
    /// # Errors
    /// As [`Archive::history`].
    pub fn history_newest_first(
        &self,
        room: &Room<T>,
        range: Range<u64>,
        limit: usize,
    ) -> Result<HistoryPage<T>, StoreError> {
        let mut found = HistoryPage::new();
        let cutoff = self.cutoff(room.name());
        let first = range.start.max(self.floor(room, cutoff));
        let mut end = range.end.min(room.tail());
        while first < end && found.len() < limit {
            let left = limit - found.len();
            // What is in the ring, at the upper end.
            let start = end.saturating_sub(left as u64).max(first).max(room.oldest());
            if start < end {
                let mut newest = HistoryPage::new();
                if self.read_ring(room, start..end, left, cutoff, &mut newest) == end {
                    found.extend(newest.into_iter().rev());
                    end = start;
                    continue;
                }
            }
            self.stored_end(room, end - 1, end)?;
            let page = Page { limit: left, bytes_max: PAGE_BYTES_MAX, newest_first: true };
            let records = self.read_store(room, first..end, page)?;
            end = records.last().map_or(first, |last| last.sequence);
            found.extend(records.into_iter().map(|record| self.entry(room, record)));
        }
        Ok(found)
    }

    /// Nothing before this one is to be read, whoever still has it.
    fn floor(&self, room: &Room<T>, cutoff: RetentionCutoff) -> u64 {
        let removed = self.watermark(room).map_or(0, |watermark| watermark.floor());
        removed.max(cutoff.messages_max.map_or(0, |most| room.tail().saturating_sub(most)))
    }

    /// Reads on in the ring from the start of `range`, as far as it goes, what `cutoff` lets fall left out; where it stopped.
    fn read_ring(
        &self,
        room: &Room<T>,
        range: Range<u64>,
        limit: usize,
        cutoff: RetentionCutoff,
        found: &mut HistoryPage<T>,
    ) -> u64 {
        let Some(mut ring) = stand_at(room, range.start) else { return range.start };
        let watermark = self.watermark(room);
        let ring_from = watermark.as_ref().map_or(0, |watermark| watermark.ring_from());
        let is_erased = |sequence| watermark.as_ref().is_some_and(|watermark| watermark.erased().contains(sequence));
        let end = range.end.min(range.start.saturating_add(limit as u64));
        let mut at = range.start;
        while at < end {
            match ring.try_recv_batch((end - at) as usize) {
                Ok(batch) => {
                    for (sequence, time, message) in batch.iter() {
                        let time = time.unwrap_or(0);
                        if sequence < ring_from {
                            return at;
                        }
                        if time >= cutoff.before_time {
                            let message = (!is_erased(sequence)).then(|| message.clone());
                            found.push(HistoryEntry { sequence, time, message });
                        }
                        at = sequence + 1;
                    }
                }
                // The last ones are being written at this moment: who is subscribed will get them.
                Err(TryRecvError::Empty) => return range.end,
                Err(_) => return at,
            }
        }
        at
    }

    /// How far the store can be read from `at` on, which must be stored: waits until it is.
    fn stored_end(&self, room: &Room<T>, at: u64, end: u64) -> Result<u64, StoreError> {
        let Some(watermark) = self.watermark(room) else { return Ok(end) };
        let environment = &*self.shared.environment;
        match watermark.is_reached_within(at + 1, COMMIT_TIMEOUT, environment) && watermark.stored() > at {
            true => Ok(watermark.stored().min(end)),
            false => Err(self.trouble("the store does not keep up; try again")),
        }
    }

    fn read_store(&self, room: &Room<T>, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError> {
        let oldest = self.span(room.name())?.map_or(0, |span| span.oldest);
        match oldest.max(range.start)..range.end {
            range if range.is_empty() => Ok(Vec::new()),
            range => self.shared.store.read(room.name(), range, page),
        }
    }

    fn entry(&self, room: &Room<T>, record: Record) -> HistoryEntry<T> {
        let Record { sequence, time, body, .. } = record;
        let decode = |body: Vec<u8>| {
            let decoded = self.shared.codec.decode(&body);
            decoded.inspect_err(|error| tracing::warn!(room = room.name(), sequence, %error, "left out")).ok()
        };
        HistoryEntry { sequence, time, message: body.and_then(decode) }
    }
}

/// A subscription that stands exactly at `sequence`, if the ring has it.
fn stand_at<T>(room: &Room<T>, sequence: u64) -> Option<Subscription<T>> {
    let start = Start::Resume(Position { epoch: room.epoch(), sequence });
    let ring = room.subscribe_from(start).now().ok()?;
    (ring.position().sequence == sequence).then_some(ring)
}
