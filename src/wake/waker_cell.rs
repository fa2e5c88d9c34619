//! One waker, set by its task and taken by whoever wakes it, without a lock.

use std::fmt;
use std::task::Waker;

use crate::sync::{AcqRel, Acquire, AtomicU8, Release, UnsafeCell, spin_loop};

const IDLE: u8 = 0;
const REGISTERING: u8 = 1;
const TAKING: u8 = 2;

/// A place for the waker of one task.
///
/// The states, after the `AtomicWaker` of the futures crates:
/// * `IDLE` → `REGISTERING` by the task; back to `IDLE`, or, if a taker came meanwhile, the task takes the waker itself.
/// * `IDLE` → `TAKING` by a taker, back to `IDLE` by the same.
/// * `REGISTERING` → `REGISTERING | TAKING` by a taker, which leaves the waking to the task.
pub(crate) struct WakerCell {
    state: AtomicU8,
    /// Touched by whoever moved `state` away from `IDLE`.
    waker: UnsafeCell<Option<Waker>>,
}

impl WakerCell {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(IDLE), waker: UnsafeCell::new(None) }
    }

    /// Stores the waker for the next [`WakerCell::take`]. If somebody takes at this very moment, wakes it at once. One
    /// task at a time may register.
    pub(crate) fn register(&self, waker: &Waker) {
        // Cloned and dropped outside the registering state: both are foreign code and may panic.
        let waker = waker.clone();
        // Acquire: sees the cell as the last taker left it. Pairs with the Release in `take`.
        if self.state.compare_exchange(IDLE, REGISTERING, Acquire, Acquire).is_err() {
            // The taker is between two instructions; let it go on.
            spin_loop();
            waker.wake();
            return;
        }
        // SAFETY: REGISTERING is ours alone: takers leave the cell alone and no other task registers.
        let old = unsafe { self.replace(Some(waker)) };
        // AcqRel: publishes the waker to the next taker; on failure sees what the taker did before it came.
        if self.state.compare_exchange(REGISTERING, IDLE, AcqRel, Acquire).is_err() {
            // SAFETY: the state is REGISTERING | TAKING, and the taker has left the cell to us.
            let waker = unsafe { self.replace(None) };
            // Release: the cell is empty again. Pairs with the Acquire of the next `register` or `take`.
            self.state.swap(IDLE, AcqRel);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        drop(old);
    }

    /// Takes the waker out. `None` if there is none, or if somebody else is waking or registering and will see to it.
    pub(crate) fn take(&self) -> Option<Waker> {
        // AcqRel: Acquire sees the waker, pairs with `register`; Release lets a registering task see what we did before.
        // model: register_take
        if self.state.fetch_or(TAKING, AcqRel) != IDLE {
            return None;
        }
        // SAFETY: we moved the state from IDLE to TAKING, so nobody else touches the cell.
        let waker = unsafe { self.replace(None) };
        // Release: pairs with the Acquire in `register`. A swap: another taker that came meanwhile has left it to us, and who
        // registers next is to see what that one did before; a store would cut off what it released. model: take_take
        self.state.swap(IDLE, Release);
        waker
    }

    /// # Safety
    /// The caller has moved `state` away from `IDLE` and not back yet.
    unsafe fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        self.waker.with_mut(|place| {
            // SAFETY: the caller has the cell to itself.
            unsafe { place.replace(waker) }
        })
    }
}

// SAFETY: the cell is guarded by `state` as argued at each access; `Waker` is Send and Sync.
unsafe impl Sync for WakerCell {}
// SAFETY: as above.
unsafe impl Send for WakerCell {}

impl fmt::Debug for WakerCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakerCell").finish_non_exhaustive()
    }
}
