//! The laws a cost may follow, and how well each describes a sweep.
//!
//! Errors of measurement are in proportion to what is measured, so distances are taken between logarithms. A law with a
//! fixed part, `cost = a + b·g(n)`, is fitted as `s·(1 + r·g(n))`: for each `r` the best `s` is a mean, and the best `r`
//! is searched for.

use super::statistics::{line, mean};
use super::words::raised;

/// How a cost grows with the knob `n`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Law {
    /// The same everywhere.
    Constant,
    /// A part that is shared among the `n`, and a floor: `a + b/n`.
    Amortised,
    /// `a + b·ln n`.
    Logarithmic,
    /// `a + b·n`.
    Linear,
    /// `a + b·n·ln n`.
    LinearLogarithmic,
    /// `a + b·n²`.
    Quadratic,
    /// `a·n^p`.
    Power {
        /// The exponent `p`; negative when the cost falls.
        exponent: f64,
    },
}

impl Law {
    /// The law as a person writes it, as `n log n`.
    #[must_use]
    pub fn formula(self) -> String {
        match self {
            Self::Constant => "1".to_owned(),
            Self::Amortised => "1/n".to_owned(),
            Self::Logarithmic => "log n".to_owned(),
            Self::Linear => "n".to_owned(),
            Self::LinearLogarithmic => "n log n".to_owned(),
            Self::Quadratic => "n²".to_owned(),
            Self::Power { exponent } => raised(exponent, 2),
        }
    }

    /// Whether costs grow faster than `n log n`.
    #[must_use]
    pub fn is_worse_than_n_log_n(self) -> bool {
        match self {
            Self::Quadratic => true,
            Self::Power { exponent } => exponent > 1.15,
            _ => false,
        }
    }

    /// Laws in the order in which a reader would rather believe them, when two describe a sweep equally well.
    fn rank(self) -> u8 {
        match self {
            Self::Constant => 0,
            Self::Linear => 1,
            Self::Logarithmic => 2,
            Self::Amortised => 3,
            Self::Power { .. } => 4,
            Self::LinearLogarithmic => 5,
            Self::Quadratic => 6,
        }
    }
}

/// A law laid through a sweep.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Curve {
    /// Which law.
    pub law: Law,
    /// The part of the cost that does not depend on the knob, in the unit of the cost; 0 for a power law.
    pub fixed: f64,
    /// What the part that does is multiplied with.
    pub factor: f64,
    /// How far points typically are from the curve: 0.05 is 5 %.
    pub misfit: f64,
    /// Akaike's criterion, corrected for few points: less is better, and 2 is a difference worth naming.
    criterion: f64,
}

impl Curve {
    /// The cost the curve gives at `knob`.
    #[must_use]
    pub fn at(&self, knob: f64) -> f64 {
        self.fixed + self.factor * shape(self.law, knob)
    }

    /// Where the growing part is as large as the fixed one: the cost is flat well below, and grows well above.
    ///
    /// `None` for laws without two such parts.
    #[must_use]
    pub fn crossover(&self) -> Option<f64> {
        let share = self.fixed / self.factor;
        match self.law {
            Law::Linear | Law::Amortised if share > 0.0 && share.is_finite() => {
                Some(if self.law == Law::Linear { share } else { 1.0 / share })
            }
            Law::Quadratic if share > 0.0 && share.is_finite() => Some(share.sqrt()),
            _ => None,
        }
    }
}

/// The growing part of a law at `n`, times one.
fn shape(law: Law, knob: f64) -> f64 {
    match law {
        Law::Constant => 0.0,
        Law::Amortised => 1.0 / knob,
        Law::Logarithmic => knob.ln(),
        Law::Linear => knob,
        Law::LinearLogarithmic => knob * knob.ln(),
        Law::Quadratic => knob * knob,
        Law::Power { exponent } => knob.powf(exponent),
    }
}

/// Every law through the points `(knob, cost)`, the best first.
///
/// Laws with a logarithm are left out where a knob is below 1: it would be negative.
pub(super) fn curves(points: &[(f64, f64)]) -> Vec<Curve> {
    let is_whole = points.iter().all(|(knob, _)| *knob >= 1.0);
    let laws = [Law::Amortised, Law::Logarithmic, Law::Linear, Law::LinearLogarithmic, Law::Quadratic];
    let mut curves: Vec<Curve> = laws
        .into_iter()
        .filter(|law| is_whole || !matches!(law, Law::Logarithmic | Law::LinearLogarithmic))
        .map(|law| with_fixed_part(law, points))
        .collect();
    curves.push(constant(points));
    curves.extend(power(points));
    curves.sort_by(|one, other| one.criterion.total_cmp(&other.criterion));
    curves
}

