//! A pulling subscription: a cursor that its owner polls, on any executor or thread.

use std::fmt;
use std::future::{Future, Ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::coop::Coop;
use super::core::{RoomId, RoomRef};
use super::gate::Gate;
use super::inbox::is_serving;
use super::recv::{Recv, RecvBatch, RecvRef};
use super::{Policy, Room};
use crate::error::{RecvError, SubscribeError, TryRecvError};
use crate::message::{Batch, Position, Ref, Resumption, Start};
use crate::ring::{Cursor, Nothing, Rest};
use crate::sync::{Arc, Relaxed, SeqCst, fence, spin_loop};
use crate::wake::Waiter;

/// What [`Room::subscribe`] makes: [`Subscribe::now`] subscribes at once. As a future it does the same at its first poll.
#[must_use = "futures do nothing unless polled"]
pub struct Subscribe<T> {
    room: Room<T>,
    start: Start,
    policy: Policy,
}

impl<T> Subscribe<T> {
    pub(super) fn new(room: Room<T>, start: Start) -> Self {
        Self { room, start, policy: Policy::default() }
    }

    /// What is to happen when the subscriber falls a whole ring behind.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Subscribes at once.
    ///
    /// # Errors
    /// When the room has ended.
    pub fn now(self) -> Result<Subscription<T>, SubscribeError> {
        Subscription::begin(self.room.room_ref.clone(), self.start, self.policy)
    }
}

impl<T> Future for Subscribe<T> {
    type Output = Result<Subscription<T>, SubscribeError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Subscription::begin(self.room.room_ref.clone(), self.start, self.policy))
    }
}

impl<T> fmt::Debug for Subscribe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe").field("room", &self.room.name()).field("start", &self.start).finish_non_exhaustive()
    }
}

/// The acknowledgement of [`Subscription::unsubscribe`].
pub type Unsubscribe = Ready<()>;

/// What has become of the messages of a subscription: `received + lagged + conflated == end - start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounting {
    /// The cursor when the subscription was acknowledged.
    pub start: u64,
    /// The cursor now; the final tail of a closed room that was read to its end.
    pub end: u64,
    /// Messages handed out.
    pub received: u64,
    /// Messages evicted before they were read.
    pub lagged: u64,
    /// Messages passed over under [`Policy::Latest`].
    pub conflated: u64,
}

/// One subscriber's place in a room.
///
/// It is a cursor, not a queue: however many there are, a message is stored once, and a subscriber costs a publisher
/// nothing. Dropping it ends it. Reading never blocks a publisher, nor another subscriber.
///
/// # Examples
/// ```
/// use roomcast::{Broker, TryRecvError};
///
/// let broker = Broker::<u64>::builder().capacity(4).build();
/// let room = broker.room("ticks")?;
/// let mut late = room.subscribe().now()?;
/// for tick in 0..20 {
///     room.publish(tick)?;
/// }
/// let Err(TryRecvError::Lagged(missed)) = late.try_recv() else { panic!("a ring of 4 holds no 20") };
/// assert_eq!(late.try_recv(), Ok(missed), "reading goes on with the oldest retained");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscription<T> {
    pub(super) cursor: Cursor<T, RoomRef<T>>,
    waiter: Option<Arc<Waiter>>,
    start: u64,
    lagged: u64,
    extra: Option<Box<Extra>>,
    policy: Policy,
    /// Whether it belongs to a pattern.
    watches: bool,
    /// Whether its end was told: there will be nothing more.
    is_over: bool,
    /// Whether it has slept and not looked since: it may be one of those on whom others rely to be woken.
    has_slept: bool,
    coop: Coop,
}

/// What only those have that resume, or have a policy of their own.
struct Extra {
    resumption: Resumption,
    gate: Option<Arc<Gate>>,
    /// Whether the gate stays where it is until [`Subscription::let_go`].
    holds: bool,
    /// Under [`Policy::Disconnect`]: how far it had fallen behind.
    disconnected: Option<u64>,
    conflated: u64,
}

