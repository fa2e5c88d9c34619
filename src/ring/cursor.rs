//! Reading a ring: a cursor and the lease on the segment it stands in.

use std::ptr::NonNull;

use super::claim::Ring;
use super::segment::{Segment, Slot};
use super::words::DirectoryWord;
use crate::sync::{AtomicU64, lend_slice};

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

/// The place of one reader. `R` keeps the ring alive and leads to it, always the same one.
///
/// A reader costs the publishers nothing: it reads directory words and slot states, and counts itself in the segment it
/// stands in once per segment.
#[derive(Debug)]
pub(crate) struct Cursor<T, R: AsRef<Ring<T>>> {
    holder: R,
    /// The next sequence to read. Never moves back, never passes the tail.
    next: u64,
    /// What lies between `next` and this sequence, if anything, was seen committed in the leased segment. So a run is
    /// looked at once, however it is read.
    ready: u64,
    lease: Option<Lease<T>>,
}

#[derive(Debug)]
struct Lease<T> {
    segment: NonNull<Segment<T>>,
    /// Its slots, found without its header, which all readers write their leases to.
    slots: NonNull<Slot<T>>,
    /// The sequence of its slot 0.
    first: u64,
    /// The directory word by which it was found. While another stands there, this is not where its generation goes on.
    word: DirectoryWord,
}

// SAFETY: a lease is a counted reference into the ring that `Cursor::holder` keeps alive; ending it on another thread is an
// atomic subtraction. It gives access to `&T` only, so `T: Send + Sync` as for the ring itself.
unsafe impl<T: Send + Sync> Send for Lease<T> {}
// SAFETY: as above; `&Lease` allows nothing but reading its two fields.
unsafe impl<T: Send + Sync> Sync for Lease<T> {}

impl<T, R: AsRef<Ring<T>>> Cursor<T, R> {
    /// A cursor at `next`, which must not lie beyond the tail.
    pub(crate) fn new(holder: R, next: u64) -> Self {
        debug_assert!(next <= holder.as_ref().tail(), "a cursor beyond the tail");
        Self { holder, next, ready: 0, lease: None }
    }

    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// What it was made with.
    pub(crate) fn holder(&self) -> &R {
        &self.holder
    }

    #[inline(always)]
    fn ring(&self) -> &Ring<T> {
        self.holder.as_ref()
    }

