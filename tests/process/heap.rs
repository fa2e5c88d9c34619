//! The heap stays flat, whatever is repeated.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use roomcast::{Broker, Policy, Ref, RoomSet, Start};

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
