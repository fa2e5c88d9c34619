//! Publish times: clocks are read before the claim, and yet no time is below an earlier one.

use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::support::{Silent, model};
use crate::ring::{Cursor, Geometry, Ring};

/// Two publishers whose clocks disagree, across the border of a segment.
#[test]
fn falling_times() {
    for slots in [1, 2] {
        model(2..=3, move || {
            let ring = Arc::new(Ring::<u64>::new(Geometry::new(slots, 4), true, None));
            let late = {
                let ring = ring.clone();
                thread::spawn(move || ring.publish(5, 5, &Silent).unwrap())
            };
            for now in [3, 4] {
                ring.publish(now, now, &Silent).unwrap();
            }
            late.join().unwrap();
            let mut cursor = Cursor::new(ring, 0);
            let mut before = 0;
            while let Ok(run) = cursor.look(1) {
                let run = cursor.take(run);
                let time = run.times[0].load(Relaxed);
                assert!(time >= before, "{time} is below {before}, the time of the message before");
                assert!((3..=5).contains(&time), "no clock has shown {time}");
                before = time;
            }
            assert_eq!(cursor.next(), 3);
        });
    }
}
