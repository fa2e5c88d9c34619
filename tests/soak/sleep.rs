//! Sleeping and being woken, over and over: each wake-up that is lost stops the two threads for ever.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use roomcast::{Broker, Policy, PublishError, Ref, Room, Subscription, TryRecvError};

use crate::pace::{Run, count};
use crate::watch::{Steps, Watch};

/// Looks at a flag before a waiting thread lets another one run.
const SPINS: u32 = 200;

/// Subscriptions of each thread: as many as a publisher wakes itself, and so many that a step of one thread, which the
/// other waits for, wakes more than one.
const SLEEPERS: usize = 12;

/// Messages between two looks at how often the other thread slept.
const LOOK_AFTER: u64 = 256;

/// A waker that sets a flag, so that sleeping costs no call into the system.
struct Flag {
    raised: AtomicBool,
    stalled: Arc<AtomicBool>,
}

impl Flag {
    fn wait(&self) {
        let mut spins = 0;
        while !self.raised.swap(false, Ordering::Acquire) {
            assert!(!self.stalled.load(Ordering::Relaxed), "never woken");
            spins += 1;
            if spins % SPINS == 0 {
                thread::yield_now();
            } else {
                spin_loop();
            }
        }
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.raised.store(true, Ordering::Release);
    }
}

/// One of two threads that answer each other. It reads its room with many subscriptions, all asleep at once.
struct Side {
    mine: Vec<(Subscription<u64>, Arc<Flag>, Waker)>,
    other: Room<u64>,
}

impl Side {
    fn new(mine: &Room<u64>, other: &Room<u64>, watch: &Watch) -> Self {
        let sleeper = || {
            let flag = Arc::new(Flag { raised: AtomicBool::new(false), stalled: watch.stalled() });
            (mine.subscribe().now().unwrap(), flag.clone(), Waker::from(flag))
        };
        Self { mine: (0..SLEEPERS).map(|_| sleeper()).collect(), other: other.clone() }
    }

    /// Receives the next message in every subscription, false at the end; counts those that slept for it. When `nth` has
    /// it, `then` is done: so the two sides fall asleep and wake each other at ever other places.
    fn receive(&mut self, expected: u64, sleeps: &Steps, nth: usize, mut then: impl FnMut(&Room<u64>)) -> bool {
        let mut asleep = [false; SLEEPERS];
        for ((subscription, _, waker), asleep) in self.mine.iter_mut().zip(&mut asleep) {
            *asleep = subscription.poll_readable(&mut Context::from_waker(waker)).is_pending();
        }
        for (index, (subscription, flag, waker)) in self.mine.iter_mut().enumerate() {
            while asleep[index] {
                sleeps.count();
                flag.wait();
                asleep[index] = subscription.poll_readable(&mut Context::from_waker(waker)).is_pending();
            }
            match subscription.try_recv() {
                Ok(number) => assert_eq!(number, expected),
                Err(TryRecvError::Closed(_)) => return false,
                Err(error) => panic!("{error}"),
            }
            if index == nth {
                then(&self.other);
            }
        }
        true
    }

    /// Answers every message until the end, while it still receives it.
    fn answer(&mut self, sleeps: &Steps) {
        let mut number = 0;
        while self.receive(number, sleeps, number as usize % SLEEPERS, |other| {
            other.publish(number).unwrap();
        }) {
            number += 1;
        }
    }

    /// Asks until the two have slept so often, then ends it.
    fn ask(&mut self, sleeps: &Steps, others: &Steps, enough: u64) {
        let mut number = 0;
        while number % LOOK_AFTER != 0 || sleeps.so_far() + others.so_far() < enough {
            self.other.publish(number).unwrap();
            assert!(self.receive(number, sleeps, 0, |_| {}));
            number += 1;
        }
        self.other.close();
    }
}

#[test]
fn two_threads_wake_each_other_by_hand_made_wakers() {
    let enough = count("WAKES", 500_000, 100_000_000);
    let run = Run::new("two threads answer each other, asleep by hand-made wakers");
    let broker = Broker::<u64>::builder().capacity(256).shards(1).build();
    let (there, back) = (broker.room("there").unwrap(), broker.room("back").unwrap());
    let mut watch = Watch::default();
    let (mut asking, mut answering) = (Side::new(&back, &there, &watch), Side::new(&there, &back, &watch));
    let others = watch.spawn("answering", move |sleeps| answering.answer(sleeps));
    watch.spawn("asking", move |sleeps| asking.ask(sleeps, &others, enough));
    let sleeps = watch.join();
    assert!(sleeps >= enough);
    assert_eq!(there.tail(), back.tail(), "every message was answered");
    run.done(&format!("{sleeps} sleeps in {} messages each way, each woken", there.tail()));
}

