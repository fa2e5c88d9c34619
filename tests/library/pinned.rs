//! Memory, when slow readers keep what has long left the ring.

use std::thread;

use roomcast::Broker;

use crate::support::Census;

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
