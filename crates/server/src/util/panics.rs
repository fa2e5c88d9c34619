//! Calls that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Runs what may panic; the panic ends here. The caller does not use again what may have been left half done.
pub(crate) fn guard<R>(run: impl FnOnce() -> R) -> thread::Result<R> {
    catch_unwind(AssertUnwindSafe(run))
}
