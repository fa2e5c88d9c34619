//! What everybody in a run shares: the phase it is in, and what has been counted.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::load::DeliveryChecker;
use super::recorder::Recorder;
use super::result::Checks;

/// What publishers and those who come and go should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing.
    Idle,
    /// Publish; nothing is timed.
    Warm,
    /// Publish; times count.
    Measure,
    /// Go home.
    Over,
}

/// The counters of one thread, which alone writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    /// Messages received by subscribers that stay.
    pub(crate) delivered: Counter,
    /// Messages they were told they had missed, or that newer ones replaced.
    pub(crate) missed: Counter,
    /// Messages published.
    pub(crate) published: Counter,
    /// Messages that were not accepted.
    pub(crate) refused: Counter,
    /// Subscriptions that came and went.
    pub(crate) joins: Counter,
    /// Connections opened again.
    pub(crate) reconnects: Counter,
    /// Messages received by those who come and go, or read slowly.
    pub(crate) aside: Counter,
}

/// A number that one thread adds to and others look at.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds, without an atomic addition: nobody else does.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Release);
    }

    /// What it has come to.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Sums over all threads at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) delivered: u64,
    pub(crate) missed: u64,
    pub(crate) published: u64,
    pub(crate) refused: u64,
    pub(crate) joins: u64,
    pub(crate) reconnects: u64,
    pub(crate) aside: u64,
}

/// What a subscriber hands in when it goes.
#[derive(Debug)]
pub(crate) struct SubscriberReport {
    /// Its room.
    pub(crate) room: usize,
    /// What it received.
    pub(crate) checker: DeliveryChecker,
    /// Whether it was to keep up.
    pub(crate) is_counted: bool,
}

/// What all have handed in.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Of those who stayed to the end.
    pub(crate) reports: Vec<SubscriberReport>,
    /// Of those who came and went, added up.
    pub(crate) checks: Checks,
    /// Messages that were missed, and replaced, by those who came and went.
    pub(crate) aside: [u64; 2],
    /// Times of messages.
    pub(crate) latency: Option<Recorder>,
    /// Times of joins.
    pub(crate) joins: Option<Recorder>,
    /// Times of messages since it was last asked for.
    pub(crate) window: Option<Recorder>,
    /// Why the run cannot go on.
    pub(crate) fault: Option<String>,
}

/// Shared by all threads of a run.
#[derive(Debug)]
pub(crate) struct RunState {
    /// Of messages.
    pub(crate) clock: Clock,
    /// Subscribers that each message is delivered to and that are waited for.
    fan_out: u64,
    phase: AtomicU8,
    running: AtomicUsize,
    tallies: Mutex<Vec<Arc<Tally>>>,
    results: Mutex<Results>,
    has_fault: AtomicBool,
}

impl RunState {
    /// With everybody idle; each message goes to so many subscribers.
    pub(crate) fn new(fan_out: usize) -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::start(),
            fan_out: fan_out as u64,
            phase: AtomicU8::new(Phase::Idle as u8),
            running: AtomicUsize::new(0),
            tallies: Mutex::default(),
            results: Mutex::default(),
            has_fault: AtomicBool::new(false),
        })
    }

    /// The phase.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        const PHASES: [Phase; 4] = [Phase::Idle, Phase::Warm, Phase::Measure, Phase::Over];
        PHASES[usize::from(self.phase.load(Ordering::Acquire)) & 3]
    }

    /// Lets everybody do that.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Waits until it is time to do something and says that one does; none when it is over. What it gives back is to be
    /// dropped when the phase has changed.
    pub(crate) fn work(&self) -> Option<(Phase, Working<'_>)> {
        loop {
            self.running.fetch_add(1, Ordering::SeqCst);
            let working = Working(self);
            match self.phase() {
                phase @ (Phase::Warm | Phase::Measure) => return Some((phase, working)),
                Phase::Over => return None,
                Phase::Idle => drop(working),
            }
            thread::sleep(IDLE);
        }
    }

    /// The same without waiting, for who has other things to do.
    pub(crate) fn try_work(&self) -> Option<(Phase, Working<'_>)> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let working = Working(self);
        match self.phase() {
            phase @ (Phase::Warm | Phase::Measure) => Some((phase, working)),
            Phase::Over | Phase::Idle => None,
        }
    }

    /// Whether nobody does anything any more.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    /// Counters for a thread.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        lock(&self.tallies).push(tally.clone());
        tally
    }

    /// All counters there are now.
    pub(crate) fn tallies(&self) -> Vec<Arc<Tally>> {
        lock(&self.tallies).clone()
    }

    /// All counters together.
    pub(crate) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for tally in &*lock(&self.tallies) {
            sums.delivered += tally.delivered.get();
            sums.missed += tally.missed.get();
            sums.published += tally.published.get();
            sums.refused += tally.refused.get();
            sums.joins += tally.joins.get();
            sums.reconnects += tally.reconnects.get();
            sums.aside += tally.aside.get();
        }
        sums
    }

    /// Messages that are to have arrived when those published so far have.
    pub(crate) fn expected(&self, published: u64) -> u64 {
        published * self.fan_out
    }

    /// Where everybody hands in.
    pub(crate) fn results(&self) -> MutexGuard<'_, Results> {
        lock(&self.results)
    }

    /// Says that the run cannot go on.
    pub(crate) fn fail(&self, why: impl Into<String>) {
        self.results().fault.get_or_insert_with(|| why.into());
        self.has_fault.store(true, Ordering::Release);
    }

    /// Whether the run cannot go on.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_fault.load(Ordering::Acquire)
    }

    /// Waits until all that was published has arrived; gives up when nothing moves any more, and what is missing will be
    /// found by the checkers.
    pub(crate) fn settle(&self) {
        let (mut last, mut since) = (0, Instant::now());
        while !self.has_failed() {
            let sums = self.sums();
            let arrived = sums.delivered + sums.missed;
            if self.is_quiet() && arrived >= self.expected(sums.published) {
                return;
            }
            if arrived != last {
                (last, since) = (arrived, Instant::now());
            } else if since.elapsed() > STANDSTILL {
                return;
            }
            thread::sleep(SETTLE_LOOK);
        }
    }
}

/// Somebody is doing something.
#[derive(Debug)]
pub(crate) struct Working<'a>(&'a RunState);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Results {
    /// Takes the report of one that stayed.
    pub(crate) fn hand_in(&mut self, report: SubscriberReport, latency: Option<&Recorder>) {
        self.reports.push(report);
        if let Some(latency) = latency {
            self.latency.get_or_insert_with(Recorder::new).add(latency);
        }
    }

    /// Takes the checker of one that came and went.
    pub(crate) fn hand_in_aside(&mut self, checker: DeliveryChecker) {
        self.aside[0] += checker.missed();
        self.aside[1] += checker.conflated();
        self.checks.add(&checker);
    }
}

/// Nothing is kept half done under these locks, so a panic elsewhere harms nobody.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often one who waits looks whether there is something to do.
const IDLE: Duration = Duration::from_micros(200);
/// How often it is looked whether everything has arrived.
const SETTLE_LOOK: Duration = Duration::from_micros(100);
/// After so long without a message none is on its way any more, only lost.
const STANDSTILL: Duration = Duration::from_secs(3);
