//! Reading an atomic that the same thread is about to change.
//!
//! loom remembers one last access per atomic. A thread's own plain load, made just before its read-modify-write, hides the
//! load another thread made earlier, and the order in which the write comes before that load is never explored. In a model
//! such looks are therefore read-modify-writes themselves. They then see the newest value only; a stale look would make
//! the write after it fail and start over, which it does in many executions anyway. Only for atomics that nobody stores
//! to plainly: loom would let such a store come between the two halves of a look.

use super::Ordering;
use super::backend::{AtomicPtr, AtomicU64};

/// Looks before a read-modify-write of the same atomic.
pub(crate) trait Look {
    type Value;

    /// A load; in a model a read-modify-write that changes nothing.
    fn look(&self, ordering: Ordering) -> Self::Value;
}

impl Look for AtomicU64 {
    type Value = u64;

    #[inline(always)]
    fn look(&self, ordering: Ordering) -> u64 {
        if cfg!(roomcast_loom) { self.fetch_or(0, ordering) } else { self.load(ordering) }
    }
}

impl<T> Look for AtomicPtr<T> {
    type Value = *mut T;

    #[inline(always)]
    fn look(&self, ordering: Ordering) -> *mut T {
        if !cfg!(roomcast_loom) {
            return self.load(ordering);
        }
        let null = std::ptr::null_mut();
        match self.compare_exchange(null, null, ordering, ordering) {
            Ok(value) | Err(value) => value,
        }
    }
}

/// Replaces the value by what `next` makes of it, again while others are faster. Returns the value replaced, or the one
/// for which `next` had nothing.
#[inline]
pub(crate) fn update(
    atomic: &AtomicU64,
    success: Ordering,
    look: Ordering,
    mut next: impl FnMut(u64) -> Option<u64>,
) -> Result<u64, u64> {
    let mut seen = atomic.look(look);
    while let Some(new) = next(seen) {
        match atomic.compare_exchange(seen, new, success, look) {
            Ok(before) => return Ok(before),
            Err(now) => seen = now,
        }
    }
    Err(seen)
}
