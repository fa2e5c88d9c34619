//! Publishing into a shared ring: claim, write, commit; and the end of a ring.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::ptr;

use super::Bell;
use super::budget::Budget;
use super::directory::Directory;
use super::geometry::Geometry;
use super::segment::Segment;
use super::words::ClaimWord;
use crate::sync::{
    AcqRel, Acquire, AtomicBool, AtomicPtr, AtomicU64, Lazy, Look, Release, SeqCst, Stage, failpoint, fence, update,
};

/// The segment index of a claim word that nobody has claimed from yet.
pub(super) const INDEX_NONE: u16 = u16::MAX;

/// How often the ring notes its generation, in generations: seldom enough that the note stays in every core's cache, and
/// often enough beside the 2^33 of a claim word. In a model, each time.
pub(super) const ERA: u64 = if cfg!(roomcast_loom) { 1 } else { 1 << 20 };

/// Why a ring did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Closed,
    /// A gate is shut; it says when it moves.
    Full,
    /// Every segment that the ring may have is in use. Nobody says when one is not any more.
    Pinned,
    TooLarge,
}

/// The messages of one room, from the oldest retained to the newest.
///
/// In this order: a reader that waits polls the words before `era`, a publisher writes the last one with each message, and
/// what is seldom touched lies between them, so that they are not in one cache line.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Ring<T> {
    /// Set after the claim word is closed. Readers poll this and never the claim word, whose cache line belongs to the
    /// publishers.
    pub(super) closed_hint: AtomicBool,
    pub(super) exclusive: bool,
    pub(super) shape: Geometry,
    /// Exclusive rooms: whether the writer was made.
    pub(super) has_writer: AtomicBool,
    pub(super) timed: bool,
    pub(super) directory: Lazy<Directory<T>>,
    /// Shared rooms: a generation that the claim word has come to, not 2^33 ago.
    pub(super) era: AtomicU64,
    pub(super) budget: Option<std::sync::Arc<Budget<T>>>,
    /// Whether it is shared, keeps no times and has no budget: nothing is to be decided between claim and commit.
    pub(super) fast: bool,
    /// Nothing: it keeps the distance.
    pub(super) apart: [u64; 2],
    /// The segment installed last, or an older one or none: it saves the way through the table, and is compared.
    pub(super) newest: AtomicPtr<Segment<T>>,
    /// Shared rooms: a [`ClaimWord`]. Exclusive rooms: see [`super::exclusive`].
    pub(super) claim: AtomicU64,
}

impl<T> Ring<T> {
    /// Where the words end that waiting readers poll, and where the one begins that publishers write: for the room around
    /// it, which knows where the ring begins.
    pub(crate) const POLLED_END: usize = offset_of!(Self, era);
    pub(crate) const CLAIMED: usize = offset_of!(Self, claim);

    /// An empty ring; nothing is allocated before the first message.
    pub(crate) fn new(shape: Geometry, timed: bool, budget: Option<std::sync::Arc<Budget<T>>>) -> Self {
        Self {
            claim: AtomicU64::new(ClaimWord::new(0, INDEX_NONE, shape.slots()).0),
            newest: AtomicPtr::new(ptr::null_mut()),
            era: AtomicU64::new(0),
            closed_hint: AtomicBool::new(false),
            exclusive: false,
            has_writer: AtomicBool::new(false),
            timed,
            fast: !timed && budget.is_none(),
            shape,
            budget,
            directory: Lazy::new(),
            apart: [0; 2],
        }
    }

    pub(crate) fn shape(&self) -> Geometry {
        self.shape
    }

    /// Whether one [`super::Writer`] publishes here, and nobody else.
    #[inline(always)]
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Whether [`Ring::publish_fast`] will do.
    #[inline(always)]
    pub(crate) fn is_fast(&self) -> bool {
        self.fast
    }

    /// Publishes and returns the sequence, or gives the message back. Lock-free; never waits for a reader.
    #[inline(always)]
    pub(crate) fn publish_fast(&self, message: T, bell: &impl Bell) -> Result<u64, (Refusal, T)> {
        debug_assert!(self.fast, "times or bytes are not kept here");
        self.claim_and_commit(message, 0, bell, |_, _| ())
    }

    /// The same where the ring keeps times, of which `now` is one, or bytes.
    #[inline]
    pub(crate) fn publish(&self, message: T, now: u64, bell: &impl Bell) -> Result<u64, (Refusal, T)> {
        debug_assert!(!self.exclusive, "an exclusive ring is published into by its writer");
        let mut bytes = 0;
        if let Some(budget) = &self.budget {
            match self.weigh(budget, &message, bell) {
                Some(weight) => bytes = weight,
                None => return Err((Refusal::TooLarge, message)),
            }
        }
        self.claim_and_commit(message, now, bell, |segment, slot| {
            if self.timed {
                segment.decide_times(slot, now);
            }
            if bytes > 0 {
                segment.add_bytes(bytes);
            }
        })
    }

