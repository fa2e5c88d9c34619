//! Carries measurements out in rounds and reports them against targets.
//!
//! A program registers its `measure::Case`s in a [`Suite`] and hands that to [`cli::main`]. `run` measures every case in
//! a process of its own, round after round, and `report` holds the medians against `targets`.

pub mod cli;
pub mod machine;
pub mod measure;
pub mod origin;
mod report;
pub mod run;
pub mod targets;

use std::time::Duration;

use crate::measure::Cases;
use crate::targets::Target;

/// What a program measures, and how its report speaks of it.
pub struct Suite {
    /// The program's name.
    pub program: &'static str,
    /// The target of the Makefile that runs it.
    pub make_target: &'static str,
    /// What else it can be asked for: lines for its usage.
    pub usage: &'static str,
    /// The heading of the report.
    pub title: &'static str,
    /// The files and folders, in words, that the figures depend on.
    pub measures: &'static str,
    /// When somebody else than the contender was the limit of a row.
    pub limit_of: Option<Limit>,
    /// How it is measured: a paragraph for the report's head.
    pub method: &'static str,
    /// Who is measured, in which version.
    pub versions: fn() -> String,
    /// The contender that everybody is compared with.
    pub base: &'static str,
    /// The tables, in the order of the report.
    pub titles: &'static [(&'static str, &'static str)],
    /// Everything that can be measured.
    pub cases: Cases,
    /// What the base is to reach.
    pub targets: Vec<Target>,
    /// How often each is measured, in a full run and in a quick one.
    pub rounds: (usize, usize),
    /// A measurement that takes longer is ended and reported as failed.
    pub limit: Duration,
}

/// Whoever makes the load may be the limit of a row, and is named in it.
#[derive(Clone, Copy)]
pub struct Limit {
    /// The figure that tells.
    pub figure: &'static str,
    /// From there on it is.
    pub from: f64,
    /// Who it is.
    pub who: &'static str,
}

/// These crates with their versions, as a lock file has them.
pub fn locked_versions(lock: &str, crates: &[&str]) -> String {
    let version = |name: &&str| {
        let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
        let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
        format!("{name} {}", version.unwrap_or("unknown"))
    };
    crates.iter().map(version).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::figure;
    use crate::targets::Bound;

    /// A suite with one row that a base and a rival share, and a target for the base.
    pub(crate) fn suite() -> Suite {
        let mut cases = Cases::default();
        for who in ["we", "they"] {
            cases.add("W1", "row", who, |_| vec![figure("cost", "ns", 1.0)]);
        }
        Suite {
            program: "suite",
            make_target: "bench-suite",
            usage: "",
            title: "A suite",
            measures: "benches/harness",
            limit_of: Some(Limit { figure: "busy", from: 90.0, who: "the load" }),
            method: "",
            versions: String::new,
            base: "we",
            titles: &[("W1", "a workload")],
            cases,
            targets: vec![Target {
                of: ("W1", "row", "we", "cost"),
                bound: Bound::Most(12.0),
                beside: Some(("they", 26.0)),
            }],
            rounds: (5, 2),
            limit: Duration::from_secs(1),
        }
    }
}
