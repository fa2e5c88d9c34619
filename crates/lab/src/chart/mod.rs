//! Charts as SVG: written by hand, so that they follow the reader's theme and stay small.

mod draw;
mod picture;
mod scale;
mod style;
#[cfg(test)]
mod tests;
mod unit;

pub(crate) use self::draw::escaped;
pub use self::picture::{PictureError, Pictures};
pub use self::scale::Division;
pub use self::style::{Setting, report, variables};
pub use self::unit::Unit;

/// A chart with lines, or with bars where the places along its axis have names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What is to be seen; stands above.
    pub title: String,
    /// The same for those who do not see it: what the lines do, with figures.
    pub description: String,
    /// Along.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// The lines, at most eight that are told apart by colour.
    pub lines: Vec<Line>,
    /// Places along that are worth a word, as a knee.
    pub marks: Vec<(f64, String)>,
}

/// One of the two axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What is counted along it.
    pub label: String,
    /// In what.
    pub unit: Unit,
    /// How it is divided.
    pub division: Division,
    /// Where it ends at the least, so that 100 % is to be seen even when nothing comes near.
    pub reaches: Option<f64>,
    /// Whether only whole numbers are worth a label, as of shards.
    pub is_whole: bool,
}

impl Axis {
    /// An axis that is divided by factors when `values` span more than one factor of twenty, and evenly from zero else.
    #[must_use]
    pub fn fitting(label: impl Into<String>, unit: Unit, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let division = if high / low > FACTOR_LINEAR { Division::Logarithmic } else { Division::Linear };
        Self { label: label.into(), unit, division, ..Self::default() }
    }
}

/// One line of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// What it is; stands in the legend.
    pub name: String,
    /// Its points, from left to right.
    pub spots: Vec<Spot>,
    /// What would be, rather than what was measured: drawn dashed and without marks.
    pub is_ideal: bool,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spot {
    /// Along.
    pub x: f64,
    /// The median.
    pub y: f64,
    /// The smallest that was measured.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Spot {
    /// A point that was measured once, or computed.
    #[must_use]
    pub fn at(x: f64, y: f64) -> Self {
        Self { x, y, low: y, high: y }
    }
}

impl Chart {
    /// The chart as an SVG element.
    #[must_use]
    pub fn svg(&self, setting: Setting) -> String {
        draw::svg(self, setting)
    }
}

const FACTOR_LINEAR: f64 = 20.0;
