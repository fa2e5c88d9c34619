//! When the next message is due, and into which room it goes.

use std::thread;
use std::time::Duration;

use super::clock::Clock;
use super::rng::Rng;
use super::scenario::{Arrivals, Scenario};

/// Due times, in nanoseconds of a [`Clock`]. They do not wait for anybody: that is the point.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: f64,
    step: f64,
    arrivals: Arrivals,
    rng: Rng,
}

impl Schedule {
    /// That often a second, from `start` on: at once where it is even.
    pub(crate) fn new(start: u64, per_second: f64, arrivals: Arrivals, rng: Rng) -> Self {
        let mut schedule = Self { next: start as f64, step: 1e9 / per_second, arrivals, rng };
        if arrivals == Arrivals::Poisson {
            schedule.advance();
        }
        schedule
    }

    /// When something is due next.
    pub(crate) fn due(&self) -> u64 {
        self.next as u64
    }

    /// It has been done.
    pub(crate) fn advance(&mut self) {
        self.next += match self.arrivals {
            Arrivals::Even => self.step,
            // 1 - share is never 0.
            Arrivals::Poisson => -(1.0 - self.rng.share()).ln() * self.step,
        };
    }
}

/// Sleeps until a moment before `due`, and looks at the clock for the rest; returns early so that a caller may look whether
/// it is still wanted.
pub(crate) fn wait_until(clock: Clock, due: u64) {
    let left = due.saturating_sub(clock.now());
    if left > SLEEP_EARLY {
        thread::sleep(Duration::from_nanos((left - SLEEP_EARLY).min(SLEEP_MAX)));
    } else if left > 0 {
        thread::yield_now();
    }
}

/// How much too late a thread may wake up.
const SLEEP_EARLY: u64 = 80_000;
/// Longer sleeps would keep a publisher from seeing that the run is over.
const SLEEP_MAX: u64 = 20_000_000;

/// The rooms one publisher publishes into, and what it says next in each.
#[derive(Debug)]
pub(crate) struct Round {
    /// Which publisher of the room it is, for each room the same.
    pub(crate) source: usize,
    rooms: Vec<(usize, u64)>,
    at: usize,
    hot: f64,
    rng: Rng,
}

impl Round {
    /// Of publisher `number`.
    pub(crate) fn new(scenario: &Scenario, number: usize) -> Self {
        let load = &scenario.load;
        let rooms = load.rooms_in_all();
        let mine = |room: usize| {
            if load.publishers >= rooms { room == number % rooms } else { room % load.publishers == number }
        };
        Self {
            source: if load.publishers >= rooms { number / rooms } else { 0 },
            rooms: (0..rooms).filter(|room| mine(*room)).map(|room| (room, 0)).collect(),
            at: 0,
            hot: load.hot,
            rng: Rng::new(scenario.seed, 1_000 + number as u64),
        }
    }

    /// The next room, and the sequence of the message that goes there.
    #[inline]
    pub(crate) fn next(&mut self) -> (usize, u64) {
        self.at = match self.hot > 0.0 && self.rooms.len() > 1 {
            true if self.rng.share() < self.hot => 0,
            true => 1 + self.rng.below(self.rooms.len() - 1),
            false if self.at + 1 < self.rooms.len() => self.at + 1,
            false => 0,
        };
        let (room, sequence) = &mut self.rooms[self.at];
        *sequence += 1;
        (*room, *sequence - 1)
    }

    /// Messages published into each of its rooms.
    pub(crate) fn published(&self) -> impl Iterator<Item = (usize, u64)> {
        self.rooms.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::parse;
    use super::*;

    fn rounds(load: &str) -> Vec<Round> {
        let scenario = parse(&format!("name = \"a\"\n[load]\n{load}"), &[]).expect("a scenario");
        (0..scenario.load.publishers).map(|number| Round::new(&scenario, number)).collect()
    }

    #[test]
    fn every_room_has_a_publisher_and_sources_are_distinct() {
        let few = rounds("rooms = 10\npublishers = 3");
        let mut covered: Vec<_> = few.iter().flat_map(|round| round.published().map(|(room, _)| room)).collect();
        covered.sort_unstable();
        assert_eq!(covered, (0..10).collect::<Vec<_>>());
        let many = rounds("rooms = 2\npublishers = 6");
        let mut found: Vec<_> =
            many.iter().flat_map(|round| round.published().map(|(room, _)| (room, round.source))).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn random_arrivals_have_the_rate_that_was_asked_for() {
        let mut schedule = Schedule::new(0, 1_000.0, Arrivals::Poisson, Rng::new(1, 0));
        (0..100_000).for_each(|_| schedule.advance());
        let seconds = schedule.due() as f64 / 1e9;
        assert!((99.0..101.0).contains(&seconds), "100,000 messages at 1,000 a second took {seconds} s");
    }

    #[test]
    fn a_hot_room_gets_its_share() {
        let round = &mut rounds("rooms = 50\nhot = 0.9")[0];
        let hot = (0..10_000).filter(|_| round.next().0 == 0).count();
        assert!((8_800..9_200).contains(&hot), "{hot} of 10,000");
    }
}
