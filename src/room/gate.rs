//! How a *block* subscriber keeps the room from overrunning it: a gate that it moves as it reads.

use super::core::RoomRef;
use crate::sync::{Arc, AtomicU64, Relaxed, Release, SeqCst, fence};

/// How far a *block* subscriber has read.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(super) next: AtomicU64,
}

impl Gate {
    /// Lists a gate that is open, and so holds nobody up, until [`Gate::shut`] says what its subscriber wants.
    pub(super) fn join<T>(room_ref: &RoomRef<T>) -> Arc<Self> {
        let gate = Arc::new(Self { next: AtomicU64::new(u64::MAX) });
        room_ref.0.cold().gates.update(|gates| Some(gates.iter().chain([&gate]).cloned().collect()));
        gate
    }

    /// Has the room keep what lies from `next` on, as far as it is not on its way out already: returns where its
    /// subscriber can begin.
    ///
    /// A rotation looks at the claim word, fences, and looks at the gates:
    /// 1. its fence comes after ours: it sees the gate, shut at `next`, and evicts nothing from there on;
    /// 2. its fence comes before ours: it may have missed the gate, but then we see the claim word at least as far as it
    ///    did, and begin behind what it may be evicting ([`crate::ring::Ring::oldest_kept`]). A publisher that found the
    ///    gate too low meanwhile may sleep: moved, the gate wakes it as when its subscriber reads on.
    ///
    /// A gate that was shut before it is known where would refuse rotations that overrun nobody.
    pub(super) fn shut<T>(&self, room_ref: &RoomRef<T>, next: u64) -> u64 {
        // Release: as in `pass_slow`.
        self.next.store(next, Release);
        // SeqCst: the gate before our look at the tail. Pairs with the fence in `rotate`. model: gate_join
        fence(SeqCst);
        let begin = room_ref.ring().oldest_kept().max(next);
        // model: gate_join_wait, gate_join_publish
        self.pass(room_ref, begin);
        begin
    }

    /// Says how far its subscriber has read.
    #[inline]
    pub(super) fn pass<T>(&self, room_ref: &RoomRef<T>, next: u64) {
        let shape = room_ref.ring().shape();
        // Relaxed: only the subscriber writes it.
        if shape.generation(self.next.load(Relaxed)) != shape.generation(next) {
            self.pass_slow(room_ref, next);
        }
    }

    fn pass_slow<T>(&self, room_ref: &RoomRef<T>, next: u64) {
        // Release: our reads come before the eviction. Pairs with the Acquire in `may_evict`.
        self.next.store(next, Release);
        // SeqCst: our progress before our look at who waits. Pairs with the fence in `LifecycleWait::park`.
        fence(SeqCst);
        room_ref.0.wake_lifecycle_if_any();
    }

    pub(super) fn leave<T>(gate: &Arc<Self>, room_ref: &RoomRef<T>) {
        room_ref
            .0
            .cold()
            .gates
            .update(|gates| Some(gates.iter().filter(|other| !Arc::ptr_eq(other, gate)).cloned().collect()));
        // SeqCst: as in `pass_slow`.
        fence(SeqCst);
        room_ref.0.wake_lifecycle();
    }
}
