//! The broker: all rooms, by name, and the shards that serve them.

mod expiry;
mod many;
mod shards;
mod weak;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use self::shards::{Shards, Threads};
pub use self::weak::WeakBroker;
use crate::builder::Builder;
use crate::config::{NAME_BYTES_MAX, Policy, RoomOptions};
use crate::error::{CloseReason, PublishByNameError, PublishError, RoomError};
use crate::message::Epoch;
use crate::ring::{Budget, Geometry, Ring, Writer};
use crate::room::{
    Added, Names, PatternShared, PatternSubscription, Publisher, Room, RoomCore, RoomRef, ShardInbox, Shared, Table,
};
#[cfg(feature = "tokio")]
use crate::shard::Shard;
use crate::stats::{BrokerStats, ShardStats};
use crate::sync::{self, Acquire, AtomicBool, AtomicU32, AtomicU64, Relaxed, Release, SeqCst, Snapshot, fence};

/// Rooms by name, each a broadcast ring, and a fixed number of shards.
///
/// Cheap to clone. When the last clone is dropped, the rooms end, and the threads stop when their handlers have finished
/// what is there. The drop waits for them for a second at most: a handler that takes longer, or waits itself for
/// whoever drops the broker, goes on behind it. [`Broker::shutdown`] waits as long as you like and says whether all have
/// finished. Shards on runtimes of yours are not waited for by a drop.
///
/// # Forks
/// After a `fork` the threads of the broker are in the parent alone. In the child rooms can be published into and pulled
/// from as before; handlers are not called, [`Room::subscribe_with`] is refused
/// ([`SubscribeError::NoShard`](crate::SubscribeError::NoShard)) where a shard had been started, and dropping or shutting
/// down waits for nobody. Better make the broker in the child.
///
/// # Examples
/// ```
/// # futures::executor::block_on(async {
/// use roomcast::Broker;
///
/// let broker = Broker::<String>::new();
/// let lobby = broker.room("lobby")?;
/// let mut ann = lobby.subscribe().now()?;
/// let mut ben = lobby.subscribe().now()?;
/// lobby.publish("hello".to_string())?;
/// assert_eq!(ann.recv().await?, "hello");
/// assert_eq!(ben.recv().await?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// A message is read by many at once, so it must be `Sync`:
/// ```compile_fail,E0599
/// roomcast::Broker::<std::cell::Cell<u8>>::new();
/// ```
/// and it may be dropped on another thread, so it must be `Send`:
/// ```compile_fail,E0599
/// roomcast::Broker::<std::sync::MutexGuard<'static, u8>>::new();
/// ```
pub struct Broker<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    shared: sync::Arc<Shared<T>>,
    table: Table<T>,
    patterns: Snapshot<Vec<Arc<PatternShared<T>>>>,
    room: RoomOptions,
    weigh: Option<Arc<crate::config::Weigh<T>>>,
    closed: AtomicBool,
    /// Epochs are drawn from a random start in steps that visit every number once, so that none comes twice.
    epochs: AtomicU64,
    shards: Shards<T>,
}

