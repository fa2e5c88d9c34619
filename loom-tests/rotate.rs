//! Replacing segments: against claims laps behind, against readers, against publishers stopped before their commit.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::{Counted, Reader, Silent, model, publish, ring};
use crate::ring::{Cursor, Geometry, Ring};

/// Two publishers install over each other, one of them perhaps laps behind; the sequences stay without gap or double.
#[test]
fn lapped_install() {
    model(3..=3, || {
        let ring = ring::<u64>(1);
        let other = {
            let ring = ring.clone();
            thread::spawn(move || [publish(&ring, 20).unwrap(), publish(&ring, 21).unwrap()])
        };
        let mine = [publish(&ring, 10).unwrap(), publish(&ring, 11).unwrap()];
        let theirs = other.join().unwrap();
        assert!(mine[0] < mine[1] && theirs[0] < theirs[1]);
        let mut all = [mine, theirs].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
        assert_eq!((ring.tail(), ring.oldest()), (4, 2));
        let mut reader = Reader::new(&ring, 0);
        while let Ok(Some(_)) = reader.read() {}
        assert_eq!((reader.received, reader.lagged), (2, 2));
    });
}

/// A reader takes a lease while its segment is evicted and reclaimed; loom reports any unsynchronised access to a slot.
#[test]
fn rotate_lease() {
    model(3..=4, || {
        let ring = ring::<u64>(1);
        publish(&ring, 0).unwrap();
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || {
                for value in 1..4 {
                    publish(&ring, value).unwrap();
                }
            })
        };
        let mut reader = Reader::new(&ring, 0);
        for _ in 0..2 {
            if let Ok(Some((sequence, value))) = reader.read() {
                assert_eq!(sequence, value, "a slot was read of another generation");
            }
        }
        publisher.join().unwrap();
        while let Ok(Some((sequence, value))) = reader.read() {
            assert_eq!(sequence, value);
        }
        assert_eq!(reader.cursor.next(), 4);
    });
}

/// A publisher may stop between its claim and its commit while others lap the ring: its segment is not reused before, and
/// its late commit lands in its own memory. loom reports any unsynchronised access to a slot.
#[test]
fn late_commit_recycle() {
    model(3..=4, || {
        let ring = ring::<u64>(1);
        let late = {
            let ring = ring.clone();
            thread::spawn(move || publish(&ring, 9).unwrap())
        };
        for value in 0..3 {
            publish(&ring, value).unwrap();
        }
        assert!(late.join().unwrap() < 4);
        let mut reader = Reader::new(&ring, 2);
        while let Ok(Some(_)) = reader.read() {}
        assert_eq!((reader.received, reader.lagged), (2, 0));
    });
}

/// The same with messages that have a `Drop`: each is dropped exactly once.
#[test]
fn late_commit_drop() {
    model(3..=4, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let ring: Arc<Ring<Counted>> = Arc::new(Ring::new(Geometry::new(1, 2), false, None));
        let late = {
            let (ring, message) = (ring.clone(), Counted::new(&alive));
            thread::spawn(move || ring.publish(message, 0, &Silent).map_err(|_| ()).unwrap())
        };
        for _ in 0..2 {
            ring.publish(Counted::new(&alive), 0, &Silent).map_err(|_| ()).unwrap();
        }
        ring.sweep(1, &Silent);
        assert!(late.join().unwrap() < 3);
        ring.sweep(1, &Silent);
        assert_eq!(alive.load(Relaxed), 2, "what is evicted and committed is dropped");
        drop(ring);
        assert_eq!(alive.load(Relaxed), 0, "a message was leaked or dropped twice");
    });
}

/// A reader takes a lease while a shard, which evicted nothing itself, drops the messages of the segment: the reader sees
/// the eviction through the counter of the leases alone.
#[test]
fn sweep_lease() {
    model(2..=3, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let ring: Arc<Ring<Counted>> = Arc::new(Ring::new(Geometry::new(1, 2), false, None));
        for _ in 0..2 {
            ring.publish(Counted::new(&alive), 0, &Silent).map_err(|_| ()).unwrap();
        }
        let publisher = {
            let (ring, message) = (ring.clone(), Counted::new(&alive));
            thread::spawn(move || ring.publish(message, 0, &Silent).map_err(|_| ()).unwrap())
        };
        let shard = {
            let ring = ring.clone();
            thread::spawn(move || ring.sweep(1, &Silent))
        };
        let mut cursor = Cursor::new(ring.clone(), 0);
        if let Ok(run) = cursor.look(1) {
            assert!(cursor.take(run).messages[0].0.load(Relaxed) > 0);
        }
        drop(cursor);
        assert_eq!(publisher.join().unwrap(), 2);
        shard.join().unwrap();
        drop(ring);
        assert_eq!(alive.load(Relaxed), 0, "a message was leaked or dropped twice");
    });
}

/// A reader stands at a hole, an earlier claim that is not committed, while the segment is evicted: it goes to what is
/// retained, as the directory says, and never beyond the tail.
#[test]
fn hole_evict_lag() {
    model(2..=3, || {
        let ring = ring::<u64>(1);
        let holder = {
            let ring = ring.clone();
            thread::spawn(move || publish(&ring, 7).unwrap())
        };
        let lapper = {
            let ring = ring.clone();
            thread::spawn(move || [publish(&ring, 8).unwrap(), publish(&ring, 9).unwrap()])
        };
        let mut reader = Reader::new(&ring, 0);
        let _ = reader.read();
        assert!(reader.cursor.next() <= ring.tail(), "a cursor beyond the tail");
        let hole = holder.join().unwrap();
        let others = lapper.join().unwrap();
        assert!(!others.contains(&hole));
        while let Ok(Some(_)) = reader.read() {}
        assert_eq!(reader.cursor.next(), 3);
        assert!(reader.received >= 2, "what is retained was passed over");
    });
}
