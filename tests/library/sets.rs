//! One reader of many rooms, which come and go while it reads.

use std::collections::HashMap;
use std::task::{Context, Poll, Waker};
use std::thread;

use futures::executor::block_on;
use futures::{FutureExt, StreamExt};
use roomcast::{Broker, CloseReason, Policy, RecvError, RoomSet, TryRecvError};

use crate::support::{Wakes, finishes, poll_once, publish_all};

#[test]
fn only_rooms_with_something_come_up_and_they_take_turns() {
    let broker = Broker::<u64>::new();
    let rooms: Vec<_> = (0..5).map(|number| broker.room(&format!("room {number}")).unwrap()).collect();
    let mut set = RoomSet::new();
    let keys: Vec<_> = rooms.iter().map(|room| set.join(room.subscribe().now().unwrap())).collect();
    for number in [3, 1] {
        (0..3).for_each(|message| assert_eq!(rooms[number].publish(message), Ok(message)));
    }
    let mut turns = Vec::new();
    let (wakes, waker) = Wakes::new();
    let mut context = Context::from_waker(&waker);
    while let Poll::Ready(key) = set.poll_ready(&mut context) {
        let number = keys.iter().position(|other| *other == key).unwrap();
        turns.push((number, set.get_mut(key).unwrap().try_recv().unwrap_or(99)));
    }
    for room in [3, 1] {
        let received = turns.iter().filter(|(number, message)| *number == room && *message != 99);
        assert!(received.map(|turn| turn.1).eq(0..3), "{turns:?}");
    }
    assert!(turns.windows(2).all(|pair| pair[0].0 != pair[1].0), "what is left comes up after the others: {turns:?}");
    assert_eq!(wakes.count(), 0);
    rooms[4].publish(7).unwrap();
    assert_eq!(wakes.count(), 1);
    assert_eq!(set.poll_ready(&mut context), Poll::Ready(keys[4]));
}

#[test]
fn rooms_join_and_leave_while_it_reads() {
    let broker = Broker::<u64>::new();
    let mut set = RoomSet::new();
    let mut members = HashMap::new();
    let mut received = 0;
    for round in 0..300u64 {
        let room = broker.room(&format!("room {}", round % 10)).unwrap();
        let key = members.remove(&(round % 10));
        match key.and_then(|key| set.leave(key)) {
            Some(subscription) => assert_eq!(subscription.room(), room),
            None => drop(members.insert(round % 10, set.join(room.subscribe().now().unwrap()))),
        }
        for number in 0..10 {
            broker.publish(&format!("room {number}"), round).unwrap();
        }
        for _ in 0..members.len() {
            let key = block_on(set.ready());
            let subscription = set.get_mut(key).unwrap();
            assert_eq!(subscription.try_recv(), Ok(round));
            assert_eq!(subscription.try_recv(), Err(TryRecvError::Empty));
            received += 1;
        }
        assert_eq!(set.len(), members.len());
    }
    assert!(received > 1_000);
    assert_eq!(set.keys().count(), members.len());
}

#[test]
fn one_handle_over_rooms_by_name() {
    let broker = Broker::<u64>::new();
    let mut both = broker.subscribe_many(["one", "two"]).unwrap();
    broker.publish("two", 2).unwrap();
    broker.publish("one", 1).unwrap();
    let mut sum = 0;
    for _ in 0..2 {
        let key = block_on(both.ready());
        sum += both.get_mut(key).unwrap().try_recv().unwrap();
    }
    assert_eq!(sum, 3);
    assert!(broker.subscribe_many(["three", ""]).is_err());
    assert_eq!(broker.get("three").unwrap().stats().subscribers, 0, "a failed one leaves nothing");
}

#[test]
fn it_is_woken_from_other_threads_and_misses_nothing() {
    const ROOMS: u64 = 20;
    const EACH: u64 = 500;
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(EACH as usize).shards(1).build();
        let rooms: Vec<_> = (0..ROOMS).map(|number| broker.room(&number.to_string()).unwrap()).collect();
        let mut set = RoomSet::new();
        for room in &rooms {
            set.join(room.subscribe().now().unwrap());
        }
        let publishers: Vec<_> = [0, 1]
            .map(|half| {
                let rooms = rooms.clone();
                thread::spawn(move || {
                    for message in 0..EACH {
                        for room in rooms.iter().skip(half).step_by(2) {
                            room.publish(message).unwrap();
                        }
                    }
                    rooms.iter().skip(half).step_by(2).for_each(|room| assert!(room.close()));
                })
            })
            .into();
        let mut next = HashMap::new();
        while !set.is_empty() {
            let key = block_on(set.ready());
            let subscription = set.get_mut(key).unwrap();
            let name = subscription.room().name().to_string();
            match subscription.try_recv() {
                Ok(message) => {
                    let next = next.entry(name).or_insert(0);
                    assert_eq!(message, *next);
                    *next += 1;
                }
                Err(TryRecvError::Closed(CloseReason::Closed)) => drop(set.leave(key)),
                Err(error) => assert_eq!(error, TryRecvError::Empty),
            }
        }
        assert!(next.len() as u64 == ROOMS && next.values().all(|count| *count == EACH));
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    });
}

/// How often a set names a room until it has nothing to say.
fn namings(set: &mut RoomSet<u64>, mut read: impl FnMut(&mut RoomSet<u64>, roomcast::RoomKey)) -> usize {
    let mut namings = 0;
    while let Some(key) = set.ready().now_or_never() {
        namings += 1;
        assert!(namings < 1_000, "it goes on naming {key:?}");
        read(set, key);
    }
    namings
}

