//! What a room retains and refuses, by the documented rules, as plain counters.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use roomcast::{CloseReason, PublishError, Resumption};

/// A message: a number to know it by, and what it weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) number: u64,
    pub(super) bytes: u64,
}

/// Where a modelled subscription is to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    Latest,
    Oldest,
    Last(u64),
    /// In this life of the room, or in another one.
    At(u64, bool),
}

/// A room as anybody would write it down: everything ever published, and which part of it is retained.
///
/// Eviction goes by whole segments. A ring that retains `capacity` messages has segments of a power of two slots, at most
/// 64 and at most a quarter of the capacity, and one segment more than the capacity fills.
pub(super) struct Model {
    /// The sequence of the first message.
    start: u64,
    slots: u64,
    segments: u64,
    bytes_max: Option<u64>,
    /// Every message with its publish time.
    all: Vec<(Parcel, u64)>,
    /// The newest segment that was begun; they count from 1.
    newest: u64,
    /// The newest segment that went early, to stay within the bytes, and with it all before.
    gone: u64,
    /// How far each blocking subscriber has said that it has read.
    pub(super) gates: BTreeMap<u64, u64>,
    pub(super) ended: Option<CloseReason>,
}

impl Model {
    pub(super) fn new(start: u64, capacity: u64, bytes_max: Option<u64>) -> Self {
        let quarter = (capacity / 4).max(1);
        let slots = (0..=6).map(|log2| 1 << log2).rfind(|slots| *slots <= quarter).unwrap_or(1);
        let (all, gates) = (Vec::new(), BTreeMap::new());
        let segments = capacity.div_ceil(slots) + 1;
        Self { start, slots, segments, bytes_max, all, newest: 0, gone: 0, gates, ended: None }
    }

    pub(super) fn tail(&self) -> u64 {
        self.start + self.published()
    }

    /// How many messages were published in this life.
    pub(super) fn published(&self) -> u64 {
        self.all.len() as u64
    }

    pub(super) fn at(&self, sequence: u64) -> (Parcel, u64) {
        self.all[(sequence - self.start) as usize]
    }

    /// The segment that holds `sequence`.
    pub(super) fn segment(&self, sequence: u64) -> u64 {
        sequence.saturating_sub(self.start) / self.slots + 1
    }

    /// The first sequence of a segment.
    pub(super) fn first(&self, segment: u64) -> u64 {
        self.start + (segment - 1) * self.slots
    }

    /// The end of what is published of a segment.
    pub(super) fn end(&self, segment: u64) -> u64 {
        self.tail().min(self.start + segment * self.slots)
    }

    fn oldest_by_count(&self, newest: u64) -> u64 {
        (newest + 1).saturating_sub(self.segments).max(1)
    }

    pub(super) fn is_begun(&self, segment: u64) -> bool {
        segment <= self.newest
    }

    /// The first segment from `segment` on that is not evicted, though perhaps not begun.
    pub(super) fn not_evicted_from(&self, segment: u64) -> u64 {
        segment.max(self.oldest_by_count(self.newest)).max(self.gone + 1)
    }

    pub(super) fn oldest(&self) -> u64 {
        self.first(self.not_evicted_from(1)).min(self.tail())
    }

    /// The bytes of everything that can be read.
    pub(super) fn bytes_retained(&self) -> u64 {
        (self.oldest()..self.tail()).map(|sequence| self.at(sequence).0.bytes).sum()
    }

    /// The most that one message may weigh.
    fn bytes_of_one_max(&self) -> u64 {
        self.bytes_max.map_or(u64::MAX, |bytes_max| bytes_max / 4 / self.slots)
    }

    /// The segments to go before one more is begun, so that the full ones up to `full` hold three quarters at most.
    fn excess(&self, full: u64) -> Range<u64> {
        let Some(bytes_max) = self.bytes_max else { return 0..0 };
        let oldest = self.oldest_by_count(full + 1).max(self.gone + 1);
        let mut held = 0;
        for segment in (oldest..=full).rev() {
            held += (self.first(segment)..self.end(segment)).map(|sequence| self.at(sequence).0.bytes).sum::<u64>();
            if held > bytes_max / 4 * 3 {
                return oldest..segment + 1;
            }
        }
        0..0
    }

