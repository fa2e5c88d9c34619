//! A room retains no more bytes than it may.

use std::sync::Arc;

use roomcast::{Broker, Policy, PublishError, RoomError, RoomOptions, Start, TryRecvError};

use crate::support::{drain, finishes};

const BYTES_MAX: u64 = 16_384;

fn broker(capacity: usize) -> Broker<Vec<u8>> {
    Broker::builder().capacity(capacity).bytes_max(BYTES_MAX, Vec::len).build()
}

/// What anybody could read now.
fn retained(room: &roomcast::Room<Vec<u8>>) -> u64 {
    let mut all = room.subscribe_from(Start::Oldest).now().unwrap();
    drain(&mut all).iter().map(|message| message.len() as u64).sum()
}

/// Sizes from none to the largest allowed, in no order.
fn size(number: u64, largest: u64) -> usize {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as usize % (largest as usize + 1)
}

#[test]
fn mixed_sizes_stay_within_the_budget() {
    // (capacity, slots of a segment, as `Builder::bytes_max` says how they bound a message)
    for (capacity, slots) in [(4, 1), (16, 4), (64, 16), (1_000, 64)] {
        let broker = broker(capacity);
        let room = broker.room("lobby").unwrap();
        let largest = BYTES_MAX / 4 / slots;
        for number in 0..2_000 {
            room.publish(vec![0; size(number, largest)]).unwrap();
            let bytes = retained(&room);
            assert!(bytes <= BYTES_MAX, "{bytes} bytes retained after {number} with capacity {capacity}");
        }
        assert_eq!(
            room.publish(vec![0; largest as usize + 1]).map_err(PublishError::into_inner).unwrap_err().len(),
            largest as usize + 1
        );
        assert!(retained(&room) > BYTES_MAX / 4 || capacity == 1_000 || capacity == 4, "it is not emptied either");
    }
}

#[test]
fn exclusive_rooms_too() {
    let broker = broker(64);
    let mut publisher = broker.exclusive("lobby").unwrap();
    let room = publisher.room();
    let largest = BYTES_MAX / 4 / 16;
    for number in 0..500 {
        publisher.publish_all((0..7).map(|part| vec![0; size(number * 7 + part, largest)])).unwrap();
        assert!(retained(&room) <= BYTES_MAX);
    }
    let mut mixed = [vec![1], vec![2], vec![0; largest as usize + 1], vec![3]].into_iter();
    let Err(PublishError::TooLarge(back)) = publisher.publish_all(mixed.by_ref()) else { panic!("too large") };
    assert_eq!(back.len(), 1, "what came before is published, and no more was taken");
    assert!(mixed.eq([vec![3]]));
    assert_eq!(publisher.publish(vec![4]).unwrap(), 500 * 7 + 2);
}

#[test]
fn what_went_early_counts_as_lag() {
    let broker = broker(1_000);
    let room = broker.room("lobby").unwrap();
    let mut slow = room.subscribe().now().unwrap();
    for _ in 0..1_000 {
        room.publish(vec![0; 60]).unwrap();
    }
    let oldest = room.oldest();
    assert!(oldest > 0, "a capacity of 1,000 would have kept them all");
    assert_eq!(slow.try_recv(), Err(TryRecvError::Lagged(oldest)));
    assert_eq!(drain(&mut slow).len() as u64, 1_000 - oldest);
    let account = slow.accounting();
    assert_eq!((account.received, account.lagged), (1_000 - oldest, oldest));
}

#[test]
fn a_blocking_subscriber_does_not_break_the_budget_nor_the_budget_its_promise() {
    let broker = broker(1_000);
    let room = broker.room("lobby").unwrap();
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    let mut published = 0;
    let mut received = 0;
    while published < 5_000 {
        match room.publish(vec![0; 60]) {
            Ok(_) => published += 1,
            Err(PublishError::Full(_)) => received += drain(&mut blocking).len(),
            Err(error) => panic!("{error}"),
        }
        let bytes = 60 * (room.tail() - room.oldest());
        assert!(bytes <= BYTES_MAX, "{bytes} bytes retained after {published} messages");
    }
    received += drain(&mut blocking).len();
    assert_eq!(received, published);
}

#[test]
fn a_blocking_subscriber_leaves_no_hole_in_what_is_retained() {
    // Eight segments of 16 slots.
    let broker = broker(112);
    let room = broker.room("lobby").unwrap();
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    // Five light segments, then three that are as heavy as the budget allows: the next one pushes out all light ones.
    (0..5 * 16).for_each(|_| assert!(room.publish(vec![0]).is_ok()));
    (0..3 * 16).for_each(|_| assert!(room.publish(vec![0; 256]).is_ok()));
    (0..=3 * 16).for_each(|_| assert_eq!(blocking.try_recv().unwrap().len(), 1));
    assert!(
        matches!(room.publish(vec![0]), Err(PublishError::Full(_))),
        "three of them were read, and a message of the fourth"
    );
    let mut all = room.subscribe_from(Start::Oldest).now().unwrap();
    assert_eq!(room.oldest(), 3 * 16);
    assert_eq!((drain(&mut all).len(), all.accounting().lagged), (5 * 16, 0));
}

