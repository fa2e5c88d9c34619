//! Puts a chart together.

use super::scale::{Division, Scale};
use super::style::{LINES, Setting, own_sheet};
use super::{Chart, Line, Spot};

/// The chart as an SVG element of `WIDTH` units; it grows and shrinks with the room it is given.
pub(super) fn svg(chart: &Chart, setting: Setting) -> String {
    let legend = Legend::of(chart);
    let top = TITLE + legend.rows() as f64 * ROW;
    let xs = chart.lines.iter().flat_map(|line| line.spots.iter().map(|spot| spot.x)).chain(chart.x.reaches);
    let ys = chart.lines.iter().flat_map(|line| &line.spots).flat_map(|spot| [spot.low, spot.y, spot.high]);
    let x = Scale::around(xs, &chart.x.division, chart.x.unit, true);
    let y = Scale::around(ys.chain(chart.y.reaches), &chart.y.division, chart.y.unit, false);
    let y_ticks = y.ticks(Y_TICKS);
    let left = y_ticks.iter().map(|(_, label)| width(label)).fold(24.0, f64::max) + 12.0;
    let frame = Frame { left, right: WIDTH - 16.0, top: top + 27.0, bottom: HEIGHT + top - BELOW, x, y };
    let height = HEIGHT + top;

    let mut drawing = Drawing { text: String::new(), frame };
    drawing.begin(chart, setting, height);
    legend.draw(&mut drawing);
    drawing.axes(chart, &y_ticks);
    drawing.marks(chart);
    let is_bars = matches!(chart.x.division, Division::Names(_)) && drawing.frame.y.is_from_zero();
    let measured = chart.lines.iter().filter(|line| !line.is_ideal).count();
    let mut index = 0;
    // What would be lies below what is.
    for line in chart.lines.iter().filter(|line| line.is_ideal) {
        drawing.path("ideal", &line.spots);
    }
    for line in chart.lines.iter().filter(|line| !line.is_ideal) {
        match is_bars {
            true => drawing.bars(chart, line, index, measured),
            false => drawing.line(chart, line, index),
        }
        index += 1;
    }
    drawing.text.push_str("</svg>");
    drawing.text
}

struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl Frame {
    fn x(&self, value: f64) -> Option<f64> {
        self.x.place(value).map(|place| self.left + place * (self.right - self.left))
    }

    fn y(&self, value: f64) -> Option<f64> {
        let place = self.y.place(value).filter(|place| (-0.001..=1.001).contains(place))?;
        Some(self.bottom - place * (self.bottom - self.top))
    }

    /// Where the edge of a band lies: what has no place on an axis of factors, as zero, lies at its low end.
    fn edge(&self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        let place = self.y.place(value).unwrap_or(0.0).clamp(0.0, 1.0);
        Some(self.bottom - place * (self.bottom - self.top))
    }

    fn at(&self, spot: &Spot) -> Option<(f64, f64)> {
        Some((self.x(spot.x)?, self.y(spot.y)?))
    }
}

struct Drawing {
    text: String,
    frame: Frame,
}

