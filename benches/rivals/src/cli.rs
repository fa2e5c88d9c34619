//! What can be asked for, beside measuring.

use std::process::ExitCode;
use std::time::Duration;

use harness::Suite;
use harness::cli::{finish, usage};
use harness::measure::HEAP;

use crate::targets::TARGETS;
use crate::workloads::{self, TITLES};

/// Runs the program; `heap` counts the bytes on its heap, if it can.
pub fn main(heap: Option<fn() -> usize>) -> ExitCode {
    if let Some(heap) = heap {
        let _ = HEAP.set(heap);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("count") => finish(count(&arguments[1..])),
        _ => harness::cli::main(&suite()),
    }
}

fn suite() -> Suite {
    Suite {
        program: "rivals",
        make_target: "bench-rivals",
        usage: "rivals count WHAT CONTENDER N       do something N times, for callgrind to count instructions\n",
        title: "Roomcast and its rivals",
        measures: MEASURES,
        limit_of: None,
        method: "",
        versions,
        base: "roomcast",
        titles: TITLES,
        cases: workloads::all(),
        targets: TARGETS.to_vec(),
        rounds: (5, 2),
        limit: Duration::from_secs(60),
    }
}

/// What a publish and a receive are made of.
const MEASURES: &str = "src/ring src/wake src/room src/shard src/sync src/broker src/builder.rs src/message.rs \
    benches/harness benches/rivals benches/Cargo.lock";

fn count(arguments: &[String]) -> Result<(), String> {
    let [what, contender, times] = arguments else { return Err(usage(&suite())) };
    let times = times.parse().map_err(|_| "N is a number".to_owned())?;
    workloads::count(what, contender, times).ok_or_else(|| format!("{what} of {contender} cannot be counted"))
}

/// The rivals with their versions, as locked.
fn versions() -> String {
    const RIVALS: [&str; 11] = [
        "tokio",
        "async-broadcast",
        "bus",
        "disruptor",
        "ringcast",
        "crossbeam-channel",
        "dashmap",
        "flume",
        "thingbuf",
        "bytes",
        "roomcast",
    ];
    harness::locked_versions(include_str!("../../Cargo.lock"), &RIVALS)
}
