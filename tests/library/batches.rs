//! Publishing many messages at once into a shared room.

use std::sync::Arc;
use std::thread;

use roomcast::{Broker, Policy, PublishError, TryRecvError};

use crate::support::Census;

#[test]
fn a_batch_is_received_in_order_across_segments() {
    let broker = Broker::<u64>::builder().capacity(256).build();
    let room = broker.room("numbers").unwrap();
    let mut numbers = room.subscribe().now().unwrap();
    assert_eq!(room.publish_all(0..200), Ok(0..200));
    for expected in 0..200 {
        assert_eq!(numbers.try_recv(), Ok(expected));
    }
    assert_eq!(numbers.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn an_empty_batch_is_published_nowhere() {
    let broker = Broker::<u64>::new();
    let room = broker.room("numbers").unwrap();
    room.publish(7).unwrap();
    assert_eq!(room.publish_all([]), Ok(1..1));
    assert_eq!(room.tail(), 1);
}

#[test]
fn batches_of_several_publishers_keep_their_own_order() {
    const EACH: u64 = 4_000;
    let broker = Broker::<(u64, u64)>::builder().capacity(3 * EACH as usize).build();
    let room = Arc::new(broker.room("numbers").unwrap());
    let mut all = room.subscribe().now().unwrap();
    let publishers: Vec<_> = [1, 7, 64]
        .into_iter()
        .enumerate()
        .map(|(publisher, size)| {
            let room = room.clone();
            thread::spawn(move || {
                for first in (0..EACH).step_by(size) {
                    let end = EACH.min(first + size as u64);
                    room.publish_all((first..end).map(|number| (publisher as u64, number))).unwrap();
                }
            })
        })
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let mut next = [0; 3];
    for sequence in 0..3 * EACH {
        let message = all.try_recv_ref().unwrap();
        let (publisher, number) = *message;
        assert_eq!((message.sequence(), number), (sequence, next[publisher as usize]));
        next[publisher as usize] += 1;
    }
    assert_eq!(next, [EACH; 3]);
}

#[test]
fn what_does_not_fit_comes_back() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("ledger").unwrap();
    let mut ledger = room.subscribe().policy(Policy::Block).now().unwrap();
    let Err(PublishError::Full(rest)) = room.publish_all(0..1_000) else { panic!("the room takes 1,000 messages") };
    let taken = 1_000 - rest.len() as u64;
    assert!(taken >= 16, "a room retains its capacity");
    assert_eq!(rest, (taken..1_000).collect::<Vec<_>>());
    for expected in 0..taken {
        assert_eq!(ledger.try_recv(), Ok(expected));
    }
    assert_eq!(ledger.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_heavy_message_stops_a_batch_before_itself() {
    let broker = Broker::<Vec<u8>>::builder().capacity(4).bytes_max(400, Vec::len).build();
    let room = broker.room("files").unwrap();
    let mut files = room.subscribe().now().unwrap();
    let refused = room.publish_all([vec![1; 50], vec![2; 500], vec![3; 50]]);
    assert_eq!(refused, Err(PublishError::TooLarge(vec![vec![2; 500], vec![3; 50]])));
    assert_eq!(files.try_recv(), Ok(vec![1; 50]));
    assert_eq!(files.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(room.stats().bytes, 50);
}

#[test]
fn a_batch_wakes_whoever_waits_for_one_of_it() {
    let broker = Broker::<u64>::new();
    let room = broker.room("numbers").unwrap();
    let mut reader = room.subscribe().now().unwrap();
    let reading = thread::spawn(move || (0..100).map(|_| reader.recv_blocking().unwrap()).sum::<u64>());
    for first in (0..100).step_by(10) {
        room.publish_all(first..first + 10).unwrap();
    }
    assert_eq!(reading.join().unwrap(), 99 * 100 / 2);
}

#[test]
fn an_exclusive_room_takes_no_batch_from_others() {
    let broker = Broker::<u64>::new();
    let publisher = broker.exclusive("prices").unwrap();
    assert_eq!(publisher.room().publish_all([1, 2]), Err(PublishError::Exclusive(vec![1, 2])));
}

#[test]
fn every_message_of_a_batch_is_dropped_once() {
    let census = Census::default();
    let broker = Broker::builder().capacity(8).build();
    let room = broker.room("numbers").unwrap();
    for _ in 0..20 {
        room.publish_all((0..10).map(|number| census.count(number))).ok().unwrap();
    }
    room.close();
    let Err(refused) = room.publish_all((0..10).map(|number| census.count(number))) else { panic!("it is closed") };
    assert_eq!(refused.into_inner().len(), 10);
    drop((room, broker));
    assert_eq!(census.alive(), 0);
}
