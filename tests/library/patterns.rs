//! Subscriptions to every room whose name matches.

use std::collections::HashMap;
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, PatternSubscription, Policy, TryRecvError};

use crate::support::{Wakes, finishes, poll_once};

/// Reads everything until the broker is closed: the messages by room name.
fn read_all(mut pattern: PatternSubscription<u64>) -> HashMap<String, Vec<u64>> {
    let mut all = HashMap::<String, Vec<u64>>::new();
    while let Some(key) = block_on(pattern.ready()) {
        let subscription = pattern.get_mut(key).unwrap();
        let name = subscription.room().name().to_string();
        match subscription.try_recv_batch(usize::MAX) {
            Ok(batch) => all.entry(name).or_default().extend(batch.iter().map(|(_, _, message)| message)),
            Err(TryRecvError::Closed(_)) => drop(pattern.leave(key)),
            Err(error) => assert_eq!(error, TryRecvError::Empty),
        }
    }
    all
}

#[test]
fn rooms_that_match_are_covered_and_others_are_not() {
    let broker = Broker::<u64>::new();
    broker.publish("chat.old", 1).unwrap();
    let mut chats = broker.subscribe_pattern("chat.*");
    assert_eq!(chats.len(), 1);
    broker.publish("chat.new", 2).unwrap();
    broker.publish("news", 3).unwrap();
    broker.publish("chat.old", 4).unwrap();
    broker.close();
    let all = read_all(chats);
    assert_eq!(all, HashMap::from([("chat.new".to_string(), vec![2]), ("chat.old".to_string(), vec![4])]));
}

#[test]
fn rooms_created_at_once_never_miss_their_first_message() {
    const THREADS: u64 = 3;
    const ROOMS: u64 = 400;
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(16).build();
        let reader = thread::spawn({
            let pattern = broker.subscribe_pattern_with("room *", Policy::Block);
            move || read_all(pattern)
        });
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let broker = &broker;
                // All threads race for the same names.
                scope.spawn(move || {
                    for number in 0..ROOMS {
                        broker.publish(&format!("room {number}"), thread).unwrap();
                    }
                });
            }
        });
        broker.close();
        let all = reader.join().unwrap();
        assert_eq!(all.len() as u64, ROOMS);
        for (name, mut messages) in all {
            messages.sort_unstable();
            assert_eq!(messages, (0..THREADS).collect::<Vec<_>>(), "{name}");
        }
    });
}

#[test]
fn patterns_made_while_rooms_are_created_find_each_room_once() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let creator = thread::spawn({
            let broker = broker.clone();
            move || (0..2_000).for_each(|number| drop(broker.room(&format!("room {number}")).unwrap()))
        });
        let patterns: Vec<_> = (0..20).map(|_| broker.subscribe_pattern("*")).collect();
        creator.join().unwrap();
        for mut pattern in patterns {
            assert_eq!(pattern.len(), 2_000);
        }
    });
}

#[test]
fn a_room_that_comes_back_is_a_room_of_its_own() {
    let broker = Broker::<u64>::new();
    let pattern = broker.subscribe_pattern("*");
    for life in 0..50 {
        broker.publish("phoenix", life).unwrap();
        assert!(broker.remove("phoenix"));
    }
    broker.close();
    let mut lives = read_all(pattern).remove("phoenix").unwrap();
    lives.sort_unstable();
    assert_eq!(lives, (0..50).collect::<Vec<_>>());
}

#[test]
fn it_ends_with_the_broker_also_without_a_room() {
    let broker = Broker::<u64>::new();
    let mut waiting = broker.subscribe_pattern("nothing like it");
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(waiting.ready(), &waker).is_pending());
    drop(broker);
    assert_eq!(wakes.count(), 1);
    assert_eq!(block_on(waiting.ready()), None);

    let broker = Broker::<u64>::new();
    broker.close();
    assert_eq!(block_on(broker.subscribe_pattern("*").ready()), None, "and when it was closed before");
}

#[test]
fn a_dropped_pattern_lets_go_of_its_rooms_and_its_reader() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let mut pattern = broker.subscribe_pattern("*");
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(pattern.ready(), &waker).is_pending());
    drop((pattern, waker));
    assert_eq!(std::sync::Arc::strong_count(&wakes), 1);
    broker.room("later").unwrap();
    let subscribers: u32 = broker.rooms().iter().map(|room| room.stats().subscribers).sum();
    assert_eq!((subscribers, room.stats().subscribers), (0, 0));
}

#[test]
fn an_ended_room_says_why_and_can_be_left() {
    let broker = Broker::<u64>::new();
    let mut pattern = broker.subscribe_pattern("*");
    broker.publish("lobby", 1).unwrap();
    broker.remove("lobby");
    let key = block_on(pattern.ready()).unwrap();
    let lobby = pattern.get_mut(key).unwrap();
    assert_eq!(lobby.try_recv(), Ok(1));
    assert_eq!(lobby.try_recv(), Err(TryRecvError::Closed(CloseReason::Removed)));
    assert!(pattern.leave(key).is_some() && pattern.leave(key).is_none() && pattern.is_empty());
}

#[test]
fn a_function_says_which_rooms_are_covered() {
    let broker = Broker::<u64>::new();
    broker.room("old").unwrap();
    let mut even = broker.subscribe_where(|name| name.len() % 2 == 0, Policy::Block);
    for name in ["ab", "abc", "abcd"] {
        broker.publish(name, name.len() as u64).unwrap();
    }
    assert_eq!(even.keys().count(), 2);
    for key in even.keys().collect::<Vec<_>>() {
        let subscription = even.get_mut(key).unwrap();
        assert_eq!(subscription.try_recv(), Ok(subscription.room().name().len() as u64));
    }
    let blocking = |name| broker.get(name).unwrap().stats().blocking;
    assert_eq!(["old", "ab", "abc"].map(blocking), [0, 1, 0], "the others are not held up");
}
