//! Handlers on shards: they join and leave beside publishers, and their shard sleeps and is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use shuttle::future::block_on;
use shuttle::thread;

use super::ledger::Message;
use super::support::{Rig, Seen, draw, explore, publish, reached};
use crate::{Batch, CloseReason, Handler, Ref, Room, Start};

/// What a handler has seen, for those outside. Plain atomics: all threads of an execution run in turns on one.
#[derive(Default)]
struct Told {
    received: AtomicU64,
    lagged: AtomicU64,
    closed: AtomicU64,
    gone: AtomicBool,
}

struct Listener {
    told: Arc<Told>,
    seen: Seen,
}

impl Listener {
    fn new() -> (Self, Arc<Told>) {
        let told = Arc::new(Told::default());
        (Self { told: told.clone(), seen: Seen::default() }, told)
    }
}

impl Handler<Message> for Listener {
    fn message(&mut self, _: Ref<'_, Message>) {
        unreachable!("it takes them in batches")
    }

    fn messages(&mut self, batch: Batch<'_, Message>) {
        assert!(!self.told.gone.load(Relaxed), "a message after the acknowledged leave");
        self.seen.take(&batch);
        self.told.received.store(self.seen.received, Relaxed);
    }

    fn lagged(&mut self, missed: u64) {
        self.told.lagged.fetch_add(missed, Relaxed);
    }

    fn closed(&mut self, reason: CloseReason) {
        assert_eq!(reason, CloseReason::Closed);
        self.told.closed.fetch_add(1, Relaxed);
    }
}

impl Told {
    fn all(&self) -> (u64, u64, u64) {
        (self.received.load(Relaxed), self.lagged.load(Relaxed), self.closed.load(Relaxed))
    }
}

/// Waits until a handler was told of the end.
fn until_closed(told: &Told) -> (u64, u64) {
    while told.closed.load(Relaxed) == 0 {
        thread::yield_now();
    }
    let (received, lagged, closed) = told.all();
    assert_eq!(closed, 1, "the end is said once");
    (received, lagged)
}

#[test]
fn handlers_of_two_shards_hear_everything() {
    explore("handlers_of_two_shards_hear_everything", &["a handler lagged", "none lagged"], || {
        let rig = Rig::new(2);
        let room = rig.room(1 << draw(0..=2), draw(2..=4));
        let mut served = Vec::new();
        for _ in 0..3 {
            let (listener, told) = Listener::new();
            served.push((block_on(room.subscribe_handler(listener)).unwrap(), told));
        }
        let other = {
            let room = room.clone();
            thread::spawn(move || publish(&room, 1, 6))
        };
        publish(&room, 0, 6);
        other.join().unwrap();
        room.close();
        for (served, told) in served {
            let (received, lagged) = until_closed(&told);
            assert_eq!(received + lagged, 12, "the accounting rule");
            reached(if lagged > 0 { "a handler lagged" } else { "none lagged" });
            drop(served);
        }
    });
}

/// After the acknowledgement of a join everything is heard, after that of a leave nothing.
#[test]
fn handlers_come_and_go_beside_publishers() {
    explore("handlers_come_and_go_beside_publishers", &["one heard something", "one began in the past"], || {
        let rig = Rig::new(2);
        // It holds all there is, so nothing is missed.
        let room = rig.room(4, 4);
        let publisher = {
            let room = room.clone();
            thread::spawn(move || publish(&room, 0, 8))
        };
        let comer = {
            let room = room.clone();
            thread::spawn(move || come_and_go(&room))
        };
        let (listener, told) = Listener::new();
        let start = room.tail();
        let stays = block_on(room.subscribe_handler_from(Start::Oldest, listener)).unwrap();
        if start > 0 {
            reached("one began in the past");
        }
        publisher.join().unwrap();
        comer.join().unwrap();
        room.close();
        assert_eq!(until_closed(&told), (8, 0));
        drop(stays);
    });
}

fn come_and_go(room: &Room<Message>) {
    for _ in 0..3 {
        let (listener, told) = Listener::new();
        let before = room.tail();
        let Ok(served) = block_on(room.subscribe_handler(listener)) else { return };
        let joined = room.tail();
        thread::yield_now();
        block_on(served.unsubscribe());
        told.gone.store(true, Relaxed);
        let (received, lagged, closed) = told.all();
        assert_eq!((lagged, closed), (0, 0));
        assert!(received <= room.tail() - before, "it heard what was published before it came");
        if received > 0 && joined < room.tail() {
            reached("one heard something");
        }
    }
}

/// A handler that is drained is given everything published before, nothing published after, and then it is gone.
#[test]
fn handlers_are_drained_beside_publishers() {
    explore("handlers_are_drained_beside_publishers", &["one was given something", "one was given nothing"], || {
        let rig = Rig::new(2);
        let room = rig.room(4, 4);
        let publisher = {
            let room = room.clone();
            thread::spawn(move || publish(&room, 0, 8))
        };
        for start in [Start::Latest, Start::Oldest, Start::Latest] {
            let (listener, told) = Listener::new();
            let begin = if start == Start::Oldest { 0 } else { room.tail() };
            let served = block_on(room.subscribe_handler_from(start, listener)).unwrap();
            let joined = if start == Start::Oldest { 0 } else { room.tail() };
            thread::yield_now();
            let before = room.tail();
            let drained = served.drain();
            let after = room.tail();
            assert!(block_on(drained));
            told.gone.store(true, Relaxed);
            let (received, lagged, closed) = told.all();
            assert_eq!((lagged, closed), (0, 0));
            assert!(received >= before.saturating_sub(joined), "what was published before is missing");
            assert!(received <= after - begin, "what was published after was given");
            reached(if received > 0 { "one was given something" } else { "one was given nothing" });
        }
        publisher.join().unwrap();
    });
}

/// A publish, the handler's answer, the next publish: each time the shard may have fallen asleep.
#[test]
fn a_shard_is_woken_for_every_message() {
    explore("a_shard_is_woken_for_every_message", &[], || {
        const ROUNDS: u32 = 10;
        let rig = Rig::new(1);
        let (there, back) = (rig.room(1, 2), rig.room(1, 2));
        let answers = back.clone();
        let served = block_on(there.subscribe_with(move |message: Ref<'_, Message>| {
            let (_, number) = message.read();
            answers.publish(Message::new(1, number)).unwrap();
        }));
        let mut ours = back.subscribe().now().unwrap();
        for number in 0..ROUNDS {
            there.publish(Message::new(0, number)).unwrap();
            assert_eq!(block_on(ours.recv_ref()).unwrap().read(), (1, number));
        }
        block_on(served.unwrap().unsubscribe());
    });
}

/// A join that nobody waits for any more leaves no handler behind.
#[test]
fn joins_that_are_given_up() {
    explore("joins_that_are_given_up", &["it was served already", "it was given up in time"], || {
        let rig = Rig::new(1);
        let room = rig.room(1, 2);
        for _ in 0..3 {
            let (listener, told) = Listener::new();
            let weak = Arc::downgrade(&told);
            drop(told);
            let mut join = Some(room.subscribe_handler(listener));
            let pending = block_on(std::future::poll_fn(|context| {
                let polled = std::pin::Pin::new(join.as_mut().unwrap()).poll(context);
                std::task::Poll::Ready(polled.is_pending())
            }));
            room.publish(Message::new(0, 0)).unwrap();
            drop(join.take());
            reached(if pending { "it was given up in time" } else { "it was served already" });
            while weak.strong_count() > 0 {
                thread::yield_now();
            }
        }
        assert_eq!(room.stats().subscribers, 0, "nobody is left");
    });
}
