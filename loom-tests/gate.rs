//! A *block* subscriber joins beside a rotation, and makes space beside a publisher that waits.

use loom::future::block_on;
use loom::thread;

use super::support::{budget, model, room, room_ref, shared};
use crate::ring::{Geometry, Ring};
use crate::room::Room;
use crate::{Policy, PublishError, Start, TryRecvError};

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

/// The same when segments go early to stay within a byte budget: two at once, or one that is begun anew beside whoever
/// weighs it.
#[test]
fn budget_join() {
    // Twelve bytes are kept: only the last three messages of each.
    for (preemptions, before) in [(2..=3, &[2, 2, 4, 4, 4][..]), (3..=4, &[4, 4, 4, 4])] {
        model(preemptions, move || {
            let ring = Ring::new(Geometry::new(1, 8), false, Some(budget(16)));
            let room = Room::new(room_ref("model", 1, ring, shared()));
            for &bytes in before {
                room.publish(bytes).unwrap();
            }
            let publisher = {
                let room = room.clone();
                thread::spawn(move || room.publish(1).is_ok())
            };
            let mut subscription = room.subscribe_from(Start::Oldest).policy(Policy::Block).now().unwrap();
            let published = before.len() as u64 + u64::from(publisher.join().unwrap());
            for sequence in subscription.position().sequence..published {
                let expected = before.get(sequence as usize).copied().unwrap_or(1);
                assert_eq!(subscription.try_recv(), Ok(expected), "a blocking subscriber was overrun");
            }
        });
    }
}

/// Who joins holds up no publisher that overruns nobody: neither one that is refused, nor one that waits and is to be woken.
#[test]
fn gate_join_publish() {
    model(2..=3, || {
        let room = room(1);
        for value in 0..2 {
            room.publish(value).unwrap();
        }
        let publisher = {
            let room = room.clone();
            thread::spawn(move || room.publish(2))
        };
        let mut subscription = room.subscribe().policy(Policy::Block).now().unwrap();
        assert_eq!(publisher.join().unwrap(), Ok(2), "a subscriber at the tail wants nothing that is evicted");
        assert!(matches!(subscription.try_recv(), Ok(2) | Err(TryRecvError::Empty)));
    });
}

/// A publisher that waits while somebody joins is not left asleep: at the tail nothing is kept that it needs, and in the
/// past the one who joins turns out to begin later than the room was first kept for it.
#[test]
fn gate_join_wait() {
    for start in [Start::Latest, Start::Oldest] {
        model(2..=3, move || {
            let room = room(1);
            for value in 0..2 {
                room.publish(value).unwrap();
            }
            let publisher = {
                let room = room.clone();
                thread::spawn(move || block_on(room.publish_wait(2)))
            };
            let subscription = room.subscribe_from(start).policy(Policy::Block).now().unwrap();
            assert_eq!(
                publisher.join().unwrap(),
                Ok(2),
                "of two messages one is kept for whoever begins at the oldest"
            );
            drop(subscription);
        });
    }
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