impl<T> Subscription<T> {
    pub(super) fn begin(room_ref: RoomRef<T>, start: Start, policy: Policy) -> Result<Self, SubscribeError> {
        Self::begin_as(room_ref, start, policy, false)
    }

    fn begin_as(room_ref: RoomRef<T>, start: Start, policy: Policy, watches: bool) -> Result<Self, SubscribeError> {
        if let Some(reason) = room_ref.0.ended() {
            return Err(SubscribeError::Closed(reason));
        }
        let gate = (policy == Policy::Block).then(|| Gate::join(&room_ref));
        let (mut next, mut resumption) = room_ref.0.begin(start);
        if let Some(gate) = &gate {
            // Nothing is skipped while the ring is full neither by count nor by bytes.
            let skipped = gate.shut(&room_ref, next) - next;
            next += skipped;
            resumption = match resumption {
                Resumption::Gap(missed) => Resumption::Gap(missed + skipped),
                Resumption::Resumed if skipped > 0 => Resumption::Gap(skipped),
                told => told,
            };
        }
        // Relaxed: figures.
        match watches {
            true => drop(room_ref.0.watchers.fetch_add(1, Relaxed)),
            false => drop(room_ref.0.subscribers.fetch_add(1, Relaxed)),
        }
        let extra = (policy != Policy::Lag || resumption != Resumption::Fresh)
            .then(|| Box::new(Extra { resumption, gate, holds: false, disconnected: None, conflated: 0 }));
        let cursor = Cursor::new(room_ref, next);
        let (waiter, lagged, is_over, has_slept, coop) = (None, 0, false, false, Coop::default());
        Ok(Self { cursor, waiter, start: next, lagged, extra, policy, watches, is_over, has_slept, coop })
    }

    /// The subscription of a pattern, which does not count as somebody who is interested in this very room.
    pub(super) fn watch(room_ref: RoomRef<T>, start: Start, policy: Policy) -> Option<Self> {
        Self::begin_as(room_ref, start, policy, true).ok()
    }

    fn room_ref(&self) -> &RoomRef<T> {
        self.cursor.holder()
    }

    /// Whether its end was told: there will be nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Its end is to be told once more.
    pub(super) fn begin_anew(&mut self) {
        self.is_over = false;
    }

    /// Whether its room has ended; there may be messages left in it.
    pub(super) fn has_ended(&self) -> bool {
        self.room_ref().0.ended().is_some()
    }

    /// Whether it must not wait here, being in a handler of its own broker.
    pub(super) fn is_on_shard(&self) -> bool {
        is_serving(self.room_ref().0.broker())
    }

    pub(super) fn room_id(&self) -> RoomId {
        self.room_ref().id()
    }

    /// The room.
    pub fn room(&self) -> Room<T> {
        Room::new(self.room_ref().clone())
    }

    /// How it began, compared with the start that was asked for.
    pub fn resumption(&self) -> Resumption {
        self.extra.as_ref().map_or(Resumption::Fresh, |extra| extra.resumption)
    }

    /// Where it stands: give it to [`Start::Resume`] to go on later.
    pub fn position(&self) -> Position {
        Position { epoch: self.room_ref().0.epoch, sequence: self.cursor.next() }
    }

    /// How many messages it is behind the newest.
    pub fn lag(&self) -> u64 {
        self.room_ref().ring().tail().saturating_sub(self.cursor.next())
    }

    /// What has become of its messages so far.
    pub fn accounting(&self) -> Accounting {
        let end = self.cursor.next();
        let conflated = self.extra.as_ref().map_or(0, |extra| extra.conflated);
        Accounting {
            start: self.start,
            end,
            received: end - self.start - self.lagged - conflated,
            lagged: self.lagged,
            conflated,
        }
    }

