//! One measurement from beginning to end, whatever the target is: warm up, settle, measure, settle, check the deliveries.

use std::thread;
use std::time::{Duration, Instant};

use super::Fault;
use super::procfs::{Cores, Usage, resident};
use super::recorder::Recorder;
use super::result::{Cpu, Fairness, Memory, Run, Target as What};
use super::run_state::{Phase, RunState, Sums};
use super::scenario::{Drive, Scenario, Wait};
use super::watch::Watch;

/// Where to look for what the target uses.
pub(super) struct Target {
    /// Its process; none when it is this one.
    pub(super) process: Option<u32>,
    /// Which threads of this process are the lab's.
    pub(super) is_own: fn(&str) -> bool,
}

/// What was measured; what subscribers report is entered afterwards.
#[derive(Debug)]
pub(super) struct Measurement {
    /// Without what only the subscribers' reports tell.
    pub(super) run: Run,
    /// The share of its time that the busiest thread of the target was running.
    pub(super) target_busiest: f64,
    /// Messages that were not accepted while it was measured.
    refused: u64,
}

/// Carries out a run whose subscribers and publishers are all in their places.
pub(super) fn measure(state: &RunState, scenario: &Scenario, target: &Target, watch: &mut dyn Watch) -> Measurement {
    if scenario.warmup > 0.0 {
        state.enter(Phase::Warm);
        let end = Instant::now() + Duration::from_secs_f64(scenario.warmup);
        while Instant::now() < end && !state.has_failed() {
            thread::sleep(Duration::from_millis(5));
        }
        state.enter(Phase::Idle);
        state.settle();
    }
    state.results().window = None;
    let (before, sums, begin) = (Snapshot::take(target), state.sums(), Instant::now());
    let mut series = Series::default();
    let resident_start = resident(target.process);
    series.memory.push((0.0, resident_start));
    let samples = if scenario.seconds >= LONG { SAMPLES_LONG } else { SAMPLES };
    let step = (scenario.seconds / samples).max(STEP_MIN);
    state.enter(Phase::Measure);
    let mut next = step;
    loop {
        let now = begin.elapsed().as_secs_f64();
        if now >= scenario.seconds || state.has_failed() {
            break;
        }
        if now >= next {
            series.sample(state, now, &sums, target, scenario.seconds >= LONG);
            next += step;
        }
        watch.tick(now / scenario.seconds, state.sums().delivered - sums.delivered, begin.elapsed());
        thread::sleep(Duration::from_secs_f64((next - now).clamp(0.001, 0.1).min(scenario.seconds - now)));
    }
    state.enter(Phase::Idle);
    state.settle();
    let (after, done, seconds) = (Snapshot::take(target), state.sums(), begin.elapsed().as_secs_f64());
    series.sample(state, seconds, &sums, target, scenario.seconds >= LONG);
    let published = done.published - sums.published;
    let (cpu, target_busiest) = before.to(&after, target, seconds, scenario);
    let run = Run {
        seconds: (seconds * 1e6).round() / 1e6,
        published,
        delivered: done.delivered - sums.delivered,
        expected: state.expected(published),
        offered_rate: (scenario.drive == Drive::Open).then_some(scenario.load.rate),
        cpu,
        memory: Memory {
            resident_start,
            resident_end: resident(target.process),
            resident_series: series.memory,
            heap_live_start: None,
            heap_live_end: None,
        },
        context_switches: Some(after.of_target().switches_since(before.of_target())),
        timeline: series.timeline,
        latency_series: series.latency,
        joins: done.joins - sums.joins,
        reconnects: done.reconnects - sums.reconnects,
        ..Run::default()
    };
    Measurement { run, target_busiest, refused: done.refused - sums.refused }
}

impl Measurement {
    /// Enters what the checkers of all subscribers found; `expected` are the messages of each room from the very beginning.
    pub(super) fn enter_deliveries(&mut self, state: &RunState, expected: &[u64]) -> Result<(), Fault> {
        let mut results = state.results();
        if let Some(fault) = results.fault.take() {
            return Err(Fault::new(fault));
        }
        let run = &mut self.run;
        run.checks = std::mem::take(&mut results.checks);
        (run.lagged, run.conflated) = (results.aside[0], results.aside[1]);
        run.dropped = self.refused;
        let mut shares = Vec::with_capacity(results.reports.len());
        for mut report in results.reports.drain(..) {
            let due = expected[report.room];
            report.checker.close(Some(due));
            run.lagged += report.checker.missed();
            run.conflated += report.checker.conflated();
            if report.is_counted && due > 0 {
                shares.push(report.checker.received() as f64 / due as f64);
            }
            run.checks.add(&report.checker);
        }
        run.fairness = fairness(shares);
        run.latency = results.latency.take().as_ref().map(Recorder::to_latency).unwrap_or_default();
        run.join_latency = results.joins.take().filter(|_| run.joins > 0).as_ref().map(Recorder::to_latency);
        Ok(())
    }
}

