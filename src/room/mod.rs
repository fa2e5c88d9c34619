//! The safe face of one room.

mod ack;
mod blocking;
mod coop;
mod core;
mod found;
mod gate;
mod inbox;
mod join;
mod left;
mod lifecycle;
mod pattern;
mod publisher;
mod recv;
mod rewrite;
mod set;
mod subscription;
mod table;
mod wait;
#[cfg(not(roomcast_loom))]
mod weak;

use std::collections::VecDeque;
use std::fmt;

pub(crate) use self::ack::Promise;
pub(crate) use self::core::{RoomCore, RoomId, RoomRef, Shared, StartShard};
pub(crate) use self::inbox::{Action, ShardEntry, ShardInbox, is_serving, serving};
pub use self::join::{Handler, HandlerSubscription, SubscribeWith};
pub(crate) use self::join::{Join, Leave, Seat};
pub use self::lifecycle::{Closed, Vacated};
pub(crate) use self::pattern::{Glob, Names, PatternShared};
pub use self::pattern::{PassedOver, PatternSubscription};
pub use self::publisher::Publisher;
use self::publisher::may_wait;
pub use self::recv::{Recv, RecvBatch, RecvRef};
pub use self::rewrite::Rewritten;
pub use self::set::{RoomKey, RoomSet};
pub use self::subscription::{Accounting, Subscribe, Subscription, Unsubscribe};
pub(crate) use self::table::{Added, Table};
pub use self::wait::{PublishWait, RoomSink};
#[cfg(not(roomcast_loom))]
pub use self::weak::WeakRoom;

use crate::config::Policy;
use crate::error::{CloseReason, PublishError};
use crate::message::{Epoch, Ref, Start};
use crate::ring::Refusal;
use crate::sync::Relaxed;

/// A handle on one room. Cheap to clone; any number of threads may publish and subscribe through their own or one shared.
///
/// A room lives until it is closed, removed, or its broker is dropped; handles that outlive it return errors.
pub struct Room<T> {
    pub(crate) room_ref: RoomRef<T>,
}

impl<T> Room<T> {
    pub(crate) fn new(room_ref: RoomRef<T>) -> Self {
        Self { room_ref }
    }

    fn core(&self) -> &RoomCore<T> {
        &self.room_ref.0
    }

    /// The name it was opened by.
    pub fn name(&self) -> &str {
        &self.core().name
    }

    /// The identity of this incarnation of the room.
    pub fn epoch(&self) -> Epoch {
        self.core().epoch
    }

