//! Sleeping and waking: no wake-up is lost.

use std::task::{Poll, Wake, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::{model, room};
use crate::room::Port;
use crate::wake::WakerCell;
use crate::{CloseReason, RecvError};

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A waker registered beside a take is woken by one of the two, or still there: never lost.
#[test]
fn register_take() {
    model(3, || {
        let cell = Arc::new(WakerCell::new());
        let taker = {
            let cell = cell.clone();
            thread::spawn(move || cell.take().map(Waker::wake))
        };
        let count = std::sync::Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        cell.register(&waker);
        // Again, as a task does that is polled for another reason.
        cell.register(&waker);
        taker.join().unwrap();
        let woken = count.0.load(Relaxed);
        assert!(cell.take().is_some() || woken > 0, "the waker was lost");
        assert!(woken <= 2);
    });
}

#[test]
fn publish_park() {
    model(2, || {
        let room = room(2);
        let mut subscription = room.subscribe().now().unwrap();
        let publisher = thread::spawn(move || room.publish(7).unwrap());
        assert_eq!(block_on(subscription.recv()), Ok(7));
        publisher.join().unwrap();
    });
}

#[test]
fn close_park() {
    model(2, || {
        let room = room(2);
        let mut subscription = room.subscribe().now().unwrap();
        let closer = thread::spawn(move || room.close());
        assert_eq!(block_on(subscription.recv()), Err(RecvError::Closed(CloseReason::Closed)));
        assert!(closer.join().unwrap());
    });
}

/// A reader parked at a hole must hear that the segment with the hole was evicted, even if the hole is never filled.
#[test]
fn evicted_hole_park() {
    model(1, || {
        let room = room(1);
        let mut subscription = room.subscribe().now().unwrap();
        let publisher = {
            let room = room.clone();
            thread::spawn(move || {
                for value in 0..3 {
                    room.publish(value).unwrap();
                }
            })
        };
        let (mut received, mut lagged) = (0, 0);
        while received + lagged < 3 {
            match block_on(subscription.recv()) {
                Ok(value) => {
                    assert_eq!(value, received + lagged);
                    received += 1;
                }
                Err(RecvError::Lagged(missed)) => lagged += missed,
                Err(error) => panic!("{error}"),
            }
        }
        publisher.join().unwrap();
    });
}

#[test]
fn shard_sleep_push() {
    model(3, || {
        let port = Port::<u64>::new();
        let room = room(2);
        let poster = {
            let (port, inside) = (port.clone(), room.inside.clone());
            thread::spawn(move || port.post(crate::room::Action::Sweep(inside.0)))
        };
        block_on(std::future::poll_fn(|context| {
            if port.next_action().is_some() {
                return Poll::Ready(());
            }
            if !port.may_sleep(context.waker()) {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }));
        poster.join().unwrap();
    });
}
