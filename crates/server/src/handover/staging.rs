//! How many clients of the old process are closed when, so that they do not all come to the new one at once.

use std::time::Duration;

/// Time between two looks at how many are due.
pub(crate) const STEP: Duration = Duration::from_millis(20);
/// What was not closed in time is not made up for all at once: of a process that stood still, so much.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// The pace at which clients are closed.
#[derive(Debug)]
pub(crate) struct Pace {
    /// In a second.
    rate: f64,
    /// When all are to be closed.
    within: Duration,
    /// When it was looked last.
    looked: Duration,
    /// What is due and was not closed, of one.
    due: f64,
}

impl Pace {
    /// So many in a second; more where otherwise some would be left after `within`.
    pub(crate) fn new(rate: usize, within: Duration) -> Self {
        Self { rate: rate as f64, within, looked: Duration::ZERO, due: 0.0 }
    }

    /// How many are to be closed now, `elapsed` after the first, of those that are `left`.
    pub(crate) fn due(&mut self, elapsed: Duration, left: usize) -> usize {
        let since = elapsed.saturating_sub(self.looked).min(BEHIND_MAX);
        self.looked = elapsed;
        let remaining = self.within.saturating_sub(elapsed).max(STEP);
        self.rate = self.rate.max(left as f64 / remaining.as_secs_f64());
        self.due += self.rate * since.as_secs_f64();
        let now = (self.due.floor() as usize).min(left);
        self.due = (self.due - now as f64).min(1.0);
        now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many are closed in each second.
    fn seconds(rate: usize, within: Duration, mut left: usize, step: impl Fn(u32) -> Duration) -> Vec<usize> {
        let (mut pace, mut elapsed) = (Pace::new(rate, within), Duration::ZERO);
        let mut seconds = Vec::new();
        for nth in 0.. {
            let now = pace.due(elapsed, left);
            seconds.resize(seconds.len().max(elapsed.as_secs() as usize + 1), 0);
            seconds[elapsed.as_secs() as usize] += now;
            left -= now;
            if left == 0 {
                return seconds;
            }
            elapsed += step(nth);
        }
        seconds
    }

    #[test]
    fn they_are_spread_evenly() {
        let found = seconds(100, Duration::from_secs(300), 5_000, |_| STEP);
        assert!((50..=51).contains(&found.len()), "{found:?}");
        assert!(found.iter().all(|closed| *closed <= 101), "{found:?}");
        assert!(found[..50].iter().all(|closed| *closed >= 98), "{found:?}");
    }

    #[test]
    fn more_are_closed_in_a_second_where_it_would_take_too_long() {
        let found = seconds(100, Duration::from_secs(10), 5_000, |_| STEP);
        assert!((10..=11).contains(&found.len()), "{found:?}");
        assert!(found.iter().all(|closed| *closed <= 510), "{found:?}");
    }

    #[test]
    fn who_stood_still_does_not_close_all_at_once() {
        let slow = |nth: u32| if nth.is_multiple_of(100) { Duration::from_millis(1_500) } else { STEP };
        let found = seconds(100, Duration::from_secs(300), 2_000, slow);
        assert!(found.iter().all(|closed| *closed <= 110), "{found:?}");
    }

    proptest! {
        #[test]
        fn all_are_closed_in_about_the_time(rate in 1_usize..1_000, within in 1_u64..60, left in 0_usize..20_000) {
            let found = seconds(rate, Duration::from_secs(within), left, |_| STEP);
            prop_assert_eq!(found.iter().sum::<usize>(), left);
            prop_assert!(found.len() as u64 <= within + 2, "{:?}", found);
        }
    }
}
