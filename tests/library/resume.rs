//! Going on where an earlier subscription stopped.

use roomcast::{Broker, Epoch, Policy, Position, Resumption, Start};

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
