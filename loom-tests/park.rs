//! Sleeping and waking: no wake-up is lost.

use std::task::{Context, Wake, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::{Silent, budget, model, room, room_ref, shared};
use crate::ring::{Bell, Geometry, Ring};
use crate::room::{Action, Room};
use crate::wake::WakerCell;
use crate::{CloseReason, RecvError, Start};

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
    model(3..=4, || {
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

/// A taker that comes while the waker is being replaced leaves the waking to its task.
#[test]
fn replace_take() {
    model(3..=4, || {
        let cell = Arc::new(WakerCell::new());
        let count = std::sync::Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        cell.register(&waker);
        let taker = {
            let cell = cell.clone();
            thread::spawn(move || cell.take().is_some())
        };
        cell.register(&waker);
        assert!(taker.join().unwrap() || count.0.load(Relaxed) == 1, "neither took the waker nor woke");
    });
}

/// Of two who take at once the later one leaves it to the first: whoever registers afterwards sees what both did before, or
/// is woken.
#[test]
fn take_take() {
    model(3..=4, || {
        let shared = Arc::new((WakerCell::new(), [AtomicBool::new(false), AtomicBool::new(false)]));
        let takers = [0, 1].map(|mine| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (cell, done) = &*shared;
                done[mine].store(true, Relaxed);
                if let Some(waker) = cell.take() {
                    waker.wake();
                }
            })
        });
        let (cell, done) = &*shared;
        let count = std::sync::Arc::new(Count::default());
        cell.register(&Waker::from(count.clone()));
        let seen = done.iter().all(|done| done.load(Relaxed));
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        assert!(seen || count.0.load(Relaxed) > 0, "what a taker did was neither seen nor called");
    });
}

#[test]
fn publish_park() {
    model(2..=3, || {
        let room = room(2);
        let mut subscription = room.subscribe().now().unwrap();
        let publisher = thread::spawn(move || room.publish(7).unwrap());
        assert_eq!(block_on(subscription.recv()), Ok(7));
        publisher.join().unwrap();
    });
}

/// A reader that finds the bell armed by a shard is heard, although somebody answers for another reason just then.
#[test]
fn park_disturb() {
    model(2..=3, || {
        let room = room(2);
        let mut subscription = room.subscribe().now().unwrap();
        room.room_ref.0.arm_for(0);
        let publisher = thread::spawn(move || {
            room.room_ref.disturbed();
            room.publish(7).unwrap();
        });
        assert_eq!(block_on(subscription.recv()), Ok(7));
        publisher.join().unwrap();
    });
}

/// Of two who sleep the publisher wakes one, and that one the other when it goes: no shard is there to do it, and the other
/// one never helps itself. If the one has gone when the publisher comes to wake it, the publisher wakes the other.
#[test]
fn leave_help() {
    model(2..=3, || {
        let room = room(2);
        let count = std::sync::Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut sleeper = room.subscribe().now().unwrap();
        assert!(sleeper.poll_readable(&mut Context::from_waker(&waker)).is_pending());
        let mut subscription = room.subscribe().now().unwrap();
        let reader = thread::spawn(move || {
            assert_eq!(block_on(subscription.recv()), Ok(7));
        });
        room.publish(7).unwrap();
        reader.join().unwrap();
        assert_eq!(count.0.load(Relaxed), 1, "the other one sleeps on");
        drop(sleeper);
    });
}

/// What is left to a shard while it takes the call for what was left before is not forgotten.
#[test]
fn leave_call() {
    model(2..=3, || {
        let room = room(2);
        let inbox = room.room_ref.0.shared.inboxes[0].clone();
        let count = std::sync::Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut sleepers = [(); 4].map(|()| room.subscribe().now().unwrap());
        let mut park = |which: std::ops::Range<usize>| {
            for subscription in &mut sleepers[which] {
                assert!(subscription.poll_readable(&mut Context::from_waker(&waker)).is_pending());
            }
        };
        park(0..2);
        room.room_ref.disturbed();
        park(2..4);
        let publisher = {
            let room = room.clone();
            thread::spawn(move || room.room_ref.disturbed())
        };
        let serve = || {
            while let Some(action) = inbox.next_action() {
                let Action::Wake(called) = action else { panic!("nothing else was left") };
                if called.wake_called(1) {
                    inbox.post_lazily(Action::Wake(called));
                }
            }
        };
        serve();
        publisher.join().unwrap();
        serve();
        assert_eq!(count.0.load(Relaxed), 4, "somebody sleeps on");
        drop(sleepers);
    });
}

#[test]
fn close_park() {
    model(2..=3, || {
        let room = room(2);
        let mut subscription = room.subscribe().now().unwrap();
        let closer = thread::spawn(move || room.close());
        assert_eq!(block_on(subscription.recv()), Err(RecvError::Closed(CloseReason::Closed)));
        assert!(closer.join().unwrap());
    });
}

/// A reader parked at a hole hears that the segment with the hole was evicted; the hole is never filled.
#[test]
fn evicted_hole_park() {
    model(2..=3, || {
        let room = room(1);
        room.room_ref.ring().leave_hole(&Silent);
        room.publish(1).unwrap();
        let mut subscription = room.subscribe_from(Start::Oldest).now().unwrap();
        let publisher = {
            let room = room.clone();
            thread::spawn(move || room.publish(2).unwrap())
        };
        assert_eq!(block_on(subscription.recv()), Err(RecvError::Lagged(1)));
        assert_eq!(block_on(subscription.recv()), Ok(1));
        publisher.join().unwrap();
    });
}

/// The same when the segment with the hole goes early, to stay within a byte budget.
#[test]
fn budget_hole_park() {
    model(2..=3, || {
        // Of messages of four bytes three are kept when the next segment is begun.
        let ring = Ring::new(Geometry::new(1, 8), false, Some(budget(16)));
        let room = Room::new(room_ref("model", 1, ring, shared()));
        room.room_ref.ring().leave_hole(&Silent);
        for _ in 0..4 {
            room.publish(4).unwrap();
        }
        let mut subscription = room.subscribe_from(Start::Oldest).now().unwrap();
        let publisher = {
            let room = room.clone();
            thread::spawn(move || room.publish(4).unwrap())
        };
        // The hole and the message behind it go one after the other.
        assert!(matches!(block_on(subscription.recv()), Err(RecvError::Lagged(1 | 2))));
        publisher.join().unwrap();
    });
}
