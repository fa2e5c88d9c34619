//! A shard on a thread of its own: how it looks for work before it sleeps.

use std::task::Waker;

use super::executor::Shard;
use crate::sync::{Signal, spin_loop, yield_now};

/// Looks in quick succession, for an answer that is on its way: a microsecond. Where each look is a step of a schedule, one.
const QUICK_LOOKS: u32 = if cfg!(roomcast_shuttle) { 1 } else { 100 };

/// Looks after that, each behind everybody else who wants the core. All together some 50 microseconds where nobody does, a
/// few times what waking a thread costs.
const PATIENT_LOOKS: u32 = if cfg!(roomcast_shuttle) { 0 } else { 100 };

/// How long messages of a stream are let gather: half a microsecond.
const GATHER_PAUSES: u32 = if cfg!(roomcast_shuttle) { 1 } else { 50 };

/// Messages of one room in one turn that make a stream.
const STREAM_RUN: usize = 4;

/// So many times the thread looks at once before it tries whether letting messages gather makes a stream of them.
const TRIES: u32 = 64;

/// Runs a shard on this thread until it is told to stop.
pub(crate) fn run_on_thread<T: 'static>(mut shard: Shard<T>) {
    let signal = Signal::for_this_thread();
    let waker = Waker::from(signal.clone());
    let mut turns = 0u32;
    loop {
        if shard.serve_lingering() {
            if shard.is_done() {
                return;
            }
            continue;
        }
        turns = turns.wrapping_add(1);
        // Each look at a message that was just published takes its cache line from the publisher. In a stream it is cheaper
        // for both to let some gather.
        if shard.longest_run() >= STREAM_RUN || turns.is_multiple_of(TRIES) {
            (0..GATHER_PAUSES).for_each(|_| spin_loop());
        }
        if !look_around(&mut shard) && shard.may_sleep(&waker) {
            signal.wait();
        }
    }
}

/// Waits a moment for something to do; false if nothing came.
fn look_around<T: 'static>(shard: &mut Shard<T>) -> bool {
    let mut look_after = |wait: fn()| {
        wait();
        shard.has_work()
    };
    (0..QUICK_LOOKS).any(|_| look_after(spin_loop)) || (0..PATIENT_LOOKS).any(|_| look_after(yield_now))
}
