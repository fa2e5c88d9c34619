//! What the figures of a sweep say, in sentences.

use super::group::Group;
use super::measure::{
    cost, delivered_rate, growth, is_lab_bound, join_p99, join_rate, load, middle, others_share, own, p99,
    publish_time, published_rate, resident,
};
use crate::chart::Unit;
use crate::fit::{Finding, Growth, Law, Limit, count, limit, things};
use crate::result::{Checks, Point, Report, Run, Series, Target};

/// Whether an answer pleases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Plain,
}

/// The sentences above a section's charts.
pub(super) fn sentences(report: &Report, group: &Group<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    let counted = group.counted();
    for series in &group.series {
        let of = if group.series.len() > 1 { format!("{}: ", group.label(series)) } else { String::new() };
        let lead = if group.is_sweep() && series.knob.unit.is_empty() {
            named(series)
        } else if let Some(finding) = growth(series, cost) {
            let what = if delivers(series) { "The cost of a delivery" } else { "The cost of a publish" };
            Some(growth_or_times(&finding, what, &counted, series))
        } else {
            single(series)
        };
        sentences.extend(lead.map(|lead| format!("{of}{lead}")));
    }
    if let [series] = group.series[..] {
        let findings = [
            (
                "Time from publish to publish",
                growth(series, publish_time).filter(|_| series.drive == "closed" && delivers(series)),
            ),
            ("Latency (p99)", growth(series, p99)),
        ];
        for (what, finding) in findings {
            let worth_saying = finding.filter(|finding| !matches!(finding.growth, Growth::TooFew));
            sentences.extend(worth_saying.map(|finding| finding.sentence(what, &counted)));
        }
        sentences.extend(memory(series));
    }
    sentences.extend(saturation(report, group));
    sentences.push(section_books(group));
    sentences
}

fn delivers(series: &Series) -> bool {
    series.points.iter().flat_map(|point| &point.repeats).any(|run| run.delivered > 0)
}

/// The finding's sentence; for two or three points, which are no curve, what the last delivers beside the first.
fn growth_or_times(finding: &Finding, what: &str, counted: &str, series: &Series) -> String {
    match (times(series), &series.points[..]) {
        (Some(times), [first, .., last]) => {
            format!("{} {counted} deliver {times:.2} times what {} delivers.", last.label, first.label)
        }
        _ => finding.sentence(what, counted),
    }
}

/// Of two or three points, how many times as much the last delivers as the first.
pub(super) fn times(series: &Series) -> Option<f64> {
    let [first, .., last] = &series.points[..] else { return None };
    let is_short = series.points.len() <= 3 && !series.knob.unit.is_empty();
    is_short.then(|| Some(middle(last, delivered_rate)? / middle(first, delivered_rate)?)).flatten()
}

/// The costs of values that are names, the cheapest first.
fn named(series: &Series) -> Option<String> {
    let costs = series.points.iter().filter_map(|point| Some((point.label.clone(), middle(point, cost)?)));
    let mut costs: Vec<_> = costs.collect();
    costs.sort_by(|one, other| one.1.total_cmp(&other.1));
    let least = costs.first()?.1;
    let part = |(label, cost): &(String, f64)| match cost / least {
        times if times < 1.005 => format!("{label} {}", Unit::Nanoseconds.text(*cost)),
        times => format!("{label} {} ({} times)", Unit::Nanoseconds.text(*cost), count(times)),
    };
    let parts: Vec<_> = costs.iter().map(part).collect();
    Some(format!("Processor time for each delivery: {}.", parts.join(", ")))
}

