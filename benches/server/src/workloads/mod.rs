//! The workloads, one file each.

mod churn;
mod fan_out;
mod hot_room;
mod idle;
mod latency;
mod slow_member;
mod talk;
mod tls;
mod transports;

use std::time::{Duration, Instant};

use harness::machine::thread_cpu;
use harness::measure::{Cases, Effort, Figure, figure};
use harness::targets::Bound::{Most, MostTimes};
use harness::targets::{Bound, Target};

use crate::contenders::{BUN, Contender, FLOOR_ENVELOPE, ROOMCAST};
use crate::fault::Fault;
use crate::load::Load;
use crate::process::Process;

/// The tables, in the order of the report.
pub const TITLES: &[(&str, &str)] = &[
    ("burst", "one room, one publisher, 32 messages in flight"),
    ("single", "one room, one publisher, 1 message in flight"),
    ("talk", "200 rooms with 5 members each, everybody publishes"),
    ("latency", "from publish to receive, 200 messages a second to 100 members"),
    ("idle", "connections that are joined and silent, 100 in a room"),
    ("churn", "connect, join, leave, 16 at a time"),
    ("slow", "100 members, and one that stops reading"),
    ("transports", "one room with 100 members, 32 messages of 128 B in flight, by transport"),
    ("tls", "what TLS costs, beside the same without it"),
    ("hot", "a room of 1,000 members at full speed beside 1,000 rooms of 2"),
];

/// All cases, in the order of the report.
pub fn all() -> Cases {
    let mut cases = Cases::default();
    fan_out::add(&mut cases);
    talk::add(&mut cases);
    latency::add(&mut cases);
    idle::add(&mut cases);
    churn::add(&mut cases);
    slow_member::add(&mut cases);
    transports::add(&mut cases);
    tls::add(&mut cases);
    hot_room::add(&mut cases);
    for workload in ["latency", "idle", "churn", "slow", "hot"] {
        cases.lack(workload, FLOOR_ENVELOPE.name, "differs from the floor in bytes only, which do not matter here");
    }
    for (workload, _) in TITLES {
        cases.lack(workload, "redis over ws", "redis speaks no WebSocket");
    }
    cases
}

/// What roomcast is to reach.
pub fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    fan_out::aim(&mut targets);
    talk::aim(&mut targets);
    latency::aim(&mut targets);
    idle::aim(&mut targets);
    churn::aim(&mut targets);
    tls::aim(&mut targets);
    targets
}

/// What most is about.
const CPU: &str = "server CPU";
const CPU_UNIT: &str = "µs a delivery";

/// Of the load, which must not be what is measured.
const LOAD_CPU: &str = "load CPU";
/// Of its core.
pub(crate) const LOAD_SHARE: &str = "load's share";
const SERVER_SHARE: &str = "server's share";

/// How much more than the floor is allowed.
const FLOOR_TIMES: f64 = 1.1;

/// Adds a case for each of these contenders.
fn each(
    cases: &mut Cases,
    workload: &'static str,
    name: &'static str,
    contenders: &[Contender],
    run: impl Fn(Contender, Effort) -> Result<Vec<Figure>, Fault> + Copy + 'static,
) {
    for contender in contenders.iter().copied() {
        let run = move |effort| run(contender, effort).map_err(|fault| fault.to_string());
        cases.try_add(workload, name, contender.name, run);
    }
}

fn target(workload: &'static str, name: &'static str, figure: &'static str, bound: Bound) -> Target {
    Target { of: (workload, name, ROOMCAST.name, figure), bound, beside: None }
}

/// No more processor time for a delivery than Bun, and hardly more than the floor with the same bytes.
fn aim_at_cpu(targets: &mut Vec<Target>, workload: &'static str, name: &'static str) {
    targets.push(target(workload, name, CPU, MostTimes(1.0, name, BUN.name)));
    targets.push(target(workload, name, CPU, MostTimes(FLOOR_TIMES, name, FLOOR_ENVELOPE.name)));
}

