//! Closing: beside claims, beside installs, beside readers.

use loom::thread;

use super::support::{Reader, Silent, model, publish, ring, room};
use crate::ring::{Cursor, Refusal, Rest};
use crate::{CloseReason, PublishError};

#[test]
fn close_claim() {
    model(3..=4, || {
        let ring = ring::<u64>(2);
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || publish(&ring, 10))
        };
        assert!(ring.close(&Silent));
        let published = publisher.join().unwrap();
        assert!(matches!(published, Ok(0) | Err(Refusal::Closed)));
        assert_eq!(ring.tail(), u64::from(published.is_ok()), "the frozen tail counts every claim that succeeded");
        assert_eq!(publish(&ring, 11), Err(Refusal::Closed));
        assert!(!ring.close(&Silent));
    });
}

#[test]
fn close_install() {
    model(2..=3, || {
        let ring = ring::<u64>(1);
        publish(&ring, 0).unwrap();
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || [publish(&ring, 1), publish(&ring, 2)])
        };
        ring.close(&Silent);
        let published = publisher.join().unwrap().into_iter().filter(Result::is_ok).count() as u64;
        assert_eq!(ring.tail(), 1 + published);
        let mut reader = Reader::new(&ring, 0);
        while let Ok(Some(_)) = reader.read() {}
        assert_eq!(reader.read(), Err(()), "closed is said at the final tail");
        assert_eq!(reader.cursor.next(), ring.tail());
    });
}

/// `Closed` is said at the final tail only, after earlier claims have committed.
#[test]
fn close_receive() {
    model(3..=4, || {
        let ring = ring::<u64>(2);
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || publish(&ring, 0).is_ok())
        };
        let closer = {
            let ring = ring.clone();
            thread::spawn(move || ring.close(&Silent))
        };
        let mut reader = Reader::new(&ring, 0);
        let closed = (0..2).any(|_| reader.read().is_err());
        let published = publisher.join().unwrap();
        closer.join().unwrap();
        if closed {
            assert_eq!(reader.received, u64::from(published), "closed was said before the last message");
        }
        while let Ok(Some(_)) = reader.read() {}
        assert_eq!(reader.read(), Err(()));
        assert_eq!(reader.received, u64::from(published));
    });
}

/// Whoever finds a ring closed knows why it was, for the reason is said before.
#[test]
fn crash_publish() {
    model(3..=4, || {
        let room = room(2);
        let crashing = {
            let room_ref = room.room_ref.clone();
            thread::spawn(move || room_ref.end(CloseReason::Crashed))
        };
        assert!(matches!(room.publish(7), Ok(0) | Err(PublishError::Crashed(7))));
        assert!(crashing.join().unwrap());
    });
}

/// A reader that is about to sleep has seen the closed word before its closer could say so, and says so itself: another
/// reader that hears it sees the closed word too.
#[test]
fn close_hint() {
    model(2..=3, || {
        let ring = ring::<u64>(2);
        let closer = {
            let ring = ring.clone();
            thread::spawn(move || ring.close(&Silent))
        };
        let sleeper = {
            let ring = ring.clone();
            thread::spawn(move || Cursor::new(ring, 0).rest())
        };
        let mut reader = Reader::new(&ring, 0);
        assert!(matches!(reader.read(), Ok(None) | Err(())));
        closer.join().unwrap();
        assert!(matches!(sleeper.join().unwrap(), Rest::Asleep | Rest::Ready));
        assert_eq!(reader.read(), Err(()));
    });
}
