//! What all shards of a server share: the rooms, who is in them, the settings, the metrics.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use uuid::Uuid;

use crate::auth::{KeyFetcher, Tokens};
use crate::callbacks::Callbacks;
use crate::config::{Config, Storage};
use crate::events::{EventsError, Journal, Reason, RoomEvents};
use crate::limits::connections::Connections;
use crate::ops::metrics::Metrics;
use crate::rooms::cluster::{Commands, LocalNode, OneNode};
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::engine::{Engine, Presence};
use crate::rooms::join_leave::Events;
use crate::rooms::local::LocalRooms;
use crate::rooms::memory::MemoryEngine;
use crate::rooms::presence::LocalPresence;
use crate::rooms::stored::{StoredEngine, StoredRooms};
use crate::session::Settings;
use crate::session::settings::Asks;
#[cfg(test)]
use crate::util::clock::unix_ms;
use crate::util::rng::Rng;
use roomcast::store::StoreError;
use roomcast_protocol::{ErrorCode, Placed, RoomName};

/// The state that shards share. None of it is touched by delivering.
pub(crate) struct Hub {
    pub(crate) config: Arc<Config>,
    pub(crate) settings: Arc<Settings>,
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
    memory: MemoryEngine,
    /// The database; nothing where no room is stored.
    stored: OnceLock<StoredEngine>,
    /// What the backend is told of who comes and goes; nothing where it is told nothing.
    room_events: OnceLock<RoomEvents>,
    /// Who comes and goes, on the way to those who hear of it.
    pub(crate) events: Arc<Events>,
    /// Fetches the keys that issuers of tokens publish, if any does.
    pub(crate) keys: Option<KeyFetcher>,
    /// What the backend is asked.
    pub(crate) callbacks: Callbacks,
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
        let (config, count) = (Arc::new(config), shards.len());
        let metrics = Metrics::new(count);
        let tokens = Tokens::new(&config.client, clock.clone());
        let keys = tokens.key_sets().and_then(|sets| {
            let fetcher =
                KeyFetcher::new(Arc::clone(sets), background.clone(), metrics.key_fetches.clone(), clock.clone());
            fetcher.inspect_err(|error| tracing::error!(error, "no keys of issuers can be fetched")).ok()
        });
        let settings = settings(&config, node, tokens, &clock);
        let rooms = Arc::new(LocalRooms::new(Arc::clone(&config), clock, shards, metrics.rooms.clone()));
        let callbacks = Callbacks::new(&config, Arc::clone(&rooms.clock), background, &metrics);
        let connections = Arc::new(Connections::new(&config.client, metrics.refusals.clone()));
        Self {
            connections,
            settings: Arc::new(settings),
            config,
            metrics,
            presence: Box::new(LocalPresence::new()),
            commands: Commands::new(OneNode(Arc::clone(&local))),
            local,
            events: Arc::clone(&rooms.events),
            started_ms: (rooms.clock)(),
            memory: MemoryEngine::new(Arc::clone(&rooms)),
            rooms,
            stored: OnceLock::new(),
            keys,
            callbacks,
            room_events: OnceLock::new(),
        }
    }

    /// A hub of no server.
    #[cfg(test)]
    pub(crate) fn alone(config: Config) -> Self {
        Self::new(config, Uuid::nil(), unix_ms, Arc::new(LocalNode::new(1)), vec![Handle::current()], Handle::current())
    }

    /// Begins to store the rooms that are to be stored. To be called before anybody is let in.
    ///
    /// # Errors
    /// As the store has it.
    pub(crate) fn start_storing(&self) -> Result<(), StoreError> {
        if let Some(stored_rooms) = StoredRooms::start(Arc::clone(&self.rooms))? {
            // Set once: there is one caller.
            let _ = self.stored.set(StoredEngine::new(stored_rooms));
        }
        Ok(())
    }

    /// Begins to tell the backend who comes and goes. To be called before anybody is let in.
    ///
    /// # Errors
    /// When the log of that cannot be had.
    pub(crate) fn start_events(&self, rng: Rng) -> Result<(), EventsError> {
        let rooms = Arc::clone(&self.rooms);
        if let Some(started) = RoomEvents::start(&self.config, &self.metrics.room_events, move || (rooms.clock)(), rng)?
        {
            // Set once: there is one caller.
            let _ = self.room_events.set(started);
        }
        Ok(())
    }

    /// Where it is said who comes and goes, if the backend is told of it.
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.room_events.get().map(RoomEvents::journal)
    }

    /// Whether the backend is told who is in that room.
    pub(crate) fn has_events(&self, room: &RoomName) -> bool {
        self.room_events.get().is_some() && self.rooms.options(room.as_str()).is_some_and(|options| options.room_events)
    }

    /// Says that a client of a user has connected, if the backend is told of that.
    pub(crate) fn note_connect(&self, client: &str, user: &str) {
        if let Some(journal) = self.journal().filter(|_| self.config.events.users) {
            journal.connect(client, user);
        }
    }

    /// Says that it is gone; of one that never said whose it is, nothing.
    pub(crate) fn note_disconnect(&self, client: &str, code: u16, reason: &str) {
        if let Some(journal) = self.journal().filter(|_| self.config.events.users) {
            journal.disconnect(client, Reason { code, text: reason.to_owned().into() });
        }
    }

    /// Tells the backend what is left to tell. Nobody is connected any more.
    pub(crate) fn close_events(&self) {
        if let Some(room_events) = self.room_events.get() {
            room_events.close();
        }
    }

    /// The database, if rooms are stored.
    pub(crate) fn stored_rooms(&self) -> Option<&StoredRooms> {
        self.stored.get().map(StoredEngine::rooms)
    }

    /// Who has the messages of a room.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRoom`] if its namespace is not configured.
    pub(crate) fn engine(&self, room: &RoomName) -> Result<&dyn Engine, ErrorCode> {
        let options = self.rooms.options(room.as_str()).ok_or(ErrorCode::UnknownRoom)?;
        Ok(self.engine_by(options.storage))
    }

    /// The same for a room that is there.
    pub(crate) fn engine_of(&self, room: &str) -> &dyn Engine {
        self.engine_by(self.rooms.options(room).map_or(Storage::Off, |options| options.storage))
    }

    fn engine_by(&self, storage: Storage) -> &dyn Engine {
        match self.stored.get() {
            Some(stored) if storage != Storage::Off => stored,
            _ => &self.memory,
        }
    }

    /// Takes what was erased of a room out of what was read of it before.
    pub(crate) fn hide_erased(&self, room: &RoomName, found: &mut [Placed]) {
        if !found.is_empty()
            && let Some(room) = self.rooms.running(room)
            && let Ok(edge) = self.engine_of(room.name()).edge(&room)
        {
            edge.erased(&room).hide(found);
        }
    }

    /// How a room is delivered.
    pub(crate) fn delivery_options(&self, room: &RoomName) -> DeliveryOptions {
        let options = self.rooms.options(room.as_str());
        options.map_or_else(DeliveryOptions::default, |options| DeliveryOptions {
            delay: options.delivery_delay,
            slow_consumer: options.slow_consumer,
            has_database: self.engine_by(options.storage).has_more_than_ring(),
        })
    }

    /// For how long it has been there.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_millis((self.rooms.clock)().saturating_sub(self.started_ms))
    }

    /// Shows how much of its memory is used.
    pub(crate) fn show_memory(&self) {
        self.rooms.memory.note_connections(u64::try_from(self.metrics.sockets.get()).unwrap_or(0));
        self.rooms.show_memory(&self.metrics);
    }

    /// Closes every room.
    pub(crate) fn close(&self) {
        self.rooms.broker.close();
    }
}

