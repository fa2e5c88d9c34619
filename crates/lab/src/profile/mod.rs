//! Profiles: where processor time goes, and who allocates, as pictures and as lists.
//!
//! Everything here works on stacks that somebody else has counted; the binary collects them, see `docs/profiling.md`.

mod flame;
mod heap;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use self::heap::{HeapError, allocations};

/// Stacks and how often each was seen: the outermost function first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    counts: BTreeMap<Vec<String>, u64>,
}

impl Stacks {
    /// Counts a stack, the outermost function first, `weight` times. Long lists of type arguments are left out of names.
    pub fn add(&mut self, stack: Vec<String>, weight: u64) {
        let stack = stack.iter().map(|name| without_long_arguments(name)).collect();
        *self.counts.entry(stack).or_default() += weight;
    }

    /// Everything that was counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// A flame graph as SVG: wide is much, what is below is called by what is above.
    ///
    /// `unit` is what was counted, for the words that a box says when it is pointed at.
    #[must_use]
    pub fn flame(&self, title: &str, unit: &str) -> String {
        flame::svg(self, title, unit)
    }

    /// The stacks as lines, `outer;inner 12`, which other tools read.
    #[must_use]
    pub fn folded(&self) -> String {
        let mut text = String::new();
        for (stack, count) in &self.counts {
            let _ = writeln!(text, "{} {count}", stack.join(";"));
        }
        text
    }

    /// The functions at the end of most stacks, and those that stand in most: `limit` lines each.
    #[must_use]
    pub fn list(&self, limit: usize) -> String {
        let (mut own, mut all) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
        for (stack, count) in &self.counts {
            if let Some(last) = stack.last() {
                *own.entry(last).or_default() += count;
            }
            let mut seen: Vec<&str> = stack.iter().map(String::as_str).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.into_iter().for_each(|name| *all.entry(name).or_default() += count);
        }
        let mut text = String::new();
        for (title, counts) in [("by itself", own), ("with what it calls", all)] {
            let _ = writeln!(text, "{title}:");
            let mut rows: Vec<_> = counts.into_iter().collect();
            rows.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
            for (name, count) in rows.into_iter().take(limit) {
                let share = count as f64 / self.total().max(1) as f64 * 100.0;
                let _ = writeln!(text, "{share:6.1} %  {count:>10}  {name}");
            }
            text.push('\n');
        }
        text
    }
}

/// The name with `<…>` where types that stand behind a name are longer than a reader wants; `<A as B>::c` stays.
fn without_long_arguments(name: &str) -> String {
    let (mut text, mut rest) = (String::new(), name);
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let mut depth = 0;
        let end = from.char_indices().find_map(|(index, letter)| {
            // An arrow of a closure's type closes nothing.
            let is_arrow = letter == '>' && from[..index].ends_with('-');
            depth += i32::from(letter == '<') - i32::from(letter == '>' && !is_arrow);
            (depth == 0).then_some(index + 1)
        });
        let Some(end) = end else {
            rest = from;
            break;
        };
        let is_behind_a_name =
            before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':');
        match is_behind_a_name && end > ARGUMENTS_MAX {
            true => text.push_str("<…>"),
            false => text.push_str(&from[..end]),
        }
        rest = &from[end..];
    }
    text + rest
}

const ARGUMENTS_MAX: usize = 12;
