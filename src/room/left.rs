//! Readers whom a publisher has left to others to wake.
//!
//! A publisher wakes so many itself and leaves the rest here, before it wakes the last few of its own. From then on every
//! reader helps that was woken, yields, is about to sleep, has come to the end of the room, or goes: it takes some from
//! here, puts the rest back, and only then wakes those it took. So each of the woken finds the others, and nobody relies on
//! a shard, which may be in a handler for as long as that likes; but shards help, too.

use std::cell::Cell;
use std::fmt;

use crate::sync::{AcqRel, AtomicBool, Queue, thread_local};
use crate::wake::{Chain, Waiter, take_some, wake_each};

/// Readers that a publisher wakes itself, whoever else might: a task takes some 30 ns, a sleeping thread ten microseconds.
/// Few in models, so that they come to what lies beyond.
pub(super) const WAKES_MAX: usize = if cfg!(roomcast_loom) {
    1
} else if cfg!(roomcast_shuttle) {
    4
} else {
    512
};

/// Readers that one who helps wakes: so many that those who are woken, and help in their turn, are soon enough, and so few
/// that a helper is not held up by it.
pub(super) const WAKES_HELP: usize = if cfg!(roomcast_loom) {
    1
} else if cfg!(roomcast_shuttle) {
    2
} else {
    64
};

/// Helpers within helpers on one thread, where a waker polls its reader at once and that one helps. A bound, since each
/// takes stack; enough for more readers than there can be: each helper goes on with as many as it has itself.
const DEPTH_MAX: u32 = 4;

/// Readers of one room that are left to be woken.
pub(crate) struct Left {
    /// As many as have ever slept at once at most.
    chains: Queue<Chain<Waiter>>,
    /// Whether it lies in a shard's queue.
    called: AtomicBool,
}

thread_local! {
    /// How many that help this thread is in the midst of, one within the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

impl Left {
    pub(super) fn new() -> Self {
        Self { chains: Queue::new(), called: AtomicBool::new(false) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Wakes some of those who are left.
    #[cold]
    pub(super) fn help(&self) {
        let depth = DEPTH.with(|depth| depth.get());
        if depth < DEPTH_MAX {
            DEPTH.with(|place| place.set(depth + 1));
            // Nothing here unwinds: wakers are foreign code and guarded.
            self.wake_some();
            DEPTH.with(|place| place.set(depth));
        }
    }

    /// Wakes some, one at least if there is one; whether there may be more.
    pub(super) fn wake_some(&self) -> bool {
        while let Some(mut waiters) = self.chains.pop() {
            let some = take_some::<WAKES_HELP>(&mut waiters);
            self.leave(waiters);
            if wake_each(some) {
                return !self.is_empty();
            }
            // They went before the rest lay here, and may not have found it.
        }
        false
    }

    /// Leaves readers here, before some are woken who then find them.
    pub(super) fn leave(&self, waiters: Chain<Waiter>) {
        if !waiters.is_empty() {
            self.chains.push(waiters);
        }
    }

    /// Claims the right to leave this with a shard.
    pub(super) fn call(&self) -> bool {
        // AcqRel: whoever finds it set comes before the shard that clears it, which then finds what was left. Pairs with
        // the swap in `wake_called`. model: leave_call
        !self.called.swap(true, AcqRel)
    }

    /// A shard's help: wakes some, so many times; whether it is to go on.
    pub(crate) fn wake_called(&self, times: usize) -> bool {
        // AcqRel: what is left after this calls again. Pairs with the swap in `call`.
        self.called.swap(false, AcqRel);
        // Whoever has called meanwhile has left it with a shard.
        (0..times).all(|_| self.wake_some()) && self.call()
    }
}

impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Left").field("empty", &self.is_empty()).finish()
    }
}
