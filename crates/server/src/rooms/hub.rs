//! What all shards of a server share: the rooms, who is in them, the settings, the metrics.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use uuid::Uuid;

use crate::config::{Config, NamespaceOptions, Storage};
use crate::ops::metrics::Metrics;
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::dormant::DormantRooms;
use crate::rooms::emulation::Emulation;
use crate::rooms::join_leave::Events;
use crate::rooms::presence::Presence;
use crate::rooms::shard_commands::ShardCommands;
use crate::rooms::stored::StoredRooms;
use crate::rooms::visible::{Edge, Visible};
use crate::session::Settings;
#[cfg(test)]
use crate::util::clock::unix_ms;
use roomcast::store::{OpenError, StoreError};
use roomcast::{Broker, Position, Room, RoomError};
use roomcast_protocol::{ClientInfo, ErrorCode, Publication, RoomName};

/// Messages a room keeps at least, whatever its history: its ring is also what members that fall behind go on from. At a few
/// thousand messages a second this is a good part of a second for a socket to drain.
const ROOM_MESSAGES_MIN: usize = 1_024;

/// Rooms that may exist at once. A room costs little until it is published into, but names come from the network and must not
/// fill the memory.
pub(crate) const ROOMS_MAX: usize = 1_000_000;

/// The state that shards share. None of it is touched by delivering.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Metrics,
    pub(crate) presence: Presence,
    pub(crate) commands: Arc<ShardCommands>,
    pub(crate) emulation: Emulation,
    pub(crate) dormant: DormantRooms,
    /// The database; nothing where no room is kept.
    stored_rooms: OnceLock<StoredRooms>,
    publications: Broker<Publication>,
    /// The time on the wire; rooms have it, too.
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Who comes and goes, on the way to those who hear of it.
    pub(crate) events: Arc<Events>,
}

impl Hub {
    /// A hub whose rooms live on the runtimes of the shards, in a server process of that name. `clock` is the time on the wire, in
    /// milliseconds since 1970; it never falls.
    pub(crate) fn new(
        config: Config,
        node: Uuid,
        clock: impl Fn() -> u64 + Clone + Send + Sync + 'static,
        commands: Arc<ShardCommands>,
        shards: Vec<Handle>,
    ) -> Self {
        let metrics = Metrics::new(shards.len());
        let settings = Arc::new(settings(&config, node));
        Self {
            config,
            settings,
            metrics,
            presence: Presence::new(),
            commands,
            emulation: Emulation::default(),
            dormant: DormantRooms::new(),
            stored_rooms: OnceLock::new(),
            events: Arc::new(Events::new(shards.len())),
            clock: Arc::new(clock.clone()),
            publications: broker(shards, ROOM_MESSAGES_MIN, clock),
        }
    }

    /// A hub of no server.
    #[cfg(test)]
    pub(crate) fn alone(config: Config) -> Self {
        Self::new(config, Uuid::nil(), unix_ms, Arc::new(ShardCommands::new(1)), vec![Handle::current()])
    }

    /// Begins to keep the rooms that are to be kept. To be called before anybody is let in.
    ///
    /// # Errors
    /// As the store has it.
    pub(crate) fn start_storing(&self) -> Result<(), StoreError> {
        if let Some(stored_rooms) = StoredRooms::start(&self.config, &self.publications, Arc::clone(&self.clock))? {
            // Set once: there is one caller.
            let _ = self.stored_rooms.set(stored_rooms);
        }
        Ok(())
    }

    /// The time on the wire.
    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// The database, if rooms are kept.
    pub(crate) fn stored_rooms(&self) -> Option<&StoredRooms> {
        self.stored_rooms.get()
    }

    /// How a room is kept, and by whom; `None` for those that are not.
    pub(crate) fn storing(&self, room: &RoomName) -> Option<(&StoredRooms, Storage)> {
        let stored_rooms = self.stored_rooms.get()?;
        let storage = self.options(room.as_str())?.storage;
        (storage != Storage::Off).then_some((stored_rooms, storage))
    }

    /// A room that runs.
    pub(crate) fn running(&self, name: &RoomName) -> Option<Room<Publication>> {
        self.publications.get(name.as_str()).filter(Room::is_running)
    }

    /// Opens a kept room, where it ended if need be: may ask the database, and waits for it.
    ///
    /// # Errors
    /// As [`Hub::open`], and [`ErrorCode::Internal`] when the database does not answer.
    pub(crate) fn open_stored(&self, name: &RoomName) -> Result<Room<Publication>, ErrorCode> {
        if let Some(room) = self.running(name) {
            return Ok(room);
        }
        if self.metrics.rooms.get() >= ROOMS_MAX as i64 {
            return Err(ErrorCode::LimitExceeded);
        }
        let stored_rooms = self.stored_rooms.get().ok_or(ErrorCode::Internal)?;
        let opened = stored_rooms.archive.open_or_create(name.as_str(), self.ring_options(name.as_str()));
        let (room, is_new) = opened.map_err(|error| match error {
            OpenError::Room(error) => refused(error),
            error => {
                tracing::warn!(room = %name, %error, "the room was not opened");
                if stored_rooms.archive.is_stopped() { ErrorCode::TooManyRequests } else { ErrorCode::Internal }
            }
        })?;
        if is_new {
            self.metrics.rooms.inc();
        }
        Ok(room)
    }

