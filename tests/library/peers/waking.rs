//! What other libraries got wrong about waking: locks, storms, losses, and panics in between.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures::executor::block_on;
use roomcast::{Broker, CloseReason, Policy, RecvError, Room, RoomSet, Subscription, TryRecvError};

use crate::support::{Bomb, Wakes, eventually, finishes, poll_once, publish_more};

/// A waker that comes back into its room whenever it is woken and when it is dropped.
struct Meddler {
    room: Room<u64>,
    woken: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl Meddler {
    fn meddle(&self) {
        let mut subscription = self.room.subscribe().now().unwrap();
        // Another thread may be publishing meanwhile.
        let received = poll_once(subscription.recv(), Waker::noop());
        assert!(matches!(received, Poll::Pending | Poll::Ready(Ok(0))) && self.room.stats().subscribers > 0);
        // Into a room that is not full, and only so often: each publish may wake another meddler.
        if self.room.tail() < 100 {
            self.room.publish(0).unwrap();
        }
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        self.meddle();
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
        self.meddle();
    }
}

/// Peers woke and dropped wakers under their lock, so that a waker of its own kind hung. Fails (hangs, or leaves a waker
/// behind) where one may not use its room when it is woken, replaced, or let go with its subscription.
#[test]
fn b08_wakers_may_use_the_room_when_woken_and_when_dropped() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(256).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let (woken, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let waker =
            || Waker::from(Arc::new(Meddler { room: room.clone(), woken: woken.clone(), dropped: dropped.clone() }));
        let mut parked: Vec<_> = (0..40).map(|_| room.subscribe().now().unwrap()).collect();
        for subscription in &mut parked {
            let waker = waker();
            assert!(poll_once(subscription.recv(), &waker).is_pending());
        }
        // Woken: by the publisher itself and, beyond the first few, by a shard.
        room.publish(0).unwrap();
        eventually("all are woken and let go", || (woken.load(SeqCst), dropped.load(SeqCst)) == (40, 40));
        for subscription in &mut parked {
            while subscription.try_recv().is_ok() {}
            // Replaced, then let go with the subscription.
            for _ in 0..2 {
                let waker = waker();
                while poll_once(subscription.recv(), &waker).is_ready() {}
            }
        }
        drop(parked);
        eventually("all are let go", || dropped.load(SeqCst) == 120);
        assert_eq!(room.stats().subscribers, 0);
    });
}

/// The same for the waker of a publisher that waits for space.
#[test]
fn b08_a_waiting_publishers_waker_may_use_the_room() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(256).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
        while room.publish(0).is_ok() {}
        let (woken, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let waker =
            Waker::from(Arc::new(Meddler { room: room.clone(), woken: woken.clone(), dropped: dropped.clone() }));
        let mut waiting = room.publish_wait(7);
        assert!(poll_once(&mut waiting, &waker).is_pending());
        drop(waker);
        while blocking.try_recv_batch(usize::MAX).is_ok() {}
        assert_eq!((woken.load(SeqCst), dropped.load(SeqCst)), (1, 1));
        assert!(block_on(waiting).is_ok());
    });
}

/// A reader that reads everything and sleeps again, inside its own wake-up.
struct Eager {
    subscription: Mutex<Subscription<u64>>,
    /// How many it had received when it last went to sleep.
    asleep_after: AtomicU64,
    wakes: AtomicU64,
}

impl Eager {
    fn read(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut subscription = self.subscription.lock().unwrap();
        while subscription.poll_readable(&mut Context::from_waker(&waker)).is_ready() {
            if subscription.try_recv().is_err() {
                // The end: whoever is parked holds its own waker, and lets go of it here.
                return;
            }
        }
        self.asleep_after.store(subscription.accounting().received, SeqCst);
    }
}

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
        self.read();
    }
}