    #[inline(always)]
    fn claim_and_commit(
        &self,
        message: T,
        now: u64,
        bell: &impl Bell,
        before_commit: impl Fn(&Segment<T>, usize),
    ) -> Result<u64, (Refusal, T)> {
        match self.claim_one() {
            Some(word) => Ok(self.commit_one(word, message, bell, before_commit)),
            None => self.rotate_and_commit(message, now, bell, before_commit),
        }
    }

    /// The same once the newest segment is full.
    #[cold]
    #[inline(never)]
    fn rotate_and_commit(
        &self,
        message: T,
        now: u64,
        bell: &impl Bell,
        before_commit: impl Fn(&Segment<T>, usize),
    ) -> Result<u64, (Refusal, T)> {
        loop {
            if let Err(refusal) = self.rotate(now, bell) {
                return Err((refusal, message));
            }
            if let Some(word) = self.claim_one() {
                return Ok(self.commit_one(word, message, bell, before_commit));
            }
        }
    }

    /// Claims a slot of the newest segment, unless it is full.
    #[inline(always)]
    fn claim_one(&self) -> Option<ClaimWord> {
        // Acquire: as for the fetch_add. Looking first keeps the count from running away in a full segment: it overshoots
        // by at most one per thread.
        let seen = ClaimWord(self.claim.look(Acquire));
        if seen.count() >= self.shape.slots() {
            return None;
        }
        // AcqRel: the claim. Acquire pairs with the installer's exchange in `advance`, whose segment we are about to write;
        // Release keeps that chain whole for the next one, and lets who reads the tail see what we did before.
        // model: claim_claim, join_publish
        let word = ClaimWord(self.claim.fetch_add(1, AcqRel));
        (word.count() < self.shape.slots()).then_some(word)
    }

    /// Fills the slot that `word` has claimed.
    #[inline(always)]
    fn commit_one(
        &self,
        word: ClaimWord,
        message: T,
        bell: &impl Bell,
        before_commit: impl Fn(&Segment<T>, usize),
    ) -> u64 {
        let (segment, slot) = (self.claimed(word), word.count() as usize);
        let sequence = self.shape.after(segment.generation(), word.count());
        failpoint(Stage::Claimed);
        before_commit(segment, slot);
        // SAFETY: the word gave this slot of this segment to us alone; the segment cannot be reclaimed before all its
        // slots, ours included, are committed.
        unsafe { segment.commit(slot, message) };
        // SeqCst: our commit before our look at who is parked. Pairs with the fence of a parker, between its arming and
        // its second look at the slot. model: publish_park
        fence(SeqCst);
        bell.committed(sequence, 1);
        sequence
    }

    /// The segment that a claim word names.
    #[inline(always)]
    fn claimed(&self, word: ClaimWord) -> &Segment<T> {
        // Acquire: pairs with the swap in `advance`; we are about to read the header.
        let newest = self.newest.look(Acquire);
        // SAFETY: null, or a segment of the table, which is freed with the ring.
        match unsafe { newest.as_ref() } {
            Some(segment) if segment.index() == word.index() => segment,
            _ => self.claimed_slowly(word),
        }
    }

    #[cold]
    #[inline(never)]
    fn claimed_slowly(&self, word: ClaimWord) -> &Segment<T> {
        self.directory().segment(word.index())
    }

