//! Findings as sentences.

use super::{Curve, Finding, Growth, Knee, Law, Limit};

impl Finding {
    /// How the cost grows, in one sentence: `The cost of a publish does not depend on subscribers (±3 % …).`
    ///
    /// `cost` begins the sentence and `knob` is what was turned, in the plural.
    #[must_use]
    pub fn sentence(&self, cost: &str, knob: &str) -> String {
        let (from, to) = self.knobs;
        let over = format!("from {} to {}", count(from), things(to, knob));
        match self.growth {
            Growth::TooFew => format!(
                "{cost} {} {over}; that is too few points, or too narrow a range, to name a law.",
                factor(self.costs)
            ),
            Growth::Unclear { misfit } => format!(
                "No clear law: {} {} {over}, and no curve comes closer to the points than {}.",
                lowered(cost),
                factor(self.costs),
                percent(misfit)
            ),
            Growth::Lawful(curve) => self.lawful(&curve, cost, knob, &over),
            Growth::Bent(knee) => self.bent(&knee, cost, knob),
            Growth::Rise { from } => format!(
                "{cost} is flat up to about {} {knob} and rises beyond ({} in all); too few points lie there to say how.",
                count(from),
                factor(self.costs)
            ),
        }
    }

    fn lawful(&self, curve: &Curve, cost: &str, knob: &str, over: &str) -> String {
        let factor = factor(self.costs);
        match curve.law {
            Law::Constant if !self.is_flat() => format!(
                "{cost} shows no trend {over}; medians differ by up to {}, repeats of one point by {}, so a small one would \
                 not be seen.",
                percent(self.swing),
                percent(self.noise)
            ),
            Law::Constant => {
                format!("{cost} does not depend on {knob}: flat {over}, within {}.", percent(self.swing))
            }
            Law::Amortised => {
                format!("{cost} {factor} {over}: a fixed part is shared among more {knob}, down to a floor.")
            }
            Law::Logarithmic if curve.factor < 0.0 => format!("{cost} {factor} {over}, by the logarithm."),
            Law::Logarithmic => format!("{cost} grows with the logarithm of {knob}: it {factor} {over}."),
            Law::Linear => match curve.crossover().filter(|at| *at > self.knobs.0 * 2.0) {
                Some(at) => format!(
                    "{cost} has a fixed part and one per unit: nearly flat well below {} {knob}, in proportion well above; it \
                     {factor} {over}.",
                    count(at)
                ),
                None => format!("{cost} grows in proportion to {knob} (linear): it {factor} {over}."),
            },
            Law::LinearLogarithmic => format!("{cost} grows as n log n with {knob}: it {factor} {over}."),
            Law::Quadratic => {
                format!("{cost} grows worse than n log n, with the square of {knob}: it {factor} {over}.")
            }
            Law::Power { exponent } => {
                let margin = self.exponent.map_or(0.0, |(_, margin)| margin);
                let kind = if exponent < 0.0 {
                    "falls with"
                } else if curve.law.is_worse_than_n_log_n() {
                    "grows worse than n log n with"
                } else if exponent < 0.95 {
                    "grows more slowly than in proportion to"
                } else {
                    "grows about in proportion to"
                };
                format!("{cost} {kind} {knob}, as {} (±{margin:.2}): it {factor} {over}.", raised(exponent, 2))
            }
        }
    }

    fn bent(&self, knee: &Knee, cost: &str, knob: &str) -> String {
        format!(
            "{cost} has a knee at about {} {knob}: below it {}, above it {}; it {} from {} to {}.",
            count(knee.at),
            slope(knee.before),
            slope(knee.after),
            factor(self.costs),
            count(self.knobs.0),
            count(self.knobs.1)
        )
    }
}

impl Limit {
    /// What ran out, as a sentence that can stand alone.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Generator => {
                "The lab itself is the bottleneck here: these figures are a lower bound for roomcast, not its limit."
            }
            Self::Cores => "The cores are what ran out.",
            Self::Memory => "Memory is what ran out.",
            Self::Readers => "Readers fell behind although cores were free.",
            Self::NearlyCores => "The cores had little left.",
            Self::Waiting => {
                "Cores were left over, and nothing that is measured ran out: publishers and readers waited for each other."
            }
            Self::Nothing => "Nothing ran out: there was room for more load.",
        }
    }
}

fn slope(exponent: f64) -> String {
    match exponent {
        exponent if exponent.abs() < 0.12 => "it is flat".to_owned(),
        exponent if exponent < 0.0 => format!("it falls as {}", raised(exponent, 1)),
        exponent if (0.88..1.12).contains(&exponent) => "it grows in proportion".to_owned(),
        exponent => format!("it grows as {}", raised(exponent, 1)),
    }
}

/// `rises 12-fold`, `falls to a third`.
fn factor((first, last): (f64, f64)) -> String {
    match last / first {
        ratio if ratio >= 10.0 => format!("rises {}-fold", count(ratio)),
        ratio if ratio >= 1.05 => format!("rises {ratio:.1}-fold"),
        ratio if ratio > 0.95 => "ends where it began".to_owned(),
        ratio if ratio > 0.1 => format!("falls to {}", percent(ratio)),
        ratio => format!("falls to 1/{}", count(1.0 / ratio)),
    }
}

/// A share as per cent, as precise as anybody needs.
fn percent(share: f64) -> String {
    if share < 0.1 { format!("{:.1} %", share * 100.0) } else { format!("{:.0} %", share * 100.0) }
}

/// A number in two or three digits, in groups of thousands: `12`, `1,300`, `0.25`.
pub(crate) fn count(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        let step = 10f64.powi((magnitude.log10().floor() as i32 - 1).max(0));
        let exact = value.round();
        // A value of the knob is said as it was turned; one that was computed is rounded.
        let rounded = if (exact - value).abs() < 1e-9 { exact } else { (value / step).round() * step };
        return grouped(rounded);
    }
    if (value - value.round()).abs() < 0.005 {
        format!("{}", value.round())
    } else if magnitude >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// A power of n as it is written by hand: `n⁰·⁷⁴`.
pub(super) fn raised(exponent: f64, digits: usize) -> String {
    let high = |letter: char| match letter {
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        '-' => '⁻',
        // The point at the height of the digits.
        _ => '·',
    };
    format!("n{}", format!("{exponent:.digits$}").chars().map(high).collect::<String>())
}

/// So many things, named in the plural with the noun first: `1 subscriber a room`, `1,000 subscribers a room`.
pub(crate) fn things(value: f64, plural: &str) -> String {
    let (noun, rest) =
        plural.split_once(' ').map_or((plural, String::new()), |(noun, rest)| (noun, format!(" {rest}")));
    let noun = if value == 1.0 { noun.strip_suffix('s').unwrap_or(noun) } else { noun };
    format!("{} {noun}{rest}", count(value))
}

/// The text with its first letter small, to stand inside a sentence.
fn lowered(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
