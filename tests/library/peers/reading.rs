//! What readers of other libraries got wrong: payloads, lag, and cursors that ran ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use roomcast::{Broker, Policy, PublishError, Room, Start, Subscription, TryRecvError};

use crate::support::{drain, finishes, publish_all, publish_more};

/// Peers cloned one payload on several threads without asking for `Sync` (a race on its inside). Ours refuses it when it is
/// compiled, which the documentation's examples try; this fails where one of them is gone.
#[test]
fn b01_a_payload_that_is_not_sync_or_not_send_does_not_compile() {
    let examples = include_str!("../../../src/broker/mod.rs");
    for payload in ["std::cell::Cell<u8>", "std::sync::MutexGuard<'static, u8>"] {
        let example = format!("/// ```compile_fail,E0599\n/// roomcast::Broker::<{payload}>::new();\n/// ```");
        assert!(examples.contains(&example), "no example shows that {payload} is refused");
    }
}

/// The other half of it: what is `Sync` may be cloned by all readers at once, none of whom waits for another. Fails (hangs)
/// where a reader clones under a lock.
#[test]
fn b01_readers_clone_one_payload_at_the_same_time() {
    const READERS: usize = 4;
    struct Meeting(Arc<std::sync::Barrier>);
    impl Clone for Meeting {
        fn clone(&self) -> Self {
            self.0.wait();
            Self(self.0.clone())
        }
    }
    finishes(|| {
        let broker = Broker::<Meeting>::builder().shards(1).build();
        let room = broker.room("lobby").unwrap();
        let readers: Vec<_> = (0..READERS).map(|_| room.subscribe().now().unwrap()).collect();
        room.publish(Meeting(Arc::new(std::sync::Barrier::new(READERS)))).ok().unwrap();
        thread::scope(|scope| {
            for mut reader in readers {
                scope.spawn(move || assert!(reader.try_recv().is_ok(), "all of them meet inside `clone`"));
            }
        });
    });
}

/// Reads what is there and checks each step: (received, lagged).
fn account(subscription: &mut Subscription<u64>, room: &Room<u64>) -> (u64, u64) {
    let (mut received, mut lagged) = (0, 0);
    loop {
        let before = subscription.position().sequence;
        let step = match subscription.try_recv_ref() {
            Ok(message) => {
                assert_eq!((*message, message.sequence()), (before, before), "a message equals its sequence here");
                received += 1;
                1
            }
            Err(TryRecvError::Lagged(missed)) => {
                lagged += missed;
                missed
            }
            Err(TryRecvError::Empty) => return (received, lagged),
            Err(error) => panic!("{error}"),
        };
        assert!(step > 0);
        assert_eq!(subscription.position().sequence, before + step, "the cursor moves by what was told");
        assert!(before + step <= room.tail(), "and never passes the tail");
        assert!(subscription.lag() <= room.tail(), "so that its lag does not wrap");
    }
}

/// Peers subtracted a cursor from an older tail: a lag of nearly 2^64, or a panic. Fails where a lag is more than was
/// published, or where received and lagged do not add up.
#[test]
fn b02_lag_never_underflows() {
    finishes(|| {
        for capacity in [1, 2, 5, 64] {
            let broker = Broker::<u64>::builder().capacity(capacity).shards(1).build();
            let mut publisher = broker.exclusive("lobby").unwrap();
            let room = publisher.room();
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                for pause in [1, 50] {
                    let (room, done) = (&room, &done);
                    scope.spawn(move || {
                        let mut subscription = room.subscribe().now().unwrap();
                        let (mut received, mut lagged) = (0, 0);
                        while !done.load(SeqCst) {
                            let (more, missed) = account(&mut subscription, room);
                            (received, lagged) = (received + more, lagged + missed);
                            (0..pause).for_each(|_| thread::yield_now());
                        }
                        let (more, missed) = account(&mut subscription, room);
                        let start = subscription.accounting().start;
                        assert_eq!(received + more + lagged + missed, room.tail() - start, "capacity {capacity}");
                    });
                }
                for number in 0..5_000 {
                    assert_eq!(publisher.publish(number), Ok(number));
                }
                done.store(true, SeqCst);
            });
        }
    });
}

