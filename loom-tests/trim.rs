//! Evicting by somebody who does not rotate: beside publishers, readers, sleepers and *block* subscribers that join.

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::{Counted, Silent, budget, model, room_ref, shared};
use crate::ring::{Budget, Cursor, Geometry, Nothing, Ring, Writer};
use crate::room::Room;
use crate::{Policy, RecvError, Start};

/// A budget that is never used up: what goes is trimmed.
fn large<T>() -> std::sync::Arc<Budget<T>> {
    std::sync::Arc::new(Budget::new(64, std::sync::Arc::new(|_: &T| 1)))
}

/// A room with segments of one message each, of which none goes by itself.
fn trimmed_room() -> Room<u64> {
    Room::new(room_ref("model", 1, Ring::new(Geometry::new(1, 8), false, Some(budget(64))), shared()))
}

/// Whoever blocks is never overrun from its acknowledgement on, also where more goes than a rotation would let go.
#[test]
fn trim_join() {
    model(2..=3, || {
        let room = trimmed_room();
        for _ in 0..3 {
            room.publish(1).unwrap();
        }
        let trimmer = {
            let room = room.clone();
            thread::spawn(move || room.trim(0))
        };
        let mut subscription = room.subscribe_from(Start::Oldest).policy(Policy::Block).now().unwrap();
        trimmer.join().unwrap();
        for _ in subscription.position().sequence..3 {
            assert_eq!(subscription.try_recv(), Ok(1), "a blocking subscriber was overrun");
        }
    });
}

/// A reader takes a lease while its segment is trimmed and another one rotates: loom reports any unsynchronised access to a
/// slot, and each message is dropped once.
#[test]
fn trim_lease() {
    model(2..=2, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let ring: Arc<Ring<Counted>> = Arc::new(Ring::new(Geometry::new(1, 2), false, Some(large())));
        for _ in 0..2 {
            ring.publish(Counted::new(&alive), 0, &Silent).map_err(|_| ()).unwrap();
        }
        let publisher = {
            let (ring, message) = (ring.clone(), Counted::new(&alive));
            thread::spawn(move || ring.publish(message, 0, &Silent).map_err(|_| ()).unwrap())
        };
        let trimmer = {
            let ring = ring.clone();
            thread::spawn(move || ring.trim(0, &Silent))
        };
        let mut cursor = Cursor::new(ring.clone(), 0);
        if let Ok(run) = cursor.look(1) {
            assert!(cursor.take(run).messages[0].0.load(Relaxed) > 0);
        }
        drop(cursor);
        assert_eq!(publisher.join().unwrap(), 2);
        trimmer.join().unwrap();
        assert_eq!(ring.tail(), 3);
        drop(ring);
        assert_eq!(alive.load(Relaxed), 0, "a message was leaked or dropped twice");
    });
}

/// A reader that is parked at a hole, in a segment that is trimmed, is woken. No other segment goes with it: what is said of the next one
/// would order what is to be ordered here.
#[test]
fn trim_hole_park() {
    model(2..=3, || {
        let room = Room::new(room_ref("model", 1, Ring::new(Geometry::new(2, 8), false, Some(budget(64))), shared()));
        room.room_ref.ring().leave_hole(&Silent);
        for _ in 0..2 {
            room.publish(1).unwrap();
        }
        let mut subscription = room.subscribe_from(Start::Oldest).now().unwrap();
        let trimmer = {
            let room = room.clone();
            thread::spawn(move || room.trim(0))
        };
        assert_eq!(block_on(subscription.recv()), Err(RecvError::Lagged(2)));
        trimmer.join().unwrap();
    });
}

/// The writer of an exclusive ring installs a segment over one that is trimmed at the same moment: what it publishes is
/// there, and each message is dropped once.
#[test]
fn exclusive_trim() {
    model(2..=3, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let ring: Arc<Ring<Counted>> = Arc::new(Ring::new_exclusive(Geometry::new(1, 2), false, Some(large())));
        let mut writer = Writer::new(ring.clone());
        for _ in 0..2 {
            writer.publish(Counted::new(&alive), 0, &Silent).map_err(|_| ()).unwrap();
        }
        let trimmer = {
            let ring = ring.clone();
            thread::spawn(move || ring.trim(0, &Silent))
        };
        writer.publish(Counted::new(&alive), 0, &Silent).map_err(|_| ()).unwrap();
        trimmer.join().unwrap();
        let mut cursor = Cursor::new(ring.clone(), 2);
        let run = cursor.look(1).expect("the newest is there");
        assert!(cursor.take(run).messages[0].0.load(Relaxed) > 0);
        assert_eq!(cursor.look(1).err(), Some(Nothing::Empty));
        drop((cursor, writer, ring));
        assert_eq!(alive.load(Relaxed), 0, "a message was leaked or dropped twice");
    });
}
