//! Wakers that have a tantrum where one does not expect it: when they are dropped.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use roomcast::{Broker, Policy, PublishError, RoomSet};

use crate::message::{bear, tantrum};

/// A waker that panics when it is dropped.
struct Clinging;

impl Clinging {
    fn waker() -> Waker {
        Waker::from(Arc::new(Self))
    }
}

impl Wake for Clinging {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Clinging {
    fn drop(&mut self) {
        tantrum();
    }
}

#[test]
fn a_subscription_whose_waker_panics_leaves_all_the_same() {
    let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().policy(Policy::Block).now().unwrap();
    let waker = Clinging::waker();
    assert!(subscription.poll_readable(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(bear(|| drop(subscription)).is_none(), "the last of its waker goes with it");
    assert_eq!((room.stats().subscribers, room.stats().blocking), (0, 0));
    for number in 0..100 {
        assert_eq!(room.publish(number), Ok(number), "nobody blocks any more");
    }
}

#[test]
fn a_publisher_whose_waker_panics_keeps_no_other_waiting() {
    let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut reader = room.subscribe().policy(Policy::Block).now().unwrap();
    let mut full = 0;
    while room.publish(full).is_ok() {
        full += 1;
    }
    let waker = Clinging::waker();
    let mut waiting = Box::pin(room.publish_wait(full));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(bear(|| drop(waiting)).is_none());
    assert_eq!(room.publish(full), Err(PublishError::Full(full)));
    for number in 0..full {
        assert_eq!(reader.try_recv(), Ok(number));
    }
    assert_eq!(room.publish(full), Ok(full));
}

#[test]
fn a_set_whose_waker_panics_leaves_its_rooms() {
    let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
    let rooms: Vec<_> = ["a", "b"].map(|name| broker.room(name).unwrap()).into();
    let mut set = RoomSet::new();
    for room in &rooms {
        set.join(room.subscribe().policy(Policy::Block).now().unwrap());
    }
    let waker = Clinging::waker();
    assert!(set.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    bear(|| drop(set));
    for room in &rooms {
        assert_eq!((room.stats().subscribers, room.stats().blocking), (0, 0), "somebody stayed in {}", room.name());
    }
}