/// A peer's reader was sent forward to the writer's place, found old slots there and took them for new. Fails where a
/// reader that was lapped reads anything but what is published next.
#[test]
fn b05_a_reader_sent_forward_reads_no_stale_slot() {
    for capacity in 1..=20 {
        let broker = Broker::<u64>::builder().capacity(capacity).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let mut subscription = room.subscribe().now().unwrap();
        // By how much it is lapped: from just not to several times, at every place of a segment.
        for laps in 0..4 * capacity as u64 + 8 {
            publish_more(&room, laps);
            account(&mut subscription, &room);
            assert_eq!((subscription.lag(), subscription.try_recv()), (0, Err(TryRecvError::Empty)));
            let next = room.tail();
            publish_all(&room, [next]);
            assert_eq!(subscription.try_recv(), Ok(next), "capacity {capacity}, lapped by {laps}");
            assert_eq!(subscription.try_recv(), Err(TryRecvError::Empty));
        }
    }
}

/// A peer skipped the slots that readers held and then took the ring for full for ever. Fails where a room that was full,
/// with some readers in it and some gone, does not take a whole capacity again after it was read.
#[test]
fn b06_a_room_that_was_full_fills_again() {
    for capacity in 1..=20 {
        let broker = Broker::<u64>::builder().capacity(capacity).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
        for lap in 0..50 {
            let mut pins = room.subscribe_from(Start::Oldest).now().unwrap();
            let held = pins.try_recv_ref();
            let mut taken = 0;
            let refused = loop {
                match room.publish(room.tail()) {
                    Ok(_) => taken += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(refused, PublishError::Full(room.tail()));
            assert!(taken >= capacity, "lap {lap} of capacity {capacity}: only {taken}");
            assert!(held.is_err() || held.is_ok_and(|message| *message == message.sequence()));
            assert!(drain(&mut blocking).is_sorted());
            assert_eq!(blocking.lag(), 0);
        }
        assert_eq!(blocking.accounting().received, room.tail(), "nothing was skipped");
    }
}

/// Reads so many messages one at a time at the very tail, where the slots are being written.
fn read_at_the_tail(mut subscription: Subscription<Wide>, count: u32) {
    let mut seen = 0;
    while seen < count {
        match subscription.try_recv_ref() {
            Ok(message) => {
                assert!(message.iter().all(|word| *word == message[0]), "torn: {:?}", *message);
                assert_eq!(message.time(), Some(7));
                seen += 1;
            }
            Err(error) => assert!(matches!(error, TryRecvError::Empty | TryRecvError::Lagged(_)), "{error}"),
        }
    }
}

/// Long enough to be written in several steps.
type Wide = [u64; 32];

/// A peer published a slot's stamp before its payload. Fails where a message is torn, or has no time yet.
#[test]
fn b12_what_is_seen_is_whole() {
    finishes(|| {
        let broker = Broker::<Wide>::builder().capacity(64).shards(1).clock(|| 7).build();
        let room = broker.room("shared").unwrap();
        let mut publisher = broker.exclusive("exclusive").unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let subscriptions = [room.subscribe().now().unwrap(), publisher.room().subscribe().now().unwrap()];
            let (room, stop) = (&room, &stop);
            for message in 0..2 {
                scope.spawn(move || while !stop.load(SeqCst) && room.publish([message; 32]).is_ok() {});
            }
            scope.spawn(move || {
                let batch = |message| (0..3).map(move |_| [message; 32]);
                (0..)
                    .take_while(|_| !stop.load(SeqCst))
                    .for_each(|message| drop(publisher.publish_all(batch(message))));
            });
            for subscription in subscriptions {
                read_at_the_tail(subscription, 5_000);
            }
            stop.store(true, SeqCst);
        });
    });
}
