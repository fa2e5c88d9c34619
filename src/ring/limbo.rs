//! Where evicted segments wait until nobody uses them any more.

use crate::sync::Queue;

/// Evicted segments that one rotation looks at, so that a rotation costs the same however many are pinned.
const EVICTED_LOOKS: usize = 4;

/// Pinned segments that one rotation looks at again.
const PINNED_LOOKS: usize = 2;

/// Evicted segments that may wait for a shard to drop their messages; beyond it the publisher that rotates drops those of
/// one itself, so that memory stays bounded when no shard gets to it.
pub(crate) const EVICTED_MAX: usize = 4;

/// Two FIFO queues of evicted segments, and the free ones.
///
/// What is found in use goes to the back of `pinned`, so that each rotation looks at a bounded number and no long-pinned
/// segment hides the ones behind it. (One stack taken whole grew without bound under two rotators; one FIFO with a
/// thousand pinned segments grew to four times that.)
#[derive(Debug)]
pub(crate) struct Limbo {
    evicted: Queue<u16>,
    pinned: Queue<u16>,
    free: Queue<u16>,
}

impl Limbo {
    pub(crate) fn new() -> Self {
        Self { evicted: Queue::new(), pinned: Queue::new(), free: Queue::new() }
    }

    pub(crate) fn push_evicted(&self, index: u16) {
        self.evicted.push(index);
    }

    pub(crate) fn push_free(&self, index: u16) {
        self.free.push(index);
    }

    pub(crate) fn pop_free(&self) -> Option<u16> {
        self.free.pop()
    }

    /// Evicted segments nobody has looked at yet.
    pub(crate) fn evicted_len(&self) -> usize {
        self.evicted.len()
    }

    /// Segments that were still in use when last looked at.
    pub(crate) fn pinned_len(&self) -> usize {
        self.pinned.len()
    }

    /// Takes out one segment for which `is_unused` holds, looking at a bounded number.
    pub(crate) fn pop_unused(&self, is_unused: impl Fn(u16) -> bool) -> Option<u16> {
        // The pinned first: a rotation that found its segment among the evicted ones would never look at them.
        for (queue, looks) in [(&self.pinned, PINNED_LOOKS), (&self.evicted, EVICTED_LOOKS)] {
            for _ in 0..looks {
                let Some(index) = queue.pop() else { break };
                if is_unused(index) {
                    return Some(index);
                }
                self.pinned.push(index);
            }
        }
        None
    }
}