#[test]
fn two_threads_wake_each_other_from_real_sleep() {
    let rounds = count("PARKS", 5_000, 1_000_000);
    let run = Run::new("two threads answer each other, asleep in the system");
    let broker = Broker::<u64>::builder().capacity(1).shards(1).build();
    let (there, back) = (broker.room("there").unwrap(), broker.room("back").unwrap());
    let (mut mine, mut theirs) = (back.subscribe().now().unwrap(), there.subscribe().now().unwrap());
    let mut watch = Watch::default();
    let answers = back.clone();
    watch.spawn("answering", move |steps| {
        for round in 0..rounds {
            assert_eq!(theirs.recv_blocking(), Ok(round));
            answers.publish(round).unwrap();
            steps.count();
        }
    });
    let asks = there.clone();
    watch.spawn("asking", move |steps| {
        for round in 0..rounds {
            asks.publish(round).unwrap();
            assert_eq!(mine.recv_blocking(), Ok(round));
            steps.count();
        }
    });
    assert_eq!(watch.join(), 2 * rounds);
    assert_eq!((there.tail(), back.tail()), (rounds, rounds));
    run.done(&format!("{rounds} messages each way, each waited for"));
}

/// Every message finds the shard with nothing left to do, and every few hundred find its thread asleep.
#[test]
fn a_handler_answers_each_message() {
    let rounds = count("HANDLED", 5_000, 2_000_000);
    let run = Run::new("a handler answers each message");
    let broker = Broker::<u64>::builder().capacity(64).shards(2).build();
    let (there, back) = (broker.room("there").unwrap(), broker.room("back").unwrap());
    let mut mine = back.subscribe().now().unwrap();
    let answers = back.clone();
    let served = block_on(there.subscribe_with(move |message: Ref<'_, u64>| {
        answers.publish(*message).expect("it stays open");
    }));
    let mut watch = Watch::default();
    watch.spawn("asking", move |steps| {
        for round in 0..rounds {
            there.publish(round).unwrap();
            if round % 256 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
            assert_eq!(mine.recv_blocking(), Ok(round));
            steps.count();
        }
    });
    assert_eq!(watch.join(), rounds);
    assert_eq!(back.tail(), rounds);
    block_on(served.unwrap().unsubscribe());
    let wakes: u64 = broker.stats().shards.iter().map(|shard| shard.wakes).sum();
    run.done(&format!("{rounds} answers, in which shards were woken from sleep {wakes} times"));
}

#[test]
fn publishers_wait_for_a_reader_that_waits_for_them() {
    const PUBLISHERS: u64 = 2;
    let each = count("WAITS", 5_000, 1_000_000);
    let run = Run::new("publishers wait for a blocking reader");
    let broker = Broker::<u64>::builder().capacity(2).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut reader = room.subscribe().policy(Policy::Block).now().unwrap();
    let mut watch = Watch::default();
    let waits: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let room = room.clone();
            watch.spawn("publishing", move |waits| {
                for number in 0..each {
                    let message = publisher * each + number;
                    if let Err(PublishError::Full(message)) = room.publish(message) {
                        waits.count();
                        room.publish_blocking(message).unwrap();
                    }
                }
            })
        })
        .collect();
    watch.spawn("reading", move |received| {
        let mut next = [0; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS * each {
            let message = reader.recv_blocking().expect("a reader that blocks misses nothing");
            let publisher = (message / each) as usize;
            assert_eq!(message % each, next[publisher], "each publisher's messages in their order");
            next[publisher] += 1;
            received.count();
        }
        assert_eq!(reader.accounting().lagged, 0);
    });
    watch.join();
    assert_eq!(room.tail(), PUBLISHERS * each);
    let waits: u64 = waits.iter().map(|waits| waits.so_far()).sum();
    assert!(waits > 0, "the ring is so small that somebody has to wait");
    run.done(&format!("{} messages, {waits} of them waited for space", PUBLISHERS * each));
}
