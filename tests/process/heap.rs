//! The heap stays flat, whatever is repeated.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use roomcast::{Broker, Policy, Ref, RoomSet, Start, TryRecvError};

use crate::{HEAP, alone};

/// What a repetition may leave behind in all: a few buffers that have grown, nothing per round.
const SLACK: usize = 128 << 10;

/// How long a shard may take to finish what was left for it before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn poll(future: impl Future) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Runs `round` until everything has its size, then `rounds` times, after which the heap is as large as before.
#[track_caller]
fn stays_flat(rounds: usize, mut round: impl FnMut()) {
    (0..rounds / 10 + 1).for_each(|_| round());
    let before = HEAP.allocated();
    (0..rounds).for_each(|_| round());
    let deadline = Instant::now() + PATIENCE;
    while HEAP.allocated() > before + SLACK {
        let after = HEAP.allocated();
        assert!(Instant::now() < deadline, "the heap grew from {before} to {after} bytes in {rounds} rounds");
        thread::yield_now();
    }
}

#[test]
fn parking_and_dropping_without_a_publish_b10() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    stays_flat(200_000, || {
        let mut subscription = room.subscribe().now().unwrap();
        assert!(!poll(subscription.recv()));
    });
    assert_eq!(room.stats().subscribers, 0);
}

#[test]
fn parking_and_dropping_while_no_shard_can_help_b10() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let (room, busy) = (broker.room("lobby").unwrap(), broker.room("busy").unwrap());
    let (enter, entered) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let served = block_on(busy.subscribe_with(move |_: Ref<'_, u64>| {
        let _ = enter.send(());
        let _ = wait.recv();
    }));
    busy.publish(0).unwrap();
    entered.recv().unwrap();
    stays_flat(100_000, || {
        let mut subscription = room.subscribe().now().unwrap();
        assert!(!poll(subscription.recv()));
    });
    drop((go_on, served));
}

#[test]
fn waiting_to_publish_and_giving_up_b10() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).capacity(4).build();
    let room = broker.room("lobby").unwrap();
    let _blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    while room.publish(0).is_ok() {}
    stays_flat(200_000, || assert!(!poll(room.publish_wait(1))));
}

#[test]
fn joining_and_leaving_a_set_that_nobody_reads() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut set = RoomSet::new();
    stays_flat(200_000, || {
        let key = set.join(room.subscribe().now().unwrap());
        assert!(set.leave(key).is_some());
    });
}

#[test]
fn publishing_and_receiving() {
    let _alone = alone();
    let broker = Broker::<Vec<u8>>::builder().shards(1).capacity(64).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    stays_flat(100_000, || {
        room.publish(vec![7; 100]).unwrap();
        assert_eq!(subscription.try_recv_ref().map(|message| message.len()), Ok(100));
    });
}

/// Runs `round` until everything has its size, and then it allocates nothing any more, not even what is freed again at once.
///
/// The quietest of some rounds counts, because the test runner's threads share the heap. What a message costs would show
/// in each of them.
#[track_caller]
fn allocates_nothing(mut round: impl FnMut()) {
    (0..20).for_each(|_| round());
    let allocated = (0..10).map(|_| {
        let before = HEAP.total_allocated();
        round();
        HEAP.total_allocated() - before
    });
    assert_eq!(allocated.min(), Some(0), "bytes in the quietest round");
}

/// Messages in a round: some laps of a ring of the usual capacity.
const MESSAGES: u64 = 5_000;

#[test]
fn the_heap_is_counted() {
    let _alone = alone();
    let before = HEAP.total_allocated();
    drop(std::hint::black_box(Box::new([0_u8; 100])));
    assert!(HEAP.total_allocated() >= before + 100, "an allocation is seen although it was freed at once");
}

#[test]
fn publishing_to_a_shared_room_and_reading_it_allocate_nothing() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    allocates_nothing(|| {
        let mut slow = room.subscribe().now().unwrap();
        for number in 0..MESSAGES {
            room.publish(number).unwrap();
            assert_eq!(subscription.try_recv(), Ok(number));
        }
        assert!(matches!(slow.try_recv_ref(), Err(TryRecvError::Lagged(_))));
        while slow.lag() > 0 {
            assert!(slow.try_recv_batch(100).is_ok());
        }
    });
}

