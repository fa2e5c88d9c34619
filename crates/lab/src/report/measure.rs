//! What is read off a measurement, and lines and fits made of it.

use crate::chart::{Line, Spot};
use crate::fit::{self, Load, median, range};
use crate::result::{Point, Report, Run, Series};

/// Something that a [`Run`] tells; `None` where it was not measured.
pub(crate) type Measure = fn(&Run) -> Option<f64>;

pub(crate) fn delivered_rate(run: &Run) -> Option<f64> {
    (run.seconds > 0.0 && run.delivered > 0).then(|| run.delivered_rate())
}

pub(crate) fn published_rate(run: &Run) -> Option<f64> {
    (run.seconds > 0.0 && run.published > 0).then(|| run.published_rate())
}

/// What had to be delivered a second; it is an ideal only where a schedule asks for it.
pub(crate) fn expected_rate(run: &Run) -> Option<f64> {
    let is_asked = run.offered_rate.is_some() && run.seconds > 0.0 && run.expected > 0;
    is_asked.then(|| run.expected as f64 / run.seconds)
}

/// Nanoseconds of processor time: for each delivery, or for each publish where nobody listens.
pub(crate) fn cost(run: &Run) -> Option<f64> {
    let count = if run.delivered > 0 { run.delivered } else { run.published };
    let seconds = run.cpu.target_seconds.unwrap_or(run.cpu.seconds_total);
    (count > 0 && seconds > 0.0).then(|| seconds * 1e9 / count as f64)
}

/// Nanoseconds from one publish to the next, of all publishers together.
pub(crate) fn publish_time(run: &Run) -> Option<f64> {
    (run.offered_rate.is_none() && run.published > 0).then(|| run.seconds * 1e9 / run.published as f64)
}

pub(crate) fn p50(run: &Run) -> Option<f64> {
    timed(run, run.latency.p50)
}

pub(crate) fn p90(run: &Run) -> Option<f64> {
    timed(run, run.latency.p90)
}

pub(crate) fn p99(run: &Run) -> Option<f64> {
    timed(run, run.latency.p99)
}

pub(crate) fn p999(run: &Run) -> Option<f64> {
    timed(run, run.latency.p999)
}

pub(crate) fn slowest(run: &Run) -> Option<f64> {
    timed(run, run.latency.max)
}

fn timed(run: &Run, nanoseconds: u64) -> Option<f64> {
    (run.latency.count > 0).then_some(nanoseconds as f64)
}

/// The share of all cores that other programs took.
pub(crate) fn others_share(run: &Run) -> Option<f64> {
    run.cpu.others
}

/// Cores that were busy with the run: without what other programs took.
pub(crate) fn own(run: &Run) -> Option<f64> {
    let others = others_share(run).unwrap_or(0.0) * run.cpu.per_core.len() as f64;
    busy(run).map(|busy| (busy - others).max(0.0))
}

/// Cores that were busy.
pub(crate) fn busy(run: &Run) -> Option<f64> {
    (!run.cpu.per_core.is_empty()).then(|| run.cpu.per_core.iter().sum())
}

pub(crate) fn resident(run: &Run) -> Option<f64> {
    (run.memory.resident_end > 0).then_some(run.memory.resident_end as f64)
}

pub(crate) fn heap_live(run: &Run) -> Option<f64> {
    run.memory.heap_live_end.map(|bytes| bytes as f64)
}

pub(crate) fn voluntary(run: &Run) -> Option<f64> {
    run.context_switches.map(|switches| switches.voluntary as f64 / run.seconds)
}

pub(crate) fn involuntary(run: &Run) -> Option<f64> {
    run.context_switches.map(|switches| switches.involuntary as f64 / run.seconds)
}

pub(crate) fn syscalls(run: &Run) -> Option<f64> {
    run.syscalls.map(|calls| calls as f64 / run.seconds)
}

/// The share of what was expected that did not come, for whatever reason.
pub(crate) fn missed(run: &Run) -> Option<f64> {
    (run.expected > 0).then(|| run.expected.saturating_sub(run.delivered) as f64 / run.expected as f64)
}

pub(crate) fn fairness(run: &Run) -> Option<f64> {
    run.fairness.map(|fairness| fairness.jain)
}

pub(crate) fn join_rate(run: &Run) -> Option<f64> {
    (run.joins > 0 && run.seconds > 0.0).then(|| run.joins as f64 / run.seconds)
}

pub(crate) fn join_p50(run: &Run) -> Option<f64> {
    run.join_latency.as_ref().filter(|latency| latency.count > 0).map(|latency| latency.p50 as f64)
}

pub(crate) fn join_p99(run: &Run) -> Option<f64> {
    run.join_latency.as_ref().filter(|latency| latency.count > 0).map(|latency| latency.p99 as f64)
}

/// The repeats of a point.
pub(crate) fn values(point: &Point, of: impl Fn(&Run) -> Option<f64>) -> Vec<f64> {
    point.repeats.iter().filter_map(of).filter(|value| value.is_finite()).collect()
}

/// The median of the repeats of a point.
pub(crate) fn middle(point: &Point, of: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    median(&values(point, of))
}

/// The measure along the knob.
pub(crate) fn line(name: impl Into<String>, series: &Series, of: impl Fn(&Run) -> Option<f64>) -> Line {
    let spot = |point: &Point| {
        let values = values(point, &of);
        let (low, high) = range(&values)?;
        Some(Spot { x: point.value, y: median(&values)?, low, high })
    };
    Line { name: name.into(), spots: series.points.iter().filter_map(spot).collect(), is_ideal: false }
}

/// How the measure grows with the knob; `None` where it was not measured or values are names.
pub(crate) fn growth(series: &Series, of: Measure) -> Option<fit::Finding> {
    let is_ordered = !series.knob.unit.is_empty();
    let points: Vec<_> = series.points.iter().map(|point| fit::Point::new(point.value, values(point, of))).collect();
    is_ordered.then(|| fit::examine(&points)).flatten()
}

/// How loaded the machine was at a point.
pub(crate) fn load(report: &Report, point: &Point) -> Load {
    let generator = |run: &Run| run.cpu.lab_seconds.map(|seconds| seconds / run.seconds);
    let memory = report.machine.memory.max(1) as f64;
    Load {
        cores: report.machine.cores as f64,
        busy: middle(point, busy).unwrap_or(0.0),
        generator: middle(point, generator),
        // The busiest thread of the generator tells when one of several is full.
        generator_threads: middle(point, generator)
            .zip(middle(point, |run| run.cpu.lab_busiest))
            .map(|(generator, busiest)| generator / busiest.max(f64::MIN_POSITIVE)),
        memory: middle(point, resident).unwrap_or(0.0) / memory,
        missed: middle(point, missed).unwrap_or(0.0),
        is_paced: middle(point, |run| run.offered_rate).is_some(),
    }
}

/// Whether the lab was the limit at a point, in most of its repeats.
pub(crate) fn is_lab_bound(point: &Point) -> bool {
    let bound = point.repeats.iter().filter(|run| run.is_lab_bound).count();
    bound * 2 > point.repeats.len()
}
