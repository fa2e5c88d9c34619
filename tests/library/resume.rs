//! Going on where an earlier subscription stopped.

use futures::executor::block_on;
use roomcast::{
    Broker, CloseReason, Epoch, Policy, Position, Resumption, RoomOptions, SEQUENCE_START_MAX, Start, TryRecvError,
};

use crate::support::{drain, publish_all};

#[test]
fn it_goes_on_exactly_where_it_stopped() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let mut first = room.subscribe().now().unwrap();
    assert_eq!(first.resumption(), Resumption::Fresh);
    publish_all(&room, 0..10);
    for number in 0..4 {
        assert_eq!(first.try_recv(), Ok(number));
    }
    let position = first.position();
    drop(first);
    publish_all(&room, 10..20);
    let mut second = room.subscribe_from(Start::Resume(position)).now().unwrap();
    assert_eq!(second.resumption(), Resumption::Resumed);
    assert_eq!(drain(&mut second), (4..20).collect::<Vec<_>>());
    let at_the_end = room.subscribe_from(Start::Resume(second.position())).now().unwrap();
    assert_eq!((at_the_end.resumption(), at_the_end.lag()), (Resumption::Resumed, 0));
}

#[test]
fn a_gap_says_how_many_are_gone() {
    let broker = Broker::<u64>::builder().capacity(8).build();
    let room = broker.room("lobby").unwrap();
    publish_all(&room, 0..100);
    let mut resumed = room.subscribe_from(Start::Resume(Position { epoch: room.epoch(), sequence: 5 })).now().unwrap();
    let oldest = room.oldest();
    assert_eq!(resumed.resumption(), Resumption::Gap(oldest - 5));
    assert_eq!(drain(&mut resumed), (oldest..100).collect::<Vec<_>>());
    assert_eq!(resumed.accounting().lagged, 0, "a gap lies before the start");
}

#[test]
fn a_foreign_epoch_or_the_future_is_unknown() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    publish_all(&room, 0..10);
    let foreign: Epoch = "0".parse().unwrap();
    for (epoch, sequence) in [(foreign, 3), (room.epoch(), 12), (room.epoch(), u64::MAX)] {
        let mut resumed = room.subscribe_from(Start::Resume(Position { epoch, sequence })).now().unwrap();
        assert_eq!((resumed.resumption(), resumed.lag()), (Resumption::Unknown, 0), "B5: never ahead of the tail");
        room.publish(7).unwrap();
        assert_eq!(drain(&mut resumed), [7]);
    }
}

#[test]
fn a_room_opened_again_is_another() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let position = room.subscribe().now().unwrap().position();
    broker.remove("lobby");
    let again = broker.room("lobby").unwrap();
    assert_eq!(again.subscribe_from(Start::Resume(position)).now().unwrap().resumption(), Resumption::Unknown);
}

#[test]
fn a_blocking_subscriber_resumes_and_is_not_told_so_when_it_does_not() {
    let broker = Broker::<u64>::builder().capacity(64).build();
    let room = broker.room("lobby").unwrap();
    publish_all(&room, 0..40);
    let from = |sequence| {
        let start = Start::Resume(Position { epoch: room.epoch(), sequence });
        room.subscribe_from(start).policy(Policy::Block).now().unwrap()
    };
    let mut early = from(2);
    assert_eq!(early.resumption(), Resumption::Resumed);
    assert_eq!(drain(&mut early), (2..40).collect::<Vec<_>>());
    drop(early);
    // In a full ring the oldest segment may be going at this moment, so it is not for somebody who must not lag.
    publish_all(&room, 40..1_000);
    for sequence in [0, room.oldest(), room.oldest() + 1, 990, 1_000] {
        let mut late = from(sequence);
        let first = late.position().sequence;
        let missed = first - sequence;
        let told = if missed > 0 { Resumption::Gap(missed) } else { Resumption::Resumed };
        assert_eq!(late.resumption(), told, "from {sequence}");
        assert_eq!(drain(&mut late), (first..1_000).collect::<Vec<_>>());
    }
}

