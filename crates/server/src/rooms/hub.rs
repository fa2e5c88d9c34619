//! What all shards of a server share: the rooms, who is in them, the settings, the metrics.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::{Config, NamespaceOptions, Storage};
use crate::events::{Before, EventsError, Journal, Reason, RoomEvents};
use crate::limits::connections::Connections;
use crate::limits::memory::Memory;
use crate::limits::requests::RequestMemory;
use crate::ops::metrics::Metrics;
use crate::rooms::cluster::{Commands, LocalNode, OneNode};
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::engine::{Engine, Presence};
use crate::rooms::handing_over::{HandingOver, Refusing};
use crate::rooms::join_leave::Events;
use crate::rooms::local::LocalRooms;
use crate::rooms::memory::MemoryEngine;
use crate::rooms::parts::{Glance, Makings, Now, Parts};
use crate::rooms::presence::LocalPresence;
use crate::rooms::stored::{StoredEngine, StoredRooms};
use crate::rooms::visible::Erased;
use crate::session::Settings;
#[cfg(any(test, roomcast_fuzz))]
use crate::util::clock::unix_ms;
use crate::util::panics::lock;
use crate::util::rng::Rng;
use crate::wire::disconnect::Disconnect;
use roomcast::store::StoreError;
use roomcast_protocol::{CloseCode, ErrorCode, Placed, RoomName};

/// The state that shards share. None of it is touched by delivering.
pub(crate) struct Hub {
    /// The configuration of the moment, and what is made of it.
    now: Arc<Now>,
    /// Where its settings are in memory: sessions see by it alone whether theirs are still those.
    settings_at: AtomicUsize,
    makings: Makings,
    /// One at a time takes a configuration over.
    taking_over: Mutex<()>,
    /// How often each shard has turned, by its clock.
    turns: Box<[AtomicU64]>,
    /// Turns true when the server drains; nothing before it serves.
    draining: OnceLock<watch::Receiver<bool>>,
    /// Whether there may be rooms of namespaces that are not declared any more.
    has_undeclared: AtomicBool,
    pub(crate) metrics: Metrics,
    /// How many connections there may be.
    pub(crate) connections: Arc<Connections>,
    pub(crate) presence: Box<dyn Presence>,
    /// The connections of this node.
    pub(crate) local: Arc<LocalNode>,
    /// Commands for connections on all nodes.
    pub(crate) commands: Commands,
    /// The rings of this node.
    pub(crate) rooms: Arc<LocalRooms>,
    /// When it began, in milliseconds since 1970.
    started_ms: u64,
    /// The runtimes of the shards.
    pub(crate) shards: Vec<Handle>,
    /// What is given to another process, and taken from one.
    pub(crate) handing_over: HandingOver,
    pub(crate) memory: MemoryEngine,
    /// The database; nothing where no room is stored.
    stored: OnceLock<StoredEngine>,
    /// What the backend is told of who comes and goes; nothing where it is told nothing.
    room_events: OnceLock<RoomEvents>,
    /// Who comes and goes, on the way to those who hear of it.
    pub(crate) events: Arc<Events>,
}

impl Hub {
    /// A hub whose rooms live on the runtimes of the shards, in a server process of that name. `clock` is the time on the wire, in
    /// milliseconds since 1970; it never falls. `background` is the runtime of what is no shard's.
    pub(crate) fn new(
        config: Config,
        node: Uuid,
        clock: impl Fn() -> u64 + Clone + Send + Sync + 'static,
        local: Arc<LocalNode>,
        shards: Vec<Handle>,
        background: Handle,
    ) -> Self {
        let shard_count = shards.len();
        let metrics = Metrics::new(shard_count);
        let memory = Arc::new(Memory::new(&config.memory));
        let makings = Makings::new(node, Arc::new(clock.clone()), background, Arc::clone(&memory));
        let now = Arc::new(Now::from_pointee(makings.parts(config, &metrics)));
        let clock_now = clock();
        let rooms = Arc::new(LocalRooms::new(Arc::clone(&now), memory, clock, shards.clone(), metrics.rooms.clone()));
        metrics.reloads.begun(clock_now);
        let connections = Arc::new(Connections::new(&now.load().config.client, metrics.refusals.clone()));
        Self {
            connections,
            settings_at: AtomicUsize::new(address(&now.load().settings)),
            now,
            makings,
            taking_over: Mutex::default(),
            turns: (0..shard_count).map(|_| AtomicU64::new(0)).collect(),
            draining: OnceLock::new(),
            has_undeclared: AtomicBool::new(false),
            metrics,
            presence: Box::new(LocalPresence::new()),
            commands: Commands::new(OneNode(Arc::clone(&local))),
            local,
            events: Arc::clone(&rooms.events),
            started_ms: (rooms.clock)(),
            shards,
            handing_over: HandingOver::default(),
            memory: MemoryEngine::new(Arc::clone(&rooms)),
            rooms,
            stored: OnceLock::new(),
            room_events: OnceLock::new(),
        }
    }

