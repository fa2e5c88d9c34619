//! Medians, spreads and straight lines: the little statistics the fits are made of.

/// The median; of an even number of values the mean of the middle two.
///
/// `None` when there is no value that is a number.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The smallest and the largest value; `None` when there is no value that is a number.
#[must_use]
pub fn range(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    Some((*sorted.first()?, *sorted.last()?))
}

/// The finite values, in order.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The arithmetic mean; 0 of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count();
    if count == 0 { 0.0 } else { values.sum::<f64>() / count as f64 }
}

/// A straight line through points, by least squares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) slope: f64,
    /// How far the true slope may be from `slope`, to either side, at 95 %.
    pub(super) slope_margin: f64,
}

/// The line through `(x, y)`; `None` below three points or when all stand at one `x`.
pub(super) fn line(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let (x_mean, y_mean) = (mean(points.iter().map(|point| point.0)), mean(points.iter().map(|point| point.1)));
    let xx: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let xy: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    if xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    let intercept = y_mean - slope * x_mean;
    let squares: f64 = points.iter().map(|(x, y)| (y - intercept - slope * x).powi(2)).sum();
    let error = (squares / (count - 2.0) / xx).sqrt();
    Some(Line { slope, slope_margin: error * student_95(points.len() - 2) })
}

/// The two-sided 95 % quantile of Student's distribution.
pub(crate) fn student_95(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    match degrees {
        0 => f64::INFINITY,
        _ => TABLE.get(degrees - 1).copied().unwrap_or(1.96),
    }
}
