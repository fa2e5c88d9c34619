//! Patterns and brokers: rooms made beside the pattern that means them, and beside the end of everything.

use loom::future::block_on;
use loom::thread;

use super::support::model;
use crate::{Broker, CloseReason, RoomError, TryRecvError};

/// A broker that only pulling subscribers use, so that it starts no thread.
fn broker() -> Broker<u64> {
    Broker::builder().capacity(1).shards(0).build()
}

/// A room made beside a pattern is found by it, once: by whoever makes the room, or by whoever makes the pattern. What was
/// published after the pattern was there is read.
#[test]
fn create_pattern() {
    model(2..=3, || {
        let broker = broker();
        let maker = {
            let broker = broker.clone();
            thread::spawn(move || broker.room("lobby").unwrap())
        };
        let mut all = broker.subscribe_pattern("*");
        let room = maker.join().unwrap();
        room.publish(7).unwrap();
        let key = block_on(all.ready()).unwrap();
        assert_eq!(all.get_mut(key).unwrap().try_recv(), Ok(7));
        assert_eq!((all.len(), room.stats().patterns), (1, 1), "the room was found twice");
    });
}

/// A room made beside the end of a pattern is not kept by it.
#[test]
fn create_drop() {
    model(2..=3, || {
        let broker = broker();
        let all = broker.subscribe_pattern("*");
        let maker = {
            let broker = broker.clone();
            thread::spawn(move || broker.room("lobby").unwrap())
        };
        drop(all);
        let room = maker.join().unwrap();
        assert_eq!(room.stats().patterns, 0, "a pattern that is gone holds the room");
    });
}

/// A room made beside the end of its broker is refused, or ends with it and is told to the pattern.
#[test]
fn create_close() {
    model(2..=3, || {
        let broker = broker();
        let mut all = broker.subscribe_pattern("*");
        let maker = {
            let broker = broker.clone();
            thread::spawn(move || broker.room("lobby"))
        };
        broker.close();
        match maker.join().unwrap() {
            Ok(room) => assert_eq!(room.ended(), Some(CloseReason::BrokerClosed)),
            Err(error) => assert_eq!(error, RoomError::Closed),
        }
        assert!(broker.get("lobby").is_none());
        while let Some(key) = block_on(all.ready()) {
            let read = all.get_mut(key).unwrap().try_recv();
            assert_eq!(read, Err(TryRecvError::Closed(CloseReason::BrokerClosed)));
            drop(all.leave(key));
        }
    });
}

/// A pattern made beside the end of its broker hears of it, and of what had been published.
#[test]
fn pattern_close() {
    model(2..=3, || {
        let broker = broker();
        broker.room("lobby").unwrap();
        let closer = {
            let broker = broker.clone();
            thread::spawn(move || broker.close())
        };
        let mut all = broker.subscribe_pattern("*");
        while let Some(key) = block_on(all.ready()) {
            let read = all.get_mut(key).unwrap().try_recv();
            assert_eq!(read, Err(TryRecvError::Closed(CloseReason::BrokerClosed)));
            drop(all.leave(key));
        }
        closer.join().unwrap();
    });
}
