//! Threads that wait for a while.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, Policy, PublishError, RecvTimeoutError};

use crate::support::{eventually, finishes, publish_all};

/// Beyond all patience: what returns has not waited for it.
const LONG: Duration = Duration::from_secs(100_000_000);
const SHORT: Duration = Duration::from_millis(2);

#[test]
fn a_receive_ends_with_a_message_or_in_time() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(8).build();
        let room = broker.room("lobby").unwrap();
        let mut reader = room.subscribe().now().unwrap();
        for timeout in [Duration::ZERO, SHORT] {
            assert_eq!(reader.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
        }
        let publishing = thread::spawn({
            let room = room.clone();
            move || publish_all(&room, [7, 8])
        });
        assert_eq!(reader.recv_timeout(LONG), Ok(7));
        assert_eq!(*reader.recv_ref_timeout(Duration::MAX).unwrap(), 8);
        publishing.join().unwrap();
        assert_eq!(reader.recv_ref_timeout(SHORT).map(|_| ()), Err(RecvTimeoutError::Timeout));
        publish_all(&room, 0..100);
        let missed = room.oldest() - 2;
        assert_eq!(reader.recv_timeout(LONG), Err(RecvTimeoutError::Lagged(missed)));
        while reader.recv_timeout(Duration::ZERO).is_ok() {}
        let closing = thread::spawn({
            let room = room.clone();
            move || assert!(room.close())
        });
        assert_eq!(reader.recv_timeout(LONG), Err(RecvTimeoutError::Closed(CloseReason::Closed)));
        closing.join().unwrap();
    });
}

#[test]
fn a_publish_ends_with_space_or_in_time() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(1).build();
        let room = broker.room("ledger").unwrap();
        let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
        let filled = (0..).find(|number| room.publish(*number).is_err()).expect("it is full at some time");
        for timeout in [Duration::ZERO, SHORT] {
            assert_eq!(room.publish_timeout(99, timeout), Err(PublishError::Full(99)));
        }
        assert_eq!(room.stats().waiting, 0, "it leaves nothing behind");
        let publishing = thread::spawn({
            let room = room.clone();
            move || room.publish_timeout(filled, LONG)
        });
        eventually("it waits", || room.stats().waiting == 1);
        for number in 0..=filled {
            assert_eq!(blocking.recv_timeout(LONG), Ok(number));
        }
        assert_eq!(publishing.join().unwrap(), Ok(filled));
        let mut exclusive = broker.exclusive("prices").unwrap();
        let mut blocking = exclusive.room().subscribe().policy(Policy::Block).now().unwrap();
        let filled = (0..).find(|number| exclusive.publish(*number).is_err()).expect("it is full at some time");
        assert_eq!(exclusive.publish_timeout(99, SHORT), Err(PublishError::Full(99)));
        assert_eq!(blocking.try_recv(), Ok(0));
        while blocking.try_recv().is_ok() {}
        assert_eq!(exclusive.publish_timeout(filled, LONG), Ok(filled));
    });
}

#[test]
fn a_handler_is_not_let_wait() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(1).build();
        let (room, other) = (broker.room("lobby").unwrap(), broker.room("other").unwrap());
        let mut reader = other.subscribe().now().unwrap();
        let _blocking = other.subscribe().policy(Policy::Block).now().unwrap();
        let (tell, told) = mpsc::channel();
        let served = block_on(room.subscribe_with(move |_| {
            let received = reader.recv_timeout(LONG);
            while other.publish(1).is_ok() {}
            let _ = tell.send((received, other.publish_timeout(2, LONG)));
        }));
        room.publish(1).unwrap();
        assert_eq!(told.recv(), Ok((Err(RecvTimeoutError::OnShard), Err(PublishError::OnShard(2)))));
        drop(served);
    });
}
