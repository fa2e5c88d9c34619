//! Cases, the figures they yield, and how long they may take.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One figure that a case has measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured, unique within the case.
    pub name: &'static str,
    /// In what.
    pub unit: &'static str,
    /// How much.
    pub value: f64,
}

/// A figure.
pub fn figure(name: &'static str, unit: &'static str, value: f64) -> Figure {
    Figure { name, unit, value }
}

/// How much work a measurement is worth.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Whether to get an impression only.
    pub quick: bool,
}

impl Effort {
    /// How long a repeated measurement goes on.
    pub fn time(self) -> Duration {
        Duration::from_millis(if self.quick { 30 } else { 120 })
    }

    /// The first when there is time, the second when there is not.
    pub fn choose<N>(self, full: N, quick: N) -> N {
        if self.quick { quick } else { full }
    }

    /// Repeats `round` and returns the median of what it yields.
    pub fn median(self, mut round: impl FnMut() -> f64) -> f64 {
        let begin = Instant::now();
        let mut samples = Vec::new();
        // The first round finds nothing in its caches, and grows what has to grow.
        round();
        while samples.is_empty() || begin.elapsed() < self.time() {
            samples.push(round());
        }
        median(&mut samples)
    }
}

/// The median; the lower one of an even number.
///
/// # Panics
/// When there is no sample.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() - 1) / 2]
}

/// A number with a comma after each thousand.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// One measurement of one contender, made in a process of its own.
pub struct Case {
    /// The table it belongs to.
    pub workload: &'static str,
    /// The row in it.
    pub name: String,
    /// Who is measured.
    pub contender: &'static str,
    /// Measures, or says what went wrong.
    pub run: Box<dyn Fn(Effort) -> Result<Vec<Figure>, String>>,
    /// Whether the process has to count its heap, which makes it slower.
    pub counts_heap: bool,
    /// Whether repeating it tells nothing new.
    pub is_exact: bool,
    /// Whether a quick run leaves it out.
    pub is_detail: bool,
}

impl Case {
    /// Names the case among all.
    pub fn key(&self) -> String {
        key(self.workload, &self.name, self.contender)
    }
}

/// The key of the case with that table, row and contender.
pub fn key(workload: &str, name: &str, contender: &str) -> String {
    format!("{workload} | {name} | {contender}")
}

/// All cases, in the order of the report, and why some contenders have none.
#[derive(Default)]
pub struct Cases {
    /// What can be measured.
    pub all: Vec<Case>,
    /// Workload, contenders, and why they are not measured.
    pub lacking: Vec<(&'static str, &'static str, &'static str)>,
}

impl Cases {
    /// Adds a case that succeeds or panics.
    pub fn add(
        &mut self,
        workload: &'static str,
        name: impl Into<String>,
        contender: &'static str,
        run: impl Fn(Effort) -> Vec<Figure> + 'static,
    ) {
        self.try_add(workload, name, contender, move |effort| Ok(run(effort)));
    }

    /// Adds a case that may fail.
    pub fn try_add(
        &mut self,
        workload: &'static str,
        name: impl Into<String>,
        contender: &'static str,
        run: impl Fn(Effort) -> Result<Vec<Figure>, String> + 'static,
    ) {
        let (name, run) = (name.into(), Box::new(run));
        self.all.push(Case { workload, name, contender, run, counts_heap: false, is_exact: false, is_detail: false });
    }

    /// The cases added by `add` count the heap.
    pub fn counting(&mut self, add: impl FnOnce(&mut Self)) {
        let begin = self.all.len();
        add(self);
        self.all[begin..].iter_mut().for_each(|case| case.counts_heap = true);
    }

    /// The cases added by `add` yield the same in each round.
    pub fn exact(&mut self, add: impl FnOnce(&mut Self)) {
        let begin = self.all.len();
        add(self);
        self.all[begin..].iter_mut().for_each(|case| case.is_exact = true);
    }

    /// The cases added by `add` are left out of a quick run, unless somebody asks for them.
    pub fn detail(&mut self, add: impl FnOnce(&mut Self)) {
        let begin = self.all.len();
        add(self);
        self.all[begin..].iter_mut().for_each(|case| case.is_detail = true);
    }

    /// Says why somebody is missing in a table.
    pub fn lack(&mut self, workload: &'static str, contenders: &'static str, reason: &'static str) {
        self.lacking.push((workload, contenders, reason));
    }
}

/// How the bytes on the heap are counted, in a program that can.
pub static HEAP: OnceLock<fn() -> usize> = OnceLock::new();

/// Bytes on the heap now.
///
/// # Panics
/// In a program that does not count.
pub fn heap() -> f64 {
    let count = HEAP.get().expect("this case runs in the program that counts");
    count() as f64
}
