//! Who looks on while it is measured.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::result::Run;

/// Somebody who looks on.
pub trait Watch {
    /// A measurement begins: what it is, and its place among all of them.
    fn begin(&mut self, what: &str, nth: usize, all: usize);
    /// How far it is, from 0 to 1, messages delivered so far, and since when.
    fn tick(&mut self, share: f64, delivered: u64, since: Duration);
    /// It has ended.
    fn end(&mut self, run: &Run);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Nobody;

impl Watch for Nobody {
    fn begin(&mut self, _: &str, _: usize, _: usize) {}
    fn tick(&mut self, _: f64, _: u64, _: Duration) {}
    fn end(&mut self, _: &Run) {}
}

/// A person: bars and sparklines on a terminal, a line for each measurement elsewhere.
#[derive(Debug)]
pub struct Person {
    bar: Option<ProgressBar>,
    what: String,
    position: String,
    last: (Duration, u64),
    rates: VecDeque<f64>,
}

impl Person {
    /// At the standard error.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(SCALE);
            let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▉▊▋▌▍▎▏ "));
            bar
        });
        Self { bar, what: String::new(), position: String::new(), last: Default::default(), rates: VecDeque::new() }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Nobody is left to tell when the standard error is closed.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }
}

impl Default for Person {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch for Person {
    fn begin(&mut self, what: &str, nth: usize, all: usize) {
        self.what = what.to_owned();
        self.position = format!("{:>width$}/{all}", nth + 1, width = all.to_string().len());
        self.last = Default::default();
        self.rates.clear();
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{} {what}", self.position));
            bar.set_position(0);
            bar.set_message("getting ready");
        }
    }

    fn tick(&mut self, share: f64, delivered: u64, since: Duration) {
        let Some(bar) = &self.bar else { return };
        let passed = since.saturating_sub(self.last.0).as_secs_f64();
        if passed >= 0.09 {
            if self.last.0 > Duration::ZERO {
                self.rates.push_back(delivered.saturating_sub(self.last.1) as f64 / passed);
            }
            self.last = (since, delivered);
            if self.rates.len() > SPARKS {
                self.rates.pop_front();
            }
        }
        bar.set_position((share * SCALE as f64) as u64);
        let rate = self.rates.back().copied().unwrap_or_default();
        bar.set_message(format!("{}/s {}", short(rate), sparkline(self.rates.iter().copied())));
    }

    fn end(&mut self, run: &Run) {
        let latency = if run.latency.count == 0 {
            String::new()
        } else {
            format!(", p50 {} p99 {}", nanos(run.latency.p50), nanos(run.latency.p99))
        };
        let checks = if run.checks.is_clean() {
            String::new()
        } else {
            format!(
                "; WRONG: {} lost, {} twice, {} out of order",
                run.checks.losses, run.checks.duplicates, run.checks.order_violations
            )
        };
        let bound = if run.is_lab_bound { "; the lab is the limit" } else { "" };
        let spark = sparkline(rates(&run.timeline));
        self.say(&format!(
            "{} {}: {} published/s, {} delivered/s{latency} {spark}{bound}{checks}",
            self.position,
            self.what,
            short(run.published_rate()),
            short(run.delivered_rate()),
        ));
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Deliveries a second between the points of a timeline.
fn rates(timeline: &[(f64, u64, u64)]) -> impl Iterator<Item = f64> + Clone {
    let before = std::iter::once(&(0.0, 0, 0)).chain(timeline);
    before.zip(timeline).map(|(was, is)| (is.2 - was.2) as f64 / (is.0 - was.0).max(1e-3))
}

/// A line of eight heights, from zero to the largest.
pub(super) fn sparkline(values: impl Iterator<Item = f64> + Clone) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = values.clone().fold(0.0, f64::max);
    values.map(|value| HEIGHTS[((value / largest.max(1e-9) * 7.0).round() as usize).min(7)]).collect()
}

/// A number as people say it: 12.3M.
pub(super) fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.2}G", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.0}k", n / 1e3),
        n if n >= 1e3 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A time as people say it: 12 µs.
pub(super) fn nanos(nanos: u64) -> String {
    match nanos as f64 {
        n if n >= 1e9 => format!("{:.1} s", n / 1e9),
        n if n >= 1e6 => format!("{:.1} ms", n / 1e6),
        n if n >= 1e4 => format!("{:.0} µs", n / 1e3),
        n if n >= 1e3 => format!("{:.1} µs", n / 1e3),
        n => format!("{n:.0} ns"),
    }
}

/// Steps of the bar.
const SCALE: u64 = 1_000;
/// Characters of the line.
const SPARKS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines_are_short() {
        assert_eq!(
            ["12.3M", "45k", "1.5k", "7"],
            [12.34e6, 45_100.0, 1_500.0, 7.0].map(short).each_ref().map(|s| &**s)
        );
        assert_eq!(
            ["999 ns", "1.5 µs", "15 µs", "1.5 ms"],
            [999, 1_500, 15_000, 1_500_000].map(nanos).each_ref().map(|s| &**s)
        );
        assert_eq!(sparkline([0.0, 4.0, 8.0].into_iter()), "▁▅█");
    }
}