impl<T: Send + Sync + 'static> Broker<T> {
    /// A broker with the defaults of [`Builder`].
    #[expect(clippy::new_without_default, reason = "what starts threads some day is more than a default")]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Shapes a broker.
    pub fn builder() -> Builder<T> {
        Builder::new()
    }

    pub(crate) fn start(builder: Builder<T>) -> Self {
        #[cfg(feature = "tokio")]
        let runtimes = builder.tokio;
        #[cfg(feature = "tokio")]
        let default_shards = runtimes.len();
        #[cfg(not(feature = "tokio"))]
        let default_shards = 0;
        let count = match (builder.shards, default_shards) {
            (Some(shards), _) => shards,
            (None, 0) => sync::cores(),
            (None, runtimes) => runtimes,
        };
        let threads = Threads::new();
        let shared = sync::Arc::new(Shared {
            inboxes: (0..count.max(1)).map(|_| ShardInbox::new()).collect(),
            start: Some(threads.clone().starting()),
            clock: builder.clock,
            next_shard: AtomicU32::new(0),
            nobody: Arc::default(),
        });
        #[cfg(feature = "tokio")]
        for (inbox, runtime) in shared.inboxes.iter().zip(runtimes.iter().cycle()).take(count) {
            runtime.spawn(Shard::new(inbox.clone(), sync::Arc::as_ptr(&shared) as usize));
        }
        let shards = Shards::new(shared.clone(), count, (default_shards == 0).then_some(threads));
        Self {
            inner: Arc::new(Inner {
                shared,
                table: Table::new(builder.rooms_max),
                patterns: Snapshot::new(Arc::default()),
                room: builder.room,
                weigh: builder.weigh,
                closed: AtomicBool::new(false),
                epochs: AtomicU64::new(builder.epochs.unwrap_or_else(|| RandomState::new().hash_one("epoch"))),
                shards,
            }),
        }
    }

    /// The room of that name, created if there is none or if the one there has crashed or was closed.
    ///
    /// # Errors
    /// When the name is empty or too long, when there are too many rooms, or when the broker is closed.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, RoomError};
    ///
    /// let broker = Broker::<u8>::builder().rooms_max(1).build();
    /// let lobby = broker.room("lobby")?;
    /// assert_eq!(broker.room("lobby")?, lobby);
    /// assert_eq!(broker.room("another").err(), Some(RoomError::TooManyRooms));
    /// assert!(broker.get("another").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn room(&self, name: &str) -> Result<Room<T>, RoomError> {
        self.room_with(name, RoomOptions::default())
    }

    /// [`Broker::room`] with options, which count only if this call creates the room.
    ///
    /// # Errors
    /// As [`Broker::room`]; [`RoomError::Unweighed`] when it asks for a byte budget and the broker cannot weigh messages.
    pub fn room_with(&self, name: &str, options: RoomOptions) -> Result<Room<T>, RoomError> {
        let hash = self.inner.check(name)?;
        loop {
            if let Some(found) = self.inner.table.find(hash, name) {
                if found.0.ended().is_none() {
                    return Ok(Room::new(found));
                }
                self.inner.table.remove(hash, &found);
            }
            if let Some(room_ref) = self.inner.create(hash, name, options, false)? {
                return Ok(Room::new(room_ref));
            }
        }
    }

    /// Creates an exclusive room: its one [`Publisher`] needs neither claim nor fence, and publishes batches at the cost
    /// of one atomic operation.
    ///
    /// # Errors
    /// As [`Broker::room`]; [`RoomError::Taken`] when there is a room of that name.
    pub fn exclusive(&self, name: &str) -> Result<Publisher<T>, RoomError> {
        self.exclusive_with(name, RoomOptions::default())
    }

    /// [`Broker::exclusive`] with options. ([`RoomOptions::lasting`] says nothing new: such a room ends with its publisher.)
    ///
    /// # Errors
    /// As [`Broker::exclusive`]; [`RoomError::Unweighed`] when it asks for a byte budget and the broker cannot weigh
    /// messages.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, PublishError, RoomOptions};
    ///
    /// let broker = Broker::<String>::builder().weigh(|text| text.len()).clock(|| 7).build();
    /// let mut news = broker.exclusive_with("news", RoomOptions::new().capacity(4).bytes_max(400))?;
    /// let mut reader = news.room().subscribe().now()?;
    /// news.publish("short".into())?;
    /// assert_eq!(reader.try_recv_ref()?.time(), Some(7));
    /// assert!(matches!(news.publish("x".repeat(101)), Err(PublishError::TooLarge(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exclusive_with(&self, name: &str, options: RoomOptions) -> Result<Publisher<T>, RoomError> {
        let hash = self.inner.check(name)?;
        if let Some(found) = self.inner.table.find(hash, name) {
            if found.0.ended().is_none() {
                return Err(RoomError::Taken);
            }
            self.inner.table.remove(hash, &found);
        }
        let room_ref = self.inner.create(hash, name, options, true)?.ok_or(RoomError::Taken)?;
        Ok(Publisher::new(Writer::new(room_ref)))
    }

    /// The room of that name, if there is one.
    pub fn get(&self, name: &str) -> Option<Room<T>> {
        self.inner.table.find(self.inner.table.hash(name), name).map(Room::new)
    }

    /// Ends the room of that name and takes it out; false if there is none, or if another call ends it at this very
    /// moment, [`Broker::expire_idle`] among them. Subscribers read what is there and then get [`CloseReason::Removed`]. The name is free for a new room, with
    /// a new epoch.
    pub fn remove(&self, name: &str) -> bool {
        let hash = self.inner.table.hash(name);
        let Some(found) = self.inner.table.find(hash, name) else { return false };
        let ended = found.end(CloseReason::Removed);
        // Whoever opens the name afresh between the two steps takes the old room out: it was removed all the same.
        let taken = self.inner.table.remove(hash, &found);
        self.inner.pass_over_ended();
        ended || (taken && !matches!(found.0.ended(), Some(CloseReason::Removed | CloseReason::Expired)))
    }

    /// All rooms, in no order. Rooms that come or go during the call may be in it or not.
    pub fn rooms(&self) -> Vec<Room<T>> {
        let mut rooms = Vec::with_capacity(self.inner.table.len() as usize);
        self.inner.table.for_each(&mut |room_ref| rooms.push(Room::new(room_ref.clone())));
        rooms
    }

    /// The bytes of a message, where they are weighed.
    #[cfg(feature = "store")]
    pub(crate) fn weigh(&self, message: &T) -> Option<usize> {
        self.inner.weigh.as_ref().map(|weigh| weigh(message))
    }

    /// Publishes into the room of that name, creating it if there is none. If the room ends at this very moment, the
    /// message goes to its successor.
    ///
    /// # Errors
    /// As [`Broker::room`] and [`Room::publish`]; the message comes back.
    pub fn publish(&self, name: &str, mut message: T) -> Result<u64, PublishByNameError<T>> {
        loop {
            let room = match self.room(name) {
                Ok(room) => room,
                Err(error) => return Err(PublishByNameError::Room(error, message)),
            };
            match room.publish(message) {
                Ok(sequence) => return Ok(sequence),
                Err(PublishError::Closed(back) | PublishError::Crashed(back)) => {
                    // Where it has just expired, the reason may not have been said: say it, so that it is replaced.
                    room.room_ref.0.reason();
                    message = back;
                }
                Err(refused) => return Err(PublishByNameError::Publish(refused)),
            }
        }
    }

    fn subscribe_names(&self, names: Names, policy: Policy) -> PatternSubscription<T> {
        let subscription = PatternSubscription::new(names, policy);
        let shared = subscription.shared();
        self.inner.patterns.update(|patterns| {
            let alive = patterns.iter().filter(|other| !other.is_dropped());
            Some(alive.chain([shared]).cloned().collect())
        });
        // SeqCst: the pattern is listed before we look at the rooms. Pairs with the fence in `create`, where a room is
        // in the table before the patterns are looked at again: one of the two sees the other.
        fence(SeqCst);
        self.inner.table.for_each(&mut |room_ref| {
            if let Some(found) = shared.attach_existing(room_ref) {
                shared.hand_over(found);
            }
        });
        if self.is_closed() {
            shared.end();
        }
        subscription
    }

    /// A handle that does not keep the broker running.
    pub fn downgrade(&self) -> WeakBroker<T> {
        WeakBroker::new(&self.inner)
    }

    /// Ends every room and refuses new ones. Subscribers and handlers read what is there and then get
    /// [`CloseReason::BrokerClosed`].
    pub fn close(&self) {
        self.inner.close();
    }

    /// Whether the broker was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Figures about the broker and its shards, read without stopping anybody.
    pub fn stats(&self) -> BrokerStats {
        let mut homes = vec![0; self.inner.shared.inboxes.len()];
        self.inner.table.for_each(&mut |room_ref| homes[room_ref.0.home_shard()] += 1);
        // Relaxed, both: figures.
        let number = |figure: &AtomicU32| figure.load(Relaxed);
        let count = |figure: &AtomicU64| figure.load(Relaxed);
        let inboxes = self.inner.shared.inboxes.iter().take(self.inner.shards.count());
        let shards = inboxes.zip(homes).map(|(inbox, rooms)| {
            let figures = &inbox.figures;
            ShardStats {
                rooms,
                rooms_served: number(&figures.rooms),
                handlers: number(&figures.members),
                actions: count(&figures.actions),
                wakes: count(&figures.wakes),
                handler_runs: count(&figures.runs),
                deliveries: count(&figures.deliveries),
                panics: count(&figures.panics),
            }
        });
        BrokerStats { rooms: self.inner.table.len(), shards: shards.collect() }
    }
}

