//! Memory, when slow readers keep what has long left the ring.

use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, Policy, PublishError, TryRecvError};

use crate::support::{Census, finishes};

const PINNED: u64 = 1_000;

/// Two publishers run the ring around many times while a thousand readers stand in segments of their own. The table grows
/// to what is pinned and a fraction more, and stays there.
#[test]
fn a_thousand_pinned_segments_are_all_that_two_publishers_leave() {
    let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
    let room = broker.room("numbers").unwrap();
    let mut readers: Vec<_> = (0..PINNED)
        .map(|number| {
            let mut reader = room.subscribe().now().unwrap();
            room.publish(number).unwrap();
            assert_eq!(reader.try_recv_ref().map(|message| *message), Ok(number));
            reader
        })
        .collect();
    let publish = || (0..50_000).for_each(|number| assert!(room.publish(number).is_ok()));
    thread::scope(|scope| [scope.spawn(publish), scope.spawn(publish)].map(drop));
    let grown = room.stats().segments;
    assert!(grown <= PINNED as usize * 3 / 2, "{grown} segments for {PINNED} pinned ones");
    assert_eq!(room.stats().segments_pinned, PINNED as usize);
    thread::scope(|scope| [scope.spawn(publish), scope.spawn(publish)].map(drop));
    let later = room.stats().segments;
    assert!(later <= grown + grown / 8, "it goes on growing: {grown}, then {later} segments");
    for (number, reader) in readers.iter_mut().enumerate() {
        let missed = reader.try_recv().unwrap_err();
        assert!(matches!(missed, roomcast::TryRecvError::Lagged(_)), "reader {number}: {missed:?}");
    }
}

/// The segments of a room.
const SEGMENTS_MAX: u64 = 65_535;

/// Readers that have found nothing more keep nothing, however many they are.
#[test]
fn readers_at_the_tail_pin_nothing() {
    let broker = Broker::<u64>::builder().capacity(1).shards(1).build();
    let room = broker.room("numbers").unwrap();
    let readers: Vec<_> = (0..SEGMENTS_MAX + 10)
        .map(|number| {
            let mut reader = room.subscribe().now().unwrap();
            room.publish(number).unwrap();
            assert_eq!((reader.try_recv(), reader.try_recv()), (Ok(number), Err(TryRecvError::Empty)));
            reader
        })
        .collect();
    let stats = room.stats();
    assert_eq!(stats.segments_pinned, 0);
    assert!(stats.segments < 10, "{} segments for a capacity of one", stats.segments);
    drop(readers);
}

/// Where every segment that a room may have is pinned, a publisher is told so, whoever blocks beside: one that waited for
/// those who block would wait for ever. What is not pinned any more is used again.
#[test]
fn a_room_without_a_segment_left_says_so() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(1).shards(1).build();
        let room = broker.room("numbers").unwrap();
        let mut readers = Vec::new();
        let refused = loop {
            let mut reader = room.subscribe().now().unwrap();
            match room.publish(0) {
                Ok(_) => assert_eq!(reader.try_recv(), Ok(0)),
                Err(refused) => break refused,
            }
            readers.push(reader);
        };
        assert_eq!(readers.len() as u64, SEGMENTS_MAX);
        assert_eq!(refused, PublishError::Pinned(0));
        assert_eq!(block_on(room.publish_wait(1)), Err(PublishError::Pinned(1)));
        let blocker = room.subscribe().policy(Policy::Block).now().unwrap();
        assert_eq!(block_on(room.publish_wait(2)), Err(PublishError::Pinned(2)));
        drop((blocker, readers));
        room.publish(3).unwrap();
    });
}

/// What was pinned is used again once nobody stands in it, and its messages are dropped.
#[test]
fn what_is_not_pinned_any_more_is_dropped_and_used_again() {
    let census = Census::default();
    let broker = Broker::builder().capacity(4).shards(1).build();
    let room = broker.room("numbers").unwrap();
    let readers: Vec<_> = (0..100)
        .map(|number| {
            let mut reader = room.subscribe().now().unwrap();
            room.publish(census.count(number)).ok().unwrap();
            assert_eq!(reader.try_recv_ref().unwrap().number, number);
            reader
        })
        .collect();
    for number in 0..1_000 {
        room.publish(census.count(number)).ok().unwrap();
    }
    assert!(census.alive() >= 100, "what is lent is not dropped");
    drop(readers);
    let grown = room.stats().segments;
    for number in 0..10 * grown as u64 {
        room.publish(census.count(number)).ok().unwrap();
    }
    // Those in the ring, and the few that wait for a shard that is awake.
    assert!(census.alive() <= 16, "{} messages are alive: {:?}", census.alive(), room.stats());
    assert_eq!((room.stats().segments, room.stats().segments_pinned), (grown, 0));
}
