//! Who comes and goes in a churned broker: readers of every policy, handlers, sets and patterns, with wakers of all kinds.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures::executor::block_on;
use roomcast::{Batch, Broker, Handler, Policy, Ref, RoomSet, Start, Subscription, TryRecvError};

use crate::dice::Dice;
use crate::message::{Message, ROOMS, Stage, bear, name, tantrum};

/// Steps of a guest before it goes, at most.
const STEPS_MAX: u64 = 200;

/// A waker that may have a tantrum when it wakes, and another when it is dropped.
struct Grumpy {
    in_wake: bool,
    in_drop: bool,
}

impl Grumpy {
    fn waker(dice: &mut Dice, hostile: bool) -> Waker {
        let (in_wake, in_drop) = (hostile && dice.once_in(4), hostile && dice.once_in(8));
        Waker::from(Arc::new(Self { in_wake, in_drop }))
    }
}

impl Wake for Grumpy {
    fn wake(self: Arc<Self>) {
        if self.in_wake {
            tantrum();
        }
    }
}

impl Drop for Grumpy {
    fn drop(&mut self) {
        if self.in_drop && !thread::panicking() {
            tantrum();
        }
    }
}

/// Subscribes somewhere somehow, reads a while and goes, having accounted for everything. Returns what it received.
pub(crate) fn reader(broker: &Broker<Message>, dice: &mut Dice, hostile: bool) -> u64 {
    let Ok(room) = broker.room(&name(dice.roll(ROOMS))) else { return 0 };
    let policy = [Policy::Lag, Policy::Latest, Policy::Disconnect, Policy::Block][dice.roll(4) as usize];
    let start = if dice.once_in(2) { Start::Latest } else { Start::Oldest };
    let Ok(mut subscription) = room.subscribe_from(start).policy(policy).now() else { return 0 };
    let mut tally = Tally::default();
    let mut over = false;
    for _ in 0..dice.roll(STEPS_MAX) {
        if over {
            break;
        }
        if dice.once_in(4) {
            let waker = Grumpy::waker(dice, hostile);
            bear(|| subscription.poll_readable(&mut Context::from_waker(&waker)).is_ready());
            bear(|| drop(waker));
        }
        over = match dice.roll(3) {
            0 => tally.take_clone(&mut subscription),
            _ => tally.take_batch(&mut subscription, 1 + dice.roll(32) as usize),
        };
    }
    tally.check(&subscription, policy);
    bear(|| drop(subscription));
    tally.received
}

/// What a reader was given and told.
#[derive(Default)]
struct Tally {
    last: Option<u64>,
    received: u64,
    lagged: u64,
}

impl Tally {
    /// Takes a run; true at the end.
    fn take_batch(&mut self, subscription: &mut Subscription<Message>, max: usize) -> bool {
        match subscription.try_recv_batch(max) {
            Ok(batch) => {
                for message in batch.refs() {
                    assert!(self.last < Some(message.sequence()), "a sequence came twice or out of order");
                    self.last = Some(message.sequence());
                    message.check();
                    self.received += 1;
                }
                false
            }
            Err(error) => self.told(error),
        }
    }

    /// Takes a clone, whose making may panic: the message counts as received.
    fn take_clone(&mut self, subscription: &mut Subscription<Message>) -> bool {
        match bear(|| subscription.try_recv()) {
            None | Some(Ok(_)) => {
                self.received += 1;
                false
            }
            Some(Err(error)) => self.told(error),
        }
    }

    fn told(&mut self, error: TryRecvError) -> bool {
        match error {
            TryRecvError::Empty => {
                thread::yield_now();
                false
            }
            TryRecvError::Lagged(missed) => {
                self.lagged += missed;
                false
            }
            TryRecvError::Disconnected(missed) => {
                self.lagged += missed;
                true
            }
            _ => true,
        }
    }

