//! Subscribers that a shard serves: the handler, its joining and its leaving.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Room;
use super::ack::{Ack, Outcome, Promise};
use super::core::RoomRef;
use super::inbox::{Action, ShardInbox, is_serving};
use crate::error::{CloseReason, SubscribeError};
use crate::message::{Batch, Ref, Start};
use crate::sync::{AcqRel, Acquire, Arc, AtomicBool, AtomicU64, Relaxed, Release, guard};

/// What a shard runs for the messages of a room. Any `FnMut(Ref<'_, T>) + Send` is one: see [`Room::subscribe_with`] and
/// [`Room::subscribe_handler`].
///
/// A slow one holds up the others of its shard, and nobody else. When the shard has fallen a whole ring behind, each is told
/// how much it missed and goes on with the oldest retained. A handler has no other [`Policy`](crate::Policy), since a shard
/// reads a room once for all of them: what must miss nothing, or wants the newest alone, pulls on a task or thread of its own.
///
/// A handler that panics is removed and reported in the log and in
/// [`ShardStats::panics`](crate::ShardStats::panics). It must not wait for its own broker.
pub trait Handler<T>: Send + 'static {
    /// One message.
    fn message(&mut self, message: Ref<'_, T>);

    /// A run of messages; calls [`Handler::message`] for each unless you do better.
    fn messages(&mut self, batch: Batch<'_, T>) {
        for message in batch.refs() {
            self.message(message);
        }
    }

    /// That many messages were missed, because the shard fell a whole ring behind.
    fn lagged(&mut self, missed: u64) {
        let _ = missed;
    }

    /// Nothing follows: the room has ended and everything in it was handled, or the runtime of the shard has ended
    /// ([`CloseReason::ShardGone`]).
    fn closed(&mut self, reason: CloseReason) {
        let _ = reason;
    }
}

impl<T, F: FnMut(Ref<'_, T>) + Send + 'static> Handler<T> for F {
    #[inline]
    fn message(&mut self, message: Ref<'_, T>) {
        self(message);
    }
}

/// A handler on its way to a shard.
pub(crate) struct Join<T> {
    pub(crate) room_ref: RoomRef<T>,
    pub(crate) start: Start,
    pub(crate) handler: Box<dyn Handler<T>>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) promise: Promise,
}

impl<T> Join<T> {
    /// Drops a handler that does not get its seat, on a thread that is not its owner's: its panic stays here.
    pub(crate) fn refuse(self) {
        let Self { room_ref, handler, .. } = self;
        if let Err(panic) = guard(|| drop(handler)) {
            tracing::error!(room = &*room_ref.0.name, panic = panic.text(), "the drop of a handler panicked");
        }
    }
}

/// A handler that is to go.
pub(crate) struct Leave<T> {
    pub(crate) room_ref: RoomRef<T>,
    pub(crate) member: usize,
    pub(crate) seat: Arc<Seat>,
    /// Whether it is to be given messages up to where its seat says before; at once if not.
    pub(crate) drains: bool,
    pub(crate) promise: Option<Promise>,
}

impl<T> Leave<T> {
    /// Answers for a handler that is not there any more: one that was to be drained may have gone before it was, and then
    /// its promise is broken by dropping it.
    pub(crate) fn answer(self) {
        if let Some(promise) = self.promise.filter(|_| !self.drains || self.seat.was_drained()) {
            promise.keep();
        }
    }
}

/// Where a handler sits in its shard, known to its owner and to the shard.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The shard's key, written before the acknowledgement.
    member: AtomicU64,
    /// Cleared when the handler is removed, for whatever reason.
    taken: AtomicBool,
    /// The sequence of the first message that it is not to be given. Here, so that its shard knows in the midst of a turn.
    end: AtomicU64,
    /// Whether it was given everything before that, and was removed.
    drained: AtomicBool,
}

impl Seat {
    fn new() -> Arc<Self> {
        let (taken, drained) = (AtomicBool::new(true), AtomicBool::new(false));
        Arc::new(Self { member: AtomicU64::new(0), taken, end: AtomicU64::new(u64::MAX), drained })
    }

