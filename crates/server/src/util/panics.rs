//! Calls that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Runs what may panic; the panic ends here. The caller does not use again what may have been left half done.
pub(crate) fn guard<R>(run: impl FnOnce() -> R) -> thread::Result<R> {
    catch_unwind(AssertUnwindSafe(run))
}

/// Locks a mutex, whether or not somebody has panicked with it: for what is whole between any two steps of those who change it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
