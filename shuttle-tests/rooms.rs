//! A whole broker: rooms made and removed by name, patterns beside their making, and sets that are joined while read.

use std::collections::BTreeSet;
use std::task::Poll;

use shuttle::future::block_on;
use shuttle::thread;

use super::ledger::Message;
use super::support::{Reader, explore, publish, reached};
use crate::{Broker, CloseReason, PatternSubscription, Policy, RoomSet, TryRecvError};

fn broker() -> Broker<Message> {
    Broker::builder().capacity(64).shards(1).build()
}

/// Reads a pattern until its broker is closed and everything was read; returns what was received and from how many rooms.
fn read_pattern(mut pattern: PatternSubscription<Message>) -> (Vec<(u32, u32)>, usize) {
    let (mut all, mut rooms) = (Vec::new(), 0);
    while let Some(key) = block_on(pattern.ready()) {
        let subscription = pattern.get_mut(key).expect("it was said to be ready");
        match subscription.try_recv_ref() {
            Ok(message) => all.push(message.read()),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed(_)) => {
                let left = pattern.leave(key).expect("it was there");
                assert_eq!(left.accounting().lagged, 0);
                rooms += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (all, rooms)
}

/// Two threads make rooms by publishing into them: whoever was there before misses nothing, not even the first message.
#[test]
fn a_pattern_misses_no_room() {
    explore("a_pattern_misses_no_room", &["it was there before a room", "it found a room"], || {
        let broker = broker();
        let early = broker.subscribe_pattern_with("chat.*", Policy::Block);
        let early = thread::spawn(move || read_pattern(early));
        let makers: Vec<_> = (0..2)
            .map(|publisher| {
                let broker = broker.clone();
                thread::spawn(move || {
                    for (number, name) in (0..).zip(["chat.a", "chat.b", "news", "chat.a"]) {
                        broker.publish(name, Message::new(publisher, number)).expect("by name it finds one");
                    }
                })
            })
            .collect();
        let late = broker.subscribe_pattern("*");
        let late = thread::spawn(move || read_pattern(late));
        makers.into_iter().for_each(|maker| maker.join().unwrap());
        broker.close();
        let (all, rooms) = early.join().unwrap();
        assert_eq!(all.iter().copied().collect::<BTreeSet<_>>().len(), all.len(), "nothing comes twice");
        assert_eq!((all.len(), rooms), (6, 2), "each message in a room that matches, from the first");
        let (all, rooms) = late.join().unwrap();
        assert_eq!(all.iter().copied().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(rooms, 3, "whoever came while the rooms were made has found each of them");
        if all.len() == 8 {
            reached("it was there before a room");
        }
        if all.len() < 8 {
            reached("it found a room");
        }
    });
}

/// Rooms are removed under publishers by name, who open them afresh: each message is in one life of the room.
#[test]
fn rooms_are_removed_and_made_again() {
    explore("rooms_are_removed_and_made_again", &["a room was removed", "there was none"], || {
        let broker = broker();
        let all = broker.subscribe_pattern_with("room", Policy::Block);
        let all = thread::spawn(move || read_pattern(all));
        let publishers: Vec<_> = (0..2)
            .map(|publisher| {
                let broker = broker.clone();
                thread::spawn(move || {
                    for number in 0..5 {
                        broker.publish("room", Message::new(publisher, number)).expect("by name it finds one");
                    }
                })
            })
            .collect();
        let mut removed = 0;
        for _ in 0..4 {
            if broker.remove("room") {
                removed += 1;
                reached("a room was removed");
            } else {
                reached("there was none");
            }
            thread::yield_now();
        }
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        assert!(broker.stats().rooms <= 1);
        broker.close();
        assert_eq!(broker.stats().rooms, 0);
        let (mut all, lives) = all.join().unwrap();
        all.sort_unstable();
        let expected: Vec<_> = (0..2).flat_map(|publisher| (0..5).map(move |number| (publisher, number))).collect();
        assert_eq!(all, expected, "each message was taken by one life of the room, and read there");
        assert!(lives <= removed + 1, "{lives} lives after {removed} removals");
    });
}

/// Rooms come and go faster than they are read: each message is read, or counted as passed over, and none that runs is.
#[test]
fn a_pattern_that_is_not_read_passes_over_rooms() {
    explore("a_pattern_that_is_not_read_passes_over_rooms", &["some were passed over", "none was"], || {
        let broker = broker();
        let mut pattern = broker.subscribe_pattern("*");
        let makers: Vec<_> = (0..2)
            .map(|publisher| {
                let broker = broker.clone();
                thread::spawn(move || {
                    for number in 0..6 {
                        let name = format!("{publisher}.{number}");
                        broker.publish(&name, Message::new(publisher, number)).expect("by name it finds one");
                        if number < 5 {
                            assert!(broker.remove(&name));
                        }
                    }
                })
            })
            .collect();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            while let Some(key) = block_on(pattern.ready()) {
                match pattern.get_mut(key).expect("it was said to be ready").try_recv_ref() {
                    Ok(message) => read.push(message.read()),
                    Err(TryRecvError::Empty | TryRecvError::Closed(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(pattern.is_empty());
            (read, pattern.passed_over())
        });
        makers.into_iter().for_each(|maker| maker.join().unwrap());
        broker.close();
        let (read, passed) = reading.join().unwrap();
        assert_eq!(read.iter().copied().collect::<BTreeSet<_>>().len(), read.len(), "nothing comes twice");
        assert_eq!(read.len() as u64 + passed.messages, 12, "{passed:?}");
        assert!((0..2).all(|publisher| read.contains(&(publisher, 5))), "the rooms that ran are read");
        match passed.rooms {
            0 => reached("none was"),
            _ => reached("some were passed over"),
        }
    });
}

/// Three threads ask for the same room at once, while it is removed: each gets one that runs, or ran a moment ago.
#[test]
fn a_room_is_one_for_all() {
    explore("a_room_is_one_for_all", &["two lives"], || {
        let broker = broker();
        let askers: Vec<_> = (0..3)
            .map(|publisher| {
                let broker = broker.clone();
                thread::spawn(move || {
                    let room = broker.room("room").unwrap();
                    let told = room.publish(Message::new(publisher, 0)).is_ok();
                    assert!(told || room.ended() == Some(CloseReason::Removed));
                    room.epoch()
                })
            })
            .collect();
        let removed = broker.remove("room");
        let epochs: BTreeSet<_> = askers.into_iter().map(|asker| format!("{:?}", asker.join().unwrap())).collect();
        assert!(epochs.len() <= 1 + usize::from(removed), "two rooms of one name were alive");
        if epochs.len() == 2 {
            reached("two lives");
        }
    });
}

/// One handle over rooms that join and leave while publishers go on.
#[test]
fn a_set_is_joined_while_it_is_read() {
    explore("a_set_is_joined_while_it_is_read", &["it slept"], || {
        let broker = broker();
        let rooms: Vec<_> = ["a", "b", "c"].map(|name| broker.room(name).unwrap()).into();
        let publishers: Vec<_> = rooms
            .iter()
            .zip(0..)
            .map(|(room, publisher)| {
                let room = room.clone();
                thread::spawn(move || {
                    publish(&room, publisher, 4);
                    room.close();
                })
            })
            .collect();
        let mut set = RoomSet::new();
        let mut starts = 0;
        let mut joined = rooms
            .iter()
            .filter_map(|room| room.subscribe().now().ok())
            .inspect(|subscription| starts += subscription.accounting().start);
        let mut received = 0;
        let mut members = 0;
        loop {
            if let Some(subscription) = joined.next() {
                set.join(subscription);
                members += 1;
            } else if members == 0 {
                break;
            }
            let mut slept = false;
            let key = block_on(std::future::poll_fn(|context| {
                let polled = set.poll_ready(context);
                slept |= polled.is_pending();
                if members == 0 { Poll::Ready(None) } else { polled.map(Some) }
            }));
            if slept {
                reached("it slept");
            }
            let Some(key) = key else { continue };
            match set.get_mut(key).unwrap().try_recv_ref() {
                Ok(message) => {
                    message.read();
                    received += 1;
                }
                Err(TryRecvError::Empty) => {}
                Err(_) => {
                    let left = set.leave(key).unwrap().accounting();
                    assert_eq!((left.lagged, left.end), (0, 4));
                    members -= 1;
                }
            }
        }
        drop(joined);
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        assert!(received + starts <= 12);
    });
}

/// The broker is dropped while its rooms are read and published into: everybody comes to an end.
#[test]
fn the_last_broker_goes() {
    explore("the_last_broker_goes", &["a publish came too late"], || {
        let broker = broker();
        let room = broker.room("room").unwrap();
        let reader = Reader::new(&room, Policy::Lag);
        let reader = thread::spawn(move || reader.wait_to_end(2));
        let publisher = thread::spawn(move || {
            let taken = (0..6).take_while(|&number| room.publish(Message::new(0, number)).is_ok()).count();
            if taken < 6 {
                reached("a publish came too late");
            }
            taken
        });
        drop(broker);
        let taken = publisher.join().unwrap();
        assert_eq!(reader.join().unwrap().end, taken as u64);
    });
}
