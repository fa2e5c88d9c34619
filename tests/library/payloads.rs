//! What is panicked with may panic once more when it is dropped; that ends where the panic does.

use std::panic::panic_any;
use std::sync::Arc;
use std::task::{Wake, Waker};

use futures::executor::block_on;
use roomcast::{Batch, Broker, CloseReason, Handler, PublishError, Ref};

use crate::support::{Wakes, eventually, finishes, poll_once};

/// Panics in its drop, with another of its kind: a payload that nobody can get rid of.
struct Grenade(u32);

impl Drop for Grenade {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Self(self.0 - 1));
        }
    }
}

fn explode() -> ! {
    panic_any(Grenade(3))
}

/// Panics in one of its calls, and in its drop.
struct Wreck(&'static str);

impl Wreck {
    fn pass(&self, place: &'static str) {
        if self.0 == place {
            explode();
        }
    }
}

impl Handler<u64> for Wreck {
    fn message(&mut self, _: Ref<'_, u64>) {}

    fn messages(&mut self, _: Batch<'_, u64>) {
        self.pass("messages");
    }

    fn closed(&mut self, _: CloseReason) {
        self.pass("closed");
    }
}

impl Drop for Wreck {
    fn drop(&mut self) {
        explode();
    }
}

#[test]
fn of_a_handler_a_payload_that_panics_does_not_stop_the_shard() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        for place in ["messages", "closed", "drop"] {
            let room = broker.room(place).unwrap();
            let served = block_on(room.subscribe_handler(Wreck(place))).unwrap();
            room.publish(1).unwrap();
            room.close();
            eventually("it is taken out", || !served.is_running());
        }
        let room = broker.room("still works").unwrap();
        let (seen, all) = std::sync::mpsc::channel();
        let served = block_on(room.subscribe_with(move |message: Ref<'_, u64>| seen.send(*message).unwrap())).unwrap();
        room.publish(7).unwrap();
        assert_eq!(all.recv(), Ok(7));
        block_on(served.unsubscribe());
    });
}

#[test]
fn of_a_waker_a_payload_that_panics_does_not_strand_the_others() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            explode();
        }
    }
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let (wakes, waker) = Wakes::new();
    let mut parked: Vec<_> = (0..5).map(|_| room.subscribe().now().unwrap()).collect();
    for (number, subscription) in parked.iter_mut().enumerate() {
        let waker = if number == 2 { Waker::from(Arc::new(Bomb)) } else { waker.clone() };
        assert!(poll_once(subscription.recv(), &waker).is_pending());
    }
    assert_eq!(room.publish(7), Ok(0), "the publisher does not notice");
    assert_eq!(wakes.count(), 4, "everybody else is woken");
}

#[test]
fn of_a_message_a_payload_that_panics_crashes_its_room_only() {
    let broker = Broker::<Grenade>::builder().capacity(1).build();
    let room = broker.room("lobby").unwrap();
    room.publish(Grenade(3)).ok().unwrap();
    let end = (0..10_000).find_map(|_| room.publish(Grenade(0)).err()).expect("its messages are dropped some time");
    assert!(matches!(end, PublishError::Crashed(_)), "{end:?}");
    assert_eq!(room.ended(), Some(CloseReason::Crashed));
    drop(room);
    assert!(broker.room("lobby").unwrap().publish(Grenade(0)).is_ok());
}

#[test]
fn of_the_messages_left_in_a_room_a_payload_that_panics_keeps_none() {
    let broker = Broker::<Grenade>::new();
    let room = broker.room("lobby").unwrap();
    for number in 0..10 {
        room.publish(Grenade(number % 3)).ok().unwrap();
    }
    assert!(broker.remove("lobby"));
    drop(room);
    assert!(broker.get("lobby").is_none());
}