/// No more than so many, whatever others need.
fn aim_at(targets: &mut Vec<Target>, workload: &'static str, name: &'static str, figure: &'static str, most: f64) {
    targets.push(target(workload, name, figure, Most(most)));
}

/// What a server did for a while.
struct Spent {
    cpu: Duration,
    /// Of the load.
    load_cpu: Duration,
    took: Duration,
    deliveries: u64,
}

impl Spent {
    /// Runs `load` for that time.
    fn on(server: &Process, load: &mut Load, time: Duration) -> Result<Self, Fault> {
        let (begin, cpu, deliveries) = (Instant::now(), server.cpu()?, load.deliveries());
        let load_cpu = thread_cpu();
        load.run_until(begin + time)?;
        let load_cpu = thread_cpu() - load_cpu;
        let (took, cpu, deliveries) = (begin.elapsed(), server.cpu()? - cpu, load.deliveries() - deliveries);
        if deliveries == 0 {
            return Err(Fault::TooLong("the first delivery"));
        }
        Ok(Self { cpu, load_cpu, took, deliveries })
    }

    /// Opens everything, lets it grow warm, measures, and checks what was received.
    fn steadily(server: &Process, load: &mut Load, effort: Effort) -> Result<Self, Fault> {
        load.open_all()?;
        let (warm, time) = times(effort);
        Self::on(server, load, warm)?;
        let spent = Self::on(server, load, time)?;
        load.settle()?;
        load.check()?;
        Ok(spent)
    }

    fn figures(&self) -> Vec<Figure> {
        let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / self.took.as_secs_f64();
        vec![
            figure(CPU, CPU_UNIT, self.micros_a_delivery()),
            figure("deliveries", "1,000/s", self.rate() / 1e3),
            figure(LOAD_CPU, CPU_UNIT, self.load_cpu.as_secs_f64() * 1e6 / self.deliveries as f64),
            figure(LOAD_SHARE, "% of its core", share(self.load_cpu)),
            figure(SERVER_SHARE, "% of its core", share(self.cpu)),
        ]
    }

    fn micros_a_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }

    /// Deliveries a second.
    fn rate(&self) -> f64 {
        self.deliveries as f64 / self.took.as_secs_f64()
    }
}

/// The value that this part of the samples does not exceed, in microseconds.
fn percentile(samples: &mut [u32], part: f64) -> f64 {
    samples.sort_unstable();
    let at = ((samples.len() as f64 * part) as usize).min(samples.len().saturating_sub(1));
    samples.get(at).map_or(f64::NAN, |nanos| f64::from(*nanos) / 1e3)
}

/// How long what is measured grows warm, and how long it is measured.
fn times(effort: Effort) -> (Duration, Duration) {
    (Duration::from_millis(effort.choose(200, 100)), Duration::from_millis(effort.choose(1_000, 400)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_of_a_case_that_is_measured() {
        let cases = all().all;
        let is_case = |workload: &str, name: &str, contender: &str| {
            cases.iter().any(|case| case.workload == workload && case.name == name && case.contender == contender)
        };
        for target in targets() {
            let (workload, name, contender, _) = target.of;
            assert!(is_case(workload, name, contender), "{workload} | {name} | {contender}");
            if let MostTimes(_, row, who) = target.bound {
                assert!(is_case(workload, row, who), "{workload} | {row} | {who}");
            }
        }
    }

    #[test]
    fn a_quick_run_has_a_row_of_every_class() {
        for (workload, _) in TITLES {
            let cases = all().all;
            let mut rows = cases.iter().filter(|case| case.workload == *workload && !case.is_detail);
            assert!(rows.any(|case| case.contender == ROOMCAST.name), "{workload}");
        }
    }

    #[test]
    fn percentiles_are_of_sorted_samples() {
        let mut samples: Vec<u32> = (0..1_000).rev().map(|micros| micros * 1_000).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|part| percentile(&mut samples, part)), [500.0, 990.0, 999.0]);
        assert!(percentile(&mut [], 0.5).is_nan());
    }
}