/// What a single run came to.
fn single(series: &Series) -> Option<String> {
    let point = series.points.first()?;
    let published = middle(point, published_rate)?;
    let mut sentence = format!("{} messages a second were published", Unit::Count.text(published));
    if let Some(delivered) = middle(point, delivered_rate) {
        sentence.push_str(&format!(" and {} delivered", Unit::Count.text(delivered)));
    }
    if let Some(p99) = middle(point, p99) {
        sentence.push_str(&format!("; 99 of 100 arrived within {}", Unit::Nanoseconds.text(p99)));
    }
    if let (Some(joins), Some(p99)) = (middle(point, join_rate), middle(point, join_p99)) {
        let (joins, p99) = (Unit::Count.text(joins), Unit::Nanoseconds.text(p99));
        sentence.push_str(&format!("; {joins} joins a second, 99 of 100 told within {p99}"));
    }
    sentence.push('.');
    Some(sentence)
}

/// What one more of the knob's things takes of memory, where that can be said.
fn memory(series: &Series) -> Option<String> {
    let one = match series.knob.name.as_str() {
        "subscribers" => "a subscriber",
        "rooms" => "a room",
        "brokers" => "a broker",
        "publishers" => "a publisher",
        "capacity" => "a message kept",
        _ => return None,
    };
    let finding = growth(series, resident)?;
    let is_linear = matches!(finding.growth, Growth::Lawful(curve) if curve.law == Law::Linear);
    if finding.is_flat() {
        return Some(format!("Resident memory does not grow: {} at the end.", Unit::Bytes.text(finding.costs.1)));
    }
    let each = (finding.costs.1 - finding.costs.0) / (finding.knobs.1 - finding.knobs.0);
    let in_proportion = if is_linear { ", in proportion" } else { "" };
    (each > 0.0).then(|| {
        format!(
            "Resident memory grows from {} to {}{in_proportion}: {} for {one}, lab included where it runs in the same process.",
            Unit::Bytes.text(finding.costs.0),
            Unit::Bytes.text(finding.costs.1),
            Unit::Bytes.text(each)
        )
    })
}

/// What ran out, and where.
fn saturation(report: &Report, group: &Group<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    let points = || group.series.iter().flat_map(|series| series.points.iter().map(move |point| (*series, point)));
    let bound: Vec<_> = points().filter(|(_, point)| is_lab_bound(point)).collect();
    if let (Some((series, first)), all) = (bound.first(), points().count()) {
        let at = if group.is_sweep() {
            format!(" at {} of {all} points, first {}", bound.len(), place(group, series, first))
        } else {
            String::new()
        };
        sentences.push(format!("{LAB_BOUND}{at}: these are lower bounds for roomcast."));
    }
    let others = points().filter_map(|(_, point)| middle(point, others_share)).fold(0.0, f64::max);
    if others > OTHERS_SEEN {
        let share = Unit::Share.text((others * 100.0).round() / 100.0);
        sentences.push(format!(
            "{OTHERS} took up to {share} of the cores meanwhile: rates and latencies would be better without them."
        ));
    }
    let used = |point: &Point| middle(point, own).unwrap_or(0.0);
    if let Some((series, point)) = points().max_by(|one, other| used(one.1).total_cmp(&used(other.1))) {
        let load = load(report, point);
        let taken = middle(point, others_share).unwrap_or(0.0) * load.cores;
        let what = match limit(&load) {
            _ if taken > OTHERS_SEEN * load.cores => {
                format!(" Other programs took {taken:.2}, so what it could do alone is not known.")
            }
            // Whether it is the lab was decided by who measured.
            Limit::Generator if !bound.is_empty() => String::new(),
            Limit::Generator => format!(" {}", Limit::Cores.sentence()),
            limit => format!(" {}", limit.sentence()),
        };
        let (used, place) = (used(point), place(group, series, point));
        sentences.push(format!("{used:.2} of {} cores were busy with it {place}.{what}", load.cores));
    }
    let mut said: Vec<&str> =
        points().flat_map(|(_, point)| &point.repeats).filter_map(|run| run.bottleneck.as_deref()).collect();
    said.sort_unstable();
    said.dedup();
    // One reason is the section's; many are for the table.
    if let [reason] = said[..] {
        sentences.push(format!("What it had to do: {}.", reason.trim_end_matches('.')));
    }
    sentences
}

