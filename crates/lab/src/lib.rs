//! The load lab: what roomcast costs, and how that grows with each knob.
//!
//! `docs/lab.md` tells how to use it and how each measure is taken.

mod bottleneck;
pub mod chart;
mod clock;
pub mod compare;
mod cost;
mod delivery_checker;
pub mod fit;
pub mod knob;
mod library;
pub mod measure;
mod measurement;
pub mod network;
pub mod output;
mod procfs;
pub mod profile;
mod recorder;
pub mod report;
pub mod result;
mod rng;
mod run_state;
pub mod scenario;
mod schedule;
pub mod watch;

use std::fmt;

/// Why a run came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}
