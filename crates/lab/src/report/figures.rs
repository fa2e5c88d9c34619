//! The charts of a section.

use super::group::Group;
use super::measure::{
    Measure, busy, cost, delivered_rate, expected_rate, fairness, growth, heap_live, involuntary, join_p50, join_p99,
    line, middle, missed, others_share, p50, p90, p99, p999, published_rate, resident, slowest, syscalls, voluntary,
};
use crate::chart::{Axis, Chart, Division, Line, Spot, Unit};
use crate::fit::{Growth, count};
use crate::result::{Point, Report, Run, Series};

/// A chart and what its files are called after.
pub(super) struct Figure {
    pub(super) kind: &'static str,
    pub(super) chart: Chart,
}

/// All charts of a sweep that have something to show.
pub(super) fn of_sweep(report: &Report, group: &Group<'_>) -> Vec<Figure> {
    let rates = |title: &str, of: Measure, asked: Measure| {
        let mut chart = chart(group, title, "a second", Unit::Count, of);
        chart.lines.extend(ideal_rate(report, group, of, asked));
        fitting(chart)
    };
    let mut figures = vec![
        figure("delivered", rates("Delivered", delivered_rate, expected_rate)),
        figure("published", rates("Published", published_rate, |run| run.offered_rate)),
        figure("cost", fitting(cost_chart(group))),
        figure("latency", fitting(latency(group))),
        figure("cores", cores(report, group)),
        figure("memory", fitting(memory(group))),
        figure("switches", fitting(switches(group))),
    ];
    let missed = chart(group, "Not delivered", "share of what was expected", Unit::Share, missed);
    if missed.lines.iter().flat_map(|line| &line.spots).any(|spot| spot.high > 0.0) {
        figures.push(figure("missed", missed));
    }
    let fairness = chart(group, "Fairness (Jain)", "1: all subscribers get the same", Unit::Count, fairness);
    if fairness.lines.iter().flat_map(|line| &line.spots).any(|spot| spot.low < 0.99) {
        figures.push(figure("fairness", fairness));
    }
    figures.push(figure("joins", fitting(joins(group))));
    figures.push(figure("growth", over_time(group)));
    figures.retain(|figure| has_content(&figure.chart));
    for figure in &mut figures {
        figure.chart.description = described(&figure.chart);
    }
    figures
}

/// The charts of a single run.
pub(super) fn of_run(report: &Report, group: &Group<'_>) -> Vec<Figure> {
    let mut figures = vec![
        figure("distribution", distribution(group)),
        figure("rates", fitting(rates_over_time(group))),
        figure("latency-time", fitting(latency_over_time(group))),
        figure("growth", over_time(group)),
        figure("cores", cores_of_run(report, group)),
    ];
    figures.retain(|figure| has_content(&figure.chart));
    for figure in &mut figures {
        figure.chart.description = described(&figure.chart);
    }
    figures
}

fn figure(kind: &'static str, chart: Chart) -> Figure {
    Figure { kind, chart }
}

fn has_content(chart: &Chart) -> bool {
    let is_shown = |line: &Line| !line.is_ideal && line.spots.iter().any(|spot| spot.y.is_finite());
    chart.lines.iter().any(is_shown)
}

/// One line for each series.
fn chart(group: &Group<'_>, title: &str, label: &str, unit: Unit, of: impl Fn(&Run) -> Option<f64>) -> Chart {
    Chart {
        title: title.to_owned(),
        x: along(group),
        y: Axis { label: label.to_owned(), unit, ..Axis::default() },
        lines: group.series.iter().map(|series| line(group.label(series), series, &of)).collect(),
        ..Chart::default()
    }
}

/// The axis of the knob.
fn along(group: &Group<'_>) -> Axis {
    let knob = &group.first().knob;
    let points = group.series.iter().flat_map(|series| &series.points);
    if knob.unit.is_empty() {
        let longest =
            group.series.iter().max_by_key(|series| series.points.len()).map_or(&[][..], |series| &series.points);
        let names = longest.iter().map(|point| point.label.clone()).collect();
        return Axis { label: group.counted(), division: Division::Names(names), ..Axis::default() };
    }
    let unit = if knob.unit == "bytes" { Unit::Bytes } else { Unit::Count };
    let values: Vec<f64> = points.map(|point| point.value).collect();
    // Two or three places, as with shards, are places with names rather than a range.
    let mut places = values.clone();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut axis = Axis::fitting(group.counted(), unit, values.iter().copied());
    axis.is_whole = values.iter().all(|value| value.fract() == 0.0);
    if places.iter().filter(|place| **place > 0.0).count() > 3
        && places.last() > places.first().map(|first| first * 8.0).as_ref()
    {
        axis.division = Division::Logarithmic;
    }
    axis
}