#[test]
fn a_waiting_publisher_gets_on_within_a_budget() {
    finishes(|| {
        let broker = broker(1_000);
        let room = broker.room("lobby").unwrap();
        let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
        let publisher = std::thread::spawn({
            let room = room.clone();
            move || (0..3_000).for_each(|_| assert!(room.publish_blocking(vec![0; 60]).is_ok()))
        });
        for _ in 0..3_000 {
            assert_eq!(blocking.recv_blocking().unwrap().len(), 60);
        }
        publisher.join().unwrap();
    });
}

#[test]
fn a_room_may_have_its_own_budget() {
    let broker = Broker::<Arc<[u8]>>::builder().weigh(|message| message.len()).build();
    let options = RoomOptions::new().capacity(4).bytes_max(400);
    let small = broker.room_with("small", options).unwrap();
    assert!(matches!(small.publish([0; 101].into()), Err(PublishError::TooLarge(_))));
    assert_eq!(small.publish([0; 100].into()), Ok(0));
    let unlimited = broker.room("unlimited").unwrap();
    assert_eq!(unlimited.publish(vec![0; 100_000].into()), Ok(0));
}

#[test]
fn a_budget_without_a_scale_is_refused() {
    let broker = Broker::<Vec<u8>>::new();
    let room = broker.room_with("small", RoomOptions::new().bytes_max(400));
    assert_eq!(room.err(), Some(RoomError::Unweighed));
    assert_eq!(broker.stats().rooms, 0);
}

/// What is trimmed is dropped before the call returns, where nobody reads it.
#[test]
fn what_is_trimmed_is_dropped_at_once_and_what_a_reader_stands_in_is_still_counted() {
    let broker = Broker::builder().capacity(64).bytes_max(1 << 20, |message: &Arc<[u8]>| message.len()).build();
    let room = broker.room("lobby").unwrap();
    let message: Arc<[u8]> = vec![0; 100].into();
    let mut slow = room.subscribe().now().unwrap();
    for _ in 0..64 {
        room.publish(message.clone()).unwrap();
    }
    // Of four segments of sixteen one is read and the newest stays.
    assert!(slow.try_recv().is_ok());
    room.trim(0);
    assert_eq!(room.oldest(), 48);
    assert_eq!((room.stats().bytes, room.stats().bytes_held, Arc::strong_count(&message)), (1_600, 3_200, 33));
}

/// A writer that is alone in its room is not alone with what is trimmed: nothing is lost behind it.
#[test]
fn an_exclusive_room_that_is_trimmed_while_it_is_published_into_loses_nothing_else() {
    finishes(|| {
        let broker = Broker::builder().capacity(4).bytes_max(BYTES_MAX, Vec::len).build();
        let mut publisher = broker.exclusive("lobby").unwrap();
        let room = publisher.room();
        let mut reader = room.subscribe().now().unwrap();
        let trimmer = {
            let room = room.clone();
            std::thread::spawn(move || {
                while room.is_running() {
                    room.trim(0);
                }
            })
        };
        for number in 0..50_000_u64 {
            assert_eq!(publisher.publish(number.to_le_bytes().to_vec()).unwrap(), number);
            assert_eq!(room.tail(), number + 1);
            let newest = loop {
                match reader.try_recv() {
                    Ok(message) => break message,
                    Err(TryRecvError::Lagged(_)) => {}
                    other => panic!("{other:?} at {number}"),
                }
            };
            assert_eq!(newest, number.to_le_bytes(), "the newest is never trimmed");
        }
        drop(publisher);
        trimmer.join().unwrap();
    });
}

/// Messages that weigh more than their part are taken where the room says so: few of them within the budget, and many without an end of
/// those before, in rooms with and without times, shared and exclusive.
#[test]
fn large_messages_are_taken_where_a_room_says_so() {
    finishes(|| {
        let options = RoomOptions::new().bytes_max(BYTES_MAX).large_message_bytes_max(BYTES_MAX / 4);
        for broker in [Broker::builder().clock(|| 7), Broker::builder()] {
            let broker = broker.capacity(1_000).weigh(Vec::len).build();
            let room = broker.room_with("lobby", options).unwrap();
            for number in 0..2_000_u64 {
                let bytes = if number % 97 == 0 { BYTES_MAX as usize / 4 } else { 60 };
                assert_eq!(room.publish(vec![0; bytes]), Ok(number));
                assert!(retained(&room) <= BYTES_MAX, "{} bytes at {number}", retained(&room));
            }
            let mut exclusive = broker.exclusive_with("exclusive", options).unwrap();
            for number in 0..1_000 {
                let large = vec![0; BYTES_MAX as usize / 4];
                assert_eq!(room.publish(large.clone()), Ok(2_000 + number));
                assert_eq!(exclusive.publish(large.clone()), Ok(number));
                let oldest = room.tail() - room.oldest();
                assert!((65..=128).contains(&oldest) || number < 128, "{oldest} stay of nothing but large ones");
            }
            assert!(matches!(room.publish(vec![0; BYTES_MAX as usize / 4 + 1]), Err(PublishError::TooLarge(_))));
        }
    });
}
