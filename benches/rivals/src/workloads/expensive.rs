//! W11: messages that are expensive to clone or to drop.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use harness::measure::Cases;

use super::drain::deliver;
use super::each;
use super::publish::publish;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::bus::Seats;
use crate::contenders::disruptor::OneProducer;
use crate::contenders::roomcast::{Exclusive, Shared, Slices};
use crate::contenders::tokio_broadcast::Tokio;
use crate::tally::Payload;

const TABLE: &str = "W11";

pub fn add(cases: &mut Cases) {
    each!(cases, TABLE, "a clone takes 1 µs, 100 drain bursts of 64";
        "roomcast" => Shared, "roomcast slices" => Shared<Slices>, "tokio" => Tokio,
        "async-broadcast" => AsyncBroadcast, "bus" => Seats, "disruptor 1P" => OneProducer;
        |effort, C| deliver::<SlowToClone, C>(effort));
    each!(cases, TABLE, "a Vec of 64 KiB, 100 drain bursts of 64";
        "roomcast" => Shared, "roomcast slices" => Shared<Slices>, "tokio" => Tokio,
        "async-broadcast" => AsyncBroadcast, "bus" => Seats, "disruptor 1P" => OneProducer;
        |effort, C| deliver::<Large, C>(effort));
    each!(cases, TABLE, "a drop takes 1 µs, publish with 1 unread";
        "roomcast" => Shared, "roomcast exclusive" => Exclusive, "tokio" => Tokio,
        "async-broadcast" => AsyncBroadcast;
        |effort, C| publish::<SlowToDrop, C>(1, 1, effort));
    cases.lack(TABLE, "ringcast", "takes `Copy` types only");
}

fn work() {
    const WORK: Duration = Duration::from_micros(1);
    let begin = Instant::now();
    while begin.elapsed() < WORK {
        spin_loop();
    }
}

/// Whose clone takes a microsecond.
#[derive(Default)]
struct SlowToClone(u64);

impl Clone for SlowToClone {
    fn clone(&self) -> Self {
        work();
        Self(self.0)
    }
}

impl Payload for SlowToClone {
    const NAME: &'static str = "slow to clone";

    fn make(number: u64) -> Self {
        Self(number)
    }

    fn number(&self) -> u64 {
        self.0
    }
}

/// Whose drop takes a microsecond; what a slot holds before its first message costs nothing.
#[derive(Clone, Default)]
struct SlowToDrop(Option<u64>);

impl Drop for SlowToDrop {
    fn drop(&mut self) {
        if self.0.is_some() {
            work();
        }
    }
}

impl Payload for SlowToDrop {
    const NAME: &'static str = "slow to drop";

    fn make(number: u64) -> Self {
        Self(Some(number))
    }

    fn number(&self) -> u64 {
        self.0.unwrap_or_default()
    }
}

/// 64 KiB on the heap.
#[derive(Clone, Default)]
struct Large(Vec<u8>);

impl Payload for Large {
    const NAME: &'static str = "64 KiB";

    fn make(number: u64) -> Self {
        let mut bytes = vec![0; 64 << 10];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }

    fn number(&self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}
