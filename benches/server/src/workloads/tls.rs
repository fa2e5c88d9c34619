//! What TLS costs: the same rows with it and without, of ours and of uWebSockets.

use harness::measure::Cases;
use harness::targets::Bound::MostTimes;
use harness::targets::Target;

use super::{CPU, churn, each, fan_out, idle};
use crate::contenders::{BUN, BUN_TLS, Contender, ROOMCAST, ROOMCAST_TLS};

const WORKLOAD: &str = "tls";
const BURST: &str = "a delivery: members: 100, 128 B, 32 in flight";
const SINGLE: &str = "a delivery: members: 100, 128 B, 1 in flight";
const IDLE: &str = "a connection at rest";
const HANDSHAKE: &str = "connect + join + leave";

const MEMBERS: usize = 100;
const BYTES: usize = 128;

const CONTENDERS: &[Contender] = &[ROOMCAST, ROOMCAST_TLS, BUN, BUN_TLS];

pub(super) fn add(cases: &mut Cases) {
    for (name, in_flight) in [(BURST, 32), (SINGLE, 1)] {
        each(cases, WORKLOAD, name, CONTENDERS, move |contender, effort| {
            fan_out::measure(contender, effort, MEMBERS, BYTES, in_flight)
        });
    }
    each(cases, WORKLOAD, IDLE, CONTENDERS, idle::measure);
    each(cases, WORKLOAD, HANDSHAKE, CONTENDERS, churn::measure);
}

pub(super) fn aim(targets: &mut Vec<Target>) {
    for (row, figure) in [(BURST, CPU), (SINGLE, CPU), (IDLE, idle::MEMORY), (HANDSHAKE, churn::CPU)] {
        let bound = MostTimes(1.0, row, BUN_TLS.name);
        targets.push(Target { of: (WORKLOAD, row, ROOMCAST_TLS.name, figure), bound, beside: None });
    }
}
