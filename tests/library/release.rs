//! Weak handles, and waiting for a room to end or to be left by everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, Ref, WeakRoom};

use crate::support::{eventually, finishes};

#[test]
fn a_weak_room_follows_its_room() {
    let broker = Broker::<u8>::new();
    let room = broker.room("lobby").unwrap();
    let weak = room.downgrade();
    assert_eq!(weak.upgrade().as_ref(), Some(&room));
    broker.remove("lobby");
    assert_eq!(weak.upgrade().unwrap().ended(), Some(CloseReason::Removed), "a handle keeps it readable");
    drop(room);
    assert!(weak.upgrade().is_none());
}

/// A message that held its own room would keep it for ever; one with a weak handle does not.
#[test]
fn a_message_with_a_weak_handle_on_its_room_keeps_nothing() {
    struct Reply {
        to: WeakRoom<Self>,
        _alive: Arc<()>,
    }
    let alive = Arc::new(());
    let broker = Broker::<Reply>::new();
    let room = broker.room("lobby").unwrap();
    let mut reader = room.subscribe().now().unwrap();
    room.publish(Reply { to: room.downgrade(), _alive: alive.clone() }).ok().unwrap();
    assert_eq!(reader.try_recv_ref().unwrap().to.upgrade().as_ref(), Some(&room));
    drop((reader, room, broker));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn a_weak_broker_in_a_handler_does_not_keep_the_broker() {
    let broker = Broker::<u32>::new();
    let weak = broker.downgrade();
    let handled = Arc::new(AtomicUsize::new(0));
    let count = handled.clone();
    let served = block_on(broker.room("in").unwrap().subscribe_with(move |message: Ref<'_, u32>| {
        if let Some(broker) = weak.upgrade() {
            broker.publish("out", *message).unwrap();
            count.fetch_add(1, SeqCst);
        }
    }))
    .unwrap();
    broker.publish("in", 7).unwrap();
    eventually("the handler was called", || handled.load(SeqCst) == 1);
    let weak = broker.downgrade();
    drop(broker);
    eventually("the broker is gone", || weak.upgrade().is_none());
    drop(served);
}

#[test]
fn closed_says_why_to_all_who_wait() {
    finishes(|| {
        for reason in [CloseReason::Closed, CloseReason::Removed, CloseReason::BrokerClosed, CloseReason::Expired] {
            let broker = Broker::<u8>::new();
            let room = broker.room("lobby").unwrap();
            let waiting: Vec<_> = (0..3)
                .map(|_| {
                    let closed = room.closed();
                    thread::spawn(move || block_on(closed))
                })
                .collect();
            eventually("all three wait", || room.stats().waiting == 3);
            match reason {
                CloseReason::Closed => assert!(room.close()),
                CloseReason::Removed => assert!(broker.remove("lobby")),
                CloseReason::Expired => assert_eq!((broker.expire_idle(), broker.expire_idle()), (0, 1)),
                _ => broker.close(),
            }
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), reason);
            }
            assert_eq!(block_on(room.closed()), reason, "and to whoever comes late");
            assert_eq!(room.stats().waiting, 0);
        }
    });
}

#[test]
fn a_room_is_vacated_when_the_last_of_any_kind_has_left() {
    finishes(|| {
        let broker = Broker::<u8>::new();
        let room = broker.room("lobby").unwrap();
        let _pattern = broker.subscribe_pattern("*");
        block_on(room.vacated());
        let subscription = room.subscribe().now().unwrap();
        let served = block_on(room.subscribe_with(|_: Ref<'_, u8>| {})).unwrap();
        let waiting = {
            let vacated = room.vacated();
            thread::spawn(move || block_on(vacated))
        };
        eventually("it waits", || room.stats().waiting == 1);
        drop(subscription);
        assert!(!waiting.is_finished(), "a handler is still served");
        drop(served);
        waiting.join().unwrap();
        assert_eq!((room.stats().subscribers, room.stats().patterns), (0, 1));
    });
}

#[test]
fn futures_that_are_given_up_leave_nothing_behind() {
    let broker = Broker::<u8>::new();
    let room = broker.room("lobby").unwrap();
    let _subscription = room.subscribe().now().unwrap();
    let waker = std::task::Waker::noop();
    for _ in 0..1_000 {
        let mut context = std::task::Context::from_waker(waker);
        let (mut closed, mut vacated) = (room.closed(), room.vacated());
        assert!(std::pin::Pin::new(&mut closed).poll(&mut context).is_pending());
        assert!(std::pin::Pin::new(&mut vacated).poll(&mut context).is_pending());
        assert_eq!(room.stats().waiting, 2);
    }
    assert_eq!(room.stats().waiting, 0);
}
