//! The clocks of a simulated machine: one that only goes forward, which is the runtime's, and the system's, which jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tokio::time::Instant;

use crate::util::clock::Clock;

/// What the system's clock says at the beginning of all.
const BEGIN_MS: i64 = 1_800_000_000_000;

/// The system's clock of a machine.
#[derive(Clone, Debug)]
pub(super) struct SystemClock {
    /// What it says beyond the time since the process started.
    offset_ms: Arc<AtomicI64>,
}

impl SystemClock {
    pub(super) fn new() -> Self {
        Self { offset_ms: Arc::new(AtomicI64::new(BEGIN_MS)) }
    }

    /// A process that started then has ended: the clock goes on.
    pub(super) fn go_on(&self, started: Instant) {
        self.jump(started.elapsed().as_millis() as i64);
    }

    /// Has it jump.
    pub(super) fn jump(&self, by_ms: i64) {
        // Relaxed, here and below: one thread runs at a time.
        self.offset_ms.fetch_add(by_ms, Relaxed);
    }

    /// The time on the wire of a process that starts now, as a server has it.
    pub(super) fn start(&self) -> impl Fn() -> u64 + Clone + Send + Sync + 'static {
        let (offset_ms, started) = (Arc::clone(&self.offset_ms), Instant::now());
        let system_ms =
            move |elapsed_ms: u64| offset_ms.load(Relaxed).saturating_add_unsigned(elapsed_ms).unsigned_abs();
        let clock = Arc::new(Clock::starting_at(system_ms(0)));
        move || {
            let elapsed_ms = started.elapsed().as_millis() as u64;
            clock.read(system_ms(elapsed_ms), elapsed_ms)
        }
    }
}