    fn may_evict(&self, segment: u64) -> bool {
        self.gates.values().all(|read| *read >= self.first(segment + 1))
    }

    /// Begins the next segment; false where a blocking subscriber does not let the oldest go.
    fn rotate(&mut self) -> bool {
        let evicted = (self.newest + 1).saturating_sub(self.segments);
        if evicted > self.gone && !self.may_evict(evicted) {
            return false;
        }
        let excess = self.excess(self.newest);
        if !excess.is_empty() {
            self.gone = self.gone.max(evicted);
        }
        for segment in excess {
            if !self.may_evict(segment) {
                return false;
            }
            self.gone = segment;
        }
        self.newest += 1;
        true
    }

    fn is_segment_full(&self) -> bool {
        self.published() == self.newest * self.slots
    }

    fn append(&mut self, parcel: Parcel, now: u64) {
        let floor = self.all.last().map_or(0, |(_, time)| *time);
        self.all.push((parcel, now.max(floor)));
    }

    /// Publishing into a shared room.
    pub(super) fn publish(&mut self, parcel: Parcel, now: u64) -> Result<u64, PublishError<Parcel>> {
        if parcel.bytes > self.bytes_of_one_max() {
            return Err(PublishError::TooLarge(parcel));
        }
        if self.ended.is_some() {
            return Err(PublishError::Closed(parcel));
        }
        if self.is_segment_full() && !self.rotate() {
            return Err(PublishError::Full(parcel));
        }
        self.append(parcel, now);
        Ok(self.tail() - 1)
    }

    /// Publishing a batch into an exclusive room.
    pub(super) fn publish_all(
        &mut self,
        parcels: Vec<Parcel>,
        now: u64,
    ) -> Result<Range<u64>, PublishError<Vec<Parcel>>> {
        let first = self.tail();
        let mut rest = VecDeque::from(parcels);
        while let Some(&parcel) = rest.front() {
            let begins = self.published().is_multiple_of(self.slots);
            if begins && self.ended.is_some() {
                return Err(PublishError::Closed(rest.into()));
            }
            if begins && self.is_segment_full() && !self.rotate() {
                return Err(PublishError::Full(rest.into()));
            }
            if parcel.bytes > self.bytes_of_one_max() {
                return Err(PublishError::TooLarge(rest.into()));
            }
            if self.ended.is_some() {
                return Err(PublishError::Closed(rest.into()));
            }
            self.append(parcel, now);
            rest.pop_front();
        }
        Ok(first..self.tail())
    }

    /// Where a subscription begins, and what it is told.
    pub(super) fn begin(&self, begin: Begin, blocks: bool) -> (u64, Resumption) {
        let (tail, oldest) = (self.tail(), self.oldest());
        let (next, told) = match begin {
            Begin::Latest => (tail, Resumption::Fresh),
            Begin::Oldest => (oldest, Resumption::Fresh),
            Begin::Last(count) => (oldest.max(tail.saturating_sub(count)), Resumption::Fresh),
            Begin::At(sequence, true) if sequence < oldest => (oldest, Resumption::Gap(oldest - sequence)),
            Begin::At(sequence, true) if sequence <= tail => (sequence, Resumption::Resumed),
            Begin::At(..) => (tail, Resumption::Unknown),
        };
        // Who must not lag does not begin with what the next segment pushes out.
        let skipped = if blocks { self.kept().saturating_sub(next) } else { 0 };
        let told = match told {
            Resumption::Gap(missed) => Resumption::Gap(missed + skipped),
            Resumption::Resumed if skipped > 0 => Resumption::Gap(skipped),
            told => told,
        };
        (next + skipped, told)
    }

    /// The oldest sequence that the beginning of the segment after the newest does not push out.
    fn kept(&self) -> u64 {
        let by_count = self.oldest_by_count(self.segment(self.tail().saturating_sub(1)) + 1);
        let by_bytes = self.excess(self.segment(self.tail()) - 1).end;
        self.first(by_count.max(by_bytes)).min(self.tail())
    }
}
