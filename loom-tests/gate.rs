//! A *block* subscriber joins beside a rotation, and makes space beside a publisher that waits.

use loom::future::block_on;
use loom::thread;

use super::support::{model, room};
use crate::{Policy, PublishError};

/// Whoever blocks is never overrun from its acknowledgement on: the rotation sees its gate, or it sees the rotation.
#[test]
fn gate_join() {
    model(2, || {
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

/// A publisher that waits for space is woken when the blocker reads on.
#[test]
fn gate_pass_wait() {
    model(2, || {
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
