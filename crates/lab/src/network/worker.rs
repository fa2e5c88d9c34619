//! One thread of the load with many connections: it reads, checks, publishes, and lets people come and go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Site;
use super::client::{Client, Role, State, Times, Turn};
use super::pace::Pace;
use crate::load::{DeliveryChecker, Events, Poller};
use crate::recorder::Recorder;
use crate::rng::Rng;
use crate::run_state::{Phase, RunState, SubscriberReport, Tally, Working};
use crate::scenario::{Arrivals, Scenario};
use crate::schedule::Schedule;

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Arc<RunState>,
    pub(super) scenario: Scenario,
    pub(super) site: Site,
    /// Workers whose connections are open.
    pub(super) ready: AtomicUsize,
    /// Messages published into each room.
    pub(super) published: Vec<AtomicU64>,
}

/// A thread's connections.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    tally: Arc<Tally>,
    poller: Poller,
    clients: Vec<Client>,
    /// Connections to be opened, again or for the first time.
    waiting: Vec<usize>,
    opening: usize,
    pace: Option<Pace>,
    churners: Vec<usize>,
    slow: Vec<usize>,
    joins: Recorder,
    times: Times,
    is_finishing: bool,
    rng: Rng,
    buffer: Vec<u8>,
    events: Events,
}

/// The phase a worker works in, and what it has planned for it.
struct Shift<'a> {
    phase: Phase,
    _working: Working<'a>,
    churn: Schedule,
    storms: Vec<u64>,
}

impl<'a> Worker<'a> {
    /// With the connections of its part: `number` of `workers`.
    pub(super) fn new(shared: &'a Shared, number: usize, workers: usize) -> Result<Self, String> {
        let mut worker = Self {
            shared,
            tally: shared.state.tally(),
            poller: Poller::new().map_err(in_words)?,
            clients: Vec::new(),
            waiting: Vec::new(),
            opening: 0,
            pace: None,
            churners: Vec::new(),
            slow: Vec::new(),
            joins: Recorder::new(),
            times: Times { now: 0, all: Recorder::new(), window: Recorder::new() },
            is_finishing: false,
            rng: Rng::new(shared.scenario.seed, 500 + number as u64),
            buffer: vec![0; READ_BYTES],
            events: Events::with_capacity(EVENTS),
        };
        worker.open_all(number, workers)?;
        Ok(worker)
    }

    fn open_all(&mut self, number: usize, workers: usize) -> Result<(), String> {
        let (shared, load) = (self.shared, &self.shared.scenario.load);
        let slow = load.slow_in_a_room();
        let members = (load.subscribers - slow) * load.rooms;
        let timed = TIMED_MAX as f64 / members as f64;
        let mut nth = 0;
        for place in 0..load.subscribers {
            for room in 0..load.rooms {
                nth += 1;
                if nth % workers != number % workers {
                    continue;
                }
                let role = if place < slow { Role::Slow } else { Role::Member };
                let checker = DeliveryChecker::from_the_start(load.sources());
                let is_timed = role == Role::Member && self.rng.share() < timed;
                self.open(Client::open(&shared.site, role, room, checker, is_timed)?)?;
            }
        }
        if number == 0 {
            for _ in 0..load.churners {
                let room = self.rng.below(load.rooms);
                self.churners.push(self.clients.len());
                let checker = DeliveryChecker::from_now(load.sources());
                self.open(Client::open(&shared.site, Role::Churner, room, checker, false)?)?;
            }
            let first = self.clients.len();
            for _ in 0..load.publishers {
                self.open(Client::open(&shared.site, Role::Publisher, 0, DeliveryChecker::from_now(0), false)?)?;
            }
            self.pace = Some(Pace::new(shared, first));
        }
        self.wait_for_opening(0)
    }

    fn open(&mut self, client: Client) -> Result<(), String> {
        let index = self.clients.len();
        self.clients.push(client);
        self.register(index)?;
        self.opening += 1;
        self.wait_for_opening(OPENING_MAX)
    }

