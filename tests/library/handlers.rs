//! Handlers that shards run.

use std::sync::mpsc::{self, Receiver, Sender};

use futures::executor::block_on;
use roomcast::{Batch, Broker, CloseReason, Handler, Ref, Start};

use crate::support::{Blocked, eventually, finishes, publish_all};

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Batch(u64, Vec<u64>),
    Lagged(u64),
    Closed(CloseReason),
}

/// Tells everything it is told.
struct Tell(Sender<Event>);

impl Tell {
    fn pair() -> (Self, Receiver<Event>) {
        let (tell, told) = mpsc::channel();
        (Self(tell), told)
    }
}

impl Handler<u64> for Tell {
    fn message(&mut self, _: Ref<'_, u64>) {
        unreachable!("`messages` takes them all");
    }

    fn messages(&mut self, batch: Batch<'_, u64>) {
        self.0.send(Event::Batch(batch.first_sequence(), batch.to_vec())).unwrap();
    }

    fn lagged(&mut self, missed: u64) {
        self.0.send(Event::Lagged(missed)).unwrap();
    }

    fn closed(&mut self, reason: CloseReason) {
        self.0.send(Event::Closed(reason)).unwrap();
    }
}

/// What was told, put together: messages in sequence order, how many were missed, why it ended.
fn account(told: Receiver<Event>, start: u64) -> (Vec<u64>, u64, Option<CloseReason>) {
    let (mut messages, mut missed, mut end, mut next) = (Vec::new(), 0, None, start);
    for event in told {
        assert_eq!(end, None, "nothing follows the end");
        match event {
            Event::Batch(first, batch) => {
                assert_eq!(first, next);
                next += batch.len() as u64;
                messages.extend(batch);
            }
            Event::Lagged(more) => {
                next += more;
                missed += more;
            }
            Event::Closed(reason) => end = Some(reason),
        }
    }
    (messages, missed, end)
}

#[test]
fn every_message_then_the_end() {
    let (messages, missed, end) = finishes(|| {
        let broker = Broker::<u64>::builder().shards(2).capacity(5_000).build();
        let room = broker.room("lobby").unwrap();
        let (tell, told) = Tell::pair();
        let served = block_on(room.subscribe_handler(tell)).unwrap();
        publish_all(&room, 0..5_000);
        room.close();
        let account = account(told, 0);
        drop(served);
        account
    });
    assert_eq!((messages, missed, end), ((0..5_000).collect(), 0, Some(CloseReason::Closed)));
}

#[test]
fn handlers_of_one_shard_begin_where_they_joined() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(1_000).build();
        let room = broker.room("lobby").unwrap();
        let mut all = Vec::new();
        for joined in 0..20 {
            let start = if joined % 3 == 0 { Start::Oldest } else { Start::Latest };
            let first = if joined % 3 == 0 { 0 } else { room.tail() };
            let (tell, told) = Tell::pair();
            let served = block_on(room.subscribe_handler_from(start, tell)).unwrap();
            publish_all(&room, room.tail()..room.tail() + 30);
            all.push((first, served, told));
        }
        room.close();
        for (first, served, told) in all {
            let (messages, missed, end) = account(told, first);
            assert_eq!((messages, missed), ((first..600).collect(), 0));
            assert_eq!(end, Some(CloseReason::Closed));
            eventually("its seat is empty", || !served.is_running());
        }
    });
}

#[test]
fn a_shard_that_fell_behind_tells_each_handler_how_much_it_missed() {
    let broker = Broker::<u64>::builder().shards(1).capacity(16).build();
    let room = broker.room("lobby").unwrap();
    let blocked = Blocked::new(&broker, "blocker");
    let (tell, told) = Tell::pair();
    let served = block_on(room.subscribe_handler(tell)).unwrap();
    blocked.block();
    publish_all(&room, 0..1_000);
    blocked.release();
    room.close();
    let (messages, missed, end) = finishes(move || account(told, 0));
    assert!(missed > 0 && messages.len() >= 16);
    assert_eq!(messages, (missed..1_000).collect::<Vec<_>>());
    assert_eq!(end, Some(CloseReason::Closed));
    drop(served);
}

#[test]
fn of_exclusive_rooms_too() {
    let (messages, missed, end) = finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).capacity(20_000).build();
        let mut publisher = broker.exclusive("prices").unwrap();
        let (tell, told) = Tell::pair();
        let served = block_on(publisher.room().subscribe_handler(tell)).unwrap();
        for first in (0..10_000).step_by(10) {
            publisher.publish_all(first..first + 10).unwrap();
        }
        drop(publisher);
        let account = account(told, 0);
        drop(served);
        account
    });
    assert_eq!((messages, missed, end), ((0..10_000).collect(), 0, Some(CloseReason::Closed)));
}

#[test]
fn a_dropped_broker_lets_handlers_finish() {
    let (tell, told) = Tell::pair();
    let broker = Broker::<u64>::builder().shards(1).capacity(1_000).build();
    let room = broker.room("lobby").unwrap();
    let served = block_on(room.subscribe_handler(tell)).unwrap();
    publish_all(&room, 0..1_000);
    finishes(move || drop(broker));
    let (messages, missed, end) = account(told, 0);
    assert_eq!((messages.len(), missed, end), (1_000, 0, Some(CloseReason::BrokerClosed)));
    assert!(!served.is_running());
    finishes(move || block_on(served.unsubscribe()));
}

/// What the closure takes is known from the room: nothing is to be written beside its names.
#[test]
fn a_closure_is_a_handler_without_types_written() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("lobby").unwrap();
        publish_all(&room, [1, 2]);
        let (seen, all) = mpsc::channel();
        let past = seen.clone();
        let one = block_on(room.subscribe_with(move |m| seen.send((m.sequence(), *m)).unwrap())).unwrap();
        let other = block_on(room.subscribe_with_from(Start::Oldest, move |m| past.send((m.sequence(), *m)).unwrap()));
        publish_all(&room, [3]);
        let mut told: Vec<_> = (0..4).map(|_| all.recv().unwrap()).collect();
        told.sort_unstable();
        assert_eq!(told, [(0, 1), (1, 2), (2, 3), (2, 3)]);
        drop((one, other));
    });
}
