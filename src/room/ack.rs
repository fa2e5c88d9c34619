//! The acknowledgement of something a shard does.

use std::task::{Context, Poll};

use crate::sync::{AcqRel, Acquire, Arc, AtomicU8};
use crate::wake::{WakerCell, wake_safely};

const PENDING: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;
const CANCELLED: u8 = 3;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The shard could not, or is gone.
    Failed,
}

/// Shared by the future that waits and the shard that acts. Leaves `PENDING` once.
#[derive(Debug)]
pub(crate) struct Ack {
    state: AtomicU8,
    waker: WakerCell,
}

impl Ack {
    /// The waiting side and the acting side.
    pub(crate) fn pair() -> (Arc<Self>, Promise) {
        let ack = Arc::new(Self { state: AtomicU8::new(PENDING), waker: WakerCell::new() });
        (ack.clone(), Promise(ack))
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        if self.outcome().is_none() {
            self.waker.register(context.waker());
        }
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        // Acquire: sees what the shard did. Pairs with the exchange in `settle`.
        match self.state.load(Acquire) {
            DONE => Some(Outcome::Done),
            FAILED => Some(Outcome::Failed),
            _ => None,
        }
    }

    /// Nobody waits any more. Returns whether the shard had done it before.
    pub(crate) fn cancel(&self) -> bool {
        self.settle(CANCELLED) == DONE
    }

    /// Moves on from PENDING; returns the state before.
    fn settle(&self, state: u8) -> u8 {
        // AcqRel: one of shard and waiter decides, and the other sees what it did.
        match self.state.compare_exchange(PENDING, state, AcqRel, Acquire) {
            Ok(before) | Err(before) => before,
        }
    }
}

/// The acting side of an [`Ack`]; dropped unkept, it says that the shard is gone.
#[derive(Debug)]
pub(crate) struct Promise(Arc<Ack>);

impl Promise {
    /// Acknowledges; false if nobody waits any more.
    pub(crate) fn keep(self) -> bool {
        self.settle(DONE)
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        // Acquire: pairs with the exchange in `Ack::settle`.
        self.0.state.load(Acquire) == CANCELLED
    }

    fn settle(&self, state: u8) -> bool {
        let settled = self.0.settle(state) == PENDING;
        if let Some(waker) = self.0.waker.take() {
            wake_safely(waker);
        }
        settled
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.settle(FAILED);
    }
}
