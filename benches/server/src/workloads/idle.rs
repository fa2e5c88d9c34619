//! What a connection costs that is joined and silent.

use std::time::{Duration, Instant};

use harness::measure::{Cases, Effort, Figure, figure};
use harness::targets::Target;

use super::{aim_at, each};
use crate::contenders::{Contender, REPORTED};
use crate::fault::Fault;
use crate::load::Load;
use crate::payload::BYTES_MIN;

const WORKLOAD: &str = "idle";
const NAME: &str = "each of thousands";
pub(super) const MEMORY: &str = "memory";
const CPU: &str = "processor, for 5,000";
const ROOM_MEMBERS: usize = 100;
/// As many as descriptors allow with room to spare, and as many as a quick run has time for.
const CONNECTIONS: usize = 15_000;
const CONNECTIONS_QUICK: usize = 6_000;
const CONNECTIONS_NOMINAL: f64 = 5_000.0;

/// User memory of a connection, in bytes.
const BYTES_MAX: f64 = 1_500.0;
/// Of a core, for 5,000 of them.
const PERCENT_MAX: f64 = 1.0;

pub(super) fn add(cases: &mut Cases) {
    each(cases, WORKLOAD, NAME, REPORTED, measure);
}

pub(super) fn aim(targets: &mut Vec<Target>) {
    aim_at(targets, WORKLOAD, NAME, MEMORY, BYTES_MAX);
    aim_at(targets, WORKLOAD, NAME, CPU, PERCENT_MAX);
}

/// Measures one row.
pub(super) fn measure(contender: Contender, effort: Effort) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    let mut load = contender.load(&server)?;
    let rest = |load: &mut Load, time: Duration| {
        let end = Instant::now() + time;
        while Instant::now() < end {
            load.turn(end.saturating_duration_since(Instant::now()))?;
        }
        Ok::<_, Fault>(())
    };
    // The first connections let a server grow what it needs once.
    load.add_talk("first", BYTES_MIN, 0, ROOM_MEMBERS, 0)?;
    load.open_all()?;
    rest(&mut load, SETTLING)?;
    let before = server.private_bytes()?;
    let connections = effort.choose(CONNECTIONS, CONNECTIONS_QUICK);
    for room in 0..connections / ROOM_MEMBERS {
        load.add_talk(&format!("room-{room}"), BYTES_MIN, 0, ROOM_MEMBERS, 0)?;
    }
    load.open_all()?;
    rest(&mut load, SETTLING)?;
    let bytes = server.private_bytes()?.saturating_sub(before) as f64 / connections as f64;
    let cpu = server.cpu()?;
    rest(&mut load, WATCHED)?;
    let share = (server.cpu()? - cpu).as_secs_f64() / WATCHED.as_secs_f64();
    let percent = 100.0 * share * CONNECTIONS_NOMINAL / connections as f64;
    Ok(vec![figure(MEMORY, "bytes", bytes), figure(CPU, "% of a core", percent)])
}

/// How long a server may tidy up, and how long it is watched doing nothing.
const SETTLING: Duration = Duration::from_millis(500);
const WATCHED: Duration = Duration::from_secs(2);