impl<T> Inner<T> {
    fn check(&self, name: &str) -> Result<u64, RoomError> {
        match name.len() {
            _ if self.is_closed() => Err(RoomError::Closed),
            0 => Err(RoomError::NameEmpty),
            1..=NAME_BYTES_MAX => Ok(self.table.hash(name)),
            _ => Err(RoomError::NameTooLong),
        }
    }

    fn is_closed(&self) -> bool {
        // Acquire: pairs with the store in `close`.
        self.closed.load(Acquire)
    }

    /// Puts a new room into the table; `None` if somebody else did.
    fn create(
        &self,
        hash: u64,
        name: &str,
        options: RoomOptions,
        exclusive: bool,
    ) -> Result<Option<RoomRef<T>>, RoomError> {
        if self.patterns.read(|patterns| patterns.iter().any(|pattern| pattern.refuses(name, self.table.rooms_max()))) {
            return Err(RoomError::TooManyRooms);
        }
        let capacity = options.capacity.or(self.room.capacity).unwrap_or(crate::config::CAPACITY_DEFAULT);
        let start = options.start.map_or(0, |position| position.sequence);
        let bytes_max = options.bytes_max.or(self.room.bytes_max);
        let slots_max = bytes_max.zip(options.message_bytes_max).map(|(bytes, message)| bytes / 4 / message.max(1));
        let shape = match slots_max {
            Some(slots_max) => Geometry::with_slots(capacity as u64, slots_max),
            None => Geometry::for_capacity(capacity as u64),
        };
        let shape = shape.starting_at(start);
        let budget = match (bytes_max, &self.weigh) {
            (Some(bytes_max), Some(weigh)) => {
                let budget = Budget::new(bytes_max, weigh.clone());
                Some(Arc::new(budget.with_large(options.large_message_bytes_max)))
            }
            (Some(_), None) => return Err(RoomError::Unweighed),
            (None, _) => None,
        };
        let timed = self.shared.clock.is_some();
        let ring = match exclusive {
            true => Ring::new_exclusive(shape, timed, budget),
            false => Ring::new(shape, timed, budget),
        };
        let home = (hash >> 32) as u32 % self.shared.inboxes.len() as u32;
        // Relaxed: any number not given out before; odd steps visit all.
        let drawn = || Epoch(self.epochs.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed));
        let epoch = options.start.map_or_else(drawn, |position| position.epoch);
        let room_ref =
            RoomRef(RoomCore::new(name, epoch, home, options.lasting, options.time_floor, ring, self.shared.clone()));
        // Before the room is visible, so that no pattern misses its first message.
        let attach = |patterns: &Vec<Arc<PatternShared<T>>>| {
            let attached = patterns.iter().filter_map(|pattern| Some((pattern.clone(), pattern.attach(&room_ref)?)));
            attached.collect::<Vec<_>>()
        };
        let attached = self.patterns.read(attach);
        match self.table.add(hash, &room_ref) {
            Added::Full => return Err(RoomError::TooManyRooms),
            Added::Found => return Ok(None),
            Added::New => {}
        }
        let known: Vec<_> = attached.iter().map(|(pattern, _)| pattern.clone()).collect();
        for (pattern, subscription) in attached {
            pattern.hand_over(subscription);
        }
        // SeqCst: the room is in the table before we look again. Pairs with the fences in `subscribe_names` and in
        // `close`.
        fence(SeqCst);
        for (pattern, subscription) in self.patterns.read(attach) {
            if !known.iter().any(|other| Arc::ptr_eq(other, &pattern)) {
                pattern.hand_over(subscription);
            }
        }
        if self.is_closed() {
            room_ref.end(CloseReason::BrokerClosed);
            self.table.remove(hash, &room_ref);
            return Err(RoomError::Closed);
        }
        self.pass_over_ended();
        tracing::debug!(room = name, %epoch, "room opened");
        Ok(Some(room_ref))
    }

    /// Keeps patterns that nobody reads from keeping every room that has ended.
    fn pass_over_ended(&self) {
        let live = self.table.len() as usize;
        self.patterns.read(|patterns| patterns.iter().for_each(|pattern| pattern.pass_over_ended(live)));
    }

    fn close(&self) {
        // Release: pairs with the load in `is_closed`.
        self.closed.store(true, Release);
        // SeqCst: the mark before our look at the rooms. Pairs with the fence in `create`.
        fence(SeqCst);
        let mut rooms = Vec::new();
        self.table.for_each(&mut |room_ref| rooms.push(room_ref.clone()));
        for room_ref in rooms {
            room_ref.end(CloseReason::BrokerClosed);
            self.table.remove(self.table.hash(&room_ref.0.name), &room_ref);
        }
        for pattern in self.patterns.read(Vec::clone) {
            pattern.end();
        }
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.close();
        self.shards.end();
    }
}

impl<T> Clone for Broker<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> fmt::Debug for Broker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("rooms", &self.inner.table.len()).finish_non_exhaustive()
    }
}
