//! Exclusive rooms: one word for the tail, the close and the call.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use super::support::{Reader, Silent, model, room_ref, shared};
use crate::ring::{Geometry, Refusal, Ring, Writer};
use crate::room::Publisher;
use crate::{CloseReason, Policy, PublishError};

fn publisher(slots: u64) -> Publisher<u64> {
    let ring = Ring::new_exclusive(Geometry::new(slots, 2), false, None);
    Publisher::new(Writer::new(room_ref("model", 1, ring, shared())))
}

#[test]
fn exclusive_park() {
    model(2..=3, || {
        let mut publisher = publisher(2);
        let mut subscription = publisher.room().subscribe().now().unwrap();
        let publishing = thread::spawn(move || {
            publisher.publish(7).unwrap();
            publisher
        });
        assert_eq!(block_on(subscription.recv()), Ok(7));
        drop(publishing.join().unwrap());
    });
}

#[test]
fn exclusive_close() {
    model(3..=4, || {
        let ring = Arc::new(Ring::<u64>::new_exclusive(Geometry::new(2, 2), false, None));
        let mut writer = Writer::new(ring.clone());
        let publishing = thread::spawn(move || {
            let mut messages = [10, 11].into_iter();
            let refused = writer.publish_run(&mut messages, 0, &Silent).refused;
            refused.map(|(refusal, back)| (refusal, back.into_iter().chain(messages).collect::<Vec<_>>()))
        });
        ring.close(&Silent);
        match publishing.join().unwrap() {
            None => assert_eq!(ring.tail(), 2),
            Some(refused) => assert_eq!((ring.tail(), refused), (0, (Refusal::Closed, vec![10, 11]))),
        }
        let mut reader = Reader::new(&ring, 0);
        while let Ok(Some(_)) = reader.read() {}
        assert_eq!(reader.read(), Err(()));
        assert_eq!(reader.received, ring.tail());
    });
}

/// As `crash_publish`, in an exclusive room: in the midst of a segment, and where the next one is needed.
#[test]
fn exclusive_crash() {
    for first in [true, false] {
        model(3..=4, move || {
            let mut publisher = publisher(2);
            if !first {
                publisher.publish(6).unwrap();
            }
            let crashing = {
                let room_ref = publisher.room().room_ref;
                thread::spawn(move || room_ref.end(CloseReason::Crashed))
            };
            assert!(matches!(publisher.publish(7), Ok(_) | Err(PublishError::Crashed(7))));
            assert!(crashing.join().unwrap());
        });
    }
}

#[test]
fn exclusive_rotate_lease() {
    model(3..=4, || {
        let ring = Arc::new(Ring::<u64>::new_exclusive(Geometry::new(1, 2), false, None));
        let mut writer = Writer::new(ring.clone());
        let publishing = thread::spawn(move || {
            for value in 0..4 {
                writer.publish(value, 0, &Silent).unwrap();
            }
        });
        let mut reader = Reader::new(&ring, 0);
        for _ in 0..2 {
            if let Ok(Some((sequence, value))) = reader.read() {
                assert_eq!(sequence, value);
            }
        }
        publishing.join().unwrap();
        while let Ok(Some((sequence, value))) = reader.read() {
            assert_eq!(sequence, value);
        }
        assert_eq!(reader.cursor.next(), 4);
    });
}

/// As `gate_join`, in an exclusive room.
#[test]
fn exclusive_gate_join() {
    model(2..=3, || {
        let mut publisher = publisher(1);
        publisher.publish(0).unwrap();
        let room = publisher.room();
        let publishing = thread::spawn(move || {
            let published = (1..4).take_while(|value| publisher.publish(*value).is_ok()).count() as u64;
            (1 + published, publisher)
        });
        let mut subscription = room.subscribe().policy(Policy::Block).now().unwrap();
        let start = subscription.position().sequence;
        let (published, publisher) = publishing.join().unwrap();
        assert!(published >= start && published - start <= 2, "the room took more than the ring holds");
        for sequence in start..published {
            assert_eq!(subscription.try_recv(), Ok(sequence), "a blocking subscriber was overrun");
        }
        drop(publisher);
    });
}
