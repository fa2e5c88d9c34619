//! One room at full speed beside a thousand small ones: how long a message of a small room takes.

use std::time::{Duration, Instant};

use harness::measure::{Cases, Effort, Figure, figure};

use super::{CPU, CPU_UNIT, each, percentile};
use crate::contenders::{Contender, REPORTED};
use crate::fault::Fault;
use crate::load::Load;

const WORKLOAD: &str = "hot";
const NAME: &str = "128 B, 32 in flight beside 500/s";
const HOT_MEMBERS: usize = 1_000;
const SMALL_ROOMS: usize = 1_000;
const SMALL_MEMBERS: usize = 2;
const BYTES: usize = 128;
const IN_FLIGHT: usize = 32;
const EVERY: Duration = Duration::from_millis(2);

pub(super) fn add(cases: &mut Cases) {
    each(cases, WORKLOAD, NAME, REPORTED, measure);
}

fn measure(contender: Contender, effort: Effort) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    // Two loads in one thread: the small rooms are looked at between any two turns of the hot one, so that what the load
    // has to do for that one is not mistaken for what the server does.
    let mut hot = Load::new(server.address(), contender.wire)?;
    hot.add_room("hot", BYTES, IN_FLIGHT, HOT_MEMBERS)?;
    hot.open_all()?;
    let mut small = Load::new(server.address(), contender.wire)?;
    for room in 0..SMALL_ROOMS {
        small.add_talk(&format!("small-{room}"), BYTES, 0, SMALL_MEMBERS, 1)?;
        small.time(room);
    }
    small.open_all()?;

    hot.limit_turns(HOT_EVENTS_PER_TURN);
    hot.start();
    publish(&mut small, &mut hot, effort.choose(250, 100))?;
    small.take_samples();
    let (begin, cpu, before) = (Instant::now(), server.cpu()?, hot.deliveries() + small.deliveries());
    publish(&mut small, &mut hot, effort.choose(1_000, 250))?;
    let (took, cpu) = (begin.elapsed(), server.cpu()? - cpu);
    let deliveries = (hot.deliveries() + small.deliveries() - before) as f64;
    hot.settle()?;
    small.settle()?;
    hot.check()?;
    small.check()?;
    let mut samples = small.take_samples();
    Ok(vec![
        figure("p50 of small rooms", "µs", percentile(&mut samples, 0.5)),
        figure("p99 of small rooms", "µs", percentile(&mut samples, 0.99)),
        figure(CPU, CPU_UNIT, cpu.as_secs_f64() * 1e6 / deliveries),
        figure("deliveries", "1,000/s", deliveries / took.as_secs_f64() / 1e3),
    ])
}

/// Publishes so many into one small room after the other, each when it is due, while the hot room goes on.
fn publish(small: &mut Load, hot: &mut Load, messages: u32) -> Result<(), Fault> {
    let begin = Instant::now();
    for nth in 0..messages {
        let due = begin + EVERY * nth;
        loop {
            small.turn(Duration::ZERO)?;
            hot.turn(Duration::ZERO)?;
            if Instant::now() >= due {
                break;
            }
        }
        small.publish_due(nth as usize % SMALL_ROOMS, due)?;
    }
    Ok(())
}

/// Connections of the hot room looked at before the small ones have their turn.
const HOT_EVENTS_PER_TURN: usize = 16;
