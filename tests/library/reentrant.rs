//! Publishing and subscribing from where the broker itself calls: handlers, and the `Drop` of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use futures::executor::block_on;
use roomcast::{Broker, Ref, Room, Start};

use crate::support::{eventually, finishes};

/// A message that, when dropped, does something.
struct Echo {
    answer: Option<Box<dyn FnOnce() + Send + Sync>>,
    dropped: Arc<AtomicU64>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
        if let Some(answer) = self.answer.take() {
            answer();
        }
    }
}

/// Subscribes to the room and publishes a plain message into it.
fn answer(room: &Room<Echo>, dropped: &Arc<AtomicU64>) -> Echo {
    let (room, counted) = (room.clone(), dropped.clone());
    let answer = move || {
        let _ = room.subscribe_from(Start::Oldest).now();
        let _ = room.publish(Echo { answer: None, dropped: counted });
    };
    Echo { answer: Some(Box::new(answer)), dropped: dropped.clone() }
}

#[test]
fn a_message_may_publish_and_subscribe_in_its_drop_b19() {
    finishes(|| {
        let broker = Broker::<Echo>::builder().capacity(4).shards(1).build();
        let room = broker.room("echo").unwrap();
        let dropped = Arc::new(AtomicU64::new(0));
        for _ in 0..2_000 {
            assert!(room.publish(answer(&room, &dropped)).is_ok());
        }
        assert!(room.tail() > 2_000, "no message was dropped, so none answered");
        assert!(dropped.load(SeqCst) > 1_000, "messages are dropped as the ring moves on");
        assert!(room.is_running());
    });
}

#[test]
fn a_handler_may_publish_and_subscribe() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(2).build();
        let (ping, pong) = (broker.room("ping").unwrap(), broker.room("pong").unwrap());
        let (answers, heard) = (pong.clone(), Arc::new(AtomicU64::new(0)));
        let _pings = block_on(ping.subscribe_with(move |message: Ref<'_, u64>| {
            let late = answers.subscribe_from(Start::Oldest).now().unwrap();
            assert!(late.lag() <= *message);
            answers.publish(*message).unwrap();
        }))
        .unwrap();
        let count = heard.clone();
        let _pongs = block_on(pong.subscribe_with(move |_: Ref<'_, u64>| {
            count.fetch_add(1, SeqCst);
        }))
        .unwrap();
        for number in 0..500 {
            ping.publish(number).unwrap();
        }
        eventually("every ping was answered", || heard.load(SeqCst) == 500);
        assert!(broker.stats().shards.iter().all(|shard| shard.panics == 0));
    });
}
