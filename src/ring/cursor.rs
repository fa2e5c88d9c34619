//! Reading a ring: a cursor and the lease on the segment it stands in.

use std::ops::Deref;
use std::ptr::NonNull;

use super::claim::Ring;
use super::segment::Segment;
use crate::sync::AtomicU64;

/// Why there is nothing to read at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// Nothing there yet, or a hole: an earlier claim is not committed yet.
    Empty,
    /// That many messages were evicted; the cursor now stands at the oldest retained.
    Lagged(u64),
    /// The ring is closed and read to its end.
    Closed,
}

/// Consecutive messages lent by a cursor.
pub(crate) struct Run<'a, T> {
    pub(crate) first: u64,
    pub(crate) messages: &'a [T],
    /// The publish time of each, or nothing where the ring keeps none.
    pub(crate) times: &'a [AtomicU64],
}

/// What a reader that wants to sleep is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Sleep: whoever changes something will see that it is parked.
    Asleep,
    /// There is something to read, or to learn.
    Ready,
    /// A message is between the two steps of its commit and nobody will ring for it: look again soon.
    Imminent,
}

/// The place of one reader. `R` leads to the ring, always the same one.
///
/// A reader costs the publishers nothing: it reads directory words and slot states, and counts itself in the segment it
/// stands in once per segment.
#[derive(Debug)]
pub(crate) struct Cursor<T, R: Deref<Target = Ring<T>>> {
    ring: R,
    /// The next sequence to read. Never moves back, never passes the tail.
    next: u64,
    lease: Option<Lease<T>>,
}

#[derive(Debug)]
struct Lease<T> {
    segment: NonNull<Segment<T>>,
    /// The sequence of its slot 0.
    first: u64,
}

// SAFETY: a lease is a counted reference into the ring that `Cursor::ring` keeps alive; ending it on another thread is an
// atomic subtraction. It gives access to `&T` only, so `T: Send + Sync` as for the ring itself.
unsafe impl<T: Send + Sync> Send for Lease<T> {}
// SAFETY: as above; `&Lease` allows nothing but reading its two fields.
unsafe impl<T: Send + Sync> Sync for Lease<T> {}

impl<T, R: Deref<Target = Ring<T>>> Cursor<T, R> {
    /// A cursor at `next`, which must not lie beyond the tail.
    pub(crate) fn new(ring: R, next: u64) -> Self {
        debug_assert!(next <= ring.tail(), "a cursor beyond the tail");
        Self { ring, next, lease: None }
    }

    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn ring(&self) -> &R {
        &self.ring
    }

    /// How many consecutive messages can be read at the cursor: at least one and at most `max`, never beyond the segment.
    #[inline]
    pub(crate) fn look(&mut self, max: usize) -> Result<usize, Nothing> {
        match self.ready_run(max) {
            0 => self.look_around(max),
            run => Ok(run),
        }
    }

    /// Looks once more before the reader sleeps, at everything that a publisher or closer does before it looks at who is
    /// parked. To be called after arming and a `fence(SeqCst)`. With [`Rest::Asleep`] the lease has been given back.
    pub(crate) fn rest(&mut self) -> Rest {
        let next = self.next;
        match self.look(1) {
            Err(Nothing::Empty) if self.ring.is_drained(next, true) => Rest::Ready,
            Err(Nothing::Empty) if self.ring.is_committing(next) => Rest::Imminent,
            Err(Nothing::Empty) => {
                self.end_lease();
                Rest::Asleep
            }
            // `look` has moved the cursor past what was missed; the next `look` of the caller is to report it.
            Err(Nothing::Lagged(_)) => {
                self.next = next;
                Rest::Ready
            }
            Ok(_) | Err(Nothing::Closed) => Rest::Ready,
        }
    }

    /// Whether [`Cursor::look`] would return something other than `Empty`; moves nothing.
    pub(crate) fn peek(&mut self) -> bool {
        let next = self.next;
        match self.look(1) {
            Err(Nothing::Empty) => false,
            // As in `rest`.
            Err(Nothing::Lagged(_)) => {
                self.next = next;
                true
            }
            Ok(_) | Err(Nothing::Closed) => true,
        }
    }

