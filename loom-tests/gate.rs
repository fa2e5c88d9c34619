//! A *block* subscriber joins beside a rotation, and makes space beside a publisher that waits.

use loom::future::block_on;
use loom::thread;

use super::support::{budget, inside, model, room, shared};
use crate::ring::{Geometry, Ring};
use crate::room::Room;
use crate::{Policy, PublishError, Start};

/// Whoever blocks is never overrun from its acknowledgement on: the rotation sees its gate, or it sees the rotation.
#[test]
fn gate_join() {
    model(2..=3, || {
        let room = room(1);
        room.publish(0).unwrap();
        let publisher = {
            let room = room.clone();
            thread::spawn(move || {
                let published = (1..4).take_while(|value| room.publish(*value).is_ok()).count() as u64;
                1 + published
            })
        };
        let mut subscription = room.subscribe().policy(Policy::Block).now().unwrap();
        let start = subscription.position().sequence;
        let published = publisher.join().unwrap();
        assert!(published >= start && published - start <= 2, "the room took more than the ring holds");
        for sequence in start..published {
            assert_eq!(subscription.try_recv(), Ok(sequence), "a blocking subscriber was overrun");
        }
    });
}

/// The same when segments go early, two at once, to stay within a byte budget.
#[test]
fn budget_join() {
    model(2..=3, || {
        let ring = Ring::new(Geometry::new(1, 8), false, Some(budget(16)));
        let room = Room::new(inside("model", 1, ring, shared()));
        // Twelve bytes are kept: of the first five messages only the last three.
        for bytes in [2, 2, 4, 4, 4] {
            room.publish(bytes).unwrap();
        }
        let publisher = {
            let room = room.clone();
            thread::spawn(move || room.publish(1).is_ok())
        };
        let mut subscription = room.subscribe_from(Start::Oldest).policy(Policy::Block).now().unwrap();
        let published = 5 + u64::from(publisher.join().unwrap());
        for sequence in subscription.position().sequence..published {
            let received = subscription.try_recv();
            assert_eq!(received, Ok([2, 2, 4, 4, 4, 1][sequence as usize]), "a blocking subscriber was overrun");
        }
    });
}

/// A publisher that waits for space is woken when the blocker reads on.
#[test]
fn gate_pass_wait() {
    model(2..=3, || {
        let room = room(1);
        let mut subscription = room.subscribe().policy(Policy::Block).now().unwrap();
        room.publish(0).unwrap();
        room.publish(1).unwrap();
        assert_eq!(room.publish(2), Err(PublishError::Full(2)));
        let reader = thread::spawn(move || {
            for value in 0..2 {
                assert_eq!(subscription.try_recv(), Ok(value));
            }
            subscription
        });
        assert_eq!(block_on(room.publish_wait(2)), Ok(2));
        drop(reader.join().unwrap());
    });
}

/// A publisher that waits for space is woken when the blocker leaves.
#[test]
fn gate_leave_wait() {
    model(2..=3, || {
        let room = room(1);
        let subscription = room.subscribe().policy(Policy::Block).now().unwrap();
        room.publish(0).unwrap();
        room.publish(1).unwrap();
        let reader = thread::spawn(move || drop(subscription));
        assert_eq!(block_on(room.publish_wait(2)), Ok(2));
        reader.join().unwrap();
    });
}