/// How evenly shares are spread.
fn fairness(mut shares: Vec<f64>) -> Option<Fairness> {
    shares.sort_by(f64::total_cmp);
    let (&min, &max) = (shares.first()?, shares.last()?);
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    let jain = if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 };
    let digits = |share: f64| (share * 1e4).round() / 1e4;
    Some(Fairness { min: digits(min), median: digits(shares[shares.len() / 2]), max: digits(max), jain: digits(jain) })
}

/// What grows while it is measured.
#[derive(Default)]
struct Series {
    timeline: Vec<(f64, u64, u64)>,
    memory: Vec<(f64, u64)>,
    latency: Vec<(f64, u64, u64)>,
}

impl Series {
    fn sample(&mut self, state: &RunState, now: f64, since: &Sums, target: &Target, is_long: bool) {
        let (sums, at) = (state.sums(), (now * 1e3).round() / 1e3);
        self.timeline.push((at, sums.published - since.published, sums.delivered - since.delivered));
        self.memory.push((at, resident(target.process)));
        if is_long && let Some(window) = state.results().window.take() {
            let (median, p99) = window.median_and_p99();
            self.latency.push((at, median, p99));
        }
    }
}

/// What everybody had used at one moment.
struct Snapshot {
    own: Usage,
    other: Option<Usage>,
    cores: Cores,
}

impl Snapshot {
    fn take(target: &Target) -> Self {
        let other = target.process.map(|process| Usage::of(Some(process)));
        Self { own: Usage::of(None), other, cores: Cores::now() }
    }

    fn of_target(&self) -> &Usage {
        self.other.as_ref().unwrap_or(&self.own)
    }

    fn to(&self, after: &Self, target: &Target, seconds: f64, scenario: &Scenario) -> (Cpu, f64) {
        let (mut lab, mut own_target, mut total) = (0.0, 0.0, 0.0);
        let (mut lab_busiest, mut target_busiest, mut lab_threads): (f64, f64, usize) = (0.0, 0.0, 0);
        for (name, used) in after.own.since(&self.own) {
            total += used;
            if (target.is_own)(name) {
                lab += used;
                lab_threads += 1;
                lab_busiest = lab_busiest.max(used);
            } else if name.starts_with(SHARD) {
                own_target += used;
                target_busiest = target_busiest.max(used);
            }
        }
        let is_served = scenario.target == What::Library && scenario.load.wait == Wait::Handler;
        // Of a server elsewhere nothing is told.
        let mut target_seconds = is_served.then_some(own_target);
        if let (Some(after), Some(before)) = (&after.other, &self.other) {
            let used: Vec<f64> = after.since(before).map(|(_, used)| used).collect();
            let sum: f64 = used.iter().sum();
            target_seconds = Some(sum);
            target_busiest = used.iter().copied().fold(0.0, f64::max);
            total += sum;
        }
        let per_core = after.cores.since(&self.cores);
        let all = per_core.len().max(1) as f64;
        let others = (per_core.iter().sum::<f64>() / all - total / (all * seconds)).max(0.0);
        let cpu = Cpu {
            seconds_total: digits(total),
            per_core,
            others: Some((others * 1e3).round() / 1e3),
            lab_seconds: Some(digits(lab)),
            target_seconds: target_seconds.map(digits),
            lab_threads,
            lab_busiest: Some(digits((lab_busiest / seconds).min(1.0))),
        };
        (cpu, (target_busiest / seconds).min(1.0))
    }
}

fn digits(seconds: f64) -> f64 {
    (seconds * 1e4).round() / 1e4
}

/// What the broker's threads are called, as far as the system keeps it.
const SHARD: &str = "roomcast-shard";
/// Samples in a run.
const SAMPLES: f64 = 10.0;
/// Samples in a long one.
const SAMPLES_LONG: f64 = 120.0;
/// Samples are not closer than this, in seconds.
const STEP_MIN: f64 = 0.1;
/// Runs from here on are watched for drift.
const LONG: f64 = 20.0;
