//! How a *block* subscriber keeps the room from overrunning it: a gate that it moves as it reads.

use super::core::Inside;
use crate::sync::{Arc, AtomicU64, Relaxed, Release, SeqCst, fence};

/// How far a *block* subscriber has read.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(super) next: AtomicU64,
}

impl Gate {
    /// Puts a gate before everything, to be moved to its subscriber's start.
    pub(super) fn join<T>(inside: &Inside<T>) -> Arc<Self> {
        let gate = Arc::new(Self { next: AtomicU64::new(0) });
        inside.0.seldom().gates.update(|gates| Some(gates.iter().chain([&gate]).cloned().collect()));
        // SeqCst: the gate before our look at the tail. Pairs with the fence in `rotate`: a rotation that evicts what we
        // are to read began after our look, and sees the gate. model: gate_join
        fence(SeqCst);
        gate
    }

    /// Says how far its subscriber has read.
    #[inline]
    pub(super) fn pass<T>(&self, inside: &Inside<T>, next: u64) {
        let shape = inside.shape();
        // Relaxed: only the subscriber writes it.
        if shape.generation(self.next.load(Relaxed)) != shape.generation(next) {
            self.pass_slow(inside, next);
        }
    }

    fn pass_slow<T>(&self, inside: &Inside<T>, next: u64) {
        // Release: our reads come before the eviction. Pairs with the Acquire in `may_evict`.
        self.next.store(next, Release);
        // SeqCst: our progress before our look at who waits. Pairs with the fence in `PublishWait::poll`.
        fence(SeqCst);
        inside.0.wake_aside_if_any();
    }

    pub(super) fn leave<T>(gate: &Arc<Self>, inside: &Inside<T>) {
        inside
            .0
            .seldom()
            .gates
            .update(|gates| Some(gates.iter().filter(|other| !Arc::ptr_eq(other, gate)).cloned().collect()));
        // SeqCst: as in `pass`.
        fence(SeqCst);
        inside.0.wake_aside();
    }
}
