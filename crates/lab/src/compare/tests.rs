use super::{Measure, Verdict, compare};
use crate::result::{Cpu, Knob, Point, Report, Run, Series};

/// A sweep of five points whose repeats deliver so many messages a second.
fn report(rates: [[u64; 3]; 5]) -> Report {
    let run = |rate: &u64| Run {
        seconds: 1.0,
        published: 100,
        delivered: *rate,
        expected: *rate,
        cpu: Cpu { seconds_total: 1.0, ..Cpu::default() },
        ..Run::default()
    };
    let point = |(index, rates): (usize, &[u64; 3])| Point {
        value: index as f64,
        label: index.to_string(),
        repeats: rates.iter().map(run).collect(),
    };
    let knob = Knob { name: "subscribers".to_owned(), unit: "subscribers".to_owned() };
    let series = Series {
        name: "one".to_owned(),
        knob,
        points: rates.iter().enumerate().map(point).collect(),
        ..Series::default()
    };
    Report { series: vec![series], ..Report::default() }
}

const QUIET: [[u64; 3]; 5] = [[1_000, 1_010, 990]; 5];

#[test]
fn a_clear_gain_is_better_and_a_clear_loss_worse() {
    let mut rates = QUIET;
    rates[1] = [1_500, 1_510, 1_490];
    rates[2] = [700, 705, 695];
    let comparison = compare(&report(QUIET), &report(rates));
    let verdicts: Vec<_> = comparison.pairs[0]
        .rows
        .iter()
        .filter(|row| row.measure == Measure::Delivered)
        .map(|row| row.verdict)
        .collect();
    let same = Verdict::WithinNoise;
    assert_eq!(verdicts, [same, Verdict::Better, Verdict::Worse, same, same]);
    let gained = comparison.pairs[0].rows.iter().find(|row| row.label == "1").expect("the row");
    assert!(
        (gained.ratio - 1.5).abs() < 0.01 && gained.interval.is_some_and(|(low, high)| low > 1.43 && high < 1.58),
        "{gained:?}"
    );
    // A delivery costs less where more are made in the same time.
    let cost = comparison.pairs[0].rows.iter().find(|row| row.measure == Measure::Cost && row.label == "1");
    assert_eq!(cost.map(|row| row.verdict), Some(Verdict::Better));
}

#[test]
fn what_repeats_differ_by_is_noise() {
    let loud = [[1_000, 1_300, 700]; 5];
    let comparison = compare(&report(loud), &report([[1_150, 1_400, 800]; 5]));
    assert!(comparison.pairs[0].rows.iter().all(|row| row.verdict == Verdict::WithinNoise), "{comparison:?}");
    assert!(comparison.text().contains("within noise"), "{}", comparison.text());
    assert_eq!(comparison.counts().0, 0);
}

#[test]
fn a_verdict_is_clear_where_the_interval_that_is_shown_leaves_out_one() {
    // From a clear gain, over one that is not, to a huge one among repeats that are all over the place.
    for factor in [1.02, 1.2, 1.6, 2.0, 12.0] {
        let loud = [[1_000, 1_900, 500]; 5];
        let after = loud.map(|repeats| repeats.map(|rate| (rate as f64 * factor) as u64));
        for (before, after) in
            [(loud, after), (QUIET, QUIET.map(|repeats| repeats.map(|rate| (rate as f64 * factor) as u64)))]
        {
            let comparison = compare(&report(before), &report(after));
            for row in &comparison.pairs[0].rows {
                let (low, high) = row.interval.expect("repeats");
                let is_clear = matches!(row.verdict, Verdict::Better | Verdict::Worse);
                assert_eq!(is_clear, !(low..=high).contains(&1.0), "{row:?}");
                assert!(0.0 < low && low < row.ratio && row.ratio < high, "{row:?}");
                assert!(comparison.text().contains(&format!("({low:.2} to {high:.2})")), "{}", comparison.text());
            }
        }
    }
}

#[test]
fn a_page_draws_before_and_after() {
    let html = compare(&report(QUIET), &report(QUIET)).html();
    assert_eq!(html.matches("<figure>").count(), 3, "delivered, published and the cost");
    let figure = html.split("<figure>").nth(1).expect("a chart");
    assert!(figure.contains(">before</text>") && figure.contains(">after</text>"), "{figure}");
}

#[test]
fn a_noisy_point_keeps_its_own_noise() {
    let mut rates = QUIET;
    rates[4] = [1_100, 700, 1_300];
    let comparison = compare(&report(QUIET), &report(rates));
    let row = comparison.pairs[0].rows.iter().find(|row| row.label == "4").expect("the row");
    assert_eq!(row.verdict, Verdict::WithinNoise, "{row:?}");
}

#[test]
fn one_repeat_has_no_noise_to_tell() {
    let mut once = report(QUIET);
    once.series[0].points.iter_mut().for_each(|point| point.repeats.truncate(1));
    let comparison = compare(&report(QUIET), &once);
    assert!(comparison.pairs[0].rows.iter().all(|row| row.verdict == Verdict::Unknown));
    assert!(comparison.text().contains("measured once"));
}

#[test]
fn what_only_one_has_is_named() {
    let mut other = report(QUIET);
    "two".clone_into(&mut other.series[0].name);
    other.machine.cores = 7;
    let comparison = compare(&report(QUIET), &other);
    assert!(comparison.pairs.is_empty());
    let warnings = comparison.warnings.join("\n");
    for words in ["one is in the first only", "two is in the second only", "different machines"] {
        assert!(warnings.contains(words), "{warnings}");
    }
    assert!(comparison.text().contains("nothing in common"));
}