fn settings(
    config: &Config,
    node: Uuid,
    tokens: Tokens,
    clock: &(impl Fn() -> u64 + Clone + Send + Sync + 'static),
) -> Settings {
    let mut settings = Settings::new(node.to_string(), Box::new(config.channel.clone()), tokens);
    settings.ping_interval_ms = config.client.ping_interval.as_millis() as u64;
    settings.pong_timeout_ms = config.client.pong_timeout.as_millis() as u64;
    settings.stale_timeout_ms = config.client.stale_close_delay.as_millis() as u64;
    settings.allow_anonymous = config.client.allow_anonymous_connect_without_token;
    settings.trust_display_names = config.dev;
    settings.ignore_tokens = config.dev;
    settings.disallow_anonymous_tokens = config.client.disallow_anonymous_connection_tokens;
    settings.insecure = config.client.insecure;
    settings.expired_close_delay_ms = config.client.expired_close_delay.as_millis() as u64;
    settings.expired_sub_close_delay_ms = config.client.expired_sub_close_delay.as_millis() as u64;
    let rooms = config.client.subscribe_on_connect.iter();
    // What the configuration lets through are names.
    settings.subscribe_on_connect =
        rooms.filter_map(|name| RoomName::parse(name, config.channel.max_length).ok()).collect();
    let personal = &config.client.subscribe_to_user_personal_channel;
    settings.personal_rooms = personal.enabled.then(|| personal.prefix());
    settings.single_connection = personal.enabled && personal.single_connection;
    settings.time = config.client.connect_include_server_time.then(|| Arc::new(clock.clone()) as _);
    settings.proxies = Asks::new(config);
    settings.limits = config.limits();
    settings
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
