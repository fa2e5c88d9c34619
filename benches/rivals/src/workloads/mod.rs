//! The workloads, one file each.

mod across;
mod basics;
mod churn;
mod count;
mod crowd;
mod drain;
mod expensive;
mod footprint;
mod handlers;
mod hot_room;
mod join_storm;
mod lag_storm;
mod many;
mod parked;
mod publish;
mod rooms;
mod stalled;
mod tasks;
mod threads;
mod wakers;

pub use self::count::count;

/// Adds a case for each of these contenders: the body sees the contender as a type of the name it gives.
macro_rules! each {
    ($cases:ident, $workload:expr, $name:expr;
     $($label:literal => $contender:ty),* $(,)?;
     |$effort:ident, $type:ident| $body:expr) => {
        $($cases.add($workload, $name, $label, move |$effort| {
            type $type = $contender;
            $body
        });)*
    };
}
use each;
use harness::measure::Cases;

/// The tables, in the order of the report.
pub const TITLES: &[(&str, &str)] = &[
    ("basics", "what nobody can do without"),
    ("L1", "publish, with subscribers that do not read"),
    ("L1-parked", "publish, with subscribers that sleep"),
    ("L2", "bursts of 64, drained by 100 subscribers in one thread"),
    ("L3", "from thread to thread"),
    ("L4", "a task or a handler for every subscriber"),
    ("L5", "several publishers"),
    ("L6", "a thousand rooms with four subscribers each"),
    ("L7", "coming and going"),
    ("W8", "a reader that has stopped"),
    ("W9", "25,000 subscribers in one room, and in fifty"),
    ("W10", "a storm of joins, each to be told the last 100"),
    ("W11", "messages that are expensive to clone or to drop"),
    ("W12", "idle rooms and subscribers"),
    ("W13", "all readers too slow"),
];

/// All cases, in the order of the report.
pub fn all() -> Cases {
    let mut cases = Cases::default();
    basics::add(&mut cases);
    publish::add(&mut cases);
    wakers::add(&mut cases);
    parked::add(&mut cases);
    drain::add(&mut cases);
    across::add(&mut cases);
    tasks::add(&mut cases);
    handlers::add(&mut cases);
    many::add(&mut cases);
    rooms::add(&mut cases);
    churn::add(&mut cases);
    stalled::add(&mut cases);
    hot_room::add(&mut cases);
    join_storm::add(&mut cases);
    expensive::add(&mut cases);
    footprint::add(&mut cases);
    lag_storm::add(&mut cases);
    cases
}
