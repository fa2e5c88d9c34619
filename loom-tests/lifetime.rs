//! Batches beside single claims, rooms that expire beside publishers, and the last one to leave.

use std::collections::VecDeque;

use loom::future::block_on;
use loom::thread;

use super::support::{Reader, Silent, model, publish, ring, room};
use crate::CloseReason;
use crate::PublishError;

/// A batch claims no slot that another publisher has, and no more than there are.
#[test]
fn batch_claim() {
    model(2..=3, || {
        let ring = ring::<u64>(2);
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || publish(&ring, 7).unwrap())
        };
        let mut batch = VecDeque::from([10, 11]);
        let mut sequences = Vec::new();
        while !batch.is_empty() {
            let (first, count) = ring.publish_batch(&mut batch, 0, &Silent).unwrap();
            sequences.extend(first..first + count);
        }
        sequences.push(publisher.join().unwrap());
        let mut reader = Reader::new(&ring, 0);
        let mut values = Vec::new();
        while let Ok(Some((sequence, value))) = reader.read() {
            values.push((sequence, value));
        }
        assert_eq!(values.len(), 3, "three slots were claimed and three are read");
        let batched: Vec<_> = values.iter().filter(|(_, value)| *value != 7).collect();
        assert_eq!(batched.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), sequences[..2]);
        assert_eq!(batched.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [10, 11], "a batch keeps its order");
        assert!(values.contains(&(sequences[2], 7)));
    });
}

/// A batch wakes whoever sleeps for one of its messages.
#[test]
fn batch_park() {
    model(2..=3, || {
        let room = room(2);
        let mut subscription = room.subscribe().now().unwrap();
        let publisher = thread::spawn(move || room.publish_all([7, 8]).unwrap());
        assert_eq!(block_on(subscription.recv()), Ok(7));
        assert_eq!(publisher.join().unwrap(), 0..2);
    });
}

/// No message is taken by a room that expires at the same moment.
#[test]
fn expire_publish() {
    model(3..=4, || {
        let room = room(2);
        room.publish(10).unwrap();
        assert!(!room.room_ref.expire(|| true), "the first look takes note");
        let publisher = {
            let room = room.clone();
            thread::spawn(move || room.publish(11))
        };
        let expired = room.room_ref.expire(|| true);
        let published = publisher.join().unwrap();
        match expired {
            true => assert_eq!((published, room.ended()), (Err(PublishError::Closed(11)), Some(CloseReason::Expired))),
            false => assert_eq!((published, room.ended()), (Ok(1), None)),
        }
    });
}

/// Whoever finds the ring of an expiring room closed knows why.
#[test]
fn expire_read() {
    model(3..=4, || {
        let room = room(2);
        assert!(!room.room_ref.expire(|| true), "the first look takes note");
        let expiring = {
            let room = room.clone();
            thread::spawn(move || room.room_ref.expire(|| true))
        };
        if room.publish(11).is_err() {
            assert_eq!(room.room_ref.0.reason(), CloseReason::Expired);
        }
        let expired = expiring.join().unwrap();
        assert_eq!(room.ended(), expired.then_some(CloseReason::Expired));
    });
}

/// The last one to leave wakes whoever waits for that.
#[test]
fn leave_vacated() {
    model(3..=4, || {
        let room = room(2);
        let subscription = room.subscribe().now().unwrap();
        let leaving = thread::spawn(move || drop(subscription));
        block_on(room.vacated());
        assert_eq!(room.stats().subscribers, 0);
        leaving.join().unwrap();
    });
}

/// The end of a room wakes whoever waits for that.
#[test]
fn close_waiting() {
    model(3..=4, || {
        let room = room(2);
        let closer = {
            let room = room.clone();
            thread::spawn(move || room.close())
        };
        assert_eq!(block_on(room.closed()), CloseReason::Closed);
        assert!(closer.join().unwrap());
    });
}
