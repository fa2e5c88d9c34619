//! A publisher that waits while a *block* subscriber keeps the room full.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use super::coop::Coop;
use super::core::RoomRef;
use super::lifecycle::LifecycleWait;
use super::{Publisher, Room, is_serving};
use crate::error::PublishError;

/// A message on its way into a room that may be full.
struct Pending<T> {
    message: Option<T>,
    lifecycle: Option<LifecycleWait<T>>,
    coop: Coop,
}

impl<T> Pending<T> {
    fn new(message: Option<T>) -> Self {
        Self { message, lifecycle: None, coop: Coop::single() }
    }

    fn poll(&mut self, way: &mut impl Way<T>, context: &Context<'_>) -> Poll<Result<u64, PublishError<T>>> {
        assert!(self.message.is_some(), "polled after it was ready");
        ready!(self.coop.proceed(context));
        let polled = self.poll_unbudgeted(way, context);
        self.coop.note(polled)
    }

    fn poll_unbudgeted(&mut self, way: &mut impl Way<T>, context: &Context<'_>) -> Poll<Result<u64, PublishError<T>>> {
        let Some(message) = self.message.take() else { panic!("polled after it was ready") };
        let refused = match way.publish(message) {
            Err(PublishError::Full(message)) => message,
            done => return Poll::Ready(done),
        };
        if is_serving(way.room_ref().0.broker()) {
            return Poll::Ready(Err(PublishError::OnShard(refused)));
        }
        self.lifecycle.get_or_insert_with(|| LifecycleWait::new(way.room_ref().clone())).park(context);
        // Once more, behind the fence in `park`: whichever gate refuses us now has not moved yet, and wakes us when it moves
        // or goes. model: gate_pass_wait, gate_leave_wait, gate_join_wait
        match way.publish(refused) {
            Err(PublishError::Full(back)) => {
                self.message = Some(back);
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }
}

/// How a message gets into its room.
trait Way<T> {
    fn room_ref(&self) -> &RoomRef<T>;
    fn publish(&mut self, message: T) -> Result<u64, PublishError<T>>;
}

impl<T> Way<T> for &Room<T> {
    fn room_ref(&self) -> &RoomRef<T> {
        &self.room_ref
    }

    fn publish(&mut self, message: T) -> Result<u64, PublishError<T>> {
        Room::publish(self, message)
    }
}

impl<T> Way<T> for &mut Publisher<T> {
    fn room_ref(&self) -> &RoomRef<T> {
        Publisher::room_ref(self)
    }

    fn publish(&mut self, message: T) -> Result<u64, PublishError<T>> {
        Publisher::publish(self, message)
    }
}

/// The future of [`Room::publish_wait`] and [`Publisher::publish_wait`].
#[must_use = "futures do nothing unless polled"]
pub struct PublishWait<'a, T> {
    target: Target<'a, T>,
    pending: Pending<T>,
}

enum Target<'a, T> {
    Shared(&'a Room<T>),
    Exclusive(&'a mut Publisher<T>),
}

impl<'a, T> PublishWait<'a, T> {
    pub(super) fn shared(room: &'a Room<T>, message: T) -> Self {
        Self { target: Target::Shared(room), pending: Pending::new(Some(message)) }
    }

    pub(super) fn exclusive(publisher: &'a mut Publisher<T>, message: T) -> Self {
        Self { target: Target::Exclusive(publisher), pending: Pending::new(Some(message)) }
    }

    /// [`Future::poll`] for somebody who has nobody beside.
    pub(super) fn poll_unbudgeted(&mut self, context: &Context<'_>) -> Poll<Result<u64, PublishError<T>>> {
        match &mut self.target {
            Target::Shared(room) => self.pending.poll_unbudgeted(room, context),
            Target::Exclusive(publisher) => self.pending.poll_unbudgeted(publisher, context),
        }
    }

    /// The message back, of a future that was not ready.
    pub(super) fn give_up(self) -> PublishError<T> {
        match self.pending.message {
            Some(message) => PublishError::Full(message),
            None => panic!("polled after it was ready"),
        }
    }
}

impl<T> Unpin for PublishWait<'_, T> {}

impl<T> Future for PublishWait<'_, T> {
    type Output = Result<u64, PublishError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { target, pending } = &mut *self;
        match target {
            Target::Shared(room) => pending.poll(room, context),
            Target::Exclusive(publisher) => pending.poll(publisher, context),
        }
    }
}

impl<T> fmt::Debug for PublishWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room_ref = match &self.target {
            Target::Shared(room) => &room.room_ref,
            Target::Exclusive(publisher) => publisher.room_ref(),
        };
        f.debug_struct("PublishWait").field("room", &room_ref.0.name).finish_non_exhaustive()
    }
}

/// A room as a [`Sink`]: what is sent is published, and while a [`Policy::Block`](crate::Policy::Block) subscriber keeps
/// the room full the sink is not ready.
///
/// Made by [`Room::sink`]. It holds at most one message that is not published yet. Closing the sink publishes that one and
/// leaves the room open; dropping it drops that one.
///
/// # Errors
/// As [`Room::publish_wait`], with the message.
///
/// # Examples
/// ```
/// # futures::executor::block_on(async {
/// use futures::{SinkExt, StreamExt, stream};
/// use roomcast::Broker;
///
/// let broker = Broker::<u32>::new();
/// let room = broker.room("numbers")?;
/// let numbers = room.subscribe().now()?;
/// room.sink().send_all(&mut stream::iter([1, 2, 3]).map(Ok)).await?;
/// room.close();
/// assert_eq!(numbers.map(Result::unwrap).collect::<Vec<_>>().await, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RoomSink<T> {
    room: Room<T>,
    pending: Pending<T>,
}

impl<T> RoomSink<T> {
    pub(super) fn new(room: Room<T>) -> Self {
        Self { room, pending: Pending { coop: Coop::default(), ..Pending::new(None) } }
    }

    /// The room.
    pub fn room(&self) -> &Room<T> {
        &self.room
    }

    fn poll_empty(&mut self, context: &Context<'_>) -> Poll<Result<(), PublishError<T>>> {
        match self.pending.message {
            Some(_) => self.pending.poll(&mut &self.room, context).map_ok(drop),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<T> Unpin for RoomSink<T> {}

impl<T> Sink<T> for RoomSink<T> {
    type Error = PublishError<T>;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.pending.message.is_none() {
            ready!(self.pending.coop.proceed(context));
            return self.pending.coop.note(Poll::Ready(Ok(())));
        }
        self.poll_empty(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: T) -> Result<(), Self::Error> {
        assert!(self.pending.message.is_none(), "a sink takes a message after `poll_ready` has said that it is ready");
        match self.room.publish(message) {
            Err(PublishError::Full(message)) => self.pending.message = Some(message),
            done => drop(done?),
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_empty(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_empty(context)
    }
}

impl<T> fmt::Debug for RoomSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomSink").field("room", &self.room.name()).finish_non_exhaustive()
    }
}
