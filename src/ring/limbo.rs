//! Where evicted segments wait until nobody uses them any more: in the table itself, by a mark in their header.
//!
//! There is no list of them. Whoever needs a segment takes an empty one off a stack, or looks at the one evicted last, which
//! is nearly always unused, and at a few more by a hand that goes round the table. A segment that a slow reader pins is
//! passed by until the hand finds it unused. Nothing is allocated but a segment where nothing is found, nobody waits for
//! anybody, and each rotation looks at a bounded number. (Queues of what waits allocated on the way, and a thread that stopped
//! inside one held up the others; a stack hides what lies below a pinned segment.)

use super::segment::Phase;
use super::table::Table;
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed};

/// Segments that one rotation looks at by the hand before and after the stack and the one evicted last, so that it costs
/// the same however many are pinned. A model has a handful of segments in all.
const LOOKS_FIRST: u32 = if cfg!(roomcast_loom) { 0 } else { 1 };
const LOOKS: u32 = if cfg!(roomcast_loom) { 1 } else { 4 };

/// Segments that one sweep of a shard looks at.
const SWEEP_LOOKS: u32 = 256;

/// Evicted segments that may wait for a shard to drop their messages; beyond it the publisher that rotates drops those of
/// two itself, so that memory stays bounded when no shard gets to it.
const WAITING_MAX: u32 = 4;

/// The marks in the headers say where each segment is; these words say where to look first.
#[derive(Debug)]
pub(crate) struct Limbo {
    /// The segment evicted last, unless it was looked at since; plus one, 0 = none.
    latest: AtomicU32,
    /// Where in the table the next look falls.
    hand: AtomicU32,
    /// Evicted segments that nobody has looked at yet.
    waiting: AtomicU32,
    /// Those that copies have taken the place of and that somebody may still read, through their headers: index plus one, 0 = none.
    /// Touched by one rewriter at a time.
    left: AtomicU32,
    /// The empty ones, as a stack through their headers: `{ turn 32 | index plus one 32 }`, 0 = none. The turn changes
    /// with every exchange, so that a top that was popped and pushed again is not taken for the old one.
    free: AtomicU64,
}

impl Limbo {
    pub(crate) fn new() -> Self {
        let [latest, hand, waiting, left] = std::array::from_fn(|_| AtomicU32::new(0));
        Self { latest, hand, waiting, left, free: AtomicU64::new(0) }
    }

    /// Takes in a segment that has left the directory. Returns the one evicted before, if nobody has looked at it yet: it is
    /// left to the caller, or else to the hand.
    pub(crate) fn retire<T>(&self, table: &Table<T>, index: u16) -> Option<u16> {
        if std::mem::needs_drop::<T>() {
            // Relaxed: a count that decides who drops; first, so that whoever takes the segment at once counts it out.
            self.waiting.fetch_add(1, Relaxed);
        }
        table.segment(index).evict();
        // AcqRel: who takes the index finds its segment in the table.
        let before = self.latest.swap(u32::from(index) + 1, AcqRel);
        Some(before.checked_sub(1)? as u16)
    }

    /// Whether a publisher is to drop messages itself.
    pub(crate) fn is_crowded(&self) -> bool {
        self.has_waiting(WAITING_MAX)
    }

    /// Whether more than so many evicted segments were not looked at yet.
    pub(crate) fn has_waiting(&self, more_than: u32) -> bool {
        // Relaxed: a count that decides who drops.
        self.waiting.load(Relaxed) > more_than
    }

    /// Takes the segment at the hand, full of messages, for the caller alone, if it is evicted and nobody uses it. Where
    /// messages are to be dropped, only if it was pinned: the others are left to the shards.
    pub(crate) fn take_next<T>(&self, table: &Table<T>, exclusive: bool) -> Option<u16> {
        self.take_by_hand(table, LOOKS_FIRST, exclusive, std::mem::needs_drop::<T>())
    }

    /// Takes any such segment, looking at a bounded number.
    pub(crate) fn take_unused<T>(&self, table: &Table<T>, exclusive: bool) -> Option<u16> {
        let latest = || self.take_latest(table, exclusive);
        let by_hand = || self.take_by_hand(table, LOOKS, exclusive, false);
        // The latest is the likeliest; but where messages are to be dropped, each segment is to have its turn.
        if std::mem::needs_drop::<T>() { by_hand().or_else(latest) } else { latest().or_else(by_hand) }
    }

    /// The same for a shard, which may look longer. The hand first: while publishers are fast, there is always a latest one.
    pub(crate) fn take_unused_of_many<T>(&self, table: &Table<T>, exclusive: bool) -> Option<u16> {
        let looks = SWEEP_LOOKS.min(table.len());
        self.take_by_hand(table, looks, exclusive, false).or_else(|| self.take_latest(table, exclusive))
    }

