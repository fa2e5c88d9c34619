//! L1-parked without a runtime: everybody is polled by hand with a waker that only counts, so that what is seen is the
//! publisher's own work and not what it costs to schedule a task.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use harness::machine::{nanos, wait_until};
use harness::measure::{Cases, Effort, Figure, grouped};
use roomcast::{Broker, HandlerSubscription, Ref, Room};

use super::each;
use super::parked::{figures, pause, settle};
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::channels::{Flume, PerSubscriber, Thingbuf, TokioMpsc};
use crate::contenders::roomcast::Shared;
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Awaits, Contender, Opened};
use crate::tally::Tally;

const TABLE: &str = "L1-parked";

pub fn add(cases: &mut Cases) {
    for sleepers in [1, 16, 100, 10_000] {
        for is_awake in [false, true] {
            let state = if is_awake { "awake" } else { "asleep" };
            let name = format!("wakers, shard {state}: {}", grouped(sleepers));
            cases.add(TABLE, &name, "roomcast", move |effort| {
                let (publisher, readers) = open::<Shared>(sleepers);
                let alarm = is_awake.then(|| Alarm::new(&publisher.broker));
                wakers::<Shared>(publisher, readers, is_awake, || alarm.iter().for_each(Alarm::ring), effort)
            });
            each!(cases, TABLE, &name;
            "tokio" => Tokio, "async-broadcast" => AsyncBroadcast, "tokio mpsc each" => PerSubscriber<TokioMpsc>,
            "flume each" => PerSubscriber<Flume>, "thingbuf each" => PerSubscriber<Thingbuf>;
            |effort, C| {
                let (publisher, readers) = open::<C>(sleepers);
                wakers::<C>(publisher, readers, is_awake, || (), effort)
            });
        }
    }
    cases.lack(TABLE, "shards of the others", "they have none: their rows are measured with the same pauses");
}

fn open<C: Contender<u64>>(sleepers: usize) -> Opened<u64, C> {
    C::open(sleepers)
}

/// Counts wake-ups.
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Release);
    }
}

/// Another room of the same broker, with a handler on every shard: served a message, shards are awake for a while.
struct Alarm {
    room: Room<u64>,
    rang: Arc<AtomicU64>,
    handlers: Vec<HandlerSubscription<u64>>,
}

impl Alarm {
    fn new(broker: &Broker<u64>) -> Self {
        let room = broker.room("alarm").expect("the broker has space");
        let rang = Arc::new(AtomicU64::new(0));
        let handler = || {
            let rang = rang.clone();
            move |_: Ref<'_, u64>| {
                rang.fetch_add(1, Release);
            }
        };
        // Handlers are dealt out to the shards in turn.
        let shards = broker.stats().shards.len();
        let join = |_| futures::executor::block_on(room.subscribe_with(handler())).expect("the room is open");
        let handlers = (0..shards).map(join).collect();
        Self { room, rang, handlers }
    }

    fn ring(&self) {
        let all = self.rang.load(Relaxed) + self.handlers.len() as u64;
        self.room.publish(0).expect("the room is open");
        wait_until(|| self.rang.load(Acquire) == all);
    }
}

type Reading = Pin<Box<dyn Future<Output = ()>>>;

fn wakers<C: Awaits<u64>>(
    mut publisher: C::Publisher,
    readers: Vec<C::Reader>,
    is_awake: bool,
    ring: impl Fn(),
    effort: Effort,
) -> Vec<Figure> {
    let sleepers = readers.len();
    let count = Arc::new(Count(AtomicU64::new(0)));
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    let seen = Arc::new(AtomicU64::new(0));
    let read = |mut reader: C::Reader| -> Reading {
        let seen = seen.clone();
        Box::pin(async move {
            let mut tally = Tally::from(0);
            for round in 1.. {
                C::read_async(&mut reader, &mut tally).await;
                tally.check(round);
                C::compare(&reader, &tally);
                seen.fetch_add(1, Relaxed);
            }
        })
    };
    let mut readings: Vec<Reading> = readers.into_iter().map(read).collect();
    let begin = Instant::now();
    let (mut calls, mut lasts) = (Vec::new(), Vec::new());
    for round in 0_u64.. {
        // Before they are polled: somebody may be woken once more then, and not again by the publisher.
        count.0.store(0, Relaxed);
        for reading in &mut readings {
            assert!(reading.as_mut().poll(&mut context).is_pending(), "it reads for ever");
        }
        assert_eq!(seen.load(Relaxed), round * sleepers as u64, "everybody has read everything");
        if calls.len() >= 20 && begin.elapsed() > effort.time() {
            break;
        }
        if is_awake {
            ring();
            pause();
        } else {
            settle(0);
        }
        let called_at = begin.elapsed();
        C::publish(&mut publisher, round);
        calls.push(nanos(begin.elapsed() - called_at));
        wait_until(|| count.0.load(Acquire) >= sleepers as u64);
        lasts.push(nanos(begin.elapsed() - called_at));
    }
    figures(&mut calls, &mut lasts)
}
