//! The environment: what an archive takes from outside, so that a simulation can give it instead: the time, waiting and chance.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

/// Where the time comes from, how a thread waits, and what is drawn at random.
///
/// A simulation on one thread has the others go on while somebody waits: its `park` and `sleep` move the time, step what is due
/// ([`BatchWriter::step`](super::writer::BatchWriter::step)), and return.
pub trait Environment: Send + Sync + 'static {
    /// The time. It never goes back.
    fn now(&self) -> Instant;

    /// Has this thread wait until it is unparked, or until then. It may return at any time: who calls it looks again.
    fn park(&self, until: Option<Instant>);

    /// Has this thread wait for that long.
    fn sleep(&self, pause: Duration);

    /// A number, at random.
    fn draw(&self) -> u64;
}

/// The environment of a process: the system's clock, threads and random numbers.
#[derive(Debug)]
pub(super) struct System;

impl Environment for System {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn park(&self, until: Option<Instant>) {
        match until {
            Some(until) => thread::park_timeout(until.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }

    fn sleep(&self, pause: Duration) {
        thread::sleep(pause);
    }

    fn draw(&self) -> u64 {
        RandomState::new().hash_one(0)
    }
}

impl fmt::Debug for dyn Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}
