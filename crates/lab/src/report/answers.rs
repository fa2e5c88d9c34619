//! The questions that a report answers first.

use super::group::Group;
use super::measure::{cost, delivered_rate, middle, own};
use super::verdict::{Tone, checker, place};
use crate::chart::Unit;
use crate::fit::{count, things};
use crate::result::{Point, Report, Run, Series};

/// A question of the reader's, and its answer.
pub(super) struct Answer {
    pub(super) question: &'static str,
    /// One word or two: the answer at a glance.
    pub(super) short: String,
    pub(super) sentence: String,
    pub(super) tone: Tone,
}

/// The questions a report answers first.
pub(super) fn answers(report: &Report, groups: &[Group<'_>]) -> Vec<Answer> {
    vec![cores(report, groups), pointers(groups), correctness(report), bottleneck(report)]
}

/// A run, and the words for where it stands: `at 1,000 subscribers a room, over the network`.
fn runs<'a>(groups: &'a [Group<'a>]) -> impl Iterator<Item = (&'a Group<'a>, &'a Series, &'a Point)> {
    groups.iter().flat_map(|group| {
        let points = move |series: &'a &'a Series| series.points.iter().map(move |point| (group, *series, point));
        group.series.iter().flat_map(points)
    })
}

fn cores(report: &Report, groups: &[Group<'_>]) -> Answer {
    let question = "Are all cores used?";
    let measured = runs(groups).filter_map(|(group, series, point)| Some((group, series, point, middle(point, own)?)));
    let Some((group, series, point, most)) = measured.max_by(|one, other| one.3.total_cmp(&other.3)) else {
        return Answer {
            question,
            short: "Not measured".to_owned(),
            sentence: "The machine does not tell.".to_owned(),
            tone: Tone::Plain,
        };
    };
    let cores = report.machine.cores.max(1) as f64;
    let is_used = most >= 0.9 * cores;
    let mut sentence = format!("{most:.2} of {cores} cores were busy {}", place(group, series, point));
    if let Some((from, to, times)) = parallel(groups) {
        sentence.push_str(&format!("; {to} shards deliver {times:.2} times what {from} delivers"));
    }
    sentence.push('.');
    let short = if is_used { "Yes" } else { "Not all" };
    Answer { question, short: short.to_owned(), sentence, tone: if is_used { Tone::Good } else { Tone::Plain } }
}

/// The first and last number of shards, and how much more the last delivers.
fn parallel(groups: &[Group<'_>]) -> Option<(String, String, f64)> {
    let group = groups.iter().find(|group| group.first().knob.name == "shards" && group.is_sweep())?;
    let points: Vec<_> = group.first().points.iter().filter(|point| point.value > 0.0).collect();
    let (first, last) = (points.first()?, points.last()?);
    let times = middle(last, delivered_rate)? / middle(first, delivered_rate)?;
    (first.value < last.value).then(|| (first.label.clone(), last.label.clone(), times))
}

fn pointers(groups: &[Group<'_>]) -> Answer {
    let question = "Can one pass pointers instead of copies?";
    let Some((size, mut costs)) = by_read(groups) else {
        let sentence = "Not asked in this run: sweep read=ref,clone,arc, best together with size.".to_owned();
        return Answer { question, short: "Not asked".to_owned(), sentence, tone: Tone::Plain };
    };
    costs.sort_by(|one, other| one.1.total_cmp(&other.1));
    let of = |name: &str| costs.iter().find(|(label, _)| label == name).map(|(_, cost)| *cost);
    let base = of("ref").or_else(|| of("arc")).unwrap_or(costs[0].1);
    let mut parts = Vec::new();
    for (label, cost) in &costs {
        let name = match label.as_str() {
            "ref" => "lent by reference",
            "arc" => "as a pointer (Arc)",
            "clone" => "copied",
            other => other,
        };
        let times = cost / base;
        let against =
            if (times - 1.0).abs() < 0.005 { String::new() } else { format!(", {} times as much", count(times)) };
        parts.push(format!("{name} {}{against}", Unit::Nanoseconds.text(*cost)));
    }
    let sentence = format!("A delivery{size} costs, of processor time: {}.", parts.join("; "));
    let is_cheaper = of("clone").is_none_or(|clone| clone > base * 1.1);
    let short = if is_cheaper { "Yes" } else { "It gains little" };
    Answer { question, short: short.to_owned(), sentence, tone: if is_cheaper { Tone::Good } else { Tone::Plain } }
}

/// The cost of a delivery for each way to read, at the largest size that was measured.
fn by_read(groups: &[Group<'_>]) -> Option<(String, Vec<(String, f64)>)> {
    let of_knob = |group: &Group<'_>| {
        let costs = group.first().points.iter().filter_map(|point| Some((point.label.clone(), middle(point, cost)?)));
        let size = group.first().kept.iter().find(|setting| setting.name == "size");
        (size.map(|setting| setting.value.clone()), costs.collect::<Vec<_>>())
    };
    let of_series = |group: &Group<'_>| {
        let of = |series: &&Series| {
            let read = series.second_knob.as_ref()?.value.clone();
            Some((read, middle(series.points.last()?, cost)?))
        };
        let size = group.first().points.last().filter(|_| group.first().knob.name == "size");
        (size.map(|point| point.label.clone()), group.series.iter().filter_map(of).collect())
    };
    let is_second = |group: &&Group<'_>| group.first().second_knob.as_ref().is_some_and(|second| second.name == "read");
    let (size, costs) = groups
        .iter()
        .find(is_second)
        .map(of_series)
        .or_else(|| groups.iter().find(|group| group.first().knob.name == "read").map(of_knob))?;
    let bytes = size.and_then(|size| size.parse::<f64>().ok());
    (costs.len() > 1)
        .then(|| (bytes.map_or_else(String::new, |bytes| format!(" of {}", Unit::Bytes.text(bytes))), costs))
}

fn every_run(report: &Report) -> impl Iterator<Item = &Run> {
    report.series.iter().flat_map(|series| &series.points).flat_map(|point| &point.repeats)
}

fn correctness(report: &Report) -> Answer {
    let question = "Was anything lost, repeated or out of order?";
    let (checker, delivered) = checker(every_run(report));
    let checked = format!(
        "{} deliveries to {}",
        Unit::Count.text(delivered as f64),
        things(checker.subscribers as f64, "subscribers")
    );
    if checker.subscribers == 0 {
        let sentence = "No subscriber was checked.".to_owned();
        return Answer { question, short: "Not checked".to_owned(), sentence, tone: Tone::Plain };
    }
    if checker.is_clean() {
        let sentence = format!("0 lost, 0 repeated, 0 out of order among {checked}; every one was checked.");
        return Answer { question, short: "No".to_owned(), sentence, tone: Tone::Good };
    }
    let mut sentence = format!(
        "{} lost, {} repeated, {} out of order among {checked}.",
        count(checker.losses as f64),
        count(checker.duplicates as f64),
        count(checker.order_violations as f64)
    );
    if let Some(first) = checker.first {
        sentence.push_str(&format!(" The first: {first}."));
    }
    Answer { question, short: "Yes".to_owned(), sentence, tone: Tone::Bad }
}

fn bottleneck(report: &Report) -> Answer {
    let question = "Is it roomcast that was measured, or the lab?";
    let (all, bound) =
        every_run(report).fold((0, 0), |(all, bound), run| (all + 1, bound + usize::from(run.is_lab_bound)));
    let own = report.own_cost.map(|own| {
        let network = own
            .network_receive_ns
            .map_or_else(String::new, |ns| format!(", {} for one from a socket", Unit::Nanoseconds.text(ns)));
        format!(
            " The lab itself needs {} for a publish and {} for a receipt{network}.",
            Unit::Nanoseconds.text(own.publish_ns),
            Unit::Nanoseconds.text(own.receive_ns)
        )
    });
    let own = own.unwrap_or_default();
    let (short, sentence, tone) = match bound {
        0 if all == 1 => ("roomcast", format!("In the one measurement the lab was not the limit.{own}"), Tone::Good),
        0 => ("roomcast", format!("In none of {all} measurements was the lab the limit.{own}"), Tone::Good),
        1 if all == 1 => (
            "The lab",
            format!("In the one measurement the lab was the limit: its figures are lower bounds.{own}"),
            Tone::Plain,
        ),
        bound => (
            if bound * 2 > all { "The lab" } else { "roomcast, mostly" },
            format!(
                "In {bound} of {all} measurements the lab was the limit; they are marked, and are lower bounds.{own}"
            ),
            Tone::Plain,
        ),
    };
    Answer { question, short: short.to_owned(), sentence, tone }
}