    fn wait_for_opening(&mut self, most: usize) -> Result<(), String> {
        let limit = Instant::now() + PATIENCE;
        while self.opening > most {
            if Instant::now() > limit {
                return Err(format!("{} connections did not get an answer in {} s", self.opening, PATIENCE.as_secs()));
            }
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Does its part until it is over, and hands every report in.
    pub(super) fn run(mut self) -> Result<(), String> {
        self.shared.ready.fetch_add(1, Ordering::SeqCst);
        let state = &*self.shared.state;
        let pause = Duration::from_millis(self.shared.scenario.load.slow_ms);
        let (mut shift, mut slow_due, mut flushed): (Option<Shift<'_>>, _, _) = (None, Instant::now(), Instant::now());
        loop {
            let phase = state.phase();
            if shift.as_ref().is_some_and(|shift| shift.phase != phase) {
                shift = None;
            }
            if phase == Phase::Over || state.has_failed() {
                break;
            }
            if shift.is_none() {
                shift = state.try_work().map(|(phase, working)| self.begin_shift(phase, working));
            }
            let mut wait = WAIT_MAX;
            if let Some(shift) = &mut shift {
                wait = self.work(shift)?;
            }
            if !self.slow.is_empty() {
                if Instant::now() >= slow_due {
                    slow_due = Instant::now() + pause;
                    self.read_slow(SLOW_READ_BYTES)?;
                }
                wait = wait.min(slow_due.saturating_duration_since(Instant::now()));
            }
            self.turn(wait)?;
            self.reopen()?;
            if flushed.elapsed() > WINDOW {
                flushed = Instant::now();
                self.hand_in_window();
            }
        }
        self.finish()
    }

    fn begin_shift(&mut self, phase: Phase, working: Working<'a>) -> Shift<'a> {
        let (scenario, now) = (&self.shared.scenario, self.shared.state.clock.now());
        let load = &scenario.load;
        if let Some(pace) = &mut self.pace {
            pace.begin(self.shared, phase == Phase::Measure);
        }
        self.times.window.clear();
        let step = scenario.seconds * 1e9 / (load.storms + 1) as f64;
        let storms = if phase == Phase::Measure { load.storms } else { 0 };
        Shift {
            phase,
            _working: working,
            churn: Schedule::new(now, load.churn_rate.max(1e-3), Arrivals::Even, Rng::new(scenario.seed, 900)),
            storms: (1..=storms).rev().map(|nth| now + (nth as f64 * step) as u64).collect(),
        }
    }

    /// What is due now; how long until something else is.
    fn work(&mut self, shift: &mut Shift<'_>) -> Result<Duration, String> {
        let now = self.shared.state.clock.now();
        let mut wait = WAIT_MAX;
        if shift.storms.last().is_some_and(|due| *due <= now) {
            shift.storms.pop();
            self.storm()?;
        }
        if self.shared.scenario.load.churn_rate > 0.0 && !self.churners.is_empty() {
            while shift.churn.due() <= now {
                let nth = self.rng.below(self.churners.len());
                self.send_away(self.churners[nth], shift.churn.due())?;
                shift.churn.advance();
            }
            wait = wait.min(Duration::from_nanos(shift.churn.due() - now));
        } else {
            for nth in 0..self.churners.len() {
                self.send_away(self.churners[nth], now)?;
            }
        }
        if let Some(mut pace) = self.pace.take() {
            let next = pace.publish(self.shared, &self.tally, &mut self.clients);
            let touched: Vec<(usize, bool)> = pace.touched.drain(..).collect();
            self.pace = Some(pace);
            wait = wait.min(next?);
            for (index, was_blocked) in touched {
                self.watch(index, was_blocked)?;
            }
        }
        Ok(wait)
    }

    /// Lets somebody leave its room, to join another one.
    fn send_away(&mut self, index: usize, due: u64) -> Result<(), String> {
        let client = &mut self.clients[index];
        if client.state != State::In {
            return Ok(());
        }
        client.asked = due;
        let was_blocked = client.is_blocked();
        client.ask_to_leave(&self.shared.site);
        client.flush()?;
        self.watch(index, was_blocked)
    }

    /// Breaks connections, all at once.
    fn storm(&mut self) -> Result<(), String> {
        let share = self.shared.scenario.load.storm_share;
        for index in 0..self.clients.len() {
            if self.clients[index].role == Role::Member && self.rng.share() < share {
                if self.clients[index].is_opening || self.clients[index].state == State::Gone {
                    continue;
                }
                self.poller.remove(&self.clients[index]).map_err(in_words)?;
                self.clients[index].cut();
                self.waiting.push(index);
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), String> {
        while self.opening < OPENING_MAX
            && let Some(index) = self.waiting.pop()
        {
            self.clients[index].asked = 0;
            self.clients[index].reopen(&self.shared.site)?;
            self.register(index)?;
            self.opening += 1;
            self.tally.reconnects.add(1);
        }
        Ok(())
    }

    fn read_slow(&mut self, bytes: usize) -> Result<(), String> {
        for nth in 0..self.slow.len() {
            let index = self.slow[nth];
            if self.clients[index].state != State::Gone {
                self.read(index, bytes)?;
            }
        }
        Ok(())
    }

    fn stop_reading(&mut self, index: usize) -> Result<(), String> {
        self.slow.push(index);
        // From now on it is read when it is its turn.
        self.poller.remove(&self.clients[index]).map_err(in_words)
    }

    /// Waits until something happens, but no longer than that, and handles it.
    fn turn(&mut self, wait: Duration) -> Result<(), String> {
        let mut events = std::mem::take(&mut self.events);
        self.poller.wait(&mut events, wait).map_err(in_words)?;
        for ready in events.iter() {
            let index = ready.index;
            let was_blocked = self.clients[index].is_blocked();
            if ready.can_write {
                self.clients[index].flush()?;
            }
            if ready.can_read {
                self.read(index, READ_BYTES)?;
            }
            self.watch(index, was_blocked)?;
        }
        self.events = events;
        Ok(())
    }

    fn read(&mut self, index: usize, bytes: usize) -> Result<(), String> {
        self.times.now = self.shared.state.clock.now();
        let client = &mut self.clients[index];
        let before = client.state;
        let turn = client.read(&mut self.buffer[..bytes], &self.shared.site, &mut self.times)?;
        match client.role {
            Role::Member => {
                self.tally.delivered.add(turn.received);
                self.tally.missed.add(turn.missed);
            }
            _ => self.tally.aside.add(turn.received),
        }
        let has_opened = client.is_opening && (turn.has_settled || client.state == State::Gone);
        if has_opened {
            client.is_opening = false;
            self.opening -= 1;
        }
        let is_slow = client.role == Role::Slow;
        if client.role == Role::Churner {
            self.see_churner(index, &turn, self.times.now)?;
        }
        if is_slow && turn.has_settled && !self.is_finishing && !self.slow.contains(&index) {
            self.stop_reading(index)?;
        }
        if self.clients[index].state == State::Gone && before != State::Gone {
            self.lose(index, before)?;
        }
        Ok(())
    }

    fn see_churner(&mut self, index: usize, turn: &Turn, now: u64) -> Result<(), String> {
        let (load, client) = (&self.shared.scenario.load, &mut self.clients[index]);
        if turn.has_settled {
            let is_measured = self.shared.state.phase() == Phase::Measure;
            if is_measured && client.asked > 0 {
                self.joins.record(now.saturating_sub(client.asked).max(1));
                self.tally.joins.add(1);
            }
            client.asked = 0;
        }
        if turn.has_left {
            let checker = std::mem::replace(&mut client.checker, DeliveryChecker::from_now(load.sources()));
            self.shared.state.results().hand_in_aside(checker);
            client.position = None;
            client.room = self.rng.below(load.rooms);
            client.ask_to_join(&self.shared.site, now);
            client.flush()?;
        }
        Ok(())
    }

    /// The server has closed a connection.
    fn lose(&mut self, index: usize, before: State) -> Result<(), String> {
        let client = &self.clients[index];
        if client.is_opening || before == State::Opening || client.role == Role::Publisher {
            return Err("the server closed a connection that had done nothing wrong".to_owned());
        }
        if client.role == Role::Slow {
            self.slow.retain(|slow| *slow != index);
        }
        // It may have been taken out before.
        let _ = self.poller.remove(client);
        self.waiting.push(index);
        Ok(())
    }

    fn register(&self, index: usize) -> Result<(), String> {
        let client = &self.clients[index];
        self.poller.add(client, index, client.is_blocked()).map_err(in_words)
    }

    /// Watches whether a client can write, when that has become a question or is none any more.
    fn watch(&self, index: usize, was_blocked: bool) -> Result<(), String> {
        let client = &self.clients[index];
        if client.is_blocked() == was_blocked || client.state == State::Gone || self.slow.contains(&index) {
            return Ok(());
        }
        self.poller.update(client, index, client.is_blocked()).map_err(in_words)
    }

    fn hand_in_window(&mut self) {
        let mut results = self.shared.state.results();
        results.window.get_or_insert_with(Recorder::new).add(&self.times.window);
        self.times.window.clear();
    }

    /// Lets slow readers come to the end, and hands every report in.
    fn finish(mut self) -> Result<(), String> {
        self.is_finishing = true;
        for index in std::mem::take(&mut self.slow) {
            if self.clients[index].state != State::Gone {
                self.register(index)?;
            }
        }
        let mut limit = Instant::now() + STANDSTILL;
        let mut left = u64::MAX;
        while !self.shared.state.has_failed() && Instant::now() < limit {
            let behind = self.behind();
            if behind == 0 {
                break;
            }
            if behind < left {
                (left, limit) = (behind, Instant::now() + STANDSTILL);
            }
            self.turn(Duration::from_millis(5))?;
            self.reopen()?;
        }
        let mut results = self.shared.state.results();
        for client in self.clients {
            match client.role {
                Role::Member | Role::Slow => {
                    let is_counted = client.role == Role::Member;
                    let report = SubscriberReport { room: client.room, checker: client.checker, is_counted };
                    results.hand_in(report, None);
                }
                Role::Churner => results.hand_in_aside(client.checker),
                Role::Publisher => {}
            }
        }
        results.joins.get_or_insert_with(Recorder::new).add(&self.joins);
        results.latency.get_or_insert_with(Recorder::new).add(&self.times.all);
        Ok(())
    }

    /// Messages that members have not received yet.
    fn behind(&self) -> u64 {
        let members = self.clients.iter().filter(|client| matches!(client.role, Role::Member | Role::Slow));
        let behind = members.map(|client| {
            let published = self.shared.published[client.room].load(Ordering::Acquire);
            client.checker.behind(published)
        });
        behind.sum()
    }
}

fn in_words(error: io::Error) -> String {
    error.to_string()
}

/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;
/// What a slow reader takes at once.
const SLOW_READ_BYTES: usize = 8 * 1024;
/// Connections looked at in one turn.
const EVENTS: usize = 256;
/// Connections that may be opening at once: fewer than a server's backlog takes.
const OPENING_MAX: usize = 64;
/// How long a connection may take to open.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a worker waits before it looks at the phase.
const WAIT_MAX: Duration = Duration::from_millis(5);
/// Connections whose messages are timed, about.
const TIMED_MAX: usize = 200;
/// How often times are handed in for the picture over time.
const WINDOW: Duration = Duration::from_secs(1);
/// After so long without a message none is on its way any more.
const STANDSTILL: Duration = Duration::from_secs(3);
