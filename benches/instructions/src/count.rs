//! Runs programs under callgrind, and makes of two runs what one time costs.

use std::env;
use std::process::{Command, id};
use std::time::Duration;

use harness::run::bounded;

use crate::library::Row;

/// Two runs that differ in nothing but how often they do it.
const TIMES: [u64; 2] = [64, 1_064];

/// Windows of messages of the server. The first runs grow what it needs once.
const WINDOWS: [u64; 2] = [30, 130];

/// Counting is slow, but not that slow.
const LIMIT: Duration = Duration::from_secs(240);

/// A delivery of the server that is counted.
pub(crate) struct Delivery {
    /// What is said of it in the report.
    pub(crate) about: &'static str,
    /// How `server-bench count` knows it.
    server: &'static str,
    /// Messages in flight.
    pub(crate) in_flight: u64,
}

const fn delivery(about: &'static str, server: &'static str, in_flight: u64) -> Delivery {
    Delivery { about, server, in_flight }
}

/// Those that are counted, in the order of the report.
pub(crate) const DELIVERIES: &[Delivery] = &[
    delivery("storage off", "off", 32),
    delivery("storage off", "off", 1),
    delivery("storage off, over TLS", "tls", 32),
    delivery("storage off, over TLS", "tls", 1),
    delivery("storage async", "async", 32),
    delivery("storage stored", "stored", 32),
];

/// Members of the server's room.
const MEMBERS: u64 = 100;

/// Instructions of one operation of a row.
pub(crate) fn of_row(row: &Row) -> Result<f64, String> {
    let with = of_library(row, true)?;
    let without = if row.has_more() { of_library(row, false)? } else { 0.0 };
    Ok((with - without) / row.operations as f64)
}

/// Instructions of each time.
fn of_library(row: &Row, counted: bool) -> Result<f64, String> {
    let mut totals = [0.0; 2];
    for (total, times) in totals.iter_mut().zip(TIMES) {
        let out = env::temp_dir().join(format!("instructions-{}.callgrind", id()));
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(env::current_exe().map_err(|error| error.to_string())?);
        command.args(["count", row.name, &counted.to_string(), &times.to_string()]);
        let (success, _, said) = bounded(command, LIMIT)?;
        let _ = std::fs::remove_file(out);
        let found = said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
        *total = found.filter(|_| success).ok_or_else(|| format!("valgrind failed: {said}"))?;
    }
    Ok((totals[1] - totals[0]) / (TIMES[1] - TIMES[0]) as f64)
}

/// Instructions of the server for each message that a member received.
pub(crate) fn of_server(&Delivery { server, in_flight, .. }: &Delivery) -> Result<f64, String> {
    let mut totals = [0.0; 2];
    for (total, windows) in totals.iter_mut().zip(WINDOWS) {
        let program = env::current_exe().map_err(|error| error.to_string())?.with_file_name("server-bench");
        let mut command = Command::new(program);
        command.args(["count", server, &MEMBERS.to_string(), &in_flight.to_string(), &windows.to_string()]);
        let (success, told, said) = bounded(command, LIMIT)?;
        *total = told.trim().parse().ok().filter(|_| success).ok_or_else(|| format!("it failed: {said}"))?;
    }
    Ok((totals[1] - totals[0]) / ((WINDOWS[1] - WINDOWS[0]) * MEMBERS * in_flight) as f64)
}
