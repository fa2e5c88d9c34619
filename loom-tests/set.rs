//! One reader of many rooms: rooms list themselves while it takes them off the list.

use loom::future::block_on;
use loom::thread;

use super::support::{model, room};
use crate::{CloseReason, RoomSet, TryRecvError};

/// A room that has something while the reader takes it off the list for what it had before comes up again.
#[test]
fn list_ready() {
    model(2..=3, || {
        let room = room(2);
        let mut set = RoomSet::new();
        let key = set.join(room.subscribe().now().unwrap());
        let publisher = thread::spawn(move || {
            for value in [7, 8] {
                room.publish(value).unwrap();
            }
        });
        for value in [7, 8] {
            assert_eq!(block_on(set.ready()), key);
            assert_eq!(set.get_mut(key).unwrap().try_recv(), Ok(value));
        }
        publisher.join().unwrap();
    });
}

/// Two rooms have something at once, of which one ends: both come up, and the end after what was published before.
#[test]
fn list_list() {
    model(1..=2, || {
        let (ending, other) = (room(1), room(1));
        let mut set = RoomSet::new();
        let ends = set.join(ending.subscribe().now().unwrap());
        let goes_on = set.join(other.subscribe().now().unwrap());
        let closer = thread::spawn(move || assert!(ending.close()));
        let publisher = thread::spawn(move || other.publish(7).unwrap());
        let mut seen = (false, false);
        while seen != (true, true) {
            let key = block_on(set.ready());
            let received = set.get_mut(key).unwrap().try_recv();
            if key == ends {
                assert_eq!(received, Err(TryRecvError::Closed(CloseReason::Closed)));
                set.leave(key).unwrap();
                seen.0 = true;
            } else {
                assert_eq!((key, received), (goes_on, Ok(7)));
                seen.1 = true;
            }
        }
        closer.join().unwrap();
        publisher.join().unwrap();
    });
}
