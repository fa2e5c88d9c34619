//! Publishing into an exclusive ring: one writer, one exchange per batch, no fence.

use std::ops::Deref;

use super::claim::{Refusal, Ring};
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
        Self { claim: AtomicU64::new(0), exclusive: true, ..Self::new(shape, timed, budget) }
    }

    pub(super) fn exclusive_tail(&self) -> u64 {
        // Acquire: pairs with the exchange in `Writer::commit`.
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
            // then see its tail in `is_committing`. Pairs with the exchange in `Writer::commit`. model: exclusive_park
            self.claim.fetch_or(ARMED, AcqRel);
        }
    }

    /// Whether an exclusive writer stands between the two steps of a commit that covers `next`: then nobody would wake
    /// a reader that slept now, and it is to look again.
    pub(super) fn is_committing(&self, next: u64) -> bool {
        self.exclusive && self.exclusive_tail() > next
    }
}

/// The one publisher of an exclusive ring.
#[derive(Debug)]
pub(crate) struct Writer<T, R: Deref<Target = Ring<T>>> {
    ring: R,
    tail: u64,
    /// Index of the segment that holds `tail`'s generation, once it is installed.
    index: Option<u16>,
    _messages: std::marker::PhantomData<fn(T)>,
}

impl<T, R: Deref<Target = Ring<T>>> Writer<T, R> {
    /// The writer of a ring.
    ///
    /// # Panics
    /// When the ring is not exclusive, or has a writer already.
    pub(crate) fn new(ring: R) -> Self {
        assert!(ring.exclusive, "a shared ring needs no writer");
        // AcqRel: one writer only; the slots it fills are its alone because of this.
        assert!(!ring.has_writer.swap(true, AcqRel), "an exclusive ring has one writer");
        Self { ring, tail: 0, index: None, _messages: std::marker::PhantomData }
    }

    pub(crate) fn ring(&self) -> &R {
        &self.ring
    }

    /// Publishes messages from the front of `messages` as far as they fit in the current segment, with one exchange.
    /// Returns the first sequence and how many; on a refusal nothing is taken out of `messages`.
    pub(crate) fn publish(
        &mut self,
        messages: &mut std::collections::VecDeque<T>,
        now: u64,
        bell: &impl Bell,
    ) -> Result<(u64, usize), Refusal> {
        let ring = &*self.ring;
        let slot = ring.shape.slot(self.tail);
        let index = match self.index {
            Some(index) if slot > 0 => index,
            _ => self.rotate(bell)?,
        };
        let ring = &*self.ring;
        let segment = ring.directory().segment(index);
        let room = ring.shape.slots() as usize - slot;
        let mut count = room.min(messages.len());
        if let Some(budget) = &ring.budget {
            // Weighed before the first is moved: weighing runs the user's code, which may panic.
            let weights = messages.iter().take(count).map_while(|message| budget.weigh(message, ring.shape));
            let (fitting, bytes) = weights.fold((0, 0), |(fitting, bytes), weight| (fitting + 1, bytes + weight));
            if fitting == 0 && count > 0 {
                return Err(Refusal::TooLarge);
            }
            count = fitting;
            segment.add_bytes(bytes);
        }
        for (slot, message) in (slot..).zip(messages.drain(..count)) {
            // SAFETY: slots from `tail` on are the writer's alone until they are committed, and hold nothing.
            unsafe { segment.fill(slot, message) };
            if ring.timed {
                segment.decide_times(slot, now);
            }
        }
        match self.commit(count as u64) {
            Ok(armed) => {
                let first = self.tail;
                self.tail += count as u64;
                segment.commit_until(self.tail);
                if armed {
                    bell.disturbed();
                }
                Ok((first, count))
            }
            Err(refusal) => {
                for slot in (slot..slot + count).rev() {
                    // SAFETY: filled above, never committed, and the ring takes nothing any more.
                    messages.push_front(unsafe { segment.take_back(slot) });
                }
                Err(refusal)
            }
        }
    }

    /// Moves the tail by `count` unless the ring is closed; returns whether somebody is parked.
    fn commit(&self, count: u64) -> Result<bool, Refusal> {
        let ring = &*self.ring;
        // AcqRel: takes ARMED together with what the parker did before; the values are published by `commit_until`.
        // Pairs with `arm` and with `close_exclusive`. model: exclusive_park, exclusive_close
        update(&ring.claim, AcqRel, Acquire, |word| (word & CLOSED == 0).then_some(self.tail + count))
            .map(|before| before & ARMED != 0)
            .map_err(|_| Refusal::Closed)
    }

    /// Installs the segment that the tail's generation needs.
    fn rotate(&mut self, bell: &impl Bell) -> Result<u16, Refusal> {
        let ring = &*self.ring;
        if ring.is_closed() {
            return Err(Refusal::Closed);
        }
        let directory = ring.directory();
        let shape = ring.shape;
        let generation = shape.generation(self.tail);
        let old = directory.word_to_replace(generation);
        if old.generation() == generation {
            // Installed by an attempt that was then refused.
            self.index = Some(old.index());
            return Ok(old.index());
        }
        let evicts = old.generation() > 0 && !old.is_gone();
        if evicts {
            // SeqCst: the commits so far before our look at the gate. Pairs as in the shared `rotate`.
            fence(SeqCst);
            if !bell.may_evict(shape.first(old.generation() + 1)) {
                return Err(Refusal::Full);
            }
        }
        if let Some(budget) = &ring.budget
            && budget.make_room(directory, shape, generation - 1, bell).blocked
        {
            return Err(Refusal::Full);
        }
        let Some(index) = directory.take(bell) else { return Err(Refusal::Full) };
        let floor = match self.index {
            Some(last) => directory.segment(last).last_time(),
            None => 0,
        };
        directory.segment(index).begin(generation, self.tail, floor);
        let installed = directory.replace(generation, old, DirectoryWord::new(generation, index));
        debug_assert!(installed, "an exclusive ring has one installer");
        if evicts {
            directory.retire(old.index(), bell);
        }
        self.index = Some(index);
        Ok(index)
    }
}
