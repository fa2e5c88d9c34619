//! Rooms, subscribers and brokers come and go, and nothing is left.

use std::collections::HashSet;
use std::sync::{Arc, mpsc};
use std::task::Poll;

use futures::executor::block_on;
use roomcast::{
    Broker, CloseReason, Handler, NAME_BYTES_MAX, PublishByNameError, PublishError, RecvError, Ref, Room, RoomError,
    Start, SubscribeError, TryRecvError,
};

use crate::support::{Census, Counted, Wakes, drain, eventually, finishes, poll_once};

#[test]
fn a_room_is_created_once_and_found_by_its_name() {
    let broker = Broker::<u64>::new();
    assert!(broker.get("lobby").is_none());
    let lobby = broker.room("lobby").unwrap();
    assert_eq!(broker.room("lobby").unwrap(), lobby);
    assert_eq!(broker.get("lobby"), Some(lobby.clone()));
    assert_eq!((lobby.name(), lobby.tail(), lobby.is_running()), ("lobby", 0, true));
    assert_eq!(broker.rooms(), [lobby]);
}

#[test]
fn many_rooms_are_all_found_and_all_go() {
    let broker = Broker::<u64>::new();
    let names: Vec<String> = (0..10_000).map(|number| format!("room {number}")).collect();
    for name in &names {
        broker.publish(name, 1).unwrap();
    }
    assert_eq!(broker.stats().rooms, 10_000);
    let all: HashSet<String> = broker.rooms().iter().map(|room| room.name().to_string()).collect();
    assert_eq!(all, names.iter().cloned().collect());
    let homes: u32 = broker.stats().shards.iter().map(|shard| shard.rooms).sum();
    assert_eq!(homes, 10_000);
    for name in &names {
        assert_eq!(broker.get(name).unwrap().tail(), 1);
        assert!(broker.remove(name));
        assert!(!broker.remove(name), "removed once");
    }
    assert_eq!((broker.stats().rooms, broker.rooms().len()), (0, 0));
}

#[test]
fn threads_that_open_one_room_at_once_get_the_same_one() {
    let broker = Broker::<u64>::new();
    for round in 0..200 {
        let name = format!("room {round}");
        let open = || broker.room(&name).unwrap().epoch();
        let epochs: HashSet<_> =
            std::thread::scope(|scope| [(); 4].map(|()| scope.spawn(open)).map(|thread| thread.join().unwrap()).into());
        assert_eq!(epochs.len(), 1, "{name}");
    }
    assert_eq!(broker.stats().rooms, 200);
}

#[test]
fn names_and_numbers_beyond_the_limits_are_refused() {
    let broker = Broker::<u64>::builder().rooms_max(2).build();
    assert_eq!(broker.room("").err(), Some(RoomError::NameEmpty));
    assert_eq!(broker.room(&"x".repeat(NAME_BYTES_MAX + 1)).err(), Some(RoomError::NameTooLong));
    broker.room(&"x".repeat(NAME_BYTES_MAX)).unwrap();
    broker.room("second").unwrap();
    assert_eq!(broker.room("third").err(), Some(RoomError::TooManyRooms));
    assert_eq!(broker.publish("third", 7), Err(PublishByNameError::Room(RoomError::TooManyRooms, 7)));
    assert!(broker.remove("second"));
    broker.room("third").unwrap();
}

#[test]
fn subscribers_are_counted_and_gone_when_dropped() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let pulling = room.subscribe().now().unwrap();
    let served = block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).unwrap();
    assert_eq!((room.stats().subscribers, room.stats().shards), (2, 1));
    drop(pulling);
    assert_eq!(room.stats().subscribers, 1);
    drop(served);
    eventually("a dropped handler is taken out", || room.stats().subscribers == 0 && room.stats().shards == 0);
    let handlers: u32 = broker.stats().shards.iter().map(|shard| shard.handlers + shard.rooms_served).sum();
    assert_eq!(handlers, 0);
}