    /// Whether the message at the cursor was seen committed.
    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        self.next < self.ready
    }

    /// How many messages at the cursor were seen committed and not taken yet.
    #[inline(always)]
    pub(crate) fn ready(&self) -> usize {
        self.ready.saturating_sub(self.next) as usize
    }

    /// How many consecutive messages can be read at the cursor: at least one and at most `max`, never beyond the segment.
    #[inline]
    pub(crate) fn look(&mut self, max: usize) -> Result<usize, Nothing> {
        if self.ready() < max {
            self.look_further()?;
        }
        Ok(self.ready().min(max))
    }

    /// Looks beyond what is ready. On `Ok` something is.
    #[inline]
    fn look_further(&mut self) -> Result<(), Nothing> {
        self.ready = self.reach();
        // A reader that began at the tail between the two steps of an exclusive commit stands before its reach.
        match self.ready > self.next {
            true => Ok(()),
            false => self.look_around(),
        }
    }

    /// Looks once more before the reader sleeps, at everything that a publisher or closer does before it looks at who is
    /// parked. To be called after arming and a `fence(SeqCst)`. With [`Rest::Asleep`] the lease has been given back.
    pub(crate) fn rest(&mut self) -> Rest {
        let next = self.next;
        let found = self.look(1);
        self.forget_ready();
        match found {
            Err(Nothing::Empty) if self.ring().is_drained(next, true) => Rest::Ready,
            Err(Nothing::Empty) if self.ring().is_committing(next) => Rest::Imminent,
            Err(Nothing::Empty) => {
                self.end_lease();
                Rest::Asleep
            }
            // `look` has moved the cursor past what was missed; the next `look` of the caller is to report it.
            Err(Nothing::Lagged(_)) => {
                (self.next, self.ready) = (next, next);
                Rest::Ready
            }
            Ok(_) | Err(Nothing::Closed) => Rest::Ready,
        }
    }

    /// Whether [`Cursor::look`] would return something other than `Empty`; moves nothing.
    pub(crate) fn peek(&mut self) -> bool {
        let next = self.next;
        let found = self.look(1);
        self.forget_ready();
        match found {
            Err(Nothing::Empty) => false,
            // As in `rest`.
            Err(Nothing::Lagged(_)) => {
                (self.next, self.ready) = (next, next);
                true
            }
            Ok(_) | Err(Nothing::Closed) => true,
        }
    }

    /// What is ready is to be looked at anew, by whoever wants to know what is newest.
    fn forget_ready(&mut self) {
        self.ready = self.next;
    }

    /// How far the leased segment is committed now.
    #[inline(always)]
    fn reach(&self) -> u64 {
        let Some(lease) = &self.lease else { return 0 };
        let seen = self.next.max(self.ready);
        // A cursor that stands before its lease (see `peek`) wraps to beyond the segment.
        let slot = self.next.wrapping_sub(lease.first);
        if slot >= self.ring().shape().slots() {
            return 0;
        }
        // SAFETY: the segment lives as long as the ring, which `self.holder` keeps alive.
        let segment = unsafe { lease.segment.as_ref() };
        match self.ring().exclusive {
            true => segment.committed(),
            false => seen + segment.ready_run((seen - lease.first) as usize) as u64,
        }
    }

    /// Nothing in the segment we stand in: move to the next one, or learn from the directory why.
    ///
    /// The directory word of our generation decides, read after the slot:
    /// 1. the same generation: the slot is not published yet;
    /// 2. an older one: the segment is not installed yet;
    /// 3. a newer one: we have been lapped. The oldest retained is computed from this very word. The claim word would
    ///    not do: it trails the directory while a segment is being installed.
    #[inline(never)]
    fn look_around(&mut self) -> Result<(), Nothing> {
        let ring = self.holder.as_ref();
        let Some(directory) = ring.directory.peek() else { return Err(self.empty_or_closed()) };
        let shape = ring.shape();
        let mut missed = 0;
        let found = loop {
            let generation = shape.generation(self.next);
            let place = directory.place(generation);
            let word = place.word();
            if word.generation() >= generation && !word.retains(generation) {
                let oldest = match word.generation() == generation {
                    true => generation + 1,
                    false => shape.oldest(word.generation()),
                };
                let first = shape.first(oldest);
                missed += first - self.next;
                (self.next, self.ready) = (first, first);
                give_up(&mut self.lease);
                continue;
            }
            // By the word and not by its generation: a copy may have taken the place of the segment. model: rewrite_read
            let leased = self.lease.as_ref().is_some_and(|lease| lease.word == word);
            if leased {
                break false;
            }
            // The segment we stood in is read to its end. Kept while we find nothing, the lease would pin it for nothing.
            self.ready = self.next;
            give_up(&mut self.lease);
            if word.generation() < generation {
                break false;
            }
            if let Some(segment) = directory.lease(place, word) {
                self.lease = Some(Lease {
                    segment: NonNull::from(segment),
                    slots: segment.slots(),
                    first: shape.first(generation),
                    word,
                });
                self.ready = self.reach();
                if self.ready > self.next {
                    break true;
                }
            }
        };
        match (missed, found) {
            (0, false) => Err(self.empty_or_closed()),
            (0, true) => Ok(()),
            (missed, _) => {
                self.forget_ready();
                Err(Nothing::Lagged(missed))
            }
        }
    }

    fn empty_or_closed(&self) -> Nothing {
        match self.ring().is_drained(self.next, false) {
            true => Nothing::Closed,
            false => Nothing::Empty,
        }
    }

    /// Lends messages that [`Cursor::look`] has just counted and moves past them: `count` of them, or fewer (never none).
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Run<'_, T> {
        assert!(0 < count && count <= self.ready(), "more is taken than `look` has found");
        let Some(lease) = &self.lease else { unreachable!("what is ready lies in a leased segment") };
        let (first, slot) = (self.next, (self.next - lease.first) as usize);
        // SAFETY: what is ready was seen committed in the leased segment, see `lend`.
        let messages: &[T] = unsafe { lease.lend(slot, count) };
        self.next += messages.len() as u64;
        let times = if self.ring().timed { lease.times(slot, messages.len()) } else { &[] };
        Run { first, messages, times }
    }

    /// Lends the next message, if it is known to be ready, and moves past it.
    #[inline(always)]
    pub(crate) fn take_ready(&mut self) -> Option<(u64, &T, Option<&AtomicU64>)> {
        if !self.is_ready() {
            return None;
        }
        debug_assert!(self.lease.is_some(), "something is ready without a lease");
        // SAFETY: what is ready lies in a leased segment: `ready` is moved beyond `next` by `reach` alone, which looks at
        // the lease, and moved back to `next` wherever a lease is given up.
        let lease = unsafe { self.lease.as_ref().unwrap_unchecked() };
        let (sequence, slot) = (self.next, (self.next - lease.first) as usize);
        self.next += 1;
        // SAFETY: as in `take`.
        let message = unsafe { lease.lend(slot, 1) }.first()?;
        let time = if self.ring().timed { lease.times(slot, 1).first() } else { None };
        Some((sequence, message, time))
    }

    /// Skips forward to `sequence`, which must not lie beyond the tail; returns how many were skipped.
    pub(crate) fn skip_to(&mut self, sequence: u64) -> u64 {
        let skipped = sequence.saturating_sub(self.next);
        self.next += skipped;
        skipped
    }

    /// The directory word by which it came to the segment that it has a lease on.
    pub(super) fn leased_by(&self) -> Option<DirectoryWord> {
        Some(self.lease.as_ref()?.word)
    }

    /// Gives the lease back, so that a cursor at rest pins nothing.
    pub(crate) fn end_lease(&mut self) {
        self.forget_ready();
        give_up(&mut self.lease);
    }
}

