//! The memory of calls to a backend: what is said, and what is answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Grow, Memory, Reservation};

/// The part of the memory for all calls that those on one line may have: a backend that does not answer, or answers much, leaves the
/// others theirs.
const LINE_PART: u64 = 2;

/// What those on one line have.
pub(crate) struct CallMemory {
    memory: Arc<Memory>,
    /// Bytes of all calls, those under way among them.
    bytes: AtomicU64,
}

impl CallMemory {
    pub(crate) fn new(memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self { memory, bytes: AtomicU64::new(0) })
    }

    /// Memory for a call that says so many bytes; nothing where there is none.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Option<HeldByCall> {
        let mut held = HeldByCall { line: Arc::clone(self), bytes: 0, reserved: None };
        held.grow(bytes).then_some(held)
    }
}

impl fmt::Debug for CallMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallMemory").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Memory that a call has as long as it is there, waiting, under way or answered.
#[derive(Debug)]
pub(crate) struct HeldByCall {
    line: Arc<CallMemory>,
    bytes: u64,
    reserved: Option<Reservation>,
}

impl Grow for HeldByCall {
    fn grow(&mut self, bytes: u64) -> bool {
        let CallMemory { memory, bytes: of_line } = &*self.line;
        let share = &memory.callbacks;
        let Some(more) = share.try_reserve(bytes) else { return false };
        // Relaxed, here and below: a count, which guards nothing.
        let before = of_line.fetch_add(bytes, Relaxed);
        // What is alone on its line may have more: it is no heap of them.
        if before > self.bytes && before + bytes > share.limit() / LINE_PART {
            of_line.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.bytes += bytes;
        Reservation::add(&mut self.reserved, more);
        true
    }
}

impl Drop for HeldByCall {
    fn drop(&mut self) {
        self.line.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_half_of_the_memory_for_calls_and_leaves_others_theirs() {
        let memory = Arc::new(Memory::of(128 << 20));
        let [first, second, third] = [(); 3].map(|()| CallMemory::new(Arc::clone(&memory)));
        // What is reserved is rounded up to whole KiB.
        let bytes = memory.callbacks.limit() / 8 / 1_024 * 1_024;
        let take = |of: &Arc<CallMemory>| std::iter::from_fn(|| of.hold(bytes)).take(100).collect::<Vec<_>>();
        let (of_first, of_second) = (take(&first), take(&second));
        assert_eq!([of_first.len(), of_second.len()], [4, 4]);
        assert!(third.hold(bytes).is_none(), "there is no more");
        drop((of_first, of_second));
        assert_eq!(memory.callbacks.used(), 0);
        assert!(third.hold(memory.callbacks.limit()).is_some(), "one alone may have all of it");
        assert_eq!((memory.callbacks.used(), third.bytes.load(Relaxed)), (0, 0));
    }

    #[test]
    fn what_is_answered_counts_with_what_was_said_and_one_alone_may_be_answered_much() {
        let memory = Arc::new(Memory::of(128 << 20));
        let line = CallMemory::new(Arc::clone(&memory));
        let quarter = memory.callbacks.limit() / 4 / 1_024 * 1_024;
        let mut first = line.hold(1_024).expect("there is as much");
        assert!(first.grow(3 * quarter), "it is alone");
        drop(first);
        let [mut first, mut second] = [(); 2].map(|()| line.hold(1_024).expect("there is as much"));
        assert!(first.grow(quarter) && !second.grow(quarter), "half of it");
        assert!(memory.callbacks.used() <= quarter + 2 * 1_024);
        drop(first);
        assert!(second.grow(quarter));
        drop(second);
        assert_eq!((memory.callbacks.used(), line.bytes.load(Relaxed)), (0, 0));
    }
}