#[test]
fn a_removed_room_is_read_to_its_end_and_its_name_is_free() {
    let broker = Broker::<u64>::new();
    let old = broker.room("lobby").unwrap();
    let mut subscription = old.subscribe().now().unwrap();
    old.publish(1).unwrap();
    assert!(broker.remove("lobby"));
    assert!(broker.get("lobby").is_none());
    let new = broker.room("lobby").unwrap();
    assert_ne!(new.epoch(), old.epoch());
    new.publish(9).unwrap();
    assert_eq!(subscription.try_recv(), Ok(1));
    assert_eq!(subscription.try_recv(), Err(TryRecvError::Closed(CloseReason::Removed)));
    assert_eq!(block_on(subscription.recv()), Err(RecvError::Closed(CloseReason::Removed)));
    assert_eq!((old.ended(), new.ended()), (Some(CloseReason::Removed), None));
}

#[test]
fn a_room_that_is_gone_says_so_to_everybody() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let subscription = room.subscribe().now().unwrap();
    let served = block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).unwrap();
    assert!(room.close());
    assert!(!room.close(), "it was closed before");
    let gone = SubscribeError::Closed(CloseReason::Closed);
    assert_eq!(room.publish(1), Err(PublishError::Closed(1)));
    assert_eq!(room.publish_blocking(1), Err(PublishError::Closed(1)));
    assert_eq!(room.subscribe().now().err(), Some(gone));
    assert_eq!(block_on(room.subscribe_from(Start::Oldest)).err(), Some(gone));
    assert_eq!(block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).err(), Some(gone));
    assert_eq!(gone.to_string(), "the room is closed; open it again by name");
    // Leaving what is gone is no error, and ends.
    finishes(move || {
        block_on(served.unsubscribe());
        block_on(subscription.unsubscribe());
    });
    assert_eq!(broker.publish("lobby", 2), Ok(0), "by name it is a fresh room");
    assert!(!broker.remove("never there"));
}

#[test]
fn a_closed_broker_refuses_and_lets_everybody_finish() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    room.publish(1).unwrap();
    broker.close();
    assert!(broker.is_closed());
    assert_eq!(broker.room("lobby").err(), Some(RoomError::Closed));
    assert_eq!(broker.publish("lobby", 2), Err(PublishByNameError::Room(RoomError::Closed, 2)));
    assert_eq!(room.publish(2), Err(PublishError::Closed(2)));
    assert_eq!(subscription.try_recv(), Ok(1));
    assert_eq!(subscription.try_recv(), Err(TryRecvError::Closed(CloseReason::BrokerClosed)));
    assert_eq!(broker.stats().rooms, 0);
}

/// Reports what it saw.
struct Witness(mpsc::Sender<Result<u64, CloseReason>>);

impl Handler<Counted> for Witness {
    fn message(&mut self, message: Ref<'_, Counted>) {
        self.0.send(Ok(message.number)).unwrap();
    }

    fn closed(&mut self, reason: CloseReason) {
        self.0.send(Err(reason)).unwrap();
    }
}

#[test]
fn dropping_the_broker_ends_everybody_and_drops_every_message_b13() {
    let census = Census::default();
    let (report, seen) = mpsc::channel();
    finishes({
        let census = census.clone();
        move || {
            let broker = Broker::<Counted>::builder().capacity(16).build();
            let room = broker.room("lobby").unwrap();
            let mut subscription = room.subscribe().now().unwrap();
            let served = block_on(room.subscribe_handler(Witness(report))).unwrap();
            for number in 0..10 {
                room.publish(census.count(number)).unwrap();
            }
            drop(broker);
            for number in 0..10 {
                assert_eq!(subscription.try_recv_ref().unwrap().number, number);
            }
            let end = subscription.try_recv_ref().map(|_| ()).unwrap_err();
            assert_eq!(end, TryRecvError::Closed(CloseReason::BrokerClosed));
            assert!(!served.is_running());
        }
    });
    let seen: Vec<_> = seen.iter().collect();
    assert_eq!(seen[..10], (0..10).map(Ok).collect::<Vec<_>>(), "a handler finishes what is there");
    assert_eq!(seen[10..], [Err(CloseReason::BrokerClosed)]);
    assert_eq!(census.alive(), 0);
}

