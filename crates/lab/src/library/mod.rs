//! The broker in this process, under load.

mod churn;
mod message;
mod publish;
mod pull;
mod reader;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{future::Future as _, pin::Pin};

use self::churn::{Churners, block_on};
use self::message::Carried;
pub(super) use self::message::Message;
use self::publish::Publishers;
use self::pull::Puller;
use self::reader::{Place, Reader, ReaderHandler};
use super::Fault;
use super::load::DeliveryChecker;
use super::measurement::{Measurement, Target, measure};
use super::procfs;
use super::rng::Rng;
use super::run_state::{Phase, RunState};
use super::scenario::{Behind, Read, Scenario, Wait};
use super::schedule::Round;
use super::watch::Watch;
use roomcast::{Broker, HandlerSubscription, Policy, Room};

/// Runs a scenario once.
pub(super) fn run(scenario: &Scenario, watch: &mut dyn Watch) -> Result<Measurement, Fault> {
    match scenario.load.read {
        Read::Ref | Read::Clone => Stage::<Message>::new(scenario)?.run(watch),
        Read::Arc => Stage::<Arc<Message>>::new(scenario)?.run(watch),
    }
}

/// Brokers and rooms, and everybody in them.
struct Stage<T> {
    scenario: Arc<Scenario>,
    state: Arc<RunState>,
    brokers: Vec<Broker<T>>,
    rooms: Arc<[Room<T>]>,
    served: Vec<HandlerSubscription<T>>,
    threads: Vec<JoinHandle<()>>,
    publishers: Vec<JoinHandle<Vec<Round>>>,
    /// Readers there are, which will hand in.
    readers: usize,
}

impl<T: Carried> Stage<T> {
    fn new(scenario: &Scenario) -> Result<Self, Fault> {
        let load = &scenario.load;
        let build = |_| {
            let builder = Broker::<T>::builder().capacity(load.capacity).rooms_max(load.rooms.max(1 << 20));
            if load.shards > 0 { builder.shards(load.shards).build() } else { builder.build() }
        };
        let brokers: Vec<Broker<T>> = (0..load.brokers).map(build).collect();
        let mut rooms = Vec::with_capacity(load.rooms_in_all());
        for number in 0..load.rooms {
            for broker in &brokers {
                rooms.push(broker.room(&format!("room.{number}")).map_err(Fault::new)?);
            }
        }
        let fan_out = load.subscribers - load.slow_in_a_room();
        let mut stage = Self {
            scenario: Arc::new(scenario.clone()),
            state: RunState::new(fan_out),
            brokers,
            rooms: rooms.into(),
            served: Vec::new(),
            threads: Vec::new(),
            publishers: Vec::new(),
            readers: 0,
        };
        stage.start_readers()?;
        stage.start_publishers()?;
        Ok(stage)
    }