/// Of curves that are sorted, the one to believe: the most believable law among those that are as good as the best.
pub(super) fn chosen(curves: &[Curve]) -> Option<Curve> {
    let best = curves.first()?;
    // A power of nearly one is a line that noise has bent.
    let is_line = matches!(best.law, Law::Power { exponent } if (exponent - 1.0).abs() < LINE_NEAR);
    if let Some(line) = curves.iter().find(|curve| is_line && curve.law == Law::Linear && curve.misfit < LINE_NEAR) {
        return Some(*line);
    }
    let as_good = curves.iter().filter(|curve| curve.criterion <= best.criterion + TIE);
    as_good.min_by_key(|curve| curve.law.rank()).copied()
}

fn constant(points: &[(f64, f64)]) -> Curve {
    let level = mean(points.iter().map(|(_, cost)| cost.ln())).exp();
    weighed(Curve { law: Law::Constant, fixed: level, factor: 0.0, misfit: 0.0, criterion: 0.0 }, points, 1)
}

fn power(points: &[(f64, f64)]) -> Option<Curve> {
    let logarithms: Vec<_> = points.iter().map(|(knob, cost)| (knob.ln(), cost.ln())).collect();
    let exponent = line(&logarithms)?.slope;
    let factor = mean(logarithms.iter().map(|(x, y)| y - exponent * x)).exp();
    let curve = Curve { law: Law::Power { exponent }, fixed: 0.0, factor, misfit: 0.0, criterion: 0.0 };
    Some(weighed(curve, points, 2))
}

fn with_fixed_part(law: Law, points: &[(f64, f64)]) -> Curve {
    let scale = points.iter().map(|(knob, _)| shape(law, *knob)).fold(f64::MIN_POSITIVE, f64::max);
    // The share of the growing part at its largest, over the fixed part: from unseen to alone.
    let fitted = |share: f64| {
        let ratio = share.exp() / scale;
        let rest = |(knob, cost): &(f64, f64)| cost.ln() - (1.0 + ratio * shape(law, *knob)).ln();
        let level = mean(points.iter().map(rest)).exp();
        Curve { law, fixed: level, factor: level * ratio, misfit: 0.0, criterion: 0.0 }
    };
    let share = least(-SHARE_MAX, SHARE_MAX, |share| squares(&fitted(share), points));
    weighed(fitted(share), points, 2)
}

/// Where `cost` is least: a coarse search over all, then a fine one around the best.
fn least(low: f64, high: f64, cost: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (low, high);
    for _ in 0..REFINEMENTS {
        let step = (high - low) / f64::from(STEPS);
        let places = (0..=STEPS).map(|index| low + step * f64::from(index));
        let best = places.min_by(|one, other| cost(*one).total_cmp(&cost(*other))).unwrap_or(low);
        (low, high) = (best - step, best + step);
    }
    (low + high) / 2.0
}

fn squares(curve: &Curve, points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(knob, cost)| (cost.ln() - curve.at(*knob).ln()).powi(2)).sum()
}

/// Fills in how good the curve is; `parameters` were chosen to make it so.
fn weighed(curve: Curve, points: &[(f64, f64)], parameters: usize) -> Curve {
    let squares = squares(&curve, points);
    let free = points.len().saturating_sub(parameters).max(1);
    let criterion = criterion(squares, points.len(), parameters);
    Curve { misfit: (squares / free as f64).sqrt(), criterion, ..curve }
}

/// Akaike's criterion for `parameters` and the unknown noise.
fn criterion(squares: f64, points: usize, parameters: usize) -> f64 {
    let (points, parameters) = (points as f64, parameters as f64 + 1.0);
    // Nothing is measured to better than this; a perfect fit must not win by an infinity.
    let noise = (squares / points).max(NOISE_MIN * NOISE_MIN);
    // At five points the exact correction would let nothing but a constant pass.
    let few = (points - parameters - 1.0).max(2.0);
    let correction = 2.0 * parameters * (parameters + 1.0) / few;
    points * noise.ln() + 2.0 * parameters + correction
}

/// Curves whose criteria differ by less describe the points equally well.
const TIE: f64 = 2.0;
/// How far from one an exponent, and from a line a point, may be to be called linear.
const LINE_NEAR: f64 = 0.06;
/// The growing part at its largest is between e^-24 and e^24 times the fixed one.
const SHARE_MAX: f64 = 24.0;
const STEPS: u32 = 48;
const REFINEMENTS: u32 = 6;
/// Half a per cent.
const NOISE_MIN: f64 = 0.005;
