//! What publishers of other libraries got wrong: windows, laps, readers in the way, and panics halfway.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, Policy, PublishError, RecvError, Ref, Room, RoomSet, Start, TryRecvError};

use crate::support::{drain, eventually, finishes, poll_once, publish_more};

/// Peers moved the tail before the slot was written, and a reader that came in between read what was there. Fails where a
/// subscriber that begins at the tail, or at the oldest, reads anything but the message of that sequence.
#[test]
fn b03_a_reserved_slot_is_not_read_before_it_is_written() {
    finishes(|| {
        for capacity in [1, 4, 64] {
            let broker = Broker::<(u64, [u64; 8])>::builder().capacity(capacity).shards(1).build();
            let room = broker.room("lobby").unwrap();
            let done = AtomicBool::new(false);
            let published = Mutex::new(Vec::new());
            let mut seen = Vec::new();
            thread::scope(|scope| {
                for publisher in 0..2 {
                    let (room, done, published) = (&room, &done, &published);
                    scope.spawn(move || {
                        let mut own = Vec::new();
                        for number in (publisher..20_000).step_by(2) {
                            own.push((room.publish((number, [number; 8])).unwrap(), number));
                        }
                        published.lock().unwrap().extend(own);
                        done.store(true, SeqCst);
                    });
                }
                while !done.load(SeqCst) {
                    for start in [Start::Latest, Start::Oldest] {
                        let mut subscription = room.subscribe_from(start).now().unwrap();
                        if let Ok(message) = subscription.try_recv_ref() {
                            assert_eq!(message.1, [message.0; 8]);
                            seen.push((message.sequence(), message.0));
                        }
                    }
                }
            });
            let mut published = published.into_inner().unwrap();
            published.sort_unstable();
            for (sequence, number) in seen {
                assert_eq!(published[sequence as usize], (sequence, number), "what was published with that sequence");
            }
        }
    });
}

/// A peer's publisher that was a lap behind wrote its old message over a newer one. Fails where a sequence is given twice,
/// or where it holds another message than the one that got it. More threads than cores, so that some are interrupted.
#[test]
fn b04_a_lapped_publisher_overwrites_nothing() {
    const PUBLISHERS: u64 = 6;
    const EACH: u64 = 4_000;
    finishes(|| {
        for capacity in [1, 2, 8] {
            let broker = Broker::<u64>::builder().capacity(capacity).shards(1).build();
            let room = broker.room("lobby").unwrap();
            let mut subscription = room.subscribe().now().unwrap();
            let reader = thread::spawn(move || {
                let mut seen = Vec::new();
                loop {
                    match subscription.try_recv_ref() {
                        Ok(message) => seen.push((message.sequence(), *message)),
                        Err(TryRecvError::Closed(_)) => return seen,
                        Err(_) => {}
                    }
                }
            });
            let publish = |publisher| {
                let messages = publisher * EACH..(publisher + 1) * EACH;
                messages.map(|message| (room.publish(message).unwrap(), message)).collect::<Vec<_>>()
            };
            let mut published: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..PUBLISHERS).map(|publisher| scope.spawn(move || publish(publisher))).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            room.close();
            published.sort_unstable();
            assert!(published.iter().map(|(sequence, _)| *sequence).eq(0..PUBLISHERS * EACH), "each sequence once");
            let seen = reader.join().unwrap();
            assert!(seen.iter().all(|message| published[message.0 as usize] == *message), "capacity {capacity}");
            assert_eq!(seen.last(), published.last(), "the newest is still there at the end");
        }
    });
}

/// A clone that does not come back before it is told to.
struct Slow(Arc<Mutex<mpsc::Receiver<()>>>, Arc<AtomicBool>);

impl Clone for Slow {
    fn clone(&self) -> Self {
        self.1.store(true, SeqCst);
        let _ = self.0.lock().unwrap().recv();
        Self(self.0.clone(), self.1.clone())
    }
}

