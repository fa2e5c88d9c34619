//! What the lab itself costs: its own work without a target.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::load::DeliveryChecker;
use super::network;
use super::recorder::Recorder;
use super::result::OwnCost;
use super::run_state::{RunState, Tally};
use super::scenario::Load;
use super::{Fault, library};

/// Everything, for messages of usual size.
pub(super) fn measure(with_network: bool) -> Result<OwnCost, Fault> {
    let load = Load::default();
    let network_receive_ns = with_network.then(|| network::own_cost(&load)).transpose()?;
    Ok(OwnCost { publish_ns: publish_ns(&load), receive_ns: receive_ns(&load), network_receive_ns })
}

/// Nanoseconds to make a message and to count it, without publishing it.
pub(super) fn publish_ns(load: &Load) -> f64 {
    let (state, size) = (RunState::new(1), load.size);
    let tally = state.tally();
    time(|nth| {
        let due = if nth % 16 == 0 { state.clock.now() } else { 0 };
        drop(black_box(library::Message::new(0, nth, due, size)));
        tally.published.add(1);
    })
}

/// Nanoseconds to check a message that is there and to count it.
pub(super) fn receive_ns(load: &Load) -> f64 {
    let messages: Vec<_> = (0..64).map(|nth| library::Message::new(0, nth, 0, load.size)).collect();
    let (tally, clock) = (Tally::default(), Clock::start());
    let (mut checker, mut times) = (DeliveryChecker::from_now(1), Recorder::new());
    time(|nth| {
        let message = black_box(&messages[nth as usize % 64]);
        checker.receive(0, nth, Some(nth));
        black_box(message.is_whole());
        if nth % 64 == 0 {
            times.record(clock.now());
            tally.delivered.add(64);
        }
    })
}

/// Runs `work` for a while; nanoseconds each time, of the quickest stretch.
fn time(mut work: impl FnMut(u64)) -> f64 {
    let (end, mut nth, mut best) = (Instant::now() + WHILE, 0, f64::INFINITY);
    while Instant::now() < end {
        let begin = Instant::now();
        for _ in 0..STRETCH {
            work(nth);
            nth += 1;
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / STRETCH as f64);
    }
    (best * 100.0).round() / 100.0
}

const WHILE: Duration = Duration::from_millis(8);
const STRETCH: u64 = 1_000;
