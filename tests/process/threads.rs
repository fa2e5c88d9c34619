//! The threads of a broker end with it.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, HandlerSubscription, Ref, Room};

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
        let served = [(); 3].map(|()| served(&room));
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
    let room = one.room("lobby").unwrap();
    let of_one = [(); 2].map(|()| served(&room));
    let of_two = block_on(two.room("lobby").unwrap().subscribe_with(|_| {})).unwrap();
    shards_become(3);
    drop(one);
    shards_become(1);
    drop(two);
    shards_become(0);
    drop((of_one, of_two));
}

fn served(room: &Room<u64>) -> HandlerSubscription<u64> {
    block_on(room.subscribe_with(|_| {})).unwrap()
}

#[test]
fn a_broker_that_is_only_pulled_from_starts_no_thread() {
    let _alone = alone();
    shards_become(0);
    let broker = Broker::<String>::builder().capacity(4).shards(4).build();
    let room = broker.room("lobby").unwrap();
    let mut all: Vec<_> = (0..100).map(|_| room.subscribe().now().unwrap()).collect();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut subscription = room.subscribe().now().unwrap();
            thread::spawn(move || while subscription.recv_blocking().is_ok() {})
        })
        .collect();
    for number in 0..1_000 {
        for subscription in &mut all {
            assert!(subscription.poll_readable(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        room.publish(number.to_string()).unwrap();
        assert!(all.iter_mut().all(|subscription| subscription.try_recv().is_ok()));
    }
    assert_eq!(shards(), 0, "though messages were evicted, and sleepers woken");
    assert_eq!(broker.stats().shards.len(), 4);
    let handled = block_on(room.subscribe_with(|_| {})).unwrap();
    shards_become(1);
    room.close();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    drop((broker, handled));
    shards_become(0);
}

/// A handler that runs until it is let go.
fn busy(broker: &Broker<u64>) -> (HandlerSubscription<u64>, mpsc::Sender<()>) {
    let room = broker.room("busy").unwrap();
    let ((began, has_begun), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel::<()>());
    let handler = move |_: Ref<'_, u64>| {
        began.send(()).unwrap();
        let _ = may_go_on.recv();
    };
    let served = block_on(room.subscribe_with(handler)).unwrap();
    room.publish(1).unwrap();
    has_begun.recv().unwrap();
    (served, go_on)
}

#[test]
fn a_drop_does_not_wait_for_a_handler_that_waits_for_it() {
    let _alone = alone();
    shards_become(0);
    let broker = Broker::<u64>::builder().shards(1).build();
    let (served, go_on) = busy(&broker);
    drop(broker);
    assert!(served.is_running(), "it goes on behind the drop");
    drop(go_on);
    shards_become(0);
    assert!(!served.is_running());
}

#[test]
fn two_brokers_dropped_by_each_others_handlers() {
    let _alone = alone();
    shards_become(0);
    let brokers = [(); 2].map(|()| Broker::<u64>::builder().shards(1).build());
    let both_run = Arc::new(Barrier::new(2));
    let served = [0, 1].map(|number| {
        let (mut other, both_run) = (Some(brokers[1 - number].clone()), both_run.clone());
        block_on(brokers[number].room("lobby").unwrap().subscribe_with(move |_: Ref<'_, u64>| {
            both_run.wait();
            drop(other.take());
        }))
        .unwrap()
    });
    let rooms = brokers.each_ref().map(|broker| broker.room("lobby").unwrap());
    drop(brokers);
    rooms.iter().for_each(|room| assert!(room.publish(1).is_ok()));
    shards_become(0);
    assert!(rooms.iter().all(|room| room.ended() == Some(CloseReason::BrokerClosed)));
    drop(served);
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
