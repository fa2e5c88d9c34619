//! What other libraries got wrong about memory: leaks at the end and when idle, and memory that was used again too early.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use roomcast::{Broker, Policy, PublishByNameError, Start, Subscription, TryRecvError};

use crate::support::{Census, Counted, eventually, finishes};

/// Peers kept what had not been read when a channel went, or an idle one kept what everybody had read. Fails where a message
/// is alive after all that could read it is gone, however that came about.
#[test]
fn b13_nothing_is_left_whoever_goes_last() {
    let census = Census::default();
    for order in 0..6 {
        for exclusive in [false, true] {
            let broker = Broker::<Counted>::builder().capacity(16).shards(1).build();
            let mut publisher = exclusive.then(|| broker.exclusive("lobby").unwrap());
            let room = broker.get("lobby").unwrap_or_else(|| broker.room("lobby").unwrap());
            let mut publish = |number| match &mut publisher {
                Some(publisher) => publisher.publish(census.count(number)).map(drop),
                None => room.publish(census.count(number)).map(drop),
            };
            let mut subscription = room.subscribe().now().unwrap();
            for number in 0..100 {
                assert!(publish(number).is_ok());
                if number == 50 {
                    // It stands in a segment that is then evicted under it.
                    while subscription.try_recv_ref().is_err() {}
                }
            }
            match order {
                0 => drop((subscription, publisher, room, broker)),
                1 => drop((broker, room, publisher, subscription)),
                2 => drop((room, publisher, subscription, broker)),
                3 => {
                    broker.remove("lobby");
                    drop((room, publisher, subscription));
                    eventually("a removed room lets go", || census.alive() == 0);
                }
                4 => {
                    broker.close();
                    drop((publisher, room, subscription));
                    eventually("a closed broker lets go", || census.alive() == 0);
                }
                _ => thread::spawn(move || drop((publisher, broker, subscription, room))).join().unwrap(),
            }
            eventually("nothing is left", || census.alive() == 0);
        }
    }
}

/// An idle room lets go of what it has evicted although nobody publishes any more.
#[test]
fn b13_an_idle_room_keeps_its_capacity_and_no_more() {
    let census = Census::default();
    let broker = Broker::<Counted>::builder().capacity(16).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut slow = room.subscribe().now().unwrap();
    for number in 0..1_000 {
        assert!(room.publish(census.count(number)).is_ok());
        if number == 500 {
            assert!(slow.try_recv_ref().is_err(), "lagged, and from here on it pins a segment");
            assert!(slow.try_recv_ref().is_ok());
        }
    }
    let retained = || (room.tail() - room.oldest()) as usize;
    // A segment has a quarter of the capacity; the one that is pinned comes on top, and those in a row to be swept.
    let bound = 4 * 8;
    assert!(census.alive() <= retained() + bound, "{} alive", census.alive());
    drop(slow);
    eventually("no more than the row of a shard", || census.alive() <= retained() + bound);
    assert_eq!(broker.stats().shards[0].panics, 0);
}

/// How many payloads were found spoilt. A payload is filled from its number and overwritten when it is dropped.
static SPOILT: AtomicU64 = AtomicU64::new(0);

const POISON: u64 = 0xdead_dead_dead_dead;

/// A payload on the heap that shows whether it was freed, or belongs to another room.
struct Canary {
    words: Box<[u64; 6]>,
    room: u64,
}

impl Canary {
    fn new(room: u64, number: u64) -> Self {
        Self { words: Box::new([number; 6]), room }
    }

    fn check(&self, room: u64) {
        let is_whole = self.words.iter().all(|word| *word == self.words[0] && *word != POISON);
        SPOILT.fetch_add(u64::from(!is_whole || self.room != room), SeqCst);
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.check(self.room);
        *self.words = [POISON; 6];
    }
}

/// Reads some batches, looking at each a while after it was lent; returns how many messages that were.
fn read_some(subscription: &mut Subscription<Canary>) -> u64 {
    let room = subscription.room().name().parse().expect("rooms are called by their numbers");
    let mut read = 0;
    for _ in 0..6 {
        match subscription.try_recv_batch(3) {
            Ok(batch) => {
                thread::yield_now();
                batch.iter().for_each(|(_, _, canary)| canary.check(room));
                read += batch.len() as u64;
            }
            Err(TryRecvError::Closed(_)) => break,
            Err(_) => {}
        }
    }
    read
}

/// Peers read slots, snapshots and nodes that had been freed and were in use again. Fails where a reader finds a payload
/// that was dropped or is of another room, while rooms, subscriptions and patterns are made and let go as fast as they
/// can, so that the same memory comes back at once.
#[test]
fn b14_memory_that_comes_back_at_once_is_never_seen() {
    const NAMES: u64 = 4;
    const ENOUGH: u64 = 20_000;
    const PUBLISHED_MAX: u64 = 5_000_000;
    // On a machine that is busy elsewhere readers that yield get few turns; what they have read by then is enough.
    const LONG_ENOUGH: Duration = Duration::from_secs(10);
    finishes(|| {
        let begun = Instant::now();
        let broker = Broker::<Canary>::builder().capacity(4).shards(1).build();
        let read = AtomicU64::new(0);
        let goes_on = || read.load(SeqCst) < ENOUGH && begun.elapsed() < LONG_ENOUGH;
        thread::scope(|scope| {
            let publish = |first: u64| {
                for number in (first..PUBLISHED_MAX).take_while(|_| goes_on()) {
                    let room = number % NAMES;
                    match broker.publish(&room.to_string(), Canary::new(room, number)) {
                        // Refused for a blocking reader of the moment.
                        Ok(_) | Err(PublishByNameError::Publish(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if number % 31 == 0 {
                        broker.remove(&room.to_string());
                        // Of a size with the ring's own parts, so that the allocator gives their places out again.
                        drop((0..8).map(|size| vec![POISON; 1 << size]).collect::<Vec<_>>());
                    }
                }
            };
            let publishers = [0, 1].map(|first| scope.spawn(move || publish(first)));
            for policy in [Policy::Lag, Policy::Latest, Policy::Block] {
                let (broker, read, goes_on) = (&broker, &read, &goes_on);
                scope.spawn(move || {
                    for number in (0..PUBLISHED_MAX).take_while(|_| goes_on()) {
                        let Some(room) = broker.get(&(number % NAMES).to_string()) else { continue };
                        if let Ok(mut subscription) = room.subscribe_from(Start::Oldest).policy(policy).now() {
                            read.fetch_add(read_some(&mut subscription), SeqCst);
                        }
                        if number % 50 == 0 {
                            let mut pattern = broker.subscribe_pattern("*");
                            thread::yield_now();
                            let mut context = Context::from_waker(Waker::noop());
                            // A few: while this thread has no turn, publishers open rooms by the thousand.
                            for _ in 0..2 * NAMES {
                                let Poll::Ready(Some(key)) = pattern.poll_ready(&mut context) else { break };
                                let mut subscription = pattern.leave(key).expect("it came up");
                                read.fetch_add(read_some(&mut subscription), SeqCst);
                            }
                        }
                    }
                });
            }
            publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        });
        drop(broker);
        assert!(read.load(SeqCst) > 0);
        assert_eq!(SPOILT.load(SeqCst), 0, "of {} read", read.load(SeqCst));
    });
}