/// Gives a lease back, if there is one. What was ready in it is to be forgotten before.
fn give_up<T>(lease: &mut Option<Lease<T>>) {
    if let Some(lease) = lease.take() {
        // SAFETY: as in `reach`: the callers hold the ring.
        unsafe { lease.segment.as_ref() }.end_lease();
    }
}

impl<T> Lease<T> {
    /// The publish times of slots of the segment, where the ring keeps them.
    fn times(&self, slot: usize, count: usize) -> &[AtomicU64] {
        // SAFETY: as in `reach`: a lease is kept by a cursor, which keeps the ring.
        unsafe { self.segment.as_ref() }.times(slot, count)
    }

    /// Lends `count` messages from `slot` on, or fewer (never none) where they cannot be lent as one slice.
    ///
    /// # Safety
    /// These slots lie in the segment and were seen committed, and the lease is kept while the slice is used.
    #[inline(always)]
    unsafe fn lend(&self, slot: usize, count: usize) -> &[T] {
        // SAFETY: the caller says that the segment has this slot, so the place lies within its slots.
        let place = unsafe { self.slots.add(slot) };
        // SAFETY: within the segment, as above; the slots are freed with the ring, which outlives the lease.
        let places = unsafe { std::slice::from_raw_parts(place.as_ptr(), count) };
        let (first, lendable) = lend_slice(places);
        // SAFETY: the slots are initialised and will not be written again while the lease holds off the reclaimer; a
        // committed slot has no other writer. `first` is valid for `lendable <= count` of them.
        unsafe { std::slice::from_raw_parts(first, lendable) }
    }
}

impl<T, R: AsRef<Ring<T>>> Drop for Cursor<T, R> {
    fn drop(&mut self) {
        self.end_lease();
    }
}
