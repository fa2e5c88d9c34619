//! Who publishes what, and when, over the network.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::Client;
use super::stamp::Stamp;
use super::worker::Shared;
use crate::rng::Rng;
use crate::run_state::Tally;
use crate::scenario::Drive;
use crate::schedule::{Round, Schedule};

/// The publishers, whose connections stand in a row among those of a worker.
#[derive(Debug)]
pub(super) struct Pace {
    first: usize,
    rounds: Vec<Round>,
    schedule: Option<Schedule>,
    is_timed: bool,
    /// Deliveries after which the next row may be published.
    awaited: u64,
    since: Instant,
    turn: usize,
    /// Connections that were written to, and whether something waited to be written before.
    pub(super) touched: Vec<(usize, bool)>,
}

impl Pace {
    /// With connections from `first` on.
    pub(super) fn new(shared: &Shared, first: usize) -> Self {
        let rounds = (0..shared.scenario.load.publishers).map(|number| Round::new(&shared.scenario, number));
        Self {
            first,
            rounds: rounds.collect(),
            schedule: None,
            is_timed: false,
            awaited: 0,
            since: Instant::now(),
            turn: 0,
            touched: Vec::new(),
        }
    }

    /// A phase begins.
    pub(super) fn begin(&mut self, shared: &Shared, is_timed: bool) {
        let (scenario, load) = (&shared.scenario, &shared.scenario.load);
        self.is_timed = is_timed;
        self.schedule = (scenario.drive == Drive::Open).then(|| {
            let per_second = load.rate / load.in_a_row(Drive::Open) as f64;
            let rng = Rng::new(scenario.seed, 800);
            Schedule::new(shared.state.clock.now(), per_second, scenario.arrivals, rng)
        });
    }

    /// Publishes what is due; how long until something else is.
    pub(super) fn publish(
        &mut self,
        shared: &Shared,
        tally: &Tally,
        clients: &mut [Client],
    ) -> Result<Duration, String> {
        match self.schedule.take() {
            Some(mut schedule) => {
                let in_a_row = shared.scenario.load.in_a_row(Drive::Open);
                while schedule.due() <= shared.state.clock.now() {
                    self.publish_row(shared, tally, clients, in_a_row, schedule.due())?;
                    schedule.advance();
                }
                let left = schedule.due().saturating_sub(shared.state.clock.now());
                self.schedule = Some(schedule);
                Ok(Duration::from_nanos(left))
            }
            None => self.publish_when_arrived(shared, tally, clients),
        }
    }

    fn publish_when_arrived(
        &mut self,
        shared: &Shared,
        tally: &Tally,
        clients: &mut [Client],
    ) -> Result<Duration, String> {
        let sums = shared.state.sums();
        if sums.delivered + sums.missed < self.awaited {
            if self.since.elapsed() > PATIENCE {
                return Err(format!("messages published did not arrive within {} s", PATIENCE.as_secs()));
            }
            return Ok(LOOK);
        }
        let load = &shared.scenario.load;
        for _ in 0..load.concurrent {
            let due = shared.state.clock.now();
            self.publish_row(shared, tally, clients, load.in_a_row(Drive::Closed), due)?;
        }
        self.awaited = shared.state.expected(shared.state.sums().published);
        self.since = Instant::now();
        Ok(LOOK)
    }

    /// So many messages through the connection whose turn it is, with one write.
    fn publish_row(
        &mut self,
        shared: &Shared,
        tally: &Tally,
        clients: &mut [Client],
        messages: usize,
        due: u64,
    ) -> Result<(), String> {
        let which = self.turn % self.rounds.len();
        self.turn += 1;
        let round = &mut self.rounds[which];
        let client = &mut clients[self.first + which];
        let was_blocked = client.is_blocked();
        for _ in 0..messages {
            let (room, sequence) = round.next();
            let stamp = Stamp { source: round.source, sequence, due: if self.is_timed { due } else { 0 } };
            client.publish(&shared.site.rooms[room], stamp, shared.site.bytes);
            shared.published[room].fetch_add(1, Ordering::AcqRel);
        }
        tally.published.add(messages as u64);
        self.touched.push((self.first + which, was_blocked));
        client.flush()
    }
}

/// How long messages may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether messages have arrived at other workers.
const LOOK: Duration = Duration::from_micros(500);
