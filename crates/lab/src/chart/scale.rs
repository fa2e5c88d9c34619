//! From values to places along an axis, and the values worth a label.

use super::Unit;

/// How an axis is divided.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Division {
    /// Evenly, from zero.
    #[default]
    Linear,
    /// By factors; values that are not above zero are left out.
    Logarithmic,
    /// Places with names, at 0, 1, 2 and so on.
    Names(Vec<String>),
}

/// An axis with its ends fixed.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    division: Division,
    low: f64,
    high: f64,
    unit: Unit,
}

impl Scale {
    /// Around all of `values`; `is_snug` leaves no room beyond them, as along the knob.
    pub(super) fn around(values: impl Iterator<Item = f64>, division: &Division, unit: Unit, is_snug: bool) -> Self {
        let usable = |value: &f64| value.is_finite() && (*division != Division::Logarithmic || *value > 0.0);
        let (mut low, mut high) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match division {
            Division::Names(names) => (low, high) = (-0.5, names.len().max(1) as f64 - 0.5),
            Division::Linear if is_snug => high = if high > low { high } else { low + 1.0 },
            Division::Linear => {
                low = low.min(0.0);
                let step = step(high - low, TICKS, unit);
                high = if high > low { (high / step - ROUNDING).ceil().max(1.0) * step } else { low + 1.0 };
            }
            Division::Logarithmic => {
                let base = base(unit);
                if !is_snug {
                    (low, high) = (nice_below(low / 1.05, base), nice_below(high * 1.05 * NICE_GAP, base));
                }
                if high / low < 1.2 {
                    (low, high) = (low / 2.0, high * 2.0);
                }
            }
        }
        Self { division: division.clone(), low, high, unit }
    }

    /// Where the value lies: 0 at the low end, 1 at the high one. `None` where it has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = match self.division {
            Division::Logarithmic => (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
            Division::Linear | Division::Names(_) => (value - self.low) / (self.high - self.low),
        };
        place.is_finite().then_some(place)
    }

    /// Values worth a label, with it, at most about `most`.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        match &self.division {
            Division::Names(names) => {
                names.iter().enumerate().map(|(index, name)| (index as f64, name.clone())).collect()
            }
            Division::Linear => {
                let step = step(self.high - self.low, most, self.unit);
                let count = ((self.high - self.low) / step + 1e-9).floor() as usize;
                let first = (self.low / step).ceil() * step;
                (0..=count).map(|index| self.tick(first + step * index as f64)).collect()
            }
            Division::Logarithmic => self.factors(most),
        }
    }

    /// Whether bars may stand on the axis: lengths can be compared only from zero.
    pub(super) fn is_from_zero(&self) -> bool {
        self.division == Division::Linear && self.low == 0.0
    }

    fn tick(&self, value: f64) -> (f64, String) {
        (value, self.unit.text(value))
    }

    /// Powers of the base; those between when there are few, fewer when there are many.
    fn factors(&self, most: usize) -> Vec<(f64, String)> {
        let base = base(self.unit);
        let (from, to) = (self.low.log(base) - 1e-9, self.high.log(base) + 1e-9);
        let whole = (to.floor() - from.ceil() + 1.0).max(0.0) as usize;
        if whole < 3 {
            let between: &[f64] = if base == 4.0 { &[1.0, 2.0] } else { &[1.0, 2.0, 5.0] };
            let powers = from.floor() as i32..=to.floor() as i32;
            let values = powers.flat_map(|power| between.iter().map(move |part| part * base.powi(power)));
            return values
                .filter(|value| (self.low * 0.999..=self.high * 1.001).contains(value))
                .map(|value| self.tick(value))
                .collect();
        }
        let every = whole.div_ceil(most.max(2)) as i32;
        let powers = from.ceil() as i32..=to.floor() as i32;
        powers.filter(|power| power.rem_euclid(every) == 0).map(|power| self.tick(base.powi(power))).collect()
    }
}

/// The factor between neighbours: memory is counted in powers of two.
fn base(unit: Unit) -> f64 {
    if unit == Unit::Bytes { 4.0 } else { 10.0 }
}

/// The largest of 1, 2 and 5 times a power that is not above the value.
fn nice_below(value: f64, base: f64) -> f64 {
    let power = base.powf(value.log(base).floor());
    let parts: &[f64] = if base == 4.0 { &[2.0, 1.0] } else { &[5.0, 2.0, 1.0] };
    let part = parts.iter().copied().find(|part| part * power <= value * 1.000_001);
    part.unwrap_or(1.0) * power
}

/// The distance of labels that divides `span` into about `most` at round numbers: of the next smaller unit for memory.
fn step(span: f64, most: usize, unit: Unit) -> f64 {
    let raw = (span / most.max(1) as f64).max(f64::MIN_POSITIVE);
    let of = if unit == Unit::Bytes && raw >= 1.0 { 1_024f64.powf((raw * 2.0).log(1_024.0).floor()) } else { 1.0 };
    let power = 10f64.powf((raw / of).log10().floor()) * of;
    let part = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|part| part * power >= raw * 0.999).unwrap_or(10.0);
    part * power
}

/// What a sum of steps may be off by, in steps.
const ROUNDING: f64 = 1e-9;
const TICKS: usize = 5;
/// From a nice number to the next is at most this factor.
const NICE_GAP: f64 = 2.5;
