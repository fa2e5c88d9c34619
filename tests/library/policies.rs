//! What happens to a subscriber that falls behind, by its own choice.

use std::task::Poll;
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, Policy, PublishError, RecvError, Start, TryRecvError};

use crate::support::{Wakes, drain, finishes, poll_once, publish_all, publish_more};

fn small() -> Broker<u64> {
    Broker::builder().capacity(8).shards(1).build()
}

#[test]
fn a_lagging_subscriber_is_told_how_many_it_missed_and_goes_on() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    publish_all(&room, 0..100);
    let oldest = room.oldest();
    assert!(oldest <= 100 - 8);
    assert_eq!(subscription.try_recv(), Err(TryRecvError::Lagged(oldest)));
    assert_eq!(drain(&mut subscription), (oldest..100).collect::<Vec<_>>());
}

#[test]
fn the_latest_is_always_the_newest() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().policy(Policy::Latest).now().unwrap();
    for burst in [1, 2, 3, 8, 9, 40, 1] {
        publish_more(&room, burst);
        assert_eq!(subscription.try_recv(), Ok(room.tail() - 1));
        assert_eq!(subscription.try_recv(), Err(TryRecvError::Empty));
    }
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(subscription.recv(), &waker).is_pending());
    publish_more(&room, 30);
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Ok(room.tail() - 1)));
    room.close();
    assert_eq!(block_on(subscription.recv()), Err(RecvError::Closed(CloseReason::Closed)));
}

#[test]
fn a_disconnected_subscriber_gets_nothing_more() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().policy(Policy::Disconnect).now().unwrap();
    publish_all(&room, 0..8);
    // To the end of a segment: what is left of the segment it stands in would still be read.
    (0..4).for_each(|number| assert_eq!(subscription.try_recv(), Ok(number), "not behind yet"));
    publish_all(&room, 8..40);
    let end = subscription.try_recv();
    let Err(TryRecvError::Disconnected(missed)) = end else { panic!("{end:?}") };
    assert_eq!(missed, room.oldest() - 4);
    room.publish(40).unwrap();
    assert_eq!(subscription.try_recv(), end, "for good");
    assert_eq!(block_on(subscription.recv()), Err(RecvError::Disconnected(missed)));
}

#[test]
fn a_blocking_subscriber_is_never_overrun() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    let mut expected = Vec::new();
    let mut refused = 0;
    let mut received = Vec::new();
    for number in 0..1_000 {
        match room.publish(number) {
            Ok(sequence) => {
                assert_eq!(sequence, expected.len() as u64, "a refusal consumes no sequence");
                expected.push(number);
            }
            Err(PublishError::Full(back)) => {
                assert_eq!(back, number);
                refused += 1;
                received.extend((0..3).map_while(|_| blocking.try_recv().ok()));
            }
            Err(error) => panic!("{error}"),
        }
    }
    received.extend(drain(&mut blocking));
    assert!(refused > 0);
    assert_eq!(received, expected);
    assert_eq!(room.stats().blocking, 1);
    drop(blocking);
    assert_eq!(room.stats().blocking, 0);
    publish_all(&room, 0..100);
}

#[test]
fn a_blocking_subscriber_that_only_tries_makes_room_by_itself() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    for round in 0..100 {
        while room.publish(round).is_ok() {}
        while blocking.try_recv_batch(usize::MAX).is_ok() {}
        room.publish(round).expect("everything was read");
    }
}

/// Who joins at the tail wants nothing that is on its way out: a publisher that waits beside one who comes and goes is
/// always woken again.
#[test]
fn who_comes_and_goes_leaves_no_publisher_asleep() {
    const COMINGS: u64 = 5_000;
    finishes(|| {
        let broker = small();
        let room = broker.room("lobby").unwrap();
        let publisher = {
            let room = room.clone();
            thread::spawn(move || {
                (0..).take_while(|&number| room.publish_blocking(number).is_ok()).count();
            })
        };
        for _ in 0..COMINGS {
            let mut comer = room.subscribe().policy(Policy::Block).now().unwrap();
            let start = comer.position().sequence;
            assert_eq!(comer.recv_blocking(), Ok(start), "a blocking subscriber was overrun");
        }
        room.close();
        publisher.join().unwrap();
    });
}

#[test]
fn waiting_publishers_are_woken_by_reading_and_by_leaving() {
    finishes(|| {
        let broker = small();
        let room = broker.room("lobby").unwrap();
        let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
        let publisher = thread::spawn({
            let room = room.clone();
            move || (0..2_000).for_each(|number| assert_eq!(room.publish_blocking(number), Ok(number)))
        });
        for number in 0..1_900 {
            assert_eq!(blocking.recv_blocking(), Ok(number));
        }
        drop(blocking);
        publisher.join().unwrap();
        assert_eq!(room.tail(), 2_000);
    });
}

#[test]
fn waiting_publishers_are_woken_by_the_end_of_the_room() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let _blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    while room.publish(0).is_ok() {}
    let (wakes, waker) = Wakes::new();
    let mut waiting = room.publish_wait(7);
    assert!(poll_once(&mut waiting, &waker).is_pending());
    room.close();
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_once(&mut waiting, &waker), Poll::Ready(Err(PublishError::Closed(7))));
}

#[test]
fn a_dropped_wait_publishes_nothing() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    while room.publish(0).is_ok() {}
    let tail = room.tail();
    assert!(poll_once(room.publish_wait(7), &Wakes::new().1).is_pending());
    assert_eq!(drain(&mut blocking), vec![0; tail as usize]);
    assert_eq!(room.tail(), tail);
}

#[test]
fn everything_retained_is_there_for_a_blocking_subscriber_too() {
    let broker = Broker::<u64>::builder().capacity(256).build();
    let room = broker.room("lobby").unwrap();
    publish_all(&room, 0..100);
    let mut blocking = room.subscribe_from(Start::Oldest).policy(Policy::Block).now().unwrap();
    assert_eq!(drain(&mut blocking), (0..100).collect::<Vec<_>>(), "nothing is about to be evicted");
}

#[test]
fn several_blocking_subscribers_all_get_everything() {
    finishes(|| {
        let broker = small();
        let room = broker.room("lobby").unwrap();
        let readers: Vec<_> = (0..3)
            .map(|_| room.subscribe().policy(Policy::Block).now().unwrap())
            .map(|mut reader| {
                thread::spawn(move || {
                    let mut all = Vec::new();
                    while let Ok(message) = reader.recv_blocking() {
                        all.push(message);
                    }
                    all
                })
            })
            .collect();
        (0..3_000).for_each(|number| assert_eq!(room.publish_blocking(number), Ok(number)));
        room.close();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), (0..3_000).collect::<Vec<_>>());
        }
    });
}

#[test]
fn subscribers_of_all_policies_share_a_room() {
    let broker = small();
    let room = broker.room("lobby").unwrap();
    let mut lagging = room.subscribe().now().unwrap();
    let mut latest = room.subscribe().policy(Policy::Latest).now().unwrap();
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    for number in 0..50 {
        assert_eq!(room.publish(number), Ok(number));
        assert_eq!(blocking.try_recv(), Ok(number));
    }
    assert_eq!(latest.try_recv(), Ok(49));
    assert!(matches!(lagging.try_recv(), Err(TryRecvError::Lagged(_))));
}
