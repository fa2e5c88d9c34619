//! Publishing into an exclusive ring: one writer, one exchange per batch, no fence.

use std::ptr::NonNull;

use super::claim::{Refusal, Ring};
use super::segment::{Segment, fill};
use super::words::DirectoryWord;
use super::{Bell, Geometry};
use crate::sync::{AcqRel, Acquire, AtomicU64, SeqCst, fence, update};

/// `{ closed 1 | armed 1 | tail 62 }`, the claim word of an exclusive ring. One word for all three, so that one exchange
/// commits a batch, sees the close and takes the wake-up call: no second word, no fence.
const CLOSED: u64 = 1 << 63;
const ARMED: u64 = 1 << 62;
const TAIL: u64 = ARMED - 1;

impl<T> Ring<T> {
    /// An empty ring that one [`Writer`] publishes into.
    pub(crate) fn new_exclusive(
        shape: Geometry,
        timed: bool,
        budget: Option<std::sync::Arc<super::Budget<T>>>,
    ) -> Self {
        let claim = AtomicU64::new(shape.start());
        Self { claim, exclusive: true, fast: false, ..Self::new(shape, timed, budget) }
    }

    pub(super) fn exclusive_tail(&self) -> u64 {
        // Acquire: pairs with the exchange in `move_tail`.
        self.claim.load(Acquire) & TAIL
    }

    pub(super) fn close_exclusive(&self) -> bool {
        // AcqRel: orders the close after the commits it follows. model: exclusive_close
        self.claim.fetch_or(CLOSED, AcqRel) & CLOSED == 0
    }

    /// Asks the writer of an exclusive ring to ring the bell at its next commit. For a shared ring the fence that the
    /// caller makes afterwards does this work.
    pub(crate) fn arm(&self) {
        if self.exclusive {
            // AcqRel: in the one order of this word we come before the next commit, which then sees us, or after it, and
            // then see its tail in `exclusive_tail`. Pairs with the exchange in `move_tail`. model: exclusive_park
            self.claim.fetch_or(ARMED, AcqRel);
        }
    }

    /// Whether an exclusive writer stands between the two steps of a commit that covers `next`: then nobody would wake
    /// a reader that slept now, and it is to look again.
    pub(super) fn is_committing(&self, next: u64) -> bool {
        self.exclusive && self.exclusive_tail() > next
    }
}

/// The one publisher of an exclusive ring. `R` keeps the ring alive and leads to it, always the same one.
#[derive(Debug)]
pub(crate) struct Writer<T, R: AsRef<Ring<T>>> {
    holder: R,
    /// The sequence of the next message.
    tail: u64,
    /// The segment of the message before, once there is one; dangling until then.
    segment: NonNull<Segment<T>>,
    has_segment: bool,
}

// SAFETY: the segment belongs to the ring, which the writer keeps alive; it moves values of `T` to other threads and
// shares them, hence both bounds, as for the ring itself.
unsafe impl<T: Send + Sync, R: AsRef<Ring<T>> + Send> Send for Writer<T, R> {}
// SAFETY: `&Writer` gives access to the ring alone.
unsafe impl<T: Send + Sync, R: AsRef<Ring<T>> + Sync> Sync for Writer<T, R> {}

/// What became of a run of messages.
#[derive(Debug)]
pub(crate) struct Published<T> {
    /// Whether there may be more messages, because the segment ended first.
    pub(crate) more: bool,
    /// Why no more, and those that were taken from their source and not published.
    pub(crate) refused: Option<(Refusal, Vec<T>)>,
}

impl<T, R: AsRef<Ring<T>>> Writer<T, R> {
    /// The writer of a ring.
    ///
    /// # Panics
    /// When the ring is not exclusive, or has a writer already.
    pub(crate) fn new(holder: R) -> Self {
        let ring = holder.as_ref();
        assert!(ring.exclusive, "a shared ring needs no writer");
        // AcqRel: one writer only; the slots it fills are its alone because of this.
        assert!(!ring.has_writer.swap(true, AcqRel), "an exclusive ring has one writer");
        let tail = ring.shape.start();
        Self { holder, tail, segment: NonNull::dangling(), has_segment: false }
    }

    /// What it was made with.
    pub(crate) fn holder(&self) -> &R {
        &self.holder
    }

    #[inline(always)]
    fn ring(&self) -> &Ring<T> {
        self.holder.as_ref()
    }

