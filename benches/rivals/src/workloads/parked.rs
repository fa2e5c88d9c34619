//! L1-parked: what a publish costs when everybody is asleep, and how long it takes until the last one has the message.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::machine::{clock_cost, nanos, wait_until};
use harness::measure::{Cases, Effort, Figure, figure, grouped, median};
use roomcast::Broker;

use super::crowd::Crowd;
use super::each;
use super::tasks::runtime;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::channels::{Flume, PerSubscriber, Thingbuf, TokioMpsc};
use crate::contenders::roomcast::Shared;
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Awaits, CAPACITY};
use crate::tally::Tally;

const TABLE: &str = "L1-parked";

/// How long the last of a crowd may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn add(cases: &mut Cases) {
    for sleepers in [1, 16, 100, 10_000] {
        each!(cases, TABLE, format!("tasks asleep: {}", grouped(sleepers));
            "roomcast" => Shared, "tokio" => Tokio, "async-broadcast" => AsyncBroadcast,
            "tokio mpsc each" => PerSubscriber<TokioMpsc>, "flume each" => PerSubscriber<Flume>,
            "thingbuf each" => PerSubscriber<Thingbuf>;
            |effort, C| tasks::<C>(1, sleepers, effort));
    }
    for members in [1, 100, 10_000] {
        let mut add = |name: String, is_awake: bool| {
            cases.add(TABLE, name, "roomcast", move |effort| handlers(members, is_awake, effort));
        };
        add(format!("handlers, shard asleep: {}", grouped(members)), false);
        add(format!("handlers, shard awake: {}", grouped(members)), true);
    }
    cases.lack(TABLE, "bus, disruptor, ringcast, crossbeam", "a task cannot sleep at them");
    cases.lack(TABLE, "everybody else, handlers", "they have none");
}

/// Until all who have received are asleep again.
pub fn settle(sleepers: usize) {
    thread::sleep(Duration::from_millis(2) + Duration::from_nanos(1_500) * sleepers as u32);
}

/// Until a shard that has just served its handlers has found nothing more, well before it sleeps.
pub fn pause() {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_micros(10) {
        spin_loop();
    }
}

/// So many tasks asleep in each of these rooms; a message into every room.
pub fn tasks<C: Awaits<u64>>(rooms: usize, each: usize, effort: Effort) -> Vec<Figure> {
    let sleepers = rooms * each;
    let (mut publishers, readers): (Vec<_>, Vec<_>) = C::open_many(rooms, CAPACITY, each).into_iter().unzip();
    let begin = Instant::now();
    let remaining = Arc::new(AtomicUsize::new(sleepers));
    let is_over = Arc::new(AtomicBool::new(false));
    let (report, reports) = mpsc::channel();
    let runtime = runtime();
    let subscriber = |mut reader: C::Reader| {
        let (remaining, is_over, report) = (remaining.clone(), is_over.clone(), report.clone());
        async move {
            let mut tally = Tally::from(0);
            while !is_over.load(Acquire) {
                C::read_async(&mut reader, &mut tally).await;
                if remaining.fetch_sub(1, AcqRel) == 1 {
                    let _ = report.send(begin.elapsed());
                }
            }
            C::compare(&reader, &tally);
            tally
        }
    };
    let subscribers: Vec<_> = readers.into_iter().flatten().map(|reader| runtime.spawn(subscriber(reader))).collect();
    let (mut calls, mut lasts) = (Vec::new(), Vec::new());
    let mut next = 0;
    loop {
        settle(sleepers);
        let is_last = calls.len() >= 5 && begin.elapsed() > 2 * effort.time();
        is_over.store(is_last, Release);
        remaining.store(sleepers, Relaxed);
        let called_at = begin.elapsed();
        publishers.iter_mut().for_each(|publisher| C::publish(publisher, next));
        calls.push(nanos(begin.elapsed() - called_at));
        let last_at = reports.recv_timeout(PATIENCE).expect("all receive in time");
        lasts.push(nanos(last_at - called_at));
        next += 1;
        if is_last {
            break;
        }
    }
    let tallies = runtime.block_on(join_all(subscribers));
    tallies.into_iter().for_each(|tally| tally.expect("the subscriber ended well").check(next));
    figures(&mut calls, &mut lasts)
}

/// With one shard, so that it is known who is awake.
fn handlers(members: usize, is_awake: bool, effort: Effort) -> Vec<Figure> {
    let broker = Broker::<u64>::builder().shards(1).build();
    let rooms = [broker.room("crowd").expect("a new broker has space")];
    let mut crowd = futures::executor::block_on(Crowd::join(&rooms, members));
    crowd.gather_blocking(&rooms, 1);
    let begin = Instant::now();
    let (mut calls, mut lasts) = (Vec::new(), Vec::new());
    for round in 1.. {
        if is_awake {
            // The shard has nothing to do any more and looks around for some 50 µs before it sleeps.
            pause();
        } else {
            settle(members);
        }
        let called_at = crowd.now();
        rooms[0].publish(round).expect("the room is open");
        calls.push(crowd.now() - called_at);
        wait_until(|| crowd.have_done(round));
        lasts.push(crowd.done_at() - called_at);
        if calls.len() >= 5 && begin.elapsed() > 2 * effort.time() {
            break;
        }
    }
    crowd.leave(broker, calls.len() as u64 + 1);
    figures(&mut calls, &mut lasts)
}

/// What a publish costs its caller, and how long it takes until the last one knows.
pub fn figures(calls: &mut [f64], lasts: &mut [f64]) -> Vec<Figure> {
    let publish = (median(calls) - clock_cost()).max(0.0);
    vec![figure("publish", "ns", publish), figure("until the last has it", "µs", median(lasts) / 1e3)]
}