/// Chooses the division of the upright axis by what is to be shown.
fn fitting(mut chart: Chart) -> Chart {
    let values = chart.lines.iter().flat_map(|line| line.spots.iter().map(|spot| spot.y));
    chart.y = Axis { reaches: chart.y.reaches, ..Axis::fitting(chart.y.label.clone(), chart.y.unit, values) };
    chart
}

/// What a rate would be: what the schedule asks for; else in proportion to what the knob adds, cores or listeners, as far as
/// the chart goes; else the best that was measured, all along.
fn ideal_rate(report: &Report, group: &Group<'_>, of: Measure, asked: Measure) -> Option<Line> {
    let first = group.first();
    if first.knob.unit.is_empty() {
        return None;
    }
    let asked = line("asked for", first, asked);
    if !asked.spots.is_empty() {
        return (group.series.len() == 1).then_some(Line { is_ideal: true, ..asked });
    }
    let points: Vec<_> = first.points.iter().filter(|point| point.value > 0.0).collect();
    let level = middle(points.first()?, of)?;
    let best = best(group, of, f64::max)?;
    let cores = report.machine.cores.max(1) as f64;
    let start = points.first()?.value;
    let knob = first.knob.name.as_str();
    let spots: Vec<_> = match knob {
        "shards" | "concurrent" | "threads" => points
            .iter()
            .map(|point| Spot::at(point.value, level * point.value.min(cores) / start.min(cores)))
            .collect(),
        "subscribers" if middle(points.last()?, delivered_rate) == middle(points.last()?, of) => {
            let end = (best * 1.5 / level * start).min(points.last()?.value);
            vec![Spot::at(start, level), Spot::at(end, level * end / start)]
        }
        "subscribers" => return None,
        _ => points.iter().map(|point| Spot::at(point.value, best)).collect(),
    };
    Some(Line { name: "ideal".to_owned(), spots, is_ideal: true })
}

/// The best median of all points of a group.
fn best(group: &Group<'_>, of: Measure, better: fn(f64, f64) -> f64) -> Option<f64> {
    group.series.iter().flat_map(|series| &series.points).filter_map(|point| middle(point, of)).reduce(better)
}

fn cost_chart(group: &Group<'_>) -> Chart {
    let mut cost_chart = chart(group, "Processor time for each delivery", "of the target", Unit::Nanoseconds, cost);
    let first = group.first();
    if first.knob.unit.is_empty() {
        return cost_chart;
    }
    if let Some(level) = best(group, cost, f64::min) {
        let spots = first.points.iter().map(|point| Spot::at(point.value, level)).collect();
        cost_chart.lines.push(Line { name: "ideal".to_owned(), spots, is_ideal: true });
    }
    if let (1, Some(Growth::Bent(knee))) = (group.series.len(), growth(first, cost).map(|finding| finding.growth)) {
        cost_chart.marks.push((knee.at, format!("knee {}", count(knee.at))));
    }
    cost_chart
}

