//! `received + lagged + conflated == end - start`, counted by the reader itself, under every policy.

use futures::executor::block_on;
use roomcast::{Broker, Policy, Room, Subscription, TryRecvError};

use crate::support::{poll_once, publish_all, publish_more};

/// What a reader has counted on its own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ledger {
    received: u64,
    lagged: u64,
    /// The sequence received last.
    last: Option<u64>,
}

impl Ledger {
    /// Reads at most `max` messages; false when the subscription has ended.
    fn read(&mut self, subscription: &mut Subscription<u64>, max: usize) -> bool {
        for _ in 0..max {
            match subscription.try_recv_ref() {
                Ok(message) => {
                    assert_eq!(message.sequence(), *message, "messages equal their sequences here");
                    assert!(self.last < Some(*message), "the cursor never moves back");
                    (self.received, self.last) = (self.received + 1, Some(*message));
                }
                Err(TryRecvError::Lagged(missed)) => {
                    assert!(missed > 0 && missed < 1 << 40, "B2: no underflow, {missed}");
                    self.lagged += missed;
                }
                Err(TryRecvError::Disconnected(missed)) => {
                    self.lagged += missed;
                    return false;
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Closed(_)) => return false,
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    fn check(&self, subscription: &Subscription<u64>) {
        let account = subscription.accounting();
        assert_eq!((self.received, self.lagged), (account.received, account.lagged));
        assert_eq!(self.received + self.lagged + account.conflated, account.end - account.start);
    }
}

/// Publishes in bursts, reading a little after each, then closes and reads to the end.
fn slow_reader(room: &Room<u64>, policy: Policy) -> (Ledger, Subscription<u64>) {
    // Not from the beginning, so that `start` counts.
    publish_all(room, 0..3);
    let mut subscription = room.subscribe().policy(policy).now().unwrap();
    let mut ledger = Ledger::default();
    for burst in 0..200 {
        for _ in 0..burst % 37 {
            // Refused where a blocking subscriber is full.
            let _ = room.publish(room.tail());
        }
        ledger.read(&mut subscription, 5);
        ledger.check(&subscription);
    }
    room.close();
    while ledger.read(&mut subscription, 5) && subscription.lag() > 0 {
        ledger.check(&subscription);
    }
    ledger.check(&subscription);
    (ledger, subscription)
}

#[test]
fn lag_b2() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("lobby").unwrap();
    let (ledger, subscription) = slow_reader(&room, Policy::Lag);
    assert!(ledger.lagged > 0 && ledger.received > 0);
    let account = subscription.accounting();
    assert_eq!((account.start, account.end, account.conflated), (3, room.tail(), 0));
}

#[test]
fn latest() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("lobby").unwrap();
    let (ledger, subscription) = slow_reader(&room, Policy::Latest);
    let account = subscription.accounting();
    assert!(account.conflated > 0 && ledger.received > 0);
    assert_eq!((account.lagged, account.end, ledger.last), (0, room.tail(), Some(room.tail() - 1)));
}

#[test]
fn disconnect() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().policy(Policy::Disconnect).now().unwrap();
    let mut ledger = Ledger::default();
    publish_all(&room, 0..10);
    assert!(ledger.read(&mut subscription, 4));
    publish_all(&room, 10..100);
    assert!(!ledger.read(&mut subscription, 4));
    ledger.check(&subscription);
    let account = subscription.accounting();
    assert_eq!((account.received, account.end), (4, 4 + account.lagged));
}

#[test]
fn block() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("lobby").unwrap();
    let (ledger, subscription) = slow_reader(&room, Policy::Block);
    let account = subscription.accounting();
    assert_eq!((account.lagged, account.conflated, account.end), (0, 0, room.tail()));
    assert_eq!(ledger.received, room.tail() - 3, "it has read every message there was");
}

#[test]
fn waiting_counts_nothing() {
    let broker = Broker::<u64>::builder().capacity(4).build();
    let room = broker.room("lobby").unwrap();
    for policy in [Policy::Lag, Policy::Latest, Policy::Disconnect] {
        let mut subscription = room.subscribe().policy(policy).now().unwrap();
        let start = room.tail();
        let waker = std::task::Waker::noop();
        // Parked, lapped while parked, and only then looked at.
        assert!(poll_once(subscription.recv(), waker).is_pending());
        publish_more(&room, 30);
        let received = block_on(subscription.recv());
        let account = subscription.accounting();
        assert_eq!(account.start, start);
        assert_eq!(account.received, u64::from(received.is_ok()), "{policy:?}: {account:?}");
        assert_eq!(account.received + account.lagged + account.conflated, account.end - start);
    }
}
