//! What roomcast is to reach, with the rival's figure that each target was set beside.

use harness::targets::Bound::{self, Least, LeastTimes, Most, MostTimes};
use harness::targets::Target;

const fn target(
    of: (&'static str, &'static str, &'static str, &'static str),
    bound: Bound,
    beside: Option<(&'static str, f64)>,
) -> Target {
    Target { of, bound, beside }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target(("L1", "u64, 1 unread", "roomcast", "publish"), Most(12.0), Some(("tokio", 26.0))),
    target(("L1", "u64, 1 unread", "roomcast exclusive", "publish"), Most(7.5), Some(("tokio", 26.0))),
    target(("L1", "u64, 1 unread", "roomcast exclusive x16", "publish"), Most(2.0), Some(("tokio", 26.0))),
    target(("L1", "u64, 1 unread", "roomcast exclusive x64", "publish"), Most(2.0), Some(("tokio", 26.0))),
    target(("L1", "u64, 10,000 unread", "roomcast", "publish"), Most(12.0), Some(("tokio", 26.0))),
    target(("L1", "u64, 100,000 unread", "roomcast", "publish"), MostTimes(1.1, "u64, 1 unread", "roomcast"), None),
    target(
        ("L1", "u64, 100,000 unread", "roomcast exclusive", "publish"),
        MostTimes(1.1, "u64, 1 unread", "roomcast exclusive"),
        None,
    ),
    target(("L1", "Bytes, 1 unread", "roomcast", "publish"), Most(22.0), Some(("tokio", 32.0))),
    target(("L1", "Bytes, 1 unread", "roomcast exclusive", "publish"), Most(14.0), Some(("tokio", 32.0))),
    target(("L1", "Bytes, 1 unread", "roomcast exclusive x16", "publish"), Most(9.0), Some(("tokio", 32.0))),
    target(("L1", "Bytes, 1 unread", "roomcast exclusive x64", "publish"), Most(9.0), Some(("tokio", 32.0))),
    target(("L1-parked", "handlers, shard awake: 1", "roomcast", "publish"), Most(60.0), None),
    target(("L1-parked", "handlers, shard awake: 100", "roomcast", "publish"), Most(60.0), None),
    target(("L1-parked", "handlers, shard awake: 10,000", "roomcast", "publish"), Most(60.0), None),
    target(("L1-parked", "handlers, shard asleep: 1", "roomcast", "publish"), Most(16_000.0), None),
    target(("L1-parked", "handlers, shard asleep: 100", "roomcast", "publish"), Most(16_000.0), None),
    target(("L1-parked", "handlers, shard asleep: 10,000", "roomcast", "publish"), Most(16_000.0), None),
    target(
        ("L1-parked", "wakers, shard awake: 1", "roomcast", "publish"),
        MostTimes(1.2, "wakers, shard awake: 1", "tokio"),
        None,
    ),
    target(
        ("L1-parked", "wakers, shard awake: 16", "roomcast", "publish"),
        MostTimes(1.2, "wakers, shard awake: 16", "tokio"),
        None,
    ),
    target(("L1-parked", "wakers, shard awake: 100", "roomcast", "publish"), Most(60.0), Some(("tokio", 361.0))),
    target(("L1-parked", "wakers, shard awake: 10,000", "roomcast", "publish"), Most(60.0), Some(("tokio", 33_000.0))),
    target(("L1-parked", "wakers, shard asleep: 100", "roomcast", "publish"), Most(16_000.0), None),
    target(
        ("L1-parked", "wakers, shard asleep: 10,000", "roomcast", "publish"),
        Most(16_000.0),
        Some(("tokio", 33_000.0)),
    ),
    target(
        ("L1-parked", "wakers, shard asleep: 10,000", "roomcast", "until the last has it"),
        MostTimes(1.0, "wakers, shard asleep: 10,000", "tokio"),
        None,
    ),
    target(("L1-parked", "tasks asleep: 1", "roomcast", "publish"), MostTimes(1.2, "tasks asleep: 1", "tokio"), None),
    target(("L1-parked", "tasks asleep: 16", "roomcast", "publish"), MostTimes(1.2, "tasks asleep: 16", "tokio"), None),
    target(("L1-parked", "tasks asleep: 100", "roomcast", "publish"), Most(16_000.0), None),
    target(
        ("L1-parked", "tasks asleep: 10,000", "roomcast", "publish"),
        MostTimes(1.1, "tasks asleep: 100", "roomcast"),
        None,
    ),
    target(
        ("L1-parked", "tasks asleep: 10,000", "roomcast", "until the last has it"),
        MostTimes(1.0, "tasks asleep: 10,000", "tokio"),
        None,
    ),
    target(("L2", "u64", "roomcast", "delivery"), Most(1.1), Some(("tokio", 12.1))),
    target(("L2", "u64", "roomcast slices", "delivery"), Most(0.9), Some(("tokio", 12.1))),
    target(("L2", "Bytes", "roomcast", "delivery"), Most(1.3), Some(("tokio", 23.2))),
    target(("L2", "Bytes", "roomcast cloned", "delivery"), Most(14.5), Some(("tokio", 23.2))),
    target(("L2", "u64, counted", "roomcast", "instructions"), Most(20.0), Some(("tokio", 79.0))),
    target(("L3", "u64, spinning", "roomcast", "messages"), Least(12.0), Some(("tokio", 3.2))),
    target(("L3", "u64, spinning", "roomcast exclusive", "messages"), Least(20.0), Some(("tokio", 3.2))),
    target(("L3", "u64, spinning", "roomcast exclusive x16", "messages"), Least(100.0), Some(("tokio", 3.2))),
    target(("L3", "u64, backing off", "roomcast", "messages"), Least(26.0), Some(("tokio", 3.8))),
    target(("L3", "u64, backing off", "roomcast exclusive", "messages"), Least(30.0), Some(("tokio", 3.8))),
    target(("L3", "u64, backing off", "roomcast exclusive x16", "messages"), Least(100.0), Some(("tokio", 3.8))),
    target(("L3", "Bytes, spinning", "roomcast", "messages"), Least(8.0), Some(("tokio", 2.3))),
    target(("L3", "Bytes, spinning", "roomcast exclusive", "messages"), Least(12.0), Some(("tokio", 2.3))),
    target(("L3", "u64, latency at 100,000/s", "roomcast", "p50"), Most(190.0), Some(("disruptor 1P", 170.0))),
    target(
        ("L4", "tasks: 1, windows of 1", "roomcast", "deliveries"),
        LeastTimes(1.0, "tasks: 1, windows of 1", "tokio"),
        None,
    ),
    target(
        ("L4", "tasks: 1, windows of 64", "roomcast", "deliveries"),
        LeastTimes(1.0, "tasks: 1, windows of 64", "tokio"),
        None,
    ),
    target(("L4", "tasks: 100, windows of 1", "roomcast", "deliveries"), Least(4.1), Some(("tokio", 3.0))),
    target(("L4", "tasks: 100, windows of 64", "roomcast", "deliveries"), Least(28.0), Some(("tokio", 12.7))),
    target(("L4", "handlers: 100, windows of 1", "roomcast", "deliveries"), Least(100.0), None),
    target(("L4", "handlers: 100, windows of 1", "roomcast, one shard", "deliveries"), Least(100.0), None),
    target(("L4", "handlers: 100, windows of 1", IN_RUNTIME, "deliveries"), Least(100.0), None),
    target(("L4", "handlers: 1,000, windows of 1", "roomcast", "deliveries"), Least(250.0), None),
    target(("L4", "handlers: 1,000, windows of 1", "roomcast, one shard", "deliveries"), Least(250.0), None),
    target(("L4", "handlers: 1,000, windows of 1", IN_RUNTIME, "deliveries"), Least(250.0), None),
    target(
        ("L5", "u64, publishers: 4, subscribers: 4", "roomcast", "messages"),
        LeastTimes(1.0, "u64, publishers: 4, subscribers: 4", "disruptor MP"),
        None,
    ),
    target(("L6", "uniform", "roomcast", "deliveries"), Least(25.0), Some(("tokio", 13.6))),
    target(("L7", "full speed beside come and go", "roomcast", "rate kept"), Least(85.0), None),
    target(("L7", "full speed beside come and go", "roomcast", "come and go"), Least(1.3), Some(("tokio", 1.3))),
    target(("L7", "come and go, members: 1", "roomcast", "subscribe and drop"), Most(250.0), None),
    target(("L7", "come and go, members: 100,000", "roomcast", "subscribe and drop"), Most(250.0), None),
    target(("W8", "does not poll", "roomcast", "rate kept"), Least(98.0), None),
    target(("W8", "holds a message", "roomcast", "rate kept"), Least(98.0), None),
    target(("W8", STALLED, "roomcast", "segments more, each"), Most(1.0), None),
    target(
        ("W8", "u64, counted", "roomcast, one holds a message", "instructions"),
        MostTimes(1.02, "u64, counted", "roomcast"),
        None,
    ),
    target(
        ("W9", "1 × 25,000 handlers", "roomcast", "until the last has it"),
        MostTimes(1.3, "50 × 500 handlers", "roomcast"),
        None,
    ),
    target(
        ("W9", "1 × 25,000 tasks", "roomcast", "until the last has it"),
        MostTimes(1.3, "50 × 500 tasks", "roomcast"),
        None,
    ),
    target(("W12", "heap, capacity 64, more", "roomcast", "room beyond its name"), Most(200.0), None),
    target(("W12", "heap, capacity 64, more", "roomcast", "with a subscriber"), Most(300.0), None),
    target(("W12", "heap, capacity 64, more", "roomcast", "with a subscriber, after a message"), Most(600.0), None),
    target(("W12", "heap, capacity 64", "roomcast", "each further"), Most(96.0), None),
    target(("W12", LOOK_UP, "roomcast", "look up and publish"), Most(65.0), Some(("DashMap of mpsc", 124.0))),
    target(("W12", IDLE, "roomcast", "processor"), Most(0.2), None),
];

const IN_RUNTIME: &str = "roomcast, in the publisher's runtime";
const STALLED: &str = "memory, 10 hold a message of their own segment";
const LOOK_UP: &str = "look up one of a million and publish";
const IDLE: &str = "idle: 1,000 rooms, 1,000 tasks and 1,000 handlers asleep";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads;

    #[test]
    fn every_target_is_of_a_case_that_is_measured() {
        let cases = workloads::all().all;
        let is_case = |workload: &str, name: &str, contender: &str| {
            cases.iter().any(|case| case.workload == workload && case.name == name && case.contender == contender)
        };
        for target in TARGETS {
            let (workload, name, contender, _) = target.of;
            assert!(is_case(workload, name, contender), "{workload} | {name} | {contender}");
            if let MostTimes(_, row, who) | LeastTimes(_, row, who) = target.bound {
                assert!(is_case(workload, row, who), "{workload} | {row} | {who}");
            }
            if let Some((rival, _)) = target.beside {
                assert!(is_case(workload, name, rival), "{workload} | {name} | {rival}");
            }
        }
    }

    #[test]
    fn no_two_cases_have_the_same_key() {
        let mut keys: Vec<_> = workloads::all().all.iter().map(harness::measure::Case::key).collect();
        keys.sort();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
