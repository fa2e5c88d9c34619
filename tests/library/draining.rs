//! Handlers that leave when they have been given everything.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Waker};

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, Handler, Ref, Room, Start};

use crate::support::{eventually, finishes, publish_all};

/// Tells what it is given, and waits at its first message until it may go on.
struct Slow {
    may_go_on: Option<Receiver<()>>,
    told: Sender<Told>,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Message(u64),
    Lagged(u64),
    Closed(CloseReason),
}

impl Handler<u64> for Slow {
    fn message(&mut self, message: Ref<'_, u64>) {
        self.told.send(Told::Message(*message)).unwrap();
        if let Some(may_go_on) = self.may_go_on.take() {
            let _ = may_go_on.recv();
        }
    }

    fn lagged(&mut self, missed: u64) {
        self.told.send(Told::Lagged(missed)).unwrap();
    }

    fn closed(&mut self, reason: CloseReason) {
        self.told.send(Told::Closed(reason)).unwrap();
    }
}

fn slow() -> (Slow, Sender<()>, Receiver<Told>) {
    let ((go_on, may_go_on), (told, all)) = (mpsc::channel(), mpsc::channel());
    (Slow { may_go_on: Some(may_go_on), told }, go_on, all)
}

fn messages(numbers: std::ops::Range<u64>) -> Vec<Told> {
    numbers.map(Told::Message).collect()
}

fn room(capacity: usize) -> (Broker<u64>, Room<u64>) {
    let broker = Broker::builder().shards(1).capacity(capacity).build();
    let room = broker.room("lobby").unwrap();
    (broker, room)
}

#[test]
fn a_drained_handler_is_given_all_that_came_before_and_nothing_after() {
    finishes(|| {
        let (_broker, room) = room(1_024);
        let (handler, go_on, all) = slow();
        let draining = block_on(room.subscribe_handler(handler)).unwrap();
        let beside = {
            let (seen, all) = mpsc::channel();
            (block_on(room.subscribe_with(move |message| seen.send(*message).unwrap())).unwrap(), all)
        };
        publish_all(&room, 0..300);
        assert_eq!(
            all.recv(),
            Ok(Told::Message(0)),
            "its shard is busy from here on, and may have 255 more in this turn"
        );
        let drained = draining.drain();
        publish_all(&room, 300..600);
        drop(go_on);
        assert!(block_on(drained));
        assert_eq!(all.iter().collect::<Vec<_>>(), messages(1..300), "and it is dropped, with its sender");
        assert!(beside.1.iter().take(600).eq(0..600), "its neighbour goes on");
        drop(beside.0);
    });
}

#[test]
fn without_anything_to_be_given_it_leaves_at_once() {
    finishes(|| {
        let (_broker, room) = room(16);
        publish_all(&room, 0..10);
        for start in [Start::Latest, Start::Oldest] {
            let (handler, go_on, all) = slow();
            drop(go_on);
            let before = room.tail();
            let served = block_on(room.subscribe_with_from(start, move |message: Ref<'_, u64>| {
                let _ = handler.told.send(Told::Message(*message));
            }))
            .unwrap();
            assert!(block_on(served.drain()));
            let given = all.iter().count() as u64;
            assert_eq!(given, if start == Start::Latest { 0 } else { before }, "{start:?}");
        }
    });
}

#[test]
fn a_drained_handler_is_told_what_it_missed_and_no_more() {
    finishes(|| {
        let (_broker, room) = room(16);
        let (handler, go_on, all) = slow();
        let served = block_on(room.subscribe_handler(handler)).unwrap();
        publish_all(&room, 0..200);
        let first = all.recv().unwrap();
        let drained = served.drain();
        publish_all(&room, 200..400);
        drop(go_on);
        assert!(block_on(drained));
        let (mut given, mut missed) = (0, 0);
        for told in std::iter::once(first).chain(all) {
            match told {
                Told::Message(number) => {
                    assert!(number < 200, "{number} came after");
                    given += 1;
                }
                Told::Lagged(count) => missed += count,
                Told::Closed(reason) => panic!("{reason}"),
            }
        }
        assert_eq!(given + missed, 200);
    });
}