fn latency(group: &Group<'_>) -> Chart {
    let mut chart = chart(group, "Latency, publish to receive", "p99", Unit::Nanoseconds, p99);
    if let [series] = group.series[..] {
        let all: [(&str, Measure); 5] = [("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p999), ("max", slowest)];
        chart.lines = all.into_iter().map(|(name, of)| line(name, series, of)).collect();
        chart.y.label = "percentiles".to_owned();
    }
    chart
}

fn cores(report: &Report, group: &Group<'_>) -> Chart {
    let most = report.machine.cores.max(1);
    if let [series] = group.series[..] {
        let core =
            |index: usize| line(format!("core {index}"), series, move |run: &Run| run.cpu.per_core.get(index).copied());
        let others = line("other programs, of all", series, others_share);
        let others = Some(others).filter(|line| line.spots.iter().any(|spot| spot.y > 0.01));
        return Chart {
            title: "Processor, core by core".to_owned(),
            x: along(group),
            y: Axis {
                label: "busy share, everything on the machine".to_owned(),
                unit: Unit::Share,
                reaches: Some(1.0),
                ..Axis::default()
            },
            lines: (0..most.min(LINES_MAX - 1)).map(core).chain(others).collect(),
            ..Chart::default()
        };
    }
    let mut chart = chart(group, "Busy cores", &format!("of {most}"), Unit::Count, busy);
    chart.y.reaches = Some(most as f64);
    chart
}

fn memory(group: &Group<'_>) -> Chart {
    let mut chart = chart(group, "Memory", "resident, at the end", Unit::Bytes, resident);
    if let [series] = group.series[..] {
        chart.lines = vec![line("resident", series, resident), line("heap, live", series, heap_live)];
        chart.lines.retain(|line| !line.spots.is_empty());
        chart.y.label = "at the end".to_owned();
    }
    chart
}

fn switches(group: &Group<'_>) -> Chart {
    let mut chart = chart(group, "Context switches", "voluntary, a second", Unit::Count, voluntary);
    if let [series] = group.series[..] {
        let all: [(&str, Measure); 3] = [("voluntary", voluntary), ("forced", involuntary), ("system calls", syscalls)];
        chart.lines = all.into_iter().map(|(name, of)| line(name, series, of)).collect();
        chart.lines.retain(|line| line.spots.iter().any(|spot| spot.y > 0.0));
        chart.y.label = "a second".to_owned();
    }
    chart
}

fn joins(group: &Group<'_>) -> Chart {
    let mut chart = chart(group, "Joining", "time to be told, p99", Unit::Nanoseconds, join_p99);
    if let [series] = group.series[..] {
        chart.lines = vec![line("p50", series, join_p50), line("p99", series, join_p99)];
        chart.lines.retain(|line| !line.spots.is_empty());
        chart.y.label = "time to be told".to_owned();
    }
    chart
}

/// Resident memory while the points were measured, of the last repeat of each.
fn over_time(group: &Group<'_>) -> Chart {
    let mut lines = Vec::new();
    for series in &group.series {
        let points = match group.series.len() {
            1 => &series.points[..],
            // Of several series the points where most is at stake.
            _ => &series.points[series.points.len().saturating_sub(1)..],
        };
        for point in points {
            let Some(run) = point.repeats.last() else { continue };
            let spots: Vec<_> =
                run.memory.resident_series.iter().map(|(second, bytes)| Spot::at(*second, *bytes as f64)).collect();
            let name = match (&series.second_knob, series.knob.name.as_str()) {
                (_, "") => "resident".to_owned(),
                (None, _) => group.spoken(point),
                (Some(second), _) => format!("{}, {}", group.spoken(point), second.value),
            };
            if spots.len() > 1 {
                lines.push(Line { name, spots: thinned(spots), is_ideal: false });
            }
        }
    }
    // Of many, the first, the last and those between at even distances.
    let count = lines.len();
    if count > LINES_MAX {
        let kept: Vec<usize> = (0..LINES_MAX).map(|index| index * (count - 1) / (LINES_MAX - 1)).collect();
        lines = lines.into_iter().enumerate().filter(|(index, _)| kept.contains(index)).map(|(_, line)| line).collect();
    }
    timed_chart("Memory over time", "resident", Unit::Bytes, lines)
}

fn rates_over_time(group: &Group<'_>) -> Chart {
    let Some(run) = last_run(group) else { return Chart::default() };
    let mut lines = [("published", Vec::new()), ("delivered", Vec::new())];
    for pair in run.timeline.windows(2) {
        let ((before, published_before, delivered_before), (second, published, delivered)) = (pair[0], pair[1]);
        let span = second - before;
        if span > 0.0 {
            lines[0].1.push(Spot::at(second, published.saturating_sub(published_before) as f64 / span));
            lines[1].1.push(Spot::at(second, delivered.saturating_sub(delivered_before) as f64 / span));
        }
    }
    let lines = lines.map(|(name, spots)| Line { name: name.to_owned(), spots: thinned(spots), is_ideal: false });
    timed_chart("Rates over time", "messages a second", Unit::Count, lines.into())
}

fn latency_over_time(group: &Group<'_>) -> Chart {
    let Some(run) = last_run(group) else { return Chart::default() };
    let line = |name: &str, of: fn(&(f64, u64, u64)) -> u64| {
        let spots = run.latency_series.iter().map(|entry| Spot::at(entry.0, of(entry) as f64)).collect();
        Line { name: name.to_owned(), spots: thinned(spots), is_ideal: false }
    };
    let lines = vec![line("p50", |entry| entry.1), line("p99", |entry| entry.2)];
    timed_chart("Latency over time", "publish to receive", Unit::Nanoseconds, lines)
}

/// How large a share of the messages took no longer than a time, for each repeat.
fn distribution(group: &Group<'_>) -> Chart {
    let runs = group.series.iter().flat_map(|series| &series.points).flat_map(|point| &point.repeats);
    let line = |(index, run): (usize, &Run)| {
        let all: u64 = run.latency.histogram.iter().map(|(_, count)| count).sum();
        let mut below = 0;
        let spots = run.latency.histogram.iter().map(|(bound, count)| {
            below += count;
            Spot::at(*bound as f64, below as f64 / all.max(1) as f64)
        });
        Line { name: format!("repeat {}", index + 1), spots: thinned(spots.collect()), is_ideal: false }
    };
    Chart {
        title: "Latency, publish to receive".to_owned(),
        x: Axis {
            label: "no longer than".to_owned(),
            unit: Unit::Nanoseconds,
            division: Division::Logarithmic,
            ..Axis::default()
        },
        y: Axis { label: "share of the messages".to_owned(), unit: Unit::Share, ..Axis::default() },
        lines: runs.take(LINES_MAX).enumerate().map(line).collect(),
        ..Chart::default()
    }
}

fn cores_of_run(report: &Report, group: &Group<'_>) -> Chart {
    let points: Vec<&Point> = group.series.iter().flat_map(|series| &series.points).collect();
    let spots = (0..report.machine.cores.min(32)).filter_map(|index| {
        let share = points.first().and_then(|point| middle(point, |run| run.cpu.per_core.get(index).copied()))?;
        Some(Spot::at(index as f64, share))
    });
    Chart {
        title: "Processor, core by core".to_owned(),
        x: Axis {
            division: Division::Names((0..report.machine.cores.min(32)).map(|index| format!("core {index}")).collect()),
            ..Axis::default()
        },
        y: Axis {
            label: "busy share, everything on the machine".to_owned(),
            unit: Unit::Share,
            reaches: Some(1.0),
            ..Axis::default()
        },
        lines: vec![Line { name: "busy".to_owned(), spots: spots.collect(), is_ideal: false }],
        ..Chart::default()
    }
}

fn last_run<'a>(group: &Group<'a>) -> Option<&'a Run> {
    let series: &'a Series = group.first();
    series.points.last()?.repeats.last()
}

