//! A heap value made on first use.

use std::fmt;
use std::ptr;

use super::backend::AtomicPtr;
use super::{AcqRel, Acquire, Look};

/// A box that is empty until somebody needs it: eight bytes in an idle room.
///
/// Two first users may both make a value; one is kept, the other dropped.
pub(crate) struct Lazy<T> {
    /// Null, then a box that stays until `Lazy` is dropped.
    value: AtomicPtr<T>,
}

impl<T> Lazy<T> {
    pub(crate) fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value, if somebody made it.
    #[inline(always)]
    pub(crate) fn peek(&self) -> Option<&T> {
        // Acquire: sees the value whole. Pairs with the compare-exchange in `make`.
        let value = self.value.look(Acquire);
        // SAFETY: a non-null pointer came from `Box::into_raw` in `make`, was published by its Release, and is freed by
        // `drop` alone, which has `&mut self`.
        unsafe { value.as_ref() }
    }

    /// The value, made now if need be.
    #[inline(always)]
    pub(crate) fn force(&self, make: impl FnOnce() -> T) -> &T {
        match self.peek() {
            Some(value) => value,
            None => self.make(make()),
        }
    }

    #[cold]
    fn make(&self, value: T) -> &T {
        let fresh = Box::into_raw(Box::new(value));
        // AcqRel: publishes the value to `peek`; a loser sees the winner's whole. model: make_make
        match self.value.compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire) {
            // SAFETY: just made, now owned by `self` and never freed before it.
            Ok(_) => unsafe { &*fresh },
            Err(winner) => {
                // SAFETY: `fresh` came from `Box::into_raw` above and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: not null, since the exchange from null failed; the winner's box lives as long as `self`.
                unsafe { &*winner }
            }
        }
    }
}

impl<T> Drop for Lazy<T> {
    fn drop(&mut self) {
        // Acquire: the value as its maker left it. `&mut self` already orders us after every user.
        let value = self.value.load(Acquire);
        if !value.is_null() {
            // SAFETY: from `Box::into_raw` in `make`; `&mut self` says that nobody borrows it any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

// SAFETY: `Lazy` owns its `T` like a `Box` and hands out `&T` to whoever shares it: Send needs `T: Send`, and Sync needs
// both, because a shared `Lazy` may receive its value from one thread and drop it on another.
unsafe impl<T: Send> Send for Lazy<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Lazy<T> {}

impl<T: fmt::Debug> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lazy").field(&self.peek()).finish()
    }
}