fn section_books(group: &Group<'_>) -> String {
    let runs = group.series.iter().flat_map(|series| &series.points).flat_map(|point| &point.repeats);
    let (checker, delivered) = checker(runs);
    if checker.subscribers == 0 {
        return "No subscriber was checked.".to_owned();
    }
    format!(
        "Checked: {} lost, {} repeated, {} out of order of {} deliveries.",
        count(checker.losses as f64),
        count(checker.duplicates as f64),
        count(checker.order_violations as f64),
        Unit::Count.text(delivered as f64)
    )
}

/// The growth in a word or two, for the table at the top.
pub(super) fn tag(finding: &Finding) -> (String, Tone) {
    match finding.growth {
        Growth::TooFew => ("too few points".to_owned(), Tone::Plain),
        Growth::Unclear { .. } => ("no clear law".to_owned(), Tone::Plain),
        Growth::Rise { from } => (format!("flat to {}, then rising", count(from)), Tone::Plain),
        Growth::Bent(knee) => (format!("knee at {}", count(knee.at)), Tone::Plain),
        Growth::Lawful(curve) => match curve.law {
            Law::Constant if finding.is_flat() => ("flat".to_owned(), Tone::Good),
            Law::Constant => ("no trend".to_owned(), Tone::Plain),
            Law::Amortised => ("falling".to_owned(), Tone::Good),
            Law::Logarithmic | Law::Power { .. } if finding.costs.1 < finding.costs.0 => {
                ("falling".to_owned(), Tone::Good)
            }
            law if law.is_worse_than_n_log_n() => (law.formula(), Tone::Bad),
            Law::Linear => match curve.crossover().filter(|at| *at > finding.knobs.0 * 2.0) {
                Some(at) => (format!("flat to {}, then linear", count(at)), Tone::Plain),
                None => ("linear".to_owned(), Tone::Plain),
            },
            Law::Power { exponent } if exponent < SLOWER => {
                (format!("slower than linear, {}", curve.law.formula()), Tone::Plain)
            }
            law => (law.formula(), Tone::Plain),
        },
    }
}

/// Where a point stands: `at 1,000 subscribers a room, over the network`.
pub(super) fn place(group: &Group<'_>, series: &Series, point: &Point) -> String {
    let target = match group.target() {
        Target::Library => "in process",
        Target::Network => "over the network",
    };
    let mut knob = match (series.knob.name.as_str(), series.knob.unit.as_str()) {
        ("", _) => return target.to_owned(),
        (name, "") => format!("with {name} {}", point.label),
        (_, unit) => format!("at {}", things(point.value, unit)),
    };
    if let Some(second) = &series.second_knob {
        knob.push_str(&format!(" and {} {}", second.name, second.value));
    }
    format!("{knob}, {target}")
}

/// An exponent above it is as good as one.
const SLOWER: f64 = 0.95;

/// How the warning begins that the machine was not the run's alone.
pub(super) const OTHERS: &str = "Other programs";
/// A tenth of the machine, above which rates say little.
const OTHERS_SEEN: f64 = 0.1;

/// How the warning begins that the lab was the limit.
pub(super) const LAB_BOUND: &str = "The lab is the bottleneck";

/// The checks of all runs of a report together.
pub(super) fn checker<'a>(runs: impl Iterator<Item = &'a Run>) -> (Checks, u64) {
    let (mut all, mut delivered) = (Checks::default(), 0);
    for run in runs {
        delivered += run.delivered;
        all.order_violations += run.checks.order_violations;
        all.duplicates += run.checks.duplicates;
        all.losses += run.checks.losses;
        all.subscribers += run.checks.subscribers;
        all.first = all.first.or_else(|| run.checks.first.clone());
    }
    (all, delivered)
}
