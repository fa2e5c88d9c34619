//! User code that comes back into the broker: from handlers, and from the `Drop` of a message.

use std::sync::{Arc, mpsc};

use futures::executor::block_on;
use roomcast::{Broker, Policy, PublishError, RecvError, Ref, Room, SubscribeError};

use crate::support::{Census, Counted, drain, eventually, finishes, publish_all};

/// A message that does something when it is dropped, and is counted.
struct Echo {
    #[expect(dead_code, reason = "it counts")]
    counted: Counted,
    then: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(then) = self.then.take() {
            then();
        }
    }
}

#[test]
fn a_drop_that_publishes_and_subscribes_b19() {
    finishes(|| {
        let census = Census::default();
        let broker = Broker::<Echo>::builder().capacity(16).shards(1).build();
        let (from, to) = (broker.room("from").unwrap(), broker.room("to").unwrap());
        for number in 0..5_000 {
            let (room, echo) = (to.clone(), census.count(number));
            let then = move || {
                let subscription = room.subscribe().now().unwrap();
                room.publish(Echo { counted: echo, then: None }).unwrap();
                assert!(subscription.lag() > 0);
            };
            from.publish(Echo { counted: census.count(number), then: Some(Box::new(then)) }).unwrap();
        }
        assert!(to.tail() > 4_000, "most have been dropped by now: {}", to.tail());
        broker.remove("from");
        drop(from);
        eventually("each was dropped once", || to.tail() == 5_000);
        assert!(to.is_running());
        drop((to, broker));
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn a_drop_that_publishes_into_its_own_room_b19() {
    /// A message that publishes another when it is dropped, so many times.
    fn again(census: &Census, name: &'static str, broker: &Broker<Echo>, times: u64) -> Echo {
        let (census_of_next, weak) = (census.clone(), broker.get(name).unwrap());
        let then = move || {
            let counted = census_of_next.count(times);
            let _ = weak.publish(Echo { counted, then: None });
        };
        Echo { counted: census.count(times), then: Some(Box::new(then)) }
    }
    finishes(|| {
        let census = Census::default();
        let broker = Broker::<Echo>::builder().capacity(16).shards(1).build();
        let room = broker.room("lobby").unwrap();
        for number in 0..2_000 {
            room.publish(again(&census, "lobby", &broker, number)).unwrap();
        }
        assert!(room.tail() > 3_000, "the dropped ones published: {}", room.tail());
        assert!(room.is_running());
        // What holds a handle on its own room keeps it: push those out before the broker goes.
        for number in 0..1_000 {
            room.publish(Echo { counted: census.count(number), then: None }).unwrap();
        }
        drop((room, broker));
        eventually("nothing is left", || census.alive() == 0);
    });
}

#[test]
fn a_handler_may_publish_subscribe_open_close_and_leave() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("lobby").unwrap();
        let (done, all) = mpsc::channel();
        let inner = broker.clone();
        let served = block_on(room.subscribe_with(move |message: Ref<'_, u64>| {
            let name = format!("made by {}", *message);
            let made = inner.room(&name).unwrap();
            let mut subscription = made.subscribe().now().unwrap();
            made.publish(*message).unwrap();
            assert_eq!(subscription.recv_blocking(), Ok(*message), "what is there needs no waiting");
            assert!(inner.remove(&name));
            let mine = inner.get("lobby").unwrap();
            if *message < 100 {
                mine.publish(*message + 1).unwrap();
            } else {
                mine.close();
            }
            done.send(*message).unwrap();
        }));
        room.publish(0).unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), (0..=100).collect::<Vec<_>>());
        eventually("it goes with its room", || !served.as_ref().unwrap().is_running());
        assert_eq!(broker.stats().shards[0].panics, 0);
    });
}

#[test]
fn waiting_for_the_own_broker_in_a_handler_is_an_error() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(8).build();
        let other = Broker::<u64>::builder().shards(1).build();
        let (room, full) = (broker.room("lobby").unwrap(), broker.room("full").unwrap());
        let _blocker = full.subscribe().policy(Policy::Block).now().unwrap();
        while full.publish(0).is_ok() {}
        let elsewhere = other.room("lobby").unwrap();
        let (done, all) = mpsc::channel();
        let served = block_on(room.subscribe_with({
            let room = room.clone();
            move |_: Ref<'_, u64>| {
                assert_eq!(full.publish_blocking(7), Err(PublishError::OnShard(7)));
                let mut empty = room.subscribe().now().unwrap();
                assert_eq!(empty.recv_blocking(), Err(RecvError::OnShard));
                let join = block_on(room.subscribe_with(|_: Ref<'_, u64>| {}));
                assert_eq!(join.err(), Some(SubscribeError::OnShard));
                let foreign = block_on(elsewhere.subscribe_with(|_: Ref<'_, u64>| {})).unwrap();
                block_on(foreign.unsubscribe());
                done.send(()).unwrap();
            }
        }));
        room.publish(1).unwrap();
        assert_eq!(all.recv(), Ok(()), "another broker can be waited for");
        let own = block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).unwrap();
        let mut own = Some(own);
        let waiting = block_on(broker.room("leaves").unwrap().subscribe_with(move |_: Ref<'_, u64>| {
            block_on(own.take().unwrap().unsubscribe());
        }));
        let waiting = waiting.unwrap();
        waiting.room().publish(1).unwrap();
        eventually("a handler that waits for its own shard is removed", || !waiting.is_running());
        eventually("what it left has left all the same", || room.stats().subscribers == 1);
        drop(served);
    });
}

#[test]
fn the_last_broker_may_be_dropped_in_a_handler() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(2).build();
        let room = broker.room("lobby").unwrap();
        let mut subscription = room.subscribe().now().unwrap();
        let mut last = Some(broker.clone());
        let (done, all) = mpsc::channel();
        let served = block_on(room.subscribe_with(move |_: Ref<'_, u64>| {
            drop(last.take());
            done.send(()).unwrap();
        }));
        drop(broker);
        assert!(room.is_running());
        room.publish(1).unwrap();
        all.recv().unwrap();
        assert_eq!(drain_to_end(&mut subscription), [1]);
        eventually("the handler goes with its broker", || !served.as_ref().unwrap().is_running());
    });
}

fn drain_to_end(subscription: &mut roomcast::Subscription<u64>) -> Vec<u64> {
    let mut all = Vec::new();
    while let Ok(message) = subscription.recv_blocking() {
        all.push(message);
    }
    all
}

#[test]
fn a_waker_may_publish_and_receive_b8() {
    /// Publishes into another room when it wakes somebody.
    struct Relay(Room<u64>);
    impl std::task::Wake for Relay {
        fn wake(self: Arc<Self>) {
            let _ = self.0.publish(8);
        }
    }
    let broker = Broker::<u64>::builder().shards(1).build();
    let (room, next) = (broker.room("lobby").unwrap(), broker.room("next").unwrap());
    let mut subscription = room.subscribe().now().unwrap();
    let mut of_next = next.subscribe().now().unwrap();
    let waker = Arc::new(Relay(next)).into();
    assert!(crate::support::poll_once(subscription.recv(), &waker).is_pending());
    publish_all(&room, [7]);
    assert_eq!((drain(&mut subscription), drain(&mut of_next)), (vec![7], vec![8]));
}
