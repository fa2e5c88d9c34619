//! Ending a broker and waiting for its handlers, for as long as one likes.

use std::sync::mpsc;
use std::time::Duration;

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, Handler, Ref, RoomError, ShutdownError};

use crate::support::{Blocked, eventually, finishes};

/// Long enough for whatever must happen.
const LONG: Duration = Duration::from_secs(60);

struct Told(mpsc::Sender<Result<u64, CloseReason>>);

impl Handler<u64> for Told {
    fn message(&mut self, message: Ref<'_, u64>) {
        self.0.send(Ok(*message)).unwrap();
    }

    fn closed(&mut self, reason: CloseReason) {
        self.0.send(Err(reason)).unwrap();
    }
}

#[test]
fn handlers_have_everything_when_it_returns() {
    finishes(|| {
        for shards in [1, 3] {
            let broker = Broker::<u64>::builder().shards(shards).build();
            let room = broker.room("lobby").unwrap();
            let (told, all) = mpsc::channel();
            let served = [(); 3].map(|()| block_on(room.subscribe_handler(Told(told.clone()))).unwrap());
            drop(told);
            for number in 0..500 {
                room.publish(number).unwrap();
            }
            let other = broker.clone();
            assert_eq!(broker.shutdown(LONG), Ok(()));
            assert!(served.iter().all(|served| !served.is_running()));
            let all: Vec<_> = all.try_iter().collect();
            assert_eq!(all.len(), 3 * 501, "and the handlers are dropped: nobody sends any more");
            assert_eq!(all.iter().filter(|told| **told == Err(CloseReason::BrokerClosed)).count(), 3);
            assert_eq!(other.room("another").err(), Some(RoomError::Closed));
            assert_eq!(other.shutdown(Duration::ZERO), Ok(()), "once more is nothing more");
        }
    });
}

#[test]
fn a_broker_without_a_thread_is_shut_down_at_once() {
    for shards in [0, 4] {
        let broker = Broker::<u64>::builder().shards(shards).build();
        let mut reader = broker.room("lobby").unwrap().subscribe().now().unwrap();
        broker.publish("lobby", 7).unwrap();
        assert_eq!(broker.shutdown(Duration::ZERO), Ok(()));
        assert_eq!(reader.recv_blocking(), Ok(7));
        assert!(reader.recv_blocking().is_err());
    }
}

#[test]
fn a_handler_that_takes_longer_is_told_of() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let blocked = Blocked::new(&broker, "busy");
        blocked.block();
        for _ in 0..100 {
            assert_eq!(broker.shutdown(Duration::from_micros(10)), Err(ShutdownError::StillRunning));
        }
        blocked.release();
        assert_eq!(broker.shutdown(LONG), Ok(()));
    });
}

#[test]
fn a_handler_does_not_wait_for_itself() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("lobby").unwrap();
        let (told, all) = mpsc::channel();
        let own = broker.clone();
        let served = block_on(room.subscribe_with(move |_| told.send(own.shutdown(LONG)).unwrap())).unwrap();
        room.publish(1).unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), [Err(ShutdownError::OnShard)], "and it ends all the same");
        eventually("it is gone", || !served.is_running());
        assert_eq!(broker.shutdown(LONG), Ok(()));
    });
}
