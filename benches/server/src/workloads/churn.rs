//! Connections that come, join, and leave at once.

use std::time::{Duration, Instant};

use harness::measure::{Cases, Effort, Figure, figure};
use harness::targets::Bound::MostTimes;
use harness::targets::Target;

use super::{each, target};
use crate::contenders::{BUN, Contender, REPORTED};
use crate::fault::Fault;
use crate::load::Load;
use crate::payload::BYTES_MIN;

const WORKLOAD: &str = "churn";
const NAME: &str = "connect + join + leave";
pub(super) const CPU: &str = "server CPU";

/// Connections that are there at once.
const AT_ONCE: usize = 16;

/// How long all of them may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn add(cases: &mut Cases) {
    each(cases, WORKLOAD, NAME, REPORTED, measure);
}

pub(super) fn aim(targets: &mut Vec<Target>) {
    targets.push(target(WORKLOAD, NAME, CPU, MostTimes(1.0, NAME, BUN.name)));
}

/// Measures one row.
pub(super) fn measure(contender: Contender, effort: Effort) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    let mut load = contender.load(&server)?;
    load.add_talk("room", BYTES_MIN, 0, AT_ONCE, 0)?;
    come_and_go(&mut load, effort.choose(1_000, 200))?;
    let (begin, cpu) = (Instant::now(), server.cpu()?);
    let cycles = effort.choose(4_000, 1_000);
    come_and_go(&mut load, cycles)?;
    let (took, cpu) = (begin.elapsed(), server.cpu()? - cpu);
    Ok(vec![
        figure(CPU, "µs each", cpu.as_secs_f64() * 1e6 / f64::from(cycles)),
        figure("cycles", "1,000/s", f64::from(cycles) / took.as_secs_f64() / 1e3),
    ])
}

/// Lets whoever is joined leave and whoever is gone come again, so often.
fn come_and_go(load: &mut Load, cycles: u32) -> Result<(), Fault> {
    let mut left = cycles;
    let limit = Instant::now() + LIMIT;
    while left > 0 {
        if Instant::now() > limit {
            return Err(Fault::TooLong("coming and going"));
        }
        load.turn(Duration::from_millis(50))?;
        for index in 0..AT_ONCE {
            let client = &mut load.clients[index];
            if client.is_ready() {
                client.leave()?;
            } else if client.is_gone() {
                left = left.saturating_sub(1);
                load.reconnect(index, None)?;
            }
        }
    }
    Ok(())
}
