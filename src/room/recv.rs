//! The futures of a subscription, and the subscription as a stream.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::subscription::Subscription;
use crate::error::RecvError;
use crate::message::{Batch, Ref};

/// The future of [`Subscription::recv_batch`].
#[must_use = "futures do nothing unless polled"]
pub struct RecvBatch<'a, T> {
    subscription: Option<&'a mut Subscription<T>>,
    max: usize,
}

impl<'a, T> RecvBatch<'a, T> {
    pub(super) fn new(subscription: &'a mut Subscription<T>, max: usize) -> Self {
        Self { subscription: Some(subscription), max }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<Batch<'a, T>, RecvError>> {
        let Some(subscription) = self.subscription.take() else { panic!("polled after it was ready") };
        if self.max == 0 {
            // Nothing could be taken, so no message would ever end the wait.
            let first = subscription.position().sequence;
            return Poll::Ready(Ok(Batch { first, messages: &[], times: &[] }));
        }
        match subscription.poll_look(self.max, context) {
            Poll::Ready(found) => Poll::Ready(found.map(|run| subscription.take(run))),
            Poll::Pending => {
                self.subscription = Some(subscription);
                Poll::Pending
            }
        }
    }
}

impl<'a, T> Future for RecvBatch<'a, T> {
    type Output = Result<Batch<'a, T>, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_batch(context)
    }
}

/// The future of [`Subscription::recv_ref`].
#[must_use = "futures do nothing unless polled"]
pub struct RecvRef<'a, T>(Option<&'a mut Subscription<T>>);

impl<'a, T> RecvRef<'a, T> {
    pub(super) fn new(subscription: &'a mut Subscription<T>) -> Self {
        Self(Some(subscription))
    }
}

impl<'a, T> Future for RecvRef<'a, T> {
    type Output = Result<Ref<'a, T>, RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(subscription) = self.0.take() else { panic!("polled after it was ready") };
        if subscription.finds_at_once() {
            return Poll::Ready(Ok(subscription.take_found()));
        }
        match poll_one(subscription, context) {
            Poll::Ready(found) => Poll::Ready(found.map(|()| subscription.take_found())),
            Poll::Pending => {
                self.0 = Some(subscription);
                Poll::Pending
            }
        }
    }
}

/// Whether a message can be taken, waiting for it.
#[inline(never)]
fn poll_one<T>(subscription: &mut Subscription<T>, context: &mut Context<'_>) -> Poll<Result<(), RecvError>> {
    subscription.poll_look(1, context).map_ok(drop)
}

/// The future of [`Subscription::recv`].
#[must_use = "futures do nothing unless polled"]
pub struct Recv<'a, T>(&'a mut Subscription<T>);

impl<'a, T> Recv<'a, T> {
    pub(super) fn new(subscription: &'a mut Subscription<T>) -> Self {
        Self(subscription)
    }
}

impl<T: Clone> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0.recv_ref()).poll(context).map_ok(|message| T::clone(&message))
    }
}

/// As a stream, a subscription yields clones, and lag as an error between them; it ends when the room has.
impl<T: Clone> Stream for Subscription<T> {
    type Item = Result<T, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.recv()).poll(context).map(|received| match received {
            Err(RecvError::Closed(_) | RecvError::Disconnected(_)) => None,
            received => Some(received),
        })
    }
}

impl<T> fmt::Debug for RecvBatch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch").field("max", &self.max).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RecvRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvRef").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recv").finish_non_exhaustive()
    }
}
