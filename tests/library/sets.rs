//! One reader of many rooms, which come and go while it reads.

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, RoomSet, TryRecvError};

use crate::support::{Wakes, finishes};

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