    /// Publishes messages from the front of `messages`, of which there is at least one, as far as they fit into the newest
    /// segment, with one claim. Returns the first sequence and how many; on a refusal nothing is taken out of `messages`.
    pub(crate) fn publish_batch(
        &self,
        messages: &mut VecDeque<T>,
        now: u64,
        bell: &impl Bell,
    ) -> Result<(u64, u64), Refusal> {
        debug_assert!(!self.exclusive, "an exclusive ring is published into by its writer");
        let (mut wanted, mut bytes) = (messages.len() as u64, 0);
        if let (Some(budget), Some(message)) = (&self.budget, messages.front()) {
            // One at a time, since what is claimed cannot be given back when the next one turns out too heavy.
            wanted = 1;
            bytes = self.weigh(budget, message, bell).ok_or(Refusal::TooLarge)?;
        }
        let slots = self.shape.slots();
        let share = |count: u64| wanted.min(slots - count);
        loop {
            // AcqRel: as for the fetch_add in `claim_one`; an exchange, so that no more is claimed than there are slots.
            // model: batch_claim
            let claimed = update(&self.claim, AcqRel, Acquire, |word| {
                let count = ClaimWord(word).count();
                (count < slots).then(|| word + share(count))
            });
            let Ok(word) = claimed.map(ClaimWord) else {
                self.rotate(now, bell)?;
                continue;
            };
            let (slot, count) = (word.count() as usize, share(word.count()));
            let segment = self.claimed(word);
            let first = self.shape.after(segment.generation(), word.count());
            failpoint(Stage::Claimed);
            if self.timed {
                segment.decide_times(slot + count as usize - 1, now);
            }
            if bytes > 0 {
                segment.add_bytes(bytes);
            }
            for (slot, message) in (slot..).zip(messages.drain(..count as usize)) {
                // SAFETY: the word gave these slots of this segment to us alone; the segment cannot be reclaimed before
                // all its slots, ours included, are committed.
                unsafe { segment.commit(slot, message) };
            }
            // SeqCst: as in `commit_one`.
            fence(SeqCst);
            bell.committed(first, count);
            return Ok((first, count));
        }
    }

    /// The directory, which exists once anything was claimed.
    #[inline(always)]
    pub(super) fn directory(&self) -> &Directory<T> {
        self.directory.force(|| Directory::new(self.shape, self.exclusive, self.timed))
    }

    /// The sequence the next message will get: the number of messages claimed so far.
    ///
    /// Of what publishers write it reads the claim word and nothing else: whoever comes and goes beside them costs them one
    /// cache miss each time.
    pub(crate) fn tail(&self) -> u64 {
        if self.exclusive {
            return self.exclusive_tail();
        }
        // Acquire: the claim word read below is not older. Pairs with the fetch_max in `advance`. model: join_rotate
        let era = self.era.load(Acquire);
        // An exchange that changes nothing, whatever it finds, and not a load: the line is had in one transfer by whoever
        // wants it next, where a load leaves a copy that the next publisher has to revoke.
        // AcqRel, Acquire: who knows the tail sees what the publisher did before. Pairs with the claims.
        let (Ok(word) | Err(word)) = self.claim.compare_exchange(u64::MAX, u64::MAX, AcqRel, Acquire);
        let word = ClaimWord(word);
        let claimed = if word.is_closed() { word.frozen_count() } else { word.count().min(self.shape.slots()) };
        self.shape.after(word.generation_from(era), claimed)
    }

    /// The full generation of an open claim word; `None` if the word is out of date.
    pub(super) fn generation_of(&self, word: ClaimWord) -> Option<u64> {
        if word.index() == INDEX_NONE {
            return Some(0);
        }
        let generation = self.directory().segment(word.index()).generation();
        word.is_of(generation).then_some(generation)
    }

    /// The oldest sequence a new reader can begin with.
    pub(crate) fn oldest(&self) -> u64 {
        let tail = self.tail();
        let Some(directory) = self.directory.peek() else { return tail };
        let newest = self.shape.generation(tail.saturating_sub(1));
        (self.shape.oldest(newest)..=newest)
            .find(|&generation| directory.word(generation).retains(generation))
            .map_or(tail, |generation| self.shape.first(generation).min(tail))
    }

    /// The oldest sequence that a *block* subscriber can begin with. To be asked after setting its gate and a
    /// `fence(SeqCst)`: a rotation that looked at the gates before may be evicting what lies below, for its segment after
    /// the newest, and so may somebody who trims.
    pub(crate) fn oldest_kept(&self) -> u64 {
        let tail = self.tail();
        let Some(directory) = self.directory.peek() else { return tail };
        let full = self.shape.generation(tail) - 1;
        let by_count = self.shape.oldest(self.shape.generation(tail.saturating_sub(1)) + 1);
        let by_bytes = self
            .budget
            .as_ref()
            .map_or(0, |budget| budget.rotation_excess(directory, self.shape, full).end.max(budget.trimmed()));
        self.shape.first(by_count.max(by_bytes)).min(tail)
    }

    /// Closes the ring for publishing; false if it was closed. What was claimed before will still be committed and read.
    pub(crate) fn close(&self, bell: &impl Bell) -> bool {
        let closed = if self.exclusive { self.close_exclusive() } else { self.close_shared() };
        self.tell_closed(bell);
        closed
    }

    fn tell_closed(&self, bell: &impl Bell) {
        // Release: who sees the hint sees the closed word. Pairs with the load in `is_drained`.
        self.closed_hint.store(true, Release);
        // SeqCst: the closing before our look at who is parked. Pairs with the fence of a parker. model: close_park
        fence(SeqCst);
        bell.disturbed();
    }