    fn check(&self, subscription: &Subscription<Message>, policy: Policy) {
        let account = subscription.accounting();
        assert_eq!((account.received, account.lagged), (self.received, self.lagged), "{policy:?}: {account:?}");
        assert_eq!(
            account.received + account.lagged + account.conflated,
            account.end - account.start,
            "{policy:?}: the accounting rule"
        );
        assert!(policy != Policy::Block || self.lagged == 0, "a reader that blocks was overrun");
        assert!(policy == Policy::Latest || account.conflated == 0);
    }
}

/// Counts, answers into other rooms, and may have a tantrum.
struct Listener {
    stage: Arc<Stage>,
    dice: Dice,
    hostile: bool,
    last: Option<u64>,
}

impl Handler<Message> for Listener {
    fn message(&mut self, _: Ref<'_, Message>) {
        unreachable!("it takes them in batches")
    }

    fn messages(&mut self, batch: Batch<'_, Message>) {
        for message in batch.refs() {
            assert!(self.last < Some(message.sequence()), "a sequence came twice or out of order");
            self.last = Some(message.sequence());
            message.check();
        }
        if !self.hostile {
            return;
        }
        if self.dice.once_in(50)
            && let Some(broker) = self.stage.broker()
        {
            let message = self.stage.message(&mut self.dice, false);
            let _ = broker.publish(&name(self.dice.roll(ROOMS)), message);
        }
        if self.dice.once_in(200) {
            self.stage.tantrums.fetch_add(1, SeqCst);
            tantrum();
        }
    }
}

/// Adds a handler, lets it hear a little, and takes it away, waiting for that or not.
pub(crate) fn handler(broker: &Broker<Message>, stage: &Arc<Stage>, dice: &mut Dice, hostile: bool) {
    let Ok(room) = broker.room(&name(dice.roll(ROOMS))) else { return };
    let own = Dice::new(dice.roll(u64::MAX), 0);
    let listener = Listener { stage: stage.clone(), dice: own, hostile, last: None };
    let mut join = room.subscribe_handler(listener);
    if dice.once_in(4) {
        // Given up before or after the shard has come to it.
        let waker = Grumpy::waker(dice, hostile);
        bear(|| pin!(&mut join).poll(&mut Context::from_waker(&waker)).is_ready());
        bear(|| drop(waker));
        return drop(join);
    }
    let Ok(served) = block_on(join) else { return };
    (0..dice.roll(STEPS_MAX)).for_each(|_| thread::yield_now());
    if dice.once_in(2) {
        block_on(served.unsubscribe());
    }
}

/// One handle over many rooms, half of the time over those that a pattern finds.
pub(crate) fn many(broker: &Broker<Message>, dice: &mut Dice, hostile: bool) {
    let waker = Grumpy::waker(dice, hostile);
    let mut context = Context::from_waker(&waker);
    if dice.once_in(2) {
        let mut pattern = broker.subscribe_pattern("room *");
        for _ in 0..dice.roll(STEPS_MAX) {
            let Some(Poll::Ready(Some(key))) = bear(|| pattern.poll_ready(&mut context)) else { break };
            if pattern.get_mut(key).is_some_and(read_one) {
                drop(pattern.leave(key));
            }
        }
        bear(|| drop(pattern));
    } else {
        let names: Vec<_> = (0..ROOMS).map(name).collect();
        let Ok(mut set): Result<RoomSet<_>, _> = broker.subscribe_many(names.iter().map(String::as_str)) else {
            return;
        };
        for _ in 0..dice.roll(STEPS_MAX) {
            let Some(Poll::Ready(key)) = bear(|| set.poll_ready(&mut context)) else { break };
            if set.get_mut(key).is_some_and(read_one) {
                drop(set.leave(key));
            }
        }
        bear(|| drop(set));
    }
    bear(|| drop(waker));
}

/// Reads one message; true at the end of its room.
fn read_one(subscription: &mut Subscription<Message>) -> bool {
    match subscription.try_recv_ref() {
        Ok(message) => {
            message.check();
            false
        }
        Err(TryRecvError::Empty | TryRecvError::Lagged(_)) => false,
        Err(_) => true,
    }
}
