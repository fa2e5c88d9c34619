//! Sleeping and waking, with wakers made by hand and with real threads.

use std::task::Poll;
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, RecvError};

use crate::support::{Wakes, finishes, poll_once};

#[test]
fn one_publish_is_one_wake_and_none_is_none() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let (wakes, waker) = Wakes::new();
    for round in 0..500 {
        assert!(poll_once(subscription.recv(), &waker).is_pending());
        assert!(poll_once(subscription.recv(), &waker).is_pending(), "polled twice, parked once");
        room.publish(round).unwrap();
        room.publish(round).unwrap();
        assert_eq!(wakes.count() as u64, round + 1, "the second finds nobody asleep");
        assert_eq!(subscription.try_recv(), Ok(round));
        assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Ok(round)));
    }
}

#[test]
fn only_the_last_waker_is_woken() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let ((first, of_first), (last, of_last)) = (Wakes::new(), Wakes::new());
    assert!(poll_once(subscription.recv(), &of_first).is_pending());
    assert!(poll_once(subscription.recv(), &of_last).is_pending());
    room.publish(1).unwrap();
    assert_eq!((first.count(), last.count()), (0, 1));
}

#[test]
fn closing_and_removing_wake_those_who_wait_b10() {
    let broker = Broker::<u64>::builder().shards(1).build();
    for (name, reason) in [("closed", CloseReason::Closed), ("removed", CloseReason::Removed)] {
        let room = broker.room(name).unwrap();
        let mut subscription = room.subscribe().now().unwrap();
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(subscription.recv(), &waker).is_pending());
        assert!(if reason == CloseReason::Closed { room.close() } else { broker.remove(name) });
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Err(RecvError::Closed(reason))));
        // Opened again, the old subscription stays ended and the new one works.
        let mut again = broker.room(name).unwrap().subscribe().now().unwrap();
        assert!(poll_once(again.recv(), &waker).is_pending());
        broker.publish(name, 7).unwrap();
        assert_eq!(poll_once(again.recv(), &waker), Poll::Ready(Ok(7)));
        assert_eq!(block_on(subscription.recv()), Err(RecvError::Closed(reason)));
    }
}

#[test]
fn a_reader_lapped_in_its_sleep_is_woken_to_its_lag() {
    let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(subscription.recv(), &waker).is_pending());
    (0..100).for_each(|number| assert!(room.publish(number).is_ok()));
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Err(RecvError::Lagged(room.oldest()))));
}

#[test]
fn every_park_is_answered_b15_b16() {
    // Ping-pong: each side sleeps until the other has published, so one lost wake-up is a hang.
    finishes(|| {
        const ROUNDS: u64 = 20_000;
        let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
        let (ping, pong) = (broker.room("ping").unwrap(), broker.room("pong").unwrap());
        let (mut of_ping, mut of_pong) = (ping.subscribe().now().unwrap(), pong.subscribe().now().unwrap());
        let other = thread::spawn(move || {
            for round in 0..ROUNDS {
                assert_eq!(of_ping.recv_blocking(), Ok(round));
                pong.publish(round).unwrap();
            }
        });
        for round in 0..ROUNDS {
            ping.publish(round).unwrap();
            assert_eq!(of_pong.recv_blocking(), Ok(round));
        }
        other.join().unwrap();
    });
}

#[test]
fn every_park_of_several_is_answered_while_others_come_and_go_b10() {
    finishes(|| {
        const ROUNDS: u64 = 1_500;
        let broker = Broker::<u64>::builder().capacity(8).shards(1).build();
        let (room, back) = (broker.room("lobby").unwrap(), broker.room("back").unwrap());
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (mut subscription, back) = (room.subscribe().now().unwrap(), back.clone());
                thread::spawn(move || {
                    for round in 0..ROUNDS {
                        assert_eq!(subscription.recv_blocking(), Ok(round));
                        back.publish(round).unwrap();
                    }
                })
            })
            .collect();
        let mut answers = back.subscribe().now().unwrap();
        for round in 0..ROUNDS {
            // Readers that park and go away before the publish: their waiters must not hide the others.
            for _ in 0..3 {
                let mut gone = room.subscribe().now().unwrap();
                assert!(poll_once(gone.recv(), std::task::Waker::noop()).is_pending());
            }
            room.publish(round).unwrap();
            for _ in 0..3 {
                assert_eq!(answers.recv_blocking(), Ok(round));
            }
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