/// A peer went on waking those who had gone back to sleep during the same round: quadratic, and endless under load. Fails
/// where a publish wakes anybody twice, though each sleeps again before the next one is woken.
#[test]
fn b09_who_sleeps_again_while_others_are_woken_is_woken_once() {
    const READERS: u64 = 300;
    const ROUNDS: u64 = 20;
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("lobby").unwrap();
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let subscription = Mutex::new(room.subscribe().now().unwrap());
                Arc::new(Eager { subscription, asleep_after: AtomicU64::new(0), wakes: AtomicU64::new(0) })
            })
            .collect();
        readers.iter().for_each(Eager::read);
        for round in 1..=ROUNDS {
            room.publish(round).unwrap();
            let is_asleep = |reader: &Arc<Eager>| reader.asleep_after.load(SeqCst) == round;
            eventually("everybody has it and sleeps again", || readers.iter().all(is_asleep));
        }
        assert!(readers.iter().all(|reader| reader.wakes.load(SeqCst) == ROUNDS), "once for each publish");
        room.close();
        eventually("everybody is let go", || readers.iter().all(|reader| Arc::strong_count(reader) == 1));
    });
}

/// Peers lost a wake-up when a channel was closed and opened again. Fails where a sleeper of the first life is not woken by
/// its end, or one of the next life not by its first message.
#[test]
fn b10_no_wake_is_lost_over_close_and_reopen() {
    let broker = Broker::<u64>::builder().shards(1).build();
    for round in 0..500 {
        let room = broker.room("lobby").unwrap();
        let (mut subscription, (wakes, waker)) = (room.subscribe().now().unwrap(), Wakes::new());
        assert!(poll_once(subscription.recv(), &waker).is_pending());
        room.publish(round).unwrap();
        assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Ok(round)));
        assert!(poll_once(subscription.recv(), &waker).is_pending());
        let reason = match round % 3 {
            0 => CloseReason::Closed,
            _ => CloseReason::Removed,
        };
        assert!(if reason == CloseReason::Closed { room.close() } else { broker.remove("lobby") });
        assert_eq!(wakes.count(), 2, "by the message and by the end");
        assert_eq!(block_on(subscription.recv()), Err(RecvError::Closed(reason)));
    }
}

/// Peers panicked in a receiver's `Drop`, and kept the nodes of those that had waited. Fails where a subscription cannot be
/// dropped in some state, stays counted, or leaves its waker behind.
#[test]
fn b10_subscriptions_are_dropped_in_every_state() {
    type State = fn(&Broker<u64>, &mut Subscription<u64>, &Waker);
    let states: [(&str, State); 9] = [
        ("never used", |_, _, _| {}),
        ("parked", |_, subscription, waker| assert!(poll_once(subscription.recv(), waker).is_pending())),
        ("woken", |broker, subscription, waker| {
            assert!(poll_once(subscription.recv(), waker).is_pending());
            publish_more(&broker.get("lobby").unwrap(), 1);
        }),
        ("lapped asleep", |broker, subscription, waker| {
            assert!(poll_once(subscription.recv(), waker).is_pending());
            publish_more(&broker.get("lobby").unwrap(), 100);
        }),
        ("in an old segment", |broker, subscription, _| {
            publish_more(&broker.get("lobby").unwrap(), 2);
            assert!(subscription.try_recv().is_ok());
            publish_more(&broker.get("lobby").unwrap(), 100);
        }),
        ("told of its lag", |broker, subscription, _| {
            publish_more(&broker.get("lobby").unwrap(), 100);
            assert!(subscription.try_recv().is_err());
        }),
        ("parked in a closed room", |broker, subscription, waker| {
            assert!(poll_once(subscription.recv(), waker).is_pending());
            broker.get("lobby").unwrap().close();
        }),
        ("parked in a removed room", |broker, subscription, waker| {
            assert!(poll_once(subscription.recv(), waker).is_pending());
            broker.remove("lobby");
        }),
        ("told of the end", |broker, subscription, _| {
            broker.close();
            assert!(matches!(subscription.try_recv(), Err(TryRecvError::Closed(_))));
        }),
    ];
    for (state, bring) in states {
        for policy in [Policy::Lag, Policy::Latest, Policy::Disconnect] {
            let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
            let room = broker.room("lobby").unwrap();
            let mut subscription = room.subscribe().policy(policy).now().unwrap();
            let (wakes, waker) = Wakes::new();
            if (state, policy) == ("told of its lag", Policy::Latest) {
                continue;
            }
            bring(&broker, &mut subscription, &waker);
            drop((subscription, waker));
            assert_eq!(Arc::strong_count(&wakes), 1, "{state}, {policy:?}: its waker is left behind");
            assert_eq!(room.stats().subscribers, 0, "{state}, {policy:?}");
        }
    }
}