    /// Publishes a message to everybody subscribed and returns its sequence.
    ///
    /// `Ok` means that the message is in the ring, not that anyone has read it: a subscriber that falls a whole ring
    /// behind misses it and is told so.
    ///
    /// # Guarantees
    /// Never waits for a subscriber and takes no lock. Lock-free, whatever the others do, also once per segment (every 64
    /// messages in a room of the usual capacity), when the publisher replaces the oldest one; only the allocator may lock,
    /// while the room still grows. Costs the same with no subscriber and with 100,000 who are awake. Of those who sleep up
    /// to 512 are woken, some 30 ns for a task and ten microseconds for a thread; they wake the others as soon as they
    /// run, and so does a shard. Everybody receives the messages of a room in the order of their sequences. Between the
    /// claim of a sequence and its commit, a few instructions, later messages wait for this one to be seen.
    ///
    /// # Errors
    /// The message comes back when the room has ended, when a [`Policy::Block`](crate::Policy::Block) subscriber would be
    /// overrun, when the message is too large for the room's byte budget, or, [`PublishError::Pinned`], when readers have
    /// stopped in 65,535 different places of it and keep what they stand in.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, PublishError};
    ///
    /// let broker = Broker::<&str>::new();
    /// let room = broker.room("lobby")?;
    /// assert_eq!(room.publish("first")?, 0);
    /// assert_eq!(room.publish("second")?, 1);
    /// room.close();
    /// assert_eq!(room.publish("third"), Err(PublishError::Closed("third")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn publish(&self, message: T) -> Result<u64, PublishError<T>> {
        if !self.room_ref.ring().is_fast() {
            return self.publish_slow(message);
        }
        self.room_ref
            .ring()
            .publish_fast(message, &self.room_ref)
            .map_err(|(refusal, message)| self.room_ref.refused(refusal, message))
    }

    /// Publishes where there is a clock or a byte budget, or says that the room is exclusive.
    #[inline(never)]
    fn publish_slow(&self, message: T) -> Result<u64, PublishError<T>> {
        self.publish_at(message, self.core().now())
    }

    /// Publishes a message that was published before, in another process perhaps, at `time` on the broker's clock: for who makes a
    /// room anew that is to go on where another one has ended ([`RoomOptions::starting_at`](crate::RoomOptions::starting_at)).
    /// Without a clock it is [`Room::publish`].
    ///
    /// Within a room times never fall: the message is not earlier than the one before it.
    ///
    /// # Errors
    /// As [`Room::publish`].
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Start};
    ///
    /// let broker = Broker::<&str>::builder().clock(|| 70).build();
    /// let room = broker.room("lobby")?;
    /// room.publish_at("yesterday", 40)?;
    /// room.publish("today")?;
    /// let mut all = room.subscribe_from(Start::Oldest).now()?;
    /// assert_eq!(all.try_recv_ref()?.time(), Some(40));
    /// assert_eq!(all.try_recv_ref()?.time(), Some(70));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_at(&self, message: T, time: u64) -> Result<u64, PublishError<T>> {
        if self.room_ref.ring().is_exclusive() {
            return Err(PublishError::Exclusive(message));
        }
        self.room_ref
            .ring()
            .publish(message, time, &self.room_ref)
            .map_err(|(refusal, message)| self.room_ref.refused(refusal, message))
    }

    /// Publishes messages in order, with one claim for each segment they fill, and returns the sequences from the first to
    /// the last of them.
    ///
    /// Cheaper than one by one from a few messages on. Those that share a segment follow each other directly; between two
    /// segments messages of other publishers may come, whose sequences then lie in the range as well. In rooms with a byte
    /// budget each message is claimed by itself. The iterator is asked for what fills a segment, 64 messages in a room of
    /// the usual capacity, before those are published: it may be without end, and one that waits for more keeps the ones
    /// before waiting.
    ///
    /// # Errors
    /// As [`Room::publish`]. What was taken from the iterator and not published comes back, a segment's worth at most; what
    /// came before it is published. The rest is still in the iterator: lend it (`by_ref`) and you have it.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Policy, PublishError};
    ///
    /// let broker = Broker::<u32>::builder().capacity(4).build();
    /// let room = broker.room("numbers")?;
    /// let mut numbers = room.subscribe().now()?;
    /// assert_eq!(room.publish_all([1, 2, 3])?, 0..3);
    /// assert_eq!((numbers.try_recv()?, numbers.try_recv()?, numbers.try_recv()?), (1, 2, 3));
    ///
    /// // A room that takes no more says so, and nothing is lost.
    /// let _blocking = room.subscribe().policy(Policy::Block).now()?;
    /// let mut more = 4..1_000_000_000;
    /// let Err(PublishError::Full(back)) = room.publish_all(more.by_ref()) else { panic!("nobody reads") };
    /// assert_eq!(back.into_iter().chain(more).next(), Some(room.tail() as u32 + 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_all(
        &self,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<std::ops::Range<u64>, PublishError<Vec<T>>> {
        let mut source = messages.into_iter().fuse();
        let slots = self.room_ref.ring().shape().slots() as usize;
        let mut taken = VecDeque::new();
        if self.room_ref.ring().is_exclusive() {
            // It takes none, so none is waited for.
            let surely = source.size_hint().0.min(slots);
            return Err(PublishError::Exclusive(source.take(surely).collect()));
        }
        let mut range: Option<std::ops::Range<u64>> = None;
        loop {
            if may_wait(&source) && self.room_ref.ring().is_closed() {
                return Err(self.room_ref.refused(Refusal::Closed, taken.into()));
            }
            // Taken before it is claimed: no code of the caller's may run between a claim and its commit.
            taken.extend(source.by_ref().take(slots - taken.len()));
            if taken.is_empty() {
                let tail = self.tail();
                return Ok(range.unwrap_or(tail..tail));
            }
            match self.room_ref.ring().publish_batch(&mut taken, self.core().now(), &self.room_ref) {
                Ok((first, count)) => range = Some(range.map_or(first, |range| range.start)..first + count),
                Err(refusal) => return Err(self.room_ref.refused(refusal, taken.into())),
            }
        }
    }

    /// Publishes, waiting while a [`Policy::Block`](crate::Policy::Block) subscriber keeps the room full.
    ///
    /// # Errors
    /// As [`Room::publish`], without [`PublishError::Full`]: it waits for *block* subscribers and for nobody else.
    /// [`PublishError::OnShard`] in a handler of the same broker, which must not wait for itself.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing was published; the message is dropped with it.
    pub fn publish_wait(&self, message: T) -> PublishWait<'_, T> {
        PublishWait::shared(self, message)
    }

    /// The room as a [`Sink`](futures_sink::Sink), to be fed by a stream.
    pub fn sink(&self) -> RoomSink<T> {
        RoomSink::new(self.clone())
    }

    /// Subscribes to what is published from now on; [`Room::subscribe_from`] with [`Start::Latest`].
    ///
    /// Nothing is waited for: [`Subscribe::now`] subscribes at once, anywhere, and awaiting it does the same in an `async`
    /// block.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::{Broker, Policy};
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("numbers")?;
    /// let mut numbers = room.subscribe().now()?;
    /// let mut newest = room.subscribe().policy(Policy::Latest).await?;
    /// room.publish_all([1, 2, 3])?;
    /// assert_eq!((numbers.try_recv()?, newest.try_recv()?), (1, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn subscribe(&self) -> Subscribe<T> {
        self.subscribe_from(Start::Latest)
    }

    /// Subscribes from `start`: at once, with [`Subscribe::now`]. As a future it is ready at its first poll, without a
    /// thread hop.
    ///
    /// # Guarantees
    /// Every publish that begins after the future is ready is delivered or counted as lag. Costs the same however many
    /// others are subscribed, and no publisher notices it. A future dropped before it is polled leaves nothing behind.
    ///
    /// # Errors
    /// The future fails when the room has ended.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Start};
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("numbers")?;
    /// room.publish(1)?;
    /// let mut all = room.subscribe_from(Start::Oldest).now()?;
    /// let mut new = room.subscribe().now()?;
    /// room.publish(2)?;
    /// assert_eq!((all.try_recv(), all.try_recv()), (Ok(1), Ok(2)));
    /// assert_eq!(new.try_recv(), Ok(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe_from(&self, start: Start) -> Subscribe<T> {
        Subscribe::new(self.clone(), start)
    }

    /// Has a shard run `handler`, a closure that takes a [`Ref`], for every message published from now on.
    ///
    /// The cheapest way to serve many: one wake-up per shard and burst, whatever the number of handlers. A handler that
    /// panics is removed and reported; others are not affected. A handler must not wait for its own broker. What wants runs
    /// of messages, or to know of lag and of the end, is a [`Handler`]: see [`Room::subscribe_handler`].
    ///
    /// # Errors
    /// The future fails when the room has ended, and in a handler of the same broker, which must not wait for itself.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it leaves no member behind.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("numbers")?;
    /// let (seen, all) = mpsc::channel();
    /// let served = futures::executor::block_on(room.subscribe_with(move |message| {
    ///     let _ = seen.send((message.sequence(), *message));
    /// }))?;
    /// room.publish(7)?;
    /// assert_eq!(all.recv()?, (0, 7));
    /// futures::executor::block_on(served.unsubscribe());
    /// room.publish(8)?;
    /// assert!(all.recv().is_err(), "after the acknowledgement nothing arrives, and the handler is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe_with(&self, handler: impl FnMut(Ref<'_, T>) + Send + 'static) -> SubscribeWith<T> {
        self.subscribe_handler(handler)
    }

    /// [`Room::subscribe_with`] from another start.
    ///
    /// # Errors
    /// As [`Room::subscribe_with`].
    pub fn subscribe_with_from(
        &self,
        start: Start,
        handler: impl FnMut(Ref<'_, T>) + Send + 'static,
    ) -> SubscribeWith<T> {
        self.subscribe_handler_from(start, handler)
    }

    /// [`Room::subscribe_with`] for a [`Handler`] of your own, which may take messages in runs and is told of lag and of
    /// the room's end.
    ///
    /// # Errors
    /// As [`Room::subscribe_with`].
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use roomcast::{Batch, Broker, CloseReason, Handler, Ref};
    ///
    /// /// Adds up what it is given, and says so at the end.
    /// struct Sum(u64, mpsc::Sender<u64>);
    ///
    /// impl Handler<u64> for Sum {
    ///     fn message(&mut self, number: Ref<'_, u64>) {
    ///         self.0 += *number;
    ///     }
    ///
    ///     fn messages(&mut self, numbers: Batch<'_, u64>) {
    ///         self.0 += numbers.iter().map(|(_, _, number)| number).sum::<u64>();
    ///     }
    ///
    ///     fn closed(&mut self, _: CloseReason) {
    ///         let _ = self.1.send(self.0);
    ///     }
    /// }
    ///
    /// let broker = Broker::<u64>::new();
    /// let room = broker.room("numbers")?;
    /// let (tell, told) = mpsc::channel();
    /// let served = futures::executor::block_on(room.subscribe_handler(Sum(0, tell)))?;
    /// room.publish_all([1, 2, 3])?;
    /// room.close();
    /// assert_eq!(told.recv()?, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe_handler(&self, handler: impl Handler<T>) -> SubscribeWith<T> {
        self.subscribe_handler_from(Start::Latest, handler)
    }

    /// [`Room::subscribe_handler`] from another start.
    ///
    /// # Errors
    /// As [`Room::subscribe_with`].
    pub fn subscribe_handler_from(&self, start: Start, handler: impl Handler<T>) -> SubscribeWith<T> {
        SubscribeWith::new(self.room_ref.clone(), start, Box::new(handler))
    }

    /// The sequence the next message will get, which is the number of messages published so far, in earlier incarnations
    /// that the room goes on from ([`RoomOptions::starting_at`](crate::RoomOptions::starting_at)) too. May be out of date the
    /// moment it is returned.
    pub fn tail(&self) -> u64 {
        self.room_ref.ring().tail()
    }

    /// The oldest sequence retained; the tail when there is none.
    pub fn oldest(&self) -> u64 {
        self.room_ref.ring().oldest()
    }

    /// Lets go of the oldest messages while those before the newest 64 or so (it is whole segments that go) weigh more than `bytes`, in
    /// a room with a byte budget: for who has many rooms and not enough memory for all. In one without, nothing happens.
    ///
    /// Subscribers that have not read them are told of lag. What a [`Policy::Block`](crate::Policy::Block) subscriber has not read
    /// stays, and what is older is let go as far as that; one that joins at this moment begins behind what goes. Messages that nobody
    /// reads at this moment are dropped before the call returns, on the thread that calls; what a slow reader or a shard
    /// stands in is dropped later ([`RoomStats::bytes_held`]).
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, TryRecvError};
    ///
    /// let broker = Broker::builder().bytes_max(1 << 20, Vec::len).build();
    /// let room = broker.room("pictures")?;
    /// let mut slow = room.subscribe().now()?;
    /// for _ in 0..200 {
    ///     room.publish(vec![0; 1_000])?;
    /// }
    /// room.trim(0);
    /// assert_eq!(room.oldest(), 192);
    /// assert_eq!(slow.try_recv(), Err(TryRecvError::Lagged(192)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trim(&self, bytes: u64) {
        self.room_ref.ring().trim(bytes, &self.room_ref);
    }

    /// How many are subscribed, handlers included, those of patterns not. May be out of date the moment it is returned:
    /// [`Room::vacated`] waits for the last one to leave.
    ///
    /// # Examples
    /// ```
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("lobby")?;
    /// let everything = broker.subscribe_pattern("*");
    /// let (ann, ben) = (room.subscribe().now()?, room.subscribe().now()?);
    /// drop(ann);
    /// assert_eq!(room.subscribers(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribers(&self) -> u32 {
        // Relaxed: a figure.
        self.core().subscribers.load(Relaxed).try_into().unwrap_or(u32::MAX)
    }

    /// Whether the room takes messages. May be out of date the moment it is returned.
    pub fn is_running(&self) -> bool {
        self.core().ended().is_none()
    }

    /// Why the room has ended; `None` while it runs.
    pub fn ended(&self) -> Option<CloseReason> {
        self.core().ended()
    }

    /// Closes the room: nothing can be published any more, subscribers read what is there and then get
    /// [`RecvError::Closed`](crate::RecvError::Closed). False if it had ended before. The name stays taken until the room
    /// is removed or opened again.
    pub fn close(&self) -> bool {
        self.room_ref.end(CloseReason::Closed)
    }

    /// Waits until the room has ended, and says why. Ready at once if it has.
    ///
    /// # Cancel safety
    /// May be dropped and made again at any time.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::{Broker, CloseReason};
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("lobby")?;
    /// let closed = room.closed();
    /// broker.remove("lobby");
    /// assert_eq!(closed.await, CloseReason::Removed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn closed(&self) -> Closed<T> {
        Closed::new(self.room_ref.clone())
    }

    /// Waits until nobody is subscribed, patterns aside, which are not interested in this very room. Ready at once if that
    /// is so; may be out of date the moment it is ready. A publisher that costs something to run can stop then.
    ///
    /// # Cancel safety
    /// May be dropped and made again at any time.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("webcam")?;
    /// let viewer = room.subscribe().now()?;
    /// let vacated = room.vacated();
    /// drop(viewer);
    /// vacated.await;
    /// assert_eq!(room.stats().subscribers, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn vacated(&self) -> Vacated<T> {
        Vacated::new(self.room_ref.clone())
    }

    /// A handle that does not keep the room.
    #[cfg(not(roomcast_loom))]
    pub fn downgrade(&self) -> WeakRoom<T> {
        WeakRoom::new(self)
    }

    /// Figures about the room, read without stopping anybody; each is true of some moment.
    pub fn stats(&self) -> RoomStats {
        let (segments, evicted, pinned) = self.room_ref.ring().census();
        let core = self.core();
        let cold = core.cold.peek();
        RoomStats {
            published: self.tail(),
            oldest: self.oldest(),
            // Relaxed: figures, these four.
            subscribers: core.subscribers.load(Relaxed).try_into().unwrap_or(u32::MAX),
            patterns: core.watchers.load(Relaxed),
            waiting: cold.map_or(0, |cold| cold.waiting.load(Relaxed)),
            // Relaxed: as above.
            lagged: cold.map_or(0, |cold| cold.lagged.load(Relaxed)),
            bytes: self.room_ref.ring().bytes(),
            bytes_held: self.room_ref.ring().bytes_held(),
            shards: core.served.read(Vec::len),
            blocking: core.blocking(),
            segments,
            segments_evicted: evicted,
            segments_pinned: pinned,
        }
    }
}

