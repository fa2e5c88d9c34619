//! Threads at full speed: every message is counted, and every sum is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use roomcast::{Broker, RecvError, Subscription};

use crate::support::finishes;

const PUBLISHERS: u64 = 3;
const MESSAGES: u64 = 20_000;

/// Reads until the room ends; checks order and the accounting rule. Returns how many were received.
fn read(mut subscription: Subscription<u64>, slow: bool) -> u64 {
    let mut last_of = [None; PUBLISHERS as usize];
    let mut last = None;
    loop {
        match subscription.recv_ref_blocking() {
            Ok(message) => {
                assert!(last.is_none_or(|last| last < message.sequence()));
                last = Some(message.sequence());
                let (publisher, number) = ((*message / MESSAGES) as usize, *message % MESSAGES);
                assert!(last_of[publisher].is_none_or(|last| last < number), "out of order");
                last_of[publisher] = Some(number);
                if slow && number % 64 == 0 {
                    thread::yield_now();
                }
            }
            Err(RecvError::Lagged(missed)) => assert!(missed > 0),
            Err(_) => break,
        }
    }
    let accounting = subscription.accounting();
    assert_eq!(accounting.received + accounting.lagged, accounting.end - accounting.start);
    assert_eq!(accounting.end, PUBLISHERS * MESSAGES);
    accounting.received
}

#[test]
fn publishers_readers_and_churn_keep_the_accounts() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(256).shards(2).build();
        let room = broker.room("stress").unwrap();
        let (done, joined) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let readers: Vec<_> = [false, false, true]
            .map(|slow| {
                let subscription = room.subscribe().now().unwrap();
                thread::spawn(move || read(subscription, slow))
            })
            .into_iter()
            .collect();
        let churn = {
            let (room, done, joined) = (room.clone(), done.clone(), joined.clone());
            thread::spawn(move || {
                while !done.load(SeqCst) {
                    let mut subscription = room.subscribe().now().unwrap();
                    let _ = subscription.try_recv();
                    joined.fetch_add(1, SeqCst);
                }
            })
        };
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let room = room.clone();
                thread::spawn(move || {
                    (0..MESSAGES).map(|number| room.publish(publisher * MESSAGES + number).unwrap()).sum::<u64>()
                })
            })
            .collect();
        let sequences: u64 = publishers.into_iter().map(|publisher| publisher.join().unwrap()).sum();
        let total = PUBLISHERS * MESSAGES;
        assert_eq!(sequences, total * (total - 1) / 2, "each sequence is handed out once");
        done.store(true, SeqCst);
        churn.join().unwrap();
        assert!(joined.load(SeqCst) > 0);
        room.close();
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
        assert_eq!(room.stats().subscribers, 0);
    });
}
