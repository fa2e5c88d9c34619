//! The time on the wire: milliseconds since 1970.
//!
//! Times of a room never fall, and are kept. So a system clock that jumps, once and for a moment, would stamp all that comes after
//! with where it jumped to. A jump is believed when it has lasted.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the system's clock may move against one that only goes forward, and be believed at once: more than any correction that
/// is made while a clock is right.
const BELIEVED: Duration = Duration::from_secs(60);

/// How long it must stay where it jumped to. A machine that was asleep, or had no time when it started, is late by as much once.
const LASTING: Duration = Duration::from_secs(60);

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    static CLOCK: LazyLock<(Instant, Clock)> = LazyLock::new(|| (Instant::now(), Clock::starting_at(system_ms())));
    let (started, clock) = &*CLOCK;
    clock.read(system_ms(), started.elapsed().as_millis() as u64)
}

fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What the system's clock says, jumps left out.
#[derive(Debug)]
pub(crate) struct Clock {
    /// What the system's clock says beyond the time since the start, as it was believed last.
    offset: AtomicI64,
    /// When it was found elsewhere, in milliseconds since the start and one; 0 where it is where it should be.
    astray: AtomicU64,
}

impl Clock {
    pub(crate) fn starting_at(system_ms: u64) -> Self {
        Self { offset: AtomicI64::new(system_ms as i64), astray: AtomicU64::new(0) }
    }

    /// The time, when the system says `system_ms` and `elapsed_ms` have passed since the start.
    pub(crate) fn read(&self, system_ms: u64, elapsed_ms: u64) -> u64 {
        let found = (system_ms as i64).wrapping_sub(elapsed_ms as i64);
        // Relaxed, here and below: whoever reads beside another believes the one or the other.
        let offset = self.offset.load(Relaxed);
        let moved = found.abs_diff(offset);
        let is_quiet = moved < FOLLOWED_MS && self.astray.load(Relaxed) == 0;
        if is_quiet { system_ms } else { self.look_again(found, offset, elapsed_ms) }
    }

    #[cold]
    fn look_again(&self, found: i64, offset: i64, elapsed_ms: u64) -> u64 {
        let is_near = found.abs_diff(offset) <= BELIEVED.as_millis() as u64;
        let astray = self.astray.load(Relaxed);
        let has_lasted = astray > 0 && elapsed_ms.saturating_sub(astray - 1) >= LASTING.as_millis() as u64;
        let believed = if is_near || has_lasted {
            self.astray.store(0, Relaxed);
            self.offset.store(found, Relaxed);
            found
        } else {
            if astray == 0 {
                self.astray.store(elapsed_ms + 1, Relaxed);
                let seconds = found.wrapping_sub(offset) / 1_000;
                tracing::warn!(
                    seconds,
                    "the system's clock has jumped; that is believed when it has stayed there for a minute"
                );
            }
            offset
        };
        u64::try_from(believed.saturating_add(elapsed_ms as i64)).unwrap_or(0)
    }
}

/// From how far on a clock that drifts is followed. Less is rounding, and is not worth a write that all shards see.
const FOLLOWED_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    const DAY: u64 = 86_400_000;

    #[test]
    fn a_jump_that_does_not_last_is_never_told() {
        let clock = Clock::starting_at(START);
        assert_eq!(clock.read(START + 5, 5), START + 5);
        for elapsed in [10, 20, 59_000] {
            assert_eq!(clock.read(START + 400 * DAY + elapsed, elapsed), START + elapsed, "it went forward");
        }
        assert_eq!(clock.read(START + 60_000, 60_000), START + 60_000, "it is back");
        for elapsed in [100_000, 159_000] {
            assert_eq!(clock.read(elapsed, elapsed), START + elapsed, "it went back");
        }
        assert_eq!(clock.read(START + 159_500, 159_500), START + 159_500);
    }

    #[test]
    fn a_jump_that_lasts_is_believed() {
        let clock = Clock::starting_at(0);
        assert_eq!(clock.read(START + 10, 10), 10, "a machine that had no time when it started");
        assert_eq!(clock.read(START + 60_020, 60_020), START + 60_020, "and has it now");
        assert_eq!(clock.read(START + 60_030, 60_030), START + 60_030);
        assert_eq!(clock.read(START + DAY, 70_000), START + 70_000, "asleep for a day");
        assert_eq!(clock.read(START + DAY + 60_000, 130_000), START + DAY + 60_000);
    }

    #[test]
    fn small_corrections_are_made_at_once() {
        let clock = Clock::starting_at(START);
        for (system, elapsed) in [(3, 0), (1_000, 2_000), (58_000, 3_000), (60_000, 60_000)] {
            assert_eq!(clock.read(START + system, elapsed), START + system);
        }
    }
}