impl<T> Clone for Room<T> {
    fn clone(&self) -> Self {
        Self { room_ref: self.room_ref.clone() }
    }
}

impl<T> PartialEq for Room<T> {
    /// Whether both are handles on the same incarnation of the same room.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.core(), other.core())
    }
}

impl<T> Eq for Room<T> {}

impl<T> fmt::Debug for Room<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("name", &self.name()).field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// Figures about one room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomStats {
    /// Messages published so far, as [`Room::tail`] counts them.
    pub published: u64,
    /// The oldest sequence retained.
    pub oldest: u64,
    /// Subscriptions alive, handlers included, those of patterns not.
    pub subscribers: u32,
    /// Pattern subscriptions that cover it.
    pub patterns: u32,
    /// Publishers that wait for space, and whoever waits for the room's end or its last subscriber.
    pub waiting: u32,
    /// Messages that subscribers missed and were told of, summed over all of them so far.
    pub lagged: u64,
    /// Bytes retained, as [`Builder::weigh`](crate::Builder::weigh) has it; 0 in a room without a byte budget.
    pub bytes: u64,
    /// The same with what was let go and is not dropped yet, because nobody has come to it or a slow reader stands in it.
    pub bytes_held: u64,
    /// Shards that serve handlers here.
    pub shards: usize,
    /// Subscriptions with [`Policy::Block`](crate::Policy::Block).
    pub blocking: usize,
    /// Segments allocated in all.
    pub segments: usize,
    /// Evicted segments that wait to be reused.
    pub segments_evicted: usize,
    /// Evicted segments that were in use when last looked at, by a slow reader or a publisher that was interrupted.
    pub segments_pinned: usize,
}