    fn run(mut self, watch: &mut dyn Watch) -> Result<Measurement, Fault> {
        let target = Target { process: None, is_own: |name| name.starts_with("lab-") };
        let mut measurement = measure(&self.state, &self.scenario, &target, watch);
        self.state.enter(Phase::Over);
        let mut expected = vec![0; self.rooms.len()];
        for publisher in self.publishers.drain(..) {
            let rounds = publisher.join().map_err(|_| Fault::new("a publisher panicked"))?;
            rounds.iter().flat_map(Round::published).for_each(|(room, count)| expected[room] += count);
        }
        self.brokers.iter().for_each(Broker::close);
        self.served.clear();
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| Fault::new("a reader panicked"))?;
        }
        let limit = Instant::now() + GOODBYE;
        while self.state.results().reports.len() < self.readers {
            if Instant::now() > limit {
                return Err(Fault::new("the broker keeps handlers after it was closed"));
            }
            thread::sleep(Duration::from_micros(200));
        }
        measurement.enter_deliveries(&self.state, &expected)?;
        Ok(measurement)
    }

    fn start_readers(&mut self) -> Result<(), Fault> {
        let scenario = self.scenario.clone();
        let load = &scenario.load;
        let slow = load.slow_in_a_room();
        let counted = (load.subscribers - slow) * self.rooms.len();
        self.readers = load.subscribers * self.rooms.len();
        // Enough to know, and few enough that clocks are not what is measured.
        let (timed, mut rng) = (TIMED_MAX as f64 / counted as f64, Rng::new(scenario.seed, 400));
        let (mut pullers, mut slow_pullers, mut joining) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..load.subscribers {
            for (at, room) in self.rooms.iter().enumerate() {
                let is_slow = number < slow;
                let place = if is_slow { Place::Slow } else { Place::Counted };
                let is_timed = !is_slow && rng.share() < timed;
                let checker = DeliveryChecker::from_the_start(load.sources());
                let mut reader = Reader::new(&self.state, at, checker, load.read, place, is_timed);
                if load.policy == Behind::Latest {
                    reader = reader.latest();
                }
                if load.wait == Wait::Handler && !is_slow {
                    joining.push(room.subscribe_handler(ReaderHandler(reader)));
                    continue;
                }
                let policy = match load.policy {
                    Behind::Lag => Policy::Lag,
                    Behind::Latest => Policy::Latest,
                    Behind::Block => Policy::Block,
                };
                let subscription = room.subscribe().policy(policy).now().map_err(Fault::new)?;
                if is_slow { &mut slow_pullers } else { &mut pullers }.push(Puller { subscription, reader });
            }
        }
        // All are sent before the first is waited for.
        let joining: Vec<_> = joining
            .into_iter()
            .map(|mut joining| {
                let polled = Pin::new(&mut joining).poll(&mut Context::from_waker(Waker::noop()));
                (joining, polled)
            })
            .collect();
        for (joining, polled) in joining {
            let joined = match polled {
                Poll::Ready(joined) => joined,
                Poll::Pending => block_on(joining),
            };
            self.served.push(joined.map_err(Fault::new)?);
        }
        self.start_pullers(pullers)?;
        if !slow_pullers.is_empty() {
            let (state, pause) = (self.state.clone(), Duration::from_millis(load.slow_ms));
            self.start("lab-slow".to_owned(), move || pull::read_slowly(&state, slow_pullers, pause))?;
        }
        Ok(())
    }

    fn start_pullers(&mut self, pullers: Vec<Puller<T>>) -> Result<(), Fault> {
        if pullers.is_empty() {
            return Ok(());
        }
        let load = &self.scenario.load;
        if load.wait == Wait::Blocking {
            for (number, puller) in pullers.into_iter().enumerate() {
                let state = self.state.clone();
                self.start(format!("lab-read-{number}"), move || pull::block(&state, puller))?;
            }
            return Ok(());
        }
        // A core is left to the publishers.
        let usual = procfs::cores().saturating_sub(1).max(1);
        let threads = if load.threads > 0 { load.threads } else { usual }.min(pullers.len());
        let mut groups: Vec<Vec<Puller<T>>> = (0..threads).map(|_| Vec::new()).collect();
        for (number, puller) in pullers.into_iter().enumerate() {
            groups[number % threads].push(puller);
        }
        let is_parked = load.wait == Wait::Park;
        for (number, group) in groups.into_iter().enumerate() {
            let state = self.state.clone();
            self.start(format!("lab-read-{number}"), move || {
                if is_parked { pull::park(&state, group) } else { pull::spin(&state, group) }
            })?;
        }
        Ok(())
    }

    fn start_publishers(&mut self) -> Result<(), Fault> {
        let scenario = self.scenario.clone();
        let load = &scenario.load;
        for thread in 0..load.concurrent {
            let rounds = (0..load.publishers)
                .filter(|number| number % load.concurrent == thread)
                .map(|number| Round::new(&scenario, number))
                .collect();
            let publishers = Publishers {
                state: self.state.clone(),
                scenario: scenario.clone(),
                rooms: self.rooms.clone(),
                rounds,
                thread,
            };
            let builder = thread::Builder::new().name(format!("lab-publish-{thread}"));
            self.publishers.push(builder.spawn(move || publishers.run()).map_err(Fault::new)?);
        }
        if load.churners > 0 {
            let churners =
                Churners { state: self.state.clone(), scenario: scenario.clone(), rooms: self.rooms.clone() };
            self.start("lab-churn".to_owned(), move || churners.run())?;
        }
        Ok(())
    }

    fn start(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
        self.threads.push(thread::Builder::new().name(name).spawn(run).map_err(Fault::new)?);
        Ok(())
    }
}

impl<T> Drop for Stage<T> {
    /// Nobody is left waiting when a run ends early.
    fn drop(&mut self) {
        self.state.enter(Phase::Over);
    }
}

/// Subscribers whose messages are timed, about.
const TIMED_MAX: usize = 100;
/// How long handlers may take to go when their broker is closed.
const GOODBYE: Duration = Duration::from_secs(10);
