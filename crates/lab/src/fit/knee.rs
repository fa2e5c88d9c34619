//! Knees: a place where a cost begins to grow otherwise, as when a cache is full or cores have run out.
//!
//! Two straight lines that meet, laid through the logarithms of knob and cost.

use super::statistics::student_95;

/// A place where the growth changes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Knee {
    /// The value of the knob there.
    pub at: f64,
    /// The exponent of growth below: 0 is flat, 1 is linear.
    pub before: f64,
    /// The exponent above.
    pub after: f64,
    /// How far points typically are from the two lines: 0.05 is 5 %.
    pub misfit: f64,
}

/// The best two lines through `(knob, cost)`, when each has points enough and their slopes clearly differ.
pub(super) fn knee(points: &[(f64, f64)]) -> Option<Knee> {
    let logarithms: Vec<_> = points.iter().map(|(knob, cost)| (knob.ln(), cost.ln())).collect();
    let from = logarithms.get(SIDE_MIN - 1)?.0;
    let to = logarithms.get(logarithms.len().checked_sub(SIDE_MIN)?)?.0;
    if from >= to {
        return None;
    }
    let places = (0..=PLACES).map(|index| from + (to - from) * f64::from(index) / f64::from(PLACES));
    let fits = places.filter_map(|place| Some((place, bent(&logarithms, place)?)));
    let (place, fit) = fits.min_by(|one, other| one.1.squares.total_cmp(&other.1.squares))?;
    // Four numbers were chosen: a level, two slopes and the place.
    let free = logarithms.len().checked_sub(4).filter(|free| *free > 0)?;
    let noise = fit.squares / free as f64;
    let margin = (noise * fit.bend_variance).sqrt() * student_95(free);
    let is_clear = fit.bend.abs() > BEND_MIN && fit.bend.abs() > margin;
    is_clear.then_some(Knee { at: place.exp(), before: fit.slope, after: fit.slope + fit.bend, misfit: noise.sqrt() })
}

struct Bent {
    slope: f64,
    bend: f64,
    /// The variance of `bend` for noise of one.
    bend_variance: f64,
    squares: f64,
}

/// Least squares for `y = level + slope·x + bend·max(0, x − place)`.
fn bent(points: &[(f64, f64)], place: f64) -> Option<Bent> {
    let count = points.len() as f64;
    let columns: Vec<_> = points.iter().map(|(x, y)| (*x, (x - place).max(0.0), *y)).collect();
    let total = |value: fn(&(f64, f64, f64)) -> f64| columns.iter().map(value).sum::<f64>();
    let means = (total(|row| row.0) / count, total(|row| row.1) / count, total(|row| row.2) / count);
    let (mut uu, mut uv, mut vv, mut uy, mut vy, mut yy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for row in &columns {
        let (u, v, y) = (row.0 - means.0, row.1 - means.1, row.2 - means.2);
        uu += u * u;
        uv += u * v;
        vv += v * v;
        uy += u * y;
        vy += v * y;
        yy += y * y;
    }
    let determinant = uu * vv - uv * uv;
    if determinant <= f64::EPSILON * uu * vv {
        return None;
    }
    let slope = (uy * vv - vy * uv) / determinant;
    let bend = (vy * uu - uy * uv) / determinant;
    let squares = (yy - slope * uy - bend * vy).max(0.0);
    Some(Bent { slope, bend, bend_variance: uu / determinant, squares })
}

/// Points on either side, the knee itself counted with both.
const SIDE_MIN: usize = 3;
const PLACES: u32 = 200;
/// Slopes that differ by less are one slope to a reader.
const BEND_MIN: f64 = 0.3;
