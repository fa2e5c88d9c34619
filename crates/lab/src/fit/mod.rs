//! How a cost grows with a knob: a law, a knee, or the honest answer that the points do not tell.
//!
//! Everything works on medians of repeats and on logarithms, since what is measured is off by a share of itself.

mod knee;
mod law;
mod saturation;
mod statistics;
mod words;

#[cfg(test)]
mod tests;

pub use self::knee::Knee;
pub use self::law::{Curve, Law};
pub use self::saturation::{Limit, Load, limit};
pub(crate) use self::statistics::student_95;
pub use self::statistics::{median, range};
pub(crate) use self::words::{count, things};

/// One value of the knob and what was measured there, once per repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The value of the knob.
    pub knob: f64,
    /// The cost in each repeat.
    pub costs: Vec<f64>,
}

impl Point {
    /// A point of a sweep.
    #[must_use]
    pub fn new(knob: f64, costs: impl Into<Vec<f64>>) -> Self {
        Self { knob, costs: costs.into() }
    }
}

/// What a sweep says about growth.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Growth {
    /// Too few points, or over too short a range, to tell laws apart.
    TooFew,
    /// No law and no knee describes the points: typical distances are too large.
    Unclear {
        /// How far points typically are from the best law: 0.3 is 30 %.
        misfit: f64,
    },
    /// One law describes all points.
    Lawful(Curve),
    /// Growth changes at a knee.
    Bent(Knee),
    /// Flat, and a rise at the end that too few points show to name a law.
    Rise {
        /// Where the rise begins, about.
        from: f64,
    },
}

/// What was found out about a sweep.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// How the cost grows.
    pub growth: Growth,
    /// The exponent of `n^p` laid over all points, and how far it may be off at 95 %; `None` below three points.
    pub exponent: Option<(f64, f64)>,
    /// The smallest and the largest value of the knob.
    pub knobs: (f64, f64),
    /// The median cost at those two.
    pub costs: (f64, f64),
    /// How much the largest median is above the smallest: 0.05 is 5 %.
    pub swing: f64,
    /// How far repeats of one point typically are from each other: 0.05 is 5 %.
    pub noise: f64,
}

impl Finding {
    /// Whether the cost may be called flat: it has no trend, and not because noise would hide one.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.has_no_trend() && self.swing < SWING_FLAT
    }

    /// Whether the cost is the same everywhere as far as noise lets that be seen.
    #[must_use]
    pub fn has_no_trend(&self) -> bool {
        matches!(self.growth, Growth::Lawful(Curve { law: Law::Constant, .. }))
    }
}

/// Finds how the cost grows.
///
/// Costs and knobs that are not above zero are left out: they have no logarithm. `None` when nothing is left.
///
/// ```
/// use roomcast_lab::fit::{Growth, Law, Point, examine};
///
/// let points: Vec<_> = [1.0, 10.0, 100.0, 1_000.0, 10_000.0].map(|n| Point::new(n, [12.0 * n])).into();
/// let Some(Growth::Lawful(curve)) = examine(&points).map(|finding| finding.growth) else { panic!("a law") };
/// assert_eq!(curve.law, Law::Linear);
/// ```
#[must_use]
pub fn examine(points: &[Point]) -> Option<Finding> {
    let mut medians: Vec<(f64, f64)> = points.iter().filter_map(usable).collect();
    medians.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (first, last) = (*medians.first()?, *medians.last()?);
    let costs: Vec<f64> = medians.iter().map(|(_, cost)| *cost).collect();
    let (lowest, highest) = range(&costs)?;
    let logarithms: Vec<_> = medians.iter().map(|(knob, cost)| (knob.ln(), cost.ln())).collect();
    let power = statistics::line(&logarithms);
    Some(Finding {
        growth: growth(&medians, highest / lowest - 1.0),
        exponent: power.map(|line| (line.slope, line.slope_margin)),
        knobs: (first.0, last.0),
        costs: (first.1, last.1),
        swing: highest / lowest - 1.0,
        noise: noise(points),
    })
}