    /// How many consecutive messages can be taken, or why none.
    #[inline]
    pub(super) fn look(&mut self, max: usize) -> Result<usize, TryRecvError> {
        match self.cursor.ready() >= max && max > 0 {
            true => Ok(max),
            false => self.look_slow(max),
        }
    }

    /// The same where not so many are known to be there: once per run at most.
    #[inline(never)]
    fn look_slow(&mut self, max: usize) -> Result<usize, TryRecvError> {
        if max == 0 {
            return Err(TryRecvError::Empty);
        }
        self.help_if_woken();
        // What was lent before has been read by now: `&mut self` ended that loan.
        self.pass_gate();
        if self.policy != Policy::Lag {
            return self.look_by_policy(max);
        }
        self.cursor.look(max).map_err(|nothing| self.nothing(nothing))
    }

    /// Wakes some of those who are left to the woken, at the first look behind a sleep: who always finds something never
    /// comes to sleep again.
    #[inline]
    fn help_if_woken(&mut self) {
        if std::mem::take(&mut self.has_slept) {
            self.room_ref().0.help();
        }
    }

    /// [`Coop::proceed`]. Who yields helps, too: it may have been woken when it had looked already.
    #[inline]
    fn proceed(&mut self, context: &Context<'_>) -> Poll<()> {
        let proceeds = self.coop.proceed(context);
        if proceeds.is_pending() {
            self.room_ref().0.help();
        }
        proceeds
    }

    #[cold]
    #[inline(never)]
    fn nothing(&mut self, nothing: Nothing) -> TryRecvError {
        match nothing {
            Nothing::Empty => TryRecvError::Empty,
            Nothing::Closed => {
                self.is_over = true;
                self.room_ref().0.help_last(self.waiter.as_deref());
                TryRecvError::Closed(self.room_ref().0.reason())
            }
            Nothing::Lagged(missed) if self.policy == Policy::Disconnect => {
                self.is_over = true;
                self.room_ref().0.help_last(self.waiter.as_deref());
                self.count_lagged(missed);
                if let Some(extra) = &mut self.extra {
                    extra.disconnected = Some(missed);
                }
                self.cursor.end_lease();
                TryRecvError::Disconnected(missed)
            }
            Nothing::Lagged(missed) => {
                self.count_lagged(missed);
                TryRecvError::Lagged(missed)
            }
        }
    }

    fn count_lagged(&mut self, missed: u64) {
        self.lagged += missed;
        self.room_ref().count_lagged(missed);
    }

    fn look_by_policy(&mut self, max: usize) -> Result<usize, TryRecvError> {
        if let Some(missed) = self.extra.as_ref().and_then(|extra| extra.disconnected) {
            self.is_over = true;
            return Err(TryRecvError::Disconnected(missed));
        }
        if self.policy != Policy::Latest {
            return self.cursor.look(max).map_err(|nothing| self.nothing(nothing));
        }
        // The newest segment first, then the newest message of its committed run.
        let newest = self.room_ref().ring().tail().saturating_sub(1);
        let shape = self.room_ref().ring().shape();
        self.skip_to(shape.first(shape.generation(newest)));
        loop {
            match self.cursor.look(usize::MAX) {
                Ok(run) => {
                    self.skip_to(self.cursor.next() + run as u64 - 1);
                    return Ok(1);
                }
                // What was evicted would have been passed over anyway.
                Err(Nothing::Lagged(missed)) => self.conflate(missed),
                Err(nothing) => return Err(self.nothing(nothing)),
            }
        }
    }

    fn skip_to(&mut self, sequence: u64) {
        let skipped = self.cursor.skip_to(sequence);
        self.conflate(skipped);
    }

    fn conflate(&mut self, messages: u64) {
        if let Some(extra) = &mut self.extra {
            extra.conflated += messages;
        }
    }