/// It is overrun beyond where it leaves, while the others of its room are further on.
#[test]
fn one_that_is_behind_and_misses_all_that_it_was_to_be_given_still_leaves() {
    /// Waits at each message that it is told to.
    struct Waits {
        at: Vec<u64>,
        reached: Sender<u64>,
        may_go_on: Receiver<()>,
        lagged: Sender<u64>,
    }
    impl Handler<u64> for Waits {
        fn message(&mut self, message: Ref<'_, u64>) {
            if self.at.contains(&*message) {
                self.reached.send(*message).unwrap();
                let _ = self.may_go_on.recv();
            }
        }
        fn lagged(&mut self, missed: u64) {
            self.lagged.send(missed).unwrap();
        }
    }
    finishes(|| {
        let (broker, room) = room(1_024);
        publish_all(&room, 0..1_000);
        let (seen, beside) = mpsc::channel();
        let level = block_on(room.subscribe_with(move |message| seen.send(*message).unwrap())).unwrap();
        let ((reached, at), (go_on, may_go_on), (lagged, missed)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
        // A turn gives it 256 messages, and the others as many.
        let waits = Waits { at: vec![255, 511], reached, may_go_on, lagged };
        let behind = block_on(room.subscribe_handler_from(Start::Oldest, waits)).unwrap();
        assert_eq!(at.recv(), Ok(255));
        let drained = behind.drain();
        publish_all(&room, 1_000..1_256);
        go_on.send(()).unwrap();
        assert_eq!(at.recv(), Ok(511));
        publish_all(&room, 1_256..2_180);
        go_on.send(()).unwrap();
        assert!(block_on(drained));
        assert_eq!(missed.iter().collect::<Vec<_>>(), [1_000 - 512], "and of what came after it is told nothing");
        assert_eq!(broker.stats().shards[0].panics, 0);
        assert!(beside.iter().take(1_180).eq(1_000..2_180), "its neighbour goes on");
        drop(level);
    });
}

#[test]
fn a_drain_whose_future_is_dropped_goes_on() {
    finishes(|| {
        let (_broker, room) = room(1_024);
        for is_polled in [false, true] {
            let (handler, go_on, all) = slow();
            let served = block_on(room.subscribe_handler(handler)).unwrap();
            let first = room.tail();
            publish_all(&room, first..first + 100);
            {
                let mut drained = pin!(served.drain());
                let context = &mut Context::from_waker(Waker::noop());
                assert!(!is_polled || drained.as_mut().poll(context).is_pending());
            }
            drop(go_on);
            assert_eq!(all.iter().collect::<Vec<_>>(), messages(first..first + 100));
        }
    });
}

#[test]
fn one_that_had_gone_before_was_not_drained() {
    finishes(|| {
        let (_broker, room) = room(16);
        let panicked = block_on(room.subscribe_with(|_| panic!("as it does every time"))).unwrap();
        room.publish(0).unwrap();
        eventually("it is taken out", || !panicked.is_running());
        assert!(!block_on(panicked.drain()));
        let panics = block_on(room.subscribe_with(|_| panic!("as it does every time"))).unwrap();
        room.publish(1).unwrap();
        assert!(!block_on(panics.drain()), "also in the midst of it");
        let (handler, go_on, all) = slow();
        let ended = block_on(room.subscribe_handler(handler)).unwrap();
        room.publish(2).unwrap();
        room.close();
        drop(go_on);
        let told = [Told::Message(2), Told::Closed(CloseReason::Closed)];
        assert_eq!(all.iter().collect::<Vec<_>>(), told);
        assert!(!block_on(ended.drain()), "it had been told the end");
    });
}

#[test]
fn a_room_that_ends_meanwhile_does_not_keep_it() {
    finishes(|| {
        let (_broker, room) = room(1_024);
        let (handler, go_on, all) = slow();
        let served = block_on(room.subscribe_handler(handler)).unwrap();
        publish_all(&room, 0..50);
        assert_eq!(all.recv(), Ok(Told::Message(0)), "its shard is busy from here on");
        let drained = served.drain();
        publish_all(&room, 50..60);
        room.close();
        drop(go_on);
        assert!(block_on(drained));
        assert_eq!(all.iter().collect::<Vec<_>>(), messages(1..50), "it has left before the end");
    });
}