    /// A hub of no server.
    #[cfg(any(test, roomcast_fuzz))]
    pub(crate) fn alone(config: Config) -> Self {
        Self::new(config, Uuid::nil(), unix_ms, Arc::new(LocalNode::new(1)), vec![Handle::current()], Handle::current())
    }

    /// A shard has turned.
    pub(crate) fn has_turned(&self, shard: usize) {
        // Relaxed, here and below: it tells of itself alone.
        if let Some(turns) = self.turns.get(shard) {
            turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each shard has turned.
    pub(crate) fn turns(&self) -> Vec<u64> {
        self.turns.iter().map(|turns| turns.load(Ordering::Relaxed)).collect()
    }

    /// Says by what it is known whether the server drains.
    pub(crate) fn serve_until(&self, draining: watch::Receiver<bool>) {
        // Set once: there is one caller.
        let _ = self.draining.set(draining);
    }

    /// Whether it takes no more clients.
    pub(crate) fn drains(&self) -> bool {
        self.draining.get().is_some_and(|draining| *draining.borrow())
    }

    /// The configuration of this moment, and what is made of it, for one decision that waits for nothing.
    #[inline]
    pub(crate) fn now(&self) -> Glance {
        self.now.load()
    }

    /// The same for a decision that waits in between.
    pub(crate) fn settled(&self) -> Arc<Parts> {
        self.now.load_full()
    }

    /// The settings that sessions go by now, if they are others than these.
    #[inline]
    pub(crate) fn settings_other_than(&self, settings: &Arc<Settings>) -> Option<Arc<Settings>> {
        // Relaxed: it says that there may be others; what they are is read behind it. Whoever holds the old ones keeps their address
        // from being used again.
        if self.settings_at.load(Ordering::Relaxed) == address(settings) {
            return None;
        }
        Some(Arc::clone(&self.now().settings))
    }

    /// Goes by another configuration from here on, all shards at the same moment, or by the old one if what it newly needs cannot be
    /// had. Options that count at a start are to have the values of the one before.
    ///
    /// # Errors
    /// What could not be had, in words.
    pub(crate) fn take_over(&self, config: Config, rng: Rng) -> Result<(), String> {
        let _alone = self.reload_alone();
        let before = self.settled();
        if before.is_settled() {
            return Err("rooms are being handed over to another process".to_owned());
        }
        if self.stored.get().is_none() && config.stores() {
            self.start_storing_by(&config).map_err(|error| error.to_string())?;
        }
        if self.room_events.get().is_none() && config.has_events() {
            self.start_events_by(&config, rng, Before::Over).map_err(|error| error.to_string())?;
        }
        let room_events = self.room_events.get();
        let of_events =
            room_events.map(|it| it.prepare(&config.events)).transpose().map_err(|error| error.to_string())?;
        let is_declared = |name: &String| config.channel.namespaces.contains_key(name);
        let drops_some = !before.config.channel.namespaces.keys().all(is_declared);
        let parts = Arc::new(self.makings.parts(config, &self.metrics));
        // First: a session that looks finds the old ones until the next line, and looks again.
        self.settings_at.store(address(&parts.settings), Ordering::Relaxed);
        self.connections.follow(&parts.config.client);
        self.now.store(parts);
        if let (Some(room_events), Some(prepared)) = (room_events, of_events) {
            room_events.follow(prepared);
        }
        if drops_some {
            self.has_undeclared.store(true, Ordering::Relaxed);
            self.end_undeclared();
        }
        Ok(())
    }

    /// Nobody else changes what the server goes by while this is there.
    pub(crate) fn reload_alone(&self) -> MutexGuard<'_, ()> {
        lock(&self.taking_over)
    }

    /// The same for who does not wait; nothing while somebody does.
    pub(crate) fn reload_alone_at_once(&self) -> Option<MutexGuard<'_, ()>> {
        match self.taking_over.try_lock() {
            Ok(alone) => Some(alone),
            // There is nothing in it that a panic could have left half done.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Ends the rooms whose namespace is not declared any more: whoever is in one is put out, and told so.
    pub(crate) fn end_undeclared(&self) {
        if !self.has_undeclared.load(Ordering::Relaxed) {
            return;
        }
        let now = self.now();
        let undeclared = self.rooms.broker.rooms().into_iter().filter(|room| now.options(room.name()).is_none());
        let ended = undeclared.filter(|room| self.rooms.end(room.name())).count();
        if ended > 0 {
            tracing::info!(ended, "rooms of namespaces that are not declared any more have ended");
        } else {
            // Nobody is left who was let into one before.
            self.has_undeclared.store(false, Ordering::Relaxed);
        }
    }

    /// Begins to store the rooms that are to be stored. To be called before anybody is let in.
    ///
    /// # Errors
    /// As the store has it.
    pub(crate) fn start_storing(&self) -> Result<(), StoreError> {
        self.start_storing_by(&self.now().config)
    }

    fn start_storing_by(&self, config: &Config) -> Result<(), StoreError> {
        if let Some(stored_rooms) = StoredRooms::start(Arc::clone(&self.rooms), config)? {
            // Set once: there is one caller.
            let _ = self.stored.set(StoredEngine::new(stored_rooms));
        }
        Ok(())
    }

    /// Stores them in an archive that somebody else has begun.
    #[cfg(test)]
    pub(crate) fn store_in(&self, stored_rooms: StoredRooms) {
        let _ = self.stored.set(StoredEngine::new(stored_rooms));
    }

    /// Begins to tell the backend who comes and goes, behind a process that may still have its clients. To be called before anybody is
    /// let in.
    ///
    /// # Errors
    /// When the log of that cannot be had.
    pub(crate) fn start_events(&self, rng: Rng, before: Before) -> Result<(), EventsError> {
        self.start_events_by(&self.now().config, rng, before)
    }

    /// Tells them to a log that somebody else writes.
    #[cfg(test)]
    pub(crate) fn tell_events_to(&self, room_events: RoomEvents) {
        let _ = self.room_events.set(room_events);
    }

    fn start_events_by(&self, config: &Config, rng: Rng, before: Before) -> Result<(), EventsError> {
        let rooms = Arc::clone(&self.rooms);
        let clock = move || (rooms.clock)();
        if let Some(started) = RoomEvents::start(config, &self.metrics.room_events, clock, rng, before)? {
            // Set once: there is one caller.
            let _ = self.room_events.set(started);
        }
        Ok(())
    }

    /// The log of who comes and goes, if the backend is told of it.
    pub(crate) fn room_events(&self) -> Option<&RoomEvents> {
        self.room_events.get()
    }

    /// Where it is said who comes and goes.
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.room_events().map(RoomEvents::journal)
    }

    /// Whether the backend is told who is in that room.
    pub(crate) fn has_events(&self, room: &RoomName) -> bool {
        self.room_events.get().is_some() && self.now().options(room.as_str()).is_some_and(|options| options.room_events)
    }

    /// Says that a client of a user has connected, if the backend is told of that.
    pub(crate) fn note_connect(&self, client: &str, user: &str) {
        if let Some(journal) = self.journal().filter(|_| self.now().config.events.users) {
            journal.connect(client, user);
        }
    }

    /// Says that it is gone; of one that never said whose it is, nothing.
    pub(crate) fn note_disconnect(&self, client: &str, disconnect: &Disconnect) {
        // Who was told of is told of to the end; of anybody else the journal knows nothing.
        if let Some(journal) = self.journal() {
            let reason = match self.sends_on(disconnect) {
                true => Reason::HAND_OVER,
                false => Reason { code: disconnect.code(), text: disconnect.reason().to_owned().into() },
            };
            journal.disconnect(client, reason);
        }
    }

    /// Whether a client that is closed so is to come back to the process that has the rooms now.
    pub(crate) fn sends_on(&self, disconnect: &Disconnect) -> bool {
        self.is_released() && disconnect.code() == CloseCode::Shutdown.code()
    }

    /// Tells the backend what is left to tell. Nobody is connected any more.
    pub(crate) fn close_events(&self) {
        if let Some(room_events) = self.room_events.get() {
            room_events.close();
        }
    }

    /// Writes down what is left to tell the backend, for the next process to tell it. Who goes from here on that one is told.
    pub(crate) fn leave_events(&self) {
        if let Some(room_events) = self.room_events.get() {
            room_events.close_within(Duration::ZERO);
        }
    }

    /// The database, if rooms are stored.
    pub(crate) fn stored_rooms(&self) -> Option<&StoredRooms> {
        self.stored.get().map(StoredEngine::rooms)
    }

    /// Who has the messages of a room, for whoever asks for something: of rooms that are being handed over, one that refuses.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRoom`] if its namespace is not configured.
    pub(crate) fn engine(&self, room: &RoomName) -> Result<&dyn Engine, ErrorCode> {
        let now = self.now();
        now.options(room.as_str()).map(|options| self.engine_for(&now, options)).ok_or(ErrorCode::UnknownRoom)
    }

    /// The same for rooms of which `now` has these options.
    pub(crate) fn engine_for(&self, now: &Parts, options: &NamespaceOptions) -> &dyn Engine {
        if now.is_settled() { &Refusing } else { self.engine_by(options.storage) }
    }

    /// Who has the messages of a room that is there.
    pub(crate) fn engine_of(&self, room: &str) -> &dyn Engine {
        self.engine_by(self.now().options(room).map_or(Storage::Off, |options| options.storage))
    }

    /// The same for rooms whose options say so.
    fn engine_by(&self, storage: Storage) -> &dyn Engine {
        match self.stored.get() {
            Some(stored) if storage != Storage::Off => stored,
            _ => &self.memory,
        }
    }

    /// Takes what was erased of a room out of what was read of it before.
    pub(crate) fn hide_erased(&self, room: &RoomName, found: &mut [Placed]) {
        if found.is_empty() {
            return;
        }
        if let Some(stored_rooms) = self.stored_rooms() {
            stored_rooms.hide_erased(room, found);
        }
        if let Some(room) = self.rooms.running(room)
            && let Ok(edge) = self.engine_of(room.name()).edge(&room)
        {
            edge.erased(&room).hide(found);
        }
    }

    /// The same as soon as something was erased, single messages or what `user` has said: of that also what an incarnation has held that
    /// has ended since, of which the one that runs knows nothing, or what its ring has lost.
    pub(crate) fn hide_recalled(&self, room: &RoomName, user: Option<&str>, found: &mut [Placed]) {
        self.hide_erased(room, found);
        if let Some(user) = user {
            found.iter_mut().for_each(|placed| Erased::hide_of(user, placed));
        }
    }

    /// Takes out of rings what was erased there and nobody reads any more. Takes its time where there is much.
    pub(crate) fn go_on_erasing(&self) {
        self.rooms.erasing.go_on((self.rooms.clock)(), |room, before| {
            // Without its edge nobody is shown anything of it.
            self.engine_of(room.name()).edge(room).is_ok_and(|edge| {
                before.inspect(|before| edge.erase_to(room, *before));
                edge.erased(room).take_out_of(room)
            })
        });
    }

    /// How a room is delivered.
    pub(crate) fn delivery_options(&self, room: &RoomName) -> DeliveryOptions {
        let now = self.now();
        now.options(room.as_str()).map_or_else(DeliveryOptions::default, |options| DeliveryOptions {
            delay: options.delivery_delay,
            slow_consumer: options.slow_consumer,
            has_database: self.engine_by(options.storage).has_more_than_ring(),
        })
    }

    /// For how long it has been there.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_millis((self.rooms.clock)().saturating_sub(self.started_ms))
    }

