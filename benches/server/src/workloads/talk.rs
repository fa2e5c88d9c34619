//! Many small rooms in which everybody publishes: the next message follows when all five have the one before.

use harness::measure::{Cases, Effort, Figure};
use harness::targets::Target;

use super::{Spent, aim_at_cpu, each};
use crate::contenders::{ALL, Contender};
use crate::fault::Fault;
use crate::load::Load;

const WORKLOAD: &str = "talk";
const NAME: &str = "rooms: 200 × 5, 128 B";
const ROOMS: usize = 200;
const MEMBERS: usize = 5;
const BYTES: usize = 128;

pub(super) fn add(cases: &mut Cases) {
    each(cases, WORKLOAD, NAME, ALL, measure);
}

pub(super) fn aim(targets: &mut Vec<Target>) {
    aim_at_cpu(targets, WORKLOAD, NAME);
}

fn measure(contender: Contender, effort: Effort) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    let mut load = Load::new(server.address(), contender.wire)?;
    for room in 0..ROOMS {
        load.add_talk(&format!("room-{room}"), BYTES, 1, MEMBERS, MEMBERS)?;
    }
    let spent = Spent::steadily(&server, &mut load, effort)?;
    Ok(spent.figures())
}