#[test]
fn a_removed_room_drops_its_messages_although_the_shards_sleep_b13() {
    let census = Census::default();
    let broker = Broker::<Counted>::builder().capacity(16).shards(1).build();
    let room = broker.room("lobby").unwrap();
    for number in 0..200 {
        room.publish(census.count(number)).unwrap();
    }
    assert!(census.alive() >= 16, "the ring retains its capacity");
    assert!(broker.remove("lobby"));
    drop(room);
    eventually("nothing keeps the messages of a removed room", || census.alive() == 0);
}

#[test]
fn memory_of_an_open_room_is_bounded_by_its_ring() {
    let census = Census::default();
    let broker = Broker::<Counted>::builder().capacity(64).build();
    let room = broker.room("lobby").unwrap();
    for number in 0..100_000 {
        room.publish(census.count(number)).unwrap();
        assert!(census.alive() <= 64 + 16 * 9, "{} messages retained after {number}", census.alive());
    }
}

#[test]
fn two_brokers_share_nothing() {
    let (one, two) = (Broker::<u64>::new(), Broker::<u64>::new());
    let (first, second) = (one.room("lobby").unwrap(), two.room("lobby").unwrap());
    assert_ne!(first.epoch(), second.epoch());
    let (mut of_first, mut of_second) = (first.subscribe().now().unwrap(), second.subscribe().now().unwrap());
    first.publish(1).unwrap();
    second.publish(2).unwrap();
    assert_eq!((drain(&mut of_first), drain(&mut of_second)), (vec![1], vec![2]));
    drop(one);
    assert_eq!(first.publish(3), Err(PublishError::Closed(3)));
    assert_eq!(second.publish(3), Ok(1));
    assert!(second.is_running() && !two.is_closed());
}

#[test]
fn a_subscriber_whose_task_panics_leaves_and_disturbs_nobody() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let mut other = room.subscribe().now().unwrap();
    let mut doomed = room.subscribe().now().unwrap();
    room.publish(1).unwrap();
    let crash = std::thread::spawn(move || {
        let message = doomed.try_recv_ref().unwrap();
        panic!("with {} in hand", *message);
    });
    assert!(crash.join().is_err());
    assert_eq!(room.stats().subscribers, 1);
    room.publish(2).unwrap();
    assert_eq!(drain(&mut other), [1, 2]);
}

#[test]
fn a_receive_dropped_midway_loses_nothing_and_is_not_woken() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(subscription.recv(), &waker).is_pending());
    assert!(poll_once(subscription.recv_ref(), &waker).is_pending());
    room.publish(1).unwrap();
    assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Ok(1)));
    assert!(poll_once(subscription.recv(), &waker).is_pending());
    let woken = wakes.count();
    drop(subscription);
    assert_eq!(room.stats().subscribers, 0);
    room.publish(2).unwrap();
    assert_eq!(wakes.count(), woken, "who is gone is not woken");
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 1, "nothing keeps the waker of a dropped subscriber");
}

#[test]
fn a_subscriber_that_never_reads_holds_up_nobody_b17() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("lobby").unwrap();
    let never_polled = room.subscribe().now().unwrap();
    let _future_never_polled = room.subscribe();
    for number in 0..10_000 {
        assert_eq!(room.publish(number), Ok(number));
    }
    assert_eq!(never_polled.lag(), 10_000);
}

#[test]
fn handles_may_outlive_the_broker() {
    let room: Room<u64> = Broker::new().room("lobby").unwrap();
    assert!(!room.is_running());
    assert_eq!(room.publish(1), Err(PublishError::Closed(1)));
    assert_eq!(
        block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).err(),
        Some(SubscribeError::Closed(CloseReason::BrokerClosed))
    );
}
