//! One thing panics; everything else goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;

use futures::executor::block_on;
use roomcast::{Batch, Broker, CloseReason, Handler, PublishError, RecvError, Ref, TryRecvError};

use crate::support::{Blocked, Bomb, Wakes, eventually, finishes, poll_once, publish_all};

/// Panics when it is dropped, if it is told to.
struct Touchy(bool);

impl Drop for Touchy {
    fn drop(&mut self) {
        assert!(!self.0, "this message panics when it is dropped");
    }
}

#[test]
fn a_room_whose_message_panics_in_drop_is_crashed_and_says_so() {
    let broker = Broker::<Touchy>::builder().capacity(4).shards(1).build();
    let (room, other) = (broker.room("touchy").unwrap(), broker.room("other").unwrap());
    let mut subscription = room.subscribe().now().unwrap();
    let mut of_other = other.subscribe().now().unwrap();
    room.publish(Touchy(true)).unwrap();
    let mut published = 1;
    let back = loop {
        match room.publish(Touchy(false)) {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
        // A shard may have it, and takes its time to print where it panicked.
        thread::sleep(std::time::Duration::from_micros(10));
        assert!(published < 10_000, "its messages were never dropped");
    };
    assert!(matches!(back, PublishError::Crashed(_)), "{back}");
    assert_eq!((room.is_running(), room.ended()), (false, Some(CloseReason::Crashed)));
    // What is committed is still read.
    let mut received = 0;
    let end = loop {
        match subscription.try_recv_ref() {
            Ok(_) => received += 1,
            Err(TryRecvError::Lagged(missed)) => received += missed,
            Err(end) => break end,
        }
    };
    assert_eq!((received, end), (published, TryRecvError::Closed(CloseReason::Crashed)));
    let again = broker.room("touchy").unwrap();
    assert!(again != room && again.is_running(), "by name it is a fresh room");
    other.publish(Touchy(false)).unwrap();
    assert!(of_other.try_recv_ref().is_ok());
}

#[test]
fn a_panicking_drop_at_the_end_of_a_room_harms_nobody() {
    let broker = Broker::<Touchy>::new();
    let room = broker.room("touchy").unwrap();
    for number in 0..10 {
        room.publish(Touchy(number % 2 == 0)).unwrap();
    }
    broker.remove("touchy");
    drop(room);
    broker.room("touchy").unwrap().publish(Touchy(false)).unwrap();
}

/// Panics when it is cloned, once.
struct Unclonable(Arc<AtomicBool>, u64);

impl Clone for Unclonable {
    fn clone(&self) -> Self {
        assert!(self.0.swap(true, SeqCst), "this message panics at its first clone");
        Self(self.0.clone(), self.1)
    }
}

#[test]
fn a_panicking_clone_hits_its_reader_only_b7() {
    let broker = Broker::<Unclonable>::builder().capacity(4).build();
    let room = broker.room("lobby").unwrap();
    let (mut one, mut two) = (room.subscribe().now().unwrap(), room.subscribe().now().unwrap());
    let cloned = Arc::new(AtomicBool::new(false));
    for number in 0..3 {
        room.publish(Unclonable(cloned.clone(), number)).unwrap();
    }
    let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one.try_recv().map(|message| message.1)));
    assert!(crash.is_err());
    assert_eq!(one.try_recv().map(|message| message.1), Ok(1), "the message it panicked at counts as received");
    assert_eq!(two.try_recv().map(|message| message.1), Ok(0));
    drop((one, two));
    for number in 0..1_000 {
        room.publish(Unclonable(cloned.clone(), number)).unwrap();
    }
    assert_eq!(room.stats().segments_pinned, 0, "no lease was leaked");
}

/// Panics at one number, and reports its other calls.
struct Fragile(u64, mpsc::Sender<u64>);

impl Handler<u64> for Fragile {
    fn message(&mut self, message: Ref<'_, u64>) {
        assert_ne!(*message, self.0, "this handler panics at its number");
        let _ = self.1.send(*message);
    }
}

#[test]
fn a_panicking_handler_is_removed_reported_and_alone() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("lobby").unwrap();
        let (to_fragile, of_fragile) = mpsc::channel();
        let (to_sturdy, of_sturdy) = mpsc::channel();
        let fragile = block_on(room.subscribe_handler(Fragile(2, to_fragile))).unwrap();
        let sturdy = block_on(room.subscribe_handler(Fragile(u64::MAX, to_sturdy))).unwrap();
        publish_all(&room, 0..5);
        assert_eq!(of_fragile.iter().collect::<Vec<_>>(), [0, 1], "dropped with its sender");
        assert_eq!(of_sturdy.iter().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        eventually("it is taken out", || !fragile.is_running());
        assert!(sturdy.is_running() && room.is_running());
        assert_eq!((room.stats().subscribers, broker.stats().shards[0].panics), (1, 1));
        block_on(fragile.unsubscribe());
    });
}

/// Panics wherever it can be called.
struct Wreck;

impl Handler<u64> for Wreck {
    fn message(&mut self, _: Ref<'_, u64>) {}

    fn messages(&mut self, _: Batch<'_, u64>) {
        panic!("in messages");
    }

    fn lagged(&mut self, _: u64) {
        panic!("in lagged");
    }

    fn closed(&mut self, _: CloseReason) {
        panic!("in closed");
    }
}

impl Drop for Wreck {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

#[test]
fn a_handler_that_panics_everywhere_does_not_stop_its_shard() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("wrecked").unwrap();
        let by_message = block_on(room.subscribe_handler(Wreck)).unwrap();
        room.publish(1).unwrap();
        eventually("removed by its panic", || !by_message.is_running());
        block_on(block_on(room.subscribe_handler(Wreck)).unwrap().unsubscribe());
        let by_close = block_on(room.subscribe_handler(Wreck)).unwrap();
        room.close();
        eventually("removed by the close", || !by_close.is_running());
        shard_works(&broker);
    });
}

