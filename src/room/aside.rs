//! Waiting at a room for something other than a message: for space, for its end, for the last reader's leaving.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::coop::Coop;
use super::core::Inside;
use crate::error::CloseReason;
use crate::sync::{Arc, Relaxed, SeqCst, fence};
use crate::wake::Waiter;

/// The place of one who waits, from its first wait until it is dropped.
pub(super) struct Aside<T> {
    inside: Inside<T>,
    waiter: Arc<Waiter>,
}

impl<T> Aside<T> {
    pub(super) fn new(inside: Inside<T>) -> Self {
        // Relaxed: a figure.
        inside.0.seldom().waiting.fetch_add(1, Relaxed);
        Self { inside, waiter: Waiter::new() }
    }

    /// Asks to be woken when anything of the kind has changed. The caller then looks once more.
    pub(super) fn park(&self, context: &Context<'_>) {
        self.inside.0.seldom().aside.park(&self.waiter, context.waker(), 0);
        // SeqCst: our waiting before the caller's second look. Pairs with the fence of whoever changes something, between
        // the change and its look at who waits: a *block* subscriber that reads on, the closer, the last to leave.
        fence(SeqCst);
    }
}

impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        let seldom = self.inside.0.seldom();
        // Relaxed: a figure that decides when to sweep.
        let others = seldom.waiting.fetch_sub(1, Relaxed) - 1;
        if seldom.aside.abandon(&self.waiter, u64::from(others)) {
            self.inside.0.wake_aside();
        }
    }
}

/// Waits until `look` finds something.
fn wait_until<T, R>(
    inside: &Inside<T>,
    waiting: &mut Waiting<T>,
    context: &Context<'_>,
    look: impl Fn(&Inside<T>) -> Option<R>,
) -> Poll<R> {
    ready!(waiting.coop.proceed(context));
    let polled = look(inside).map_or(Poll::Pending, Poll::Ready);
    if polled.is_ready() {
        return waiting.coop.note(polled);
    }
    waiting.aside.get_or_insert_with(|| Aside::new(inside.clone())).park(context);
    waiting.coop.note(look(inside).map_or(Poll::Pending, Poll::Ready))
}

/// What a future of this kind keeps between its polls.
struct Waiting<T> {
    aside: Option<Aside<T>>,
    coop: Coop,
}

impl<T> Waiting<T> {
    fn new() -> Self {
        Self { aside: None, coop: Coop::single() }
    }
}

/// The future of [`Room::closed`](crate::Room::closed).
#[must_use = "futures do nothing unless polled"]
pub struct Closed<T> {
    inside: Inside<T>,
    waiting: Waiting<T>,
}

impl<T> Closed<T> {
    pub(super) fn new(inside: Inside<T>) -> Self {
        Self { inside, waiting: Waiting::new() }
    }
}

impl<T> Future for Closed<T> {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReason> {
        let Self { inside, waiting } = &mut *self;
        wait_until(inside, waiting, context, |inside| inside.0.ended())
    }
}

/// The future of [`Room::deserted`](crate::Room::deserted).
#[must_use = "futures do nothing unless polled"]
pub struct Deserted<T> {
    inside: Inside<T>,
    waiting: Waiting<T>,
}

impl<T> Deserted<T> {
    pub(super) fn new(inside: Inside<T>) -> Self {
        Self { inside, waiting: Waiting::new() }
    }
}

impl<T> Future for Deserted<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { inside, waiting } = &mut *self;
        wait_until(inside, waiting, context, |inside| inside.0.is_deserted().then_some(()))
    }
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("room", &self.inside.0.name).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Deserted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deserted").field("room", &self.inside.0.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use super::*;
    use crate::message::Epoch;
    use crate::ring::{Geometry, Ring};
    use crate::room::core::{RoomCore, Shared};
    use crate::room::{Port, Room};
    use crate::sync::AtomicU32;

    /// As leases: a subscription that is forgotten is counted for good.
    #[test]
    fn subscribers_are_not_counted_round_to_none() {
        let shared = Shared::<u8> {
            ports: [Port::new()].into(),
            start: None,
            clock: None,
            next_port: AtomicU32::new(0),
            nobody: Default::default(),
        };
        let ring = Ring::new(Geometry::new(1, 2), false, None);
        let room = Room::new(Inside(RoomCore::new("lobby", Epoch(1), 0, false, ring, Arc::new(shared))));
        room.inside.0.subscribers.store(u32::MAX.into(), Relaxed);
        let subscription = room.subscribe().now().unwrap();
        assert!(!room.inside.0.is_deserted(), "a room with 2^32 subscribers counts as deserted");
        assert_eq!(room.stats().subscribers, u32::MAX, "a figure that says as much as it can");
        assert!((0..2).all(|_| !room.inside.expire(|| true)));
        drop(subscription);
    }
}
