//! The threads of a broker end with it.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use roomcast::{Broker, Ref};

use crate::alone;

/// How long a thread that nobody joins may take to end before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Threads of this process that are shards. The system cuts a thread's name to 15 bytes, which cuts the number.
fn shards() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("roomcast-shard")).count()
}

fn shards_become(count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while shards() != count {
        assert!(Instant::now() < deadline, "{} shards instead of {count}", shards());
        thread::yield_now();
    }
}

#[test]
fn no_thread_is_left_behind() {
    let _alone = alone();
    shards_become(0);
    for _ in 0..20 {
        let broker = Broker::<u64>::builder().shards(3).build();
        let room = broker.room("lobby").unwrap();
        let served = block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).unwrap();
        let subscription = room.subscribe().now().unwrap();
        shards_become(3);
        let clone = broker.clone();
        drop(broker);
        assert_eq!(shards(), 3, "a clone keeps the broker");
        drop(clone);
        // Joined: at most a task that is just being taken off the list.
        shards_become(0);
        drop((room, served, subscription));
    }
}

#[test]
fn two_brokers_have_their_own() {
    let _alone = alone();
    shards_become(0);
    let one = Broker::<u64>::builder().shards(2).build();
    let two = Broker::<String>::builder().shards(1).build();
    shards_become(3);
    drop(one);
    shards_become(1);
    drop(two);
    shards_become(0);
}

#[test]
fn a_broker_dropped_in_its_handler_leaves_none_either() {
    let _alone = alone();
    shards_become(0);
    let broker = Broker::<u64>::builder().shards(2).build();
    let room = broker.room("lobby").unwrap();
    let mut last = Some(broker.clone());
    let (done, all) = mpsc::channel();
    let served = block_on(room.subscribe_with(move |_: Ref<'_, u64>| {
        drop(last.take());
        done.send(()).unwrap();
    }));
    drop(broker);
    room.publish(1).unwrap();
    all.recv().unwrap();
    shards_become(0);
    drop(served);
}

#[test]
fn a_panicking_handler_costs_no_thread() {
    let _alone = alone();
    shards_become(0);
    let broker = Broker::<u64>::builder().shards(2).build();
    let room = broker.room("lobby").unwrap();
    for _ in 0..10 {
        let (gone, told) = mpsc::channel::<()>();
        let served = block_on(room.subscribe_with(move |_: Ref<'_, u64>| {
            let _ = &gone;
            panic!("as it does every time");
        }));
        room.publish(1).unwrap();
        assert!(told.recv().is_err(), "the handler was dropped");
        drop(served);
    }
    assert_eq!(shards(), 2);
    drop(broker);
    shards_become(0);
}
