//! One clock for publishers and readers of a run.

use std::time::Instant;

/// Nanoseconds since the run began. Never 0, which stands for a message that is not timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    #[inline]
    pub(crate) fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64 + 1
    }
}
