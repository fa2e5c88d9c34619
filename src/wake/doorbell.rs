//! The armed word of a room and the readers who wait for it to ring.

use std::task::Waker;

use super::stack::{Chain, Link, Linked, Stack};
use super::waker_cell::WakerCell;
use crate::sync::{AcqRel, Arc, AtomicU32, AtomicU64, Relaxed, Release, guard};

/// Waiters of dropped readers that may lie in a doorbell before they are swept out, however few live ones there are.
const ABANDONED_MIN: u32 = 32;

/// Who is parked at a room, and for which sequences.
///
/// Everybody parked waits for the commit of one sequence: the one at its cursor. `armed` has a bit per sequence modulo
/// 64, so a publisher that commits beyond a hole does not wake those who wait at the hole, and a commit nobody waits for
/// costs one load.
#[derive(Debug)]
pub(crate) struct Doorbell {
    armed: AtomicU64,
    waiters: Stack<Waiter>,
    /// Waiters on the stack whose readers are gone; zero again when the stack is taken.
    abandoned: AtomicU32,
}

/// A reader that sleeps anywhere: a task on any executor, or a thread.
#[derive(Debug)]
pub(crate) struct Waiter {
    link: Link<Self>,
    waker: WakerCell,
}

impl Waiter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { link: Link::new(), waker: WakerCell::new() })
    }

    /// Stores whom to wake.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Takes out whom to wake: to do so, or because it is not to be woken any more.
    pub(crate) fn forget(&self) -> Option<Waker> {
        self.waker.take()
    }
}

impl Linked for Waiter {
    fn link(&self) -> &Link<Self> {
        &self.link
    }
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { armed: AtomicU64::new(0), waiters: Stack::new(), abandoned: AtomicU32::new(0) }
    }

    /// Registers a reader that waits for `sequence`. The caller then makes a `fence(SeqCst)` and looks once more.
    pub(crate) fn park(&self, waiter: &Arc<Waiter>, waker: &Waker, sequence: u64) {
        waiter.register(waker);
        self.waiters.push(waiter);
        // Relaxed: if the bit is set already, whoever clears it takes our waiter too. Had their taking come before our
        // push, the push would have seen it (Acquire) and with it the clearing before; the mark of a waiter that was still
        // queued says the same of the push that queued it. So the one who clears the bit that we see takes after us, and
        // until then each publisher sees it that comes after our caller's fence. model: park_disturb
        if self.armed.load(Relaxed) & bit(sequence) == 0 {
            self.arm(sequence);
        }
    }

    /// Asks to be told when `sequence` is committed. The caller then makes a `fence(SeqCst)` and looks once more.
    pub(crate) fn arm(&self, sequence: u64) {
        // Release: whoever swaps the word out sees who armed it. Pairs with the swap in `disarm`. The race with the
        // publisher is decided by the fences on both sides, not here. model: publish_park
        self.armed.fetch_or(bit(sequence), Release);
    }

    /// Whether somebody waits for one of `count` sequences from `first` on (or for one 64 apart). To be asked after a
    /// `fence(SeqCst)`.
    #[inline(always)]
    pub(crate) fn is_armed_for(&self, first: u64, count: u64) -> bool {
        // Relaxed: ordered by the caller's fence.
        self.armed.load(Relaxed) & bits(first, count) != 0
    }

    /// Whether anybody waits. To be asked after a `fence(SeqCst)`.
    pub(crate) fn is_armed(&self) -> bool {
        // Relaxed: as above.
        self.armed.load(Relaxed) != 0
    }

    /// Answers the call: takes out everybody parked, to be woken with [`wake_some`]. Whoever parks from here on arms
    /// the bell anew.
    pub(crate) fn disarm(&self) -> Chain<Waiter> {
        // AcqRel: Acquire sees the waiters and shards that armed it; Release keeps the order with the next to arm.
        self.armed.swap(0, AcqRel);
        // Relaxed: a count that decides when to sweep.
        self.abandoned.store(0, Relaxed);
        self.waiters.take_all()
    }

    /// Says that a reader is gone while `live` others remain; true when most of the waiters are such, and everybody is to
    /// be woken: the live ones look, find nothing and park again, the abandoned ones go away. So each drop costs one
    /// needless wake at most, and a reader that lives costs no bookkeeping.
    pub(crate) fn abandon(&self, waiter: &Waiter, live: u64) -> bool {
        drop(waiter.waker.take());
        if !waiter.link.is_queued() {
            return false;
        }
        // Relaxed: see `disarm`.
        let abandoned = self.abandoned.fetch_add(1, Relaxed) + 1;
        abandoned >= ABANDONED_MIN && u64::from(abandoned) > live
    }
}

/// Wakes up to `max` of a chain, passing over those who are gone. A waker that panics does not keep the others asleep.
pub(crate) fn wake_some(chain: &mut Chain<Waiter>, max: usize) {
    let mut woken = 0;
    while woken < max {
        let Some(waiter) = chain.next() else { break };
        if let Some(waker) = waiter.waker.take() {
            wake_safely(waker);
            woken += 1;
        }
    }
}

/// The next waiters of a chain, to be woken by [`wake_each`] when the rest lies where they look.
pub(crate) fn take_some<const MAX: usize>(chain: &mut Chain<Waiter>) -> [Option<Arc<Waiter>>; MAX] {
    std::array::from_fn(|_| chain.next())
}

/// Wakes those who are not gone; false if all were.
///
/// Their wakers are taken now and not with the waiters: whoever goes takes its own back before it looks for the rest, so
/// either it is woken here and finds the rest, or it is known not to. model: leave_help
pub(crate) fn wake_each(waiters: impl IntoIterator<Item = Option<Arc<Waiter>>>) -> bool {
    let mut woken = false;
    for waker in waiters.into_iter().flatten().filter_map(|waiter| waiter.forget()) {
        wake_safely(waker);
        woken = true;
    }
    woken
}

/// Wakes somebody whose waker is foreign code: its panic is not ours, nor that of the next to be woken.
#[inline]
pub(crate) fn wake_safely(waker: Waker) {
    drop(guard(|| waker.wake()));
}

#[inline(always)]
fn bit(sequence: u64) -> u64 {
    1 << (sequence % 64)
}

#[inline(always)]
fn bits(first: u64, count: u64) -> u64 {
    let run = if count < 64 { (1 << count) - 1 } else { u64::MAX };
    u64::rotate_left(run, (first % 64) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_the_bits_of_its_sequences() {
        for (first, count) in [(0, 1), (63, 1), (62, 4), (5, 63), (64, 64), (7, 100), (u64::MAX - 1, 1)] {
            let each = (0..count).fold(0, |bits, index| bits | bit(first.wrapping_add(index)));
            assert_eq!(bits(first, count), each, "{count} from {first} on");
        }
    }
}
