//! How a broker is shaped.

use std::fmt;
use std::sync::Arc;

use crate::broker::Broker;
use crate::config::{Clock, ROOMS_MAX_DEFAULT, RoomOptions, Weigh};

/// Shapes a [`Broker`].
///
/// ```
/// use roomcast::Broker;
///
/// let broker = Broker::<String>::builder().capacity(100).shards(2).rooms_max(1_000).build();
/// let room = broker.room("lobby")?;
/// assert_eq!(room.publish("hello".into())?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Builder<T> {
    pub(crate) shards: Option<usize>,
    pub(crate) rooms_max: usize,
    pub(crate) room: RoomOptions,
    pub(crate) clock: Option<Box<Clock>>,
    pub(crate) weigh: Option<Arc<Weigh<T>>>,
    /// What the epochs of rooms begin with; at random without.
    pub(crate) epochs: Option<u64>,
    #[cfg(feature = "tokio")]
    pub(crate) tokio: Vec<tokio::runtime::Handle>,
}

impl<T: Send + Sync + 'static> Builder<T> {
    pub(crate) fn new() -> Self {
        Self {
            shards: None,
            rooms_max: ROOMS_MAX_DEFAULT,
            room: RoomOptions::default(),
            clock: None,
            weigh: None,
            epochs: None,
            #[cfg(feature = "tokio")]
            tokio: Vec::new(),
        }
    }

    /// Messages each room retains at least (default [`CAPACITY_DEFAULT`](crate::CAPACITY_DEFAULT)). At most 4,193,280. Costs memory only in rooms
    /// that are published into: about `capacity` times the size of `T`.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.room.capacity = Some(messages);
        self
    }

    /// Rooms the broker holds at most (default [`ROOMS_MAX_DEFAULT`]).
    pub fn rooms_max(mut self, rooms: usize) -> Self {
        self.rooms_max = rooms;
        self
    }

    /// Shard executors at most (default: one per core). They run the handlers of
    /// [`Room::subscribe_with`](crate::Room::subscribe_with) and what else is not to hold up a publisher.
    ///
    /// Each has a thread of its own, which starts when it is first needed: a handler goes to the next shard in turn, and
    /// where more than 512 readers of a room sleep a shard helps to wake them. A broker that is only pulled from by fewer
    /// starts no thread. With 0 there are none at all: `subscribe_with` is refused
    /// ([`SubscribeError::NoShard`](crate::SubscribeError::NoShard)), and publishers do everything themselves.
    ///
    /// # Examples
    /// ```
    /// use futures::executor::block_on;
    /// use roomcast::{Broker, SubscribeError};
    ///
    /// let broker = Broker::<u32>::builder().shards(0).build();
    /// let room = broker.room("lobby")?;
    /// let mut pulling = room.subscribe().now()?;
    /// room.publish(7)?;
    /// assert_eq!(pulling.try_recv()?, 7);
    /// assert_eq!(block_on(room.subscribe_with(|_| {})).err(), Some(SubscribeError::NoShard));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// The clock that stamps each message. The broker itself never reads one. The unit is yours; within a room times
    /// never fall from one sequence to the next, whatever the clock does.
    pub fn clock(mut self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(now));
        self
    }

    /// Bytes each room retains at most, and how to weigh a message. Older messages go early to stay within it, and a
    /// message that weighs more than a quarter of it divided by the slots of a segment (64 at most) is refused.
    pub fn bytes_max(mut self, bytes: u64, weigh: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        self.room.bytes_max = Some(bytes);
        self.weigh = Some(Arc::new(weigh));
        self
    }

    /// How to weigh a message, for rooms that are created with [`RoomOptions::bytes_max`].
    pub fn weigh(mut self, weigh: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        self.weigh = Some(Arc::new(weigh));
        self
    }

    /// Runs the shards as one task on each of these tokio runtimes instead of on threads of their own, from the start.
    ///
    /// A runtime that ends takes its shards with it: their handlers are told
    /// [`CloseReason::ShardGone`](crate::CloseReason::ShardGone), and further ones go to the other shards, or are refused
    /// where none is left.
    #[cfg(feature = "tokio")]
    pub fn on_tokio(mut self, runtimes: Vec<tokio::runtime::Handle>) -> Self {
        self.tokio = runtimes;
        self
    }

    /// What the epochs of rooms begin with, for simulations: else a number at random, so that no two brokers give the same ones.
    #[doc(hidden)]
    pub fn epochs_from(mut self, first: u64) -> Self {
        self.epochs = Some(first);
        self
    }

    /// Makes the broker.
    pub fn build(self) -> Broker<T> {
        Broker::start(self)
    }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("shards", &self.shards)
            .field("rooms_max", &self.rooms_max)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}
