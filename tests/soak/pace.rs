//! How long to run: a little in `make test`, long in `make soak`, or as the environment says.

use std::env;
use std::time::{Duration, Instant};

/// Whether the environment asks for the long runs.
pub(crate) fn is_long() -> bool {
    env::var_os("ROOMCAST_SOAK").is_some_and(|value| !value.is_empty() && value != "0")
}

/// A count: what the variable `ROOMCAST_SOAK_` with this name says, or one of the two.
pub(crate) fn count(name: &str, short: u64, long: u64) -> u64 {
    let variable = format!("ROOMCAST_SOAK_{name}");
    match env::var(&variable) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value:?}")),
        Err(_) if is_long() => long,
        Err(_) => short,
    }
}

/// A run that says at its end what it did.
pub(crate) struct Run {
    what: &'static str,
    began: Instant,
}

impl Run {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, began: Instant::now() }
    }

    /// For runs whose length is a time.
    pub(crate) fn lasts(&self, seconds: u64) -> bool {
        self.began.elapsed() < Duration::from_secs(seconds)
    }

    /// Prints a line of the results.
    pub(crate) fn done(self, counted: &str) {
        eprintln!("| {} | {counted} | {:.1} s |", self.what, self.began.elapsed().as_secs_f64());
    }
}