    #[inline(always)]
    fn ready_run(&self, max: usize) -> usize {
        let Some(lease) = &self.lease else { return 0 };
        // A cursor that stands before its lease (see `peek`) wraps to beyond the segment.
        let slot = self.next.wrapping_sub(lease.first);
        if slot >= self.ring.shape().slots() {
            return 0;
        }
        // SAFETY: the segment lives as long as the ring, which `self.ring` keeps alive.
        let segment = unsafe { lease.segment.as_ref() };
        if self.ring.exclusive {
            // A reader that began at the tail between the two steps of a commit stands before `committed`'s reach.
            return segment.committed().saturating_sub(self.next).min(max as u64) as usize;
        }
        segment.ready_run(slot as usize, max)
    }

    /// Nothing in the segment we stand in: move to the next one, or learn from the directory why.
    ///
    /// The directory word of our generation decides, read after the slot:
    /// 1. the same generation: the slot is not published yet;
    /// 2. an older one: the segment is not installed yet;
    /// 3. a newer one: we have been lapped. The oldest retained is computed from this very word. The claim word would
    ///    not do: it trails the directory while a segment is being installed.
    #[inline(never)]
    fn look_around(&mut self, max: usize) -> Result<usize, Nothing> {
        let Some(directory) = self.ring.directory.peek() else { return Err(self.empty_or_closed()) };
        let shape = self.ring.shape();
        let mut missed = 0;
        let found = loop {
            let generation = shape.generation(self.next);
            let word = directory.word(generation);
            if word.generation() > generation || (word.generation() == generation && word.is_gone()) {
                let oldest = match word.is_gone() && word.generation() == generation {
                    true => generation + 1,
                    false => shape.oldest(word.generation()),
                };
                let first = shape.first(oldest);
                missed += first - self.next;
                self.next = first;
                Self::give_up(&mut self.lease);
                continue;
            }
            let leased = self.lease.as_ref().is_some_and(|lease| lease.first == shape.first(generation));
            if word.generation() < generation || leased {
                break 0;
            }
            Self::give_up(&mut self.lease);
            let segment = directory.segment(word.index());
            if segment.lease(generation) {
                self.lease = Some(Lease { segment: NonNull::from(segment), first: shape.first(generation) });
                match self.ready_run(max) {
                    0 => {}
                    run => break run,
                }
            }
        };
        match (missed, found) {
            (0, 0) => Err(self.empty_or_closed()),
            (0, run) => Ok(run),
            (missed, _) => Err(Nothing::Lagged(missed)),
        }
    }

    fn empty_or_closed(&self) -> Nothing {
        match self.ring.is_drained(self.next, false) {
            true => Nothing::Closed,
            false => Nothing::Empty,
        }
    }

    /// Lends messages that [`Cursor::look`] has just counted and moves past them: `count` of them, or fewer (never none).
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Run<'_, T> {
        let Some(lease) = &self.lease else { unreachable!("`look` has found messages, so there is a lease") };
        let first = self.next;
        let slot = (first - lease.first) as usize;
        // SAFETY: as in `ready_run`.
        let segment: &Segment<T> = unsafe { lease.segment.as_ref() };
        // SAFETY: `look` saw these slots committed and the lease is ours; it is given back by a `&mut self` method only,
        // and the slice borrows `self`.
        let messages: &[T] = unsafe { segment.slice(slot, count) };
        self.next += messages.len() as u64;
        Run { first, messages, times: segment.times(slot, messages.len()) }
    }

    /// Skips forward to `sequence`, which must not lie beyond the tail; returns how many were skipped.
    pub(crate) fn skip_to(&mut self, sequence: u64) -> u64 {
        let skipped = sequence.saturating_sub(self.next);
        self.next += skipped;
        skipped
    }

    /// Gives the lease back, so that a cursor at rest pins nothing.
    pub(crate) fn end_lease(&mut self) {
        Self::give_up(&mut self.lease);
    }

    fn give_up(lease: &mut Option<Lease<T>>) {
        if let Some(lease) = lease.take() {
            // SAFETY: as in `ready_run`: the callers hold `self.ring`.
            unsafe { lease.segment.as_ref() }.end_lease();
        }
    }
}

impl<T, R: Deref<Target = Ring<T>>> Drop for Cursor<T, R> {
    fn drop(&mut self) {
        self.end_lease();
    }
}
