//! Every future, dropped before it is polled, dropped while it waits, polled twice, and polled once too often.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::executor::block_on;
use roomcast::{
    Broker, CloseReason, Policy, PublishError, RecvError, Ref, Room, RoomSet, SubscribeError, TryRecvError,
};

use crate::support::{Blocked, Wakes, eventually, finishes, poll_once, publish_all};

fn room() -> (Broker<u64>, Room<u64>) {
    let broker = Broker::<u64>::builder().capacity(8).shards(1).build();
    let room = broker.room("lobby").unwrap();
    (broker, room)
}

/// Polls a future that is kept.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn panics_when_polled_again(future: &mut (impl Future + Unpin)) {
    let again = catch_unwind(AssertUnwindSafe(|| drop(poll(future))));
    let text = again.expect_err("it was ready before");
    assert_eq!(text.downcast_ref(), Some(&"polled after it was ready"));
}

#[test]
fn a_receive_that_is_dropped_at_any_time_loses_nothing() {
    let (_broker, room) = room();
    let mut subscription = room.subscribe().now().unwrap();
    let (wakes, waker) = Wakes::new();
    for number in 0..30 {
        drop((subscription.recv(), ()));
        assert!(poll_once(subscription.recv(), &waker).is_pending());
        assert!(poll_once(subscription.recv_ref(), &waker).is_pending());
        assert!(poll_once(subscription.recv_batch(3), &waker).is_pending());
        publish_all(&room, [number]);
        assert_eq!(wakes.count() as u64, number + 1, "woken once, though four were dropped");
        // Made while there is something, and dropped unpolled.
        drop((subscription.recv_ref(), ()));
        assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Ok(number)));
    }
    assert_eq!(subscription.accounting().received, 30);
}

#[test]
fn polled_twice_a_receive_goes_on_waiting_and_then_is_over() {
    let (_broker, room) = room();
    let mut subscription = room.subscribe().now().unwrap();
    let mut batch = subscription.recv_batch(3);
    assert!(poll(&mut batch).is_pending() && poll(&mut batch).is_pending());
    publish_all(&room, [1, 2]);
    assert!(matches!(poll(&mut batch), Poll::Ready(Ok(batch)) if *batch == [1, 2]));
    panics_when_polled_again(&mut batch);
    let mut one = subscription.recv_ref();
    assert!(poll(&mut one).is_pending());
    publish_all(&room, [3]);
    assert!(matches!(poll(&mut one), Poll::Ready(Ok(message)) if *message == 3));
    panics_when_polled_again(&mut one);
    // Also when it was ready with an error.
    room.close();
    let mut one = subscription.recv_ref();
    assert!(matches!(poll(&mut one), Poll::Ready(Err(RecvError::Closed(CloseReason::Closed)))));
    panics_when_polled_again(&mut one);
}

#[test]
fn a_reference_that_is_held_while_the_ring_is_lapped_is_followed_by_lag() {
    let (_broker, room) = room();
    let mut subscription = room.subscribe().now().unwrap();
    let mut one = subscription.recv_ref();
    assert!(poll(&mut one).is_pending());
    publish_all(&room, [7]);
    let Poll::Ready(Ok(held)) = poll(&mut one) else { panic!("it was published") };
    publish_all(&room, 0..1_000);
    let copy = held;
    assert_eq!((*held, *copy, held.sequence()), (7, 7, 0));
    let next = block_on(subscription.recv_batch(100)).map(|batch| batch.to_vec());
    // What is left of its segment first: it was there all the time.
    let missed = match next {
        Ok(rest) => {
            assert_eq!(rest, [0]);
            block_on(subscription.recv())
        }
        Err(error) => Err(error),
    };
    assert_eq!(missed, Err(RecvError::Lagged(room.oldest() - 2)));
}

#[test]
fn a_subscribe_counts_when_it_is_polled_and_each_time_anew() {
    let (_broker, room) = room();
    drop((room.subscribe(), ()));
    let mut subscribe = room.subscribe();
    assert_eq!(room.stats().subscribers, 0);
    publish_all(&room, [1]);
    let Poll::Ready(Ok(mut first)) = poll(&mut subscribe) else { panic!("ready at its first poll") };
    publish_all(&room, [2]);
    let Poll::Ready(Ok(mut second)) = poll(&mut subscribe) else { panic!("and at every other") };
    publish_all(&room, [3]);
    assert_eq!((first.try_recv(), second.try_recv()), (Ok(2), Ok(3)), "from when it was polled");
    room.close();
    assert_eq!(poll(&mut subscribe).map(Result::err), Poll::Ready(Some(SubscribeError::Closed(CloseReason::Closed))));
}

