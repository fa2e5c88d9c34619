//! Threads that publish into rooms of this process.

use std::hint::spin_loop;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::message::{Carried, Message};
use crate::rng::Rng;
use crate::run_state::{Phase, RunState, Tally};
use crate::scenario::{Behind, Drive, Scenario};
use crate::schedule::{Round, Schedule, wait_until};
use roomcast::{PublishError, Room};

/// One thread that publishes for some of the publishers.
pub(super) struct Publishers<T> {
    pub(super) state: Arc<RunState>,
    pub(super) scenario: Arc<Scenario>,
    pub(super) rooms: Arc<[Room<T>]>,
    pub(super) rounds: Vec<Round>,
    /// Which of the threads it is.
    pub(super) thread: usize,
}

impl<T: Carried> Publishers<T> {
    /// Publishes when it is time to, until it is over; gives the rounds back, which know what was published.
    pub(super) fn run(mut self) -> Vec<Round> {
        let state = self.state.clone();
        let tally = state.tally();
        while let Some((phase, working)) = state.work() {
            match self.scenario.drive {
                Drive::Closed => self.as_fast_as_it_goes(phase, &tally),
                Drive::Open => self.by_schedule(phase, &tally),
            }
            drop(working);
        }
        self.rounds
    }

    /// So many messages, then none until they have arrived.
    fn as_fast_as_it_goes(&mut self, phase: Phase, tally: &Tally) {
        let state = self.state.clone();
        let (messages, readers) = (self.scenario.load.in_a_row(Drive::Closed), state.tallies());
        let mut counters = Counters { state: &state, tallies: readers };
        // A reading of the clock for each would cost more than many a delivery.
        let every = if messages >= TIMED_ONE_IN && self.rooms.len() <= ROOMS_FEW { TIMED_ONE_IN } else { 1 };
        while state.phase() == phase {
            for nth in 0..messages {
                let is_timed = phase == Phase::Measure && nth.is_multiple_of(every);
                let due = if is_timed { state.clock.now() } else { 0 };
                self.publish_one(nth, due, tally);
            }
            if !counters.wait(tally) {
                return;
            }
        }
    }

    fn by_schedule(&mut self, phase: Phase, tally: &Tally) {
        let load = &self.scenario.load;
        let in_a_row = load.in_a_row(Drive::Open);
        let per_second = load.rate / load.concurrent as f64 / in_a_row as f64;
        let rng = Rng::new(self.scenario.seed, self.thread as u64);
        let mut schedule = Schedule::new(self.state.clock.now(), per_second, self.scenario.arrivals, rng);
        let mut nth = 0;
        loop {
            wait_until(self.state.clock, schedule.due());
            if self.state.phase() != phase {
                return;
            }
            if self.state.clock.now() < schedule.due() {
                continue;
            }
            let due = if phase == Phase::Measure { schedule.due() } else { 0 };
            for _ in 0..in_a_row {
                self.publish_one(nth, due, tally);
                nth += 1;
            }
            schedule.advance();
        }
    }

    #[inline]
    fn publish_one(&mut self, nth: usize, due: u64, tally: &Tally) {
        let which = nth % self.rounds.len();
        let round = &mut self.rounds[which];
        let (room, sequence) = round.next();
        let message = T::pack(Message::new(round.source, sequence, due, self.scenario.load.size));
        let room = &self.rooms[room];
        let published = match self.scenario.load.policy {
            Behind::Block => room.publish_blocking(message),
            Behind::Lag | Behind::Latest => room.publish(message),
        };
        match published {
            Ok(_) => tally.published.add(1),
            Err(error) => self.refused(room.clone(), error, tally),
        }
    }

    /// A full room is tried again: what was numbered must be published, or it would seem lost.
    #[cold]
    fn refused(&self, room: Room<T>, error: PublishError<T>, tally: &Tally) {
        let mut error = error;
        let limit = Instant::now() + PATIENCE;
        while let PublishError::Full(message) = error {
            tally.refused.add(1);
            thread::yield_now();
            error = match room.publish(message) {
                Ok(_) => return tally.published.add(1),
                Err(error) => error,
            };
            if Instant::now() > limit {
                break;
            }
        }
        self.state.fail(format!("a message was not accepted: {error}"));
    }
}

/// Looks at everybody's counters.
struct Counters<'a> {
    state: &'a RunState,
    tallies: Vec<Arc<Tally>>,
}

impl Counters<'_> {
    /// Waits until all that is published now has arrived; false when that does not happen.
    fn wait(&mut self, mine: &Tally) -> bool {
        let published = self.sum(|tally| tally.published.get()).max(mine.published.get());
        let expected = self.state.expected(published);
        let mut begin = None;
        for look in 1_u32.. {
            if self.sum(|tally| tally.delivered.get() + tally.missed.get()) >= expected {
                return true;
            }
            (0..PAUSES).for_each(|_| spin_loop());
            if look.is_multiple_of(LOOKS) {
                thread::yield_now();
                // Shards come into being as they serve.
                self.tallies = self.state.tallies();
                if self.state.phase() == Phase::Over || self.state.has_failed() {
                    return false;
                }
                if begin.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    self.state.fail(format!("messages published did not arrive within {} s", PATIENCE.as_secs()));
                    return false;
                }
            }
        }
        false
    }

    fn sum(&self, of: impl Fn(&Tally) -> u64) -> u64 {
        self.tallies.iter().map(|tally| of(tally)).sum()
    }
}

/// Where messages are published in long rows, one in so many is timed.
const TIMED_ONE_IN: usize = 16;
/// In more rooms the few subscribers that are timed would hardly see one.
const ROOMS_FEW: usize = 16;
/// Between two looks, so that looking does not slow those who count.
const PAUSES: u32 = 16;
/// Looks until others get the core.
const LOOKS: u32 = 64;
/// How long messages may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(20);
