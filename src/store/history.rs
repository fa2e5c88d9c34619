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

/// How much of a history is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimit {
    messages: usize,
    bytes: usize,
}

impl HistoryLimit {
    /// So many messages.
    #[must_use]
    pub fn messages(messages: usize) -> Self {
        Self { messages, bytes: usize::MAX }
    }

    /// No more messages once these weigh so much, as the broker weighs them ([`Builder::weigh`](crate::Builder::weigh)) or, where it
    /// does not, as they are stored; one message in any case.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }
}

impl From<usize> for HistoryLimit {
    fn from(messages: usize) -> Self {
        Self::messages(messages)
    }
}

/// What is left of a [`HistoryLimit`].
struct Left {
    messages: usize,
    bytes: usize,
}

impl Left {
    fn of(limit: HistoryLimit) -> Self {
        let HistoryLimit { messages, bytes } = limit;
        Self { messages, bytes }
    }

    fn is_none(&self) -> bool {
        self.messages == 0 || self.bytes == 0
    }

    /// Takes a message of so many bytes.
    fn take(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn page(&self, newest_first: bool) -> Page {
        Page { limit: self.messages, bytes_max: self.bytes.min(PAGE_BYTES_MAX), newest_first }
    }
}

/// Messages read from a ring between two looks at the limit of bytes.
const RING_MESSAGES_AT_ONCE: usize = 64;

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
    /// outlived their retention. With a limit of bytes ([`HistoryLimit`]) fewer may come; who wants the rest reads on behind them.
    ///
    /// # Errors
    /// When the store does not answer, or does not take what has left the ring.
    pub fn history(
        &self,
        room: &Room<T>,
        range: Range<u64>,
        limit: impl Into<HistoryLimit>,
    ) -> Result<HistoryPage<T>, StoreError> {
        let (mut found, mut left) = (HistoryPage::new(), Left::of(limit.into()));
        let cutoff = self.cutoff(room.name());
        let range = range.start.max(self.floor(room, cutoff))..range.end.min(room.tail());
        let mut at = range.start;
        while at < range.end && !left.is_none() {
            let from_ring = self.read_ring(room, at..range.end, &mut left, cutoff, &mut found);
            if from_ring > at {
                at = from_ring;
                continue;
            }
            let end = self.stored_end(room, at, range.end)?;
            let records = self.read_store(room, at..end, left.page(false))?;
            // Fewer than there are come where they are large; none where they are gone.
            at = records.last().map_or(end, |last| last.sequence + 1);
            found.extend(records.into_iter().map(|record| self.entry(room, record, &mut left)));
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
        limit: impl Into<HistoryLimit>,
    ) -> Result<HistoryPage<T>, StoreError> {
        let (mut found, mut left) = (HistoryPage::new(), Left::of(limit.into()));
        let cutoff = self.cutoff(room.name());
        let first = range.start.max(self.floor(room, cutoff));
        let mut end = range.end.min(room.tail());
        while first < end && !left.is_none() {
            // What is in the ring, at the upper end.
            let start = end.saturating_sub(left.messages as u64).max(first).max(room.oldest());
            if start < end {
                let mut newest = HistoryPage::new();
                let mut all = Left::of(HistoryLimit::messages(left.messages));
                if self.read_ring(room, start..end, &mut all, cutoff, &mut newest) == end {
                    for entry in newest.into_iter().rev() {
                        if left.is_none() {
                            break;
                        }
                        left.take(self.weigh(entry.message.as_ref()));
                        found.push(entry);
                    }
                    end = start;
                    continue;
                }
            }
            self.stored_end(room, end - 1, end)?;
            let records = self.read_store(room, first..end, left.page(true))?;
            end = records.last().map_or(first, |last| last.sequence);
            found.extend(records.into_iter().map(|record| self.entry(room, record, &mut left)));
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
        left: &mut Left,
        cutoff: RetentionCutoff,
        found: &mut HistoryPage<T>,
    ) -> u64 {
        let Some(mut ring) = stand_at(room, range.start) else { return range.start };
        let watermark = self.watermark(room);
        let ring_from = watermark.as_ref().map_or(0, |watermark| watermark.ring_from());
        // Each time: it may be erased meanwhile.
        let erased = || watermark.as_ref().and_then(|watermark| watermark.erased_if_any());
        let is_erased = |sequence| erased().is_some_and(|erased| erased.contains(sequence));
        let end = range.end.min(range.start.saturating_add(left.messages as u64));
        let mut at = range.start;
        while at < end && !left.is_none() {
            match ring.try_recv_batch(((end - at) as usize).min(RING_MESSAGES_AT_ONCE)) {
                Ok(batch) => {
                    for (sequence, time, message) in batch.iter() {
                        let time = time.unwrap_or(0);
                        if sequence < ring_from || left.is_none() {
                            return at;
                        }
                        if time >= cutoff.before_time {
                            let message = (!is_erased(sequence)).then(|| message.clone());
                            left.take(self.weigh(message.as_ref()));
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

    /// What a message takes of a limit of bytes; nothing where nobody knows.
    fn weigh(&self, message: Option<&T>) -> usize {
        message.map_or(0, |message| self.broker.weigh(message).unwrap_or(0))
    }

    fn entry(&self, room: &Room<T>, record: Record, left: &mut Left) -> HistoryEntry<T> {
        let Record { sequence, time, body, .. } = record;
        let stored_bytes = body.as_ref().map_or(0, Vec::len);
        let decode = |body: Vec<u8>| {
            let decoded = self.shared.codec.decode(&body);
            decoded.inspect_err(|error| tracing::warn!(room = room.name(), sequence, %error, "left out")).ok()
        };
        let message = body.and_then(decode);
        left.take(self.weigh(message.as_ref()).max(stored_bytes));
        HistoryEntry { sequence, time, message }
    }
}

/// A subscription that stands exactly at `sequence`, if the ring has it.
fn stand_at<T>(room: &Room<T>, sequence: u64) -> Option<Subscription<T>> {
    let start = Start::Resume(Position { epoch: room.epoch(), sequence });
    let ring = room.subscribe_from(start).now().ok()?;
    (ring.position().sequence == sequence).then_some(ring)
}
