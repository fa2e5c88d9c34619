//! W8: a reader that has stopped. What it costs the publisher, and what it keeps in memory.

use std::time::{Duration, Instant};

use harness::measure::{Cases, Effort, Figure, figure, heap, median};
use roomcast::{Broker, Room, Start, Subscription, TryRecvError};

use super::count::add_publishes;
use super::each;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Contender, drain, finish};
use crate::tally::Tally;

const TABLE: &str = "W8";
const STALLED: usize = 10;

pub fn add(cases: &mut Cases) {
    cases.add(TABLE, "does not poll", "roomcast", |effort| rate_beside(|_| (), effort));
    cases.add(TABLE, "holds a message", "roomcast", |effort| rate_beside(hold, effort));
    each!(cases, TABLE, "does not poll"; "tokio" => Tokio, "async-broadcast" => AsyncBroadcast;
        |effort, C| rival_beside::<C>(effort));
    cases.counting(|cases| {
        cases.add(TABLE, "memory, 10 hold a message of their own segment", "roomcast", |_| memory());
    });
    add_publishes(cases);
    cases.lack(TABLE, "tokio and async-broadcast, holding a message", "they lend none: a receiver gets a clone");
    cases.lack(
        TABLE,
        "bus, disruptor, a channel per subscriber",
        "the publisher stops when the reader is a ring behind",
    );
}

/// Publishes for a while beside a subscriber that reads; messages a second.
fn rate(room: &Room<u64>, reader: &mut Subscription<u64>, tally: &mut Tally, next: &mut u64, time: Duration) -> f64 {
    const STEP: u64 = 64;
    let (begin, first) = (Instant::now(), *next);
    while begin.elapsed() < time {
        for _ in 0..16 {
            for number in *next..*next + STEP {
                assert!(room.publish(number).is_ok(), "the room is open");
            }
            *next += STEP;
            loop {
                match reader.try_recv_ref() {
                    Ok(message) => tally.see(message.sequence(), &*message),
                    Err(TryRecvError::Empty) => break,
                    Err(error) => panic!("it reads all the time: {error}"),
                }
            }
        }
    }
    (*next - first) as f64 / begin.elapsed().as_secs_f64()
}

fn hold(subscription: &mut Subscription<u64>) {
    // The lease on the segment lives as long as the subscription does not move on.
    assert_eq!(subscription.try_recv_ref().map(|message| *message), Ok(0));
}

/// Alternates between one stalled reader and none, and compares.
fn rate_beside(stall: fn(&mut Subscription<u64>), effort: Effort) -> Vec<Figure> {
    kept(effort, |is_stalled, time| {
        let broker = Broker::<u64>::new();
        let room = broker.room("stalled").expect("a new broker has space");
        let mut reader = room.subscribe().now().expect("the room is open");
        let mut stalled = room.subscribe().now().expect("the room is open");
        let mut tally = Tally::from(0);
        let mut next = 1;
        room.publish(0).expect("the room is open");
        stall(&mut stalled);
        let _stalled = is_stalled.then_some(stalled);
        // Until the segments are there.
        rate(&room, &mut reader, &mut tally, &mut next, time / 4);
        let rate = rate(&room, &mut reader, &mut tally, &mut next, time);
        tally.check(next);
        rate
    })
}

/// The same with somebody else's room, whose stalled reader only does not poll.
fn rival_beside<C: Contender<u64>>(effort: Effort) -> Vec<Figure> {
    kept(effort, |is_stalled, time| {
        let (mut publisher, mut readers) = C::open(1 + usize::from(is_stalled));
        let mut reader = readers.swap_remove(0);
        let mut tally = Tally::from(0);
        let mut next = 0;
        let begin = Instant::now();
        while begin.elapsed() < time {
            for _ in 0..1024 {
                C::publish(&mut publisher, next);
                next += 1;
                if next % 64 == 0 {
                    drain::<u64, C>(&mut reader, &mut tally);
                }
            }
        }
        let rate = next as f64 / begin.elapsed().as_secs_f64();
        tally.check(next);
        let tallies = vec![Tally::from(0); readers.len()];
        finish::<u64, C>(readers, tallies, next);
        rate
    })
}

/// The median rate with a stalled reader as a part of the one without.
fn kept(effort: Effort, mut rate: impl FnMut(bool, Duration) -> f64) -> Vec<Figure> {
    const TURNS: u32 = 16;
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for is_stalled in [false, true] {
            rates[usize::from(is_stalled)].push(rate(is_stalled, effort.time() / TURNS));
        }
    }
    let [mut without, mut with] = rates;
    vec![figure("rate kept", "%", 100.0 * median(&mut with) / median(&mut without))]
}

/// What ten readers keep, each of which holds a message of another segment while the ring goes round.
fn memory() -> Vec<Figure> {
    let grown = |stalled: usize| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("stalled").expect("a new broker has space");
        let mut holding: Vec<Subscription<u64>> = Vec::new();
        let before = heap();
        for number in 0..20_000 {
            room.publish(number).expect("the room is open");
            if number % 64 == 0 && holding.len() < stalled {
                let mut subscription = room.subscribe_from(Start::Oldest).now().expect("the room is open");
                // It moves on to the newest message and stays there.
                let newest = number - room.oldest();
                for _ in 0..=newest {
                    assert!(subscription.try_recv_ref().is_ok(), "it is within the ring");
                }
                holding.push(subscription);
            }
        }
        let grown = heap() - before;
        let segments = room.stats().segments as f64;
        drop(holding);
        (grown, segments)
    };
    let (nobody, segments) = grown(0);
    let (held, segments_held) = grown(STALLED);
    vec![
        figure("segments more, each", "segments", (segments_held - segments) / STALLED as f64),
        figure("heap more, each", "B", (held - nobody) / STALLED as f64),
    ]
}