/// Peers made a publisher wait for a reader that holds a slot, or that is in `clone`. Fails (hangs) where publishing waits,
/// here for a reader that is in `clone` all the time and for one that holds a reference.
#[test]
fn b07_a_stuck_reader_stops_no_publisher() {
    finishes(|| {
        let broker = Broker::<Slow>::builder().capacity(4).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let (go_on, wait) = mpsc::channel();
        let (wait, is_cloning) = (Arc::new(Mutex::new(wait)), Arc::new(AtomicBool::new(false)));
        let message = || Slow(wait.clone(), is_cloning.clone());
        let (mut cloning, mut holding) = (room.subscribe().now().unwrap(), room.subscribe().now().unwrap());
        room.publish(message()).ok().unwrap();
        let held = holding.try_recv_ref().ok().unwrap();
        let stuck = thread::spawn(move || cloning.try_recv().is_ok());
        eventually("the reader is in `clone`", || is_cloning.load(SeqCst));
        for number in 1..10_000 {
            assert_eq!(room.publish(message()).ok(), Some(number));
        }
        assert_eq!(held.sequence(), 0);
        drop(go_on);
        assert!(stuck.join().unwrap());
    });
}

/// Peers were wedged by a subscriber that was dropped or never polled. Fails where any kind of subscriber or future that
/// nobody polls stops a publisher, or where one that blocks goes on doing so after it was dropped.
#[test]
fn b17_who_is_never_polled_wedges_nobody() {
    let broker = Broker::<u64>::builder().capacity(8).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let idle: Vec<_> = [Policy::Lag, Policy::Latest, Policy::Disconnect]
        .map(|policy| room.subscribe().policy(policy).now().unwrap())
        .into();
    let futures = (room.subscribe(), room.subscribe_with(|_: Ref<'_, u64>| {}), room.publish_wait(1));
    let mut set = RoomSet::new();
    let key = set.join(room.subscribe().now().unwrap());
    let mut pattern = broker.subscribe_pattern("*");
    let mut dropped_midway = room.subscribe().now().unwrap();
    assert!(poll_once(dropped_midway.recv_batch(3), Waker::noop()).is_pending());
    publish_more(&room, 1_000);
    drop(futures);
    assert_eq!(room.tail(), 1_000, "the futures have done nothing");
    assert_eq!((set.get_mut(key).unwrap().lag(), pattern.len()), (1_000, 1));
    assert!(idle.iter().all(|subscription| subscription.lag() == 1_000));
    for polled in [false, true] {
        let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
        if polled {
            assert!(poll_once(blocking.recv(), Waker::noop()).is_pending());
        }
        while room.publish(0).is_ok() {}
        let waiting = room.publish_wait(1);
        drop(blocking);
        assert!(block_on(waiting).is_ok());
        publish_more(&room, 100);
    }
}

/// Panics at a number, else lets it pass.
fn fuse(number: u64) -> u64 {
    assert!(number % 10 != 7, "sevens blow the fuse");
    number
}

#[track_caller]
fn panics<R>(act: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(act)).is_err(), "it was to panic");
}

/// A peer's room had a hole for good where the code that made the message had panicked. Fails where, after a panic in a
/// scale, a clock or an iterator, the next message does not get the next sequence or is not read.
#[test]
fn b18_a_panic_while_publishing_leaves_no_hole() {
    let ticks = Arc::new(AtomicU64::new(0));
    let clock = ticks.clone();
    let broker = Broker::<u64>::builder()
        .bytes_max(1 << 20, |message| fuse(*message) as usize % 2)
        .clock(move || fuse(clock.load(SeqCst)))
        .shards(1)
        .build();
    let room = broker.room("shared").unwrap();
    let mut reader = room.subscribe().now().unwrap();
    let mut publisher = broker.exclusive("exclusive").unwrap();
    let mut of_exclusive = publisher.room().subscribe().now().unwrap();
    for round in 0..100 {
        // In the scale.
        panics(|| room.publish(7));
        panics(|| publisher.publish(7));
        panics(|| publisher.publish_all([7, 1, 2]));
        // In the iterator: what has filled a segment before is published, the rest is not.
        let before = publisher.room().tail();
        panics(|| publisher.publish_all((5..10).map(fuse)));
        let first = publisher.room().tail();
        assert!(first == before || first.is_multiple_of(64), "{before} to {first}");
        let mut of_iterator: Vec<u64> = (5..).take((first - before) as usize).collect();
        // In the clock.
        ticks.store(7, SeqCst);
        panics(|| room.publish(1));
        panics(|| publisher.publish_all([1, 2]));
        ticks.store(8, SeqCst);

        let next = round * 10;
        assert_eq!(room.publish(next), Ok(round));
        assert_eq!(publisher.publish_all([next, next + 1]), Ok(first..first + 2));
        of_iterator.extend([next, next + 1]);
        assert_eq!((drain(&mut reader), drain(&mut of_exclusive)), (vec![next], of_iterator));
    }
}

