//! Waiting at a room for something other than a message: for space, for its end, for the last reader's leaving.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::coop::Coop;
use super::core::RoomRef;
use crate::error::CloseReason;
use crate::sync::{Arc, Relaxed, SeqCst, fence};
use crate::wake::Waiter;

/// The place of one who waits, from its first wait until it is dropped.
pub(super) struct LifecycleWait<T> {
    room_ref: RoomRef<T>,
    waiter: Arc<Waiter>,
}

impl<T> LifecycleWait<T> {
    pub(super) fn new(room_ref: RoomRef<T>) -> Self {
        // Relaxed: a figure.
        room_ref.0.cold().waiting.fetch_add(1, Relaxed);
        Self { room_ref, waiter: Waiter::new() }
    }

    /// Asks to be woken when anything of the kind has changed. The caller then looks once more.
    pub(super) fn park(&self, context: &Context<'_>) {
        self.room_ref.0.cold().lifecycle.park(&self.waiter, context.waker(), 0);
        // SeqCst: our waiting before the caller's second look. Pairs with the fence of whoever changes something, between
        // the change and its look at who waits: a *block* subscriber that reads on, the closer, the last to leave.
        fence(SeqCst);
    }
}

impl<T> Drop for LifecycleWait<T> {
    fn drop(&mut self) {
        let cold = self.room_ref.0.cold();
        // Relaxed: a figure that decides when to sweep.
        let others = cold.waiting.fetch_sub(1, Relaxed) - 1;
        if cold.lifecycle.abandon(&self.waiter, u64::from(others)) {
            self.room_ref.0.wake_lifecycle();
        }
    }
}

/// Waits until `look` finds something.
fn wait_until<T, R>(
    room_ref: &RoomRef<T>,
    waiting: &mut Waiting<T>,
    context: &Context<'_>,
    look: impl Fn(&RoomRef<T>) -> Option<R>,
) -> Poll<R> {
    ready!(waiting.coop.proceed(context));
    let polled = look(room_ref).map_or(Poll::Pending, Poll::Ready);
    if polled.is_ready() {
        return waiting.coop.note(polled);
    }
    waiting.lifecycle.get_or_insert_with(|| LifecycleWait::new(room_ref.clone())).park(context);
    waiting.coop.note(look(room_ref).map_or(Poll::Pending, Poll::Ready))
}

/// What a future of this kind keeps between its polls.
struct Waiting<T> {
    lifecycle: Option<LifecycleWait<T>>,
    coop: Coop,
}

impl<T> Waiting<T> {
    fn new() -> Self {
        Self { lifecycle: None, coop: Coop::single() }
    }
}

/// The future of [`Room::closed`](crate::Room::closed).
#[must_use = "futures do nothing unless polled"]
pub struct Closed<T> {
    room_ref: RoomRef<T>,
    waiting: Waiting<T>,
}

impl<T> Closed<T> {
    pub(super) fn new(room_ref: RoomRef<T>) -> Self {
        Self { room_ref, waiting: Waiting::new() }
    }
}

impl<T> Future for Closed<T> {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReason> {
        let Self { room_ref, waiting } = &mut *self;
        wait_until(room_ref, waiting, context, |room_ref| room_ref.0.ended())
    }
}

/// The future of [`Room::vacated`](crate::Room::vacated).
#[must_use = "futures do nothing unless polled"]
pub struct Vacated<T> {
    room_ref: RoomRef<T>,
    waiting: Waiting<T>,
}

impl<T> Vacated<T> {
    pub(super) fn new(room_ref: RoomRef<T>) -> Self {
        Self { room_ref, waiting: Waiting::new() }
    }
}

impl<T> Future for Vacated<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { room_ref, waiting } = &mut *self;
        wait_until(room_ref, waiting, context, |room_ref| room_ref.0.is_vacated().then_some(()))
    }
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("room", &self.room_ref.0.name).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Vacated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vacated").field("room", &self.room_ref.0.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use super::*;
    use crate::message::Epoch;
    use crate::ring::{Geometry, Ring};
    use crate::room::core::{RoomCore, Shared};
    use crate::room::{Room, ShardInbox};
    use crate::sync::AtomicU32;

    /// As leases: a subscription that is forgotten is counted for good.
    #[test]
    fn subscribers_are_not_counted_round_to_none() {
        let shared = Shared::<u8> {
            inboxes: [ShardInbox::new()].into(),
            start: None,
            clock: None,
            next_shard: AtomicU32::new(0),
            nobody: Default::default(),
        };
        let ring = Ring::new(Geometry::new(1, 2), false, None);
        let room = Room::new(RoomRef(RoomCore::new("lobby", Epoch(1), 0, false, 0, ring, Arc::new(shared))));
        room.room_ref.0.subscribers.store(u32::MAX.into(), Relaxed);
        let subscription = room.subscribe().now().unwrap();
        assert!(!room.room_ref.0.is_vacated(), "a room with 2^32 subscribers counts as vacated");
        assert_eq!(room.stats().subscribers, u32::MAX, "a figure that says as much as it can");
        assert!((0..2).all(|_| !room.room_ref.expire(|| true)));
        drop(subscription);
    }
}