    /// The sequence of the next message.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Publishes a message and returns its sequence, or gives it back.
    #[inline]
    pub(crate) fn publish(&mut self, message: T, now: u64, bell: &impl Bell) -> Result<u64, (Refusal, T)> {
        if self.begins_a_segment()
            && let Err(refusal) = self.rotate(bell)
        {
            return Err((refusal, message));
        }
        let ring = self.ring();
        let mut bytes = 0;
        if let Some(budget) = &ring.budget {
            match ring.weigh(budget, &message, bell) {
                Some(weight) => bytes = weight,
                None => return Err((Refusal::TooLarge, message)),
            }
        }
        let mut run = Run::new(self.segment(), self.ring().shape.slot(self.tail));
        run.extend(&mut std::iter::once(message));
        match self.commit_run(run, bytes, now, bell) {
            Ok(sequence) => Ok(sequence),
            Err((refusal, mut run)) => match run.take_back() {
                Some(message) => Err((refusal, message)),
                None => unreachable!("a message was filled in a moment ago"),
            },
        }
    }

    /// Publishes messages as far as they fit in one segment, with one exchange.
    #[inline(always)]
    pub(crate) fn publish_run(
        &mut self,
        messages: &mut impl Iterator<Item = T>,
        now: u64,
        bell: &impl Bell,
    ) -> Published<T> {
        let mut first = None;
        if self.begins_a_segment() {
            let Some(message) = messages.next() else { return Published { more: false, refused: None } };
            if let Err(refusal) = self.rotate(bell) {
                return Published { more: false, refused: Some((refusal, vec![message])) };
            }
            first = Some(message);
        }
        let mut run = Run::new(self.segment(), self.ring().shape.slot(self.tail));
        let (mut bytes, mut refused) = (0, None);
        match &self.ring().budget {
            None => {
                run.extend(&mut first.into_iter());
                run.extend(messages);
            }
            Some(budget) => {
                let weigh = |message: &T| self.ring().weigh(budget, message, bell);
                (bytes, refused) = run.extend_weighed(&mut first.into_iter().chain(messages), weigh);
            }
        }
        let more = run.end == run.segment.len();
        if run.len() == 0 {
            return Published { more, refused };
        }
        match self.commit_run(run, bytes, now, bell) {
            Ok(_) => Published { more, refused },
            Err((refusal, mut run)) => {
                let mut back: Vec<T> = std::iter::from_fn(|| run.take_back()).collect();
                back.reverse();
                back.extend(refused.into_iter().flat_map(|(_, messages)| messages));
                Published { more: false, refused: Some((refusal, back)) }
            }
        }
    }

    /// Whether the next message needs the next segment, which an attempt that was then refused may have installed.
    #[inline(always)]
    fn begins_a_segment(&self) -> bool {
        self.ring().shape.slot(self.tail) == 0
    }

    #[inline(always)]
    fn segment<'a>(&self) -> &'a Segment<T>
    where
        R: 'a,
    {
        debug_assert!(self.has_segment, "a writer has a segment after its first rotation");
        // SAFETY: set by `rotate`, which every caller comes after, to a segment of the ring that `self.holder` keeps alive for
        // as long as the writer; the callers use it within one call.
        unsafe { self.segment.as_ref() }
    }