#[test]
fn a_join_waits_as_often_as_it_is_polled_and_then_is_over() {
    finishes(|| {
        let (broker, room) = room();
        let blocked = Blocked::new(&broker, "blocker");
        blocked.block();
        let mut join = room.subscribe_with(|_: Ref<'_, u64>| {});
        assert!(poll(&mut join).is_pending() && poll(&mut join).is_pending());
        blocked.release();
        let served = block_on(&mut join).unwrap();
        panics_when_polled_again(&mut join);
        drop(join);
        assert!(served.is_running(), "what is over and dropped takes nothing with it");
        assert_eq!(room.stats().subscribers, 1);
        block_on(served.unsubscribe());
    });
}

#[test]
fn an_unsubscribe_that_is_dropped_removes_the_handler_all_the_same() {
    finishes(|| {
        let (broker, room) = room();
        for polled in [false, true] {
            let held = Arc::new(());
            let handler = held.clone();
            let served = block_on(room.subscribe_with(move |_: Ref<'_, u64>| drop(handler.clone()))).unwrap();
            let blocked = Blocked::new(&broker, &format!("blocker, {polled}"));
            blocked.block();
            let mut unsubscribe = Box::pin(served.unsubscribe());
            if polled {
                assert!(poll(&mut unsubscribe).is_pending() && poll(&mut unsubscribe).is_pending());
            }
            drop(unsubscribe);
            blocked.release();
            eventually("the handler is dropped", || Arc::strong_count(&held) == 1);
            eventually("and counted out", || room.stats().subscribers == 0);
        }
    });
}

#[test]
fn a_waiting_publish_publishes_once_or_not_at_all() {
    let (_broker, room) = room();
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    let filled = (0..).find(|number| room.publish(*number).is_err()).expect("it is full at some time");
    let mut waiting = room.publish_wait(99);
    let (never_polled, mut dropped) = (room.publish_wait(97), room.publish_wait(98));
    assert!(poll(&mut waiting).is_pending() && poll(&mut waiting).is_pending() && poll(&mut dropped).is_pending());
    drop((never_polled, dropped));
    for number in 0..filled {
        assert_eq!(blocking.try_recv(), Ok(number));
    }
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(filled)));
    panics_when_polled_again(&mut waiting);
    assert_eq!((blocking.try_recv(), blocking.try_recv()), (Ok(99), Err(TryRecvError::Empty)));
    // Refused, it gives its message back and is over as well.
    room.close();
    let mut refused = room.publish_wait(100);
    assert_eq!(poll(&mut refused), Poll::Ready(Err(PublishError::Closed(100))));
    panics_when_polled_again(&mut refused);
}

#[test]
fn ready_rooms_are_not_lost_with_the_future_that_waited_for_them() {
    let (broker, room) = room();
    let mut set = RoomSet::new();
    let key = set.join(room.subscribe().now().unwrap());
    let mut pattern = broker.subscribe_pattern("lob*");
    let (wakes, waker) = Wakes::new();
    for number in 0..30 {
        drop((set.ready(), pattern.ready()));
        assert!(poll_once(set.ready(), &waker).is_pending() && poll_once(pattern.ready(), &waker).is_pending());
        let before = wakes.count();
        publish_all(&room, [number]);
        assert_eq!(wakes.count(), before + 2, "one for the set and one for the pattern");
        drop((set.ready(), pattern.ready()));
        assert_eq!(poll_once(set.ready(), &waker), Poll::Ready(key));
        assert_eq!(set.get_mut(key).unwrap().try_recv(), Ok(number));
        let Poll::Ready(Some(found)) = poll_once(pattern.ready(), &waker) else { panic!("it has something") };
        // Given out and not read, it comes up again.
        assert_eq!(poll_once(pattern.ready(), &waker), Poll::Ready(Some(found)));
        assert_eq!(pattern.get_mut(found).unwrap().try_recv(), Ok(number));
    }
}
