//! L6: a thousand rooms with four subscribers each; a message into one of them, which its subscribers read.

use std::time::Instant;

use harness::machine::nanos;
use harness::measure::{Cases, Effort, Figure, figure};

use super::each;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::bus::Seats;
use crate::contenders::channels::{Crossbeam, PerSubscriber, TokioMpsc};
use crate::contenders::disruptor::{ManyProducers, OneProducer};
use crate::contenders::registry::DashMapOfMpsc;
use crate::contenders::ringcast::Ringcast;
use crate::contenders::roomcast::{Exclusive, Shared};
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{CAPACITY, Contender, drain, finish};
use crate::tally::Tally;

const TABLE: &str = "L6";
const ROOMS: usize = 1_000;
const READERS: usize = 4;

/// Which room is next.
#[derive(Clone, Copy)]
enum Choice {
    Uniform,
    /// The n-th room in proportion to 1/n.
    Zipf,
}

pub fn add(cases: &mut Cases) {
    for (choice, name) in [(Choice::Uniform, "uniform"), (Choice::Zipf, "Zipf")] {
        each!(cases, TABLE, name;
            "roomcast" => Shared, "roomcast exclusive" => Exclusive, "tokio" => Tokio,
            "async-broadcast" => AsyncBroadcast, "bus" => Seats, "disruptor 1P" => OneProducer,
            "disruptor MP" => ManyProducers, "ringcast" => Ringcast, "crossbeam each" => PerSubscriber<Crossbeam>,
            "tokio mpsc each" => PerSubscriber<TokioMpsc>, "DashMap of mpsc" => DashMapOfMpsc;
            |effort, C| deliver::<C>(choice, effort));
    }
}

/// A sequence of numbers that looks random and is the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Rooms in the order in which they are published into, decided beforehand.
fn turns(choice: Choice) -> Vec<usize> {
    const TURNS: usize = 1 << 16;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let weights = (1..=ROOMS).map(|rank| match choice {
        Choice::Uniform => 1.0,
        Choice::Zipf => 1.0 / rank as f64,
    });
    let mut sum = 0.0;
    let borders: Vec<f64> = weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    (0..TURNS).map(|_| borders.partition_point(|border| *border < random.fraction() * sum).min(ROOMS - 1)).collect()
}

fn deliver<C: Contender<u64>>(choice: Choice, effort: Effort) -> Vec<Figure> {
    const MESSAGES: usize = 4_096;
    let mut rooms = C::open_many(ROOMS, CAPACITY, READERS);
    let mut tallies = vec![vec![Tally::from(0); READERS]; ROOMS];
    let mut next = vec![0; ROOMS];
    let turns = turns(choice);
    let mut turn = turns.iter().cycle();
    let each = effort.median(|| {
        let begin = Instant::now();
        for &room in turn.by_ref().take(MESSAGES) {
            let (publisher, readers) = &mut rooms[room];
            C::publish(publisher, next[room]);
            next[room] += 1;
            for (reader, tally) in readers.iter_mut().zip(&mut tallies[room]) {
                drain::<u64, C>(reader, tally);
            }
        }
        nanos(begin.elapsed()) / (MESSAGES * READERS) as f64
    });
    for (((_publisher, readers), tallies), end) in rooms.into_iter().zip(tallies).zip(next) {
        assert!(tallies.iter().all(|tally| tally.lagged() == 0), "every message was read at once");
        finish::<u64, C>(readers, tallies, end);
    }
    vec![figure("deliveries", "M/s", 1e3 / each)]
}
