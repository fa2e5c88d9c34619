//! What a ring allocates with its first message: the directory, the table of segments and the limbo.

use std::cell::Cell;

use super::Bell;
use super::geometry::Geometry;
use super::limbo::Limbo;
use super::segment::{Phase, Segment};
use super::table::Table;
use super::words::DirectoryWord;
use crate::sync::{AcqRel, Acquire, AtomicBool, AtomicU64, Look, Relaxed, Release, thread_local};

thread_local! {
    /// Whether this thread is dropping messages: a `Drop` that publishes must not start to drop in turn, without end.
    static DROPPING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
pub(crate) struct Directory<T> {
    shape: Geometry,
    exclusive: bool,
    timed: bool,
    /// Generation `g` stands at `g % segments`. Written by installers only.
    words: Box<[AtomicU64]>,
    table: Table<T>,
    limbo: Limbo,
    /// Whether somebody replaces messages.
    rewriting: AtomicBool,
}

/// Nobody else replaces messages while this is there.
pub(super) struct Alone<'a>(&'a AtomicBool);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Release: the next one finds what we have left. Pairs with the exchange in `rewrite_alone`. model: rewrite_rewrite
        self.0.store(false, Release);
    }
}

/// The place of a generation in the directory.
#[derive(Clone, Copy)]
pub(super) struct Place<'a>(&'a AtomicU64);

impl Place<'_> {
    #[inline(always)]
    pub(super) fn word(self) -> DirectoryWord {
        // Acquire: the segment it names is begun. Pairs with the exchange in `replace`. model: rotate_lease
        DirectoryWord(self.0.load(Acquire))
    }
}

impl<T> Directory<T> {
    pub(crate) fn new(shape: Geometry, exclusive: bool, timed: bool) -> Self {
        Self {
            shape,
            exclusive,
            timed,
            words: (0..shape.segments()).map(|_| AtomicU64::new(0)).collect(),
            table: Table::new(),
            limbo: Limbo::new(),
            rewriting: AtomicBool::new(false),
        }
    }

    /// The word where `generation` stands, or will stand, or stood.
    #[inline(always)]
    pub(crate) fn word(&self, generation: u64) -> DirectoryWord {
        self.place(generation).word()
    }