#[test]
fn publishing_to_an_exclusive_room_and_reading_it_allocate_nothing() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let mut publisher = broker.exclusive("lobby").unwrap();
    let mut subscription = publisher.room().subscribe().now().unwrap();
    allocates_nothing(|| {
        for number in 0..MESSAGES {
            publisher.publish(number).unwrap();
            publisher.publish_all([number; 16]).unwrap();
            let mut read = 0;
            while let Ok(run) = subscription.try_recv_batch(64) {
                read += run.len();
            }
            assert_eq!(read, 17);
        }
    });
}

#[test]
fn messages_with_a_drop_allocate_nothing() {
    let _alone = alone();
    let broker = Broker::<Arc<str>>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let message: Arc<str> = "cloning it allocates nothing".into();
    allocates_nothing(|| {
        for _ in 0..MESSAGES {
            room.publish(message.clone()).unwrap();
            assert_eq!(subscription.try_recv().as_ref(), Ok(&message));
        }
    });
}

#[test]
fn handlers_are_served_without_allocating() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let handler = || {
        let handled = handled.clone();
        move |_: Ref<'_, u64>| {
            handled.fetch_add(1, Relaxed);
        }
    };
    let served: Vec<_> = (0..10).map(|_| block_on(room.subscribe_with(handler())).unwrap()).collect();
    let mut expected = 0;
    allocates_nothing(|| {
        for number in 0..MESSAGES {
            room.publish(number).unwrap();
            expected += served.len() as u64;
            // A handler that is not lapped sees all of them.
            if number % 100 == 99 {
                let deadline = Instant::now() + PATIENCE;
                while handled.load(Relaxed) < expected {
                    assert!(Instant::now() < deadline, "{} of {expected} handled", handled.load(Relaxed));
                    thread::yield_now();
                }
            }
        }
    });
}

#[test]
fn sleeping_and_waking_allocate_nothing() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    allocates_nothing(|| {
        for number in 0..MESSAGES {
            assert!(!poll(subscription.recv()));
            room.publish(number).unwrap();
            assert!(poll(subscription.recv()));
        }
    });
}

#[test]
fn rooms_that_come_and_go() {
    let _alone = alone();
    let broker = Broker::<Vec<u8>>::builder().shards(1).capacity(16).build();
    stays_flat(3_000, || {
        for number in 0..100 {
            broker.publish("lobby", vec![7; number]).unwrap();
        }
        let room = broker.get("lobby").unwrap();
        let mut subscription = room.subscribe_from(Start::Oldest).now().unwrap();
        assert!(subscription.try_recv_ref().is_ok());
        assert!(broker.remove("lobby"));
    });
}

#[test]
fn handlers_that_come_and_go() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    stays_flat(3_000, || {
        let served = block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).unwrap();
        room.publish(1).unwrap();
        block_on(served.unsubscribe());
    });
}

#[test]
fn patterns_that_come_and_go() {
    let _alone = alone();
    let broker = Broker::<u64>::builder().shards(1).build();
    stays_flat(2_000, || {
        let mut pattern = broker.subscribe_pattern("*");
        broker.publish("lobby", 1).unwrap();
        assert_eq!(pattern.len(), 1);
        broker.remove("lobby");
    });
}

#[test]
fn an_idle_room_is_small() {
    let _alone = alone();
    const ROOMS: usize = 20_000;
    let broker = Broker::<u64>::builder().shards(1).build();
    let names: Vec<String> = (0..ROOMS).map(|number| format!("room {number:06}")).collect();
    let before = HEAP.allocated();
    for name in &names {
        broker.room(name).unwrap();
    }
    let each = (HEAP.allocated() - before) / ROOMS;
    assert!(each <= 512, "an idle room takes {each} bytes");
    for name in &names {
        assert!(broker.remove(name));
    }
    let left = HEAP.allocated().saturating_sub(before) / ROOMS;
    assert!(left <= 256, "a removed room leaves {left} bytes in the table, whose branches stay");
}