/// A peer stopped waking when one waker panicked. Fails where a panicking waker keeps another one asleep or reaches the
/// publisher, whoever it belongs to: a reader, a set, a pattern, or a publisher that waits.
#[test]
fn b11_a_panicking_waker_of_any_kind_strands_nobody() {
    let broker = Broker::<u64>::builder().capacity(8).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let bomb = Bomb::waker();
    let mut of_bomb = Context::from_waker(&bomb);
    let mut set = RoomSet::new();
    set.join(room.subscribe().now().unwrap());
    assert!(set.poll_ready(&mut of_bomb).is_pending());
    let mut pattern = broker.subscribe_pattern("*");
    // It finds the room now, and not with its bomb in hand.
    assert_eq!(pattern.len(), 1);
    assert!(pattern.poll_ready(&mut of_bomb).is_pending());
    let mut reader = room.subscribe().now().unwrap();
    assert!(reader.poll_readable(&mut of_bomb).is_pending());
    let (wakes, waker) = Wakes::new();
    let mut others: Vec<_> = (0..3).map(|_| room.subscribe().now().unwrap()).collect();
    for other in &mut others {
        assert!(poll_once(other.recv(), &waker).is_pending());
    }
    assert_eq!(room.publish(1), Ok(0));
    assert_eq!(wakes.count(), 3);
    // A room that the pattern has not seen yet, and the end of everything.
    assert!(pattern.poll_ready(&mut of_bomb).is_ready());
    let key = block_on(set.ready());
    assert_eq!(set.get_mut(key).unwrap().try_recv(), Ok(1));
    assert!(set.poll_ready(&mut of_bomb).is_pending());
    assert_eq!(broker.publish("another", 2), Ok(0));
    let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
    while room.publish(0).is_ok() {}
    let (mut bombs, mut waits) = (room.publish_wait(8), room.publish_wait(9));
    assert!(poll_once(&mut bombs, &bomb).is_pending() && poll_once(&mut waits, &waker).is_pending());
    while blocking.try_recv_batch(usize::MAX).is_ok() {}
    assert_eq!(wakes.count(), 4, "the other waiting publisher");
    assert!(block_on(waits).is_ok() && block_on(bombs).is_ok());
    while blocking.try_recv_batch(usize::MAX).is_ok() {}
    assert!(poll_once(blocking.recv(), &bomb).is_pending());
    for other in &mut others {
        while !matches!(poll_once(other.recv(), &waker), Poll::Pending) {}
    }
    broker.close();
    assert_eq!(wakes.count(), 7, "the end wakes them too");
}

/// Unparks one thread, and says so.
struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, SeqCst);
        self.0.unpark();
    }
}