impl Drawing {
    fn begin(&mut self, chart: &Chart, setting: Setting, height: f64) {
        let (title, description) = (escaped(&chart.title), escaped(&chart.description));
        let size = match setting {
            Setting::Page => String::new(),
            Setting::File | Setting::Picture => format!(" width=\"{WIDTH}\" height=\"{height}\""),
        };
        self.push(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\"{size}>\
             <title>{title}</title><desc>{description}</desc>{}",
            own_sheet(setting)
        ));
        if setting != Setting::Page {
            self.push(&format!("<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>"));
        }
        self.push(&format!("<text class=\"head\" x=\"4\" y=\"17\">{title}</text>"));
    }

    fn axes(&mut self, chart: &Chart, y_ticks: &[(f64, String)]) {
        let (left, right, top, bottom) = (self.frame.left, self.frame.right, self.frame.top, self.frame.bottom);
        self.push(&format!("<text class=\"note\" x=\"4\" y=\"{:.1}\">{}</text>", top - 13.0, escaped(&chart.y.label)));
        let mut grid = String::new();
        for (value, label) in y_ticks {
            let Some(y) = self.frame.y(*value) else { continue };
            grid.push_str(&format!("M{left:.1} {y:.1}H{right:.1}"));
            let place = format!("x=\"{:.1}\" y=\"{:.1}\"", left - 6.0, y + 4.0);
            self.push(&format!("<text class=\"note\" {place} text-anchor=\"end\">{}</text>", escaped(label)));
        }
        let is_named = matches!(chart.x.division, Division::Names(_));
        let mut free = 0.0;
        let is_worth_a_label = |value: f64| !chart.x.is_whole || (value - value.round()).abs() < 1e-9;
        for (value, label) in self.frame.x.ticks(X_TICKS).into_iter().filter(|tick| is_worth_a_label(tick.0)) {
            let Some(x) = self.frame.x(value) else { continue };
            if !is_named {
                grid.push_str(&format!("M{x:.1} {top:.1}V{bottom:.1}"));
            }
            // A label that would touch its neighbour is left out; the grid still shows the place.
            let half = width(&label) / 2.0;
            let middle = x.min(WIDTH - half - 2.0);
            if middle - half < free {
                continue;
            }
            free = middle + half + 6.0;
            let place = format!("x=\"{middle:.1}\" y=\"{:.1}\"", bottom + 17.0);
            self.push(&format!("<text class=\"note\" {place} text-anchor=\"middle\">{}</text>", escaped(&label)));
        }
        self.push(&format!("<path class=\"grid\" d=\"{grid}\"/>"));
        self.push(&format!("<path class=\"base\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/>"));
        let place = format!("x=\"{:.1}\" y=\"{:.1}\"", f64::midpoint(left, right), bottom + 36.0);
        self.push(&format!("<text class=\"note\" {place} text-anchor=\"middle\">{}</text>", escaped(&chart.x.label)));
    }

    fn marks(&mut self, chart: &Chart) {
        for (value, word) in &chart.marks {
            let Some(x) = self.frame.x(*value) else { continue };
            let (top, bottom) = (self.frame.top, self.frame.bottom);
            self.push(&format!("<path class=\"mark\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>"));
            // Beside the mark, on the side with more room.
            let is_right = x > f64::midpoint(self.frame.left, self.frame.right);
            let (anchor, x) = if is_right { ("end", x - 4.0) } else { ("start", x + 4.0) };
            let place = format!("x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\"", bottom - 6.0);
            self.push(&format!("<text class=\"note\" {place}>{}</text>", escaped(word)));
        }
    }

    fn line(&mut self, chart: &Chart, line: &Line, index: usize) {
        let colour = index % LINES;
        let is_dense = line.spots.len() > SPOTS_MARKED;
        let is_named = matches!(chart.x.division, Division::Names(_));
        if !is_named {
            self.band(line, colour);
            let thin = if is_dense { " thin" } else { "" };
            self.path(&format!("line{thin} s{colour}"), &line.spots);
        }
        if is_dense {
            return;
        }
        for spot in &line.spots {
            let Some((x, y)) = self.frame.at(spot) else { continue };
            if is_named || line.spots.len() < 2 {
                self.whisker(spot, x, colour);
            }
            let tip = tip(chart, line, spot);
            let shape = mark(index, x, y);
            self.push(&format!("<path class=\"dot f{colour} s{colour}\" d=\"{shape}\"><title>{tip}</title></path>"));
        }
    }

    /// From the smallest to the largest repeat, all along.
    fn band(&mut self, line: &Line, colour: usize) {
        let edge =
            |value: fn(&Spot) -> f64| line.spots.iter().map(move |spot| (spot.x, value(spot))).collect::<Vec<_>>();
        let mut around: Vec<(f64, f64)> = edge(|spot| spot.high);
        around.extend(edge(|spot| spot.low).into_iter().rev());
        let places = around.iter().filter_map(|(x, y)| Some((self.frame.x(*x)?, self.frame.edge(*y)?)));
        let path = joined(places);
        if line.spots.iter().any(|spot| spot.high > spot.low) && !path.is_empty() {
            self.push(&format!("<path class=\"band f{colour}\" d=\"{path}Z\"/>"));
        }
    }

    fn path(&mut self, class: &str, spots: &[Spot]) {
        let path = joined(spots.iter().filter_map(|spot| self.frame.at(spot)));
        if !path.is_empty() {
            self.push(&format!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
    }

    fn bars(&mut self, chart: &Chart, line: &Line, index: usize, lines: usize) {
        let colour = index % LINES;
        let places = match &chart.x.division {
            Division::Names(names) => names.len().max(1),
            Division::Linear | Division::Logarithmic => 1,
        };
        let room = (self.frame.right - self.frame.left) / places as f64 * 0.7 / lines.max(1) as f64;
        let wide = room.min(BAR);
        for spot in &line.spots {
            let (Some((x, y)), Some(zero)) = (self.frame.at(spot), self.frame.y(0.0)) else { continue };
            let x = x + (index as f64 - (lines as f64 - 1.0) / 2.0) * wide;
            let (from, size) = (x - wide / 2.0 + 1.0, wide - 2.0);
            let tip = tip(chart, line, spot);
            self.push(&format!(
                "<rect class=\"f{colour}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{size:.1}\" height=\"{:.1}\" \
                 rx=\"2\"><title>{tip}</title></rect>",
                (zero - y).max(0.5)
            ));
            self.whisker(spot, x, INK);
            let value = chart.y.unit.text(spot.y);
            if lines == 1 || width(&value) < wide {
                let above = self.frame.y(spot.high).unwrap_or(y).min(y) - 5.0;
                // A bar that reaches the top has its figure inside.
                let (class, place) = if above < self.frame.top + 4.0 { ("paper", y + 16.0) } else { ("note", above) };
                self.push(&format!(
                    "<text class=\"{class}\" x=\"{x:.1}\" y=\"{place:.1}\" text-anchor=\"middle\">{value}</text>"
                ));
            }
        }
    }

    /// From the smallest to the largest repeat, at one place.
    fn whisker(&mut self, spot: &Spot, x: f64, colour: usize) {
        let (Some(low), Some(high)) = (self.frame.edge(spot.low), self.frame.edge(spot.high)) else { return };
        if low - high < 1.0 {
            return;
        }
        let class = if colour == INK { "base".to_owned() } else { format!("line thin s{colour}") };
        let caps = format!("M{:.1} {high:.1}h8M{:.1} {low:.1}h8", x - 4.0, x - 4.0);
        self.push(&format!("<path class=\"{class}\" d=\"M{x:.1} {low:.1}V{high:.1}{caps}\"/>"));
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

/// The names of the lines, in rows above the chart.
struct Legend {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    /// The colour and mark; `None` for what would be.
    index: Option<usize>,
    x: f64,
    row: usize,
}

impl Legend {
    fn of(chart: &Chart) -> Self {
        let (mut entries, mut measured, mut x, mut row) = (Vec::new(), 0, 4.0, 0);
        for line in &chart.lines {
            let index = (!line.is_ideal).then_some(measured);
            measured += usize::from(!line.is_ideal);
            let room = KEY + 5.0 + width(&line.name);
            if x > 4.0 && x + room > WIDTH - 8.0 {
                (x, row) = (4.0, row + 1);
            }
            entries.push(Entry { name: line.name.clone(), index, x, row });
            x += room + 13.0;
        }
        // One line that the title names already needs no key.
        Self { entries: if entries.len() > 1 { entries } else { Vec::new() } }
    }

    fn rows(&self) -> usize {
        self.entries.last().map_or(0, |entry| entry.row + 1)
    }

    fn draw(&self, drawing: &mut Drawing) {
        for entry in &self.entries {
            let y = TITLE + 10.0 + entry.row as f64 * ROW;
            let (from, to) = (entry.x, entry.x + KEY);
            let class = entry.index.map_or_else(|| "ideal".to_owned(), |index| format!("line s{}", index % LINES));
            drawing.push(&format!("<path class=\"{class}\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>"));
            if let Some(index) = entry.index {
                let shape = mark(index, f64::midpoint(from, to), y);
                drawing.push(&format!("<path class=\"dot f{0} s{0}\" d=\"{shape}\"/>", index % LINES));
            }
            let name = escaped(&entry.name);
            drawing.push(&format!("<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>", to + 5.0, y + 4.0));
        }
    }
}

/// A mark around a point: lines are told apart by shape as well as by colour.
fn mark(index: usize, x: f64, y: f64) -> String {
    match index % 4 {
        0 => format!("M{:.1} {y:.1}a2.8 2.8 0 1 0 5.6 0a2.8 2.8 0 1 0 -5.6 0Z", x - 2.8),
        1 => format!("M{:.1} {:.1}h5v5h-5Z", x - 2.5, y - 2.5),
        2 => format!("M{x:.1} {:.1}l3.4 5.8h-6.8Z", y - 3.6),
        _ => format!("M{x:.1} {:.1}l3.4 3.4l-3.4 3.4l-3.4 -3.4Z", y - 3.4),
    }
}

fn joined(places: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (index, (x, y)) in places.enumerate() {
        path.push_str(&format!("{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' }));
    }
    path
}

/// What a point says when it is pointed at.
fn tip(chart: &Chart, line: &Line, spot: &Spot) -> String {
    let place = match &chart.x.division {
        Division::Names(names) => names.get(spot.x as usize).cloned().unwrap_or_default(),
        Division::Linear | Division::Logarithmic => chart.x.unit.text(spot.x),
    };
    let unit = chart.y.unit;
    let range = match spot.high > spot.low {
        true => format!(" ({} to {})", unit.text(spot.low), unit.text(spot.high)),
        false => String::new(),
    };
    escaped(&format!("{}: {} at {place}{range}", line.name, unit.text(spot.y)))
}

/// The text as it may stand in HTML and SVG, in attributes too.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // What XML may not hold at all.
            letter if letter.is_control() && letter != '\n' && letter != '\t' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// How wide a label is, about: letters are not measured, fonts differ between readers.
fn width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.9
}

const WIDTH: f64 = 390.0;
/// Without title and legend.
const HEIGHT: f64 = 250.0;
const BELOW: f64 = 46.0;
const TITLE: f64 = 26.0;
const ROW: f64 = 19.0;
const KEY: f64 = 18.0;
const BAR: f64 = 46.0;
const X_TICKS: usize = 6;
const Y_TICKS: usize = 6;
/// More points than this are a line without marks.
const SPOTS_MARKED: usize = 16;
/// A whisker in the colour of letters.
const INK: usize = usize::MAX;