    /// Where `generation` stands, for whoever looks there twice.
    #[inline(always)]
    pub(super) fn place(&self, generation: u64) -> Place<'_> {
        Place(&self.words[self.shape.position(generation)])
    }

    /// The same word, for an installer that is going to replace it.
    pub(crate) fn word_to_replace(&self, generation: u64) -> DirectoryWord {
        // Acquire: as in `word`.
        DirectoryWord(self.words[self.shape.position(generation)].look(Acquire))
    }

    /// Takes a lease on the segment that `word`, found at `place`, names; nothing if it is not found there any more.
    ///
    /// 1. We count ourselves before a reclaimer looks at the counter: it sees us and leaves the segment alone.
    /// 2. We count ourselves after it looked: it had seen the segment evicted, and the counter's own order makes the exchange
    ///    that took it out of the directory visible to us. We find another word, which never becomes the old one again, and
    ///    step back without touching a slot.
    ///
    /// The generation in the header would not do: an installer that slept begins a segment for an old generation once more
    /// before it loses. model: rotate_lease, begin_again, time_floor_again
    #[inline(always)]
    pub(super) fn lease(&self, place: Place<'_>, word: DirectoryWord) -> Option<&Segment<T>> {
        let segment = self.segment(word.index());
        segment.count_lease();
        if place.word() == word {
            return Some(segment);
        }
        segment.end_lease();
        None
    }

    /// Replaces `old` where `generation` stands; false if somebody was faster.
    pub(crate) fn replace(&self, generation: u64, old: DirectoryWord, new: DirectoryWord) -> bool {
        // AcqRel: publishes `Segment::begin` and everything the installer saw. Pairs with the load in `word`. Never an
        // unconditional swap: a publisher that slept here would put an old generation over a newer one.
        // model: lapped_install
        self.words[self.shape.position(generation)].compare_exchange(old.0, new.0, AcqRel, Acquire).is_ok()
    }

    /// The bytes in the segments that are named.
    pub(crate) fn bytes(&self) -> u64 {
        // Acquire: as in `word`.
        let words = self.words.iter().map(|word| DirectoryWord(word.load(Acquire)));
        words.filter(|word| word.is_retained()).map(|word| self.segment(word.index()).bytes()).sum()
    }

    /// The bytes in the segments whose messages are not dropped yet.
    pub(crate) fn bytes_held(&self) -> u64 {
        let segments = (0..self.table.len()).filter_map(|index| self.table.get(index as u16));
        segments.filter(|segment| segment.phase() != Phase::Owned).map(Segment::bytes).sum()
    }

    #[inline(always)]
    pub(crate) fn segment(&self, index: u16) -> &Segment<T> {
        self.table.segment(index)
    }

    /// A segment that nobody uses: a free one, a reclaimed one, or a new one. `None` when the table is full.
    pub(crate) fn take(&self, bell: &impl Bell) -> Option<u16> {
        let limbo = &self.limbo;
        let take_next = || limbo.take_next(&self.table, self.exclusive);
        let take_unused = || limbo.take_unused(&self.table, self.exclusive);
        let pop_free = || limbo.pop_free(&self.table);
        let index = if std::mem::needs_drop::<T>() {
            // What a shard has found pinned it does not look for again before more is evicted.
            let mut index = self.reclaim(bell, take_next).or_else(pop_free);
            // No shard gets to dropping them: two at a time, so that they become fewer.
            for _ in 0..2 {
                if limbo.is_crowded()
                    && let Some(another) = self.reclaim(bell, take_unused)
                    && let Some(spare) = index.replace(another)
                {
                    self.give_back(spare);
                }
            }
            index
        } else {
            // One by the hand each time: what is pinned now is unused one day, and nothing else would lead there.
            self.reclaim(bell, take_next).or_else(pop_free).or_else(|| self.reclaim(bell, take_unused))
        };
        // Once more, since who was interrupted between the looks may have missed what a shard has emptied meanwhile.
        if let Some(index) = index.or_else(pop_free) {
            return Some(index);
        }
        self.table.append(Box::new(Segment::new(self.shape.slots() as usize, self.timed))).ok()
    }

    /// Gives back a segment that [`Directory::take`] returned and nobody has seen.
    pub(crate) fn give_back(&self, index: u16) {
        self.limbo.push_free(&self.table, index);
    }

    /// Lets a segment that was taken out of the directory go to limbo.
    pub(crate) fn retire(&self, index: u16, bell: &impl Bell) {
        let before = self.limbo.retire(&self.table, index);
        if std::mem::needs_drop::<T>() {
            bell.retired();
        } else if let Some(index) = self.reclaim(bell, || self.limbo.take(&self.table, before, self.exclusive)) {
            // Two evicted at once, and nobody has needed the first one yet.
            self.give_back(index);
        }
    }

    /// Drops the messages of at most `segments` evicted segments; whether there may be more to do.
    pub(crate) fn sweep(&self, segments: usize, bell: &impl Bell) -> bool {
        let found = (0..segments).filter(|_| {
            let index = self.reclaim(bell, || self.limbo.take_unused_of_many(&self.table, self.exclusive));
            index.inspect(|index| self.limbo.push_free(&self.table, *index)).is_some()
        });
        // As long as it finds something: what was pinned a while ago is counted nowhere.
        found.count() > 0 || self.limbo.has_waiting(0)
    }

    /// Empties the segment that `take` finds.
    fn reclaim(&self, bell: &impl Bell, take: impl FnOnce() -> Option<u16>) -> Option<u16> {
        if std::mem::needs_drop::<T>() && DROPPING.with(|dropping| dropping.replace(true)) {
            return None;
        }
        let index = take();
        let panicked = index.is_some_and(|index| {
            // An exclusive segment is retired when its publisher has moved on, hence full as well.
            // SAFETY: `Segment::reclaim` has seen it evicted, then unleased and then full, and made it ours alone. All
            // its slots are committed, so all hold values.
            unsafe { self.segment(index).clear(self.shape.slots() as usize) }
        });
        if std::mem::needs_drop::<T>() {
            DROPPING.with(|dropping| dropping.set(false));
        }
        if panicked {
            bell.drop_panicked();
        }
        index
    }

    /// Lets the caller alone replace messages, unless somebody does, or this thread drops some, of whom the caller may be one.
    pub(super) fn rewrite_alone(&self) -> Option<Alone<'_>> {
        let is_dropping = std::mem::needs_drop::<T>() && DROPPING.with(Cell::get);
        // Acquire: pairs with the Release in `drop`. Relaxed on failure: nothing is done then. Who is refused writes nothing, so that the
        // place is given back by whoever has it alone. model: rewrite_rewrite
        let taken = || self.rewriting.compare_exchange(false, true, Acquire, Relaxed);
        if is_dropping || taken().is_err() {
            return None;
        }
        // Not before it is ours: when it is dropped others may.
        Some(Alone(&self.rewriting))
    }

    /// Empties a segment with `count` messages that [`Directory::take`] returned and nobody has seen.
    pub(super) fn discard(&self, index: u16, count: usize, bell: &impl Bell) {
        self.empty(index, count, bell);
    }

    /// A copy with its first `count` messages has taken the place of a segment ([`Segment::leave`]). By one thread at a time.
    pub(super) fn leave(&self, index: u16, count: usize, is_ours: bool) {
        self.segment(index).leave(count, is_ours);
        self.limbo.push_left(&self.table, index);
    }

    /// Empties those that copies have taken the place of and nobody reads any more; whether that is all of them. By one thread at
    /// a time.
    pub(super) fn empty_left(&self, bell: &impl Bell) -> bool {
        while let Some((index, count)) = self.limbo.take_left(&self.table) {
            self.empty(index, count, bell);
        }
        !self.limbo.has_left()
    }

    /// Drops the `count` messages of a segment that is the caller's alone, as [`Segment::clear`] has it, and gives it back.
    fn empty(&self, index: u16, count: usize, bell: &impl Bell) {
        let before = std::mem::needs_drop::<T>() && DROPPING.with(|dropping| dropping.replace(true));
        // SAFETY: one that `take` gave us and no word has named; or one that was left: `Segment::reclaim_left` has seen it out of
        // the directory and then unleased, and made it ours alone; what was claimed in it was committed before it was copied, and
        // counted.
        let panicked = unsafe { self.segment(index).clear(count) };
        if std::mem::needs_drop::<T>() {
            DROPPING.with(|dropping| dropping.set(before));
        }
        if panicked {
            bell.drop_panicked();
        }
        self.give_back(index);
    }

    /// (segments in all, evicted and waiting, pinned by a reader or a late publisher)
    pub(crate) fn census(&self) -> (usize, usize, usize) {
        let (waiting, pinned) = Limbo::census(&self.table);
        (self.table.len() as usize, waiting, pinned)
    }
}

impl<T> Drop for Directory<T> {
    fn drop(&mut self) {
        let (shape, exclusive) = (self.shape, self.exclusive);
        self.table.drain(|mut segment| segment.drop_held(shape.first(segment.generation()), exclusive));
    }
}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_lets_nobody_else_replace_messages() {
        let directory = Directory::<u8>::new(Geometry::new(4, 2), false, false);
        let alone = directory.rewrite_alone();
        assert!(alone.is_some());
        assert!([(); 2].iter().all(|()| directory.rewrite_alone().is_none()));
        drop(alone);
        assert!(directory.rewrite_alone().is_some());
    }
}