/// Peers slept with a timeout, which hid that the unpark was missing. Fails (hangs) where a publish, alone, does not wake a
/// thread that sleeps without any: it is told to come only after the reader was told `Pending`, and nothing follows it.
#[test]
fn b15_the_wake_comes_from_the_publish_alone() {
    finishes(|| {
        const ROUNDS: u64 = 3_000;
        let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let (sleeps, asleep) = mpsc::channel();
        let mut subscription = room.subscribe().now().unwrap();
        let reader = thread::spawn(move || {
            for round in 0..ROUNDS {
                let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
                let waker = Waker::from(unpark.clone());
                assert!(poll_once(subscription.recv(), &waker).is_pending());
                sleeps.send(()).unwrap();
                let received = loop {
                    while !unpark.1.swap(false, SeqCst) {
                        thread::park();
                    }
                    // Where a publish evicts as well, it may wake for that first.
                    if let Poll::Ready(received) = poll_once(subscription.recv(), &waker) {
                        break received;
                    }
                };
                assert_eq!(received, Ok(round));
            }
        });
        for round in 0..ROUNDS {
            asleep.recv().unwrap();
            assert_eq!(room.publish(round), Ok(round));
        }
        reader.join().unwrap();
    });
}

/// The same for every sort of event that ends a sleep, one by one and without threads: exactly one wake, before the call
/// that causes it returns.
#[test]
fn b15_every_event_wakes_by_itself() {
    type Event = fn(&Broker<u64>);
    let events: [(&str, Event); 5] = [
        ("publish", |broker| assert_eq!(broker.publish("lobby", 1), Ok(0))),
        ("laps", |broker| publish_more(&broker.get("lobby").unwrap(), 50)),
        ("close", |broker| assert!(broker.get("lobby").unwrap().close())),
        ("remove", |broker| assert!(broker.remove("lobby"))),
        ("close of the broker", Broker::close),
    ];
    for (event, happens) in events {
        let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
        let mut subscription = broker.room("lobby").unwrap().subscribe().now().unwrap();
        let mut set = broker.subscribe_many(["lobby"]).unwrap();
        let mut pattern = broker.subscribe_pattern("lob*");
        let (wakes, waker) = Wakes::new();
        let mut context = Context::from_waker(&waker);
        // It finds the room at its first poll.
        assert_eq!(pattern.len(), 1);
        assert!(poll_once(subscription.recv(), &waker).is_pending());
        assert!(set.poll_ready(&mut context).is_pending() && pattern.poll_ready(&mut context).is_pending());
        assert_eq!(wakes.count(), 0);
        happens(&broker);
        assert!(wakes.count() >= 3, "{event}: {} of 3 woken", wakes.count());
        assert!(poll_once(subscription.recv(), &waker).is_ready());
        assert!(set.poll_ready(&mut context).is_ready() && pattern.poll_ready(&mut context).is_ready());
    }
}

/// A peer's swap was relaxed and its counts without fences, so that a reader did not see what came before. Fails where a
/// reader misses what its publisher did before it published, received at the tail or after a sleep.
#[test]
fn b16_what_was_done_before_a_publish_is_seen_after_it() {
    finishes(|| {
        const ROUNDS: u64 = 5_000;
        let broker = Broker::<u64>::builder().capacity(8).shards(1).build();
        let (room, back) = (broker.room("there").unwrap(), broker.room("back").unwrap());
        // Relaxed, so that nothing but the rooms orders them.
        let notes: Arc<[AtomicU64; 2]> = Arc::default();
        let (mut there, mut answers) = (room.subscribe().now().unwrap(), back.subscribe().now().unwrap());
        let other = thread::spawn({
            let notes = notes.clone();
            move || {
                for round in 0..ROUNDS {
                    assert_eq!(there.recv_blocking(), Ok(round));
                    assert_eq!(notes[0].load(Relaxed), round + 1);
                    notes[1].store(round + 1, Relaxed);
                    back.publish(round).unwrap();
                }
            }
        });
        for round in 0..ROUNDS {
            notes[0].store(round + 1, Relaxed);
            room.publish(round).unwrap();
            // By turns asleep and at the tail.
            match round % 2 {
                0 => assert_eq!(answers.recv_blocking(), Ok(round)),
                _ => {
                    while answers.try_recv() != Ok(round) {
                        thread::yield_now();
                    }
                }
            }
            assert_eq!(notes[1].load(Relaxed), round + 1);
        }
        other.join().unwrap();
    });
}