    /// Commits the messages of a run, which begins at the tail, or gives the run back. Returns the first sequence.
    #[inline(always)]
    fn commit_run<'a>(
        &mut self,
        run: Run<'a, T>,
        bytes: u64,
        now: u64,
        bell: &impl Bell,
    ) -> Result<u64, (Refusal, Run<'a, T>)> {
        let segment = run.segment;
        if self.ring().timed {
            segment.decide_times(run.end - 1, now);
        }
        let armed = match self.move_tail(run.len()) {
            Ok(armed) => armed,
            Err(refusal) => return Err((refusal, run)),
        };
        let first = self.tail;
        self.tail += run.len();
        run.keep();
        if bytes > 0 {
            segment.add_bytes(bytes);
        }
        segment.commit_until(self.tail);
        if armed {
            bell.disturbed();
        }
        Ok(first)
    }

    /// Moves the tail by `count` unless the ring is closed; returns whether somebody is parked.
    #[inline(always)]
    fn move_tail(&self, count: u64) -> Result<bool, Refusal> {
        let ring = self.ring();
        // AcqRel: takes ARMED together with what the parker did before; the values are published by `commit_until`.
        // Pairs with `arm` and with `close_exclusive`. model: exclusive_park, exclusive_close
        match ring.claim.compare_exchange(self.tail, self.tail + count, AcqRel, Acquire) {
            Ok(_) => Ok(false),
            Err(_) => self.move_tail_slowly(count),
        }
    }

    /// The same where somebody is parked, or the ring is closed.
    #[cold]
    #[inline(never)]
    fn move_tail_slowly(&self, count: u64) -> Result<bool, Refusal> {
        // AcqRel, Acquire: as in `move_tail`.
        update(&self.ring().claim, AcqRel, Acquire, |word| (word & CLOSED == 0).then_some(self.tail + count))
            .map(|before| before & ARMED != 0)
            .map_err(|_| Refusal::Closed)
    }

    /// Installs the segment that the tail's generation needs.
    #[cold]
    #[inline(never)]
    fn rotate(&mut self, bell: &impl Bell) -> Result<(), Refusal> {
        let ring = self.ring();
        if ring.is_closed() {
            return Err(Refusal::Closed);
        }
        let directory = ring.directory();
        let shape = ring.shape;
        let generation = shape.generation(self.tail);
        let mut old = directory.word_to_replace(generation);
        if old.generation() == generation {
            // Installed by an attempt that was then refused.
            self.enter(old.index());
            return Ok(());
        }
        if old.is_retained() {
            // SeqCst: the commits so far before our look at the gate. Pairs as in `Ring::rotate`.
            // model: exclusive_gate_join
            fence(SeqCst);
            if !bell.may_evict(shape.first(old.generation() + 1)) {
                return Err(Refusal::Full);
            }
        }
        if let Some(budget) = &ring.budget {
            if budget.make_room(directory, shape, generation - 1, budget.full_max(), bell).blocked {
                return Err(Refusal::Full);
            }
            // It may have gone with the others.
            old = directory.word_to_replace(generation);
        }
        let Some(index) = directory.take(bell) else { return Err(Refusal::Pinned) };
        let floor = if self.has_segment { self.segment().last_time() } else { 0 };
        directory.segment(index).begin(generation, self.tail, floor);
        let new = DirectoryWord::new(generation, index);
        if !directory.replace(generation, old, new) {
            // Nobody else installs here; somebody may have evicted `old` meanwhile (`Ring::trim`), and does so once.
            // model: exclusive_trim
            old = directory.word_to_replace(generation);
            let installed = directory.replace(generation, old, new);
            debug_assert!(installed, "an exclusive ring has one installer");
        }
        if old.is_retained() {
            directory.retire(old.index(), bell);
        }
        self.enter(index);
        Ok(())
    }

    /// Goes on in the segment of the tail's generation.
    fn enter(&mut self, index: u16) {
        self.segment = NonNull::from(self.ring().directory().segment(index));
        self.has_segment = true;
    }
}

/// Messages that were filled into slots of a segment and are not committed yet. Those that are not kept are dropped, also
/// when the source of the next one panics.
struct Run<'a, T> {
    segment: &'a Segment<T>,
    first: usize,
    end: usize,
}

impl<'a, T> Run<'a, T> {
    /// An empty run from `slot` on, which is free like all after it.
    fn new(segment: &'a Segment<T>, slot: usize) -> Self {
        Self { segment, first: slot, end: slot }
    }

    /// Fills in messages until there are no more or the segment is full.
    #[inline(always)]
    fn extend(&mut self, messages: &mut impl Iterator<Item = T>) {
        for slot in self.segment.slots_from(self.end) {
            let Some(message) = messages.next() else { break };
            // SAFETY: slots from the tail on are the writer's alone until they are committed, and hold nothing.
            unsafe { fill(slot, message) };
            self.end += 1;
        }
    }

    /// The same, up to the first message that is too heavy, which comes back. Returns the weight of all.
    fn extend_weighed(
        &mut self,
        messages: &mut impl Iterator<Item = T>,
        weigh: impl Fn(&T) -> Option<u64>,
    ) -> (u64, Option<(Refusal, Vec<T>)>) {
        let mut bytes = 0;
        while self.end < self.segment.len() {
            let Some(message) = messages.next() else { break };
            let Some(weight) = weigh(&message) else { return (bytes, Some((Refusal::TooLarge, vec![message]))) };
            bytes += weight;
            self.extend(&mut std::iter::once(message));
        }
        (bytes, None)
    }

    #[inline(always)]
    fn len(&self) -> u64 {
        (self.end - self.first) as u64
    }

    /// Takes the last message out again.
    fn take_back(&mut self) -> Option<T> {
        if self.end == self.first {
            return None;
        }
        self.end -= 1;
        // SAFETY: filled by `extend`, not committed, and not taken back yet: `end` has just moved before it.
        Some(unsafe { self.segment.take_back(self.end) })
    }

    /// Leaves the messages where they are: they are committed.
    #[inline(always)]
    fn keep(mut self) {
        self.first = self.end;
    }
}

impl<T> Drop for Run<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.first < self.end {
            std::iter::from_fn(|| self.take_back()).for_each(drop);
        }
    }
}
