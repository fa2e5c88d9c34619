//! Two results held against each other: ratios, and whether they are more than noise.
//!
//! Repeats are compared as logarithms. The spread of a series' repeats is pooled over its points, since three repeats alone
//! say little about spread; a point with more spread of its own keeps it.

mod charts;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::chart::Unit;
use super::fit::{median, range, student_95};
use super::report::measure;
use super::result::{Point, Report, Run, Series};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// Messages delivered a second.
    Delivered,
    /// Messages published a second.
    Published,
    /// Processor time for each delivery.
    Cost,
    /// The median time from publish to receive.
    Median,
    /// The 99th percentile of it.
    P99,
    /// Resident memory.
    Memory,
}

/// All of them, in the order in which they are shown.
const MEASURES: [Measure; 6] =
    [Measure::Delivered, Measure::Published, Measure::Cost, Measure::Median, Measure::P99, Measure::Memory];

/// What a ratio means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Clearly better than before.
    Better,
    /// Clearly worse.
    Worse,
    /// Repeats differ as much.
    WithinNoise,
    /// One side was measured once only: there is no noise to hold it against.
    Unknown,
}

/// One measure at one point, before and after.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Row {
    /// What was measured.
    pub measure: Measure,
    /// The value of the knob, as it is written.
    pub label: String,
    /// The median before.
    pub before: f64,
    /// The median after.
    pub after: f64,
    /// The value of the knob.
    pub value: f64,
    /// The smallest and the largest of the repeats, before and after.
    pub ranges: [(f64, f64); 2],
    /// After over before.
    pub ratio: f64,
    /// Between which ratios the true one is taken to lie; the verdict is clear where 1 is not between them. `None` where
    /// [`Verdict::Unknown`].
    pub interval: Option<(f64, f64)>,
    /// What it means.
    pub verdict: Verdict,
}

/// The rows of one series that both results have.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pair {
    /// The name of the series.
    pub name: String,
    /// What its points count.
    pub counted: String,
    /// Whether the values of its knob are names.
    pub is_named: bool,
    /// By measure, then by point.
    pub rows: Vec<Row>,
}

/// Two results held against each other.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Comparison {
    /// What was typed for the first, and when.
    pub before: String,
    /// And for the second.
    pub after: String,
    /// What makes the two less comparable, a sentence each.
    pub warnings: Vec<String>,
    /// Series in both.
    pub pairs: Vec<Pair>,
}

/// Holds `after` against `before`.
#[must_use]
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let mut warnings = warnings(before, after);
    let mut pairs = Vec::new();
    for series in &before.series {
        match after.series.iter().find(|other| is_same(series, other)) {
            Some(other) => pairs.push(pair(series, other)),
            None => warnings.push(format!("{} is in the first only.", series.name)),
        }
    }
    for series in &after.series {
        if !before.series.iter().any(|other| is_same(series, other)) {
            warnings.push(format!("{} is in the second only.", series.name));
        }
    }
    let typed = |report: &Report| format!("{} ({})", report.command, report.started);
    Comparison { before: typed(before), after: typed(after), warnings, pairs }
}

impl Comparison {
    /// How many rows are clearly better, clearly worse, and neither.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let rows = || self.pairs.iter().flat_map(|pair| &pair.rows);
        let of = |verdict: Verdict| rows().filter(|row| row.verdict == verdict).count();
        let (better, worse) = (of(Verdict::Better), of(Verdict::Worse));
        (better, worse, rows().count() - better - worse)
    }
}

fn is_same(one: &Series, other: &Series) -> bool {
    one.name == other.name && one.target == other.target && one.knob.name == other.knob.name
}

fn warnings(before: &Report, after: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if before.machine.cpu != after.machine.cpu || before.machine.cores != after.machine.cores {
        warnings.push("The two were measured on different machines.".to_owned());
    }
    if before.scenario.toml != after.scenario.toml {
        warnings.push("The two measured different scenarios.".to_owned());
    }
    let bound = |report: &Report| {
        report
            .series
            .iter()
            .flat_map(|series| &series.points)
            .flat_map(|point| &point.repeats)
            .any(|run| run.is_lab_bound)
    };
    if bound(before) || bound(after) {
        warnings.push("At some points the lab was the limit: a ratio there is the lab's.".to_owned());
    }
    warnings
}

