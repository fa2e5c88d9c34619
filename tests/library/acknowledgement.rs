//! What is true once a subscribe or an unsubscribe is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, Ref, TryRecvError};

use crate::support::{Blocked, Wakes, eventually, finishes, poll_once, publish_all};

#[test]
fn the_publish_after_the_acknowledgement_is_received() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    for number in 0..1_000 {
        let mut subscription = block_on(room.subscribe()).unwrap();
        let sequence = room.publish(number).unwrap();
        assert_eq!(subscription.position().sequence, sequence);
        assert_eq!(subscription.try_recv(), Ok(number));
    }
}

#[test]
fn the_publish_after_a_handlers_acknowledgement_is_handled() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(2).build();
        let room = broker.room("lobby").unwrap();
        for number in 0..300 {
            let (seen, all) = mpsc::channel();
            let served =
                block_on(room.subscribe_with(move |message: Ref<'_, u64>| seen.send(*message).unwrap_or(()))).unwrap();
            room.publish(number).unwrap();
            assert_eq!(all.recv(), Ok(number), "and nothing from before");
            block_on(served.unsubscribe());
        }
    });
}

#[test]
fn nothing_arrives_after_the_acknowledgement_of_an_unsubscribe() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(2).build();
        let room = broker.room("lobby").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let publisher = thread::spawn({
            let (room, stop) = (room.clone(), stop.clone());
            move || while !stop.load(SeqCst) && room.publish(0).is_ok() {}
        });
        for _ in 0..300 {
            let (left, late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let served = block_on(room.subscribe_with({
                let (left, late) = (left.clone(), late.clone());
                move |_: Ref<'_, u64>| {
                    late.fetch_add(u64::from(left.load(SeqCst)), SeqCst);
                }
            }));
            block_on(served.unwrap().unsubscribe());
            left.store(true, SeqCst);
            assert_eq!(Arc::strong_count(&left), 1, "the handler has been dropped");
            assert_eq!(late.load(SeqCst), 0);
        }
        stop.store(true, SeqCst);
        publisher.join().unwrap();
        assert_eq!(room.stats().subscribers, 0);
    });
}

#[test]
fn a_subscribe_future_dropped_unpolled_leaves_no_member() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mark = Arc::new(());
    drop(room.subscribe());
    drop(room.subscribe_with({
        let mark = mark.clone();
        move |_: Ref<'_, u64>| drop(mark.clone())
    }));
    assert_eq!((room.stats().subscribers, Arc::strong_count(&mark)), (0, 1));
}

#[test]
fn a_subscribe_future_dropped_while_pending_leaves_no_member() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let blocked = Blocked::new(&broker, "blocker");
    blocked.block();
    let mark = Arc::new(());
    let called = Arc::new(AtomicU64::new(0));
    let (_, waker) = Wakes::new();
    for _ in 0..100 {
        let (mark, called) = (mark.clone(), called.clone());
        let handler = move |_: Ref<'_, u64>| {
            let _ = &mark;
            called.fetch_add(1, SeqCst);
        };
        assert!(poll_once(room.subscribe_with(handler), &waker).is_pending());
    }
    blocked.release();
    eventually("the handlers are dropped", || Arc::strong_count(&mark) == 1);
    room.publish(1).unwrap();
    assert_eq!((room.stats().subscribers, room.stats().shards, called.load(SeqCst)), (0, 0, 0));
}

