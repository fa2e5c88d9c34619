//! Figures in tables, and curves in a cell.

use super::group::Group;
use super::measure::{
    Measure, busy, cost, delivered_rate, is_lab_bound, join_p99, join_rate, line, middle, missed, p50, p99, p999,
    published_rate, resident, slowest, values, voluntary,
};
use crate::chart::{Unit, escaped};
use crate::fit::{median, range};
use crate::result::{Point, Series};

struct Column {
    name: &'static str,
    unit: Unit,
    of: Measure,
}

const fn column(name: &'static str, unit: Unit, of: Measure) -> Column {
    Column { name, unit, of }
}

const COLUMNS: [Column; 14] = [
    column("published/s", Unit::Count, published_rate),
    column("delivered/s", Unit::Count, delivered_rate),
    column("CPU a delivery", Unit::Nanoseconds, cost),
    column("p50", Unit::Nanoseconds, p50),
    column("p99", Unit::Nanoseconds, p99),
    column("p99.9", Unit::Nanoseconds, p999),
    column("max", Unit::Nanoseconds, slowest),
    column("busy cores", Unit::Count, busy),
    column("resident", Unit::Bytes, resident),
    column("switches/s", Unit::Count, voluntary),
    column("not delivered", Unit::Share, missed),
    column("joins/s", Unit::Count, join_rate),
    column("join p99", Unit::Nanoseconds, join_p99),
    column("wrong", Unit::Count, |run| {
        let checks = &run.checks;
        Some((checks.order_violations + checks.duplicates + checks.losses) as f64)
    }),
];

/// One table for each series of a group.
pub(super) fn tables(group: &Group<'_>) -> String {
    let mut text = String::new();
    for series in &group.series {
        if group.series.len() > 1 {
            text.push_str(&format!("<p class=\"kept\">{}</p>", escaped(&group.label(series))));
        }
        text.push_str(&table(group, series));
    }
    text
}

fn table(group: &Group<'_>, series: &Series) -> String {
    let measured = |column: &&Column| series.points.iter().any(|point| middle(point, column.of).is_some());
    let columns: Vec<_> = COLUMNS.iter().filter(measured).collect();
    let heads: String = columns.iter().map(|column| format!("<th>{}</th>", column.name)).collect();
    let has_reasons = series.points.iter().any(|point| reason(point).is_some());
    let last_head = if has_reasons { "<th class=\"text\">limit</th>" } else { "" };
    let mut rows = String::new();
    for point in &series.points {
        let class = if is_lab_bound(point) { " class=\"bound\"" } else { "" };
        let cells: String =
            columns.iter().map(|column| format!("<td>{}</td>", cell(point, column.unit, column.of))).collect();
        let reason = reason(point).unwrap_or_default();
        let reason =
            if has_reasons { format!("<td class=\"words-cell\">{}</td>", escaped(reason)) } else { String::new() };
        rows.push_str(&format!("<tr{class}><td>{}</td>{cells}{reason}</tr>", escaped(&group.spoken(point))));
    }
    format!(
        "<div class=\"scroller\" tabindex=\"0\"><table><thead><tr><th>{}</th>{heads}{last_head}</tr></thead><tbody>{rows}</tbody>\
         </table></div>",
        escaped(&group.counted())
    )
}

fn reason(point: &Point) -> Option<&str> {
    point.repeats.iter().find_map(|run| run.bottleneck.as_deref())
}

/// The median, and how far repeats are from it.
pub(super) fn cell(point: &Point, unit: Unit, of: Measure) -> String {
    let values = values(point, of);
    let (Some(middle), Some((low, high))) = (median(&values), range(&values)) else { return "–".to_owned() };
    let spread = (high - low) / 2.0 / middle.abs().max(f64::MIN_POSITIVE);
    let spread = match values.len() > 1 && spread >= 0.005 && middle != 0.0 {
        true => format!(" <small>±{}</small>", escaped(&format!("{:.0} %", spread * 100.0))),
        false => String::new(),
    };
    format!("{}{spread}", escaped(&unit.text(middle)))
}

/// A curve of the size of a word, by factors both ways where that is how it grows.
pub(super) fn spark(series: &Series, of: Measure) -> String {
    let line = line("", series, of);
    let is_positive = line.spots.iter().all(|spot| spot.x > 0.0);
    let at = |value: f64| if is_positive { value.ln() } else { value };
    let places: Vec<_> = line.spots.iter().map(|spot| (at(spot.x), spot.y.max(f64::MIN_POSITIVE).ln())).collect();
    let xs: Vec<_> = places.iter().map(|place| place.0).collect();
    let ys: Vec<_> = places.iter().map(|place| place.1).collect();
    let (Some((left, right)), Some((low, high))) = (range(&xs), range(&ys)) else { return String::new() };
    if places.len() < 2 {
        return String::new();
    }
    // A flat curve is to look flat: less than a doubling does not fill the height.
    let (middle, span) = (f64::midpoint(low, high), (high - low).max(std::f64::consts::LN_2 * 2.0));
    let path: Vec<_> = places
        .iter()
        .map(|(x, y)| {
            let across = (x - left) / (right - left).max(f64::MIN_POSITIVE) * 90.0 + 3.0;
            let up = 13.0 - (y - middle) / span * 20.0;
            format!("{across:.1} {up:.1}")
        })
        .collect();
    let (x, y) = path.last().and_then(|last| last.split_once(' ')).unwrap_or(("0", "0"));
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 96 26\" aria-hidden=\"true\"><path d=\"M{}\"/><circle cx=\"{x}\" cy=\"{y}\" \
         r=\"2.4\"/></svg>",
        path.join("L")
    )
}