    pub(crate) fn assign(&self, member: usize) {
        // Release: pairs with `member`.
        self.member.store(member as u64, Release);
    }

    fn member(&self) -> usize {
        // Acquire: pairs with `assign`.
        self.member.load(Acquire) as usize
    }

    /// The sequence of the first message that it is not to be given. To be asked after a look at the messages.
    pub(crate) fn end(&self) -> u64 {
        // Relaxed: written before what is published after `drain`, whose commit the look has acquired.
        self.end.load(Relaxed)
    }

    pub(crate) fn note_drained(&self) {
        // Relaxed: for the shard itself.
        self.drained.store(true, Relaxed);
    }

    fn was_drained(&self) -> bool {
        // Relaxed: as above. Where the shard is gone, ordered by the mark that says so.
        self.drained.load(Relaxed)
    }

    pub(crate) fn vacate(&self) {
        // AcqRel: what the handler did is seen by whoever finds the seat empty. Pairs with `is_taken`.
        self.taken.swap(false, AcqRel);
    }

    fn is_taken(&self) -> bool {
        // Acquire: pairs with `vacate`.
        self.taken.load(Acquire)
    }
}

/// The future of [`Room::subscribe_with`] and [`Room::subscribe_handler`].
#[must_use = "futures do nothing unless polled"]
pub struct SubscribeWith<T> {
    room_ref: RoomRef<T>,
    state: State<T>,
}

enum State<T> {
    New(Start, Box<dyn Handler<T>>),
    Waiting { ack: Arc<Ack>, seat: Arc<Seat>, inbox: Arc<ShardInbox<T>> },
    Done,
}

impl<T> SubscribeWith<T> {
    pub(super) fn new(room_ref: RoomRef<T>, start: Start, handler: Box<dyn Handler<T>>) -> Self {
        Self { room_ref, state: State::New(start, handler) }
    }

    fn send(&mut self, start: Start, handler: Box<dyn Handler<T>>) -> Result<(), SubscribeError> {
        let shared = &self.room_ref.0.shared;
        let count = shared.inboxes.len();
        // Relaxed: any spread will do.
        let turn = shared.next_shard.fetch_add(1, Relaxed) as usize;
        let number = (0..count).map(|step| (turn + step) % count).find(|&number| shared.start(number));
        let inbox = shared.inboxes[number.ok_or(SubscribeError::NoShard)?].clone();
        let (ack, promise) = Ack::pair();
        let seat = Seat::new();
        let join = Join { room_ref: self.room_ref.clone(), start, handler, seat: seat.clone(), promise };
        inbox.post(Action::Join(Box::new(join)));
        self.state = State::Waiting { ack, seat, inbox };
        Ok(())
    }
}

impl<T> Future for SubscribeWith<T> {
    type Output = Result<HandlerSubscription<T>, SubscribeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if is_serving(self.room_ref.0.broker()) {
            return Poll::Ready(Err(SubscribeError::OnShard));
        }
        if let State::New(..) = self.state {
            if let Some(reason) = self.room_ref.0.ended() {
                return Poll::Ready(Err(SubscribeError::Closed(reason)));
            }
            if let State::New(start, handler) = std::mem::replace(&mut self.state, State::Done) {
                self.send(start, handler)?;
            }
        }
        let State::Waiting { ack, .. } = &self.state else { panic!("polled after it was ready") };
        let outcome = std::task::ready!(ack.poll(context));
        let State::Waiting { seat, inbox, .. } = std::mem::replace(&mut self.state, State::Done) else {
            unreachable!("it was waiting a moment ago")
        };
        Poll::Ready(match outcome {
            Outcome::Done => Ok(HandlerSubscription { room_ref: self.room_ref.clone(), seat, inbox, left: false }),
            Outcome::Failed => Err(self.room_ref.0.ended().map_or(SubscribeError::NoShard, SubscribeError::Closed)),
        })
    }
}

impl<T> Unpin for SubscribeWith<T> {}

impl<T> Drop for SubscribeWith<T> {
    fn drop(&mut self) {
        if let State::Waiting { ack, seat, inbox } = &self.state
            && ack.cancel()
        {
            leave(&self.room_ref, seat, inbox, false, None);
        }
    }
}