fn pair(before: &Series, after: &Series) -> Pair {
    let kept =
        |series: &Series| -> BTreeSet<String> { series.points.iter().map(|point| point.label.clone()).collect() };
    let labels: BTreeSet<String> = kept(before).intersection(&kept(after)).cloned().collect();
    let mut rows = Vec::new();
    for measure in MEASURES {
        let noise = Noise::of(&[before, after], measure);
        for point in before.points.iter().filter(|point| labels.contains(&point.label)) {
            let other = after.points.iter().find(|other| other.label == point.label);
            rows.extend(other.and_then(|other| row(measure, point, other, &noise)));
        }
    }
    let knob = &before.knob;
    let counted = if knob.unit.is_empty() { knob.name.clone() } else { knob.unit.clone() };
    Pair { name: before.name.clone(), counted, is_named: knob.unit.is_empty(), rows }
}

fn row(measure: Measure, before: &Point, after: &Point, noise: &Noise) -> Option<Row> {
    let (values, values_after) = (measure.values(before), measure.values(after));
    let (middle, middle_after) = (median(&values)?, median(&values_after)?);
    if middle <= 0.0 || middle_after <= 0.0 {
        return None;
    }
    let ratio = middle_after / middle;
    let spread = (noise.at(&values) / values.len() as f64 + noise.at(&values_after) / values_after.len() as f64).sqrt();
    let margin = (spread * student_95(noise.degrees) * CLEAR).max(SEEN);
    let is_known = values.len() > 1 && values_after.len() > 1;
    let interval = is_known.then(|| (ratio * (-margin).exp(), ratio * margin.exp()));
    let verdict = if !is_known {
        Verdict::Unknown
    } else if interval.is_some_and(|(low, high)| (low..=high).contains(&1.0)) {
        Verdict::WithinNoise
    } else if (ratio > 1.0) == measure.is_better_when_more() {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    let ranges = [range(&values)?, range(&values_after)?];
    Some(Row {
        measure,
        label: before.label.clone(),
        value: before.value,
        before: middle,
        after: middle_after,
        ranges,
        ratio,
        interval,
        verdict,
    })
}

impl Measure {
    /// As it is called in a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered/s",
            Self::Published => "published/s",
            Self::Cost => "CPU a delivery",
            Self::Median => "latency p50",
            Self::P99 => "latency p99",
            Self::Memory => "resident",
        }
    }

    /// What its values count.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Delivered | Self::Published => Unit::Count,
            Self::Cost | Self::Median | Self::P99 => Unit::Nanoseconds,
            Self::Memory => Unit::Bytes,
        }
    }

    fn is_better_when_more(self) -> bool {
        matches!(self, Self::Delivered | Self::Published)
    }

    fn values(self, point: &Point) -> Vec<f64> {
        let of: fn(&Run) -> Option<f64> = match self {
            Self::Delivered => measure::delivered_rate,
            Self::Published => measure::published_rate,
            Self::Cost => measure::cost,
            Self::Median => measure::p50,
            Self::P99 => measure::p99,
            Self::Memory => measure::resident,
        };
        measure::values(point, of)
    }
}

/// The spread of repeats around their mean, as logarithms.
struct Noise {
    /// Pooled over all points.
    variance: f64,
    degrees: usize,
}

impl Noise {
    fn of(series: &[&Series], measure: Measure) -> Self {
        let (mut squares, mut degrees) = (0.0, 0);
        for point in series.iter().flat_map(|series| &series.points) {
            let values = measure.values(point);
            squares += deviations(&values);
            degrees += values.len().saturating_sub(1);
        }
        Self { variance: squares / degrees.max(1) as f64, degrees }
    }

    /// The variance to reckon with at a point of these values.
    fn at(&self, values: &[f64]) -> f64 {
        let own = deviations(values) / values.len().saturating_sub(1).max(1) as f64;
        self.variance.max(own)
    }
}

/// The squares of the distances from the mean, added up.
fn deviations(values: &[f64]) -> f64 {
    let logarithms: Vec<f64> = values.iter().filter(|value| **value > 0.0).map(|value| value.ln()).collect();
    let mean = logarithms.iter().sum::<f64>() / logarithms.len().max(1) as f64;
    logarithms.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Of many rows one in twenty lies outside its margin by chance; so far outside, one in several hundred.
const CLEAR: f64 = 1.5;
/// Less than a per cent is nothing, however quiet the machine.
const SEEN: f64 = 0.01;