    /// Whether there is memory for one more member of a room.
    ///
    /// # Errors
    /// [`ErrorCode::LimitExceeded`].
    pub(crate) fn has_place_for_member(&self) -> Result<(), ErrorCode> {
        let has_place = self.rooms.memory.has_place_for(self.sockets(), self.metrics.members() + 1);
        if has_place { Ok(()) } else { Err(ErrorCode::LimitExceeded) }
    }

    fn sockets(&self) -> u64 {
        u64::try_from(self.metrics.sockets.get()).unwrap_or(0)
    }

    /// The memory of a request that comes from there, at that time of its shard.
    pub(crate) fn request_memory(&self, address: Option<IpAddr>, now_ms: u64) -> RequestMemory {
        RequestMemory::new(&self.connections, &self.rooms.memory, address, now_ms)
    }

    /// Shows how much of its memory is used.
    pub(crate) fn show_memory(&self) {
        self.rooms.memory.note_connections(self.sockets(), self.metrics.members());
        self.rooms.show_memory(&self.metrics);
    }

    /// Closes every room.
    pub(crate) fn close(&self) {
        self.rooms.broker.close();
    }
}

/// Where it is in memory.
fn address(settings: &Arc<Settings>) -> usize {
    Arc::as_ptr(settings).addr()
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
