//! A publisher that waits while a *block* subscriber keeps the room full.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Room, is_serving};
use crate::error::PublishError;
use crate::sync::{Arc, Relaxed, SeqCst, fence};
use crate::wake::Waiter;

/// The future of [`Room::publish_wait`].
#[must_use = "futures do nothing unless polled"]
pub struct PublishWait<'a, T> {
    room: &'a Room<T>,
    message: Option<T>,
    waiter: Option<Arc<Waiter>>,
}

impl<'a, T> PublishWait<'a, T> {
    pub(super) fn new(room: &'a Room<T>, message: T) -> Self {
        Self { room, message: Some(message), waiter: None }
    }

    fn waiter(&mut self) -> &Arc<Waiter> {
        let core = self.room.core();
        self.waiter.get_or_insert_with(|| {
            // Relaxed: a figure.
            core.waiting.fetch_add(1, Relaxed);
            Waiter::new()
        })
    }

    /// Publishes while somebody may make space for it; `None` when its time to wait has come.
    fn publish(&mut self, mut message: T) -> Option<Result<u64, PublishError<T>>> {
        let core = self.room.core();
        let mut nobody_blocks = false;
        loop {
            match self.room.publish(message) {
                Err(PublishError::Full(back)) if !core.gates.read(Vec::is_empty) => {
                    self.message = Some(back);
                    return None;
                }
                // The last one who blocked has left between our two looks: try again.
                Err(PublishError::Full(back)) if !nobody_blocks => (nobody_blocks, message) = (true, back),
                // Full without anybody who blocks is for good: every segment is pinned, and nobody would tell us of a
                // change.
                done => return Some(done),
            }
        }
    }
}

impl<T> Unpin for PublishWait<'_, T> {}

impl<T> Future for PublishWait<'_, T> {
    type Output = Result<u64, PublishError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(message) = self.message.take() else { panic!("polled after it was ready") };
        let refused = match self.room.publish(message) {
            Err(PublishError::Full(message)) => message,
            done => return Poll::Ready(done),
        };
        let core = self.room.core();
        if is_serving(core.broker()) {
            return Poll::Ready(Err(PublishError::OnShard(refused)));
        }
        core.full.park(self.waiter(), context.waker(), 0);
        // SeqCst: our waiting before our second look at the gate. Pairs with the fence of a *block* subscriber, between
        // its progress and its look at who waits.
        fence(SeqCst);
        self.publish(refused).map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for PublishWait<'_, T> {
    fn drop(&mut self) {
        let Some(waiter) = &self.waiter else { return };
        let core = self.room.core();
        // Relaxed: a figure that decides when to sweep.
        let others = core.waiting.fetch_sub(1, Relaxed) - 1;
        if core.full.abandon(waiter, others) {
            core.wake_publishers();
        }
    }
}

impl<T> fmt::Debug for PublishWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishWait").field("room", &self.room.name()).finish_non_exhaustive()
    }
}