    fn take_latest<T>(&self, table: &Table<T>, exclusive: bool) -> Option<u16> {
        // AcqRel: as in `retire`.
        let latest = self.latest.swap(0, AcqRel).checked_sub(1).map(|index| index as u16);
        self.take(table, latest, exclusive)
    }

    /// Takes this very segment, if it is evicted and nobody uses it.
    pub(crate) fn take<T>(&self, table: &Table<T>, index: Option<u16>, exclusive: bool) -> Option<u16> {
        index.filter(|&index| table.segment(index).reclaim(&self.waiting, exclusive))
    }

    fn take_by_hand<T>(&self, table: &Table<T>, looks: u32, exclusive: bool, pinned_only: bool) -> Option<u16> {
        (0..looks).find_map(|_| {
            // Relaxed: any place in the table will do.
            let index = (self.hand.fetch_add(1, Relaxed) % table.len().max(1)) as u16;
            let segment = table.get(index).filter(|segment| !pinned_only || segment.phase() == Phase::Pinned)?;
            segment.reclaim(&self.waiting, exclusive).then_some(index)
        })
    }

    /// Puts an empty segment that is the caller's alone on the stack.
    pub(crate) fn push_free<T>(&self, table: &Table<T>, index: u16) {
        let segment = table.segment(index);
        // Relaxed: only a place to start from.
        let mut top = self.free.load(Relaxed);
        loop {
            segment.set_next_free(top as u32);
            // AcqRel: publishes the link and what the segment was emptied of. Pairs with the load in `pop_free`.
            match self.free.compare_exchange(top, with_top(top, u32::from(index) + 1), AcqRel, Relaxed) {
                Ok(_) => return,
                Err(seen) => top = seen,
            }
        }
    }

    /// Takes an empty segment off the stack.
    pub(crate) fn pop_free<T>(&self, table: &Table<T>) -> Option<u16> {
        // Acquire: the link of the top. Pairs with the exchange in `push_free`.
        let mut top = self.free.load(Acquire);
        loop {
            let index = (top as u32).checked_sub(1)? as u16;
            // The link of a segment that was popped meanwhile is that of another turn, and the exchange fails.
            let next = table.segment(index).next_free();
            // AcqRel: the segment is ours, as whoever emptied it left it.
            match self.free.compare_exchange(top, with_top(top, next), AcqRel, Acquire) {
                Ok(_) => return Some(index),
                Err(seen) => top = seen,
            }
        }
    }

    /// Lists a segment that a copy has taken the place of. By one thread at a time.
    pub(crate) fn push_left<T>(&self, table: &Table<T>, index: u16) {
        // Relaxed, here and below: rewriters come one after the other.
        table.segment(index).set_next_free(self.left.load(Relaxed));
        self.left.store(u32::from(index) + 1, Relaxed);
    }

    /// Takes those that nobody reads any more, for the caller alone, with how many messages are in each. By one thread at a time.
    pub(crate) fn take_left<T>(&self, table: &Table<T>) -> Option<(u16, usize)> {
        // Relaxed: rewriters come one after the other, as in `push_left`.
        let mut listed = self.left.load(Relaxed);
        let mut before = None;
        while let Some(index) = listed.checked_sub(1) {
            let segment = table.segment(index as u16);
            let next = segment.next_free();
            if let Some(count) = segment.reclaim_left(&self.waiting) {
                match before {
                    // Relaxed: as above.
                    None => self.left.store(next, Relaxed),
                    Some(before) => table.segment(before).set_next_free(next),
                }
                return Some((index as u16, count));
            }
            (before, listed) = (Some(index as u16), next);
        }
        None
    }

    /// Whether any are left.
    pub(crate) fn has_left(&self) -> bool {
        // Relaxed: rewriters come one after the other, as in `push_left`.
        self.left.load(Relaxed) > 0
    }

    /// (evicted and not looked at, evicted and in use when last looked at)
    pub(crate) fn census<T>(table: &Table<T>) -> (usize, usize) {
        let phases = (0..table.len()).filter_map(|index| Some(table.get(index as u16)?.phase()));
        phases.fold((0, 0), |(waiting, pinned), phase| match phase {
            Phase::Evicted => (waiting + 1, pinned),
            Phase::Pinned => (waiting, pinned + 1),
            Phase::Live | Phase::Owned => (waiting, pinned),
        })
    }
}

/// The word that follows `before`, with another top.
fn with_top(before: u64, top: u32) -> u64 {
    (before >> 32).wrapping_add(1) << 32 | u64::from(top)
}
