//! L3: from one thread to another, each on a core of its own.

use std::time::{Duration, Instant};
use std::{hint, thread};

use bytes::Bytes;
use harness::machine::{nanos, pin};
use harness::measure::{Cases, Effort, Figure, figure};
use hdrhistogram::Histogram;

use super::each;
use super::threads::{Wait, across, across_sleeping};
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::bus::Seats;
use crate::contenders::channels::{Crossbeam, Flume, PerSubscriber, Thingbuf, TokioMpsc};
use crate::contenders::disruptor::{ManyProducers, OneProducer};
use crate::contenders::ringcast::Ringcast;
use crate::contenders::roomcast::{Exclusive, Shared, Slices};
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Contender, drain};
use crate::tally::{Payload, Tally};

const TABLE: &str = "L3";

pub fn add(cases: &mut Cases) {
    for wait in [Wait::Spin, Wait::BackOff] {
        throughput::<u64>(cases, wait);
        let name = &name::<u64>(wait);
        each!(cases, TABLE, name; "ringcast" => Ringcast; |effort, C| rate(across::<u64, C>(1, wait, effort.time())));
        each!(cases, TABLE, name; "ringcast x16" => Ringcast; |effort, C| rate(across::<u64, C>(16, wait, effort.time())));
        throughput::<Bytes>(cases, wait);
    }
    sleeping::<u64>(cases);
    sleeping::<Bytes>(cases);
    each!(cases, TABLE, "u64, latency at 100,000/s";
        "roomcast" => Shared, "roomcast exclusive" => Exclusive, "tokio" => Tokio,
        "async-broadcast" => AsyncBroadcast, "bus" => Seats, "disruptor 1P" => OneProducer,
        "disruptor MP" => ManyProducers, "ringcast" => Ringcast, "crossbeam each" => PerSubscriber<Crossbeam>,
        "tokio mpsc each" => PerSubscriber<TokioMpsc>, "flume each" => PerSubscriber<Flume>;
        |effort, C| latency::<C>(effort));
    cases.lack(TABLE, "disruptor and ringcast, sleeping", "they have no reader that sleeps");
    cases.lack(TABLE, "thingbuf each, sleeping", "its channels for threads are another type than those for tasks");
    cases.lack(TABLE, "ringcast with Bytes", "takes `Copy` types only");
}

fn name<T: Payload>(wait: Wait) -> String {
    let how = if wait == Wait::Spin { "spinning" } else { "backing off" };
    format!("{}, {how}", T::NAME)
}

fn rate(millions: f64) -> Vec<Figure> {
    vec![figure("messages", "M/s", millions)]
}

fn throughput<T: Payload>(cases: &mut Cases, wait: Wait) {
    let name = &name::<T>(wait);
    each!(cases, TABLE, name;
        "roomcast" => Shared, "roomcast slices" => Shared<Slices>, "roomcast exclusive" => Exclusive,
        "roomcast exclusive slices" => Exclusive<Slices>;
        |effort, C| rate(across::<T, C>(1, wait, effort.time())));
    each!(cases, TABLE, name;
        "roomcast x16" => Shared, "roomcast exclusive x16 slices" => Exclusive<Slices>, "roomcast exclusive x16" => Exclusive;
        |effort, C| rate(across::<T, C>(16, wait, effort.time())));
    each!(cases, TABLE, name;
        "tokio" => Tokio, "async-broadcast" => AsyncBroadcast, "bus" => Seats, "disruptor 1P" => OneProducer,
        "disruptor MP" => ManyProducers, "crossbeam each" => PerSubscriber<Crossbeam>,
        "tokio mpsc each" => PerSubscriber<TokioMpsc>, "flume each" => PerSubscriber<Flume>,
        "thingbuf each" => PerSubscriber<Thingbuf>;
        |effort, C| rate(across::<T, C>(1, wait, effort.time())));
    each!(cases, TABLE, name;
        "disruptor 1P x16" => OneProducer;
        |effort, C| rate(across::<T, C>(16, wait, effort.time())));
}

fn sleeping<T: Payload>(cases: &mut Cases) {
    let name = format!("{}, sleeping", T::NAME);
    each!(cases, TABLE, &name;
        "roomcast" => Shared, "roomcast exclusive" => Exclusive, "tokio" => Tokio,
        "async-broadcast" => AsyncBroadcast, "bus" => Seats, "crossbeam each" => PerSubscriber<Crossbeam>,
        "tokio mpsc each" => PerSubscriber<TokioMpsc>, "flume each" => PerSubscriber<Flume>;
        |effort, C| rate(across_sleeping::<T, C>(1, effort.time())));
    each!(cases, TABLE, &name; "roomcast exclusive x16" => Exclusive;
        |effort, C| rate(across_sleeping::<T, C>(16, effort.time())));
}

/// A message every ten microseconds, whatever becomes of the last one: a message's time runs from when it was due.
fn latency<C: Contender<u64>>(effort: Effort) -> Vec<Figure> {
    const APART: Duration = Duration::from_micros(10);
    let count: u32 = effort.choose(30_000, 6_000);
    let (mut publisher, mut readers) = C::open(1);
    let mut reader = readers.pop().expect("one was asked for");
    // In the future, so that both are there when the first is due.
    let begin = Instant::now() + Duration::from_millis(5);
    let reading = thread::spawn(move || {
        pin(1);
        let mut tally = Tally::from(0);
        let mut histogram = Histogram::<u64>::new_with_max(60_000_000_000, 3).expect("a minute in three digits");
        while tally.next() < u64::from(count) {
            let got = C::read(&mut reader, &mut tally);
            if got == 0 {
                hint::spin_loop();
                continue;
            }
            let now = begin.elapsed();
            for sequence in tally.next() - got as u64..tally.next() {
                let due = APART * sequence as u32;
                histogram.saturating_record(nanos(now.saturating_sub(due)) as u64);
            }
        }
        drain::<u64, C>(&mut reader, &mut tally);
        tally.check(u64::from(count));
        C::compare(&reader, &tally);
        histogram
    });
    pin(0);
    for number in 0..count {
        while Instant::now() < begin + APART * number {
            hint::spin_loop();
        }
        C::publish(&mut publisher, u64::from(number));
    }
    let histogram = reading.join().expect("the reader's books are right");
    let at = |quantile| histogram.value_at_quantile(quantile) as f64;
    vec![figure("p50", "ns", at(0.5)), figure("p99", "ns", at(0.99))]
}
