//! W13: every reader is ten times too slow. The publisher goes on, readers are told exactly what they missed, and one
//! that left comes back.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread;
use std::time::{Duration, Instant};

use harness::machine::{nanos, pin};
use harness::measure::{Cases, Effort, Figure, figure};
use roomcast::{Broker, Resumption, Start};

use super::each;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::ringcast::Ringcast;
use crate::contenders::roomcast::{Exclusive, Shared};
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Contender, finish};
use crate::tally::Tally;

const TABLE: &str = "W13";
const READERS: usize = 4;

pub fn add(cases: &mut Cases) {
    each!(cases, TABLE, "4 readers, each at a tenth of the publisher's rate alone";
        "roomcast" => Shared, "roomcast exclusive" => Exclusive, "tokio" => Tokio,
        "async-broadcast" => AsyncBroadcast, "ringcast" => Ringcast;
        |effort, C| storm::<C>(effort));
    cases.add(TABLE, "come back after a gap", "roomcast", come_back);
    cases.lack(TABLE, "bus, disruptor, a channel per subscriber", "the publisher waits for them instead");
    cases.lack(TABLE, "everybody else, coming back", "they have no place to come back to");
}

/// Publishes for a while; messages a second.
fn publish<C: Contender<u64>>(publisher: &mut C::Publisher, next: &mut u64, time: Duration) -> f64 {
    let (begin, first) = (Instant::now(), *next);
    while begin.elapsed() < time {
        for _ in 0..256 {
            C::publish(publisher, *next);
            *next += 1;
        }
    }
    (*next - first) as f64 / begin.elapsed().as_secs_f64()
}

fn storm<C: Contender<u64>>(effort: Effort) -> Vec<Figure> {
    let (mut publisher, readers) = C::open(READERS);
    // How long a reader is to take for a message, in nanoseconds; 0 before it is known, the top bit when it is over.
    const OVER: u64 = 1 << 63;
    let pace = Arc::new(AtomicU64::new(0));
    let reading = thread::spawn({
        let pace = pace.clone();
        move || {
            pin(1);
            let mut readers: Vec<_> = readers.into_iter().map(|reader| (reader, Tally::from(0))).collect();
            while pace.load(Acquire) == 0 {
                thread::sleep(Duration::from_micros(100));
            }
            let begin = Instant::now();
            for turn in 1.. {
                let each = pace.load(Relaxed);
                if each & OVER != 0 {
                    break;
                }
                for (reader, tally) in &mut readers {
                    C::read(reader, tally);
                }
                while nanos(begin.elapsed()) < (turn * each) as f64 {
                    spin_loop();
                }
            }
            let received: u64 = readers.iter().map(|(_, tally)| tally.received()).sum();
            (readers, received as f64 / begin.elapsed().as_secs_f64())
        }
    });
    pin(0);
    let mut next = 0;
    publish::<C>(&mut publisher, &mut next, effort.time() / 4);
    let before = publish::<C>(&mut publisher, &mut next, effort.time() / 2);
    pace.store((1e10 / before).max(1.0) as u64, Release);
    let beside = publish::<C>(&mut publisher, &mut next, effort.time());
    pace.store(OVER, Release);
    let (readers, received) = reading.join().expect("it only reads");
    let after = publish::<C>(&mut publisher, &mut next, effort.time() / 2);
    let (readers, tallies): (Vec<_>, Vec<_>) = readers.into_iter().unzip();
    let lagged: u64 = tallies.iter().map(Tally::lagged).sum();
    assert!(lagged > 0, "the readers were too slow");
    finish::<u64, C>(readers, tallies, next);
    vec![
        figure("rate kept", "%", 200.0 * beside / (before + after)),
        figure("publishes", "M/s", beside / 1e6),
        figure("deliveries", "M/s", received / 1e6),
    ]
}

/// A subscription that left is resumed after more was published than the room retains.
fn come_back(effort: Effort) -> Vec<Figure> {
    let broker = Broker::<u64>::new();
    let room = broker.room("storm").expect("a new broker has space");
    let cost = effort.median(|| {
        let left_at = room.subscribe().now().expect("the room is open").position();
        for number in room.tail()..room.tail() + 2_000 {
            room.publish(number).expect("the room is open");
        }
        let begin = Instant::now();
        let mut back = room.subscribe_from(Start::Resume(left_at)).now().expect("the room is open");
        let took = nanos(begin.elapsed());
        let Resumption::Gap(missed) = back.resumption() else { panic!("a ring of 1,024 holds no 2,000") };
        assert_eq!(left_at.sequence + missed, room.oldest(), "it goes on with the oldest");
        assert_eq!(back.try_recv().ok(), Some(left_at.sequence + missed));
        took
    });
    vec![figure("resume", "ns", cost)]
}
