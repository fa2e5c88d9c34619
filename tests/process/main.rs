//! What only the whole process shows: its heap and its threads. Each test here has the process to itself.

mod heap;
mod threads;

use std::sync::{Mutex, MutexGuard, PoisonError};

use cap::Cap;

#[global_allocator]
static HEAP: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

static ALONE: Mutex<()> = Mutex::new(());

/// Keeps the other tests of this process waiting.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