    /// Has the room keep what this *block* subscriber reads from now on, until it is let go.
    #[cfg(feature = "store")]
    pub(crate) fn hold(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.holds = true;
        }
    }

    /// Lets what was read before `end` be evicted.
    #[cfg(feature = "store")]
    pub(crate) fn let_go(&mut self, end: u64) {
        if let Some(Extra { gate: Some(gate), .. }) = self.extra.as_deref() {
            gate.pass(self.room_ref(), end.min(self.cursor.next()));
        }
    }

    /// Tells the publishers how far a *block* subscriber has come, once per segment.
    #[inline]
    fn pass_gate(&self) {
        if let Some(Extra { gate: Some(gate), holds: false, .. }) = self.extra.as_deref() {
            gate.pass(self.room_ref(), self.cursor.next());
        }
    }

    /// Receives up to `max` consecutive messages by reference, as one slice. Slices end at segment borders, so a short one
    /// does not mean that there is no more.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] when there is nothing yet; the others as [`Subscription::recv_ref`].
    ///
    /// # Examples
    /// ```
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u64>::new();
    /// let room = broker.room("numbers")?;
    /// let mut numbers = room.subscribe().now()?;
    /// for number in 0..10 {
    ///     room.publish(number)?;
    /// }
    /// let run = numbers.try_recv_batch(4)?;
    /// assert_eq!((run.first_sequence(), &*run), (0, &[0, 1, 2, 3][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_recv_batch(&mut self, max: usize) -> Result<Batch<'_, T>, TryRecvError> {
        let run = self.look(max)?;
        Ok(self.take(run))
    }

    /// Lends what `look` has just found.
    #[inline]
    pub(super) fn take(&mut self, run: usize) -> Batch<'_, T> {
        let run = self.cursor.take(run);
        Batch { first: run.first, messages: run.messages, times: run.times }
    }

    /// Receives the next message by reference, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] when there is nothing yet; the others as [`Subscription::recv_ref`].
    #[inline]
    pub fn try_recv_ref(&mut self) -> Result<Ref<'_, T>, TryRecvError> {
        if !self.cursor.is_ready() {
            self.look_slow(1)?;
        }
        Ok(self.take_found())
    }

    /// Lends the one message that was just found.
    #[inline]
    pub(super) fn take_found(&mut self) -> Ref<'_, T> {
        let Some((sequence, message, time)) = self.cursor.take_ready() else {
            unreachable!("`look` has found a message")
        };
        Ref { sequence, time, message }
    }

    /// Receives a clone of the next message, if there is one.
    ///
    /// # Errors
    /// As [`Subscription::try_recv_ref`].
    ///
    /// # Panics
    /// When `T::clone` panics; the message then counts as received.
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError>
    where
        T: Clone,
    {
        self.try_recv_ref().map(|message| T::clone(&message))
    }

    /// Whether the next `try_recv*` would return something other than `Empty`; if not, `context` is woken when that may
    /// have changed. Only the last context is remembered. Now and then pending although there is something, and woken at
    /// once, so that other tasks have their turn.
    pub fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.proceed(context));
        let polled = self.poll_found(context);
        self.coop.note(polled)
    }

    /// Whether a message can be taken, and nothing else need be looked at: the short way of a poll.
    #[inline(always)]
    pub(super) fn finds_at_once(&mut self) -> bool {
        self.cursor.is_ready() && self.coop.finds_at_once()
    }

    /// How many consecutive messages can be taken, or why none, waiting for them.
    pub(super) fn poll_look(&mut self, max: usize, context: &mut Context<'_>) -> Poll<Result<usize, RecvError>> {
        ready!(self.proceed(context));
        let polled = self.poll_look_unbudgeted(max, context);
        self.coop.note(polled)
    }

    /// The same for somebody who has nobody beside.
    pub(super) fn poll_look_unbudgeted(
        &mut self,
        max: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, RecvError>> {
        loop {
            match self.look(max) {
                Ok(run) => return Poll::Ready(Ok(run)),
                Err(error) => {
                    if let Some(error) = error.into_recv_error() {
                        return Poll::Ready(Err(error));
                    }
                }
            }
            ready!(self.poll_found(context));
        }
    }

    /// [`Subscription::poll_readable`] whenever there is something.
    #[inline(never)]
    pub(super) fn poll_found(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.extra.as_ref().is_some_and(|extra| extra.disconnected.is_some()) {
            return Poll::Ready(());
        }
        self.help_if_woken();
        self.pass_gate();
        if self.policy == Policy::Latest {
            // What may be conflated is no reason to be woken; what comes after it is.
            let newest = self.room_ref().ring().tail().saturating_sub(1);
            let shape = self.room_ref().ring().shape();
            self.skip_to(shape.first(shape.generation(newest)));
        }
        if self.cursor.peek() {
            return Poll::Ready(());
        }
        let room_ref = self.cursor.holder();
        room_ref.0.help();
        room_ref.0.bell.park(self.waiter.get_or_insert_with(Waiter::new), context.waker(), self.cursor.next());
        room_ref.ring().arm();
        // SeqCst: our arming before our second look. Pairs with the fences of publisher, installer and closer.
        // model: publish_park, evicted_hole_park, close_park
        fence(SeqCst);
        match self.cursor.rest() {
            Rest::Asleep => {
                self.has_slept = true;
                Poll::Pending
            }
            Rest::Ready => Poll::Ready(()),
            Rest::Imminent => {
                spin_loop();
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Receives the next message by reference, waiting for it.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] says how many messages were missed; the next call goes on. [`RecvError::Closed`] comes when
    /// everything in an ended room was read, [`RecvError::Disconnected`] under [`Policy::Disconnect`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message is lost.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::{Broker, RecvError, CloseReason};
    ///
    /// struct NotClone(u8);
    ///
    /// let broker = Broker::<NotClone>::new();
    /// let room = broker.room("lobby")?;
    /// let mut subscription = room.subscribe().now()?;
    /// room.publish(NotClone(7))?;
    /// room.close();
    /// assert_eq!(subscription.recv_ref().await?.0, 7, "what is in the ring is still read");
    /// assert_eq!(subscription.recv_ref().await.map(|_| ()), Err(RecvError::Closed(CloseReason::Closed)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn recv_ref(&mut self) -> RecvRef<'_, T> {
        RecvRef::new(self)
    }

    /// Receives up to `max` consecutive messages by reference, waiting for the first. Ready at once, with an empty batch,
    /// where `max` is 0.
    ///
    /// # Errors
    /// As [`Subscription::recv_ref`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message is lost.
    pub fn recv_batch(&mut self, max: usize) -> RecvBatch<'_, T> {
        RecvBatch::new(self, max)
    }

    /// Receives a clone of the next message, waiting for it.
    ///
    /// # Errors
    /// As [`Subscription::recv_ref`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, no message is lost.
    ///
    /// # Panics
    /// When `T::clone` panics; the message then counts as received.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv::new(self)
    }

    /// Ends the subscription. When the future is ready, nothing arrives any more and nothing of it is left in the room.
    pub fn unsubscribe(self) -> Unsubscribe {
        drop(self);
        std::future::ready(())
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        let core = &self.cursor.holder().0;
        if self.watches {
            // Relaxed: a figure.
            core.watchers.fetch_sub(1, Relaxed);
        } else {
            core.leave();
        }
        if let Some(Extra { gate: Some(gate), .. }) = self.extra.as_deref() {
            Gate::leave(gate, self.cursor.holder());
        }
        // Last, since it drops a waker, which may panic: a gate left behind would hold publishers up for ever.
        if let Some(waiter) = &self.waiter {
            core.abandon(waiter);
        }
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("room", &self.room_ref().0.name)
            .field("next", &self.cursor.next())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