#[test]
fn a_room_that_ended_says_so_once_and_leaves() {
    let broker = Broker::<u64>::new();
    let (ends, stays) = (broker.room("ends").unwrap(), broker.room("stays").unwrap());
    let mut set = RoomSet::new();
    let (gone, kept) = (set.join(ends.subscribe().now().unwrap()), set.join(stays.subscribe().now().unwrap()));
    ends.publish(1).unwrap();
    broker.remove("ends");
    let mut told = Vec::new();
    let named = namings(&mut set, |set, key| {
        assert_eq!(key, gone);
        told.push(set.get_mut(key).unwrap().try_recv());
        assert_eq!(set.get_mut(key).unwrap().room().name(), "ends", "until the next poll it is there");
    });
    assert_eq!((named, told), (2, vec![Ok(1), Err(TryRecvError::Closed(CloseReason::Removed))]));
    assert_eq!((set.len(), set.keys().collect::<Vec<_>>()), (1, vec![kept]));
    assert!(set.get_mut(gone).is_none() && set.leave(gone).is_none());
    let next = set.join(stays.subscribe().now().unwrap());
    assert!(next != gone && set.leave(gone).is_none(), "its key is not another's");
    stays.publish(2).unwrap();
    assert!(set.ready().now_or_never().is_some());
}

/// What a loop reads that knows nothing but messages: the end comes to it as well.
#[test]
fn a_disconnected_reader_says_so_once_and_leaves() {
    let broker = Broker::<u64>::builder().capacity(4).build();
    let room = broker.room("lobby").unwrap();
    let mut set = RoomSet::new();
    let key = set.join(room.subscribe().policy(Policy::Disconnect).now().unwrap());
    publish_all(&room, 0..100);
    let named = namings(&mut set, |set, key| while set.get_mut(key).unwrap().try_recv().is_ok() {});
    assert!((1..=2).contains(&named) && set.is_empty(), "{named} times");
    assert!(set.get(key).is_none());
    // Taken out and put in again, it says it once more.
    let mut left = room.subscribe().now().unwrap();
    room.close();
    assert_eq!(left.try_recv(), Err(TryRecvError::Closed(CloseReason::Closed)));
    set.join(left);
    assert_eq!(namings(&mut set, |set, key| assert!(set.get_mut(key).unwrap().try_recv().is_err())), 1);
    assert!(set.is_empty());
}

/// A member's own futures register the waker of their task in its place. Fails where the set is not told afterwards.
#[test]
fn a_member_that_was_read_with_its_futures_comes_up_again() {
    let broker = Broker::<u64>::new();
    let rooms: Vec<_> = (0..3).map(|number| broker.room(&number.to_string()).unwrap()).collect();
    let mut set = RoomSet::new();
    let keys: Vec<_> = rooms.iter().map(|room| set.join(room.subscribe().now().unwrap())).collect();
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(set.ready(), &waker).is_pending());
    // Several in a row, and none of them was named by `ready` before.
    for key in &keys {
        assert!(poll_once(set.get_mut(*key).unwrap().recv(), Waker::noop()).is_pending());
    }
    publish_all(&rooms[0], [7]);
    assert_eq!(poll_once(set.ready(), &waker), Poll::Ready(keys[0]), "what came before it waits");
    assert_eq!(set.get_mut(keys[0]).unwrap().try_recv(), Ok(7));
    let before = wakes.count();
    assert!(poll_once(set.ready(), &waker).is_pending());
    for (room, key) in rooms.iter().zip(&keys) {
        publish_all(room, [8]);
        assert_eq!(poll_once(set.ready(), &waker), Poll::Ready(*key), "and what comes while it waits");
        assert_eq!(poll_once(set.get_mut(*key).unwrap().recv(), &waker), Poll::Ready(Ok(8)));
        assert!(poll_once(set.ready(), &waker).is_pending());
    }
    assert_eq!(wakes.count(), before + 3, "each woke it");
}

#[test]
fn messages_come_with_the_key_of_their_room_and_rooms_take_turns() {
    let broker = Broker::<u64>::builder().capacity(8).build();
    let (one, two) = (broker.room("one").unwrap(), broker.room("two").unwrap());
    let mut set = RoomSet::new();
    assert_eq!(block_on(set.recv()), None, "nobody is in it");
    let first = set.join(one.subscribe().now().unwrap());
    let second = set.join(two.subscribe().now().unwrap());
    publish_all(&one, 0..3);
    publish_all(&two, 10..12);
    let received: Vec<_> = (0..5).map(|_| block_on(set.recv()).unwrap()).collect();
    let of = |key| received.iter().filter(move |(of, _)| *of == key).map(|(_, received)| received.unwrap());
    assert!(of(first).eq(0..3) && of(second).eq(10..12), "{received:?}");
    assert!(received[..4].windows(2).all(|pair| pair[0].0 != pair[1].0), "in turns: {received:?}");
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(set.recv(), &waker).is_pending());
    publish_all(&two, 12..112);
    assert_eq!(wakes.count(), 1);
    let missed = two.oldest() - 2;
    assert_eq!(block_on(set.recv()), Some((second, Err(RecvError::Lagged(missed)))));
    assert_eq!(block_on(set.recv()), Some((second, Ok(missed + 12))));
    drop(set.leave(second));
    one.close();
    let rest = block_on(set.by_ref().collect::<Vec<_>>());
    assert_eq!(rest, [(first, Err(RecvError::Closed(CloseReason::Closed)))], "the stream ends when all have ended");
    assert!(set.is_empty());
}
