//! The charts of a comparison: before and after, with the spread of the repeats.

use super::{Measure, Pair, Row};
use crate::chart::{Axis, Chart, Division, Line, Setting, Spot, Unit};

/// The charts of a pair, one for each measure that both results have; empty where a pair is one point.
pub(super) fn charts(pair: &Pair) -> String {
    let of = |measure: Measure| pair.rows.iter().filter(move |row| row.measure == measure);
    let measured = super::MEASURES.into_iter().filter(|measure| of(*measure).count() > 1);
    let figures: String = measured.map(|measure| figure(pair, measure, &of(measure).collect::<Vec<_>>())).collect();
    if figures.is_empty() { String::new() } else { format!("<div class=\"charts\">{figures}</div>") }
}

fn figure(pair: &Pair, measure: Measure, rows: &[&Row]) -> String {
    let line = |name: &str, middle: fn(&Row) -> f64, side: usize| Line {
        name: name.to_owned(),
        spots: rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let (low, high) = row.ranges[side];
                Spot { x: if pair.is_named { index as f64 } else { row.value }, y: middle(row), low, high }
            })
            .collect(),
        is_ideal: false,
    };
    let lines = vec![line("before", |row| row.before, 0), line("after", |row| row.after, 1)];
    let values = || rows.iter().flat_map(|row| [row.before, row.after]);
    let x = match pair.is_named {
        true => Axis {
            label: pair.counted.clone(),
            division: Division::Names(rows.iter().map(|row| row.label.clone()).collect()),
            ..Axis::default()
        },
        false => {
            let unit = if pair.counted == "bytes" { Unit::Bytes } else { Unit::Count };
            Axis::fitting(pair.counted.clone(), unit, rows.iter().map(|row| row.value))
        }
    };
    let told = |name: &str, of: fn(&Row) -> f64| {
        let unit = measure.unit();
        let (first, last) = (rows.first().map_or(0.0, |row| of(row)), rows.last().map_or(0.0, |row| of(row)));
        format!("{name}: from {} to {}.", unit.text(first), unit.text(last))
    };
    let chart = Chart {
        title: measure.name().to_owned(),
        description: format!(
            "{}, over {}. {} {}",
            measure.name(),
            pair.counted,
            told("before", |row| row.before),
            told("after", |row| row.after)
        ),
        x,
        y: Axis::fitting("medians, and from the smallest to the largest repeat", measure.unit(), values()),
        lines,
        ..Chart::default()
    };
    format!("<figure>{}</figure>", chart.svg(Setting::Page))
}
