//! L2: bursts of 64, and a hundred subscribers that drain them in the same thread.

use std::time::Instant;

use bytes::Bytes;
use harness::machine::nanos;
use harness::measure::{Cases, Effort, Figure, figure};

use super::count::add_deliveries;
use super::each;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::bus::Seats;
use crate::contenders::channels::{Crossbeam, PerSubscriber, TokioMpsc};
use crate::contenders::disruptor::{ManyProducers, OneProducer};
use crate::contenders::ringcast::Ringcast;
use crate::contenders::roomcast::{Cloned, Exclusive, Shared, Slices};
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Contender, drain, finish};
use crate::tally::{Payload, Tally};

const TABLE: &str = "L2";
pub const READERS: usize = 100;
pub const BURST: u64 = 64;

pub fn add(cases: &mut Cases) {
    add_for::<u64>(cases);
    each!(cases, TABLE, u64::NAME; "ringcast" => Ringcast; |effort, C| deliver::<u64, C>(effort));
    add_for::<Bytes>(cases);
    add_deliveries(cases);
    cases.lack(TABLE, "ringcast with Bytes", "takes `Copy` types only");
}

fn add_for<T: Payload>(cases: &mut Cases) {
    each!(cases, TABLE, T::NAME;
        "roomcast" => Shared, "roomcast slices" => Shared<Slices>, "roomcast cloned" => Shared<Cloned>,
        "roomcast exclusive" => Exclusive, "roomcast exclusive slices" => Exclusive<Slices>,
        "tokio" => Tokio, "async-broadcast" => AsyncBroadcast, "bus" => Seats,
        "disruptor 1P" => OneProducer, "disruptor MP" => ManyProducers,
        "crossbeam each" => PerSubscriber<Crossbeam>, "tokio mpsc each" => PerSubscriber<TokioMpsc>;
        |effort, C| deliver::<T, C>(effort));
}

/// A room, its hundred readers and their books.
pub struct Scene<T: Payload, C: Contender<T>> {
    publisher: C::Publisher,
    readers: Vec<C::Reader>,
    tallies: Vec<Tally>,
    next: u64,
}

impl<T: Payload, C: Contender<T>> Scene<T, C> {
    pub fn new() -> Self {
        let (publisher, readers) = C::open(READERS);
        Self { publisher, readers, tallies: vec![Tally::from(0); READERS], next: 0 }
    }

    pub fn burst(&mut self) {
        for number in self.next..self.next + BURST {
            C::publish(&mut self.publisher, T::make(number));
        }
        self.next += BURST;
    }

    pub fn drain(&mut self) {
        self.readers.iter_mut().zip(&mut self.tallies).for_each(|(reader, tally)| drain::<T, C>(reader, tally));
    }

    pub fn finish(self) {
        finish::<T, C>(self.readers, self.tallies, self.next);
    }
}

pub fn deliver<T: Payload, C: Contender<T>>(effort: Effort) -> Vec<Figure> {
    let mut scene = Scene::<T, C>::new();
    let cost = effort.median(|| {
        scene.burst();
        let begin = Instant::now();
        scene.drain();
        nanos(begin.elapsed()) / (READERS as u64 * BURST) as f64
    });
    scene.finish();
    vec![figure("delivery", "ns", cost)]
}