fn timed_chart(title: &str, label: &str, unit: Unit, lines: Vec<Line>) -> Chart {
    Chart {
        title: title.to_owned(),
        x: Axis { label: "seconds since the beginning".to_owned(), unit: Unit::Count, ..Axis::default() },
        y: Axis { label: label.to_owned(), unit, ..Axis::default() },
        lines,
        ..Chart::default()
    }
}

/// At most as many points as a line can show.
fn thinned(spots: Vec<Spot>) -> Vec<Spot> {
    let every = spots.len().div_ceil(SPOTS_MAX).max(1);
    let last = spots.len().saturating_sub(1);
    spots
        .into_iter()
        .enumerate()
        .filter(|(index, _)| index % every == 0 || *index == last)
        .map(|(_, spot)| spot)
        .collect()
}

/// A chart in words, for those who do not see it.
fn described(chart: &Chart) -> String {
    let line = |line: &Line| {
        let (first, last) = (line.spots.first()?, line.spots.last()?);
        let unit = chart.y.unit;
        Some(format!("{}: from {} to {}.", line.name, unit.text(first.y), unit.text(last.y)))
    };
    let lines: Vec<_> = chart.lines.iter().filter_map(line).collect();
    format!("{}, {}, over {}. {}", chart.title, chart.y.label, chart.x.label, lines.join(" "))
}

/// As many as there are colours.
const LINES_MAX: usize = 8;
const SPOTS_MAX: usize = 200;