/// What a message does when it is dropped, with a handle on its own room.
type Then = Box<dyn FnOnce(&Room<Meddler>) + Send + Sync>;

/// A message that does something with its own room when it is dropped.
struct Meddler(Option<(Room<Self>, Then)>);

impl Drop for Meddler {
    fn drop(&mut self) {
        if let Some((room, then)) = self.0.take() {
            then(&room);
        }
    }
}

fn meddler(room: &Room<Meddler>, then: impl FnOnce(&Room<Meddler>) + Send + Sync + 'static) -> Meddler {
    Meddler(Some((room.clone(), Box::new(then))))
}

/// Peers dropped messages under a lock, so that a `Drop` that came back into the room hung. Fails (hangs, or miscounts)
/// where a `Drop` may not subscribe, receive, publish, look or close in its own room.
#[test]
fn b19_a_drop_may_do_anything_with_its_own_room() {
    finishes(|| {
        let broker = Broker::<Meddler>::builder().capacity(4).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let done = Arc::new(AtomicU64::new(0));
        for _ in 0..1_000 {
            let count = done.clone();
            let meddle = meddler(&room, move |room| {
                // A shard may be dropping this while others publish, so what there is to read is open.
                let mut oldest = room.subscribe_from(Start::Oldest).now().unwrap();
                let end = oldest.try_recv_ref().err();
                assert!(matches!(end, None | Some(TryRecvError::Empty | TryRecvError::Lagged(_))));
                let mut newest = room.subscribe().now().unwrap();
                let received = poll_once(newest.recv_ref(), Waker::noop());
                assert!(matches!(received, Poll::Pending | Poll::Ready(Ok(_) | Err(RecvError::Lagged(_)))));
                assert!(room.publish(Meddler(None)).is_ok() && room.is_running() && room.stats().published > 0);
                count.fetch_add(1, SeqCst);
            });
            assert!(room.publish(meddle).is_ok());
        }
        // Plain ones push the last of the others out.
        while done.load(SeqCst) < 1_000 {
            assert!(room.publish(Meddler(None)).is_ok());
        }
        assert!(room.is_running());
        let closes = meddler(&room, |room| assert!(room.close()));
        assert!(room.publish(closes).is_ok());
        let refused = loop {
            if let Err(refused) = room.publish(Meddler(None)) {
                break refused;
            }
        };
        assert!(matches!(refused, PublishError::Closed(_)));
        assert!(!room.is_running());
    });
}

/// The last handle on the broker, in a message of its own room. Fails (hangs) where a shard that drops it waits for itself.
#[test]
fn b19_a_drop_may_end_its_own_broker() {
    struct Last(#[expect(dead_code, reason = "it is dropped")] Option<Broker<Self>>);
    finishes(|| {
        for _ in 0..20 {
            let broker = Broker::<Last>::builder().capacity(4).shards(1).build();
            let room = broker.room("lobby").unwrap();
            let holder = room.clone();
            assert!(room.publish(Last(Some(broker))).is_ok());
            let mut published = 0;
            while holder.publish(Last(None)).is_ok() {
                published += 1;
                thread::yield_now();
            }
            assert!(published >= 4, "it stayed as long as the ring retains it: {published}");
            assert!(!room.is_running());
        }
    });
}