#[test]
fn pending_joins_do_not_hold_up_publishing() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut reader = room.subscribe().now().unwrap();
    let blocked = Blocked::new(&broker, "blocker");
    blocked.block();
    let called = Arc::new(AtomicU64::new(0));
    let (_, waker) = Wakes::new();
    let mut joins: Vec<_> = (0..10_000)
        .map(|_| {
            let called = called.clone();
            room.subscribe_with(move |_: Ref<'_, u64>| {
                called.fetch_add(1, SeqCst);
            })
        })
        .collect();
    for join in &mut joins {
        assert!(poll_once(join, &waker).is_pending());
    }
    // The only shard stands in a handler and every join waits for it; publishing and reading go on.
    for number in 0..1_000 {
        assert_eq!(room.publish(number), Ok(number));
        assert_eq!(reader.try_recv(), Ok(number));
    }
    assert_eq!(room.stats().subscribers, 1);
    assert!(joins.iter_mut().all(|join| poll_once(join, &waker).is_pending()), "they are all still waiting");
    blocked.release();
    finishes(move || {
        let served = block_on(futures::future::try_join_all(joins)).unwrap();
        assert_eq!(room.stats().subscribers, 10_001);
        room.publish(1_000).unwrap();
        eventually("each of them is served", || called.load(SeqCst) == 10_000);
        drop(served);
        eventually("each of them leaves", || room.stats().subscribers == 1);
    });
}

#[test]
fn joins_are_served_under_a_flood_that_never_pauses() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(256).build();
        let room = broker.room("lobby").unwrap();
        // A handler that publishes what it handles: its shard always has more to do, from the first message on.
        let (echo, stop) = (room.clone(), Arc::new(AtomicBool::new(false)));
        let flood = block_on(room.subscribe_with({
            let stop = stop.clone();
            move |message: Ref<'_, u64>| {
                if !stop.load(SeqCst) {
                    let _ = echo.publish(*message);
                }
            }
        }));
        room.publish(0).unwrap();
        for _ in 0..200 {
            let (seen, all) = mpsc::channel();
            let served =
                block_on(room.subscribe_with(move |message: Ref<'_, u64>| seen.send(message.sequence()).unwrap_or(())));
            all.recv().expect("it is served beside the flood");
            block_on(served.unwrap().unsubscribe());
        }
        stop.store(true, SeqCst);
        block_on(flood.unwrap().unsubscribe());
    });
}

#[test]
fn a_join_waits_for_one_budget_of_other_work() {
    // A turn handles at most 256 messages of a room before it serves joins again.
    let broker = Broker::<u64>::builder().shards(1).capacity(4_096).build();
    let room = broker.room("lobby").unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let (entered, is_in) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let counting = block_on(room.subscribe_with({
        let handled = handled.clone();
        move |message: Ref<'_, u64>| {
            if *message == 0 {
                let _ = entered.send(());
                let _ = wait.recv();
            }
            handled.fetch_add(1, SeqCst);
        }
    }));
    room.publish(0).unwrap();
    is_in.recv().unwrap();
    publish_all(&room, 1..4_000);
    let other = broker.room("other").unwrap();
    struct Noting(Arc<AtomicU64>, mpsc::Sender<u64>);
    impl Drop for Noting {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.load(SeqCst));
        }
    }
    // Cancelled while it waits: the shard drops the handler when it comes to the join, and the handler notes how far
    // the other room is by then.
    let (at, when) = mpsc::channel();
    let noting = Noting(handled.clone(), at);
    let (_, waker) = Wakes::new();
    let handler = move |_: Ref<'_, u64>| {
        let _ = &noting;
    };
    assert!(poll_once(other.subscribe_with(handler), &waker).is_pending());
    drop(go_on);
    let handled_before = finishes(move || when.recv().unwrap());
    assert!(handled_before <= 1 + 256, "{handled_before} messages came before the join");
    eventually("all are handled", || handled.load(SeqCst) == 4_000);
    drop(counting);
}

#[test]
fn an_unsubscribed_pulling_subscription_is_out_at_once() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let mut stays = room.subscribe().now().unwrap();
    let goes = room.subscribe().now().unwrap();
    block_on(goes.unsubscribe());
    assert_eq!(room.stats().subscribers, 1);
    room.publish(1).unwrap();
    assert_eq!((stays.try_recv(), stays.try_recv()), (Ok(1), Err(TryRecvError::Empty)));
}