#[test]
fn a_room_that_goes_on_has_its_epoch_and_its_numbers() {
    let broker = Broker::<u64>::builder().capacity(8).build();
    let mut all = broker.subscribe_pattern_with("*", Policy::Block);
    let position = Position { epoch: Epoch::from(0xfeed), sequence: 1_000_003 };
    let room = broker.room_with("lobby", RoomOptions::new().starting_at(position)).unwrap();
    assert_eq!((room.epoch(), room.tail(), room.oldest()), (position.epoch, 1_000_003, 1_000_003));
    let mut there = room.subscribe_from(Start::Resume(position)).now().unwrap();
    let mut behind = room.subscribe_from(Start::Resume(Position { sequence: 1_000_000, ..position })).now().unwrap();
    let ahead = room.subscribe_from(Start::Resume(Position { sequence: 1_000_004, ..position })).now().unwrap();
    assert_eq!(there.resumption(), Resumption::Resumed);
    assert_eq!((behind.resumption(), ahead.resumption()), (Resumption::Gap(3), Resumption::Unknown));
    assert_eq!(room.publish_all([7, 8]), Ok(1_000_003..1_000_005));
    for reader in [&mut there, &mut behind] {
        assert_eq!(drain(reader), [7, 8]);
    }
    let key = futures::executor::block_on(all.ready()).unwrap();
    let found = all.get_mut(key).unwrap();
    assert_eq!((found.try_recv(), found.accounting().start), (Ok(7), 1_000_003), "a pattern has its first message");
    broker.remove("lobby");
    assert_ne!(broker.room("lobby").unwrap().epoch(), position.epoch, "only who asks for it goes on");
}

#[test]
fn a_room_goes_on_from_anywhere_in_a_segment() {
    for start in (0..130).chain([SEQUENCE_START_MAX]) {
        let broker = Broker::<u64>::builder().capacity(64).build();
        let position = Position { epoch: Epoch::from(9), sequence: start };
        let room = broker.room_with("lobby", RoomOptions::new().starting_at(position)).unwrap();
        let mut reader = room.subscribe().now().unwrap();
        let mut newest = room.subscribe().policy(Policy::Latest).now().unwrap();
        publish_all(&room, start..start + 60);
        assert_eq!(drain(&mut reader), (start..start + 60).collect::<Vec<_>>(), "from {start}");
        assert_eq!(newest.try_recv(), Ok(start + 59));
        publish_all(&room, start + 60..start + 1_000);
        assert!(room.oldest() >= start + 1_000 - 64 - 2 * 16 && room.oldest() <= start + 1_000 - 64);
        room.close();
        // What is left of the segment it stands in is kept for it.
        while reader.try_recv().is_ok() {}
        let accounting = reader.accounting();
        assert_eq!((accounting.end, accounting.received + accounting.lagged), (room.oldest(), room.oldest() - start));
        let rest: Vec<u64> = std::iter::from_fn(|| reader.try_recv().ok()).collect();
        assert_eq!(rest, (room.oldest()..start + 1_000).collect::<Vec<_>>(), "from {start}");
        assert_eq!(reader.try_recv(), Err(TryRecvError::Closed(CloseReason::Closed)));
    }
}

#[test]
#[should_panic(expected = "2305843009213693953")]
fn a_start_beyond_all_numbers_is_refused() {
    let position = Position { epoch: Epoch::from(9), sequence: SEQUENCE_START_MAX + 1 };
    let _ = RoomOptions::new().starting_at(position);
}

#[test]
fn the_last_few_are_read_first_as_far_as_they_are_there() {
    let broker = Broker::<u64>::builder().capacity(16).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let from = |count| drain(&mut room.subscribe_from(Start::Last(count)).now().unwrap());
    assert!(from(5).is_empty(), "nothing is there");
    publish_all(&room, 0..3);
    assert_eq!((from(0), from(2), from(5), from(u64::MAX)), (vec![], vec![1, 2], vec![0, 1, 2], vec![0, 1, 2]));
    publish_all(&room, 3..100);
    assert_eq!(from(5), (95..100).collect::<Vec<_>>());
    assert_eq!(from(1_000), (room.oldest()..100).collect::<Vec<_>>());
    assert_eq!(room.subscribe_from(Start::Last(1_000)).now().unwrap().resumption(), Resumption::Fresh);
    // A handler as well.
    let (seen, all) = std::sync::mpsc::channel();
    let served = block_on(room.subscribe_with_from(Start::Last(2), move |m| seen.send(*m).unwrap_or(()))).unwrap();
    assert_eq!((all.recv(), all.recv(), room.subscribers()), (Ok(98), Ok(99), 1));
    drop(served);
}
