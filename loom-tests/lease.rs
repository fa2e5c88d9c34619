//! Leases on a segment that is given to an old generation once more, by an installer that slept and is about to lose.

use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::support::{Reader, Silent, model, publish, ring};
use crate::ring::{Cursor, Geometry, Ring};

/// A reader comes with an old directory word to a segment that is begun for the same generation again, and then for
/// another: it reads nothing under a sequence that is not its own.
#[test]
fn begin_again() {
    model(3..=4, || {
        let ring = ring::<u64>(1);
        for value in 0..2 {
            publish(&ring, value).unwrap();
        }
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || {
                publish(&ring, 2).unwrap();
                ring.install_late(1, 0, &Silent);
                publish(&ring, 3).unwrap();
            })
        };
        let mut reader = Reader::new(&ring, 0);
        for _ in 0..2 {
            if let Ok(Some((sequence, value))) = reader.read() {
                assert_eq!(sequence, value, "a message came under the sequence of another");
            }
        }
        publisher.join().unwrap();
        while let Ok(Some((sequence, value))) = reader.read() {
            assert_eq!(sequence, value, "a message came under the sequence of another");
        }
        assert_eq!(reader.cursor.next(), 4);
    });
}

/// An installer that asks for the last time of a segment, by an old directory word, decides no time of a generation that
/// the segment is not in the directory for.
#[test]
fn time_floor_again() {
    model(2..=3, || {
        let ring = Arc::new(Ring::<u64>::new(Geometry::new(1, 2), true, None));
        let publish_at = |ring: &Ring<u64>, now| ring.publish(now, now, &Silent).unwrap();
        publish_at(&ring, 1);
        let late = {
            let ring = ring.clone();
            thread::spawn(move || publish_at(&ring, 2))
        };
        for now in [3, 4] {
            publish_at(&ring, now);
        }
        ring.install_late(1, 0, &Silent);
        late.join().unwrap();
        publish_at(&ring, 5);
        let mut cursor = Cursor::new(ring, 0);
        let mut before = 0;
        loop {
            match cursor.look(1) {
                Ok(run) => {
                    let time = cursor.take(run).times[0].load(Relaxed);
                    assert!(time >= before, "{time} is below {before}, the time of the message before");
                    before = time;
                }
                Err(crate::ring::Nothing::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        assert_eq!((cursor.next(), before), (5, 5));
    });
}
