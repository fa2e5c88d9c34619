//! What TLS costs: the same rows with it and without, of ours and of uWebSockets.

use harness::measure::Cases;
use harness::targets::Bound::MostTimes;
use harness::targets::Target;

use super::{CPU, churn, each, fan_out, idle};
use crate::contenders::{BUN, BUN_TLS, Contender, ROOMCAST, ROOMCAST_TLS};

const WORKLOAD: &str = "tls";
const BURST: &str = "a delivery: members: 100, 128 B, 32 in flight";
const SAME_BYTES: &str = "a delivery: members: 100, 265 B on the wire, 32 in flight";
const SINGLE: &str = "a delivery: members: 100, 128 B, 1 in flight";
const IDLE: &str = "a connection at rest";
const HANDSHAKE: &str = "connect + join + leave";

const MEMBERS: usize = 100;
const BYTES: usize = 128;

/// What Bun sends that it has as many bytes to encrypt for each message as there are with the envelope of the protocol: 265 with the head
/// of its frame.
const BYTES_ENVELOPED: usize = 261;

const CONTENDERS: &[Contender] = &[ROOMCAST, ROOMCAST_TLS, BUN, BUN_TLS];

pub(super) fn add(cases: &mut Cases) {
    for (name, in_flight) in [(BURST, 32), (SINGLE, 1)] {
        each(cases, WORKLOAD, name, CONTENDERS, move |contender, effort| {
            fan_out::measure(contender, effort, MEMBERS, BYTES, in_flight)
        });
    }
    each(cases, WORKLOAD, SAME_BYTES, &[ROOMCAST_TLS, BUN_TLS], |contender, effort| {
        let bytes = if contender == BUN_TLS { BYTES_ENVELOPED } else { BYTES };
        fan_out::measure(contender, effort, MEMBERS, bytes, 32)
    });
    each(cases, WORKLOAD, IDLE, CONTENDERS, idle::measure);
    each(cases, WORKLOAD, HANDSHAKE, CONTENDERS, churn::measure);
}

pub(super) fn aim(targets: &mut Vec<Target>) {
    for (row, figure) in [(BURST, CPU), (SAME_BYTES, CPU), (SINGLE, CPU), (IDLE, idle::MEMORY), (HANDSHAKE, churn::CPU)]
    {
        let bound = MostTimes(1.0, row, BUN_TLS.name);
        targets.push(Target { of: (WORKLOAD, row, ROOMCAST_TLS.name, figure), bound, beside: None });
    }
}
