//! How long a message takes at a fixed rate, from when it was due to when each member has it.

use std::time::{Duration, Instant};

use harness::measure::{Cases, Effort, Figure, figure};
use harness::targets::Bound::MostTimes;
use harness::targets::Target;

use super::{each, percentile, target};
use crate::contenders::{BUN, Contender, REPORTED, ROOMCAST_ASYNC, ROOMCAST_STORED};
use crate::fault::Fault;
use crate::load::Load;

const WORKLOAD: &str = "latency";
const NAME: &str = "members: 100, 128 B, 200/s";
const MEMBERS: usize = 100;
const BYTES: usize = 128;
const EVERY: Duration = Duration::from_millis(5);

pub(super) fn add(cases: &mut Cases) {
    each(cases, WORKLOAD, NAME, REPORTED, measure);
    each(cases, WORKLOAD, NAME, &[ROOMCAST_ASYNC, ROOMCAST_STORED], measure);
}

pub(super) fn aim(targets: &mut Vec<Target>) {
    targets.push(target(WORKLOAD, NAME, "p50", MostTimes(1.0, NAME, BUN.name)));
}

fn measure(contender: Contender, effort: Effort) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    let mut load = Load::new(server.address(), contender.wire)?;
    let room = load.add_room("room", BYTES, 0, MEMBERS)?;
    load.open_all()?;
    load.time(room);
    publish(&mut load, room, effort.choose(100, 50))?;
    load.take_samples();
    publish(&mut load, room, effort.choose(600, 200))?;
    load.check()?;
    let mut samples = load.take_samples();
    Ok(vec![figure("p50", "µs", percentile(&mut samples, 0.5)), figure("p99", "µs", percentile(&mut samples, 0.99))])
}

/// Publishes so many, each when it is due. The load does not sleep: waking up would be part of what is measured.
fn publish(load: &mut Load, room: usize, messages: u32) -> Result<(), Fault> {
    let begin = Instant::now();
    for nth in 0..messages {
        let due = begin + EVERY * nth;
        while Instant::now() < due {
            load.turn(Duration::ZERO)?;
        }
        load.publish_due(room, due)?;
    }
    load.settle()
}
