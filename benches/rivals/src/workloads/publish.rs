//! L1: what a publish costs with subscribers that do not read. Who waits for the slowest reader publishes no more than
//! fits, and its readers catch up off the clock.

use std::time::Instant;

use bytes::Bytes;
use harness::machine::{nanos, process_cpu};
use harness::measure::{Cases, Effort, Figure, figure, grouped};

use super::each;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::bus::Seats;
use crate::contenders::channels::{Crossbeam, PerSubscriber, TokioMpsc};
use crate::contenders::disruptor::{ManyProducers, OneProducer};
use crate::contenders::ringcast::Ringcast;
use crate::contenders::roomcast::{Exclusive, Shared};
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{CAPACITY, Contender, drain, finish};
use crate::tally::{Payload, Tally};

const TABLE: &str = "L1";

pub fn add(cases: &mut Cases) {
    for unread in [1, 100, 10_000, 100_000] {
        add_for::<u64>(cases, unread);
        let name = name::<u64>(unread);
        if unread <= 10_000 {
            each!(cases, TABLE, &name; "ringcast" => Ringcast; |effort, C| publish::<u64, C>(unread, 1, effort));
            each!(cases, TABLE, &name; "ringcast x16" => Ringcast; |effort, C| publish::<u64, C>(unread, 16, effort));
        }
    }
    for unread in [1, 100, 10_000] {
        add_for::<Bytes>(cases, unread);
    }
    cases.lack(
        TABLE,
        "all but roomcast, tokio and async-broadcast",
        "not measured with 100,000: as with 10,000, or O(n)",
    );
    cases.lack(TABLE, "ringcast with Bytes", "takes `Copy` types only");
}

fn name<T: Payload>(unread: usize) -> String {
    format!("{}, {} unread", T::NAME, grouped(unread))
}

fn add_for<T: Payload>(cases: &mut Cases, unread: usize) {
    let name = &name::<T>(unread);
    each!(cases, TABLE, name;
        "roomcast" => Shared, "roomcast exclusive" => Exclusive;
        |effort, C| publish::<T, C>(unread, 1, effort));
    each!(cases, TABLE, name;
        "roomcast x16" => Shared, "roomcast exclusive x16" => Exclusive;
        |effort, C| publish::<T, C>(unread, 16, effort));
    each!(cases, TABLE, name;
        "roomcast x64" => Shared, "roomcast exclusive x64" => Exclusive;
        |effort, C| publish::<T, C>(unread, 64, effort));
    each!(cases, TABLE, name;
        "tokio" => Tokio, "async-broadcast" => AsyncBroadcast;
        |effort, C| publish::<T, C>(unread, 1, effort));
    if unread > 10_000 {
        return;
    }
    each!(cases, TABLE, name;
        "bus" => Seats, "disruptor 1P" => OneProducer, "disruptor MP" => ManyProducers,
        "crossbeam each" => PerSubscriber<Crossbeam>, "tokio mpsc each" => PerSubscriber<TokioMpsc>;
        |effort, C| publish::<T, C>(unread, 1, effort));
    each!(cases, TABLE, name; "disruptor 1P x16" => OneProducer; |effort, C| publish::<T, C>(unread, 16, effort));
}

pub fn publish<T: Payload, C: Contender<T>>(unread: usize, batch: usize, effort: Effort) -> Vec<Figure> {
    let (mut publisher, mut readers) = C::open(unread);
    let mut tallies = vec![Tally::from(0); unread];
    let mut next = 0;
    // Four laps at a time, so that looking at the clock costs nothing; one at most where the readers gate.
    let count = if C::IS_GATED { CAPACITY } else { 4 * CAPACITY };
    let cpu = process_cpu();
    let cost = effort.median(|| {
        let begin = Instant::now();
        for _ in 0..count / batch {
            if batch == 1 {
                C::publish(&mut publisher, T::make(next));
            } else {
                C::publish_batch(&mut publisher, next, batch);
            }
            next += batch as u64;
        }
        let took = nanos(begin.elapsed()) / count as f64;
        if C::IS_GATED {
            readers.iter_mut().zip(&mut tallies).for_each(|(reader, tally)| drain::<T, C>(reader, tally));
        }
        took
    });
    let mut figures = vec![figure("publish", "ns", cost)];
    if !C::IS_GATED {
        figures.push(figure("process CPU", "ns", nanos(process_cpu() - cpu) / next as f64));
    }
    finish::<T, C>(readers, tallies, next);
    figures
}
