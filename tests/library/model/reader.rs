//! A subscription beside what the model says of it.

use std::sync::Arc;
use std::task::{Context, Waker};

use roomcast::{Accounting, Policy, Subscription, TryRecvError};

use super::room::{Model, Parcel};
use crate::support::Wakes;

pub(super) struct Reader {
    subscription: Subscription<Parcel>,
    /// Names its gate.
    id: u64,
    policy: Policy,
    next: u64,
    /// The segment it stands in: it keeps it, and reads the rest of it even when the room has evicted it.
    keeps: Option<u64>,
    disconnected: Option<u64>,
    account: Accounting,
    parked: bool,
    wakes: Arc<Wakes>,
    waker: Waker,
    wakes_expected: usize,
}

impl Reader {
    pub(super) fn new(subscription: Subscription<Parcel>, id: u64, policy: Policy, next: u64) -> Self {
        let (wakes, waker) = Wakes::new();
        let account = Accounting { start: next, end: next, received: 0, lagged: 0, conflated: 0 };
        let (keeps, disconnected, parked, wakes_expected) = (None, None, false, 0);
        Self { subscription, id, policy, next, keeps, disconnected, account, parked, wakes, waker, wakes_expected }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Receives up to `max` at once and compares.
    pub(super) fn receive(&mut self, model: &mut Model, max: u64) {
        let expected = self.take(model, max);
        match (self.subscription.try_recv_batch(max as usize), expected) {
            (Ok(batch), Ok((first, count))) => {
                assert_eq!((batch.first_sequence(), batch.len() as u64), (first, count));
                for (sequence, time, parcel) in batch.iter() {
                    assert_eq!((*parcel, time), (model.at(sequence).0, Some(model.at(sequence).1)));
                }
            }
            (received, expected) => assert_eq!(received.map(|batch| batch.len()).unwrap_err(), expected.unwrap_err()),
        }
    }

    /// Receives one by value and compares.
    pub(super) fn receive_one(&mut self, model: &mut Model) {
        let expected = self.take(model, 1).map(|(first, _)| model.at(first).0);
        assert_eq!(self.subscription.try_recv(), expected);
    }

    /// Asks whether there is something to read, to be woken if not.
    pub(super) fn poll(&mut self, model: &mut Model) {
        let expected = self.disconnected.is_some() || self.is_readable(model);
        let polled = self.subscription.poll_readable(&mut Context::from_waker(&self.waker));
        assert_eq!(polled.is_ready(), expected);
        self.parked |= !expected;
    }

    /// Something has happened that everybody parked must be woken by, once; nobody else is.
    pub(super) fn stirred(&mut self) {
        self.wakes_expected += usize::from(std::mem::take(&mut self.parked));
        self.check_wakes();
    }

    /// Something has happened that may wake who is parked, such as segments that went early.
    pub(super) fn perhaps_stirred(&mut self) {
        if self.wakes.count() > self.wakes_expected {
            self.stirred();
        }
    }

    pub(super) fn check_wakes(&self) {
        assert_eq!(self.wakes.count(), self.wakes_expected, "one wake for one park");
    }

    pub(super) fn check(&self, model: &Model) {
        self.check_wakes();
        let account = self.subscription.accounting();
        assert_eq!(account, Accounting { end: self.next, ..self.account });
        assert_eq!(account.received + account.lagged + account.conflated, account.end - account.start);
        assert_eq!(self.subscription.position().sequence, self.next);
        assert_eq!(self.subscription.lag(), model.tail() - self.next);
    }

    /// What a receive gives: (first, count), or why nothing.
    fn take(&mut self, model: &mut Model, max: u64) -> Result<(u64, u64), TryRecvError> {
        if max > 0 {
            self.pass_gate(model);
        }
        let count = self.look_by_policy(model, max)?;
        let first = self.next;
        self.next += count;
        self.account.received += count;
        Ok((first, count))
    }

    fn look_by_policy(&mut self, model: &Model, max: u64) -> Result<u64, TryRecvError> {
        if let Some(missed) = self.disconnected {
            return Err(TryRecvError::Disconnected(missed));
        }
        if self.policy != Policy::Latest {
            return self.look(model, max).map_err(|nothing| self.told(nothing));
        }
        self.conflate_to_newest(model);
        loop {
            match self.look(model, u64::MAX) {
                Ok(count) => {
                    self.next += count - 1;
                    self.account.conflated += count - 1;
                    return Ok(1);
                }
                Err(TryRecvError::Lagged(missed)) => self.account.conflated += missed,
                Err(nothing) => return Err(nothing),
            }
        }
    }

    /// What a subscriber that is not after the newest makes of it.
    fn told(&mut self, nothing: TryRecvError) -> TryRecvError {
        let TryRecvError::Lagged(missed) = nothing else { return nothing };
        self.account.lagged += missed;
        if self.policy != Policy::Disconnect {
            return nothing;
        }
        (self.disconnected, self.keeps) = (Some(missed), None);
        TryRecvError::Disconnected(missed)
    }

    fn conflate_to_newest(&mut self, model: &Model) {
        let begins = model.first(model.segment(model.tail().saturating_sub(1)));
        let skipped = begins.saturating_sub(self.next);
        self.next += skipped;
        self.account.conflated += skipped;
    }

    /// How many can be read at the cursor, no further than its segment reaches.
    fn look(&mut self, model: &Model, max: u64) -> Result<u64, TryRecvError> {
        let here = model.segment(self.next);
        if self.keeps != Some(here) {
            let segment = model.not_evicted_from(here);
            if model.is_begun(segment) {
                self.keeps = Some(segment);
            }
            if segment > here {
                let missed = model.first(segment) - self.next;
                self.next += missed;
                return Err(TryRecvError::Lagged(missed));
            }
        }
        let end = if self.keeps == Some(here) { model.end(here) } else { self.next };
        match end - self.next {
            0 => Err(model.ended.map_or(TryRecvError::Empty, TryRecvError::Closed)),
            count => Ok(count.min(max)),
        }
    }

    /// Whether the next receive gives something other than `Empty`; who sleeps keeps no segment.
    fn is_readable(&mut self, model: &mut Model) -> bool {
        self.pass_gate(model);
        if self.policy == Policy::Latest {
            self.conflate_to_newest(model);
        }
        let next = self.next;
        let looked = self.look(model, 1);
        self.next = next;
        if looked == Err(TryRecvError::Empty) {
            self.keeps = None;
        }
        looked != Err(TryRecvError::Empty)
    }

    /// A blocking subscriber says how far it has read, when it has come into another segment.
    fn pass_gate(&self, model: &mut Model) {
        let segment = model.segment(self.next);
        if let Some(read) = model.gates.get(&self.id).copied()
            && model.segment(read) != segment
        {
            model.gates.insert(self.id, self.next);
        }
    }
}
