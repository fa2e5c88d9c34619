//! Subscriptions to every room whose name matches.

use std::collections::HashMap;
use std::thread;

use futures::executor::block_on;
use futures::{FutureExt, StreamExt};
use roomcast::{Broker, CloseReason, PatternSubscription, Policy, RoomError, TryRecvError};

use crate::support::{Census, Wakes, finishes, poll_once};

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

#[test]
fn a_room_that_ended_leaves_by_itself_and_the_pattern_ends_with_the_broker() {
    let broker = Broker::<u64>::new();
    let mut pattern = broker.subscribe_pattern("*");
    broker.publish("one", 1).unwrap();
    broker.publish("two", 2).unwrap();
    broker.remove("one");
    let mut namings = 0;
    while let Some(key) = pattern.ready().now_or_never() {
        namings += 1;
        assert!(namings < 1_000, "it goes on naming {key:?}");
        while pattern.get_mut(key.unwrap()).unwrap().try_recv().is_ok() {}
    }
    assert_eq!((pattern.len(), namings <= 4), (1, true), "{namings} times");
    broker.close();
    let rest: Vec<_> = block_on(pattern.by_ref().map(|(_, received)| received.is_err()).collect());
    assert_eq!(rest, [true], "the end of the one that was left, and nobody has left it by hand");
    assert_eq!(block_on(pattern.ready()), None);
}

/// Rooms that have ended are kept for a reader that was away for a moment, not for one that never comes.
#[test]
fn a_pattern_that_is_not_read_lets_rooms_go_that_have_ended() {
    const ROOMS: u64 = 5_000;
    let make = |broker: &Broker<_>, census: &Census, number: u64| {
        assert!(broker.publish(&format!("room {number}"), census.count(number)).is_ok());
    };
    for one_by_one in [true, false] {
        let census = Census::default();
        let broker = Broker::builder().shards(1).build();
        let mut pattern = broker.subscribe_pattern("room *");
        make(&broker, &census, ROOMS);
        for number in 0..ROOMS {
            make(&broker, &census, number);
            if one_by_one {
                assert!(broker.remove(&format!("room {number}")));
            }
        }
        if !one_by_one {
            assert_eq!(pattern.passed_over().rooms, 0, "none of them has ended");
            (0..ROOMS).for_each(|number| assert!(broker.remove(&format!("room {number}"))));
        }
        let kept = census.alive() as u64;
        assert!((1_024..2_048).contains(&kept), "{kept} messages are kept");
        let passed = pattern.passed_over();
        assert_eq!((passed.rooms, passed.messages), (ROOMS + 1 - kept, ROOMS + 1 - kept));
        broker.close();
        let (mut read, mut the_one_that_stayed) = (0, false);
        while let Some(key) = block_on(pattern.ready()) {
            while let Ok(message) = pattern.get_mut(key).unwrap().try_recv_ref() {
                read += 1;
                the_one_that_stayed |= message.number == ROOMS;
            }
        }
        assert_eq!((read, the_one_that_stayed), (kept, true), "what was kept is read, and what runs is kept");
        drop((pattern, broker));
        assert_eq!(census.alive(), 0);
    }
}

/// One that must not miss any keeps all, and no more are made than there may be.
#[test]
fn a_blocking_pattern_that_is_not_read_holds_up_the_making_of_rooms() {
    let broker = Broker::<u64>::builder().shards(1).rooms_max(2_000).build();
    let mut pattern = broker.subscribe_pattern_with("room *", Policy::Block);
    let mut made = 0;
    while broker.publish(&format!("room {made}"), made).is_ok() {
        broker.remove(&format!("room {made}"));
        made += 1;
        assert!(made <= 2_000);
    }
    assert_eq!((made, broker.room("room").err()), (2_000, None), "others are made");
    assert_eq!(broker.room("room 1").err(), Some(RoomError::TooManyRooms));
    let mut read = 0;
    while let Some(Some((_, received))) = pattern.recv().now_or_never() {
        read += u64::from(received.is_ok());
    }
    assert_eq!((read, pattern.passed_over().rooms), (made, 0));
    assert!(broker.room("room 1").is_ok());
}

/// Readers and makers at once: each message is read or was passed over.
#[test]
fn what_is_passed_over_beside_the_reader_is_counted() {
    const MAKERS: u64 = 2;
    const ROOMS: u64 = 4_000;
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let mut pattern = broker.subscribe_pattern("*");
        let makers: Vec<_> = (0..MAKERS)
            .map(|maker| {
                let broker = broker.clone();
                thread::spawn(move || {
                    for number in 0..ROOMS {
                        let name = format!("{maker}:{number}");
                        broker.publish(&name, number).unwrap();
                        assert!(broker.remove(&name));
                    }
                })
            })
            .collect();
        crate::support::eventually("there are too many", || pattern.passed_over().rooms > 0);
        let reading = thread::spawn(move || {
            let mut read = 0;
            while let Some((_, received)) = block_on(pattern.recv()) {
                read += u64::from(received.is_ok());
            }
            (read, pattern.passed_over().messages)
        });
        makers.into_iter().for_each(|maker| maker.join().unwrap());
        broker.close();
        let (read, passed) = reading.join().unwrap();
        assert_eq!(read + passed, MAKERS * ROOMS, "{passed} were passed over");
    });
}