impl<T> fmt::Debug for SubscribeWith<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeWith").field("room", &self.room_ref.0.name).finish_non_exhaustive()
    }
}

/// A handler that a shard serves. Dropping it removes the handler soon; [`HandlerSubscription::unsubscribe`] says when.
#[must_use = "dropping it removes the handler"]
pub struct HandlerSubscription<T> {
    room_ref: RoomRef<T>,
    seat: Arc<Seat>,
    inbox: Arc<ShardInbox<T>>,
    left: bool,
}

impl<T> HandlerSubscription<T> {
    /// The room.
    pub fn room(&self) -> Room<T> {
        Room::new(self.room_ref.clone())
    }

    /// Whether the handler is still served: it has not panicked and the room has not ended.
    pub fn is_running(&self) -> bool {
        self.seat.is_taken()
    }

    /// Removes the handler at once: what was published and not handled yet is not handled. When the future is ready, it has
    /// been dropped and is not called any more. [`HandlerSubscription::drain`] lets it finish.
    ///
    /// # Panics
    /// When it is awaited in a handler of the same broker, which must not wait for itself; drop the `HandlerSubscription` there, which
    /// removes the handler as well.
    ///
    /// # Cancel safety
    /// The handler is removed even if the future is dropped.
    pub async fn unsubscribe(mut self) {
        let ack = self.leave(false);
        left(&ack, self.room_ref.0.broker()).await;
    }

    /// Removes the handler when it was given everything published before this call, and nothing that is published after
    /// it. When the future is ready, it has been dropped and is not called any more; true if it was given all of it, or
    /// told what it missed, and false if it had gone before: it has panicked, was told the end of the room, or its shard
    /// is gone.
    ///
    /// # Panics
    /// When it is awaited in a handler of the same broker, which must not wait for itself; drop the future there.
    ///
    /// # Cancel safety
    /// The handler finishes and is removed even if the future is dropped.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("jobs")?;
    /// let (done, all) = std::sync::mpsc::channel();
    /// let worker = room.subscribe_with(move |job| drop(done.send(*job))).await?;
    /// room.publish_all(0..100)?;
    /// let draining = worker.drain();
    /// assert!(draining.await);
    /// room.publish(100)?;
    /// assert!(all.iter().eq(0..100), "all that came before, and the handler is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn drain(mut self) -> impl Future<Output = bool> + Send {
        // Relaxed: see `Seat::end`.
        self.seat.end.store(self.room_ref.ring().tail(), Relaxed);
        let ack = self.leave(true);
        let broker = self.room_ref.0.broker();
        async move { left(&ack, broker).await == Outcome::Done }
    }

    fn leave(&mut self, drains: bool) -> Arc<Ack> {
        let (ack, promise) = Ack::pair();
        self.left = true;
        leave(&self.room_ref, &self.seat, &self.inbox, drains, Some(promise));
        ack
    }
}

/// Waits until a handler of the broker at this address has left.
async fn left(ack: &Ack, broker: usize) -> Outcome {
    assert!(!is_serving(broker), "a handler must not wait for its own broker");
    std::future::poll_fn(|context| ack.poll(context)).await
}

impl<T> Drop for HandlerSubscription<T> {
    fn drop(&mut self) {
        if !self.left {
            leave(&self.room_ref, &self.seat, &self.inbox, false, None);
        }
    }
}

fn leave<T>(
    room_ref: &RoomRef<T>,
    seat: &Arc<Seat>,
    inbox: &Arc<ShardInbox<T>>,
    drains: bool,
    promise: Option<Promise>,
) {
    // In a process that was forked off nobody would ever take the call.
    if (seat.is_taken() || promise.is_some()) && !inbox.is_elsewhere() {
        if drains {
            inbox.begin_drain();
        }
        let (member, seat, room_ref) = (seat.member(), seat.clone(), room_ref.clone());
        inbox.post(Action::Leave(Leave { room_ref, member, seat, drains, promise }));
    }
}

impl<T> fmt::Debug for HandlerSubscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerSubscription")
            .field("room", &self.room_ref.0.name)
            .field("running", &self.is_running())
            .finish_non_exhaustive()
    }
}