fn usable(point: &Point) -> Option<(f64, f64)> {
    let cost = median(&point.costs)?;
    (point.knob > 0.0 && cost > 0.0 && point.knob.is_finite()).then_some((point.knob, cost))
}

fn growth(medians: &[(f64, f64)], swing: f64) -> Growth {
    let span = medians[medians.len() - 1].0 / medians[0].0;
    if medians.len() < POINTS_MIN || span < SPAN_MIN {
        return Growth::TooFew;
    }
    let curves = law::curves(medians);
    let Some(chosen) = law::chosen(&curves) else { return Growth::TooFew };
    let constant = curves.iter().find(|curve| curve.law == Law::Constant).copied();
    if let Some(constant) = constant.filter(|_| swing < SWING_MIN) {
        return Growth::Lawful(constant);
    }
    if let Some(knee) = knee::knee(medians).filter(|knee| is_better(knee, &curves[0], medians.len())) {
        return Growth::Bent(knee);
    }
    if chosen.misfit > MISFIT_MAX {
        let nearest = curves.iter().map(|curve| curve.misfit).fold(chosen.misfit, f64::min);
        return Growth::Unclear { misfit: nearest };
    }
    match rise(&chosen, medians) {
        Some(from) => Growth::Rise { from },
        None => Growth::Lawful(chosen),
    }
}

/// Whether two lines describe the points so much better than `curve` that chance does not explain it: an F test for the
/// two more numbers that were chosen.
fn is_better(knee: &Knee, curve: &Curve, points: usize) -> bool {
    let (free, free_curve) = (points as f64 - 4.0, points as f64 - 2.0);
    if free < 1.0 {
        return false;
    }
    let squares = (knee.misfit.powi(2) * free).max(points as f64 * MISFIT_SEEN.powi(2));
    let squares_curve = curve.misfit.powi(2) * free_curve;
    let ratio = ((squares_curve - squares) / 2.0) / (squares / free);
    // The quantile of F with 2 and `free` degrees of freedom is one of the few that can be written down.
    let chance = free / 2.0 * (KNEE_CHANCE.powf(-2.0 / free) - 1.0);
    ratio > chance && curve.misfit > MISFIT_SEEN
}

/// Where a fixed cost gives way to a rise that fewer than three points show.
fn rise(curve: &Curve, medians: &[(f64, f64)]) -> Option<f64> {
    if !matches!(curve.law, Law::Linear | Law::LinearLogarithmic | Law::Quadratic) {
        return None;
    }
    let is_rising = |knob: f64| curve.at(knob) > curve.fixed * 1.5;
    let rising = medians.iter().filter(|(knob, _)| is_rising(*knob)).count();
    if rising >= 3 {
        return None;
    }
    medians.iter().rev().map(|(knob, _)| *knob).find(|knob| !is_rising(*knob))
}

/// How far repeats are from the median of their point, typically, as a share of it.
fn noise(points: &[Point]) -> f64 {
    let mut shares = Vec::new();
    for point in points.iter().filter(|point| point.costs.len() > 1) {
        if let (Some(median), Some((low, high))) = (median(&point.costs), range(&point.costs)) {
            shares.push(if median > 0.0 { (high - low) / median / 2.0 } else { 0.0 });
        }
    }
    median(&shares).unwrap_or(0.0)
}

/// Below this many points two laws cannot be told apart.
const POINTS_MIN: usize = 5;
/// The largest knob over the smallest: half a decade bends no curve visibly.
const SPAN_MIN: f64 = 8.0;
/// Medians that differ by less than this are called flat: a machine that others share moves as much.
const SWING_MIN: f64 = 0.12;
/// Medians without a trend that differ by more than this are noise, not a flat line.
const SWING_FLAT: f64 = 0.5;
/// A law whose points are typically further away than this is no law.
const MISFIT_MAX: f64 = 0.25;
/// A law whose points are this near needs no knee.
const MISFIT_SEEN: f64 = 0.03;
/// How often noise may look like a knee.
const KNEE_CHANCE: f64 = 0.003;
