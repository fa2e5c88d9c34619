//! The end of a room beside publishers, sleepers and other closers: the tail is frozen, and everything up to it is read.

use shuttle::thread;

use super::ledger::Message;
use super::support::{Reader, Rig, draw, explore, reached};
use crate::{Policy, PublishError, Room};

/// Publishes until the room is closed, at most so many; returns how many were taken.
fn publish_until_closed(room: &Room<Message>, publisher: u32, max: u32) -> u64 {
    let mut taken = 0;
    for number in 0..max {
        match room.publish(Message::new(publisher, number)) {
            Ok(_) => taken += 1,
            Err(PublishError::Closed(message)) => {
                assert_eq!(message.read(), (publisher, number), "a refused message comes back");
                reached("a publish was refused");
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

#[test]
fn two_close_while_three_publish() {
    explore(
        "two_close_while_three_publish",
        &["a publish was refused", "a reader lagged", "all was published"],
        || {
            let rig = Rig::new(1);
            let room = rig.room(1 << draw(0..=2), draw(2..=3));
            let reader = Reader::new(&room, Policy::Lag);
            let reader = thread::spawn(move || reader.wait_to_end(3));
            let publishers: Vec<_> = (0..3)
                .map(|publisher| {
                    let room = room.clone();
                    thread::spawn(move || publish_until_closed(&room, publisher, 6))
                })
                .collect();
            let closer = {
                let room = room.clone();
                thread::spawn(move || room.close())
            };
            let first = room.close();
            assert!(first ^ closer.join().unwrap(), "one of the two has closed it");
            let taken: u64 = publishers.into_iter().map(|publisher| publisher.join().unwrap()).sum();
            assert_eq!(room.tail(), taken, "the frozen tail is what was taken");
            if taken == 18 {
                reached("all was published");
            }
            assert_eq!(reader.join().unwrap().end, taken);
            assert!(room.subscribe().now().is_err());
        },
    );
}

/// Sleepers at the tail and sleepers who come later all hear of the end, with nothing published after it.
#[test]
fn a_close_wakes_everybody() {
    explore("a_close_wakes_everybody", &["one came too late"], || {
        let rig = Rig::new(0);
        let room = rig.room(1, 2);
        let early: Vec<_> = (0..2)
            .map(|_| {
                let reader = Reader::new(&room, Policy::Lag);
                thread::spawn(move || reader.wait_to_end(1))
            })
            .collect();
        let late = {
            let room = room.clone();
            thread::spawn(move || match room.subscribe().now() {
                Ok(subscription) => Some(Reader { subscription, seen: Default::default() }.wait_to_end(1).end),
                Err(_) => {
                    reached("one came too late");
                    None
                }
            })
        };
        let publisher = {
            let room = room.clone();
            thread::spawn(move || publish_until_closed(&room, 0, 3))
        };
        room.close();
        let taken = publisher.join().unwrap();
        for early in early {
            assert_eq!(early.join().unwrap().end, taken);
        }
        assert!(late.join().unwrap().is_none_or(|end| end == taken));
    });
}
