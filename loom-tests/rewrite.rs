//! Replacing messages that were published: against publishers, readers, closers, and others who do.

use std::sync::Arc as StdArc;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::{Counted, Reader, Silent, TestRing, model, publish, ring, room};
use crate::ring::{Cursor, Ring};
use crate::{Room, Start};

/// Says of the message at `sequence` that it is another.
fn rewrite(ring: &Ring<u64>, sequence: u64) -> (u64, bool) {
    ring.rewrite(sequence..sequence + 1, |_, &value| (value < 100).then_some(value + 100), &Silent)
}

/// What one who comes now is given.
fn all(ring: &TestRing<u64>) -> Vec<u64> {
    let mut reader = Reader::new(ring, ring.oldest());
    std::iter::from_fn(|| reader.read().ok()?.map(|(_, value)| value)).collect()
}

/// Replaces the first message while two more are published; how many were replaced.
fn rewrite_beside_a_publisher(ring: &TestRing<u64>) -> u64 {
    let publisher = {
        let ring = ring.clone();
        thread::spawn(move || [1, 2].map(|value| publish(&ring, value).unwrap()))
    };
    let replaced = rewrite(ring, 0).0;
    assert_eq!(publisher.join().unwrap(), [1, 2]);
    replaced
}

/// Publishers go on in the copy, in the next segment, or in the old one, which is then copied anew: nothing is lost.
#[test]
fn rewrite_publish() {
    model(2..=3, || {
        let ring = ring::<u64>(2);
        publish(&ring, 0).unwrap();
        let replaced = rewrite_beside_a_publisher(&ring);
        assert_eq!((replaced + rewrite(&ring, 0).0, all(&ring)), (1, vec![100, 1, 2]));
    });
}

/// A reader stands in a segment that is copied and published into: it is given each message once.
#[test]
fn rewrite_read() {
    model(2..=3, || {
        let ring = ring::<u64>(2);
        publish(&ring, 0).unwrap();
        let mut reader = Reader::new(&ring, 0);
        let other = {
            let ring = ring.clone();
            thread::spawn(move || {
                let replaced = rewrite(&ring, 0).0;
                publish(&ring, 1).unwrap();
                replaced
            })
        };
        let mut given = Vec::new();
        for _ in 0..2 {
            given.extend(reader.read().unwrap().map(|(_, value)| value));
        }
        assert_eq!(other.join().unwrap(), 1);
        while let Ok(Some((_, value))) = reader.read() {
            given.push(value);
        }
        assert!(given == [0, 1] || given == [100, 1], "{given:?}");
        drop(reader);
        assert_eq!((rewrite(&ring, 0), all(&ring)), ((0, true), vec![100, 1]));
    });
}

/// A reader parked behind what was copied hears of what is published into the copy.
#[test]
fn rewrite_park() {
    model(2..=3, || {
        let room: Room<u64> = room(2);
        room.publish(0).unwrap();
        let mut subscription = room.subscribe_from(Start::Oldest).now().unwrap();
        assert_eq!(block_on(subscription.recv()), Ok(0));
        let rewriter = {
            let room = room.clone();
            thread::spawn(move || room.rewrite(0..1, |_, _| Some(100)).unwrap().messages)
        };
        let publisher = {
            let room = room.clone();
            thread::spawn(move || room.publish(1).unwrap())
        };
        assert_eq!(block_on(subscription.recv()), Ok(1));
        publisher.join().unwrap();
        assert!(rewriter.join().unwrap() <= 1);
    });
}

/// A message that is dropped once, whatever is replaced by what.
#[derive(Clone)]
#[expect(dead_code, reason = "it counts by being there")]
struct Held(StdArc<Counted>, u64);

/// A reader takes a lease while its segment is copied, and emptied: loom reports any unsynchronised access to a slot.
#[test]
fn rewrite_lease() {
    model(3..=4, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let ring = ring::<Held>(1);
        publish(&ring, Held(StdArc::new(Counted::new(&alive)), 0)).unwrap();
        let rewriter = {
            let (ring, alive) = (ring.clone(), alive.clone());
            thread::spawn(move || {
                let other = |_: u64, held: &Held| (held.1 == 0).then(|| Held(StdArc::new(Counted::new(&alive)), 1));
                let replaced = ring.rewrite(0..1, other, &Silent).0;
                ring.rewrite(0..1, |_, _| None, &Silent);
                // What was emptied is filled again.
                publish(&ring, Held(StdArc::new(Counted::new(&alive)), 2)).unwrap();
                replaced
            })
        };
        let mut cursor = Cursor::new(ring.clone(), 0);
        let read = |cursor: &mut Cursor<Held, TestRing<Held>>| {
            let run = cursor.look(1).ok()?;
            Some(cursor.take(run).messages[0].1)
        };
        assert!(matches!(read(&mut cursor), Some(0 | 1)));
        assert_eq!(rewriter.join().unwrap(), 1);
        assert_eq!(read(&mut cursor), Some(2));
        drop(cursor);
        assert_eq!(ring.rewrite(0..1, |_, _| None, &Silent), (0, true));
        assert_eq!(alive.load(Relaxed), 2, "what was replaced is dropped");
        drop(ring);
        assert_eq!(alive.load(Relaxed), 0);
    });
}

/// A rewriter that is slow between its two exchanges is lapped: what it has put there is evicted as all else. (That it is dropped, also
/// of a segment that was not full when it was copied: `suspended`.)
#[test]
fn rewrite_lapped() {
    model(1..=2, || {
        let ring = ring::<u64>(1);
        publish(&ring, 0).unwrap();
        let replaced = rewrite_beside_a_publisher(&ring);
        assert!(replaced <= 1 && rewrite(&ring, 0) == (0, true), "it is evicted");
        assert_eq!(all(&ring), [1, 2]);
        assert!(ring.census().0 <= 4, "what is not used any more is used again");
    });
}

/// Two replace messages: what one has put there the other finds.
#[test]
fn rewrite_rewrite() {
    model(3..=4, || {
        let ring = ring::<u64>(2);
        for value in 0..2 {
            publish(&ring, value).unwrap();
        }
        let other = {
            let ring = ring.clone();
            thread::spawn(move || rewrite(&ring, 1).0)
        };
        let replaced = rewrite(&ring, 0).0 + other.join().unwrap();
        assert_eq!(replaced + rewrite(&ring, 0).0 + rewrite(&ring, 1).0, 2);
        assert_eq!(all(&ring), [100, 101]);
        assert_eq!(ring.census().0, 2, "one segment and the copy that takes turns with it");
    });
}

/// A room is closed while messages are replaced: what was taken is read to its end.
#[test]
fn rewrite_close() {
    model(3..=4, || {
        let ring = ring::<u64>(2);
        publish(&ring, 0).unwrap();
        let closer = {
            let ring = ring.clone();
            thread::spawn(move || {
                let is_taken = publish(&ring, 1).is_ok();
                assert!(ring.close(&Silent));
                is_taken
            })
        };
        let replaced = rewrite(&ring, 0).0;
        assert!(closer.join().unwrap());
        assert_eq!(replaced + rewrite(&ring, 0).0, 1);
        let mut reader = Reader::new(&ring, 0);
        let read = [reader.read(), reader.read()].map(|read| read.unwrap().map(|(_, value)| value));
        assert_eq!((read, reader.read()), ([Some(100), Some(1)], Err(())));
    });
}
