//! Rooms that a pattern has found and its reader has not looked at yet.

use super::subscription::Subscription;
use crate::sync::{Acquire, AtomicU32, AtomicU64, Queue, Relaxed, Release, SeqCst, fence};

/// Rooms that have ended of which none is passed over, whatever the number of rooms there are: enough for a reader that was
/// away for a moment, and a few megabytes where they hold little.
const ENDED_MAX: usize = if cfg!(any(roomcast_loom, roomcast_shuttle)) { 2 } else { 1024 };

/// Rooms looked at whenever one comes or goes, so that there are never more than a few beyond the bound: half of what is
/// there has ended then, so these are more than come.
const LOOKED_AT: usize = 8;

/// What a pattern that nobody read has let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// Rooms that had ended.
    pub rooms: u64,
    /// The messages that were in them.
    pub messages: u64,
}

/// The subscriptions to these rooms, put in by whoever makes a room and taken out by the one reader.
///
/// Nobody but the reader would ever take one out, and each keeps its room: so whoever makes or removes a room passes over
/// some that have ended, while there are many. One at a time does, and has up to [`LOOKED_AT`] in hand for a moment, in
/// which the reader does not find them: `passes` is odd then, and moves with each, so the reader knows.
pub(super) struct Found<T> {
    subscriptions: Queue<Subscription<T>>,
    passes: AtomicU32,
    rooms: AtomicU64,
    messages: AtomicU64,
}

impl<T> Found<T> {
    pub(super) fn new() -> Self {
        let (rooms, messages) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { subscriptions: Queue::new(), passes: AtomicU32::new(0), rooms, messages }
    }

    pub(super) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn push(&self, subscription: Subscription<T>) {
        self.subscriptions.push(subscription);
    }

    pub(super) fn clear(&self) {
        while self.subscriptions.pop().is_some() {}
    }

    /// Gives all to the reader; false if some were in the hands of another, who will wake it.
    pub(super) fn take_all(&self, mut take: impl FnMut(Subscription<T>)) -> bool {
        // Acquire: what an earlier pass has put back is found. Pairs with its end.
        let passes = self.passes.load(Acquire);
        while let Some(subscription) = self.subscriptions.pop() {
            take(subscription);
        }
        // SeqCst: our last look into the queue before our second look at the passes. Pairs with the fence of a pass: what
        // it has taken before our last look was taken after a step that we see.
        fence(SeqCst);
        // Relaxed: ordered by the fence.
        passes.is_multiple_of(2) && self.passes.load(Relaxed) == passes
    }

    /// Passes over some that have ended, if there are many more than `live`; false if it looked at none.
    pub(super) fn pass_over_ended(&self, live: usize) -> bool {
        let kept = 2 * live + ENDED_MAX;
        if self.subscriptions.len() <= kept {
            return false;
        }
        // Relaxed look: the exchange decides. Acquire: behind the pass before, with whose end it pairs.
        let passes = self.passes.load(Relaxed);
        let is_free = passes.is_multiple_of(2);
        if !is_free || self.passes.compare_exchange(passes, passes.wrapping_add(1), Acquire, Relaxed).is_err() {
            return false;
        }
        // SeqCst: the step before what we take. Pairs with the fence in `take_all`.
        fence(SeqCst);
        let mut ended = Vec::new();
        for _ in 0..LOOKED_AT {
            if self.subscriptions.len() <= kept {
                break;
            }
            match self.subscriptions.pop() {
                Some(subscription) if subscription.has_ended() => ended.push(subscription),
                Some(subscription) => self.subscriptions.push(subscription),
                None => break,
            }
        }
        // Release: what was put back is found by whoever sees this. Pairs with the load in `take_all`.
        self.passes.store(passes.wrapping_add(2), Release);
        for subscription in ended {
            // Relaxed, both: figures.
            self.rooms.fetch_add(1, Relaxed);
            self.messages.fetch_add(subscription.lag(), Relaxed);
        }
        true
    }

    pub(super) fn passed_over(&self) -> PassedOver {
        // Relaxed, both: figures.
        PassedOver { rooms: self.rooms.load(Relaxed), messages: self.messages.load(Relaxed) }
    }
}