    fn ring_options(&self, name: &str) -> roomcast::RoomOptions {
        let history = self.options(name).map_or(0, NamespaceOptions::ring_messages);
        roomcast::RoomOptions::new().capacity(history.max(ROOM_MESSAGES_MIN))
    }

    /// The options of a room; rooms of unknown namespaces have none.
    pub(crate) fn options(&self, room: &str) -> Option<&NamespaceOptions> {
        self.config.channel.options_for(room)
    }

    /// From where to where a room may be seen.
    ///
    /// # Errors
    /// As [`Edge::archived`].
    pub(crate) fn edge(&self, room: &Room<Publication>) -> Result<Edge, ErrorCode> {
        match self.stored_rooms() {
            Some(stored_rooms) => Edge::archived(&stored_rooms.archive, room),
            None => Ok(Edge::published()),
        }
    }

    /// What of a room is its history at this moment.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRoom`]; and as [`Edge::archived`].
    pub(crate) fn visible(&self, room: &Room<Publication>) -> Result<Visible, ErrorCode> {
        let options = self.options(room.name()).ok_or(ErrorCode::UnknownRoom)?;
        Ok(Visible::new(options, self.edge(room)?, self.now_ms()))
    }

    /// How a room is delivered.
    pub(crate) fn delivery_options(&self, room: &RoomName) -> DeliveryOptions {
        self.options(room.as_str()).map_or_else(DeliveryOptions::default, |options| DeliveryOptions {
            delay: options.delivery_delay,
            slow_consumer: options.slow_consumer,
            has_database: self.storing(room).is_some(),
        })
    }

    /// Opens a room that is not kept, creating it if need be.
    ///
    /// # Errors
    /// [`ErrorCode::LimitExceeded`] when there are too many rooms already, or the room is being removed.
    pub(crate) fn open(&self, name: &RoomName) -> Result<Room<Publication>, ErrorCode> {
        let name = name.as_str();
        if let Some(room) = self.publications.get(name) {
            return Ok(room);
        }
        // Two shards may pass here at once; the bound is against floods, a few more do no harm.
        if self.metrics.rooms.get() >= ROOMS_MAX as i64 {
            return Err(ErrorCode::LimitExceeded);
        }
        let options = self.ring_options(name);
        let make = |rest: Option<Position>| {
            let options = rest.map_or(options, |position| options.starting_at(position));
            self.publications.room_with(name, options).map_err(refused)
        };
        let room = self.dormant.wake(name, make)?;
        self.metrics.rooms.inc();
        Ok(room)
    }

    /// Adds a member to a room's presence; true unless it was there.
    pub(crate) fn enter(&self, room: &RoomName, member: ClientInfo) -> bool {
        self.presence.enter(room.as_str(), member)
    }

    pub(crate) fn publications(&self) -> &Broker<Publication> {
        &self.publications
    }

    /// Closes every room.
    pub(crate) fn close(&self) {
        self.publications.close();
    }
}

fn broker(
    shards: Vec<Handle>,
    messages: usize,
    clock: impl Fn() -> u64 + Send + Sync + 'static,
) -> Broker<Publication> {
    Broker::builder().capacity(messages).clock(clock).shards(shards.len()).on_tokio(shards).build()
}

fn refused(error: RoomError) -> ErrorCode {
    match error {
        RoomError::NameEmpty | RoomError::NameTooLong => ErrorCode::BadRequest,
        RoomError::TooManyRooms => ErrorCode::LimitExceeded,
        _ => ErrorCode::Internal,
    }
}

fn settings(config: &Config, node: Uuid) -> Settings {
    let mut settings = Settings::new(node.to_string(), Box::new(config.channel.clone()));
    settings.ping_interval_ms = config.client.ping_interval.as_millis() as u64;
    settings.pong_timeout_ms = config.client.pong_timeout.as_millis() as u64;
    settings.stale_timeout_ms = config.client.stale_close_delay.as_millis() as u64;
    settings.allow_anonymous = config.client.allow_anonymous_connect_without_token;
    settings.trust_display_names = config.dev;
    settings.ignore_tokens = config.dev;
    let rooms = config.client.subscribe_on_connect.iter();
    // What the configuration lets through are names.
    settings.subscribe_on_connect =
        rooms.filter_map(|name| RoomName::parse(name, config.channel.max_length).ok()).collect();
    settings.limits = config.limits();
    settings
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
