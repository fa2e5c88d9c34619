//! One room, and a publisher that keeps so many messages in flight: the next follows when the last member has one.

use harness::measure::{Cases, Effort, Figure};
use harness::targets::Bound::MostTimes;
use harness::targets::Target;
use roomcast_lab::load::DeliveryChecker;

use super::{CPU, Spent, aim_at_cpu, each, target};
use crate::contenders::{ALL, Contender, ROOMCAST};
use crate::fault::Fault;
use crate::load::Load;
use crate::wire::Wire;

struct Row {
    name: &'static str,
    members: usize,
    bytes: usize,
}

const fn row(name: &'static str, members: usize, bytes: usize) -> Row {
    Row { name, members, bytes }
}

const ROWS: &[Row] = &[
    row("members: 1, 128 B", 1, 128),
    row("members: 10, 128 B", 10, 128),
    row("members: 100, 128 B", 100, 128),
    row(THOUSAND, 1_000, 128),
    row(TEN_THOUSAND, 10_000, 128),
    row("members: 100, 16 B", 100, 16),
    row("members: 100, 1 KiB", 100, 1_024),
    row("members: 1,000, 1 KiB", 1_000, 1_024),
];

const THOUSAND: &str = "members: 1,000, 128 B";
const TEN_THOUSAND: &str = "members: 10,000, 128 B";

/// What a quick run measures.
const USUAL: &str = "members: 100, 128 B";

/// Workloads and how many messages are in flight.
const WORKLOADS: [(&str, usize); 2] = [("burst", 32), ("single", 1)];

/// How much more a delivery may cost among ten thousand than among one.
const GROWTH_MAX: f64 = 1.3;

/// Messages that a member asks for when it comes back.
const RECOVERED: u32 = 10;

pub(super) fn add(cases: &mut Cases) {
    for (workload, in_flight) in WORKLOADS {
        for Row { name, members, bytes } in ROWS {
            let add = |cases: &mut Cases| {
                each(cases, workload, name, ALL, move |contender, effort| {
                    measure(contender, effort, *members, *bytes, in_flight)
                });
            };
            if *name == USUAL { add(cases) } else { cases.detail(add) }
        }
    }
}

pub(super) fn aim(targets: &mut Vec<Target>) {
    for (workload, _) in WORKLOADS {
        ROWS.iter().for_each(|row| aim_at_cpu(targets, workload, row.name));
        targets.push(target(workload, TEN_THOUSAND, CPU, MostTimes(GROWTH_MAX, THOUSAND, ROOMCAST.name)));
    }
}

/// Measures one row.
pub(super) fn measure(
    contender: Contender,
    effort: Effort,
    members: usize,
    bytes: usize,
    in_flight: usize,
) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    let mut load = contender.load(&server)?;
    load.add_room("room", bytes, in_flight, members)?;
    let spent = Spent::steadily(&server, &mut load, effort)?;
    if contender.wire == Wire::Centrifugo {
        check_recovery(&mut load)?;
    }
    Ok(spent.figures())
}

/// A member that was away for a few messages gets them when it comes back: history and recovery were on.
fn check_recovery(load: &mut Load) -> Result<(), Fault> {
    const MEMBER: usize = 0;
    let sent = load.rooms[0].publishers[0].sent;
    let since = sent.saturating_sub(RECOVERED);
    let (epoch, _) = load.clients[MEMBER].position.clone().ok_or(Fault::Unexpected("no position"))?;
    load.reconnect(MEMBER, Some((epoch, u64::from(since))))?;
    let member = &mut load.clients[MEMBER];
    let checker = DeliveryChecker::resumed(u64::from(since)).numbered_from(u64::from(since) + 1);
    (member.checker, member.is_awaited) = (Some(checker), false);
    load.open_all()?;
    let member = &load.clients[MEMBER];
    if !member.recovered {
        return Err(Fault::Delivery("what was published could not be recovered".to_owned()));
    }
    load.check_client(member)
}