    /// Closes a shared ring if nothing was published since its tail was `tail`; false if something was, or if it was
    /// closed.
    pub(crate) fn close_at(&self, tail: u64, bell: &impl Bell) -> bool {
        debug_assert!(!self.exclusive, "an exclusive ring is closed by its writer");
        // AcqRel: as in `close_shared`. model: expire_publish
        let closed = update(&self.claim, AcqRel, Acquire, |word| {
            let word = ClaimWord(word);
            let is_there = !word.is_closed()
                && self.generation_of(word).is_some_and(|generation| {
                    self.shape.after(generation, word.count().min(self.shape.slots())) == tail
                });
            is_there.then(|| word.close(self.shape.slots()).0)
        })
        .is_ok();
        if closed {
            self.tell_closed(bell);
        }
        closed
    }

    fn close_shared(&self) -> bool {
        // An exchange, not a `fetch_or`: the count must be frozen in the same step, or a late claim would move the tail.
        // AcqRel: orders the close after every claim it counts. model: close_claim
        update(&self.claim, AcqRel, Acquire, |word| {
            let word = ClaimWord(word);
            (!word.is_closed()).then(|| word.close(self.shape.slots()).0)
        })
        .is_ok()
    }

    /// Whether a reader that stands at `next` and found nothing there has read all there will ever be.
    ///
    /// `surely` looks at the claim word itself, as somebody must who is about to sleep: the hint may come late.
    pub(super) fn is_drained(&self, next: u64, surely: bool) -> bool {
        // Acquire: pairs with the Release store in `tell_closed`.
        if !self.closed_hint.load(Acquire) {
            if !surely || !self.is_closed() {
                return false;
            }
            // Release: as in `tell_closed`; the closer may be asleep between its two steps. model: close_hint
            self.closed_hint.store(true, Release);
        }
        if self.exclusive {
            return self.exclusive_tail() == next;
        }
        // Acquire: pairs with the exchange in `close_shared`.
        let word = ClaimWord(self.claim.load(Acquire));
        // `next` is at most the tail, so the tail's generation is not older than the one before `next`'s.
        let generation = word.generation_from(self.shape.generation(next) - 1);
        self.shape.after(generation, word.frozen_count()) == next
    }

    /// Whether the ring is closed for publishing.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the closing exchange. The mark is bit 63 in both kinds of word.
        ClaimWord(self.claim.load(Acquire)).is_closed()
    }

    /// Drops messages of evicted segments, a bounded number; whether there may be more to do.
    pub(crate) fn sweep(&self, segments: usize, bell: &impl Bell) -> bool {
        self.directory.peek().is_some_and(|directory| directory.sweep(segments, bell))
    }

    /// The bytes of the messages retained, where the ring has a budget.
    pub(crate) fn bytes(&self) -> u64 {
        match (&self.budget, self.directory.peek()) {
            (Some(_), Some(directory)) => directory.bytes(),
            _ => 0,
        }
    }

    /// The same with what was evicted and is not dropped yet.
    pub(crate) fn bytes_held(&self) -> u64 {
        match (&self.budget, self.directory.peek()) {
            (Some(_), Some(directory)) => directory.bytes_held(),
            _ => 0,
        }
    }

    /// (segments in all, evicted and waiting, pinned by a reader or a late publisher)
    pub(crate) fn census(&self) -> (usize, usize, usize) {
        self.directory.peek().map_or((0, 0, 0), Directory::census)
    }
}

impl<T> AsRef<Self> for Ring<T> {
    fn as_ref(&self) -> &Self {
        self
    }
}

#[cfg(all(test, roomcast_loom))]
impl<T> Ring<T> {
    /// What a publisher leaves that stops for good between its claim and its commit: a model cannot wait for ever.
    pub(crate) fn leave_hole(&self, bell: &impl Bell) {
        self.rotate(0, bell).unwrap();
        self.claim.fetch_add(1, AcqRel);
    }

    /// What an installer does that saw `generation` missing, and slept until it had come and gone.
    pub(crate) fn install_late(&self, generation: u64, time_floor: u64, bell: &impl Bell) {
        let directory = self.directory();
        let index = directory.take(bell).unwrap();
        directory.segment(index).begin(generation, self.shape.first(generation), time_floor);
        let (old, new) = (super::words::DirectoryWord(0), super::words::DirectoryWord::new(generation, index));
        assert!(!directory.replace(generation, old, new), "it came too late");
        directory.give_back(index);
    }
}