/// Shows that every shard of the broker still serves.
fn shard_works(broker: &Broker<u64>) {
    let room = broker.room("still works").unwrap();
    for _ in broker.stats().shards {
        let (seen, all) = mpsc::channel();
        let served =
            block_on(room.subscribe_with(move |message: Ref<'_, u64>| seen.send(*message).unwrap_or(()))).unwrap();
        room.publish(7).unwrap();
        assert_eq!(all.recv(), Ok(7));
        block_on(served.unsubscribe());
    }
}

#[test]
fn a_handler_that_never_got_its_seat_may_panic_in_drop() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let blocked = Blocked::new(&broker, "blocker");
    blocked.block();
    let (room, closed) = (broker.room("lobby").unwrap(), broker.room("closed").unwrap());
    let (_, waker) = Wakes::new();
    // Cancelled while it waits.
    assert!(poll_once(room.subscribe_handler(Wreck), &waker).is_pending());
    // Refused because the room has ended meanwhile.
    let mut refused = closed.subscribe_handler(Wreck);
    assert!(poll_once(&mut refused, &waker).is_pending());
    closed.close();
    finishes(move || {
        blocked.release();
        assert!(block_on(refused).is_err());
        shard_works(&broker);
    });
}

#[test]
fn a_panicking_waker_does_not_strand_the_others_b11() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut parked = Vec::new();
    for number in 0..100 {
        let mut subscription = room.subscribe().now().unwrap();
        let (wakes, waker) = Wakes::new();
        let waker = if number % 3 == 0 { Bomb::waker() } else { waker };
        assert!(poll_once(subscription.recv(), &waker).is_pending());
        parked.push((number, wakes, subscription));
    }
    assert_eq!(room.publish(7), Ok(0), "the publisher does not notice");
    for (number, wakes, mut subscription) in parked {
        if number % 3 != 0 {
            eventually("everybody else is woken", || wakes.count() == 1);
        }
        assert_eq!(subscription.try_recv(), Ok(7));
    }
    finishes(move || shard_works(&broker));
}

#[test]
fn a_panicking_waker_of_a_join_does_not_stop_the_shard_b11() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let blocked = Blocked::new(&broker, "blocker");
    blocked.block();
    let room = broker.room("lobby").unwrap();
    let mut join = room.subscribe_with(|_: Ref<'_, u64>| {});
    assert!(poll_once(&mut join, &Bomb::waker()).is_pending());
    finishes(move || {
        blocked.release();
        assert!(block_on(join).unwrap().is_running());
        shard_works(&broker);
    });
}

#[test]
fn a_panicking_waker_of_one_pattern_does_not_cost_another_its_room_b11() {
    let broker = Broker::<u64>::new();
    let mut first = broker.subscribe_pattern("*");
    let mut second = broker.subscribe_pattern("*");
    assert!(poll_once(first.ready(), &Bomb::waker()).is_pending());
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(second.ready(), &waker).is_pending());
    broker.publish("lobby", 7).expect("who creates a room does not notice");
    assert!(wakes.count() > 0);
    assert_eq!((first.len(), second.len()), (1, 1));
}

#[test]
fn a_panicking_clock_or_scale_leaves_no_hole_b18() {
    let angry = Arc::new(AtomicBool::new(false));
    let (clock, scale) = (angry.clone(), angry.clone());
    let broker = Broker::<u64>::builder()
        .clock(move || if clock.load(SeqCst) { panic!("this clock panics") } else { 1 })
        .bytes_max(1 << 20, move |_| if scale.load(SeqCst) { panic!("this scale panics") } else { 1 })
        .build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let mut publisher = broker.exclusive("exclusive").unwrap();
    let mut exclusive = publisher.room().subscribe().now().unwrap();
    for number in 0..200 {
        angry.store(number % 3 == 0, SeqCst);
        let shared = room.clone();
        let outcome = thread::scope(|scope| scope.spawn(move || shared.publish(number)).join());
        let alone = thread::scope(|scope| scope.spawn(|| publisher.publish(number)).join());
        assert_eq!((outcome.is_err(), alone.is_err()), (number % 3 == 0, number % 3 == 0));
        if number % 3 != 0 {
            assert_eq!(subscription.try_recv(), Ok(number), "no sequence was consumed by the panic");
            assert_eq!(exclusive.try_recv(), Ok(number), "nor is anything published late");
        }
    }
}

#[test]
fn one_crashed_room_among_many_handlers() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(2).build();
        let handled = Arc::new(AtomicU64::new(0));
        let rooms: Vec<_> = (0..10).map(|number| broker.room(&format!("room {number}")).unwrap()).collect();
        let mut served = Vec::new();
        for (number, room) in rooms.iter().enumerate() {
            let handled = handled.clone();
            served.push(block_on(room.subscribe_with(move |_: Ref<'_, u64>| {
                assert_ne!(number, 3, "the handler of room 3 panics");
                handled.fetch_add(1, SeqCst);
            })));
        }
        for room in &rooms {
            publish_all(room, 0..100);
        }
        eventually("all others are served in full", || handled.load(SeqCst) == 9 * 100);
        let end = rooms[3].subscribe().now().map(|mut subscription| {
            rooms[3].close();
            block_on(subscription.recv())
        });
        assert_eq!(end, Ok(Err(RecvError::Closed(CloseReason::Closed))), "the room itself runs until it is closed");
    });
}
