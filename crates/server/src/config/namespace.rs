//! What a namespace lets its rooms keep and its clients do.

use std::time::Duration;

use regex::Regex;

use super::DEFAULT_PROXY;
use roomcast::store::Retention;
use roomcast_protocol::Payload;

/// The options of a room, by its namespace. Everything is off by default, as in Centrifugo.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NamespaceOptions {
    /// How many messages the history holds. 0 is no history; costs memory per room once it is published into.
    pub history_size: usize,
    /// Bytes of messages that a room has in memory: the oldest go early to stay within it. A single message may be a 256th of it, or as
    /// large as clients may send one where that is more. Default 32 MiB: of messages as large as clients may send, some 500.
    pub ring_size_bytes: usize,
    /// How long a message stays in the history. Needed with `history_size`, except with `storage`, where zero is for as long as
    /// the database keeps it.
    pub history_ttl: Duration,
    /// How long a room that nobody is in and nobody publishes into keeps its position, after its last message: one that
    /// comes back later is told that it cannot recover. At least `history_ttl`. Default 30 days.
    pub history_meta_ttl: Duration,
    /// Whether messages are kept in the database, and how safely. The history then reaches into the database: `history_size` and
    /// `history_ttl` say how far clients may go back, and memory holds the newest 4,096 of them at most.
    pub storage: Storage,
    /// How long the database keeps a message; zero is for good.
    pub storage_ttl: Duration,
    /// How many messages of a room the database keeps; 0 is all.
    pub storage_size: usize,
    /// Whether the server knows who is in the room.
    pub presence: bool,
    /// Whether coming and going is announced to clients that asked for it. Every join is a message to every such
    /// member: not for rooms of thousands.
    pub join_leave: bool,
    /// Whether coming and going is announced to everybody in the room.
    pub force_push_join_leave: bool,
    /// Whether coming and going is told to a backend, by the log of room events ([`RoomEventsOptions`](super::RoomEventsOptions)).
    /// Costs some hundred bytes of memory for each member, and two writes of some hundred bytes for each that comes and goes.
    pub room_events: bool,
    /// Whether every subscription recovers what it missed while away.
    pub force_recovery: bool,
    /// Whether a subscription recovers what it missed when the client asks for it.
    pub allow_recovery: bool,
    /// What a subscription recovers.
    pub force_recovery_mode: RecoveryMode,
    /// Whether every subscription recovers the newest message, also one that did not ask for it. Needs `force_recovery`, and
    /// `force_recovery_mode` to be `cache`.
    pub auto_cache_recover: bool,
    /// Whether every subscription is told its position.
    pub force_positioning: bool,
    /// Whether a subscription is told its position when the client asks for it.
    pub allow_positioning: bool,
    /// Whether `#` in a room's name divides it from the ids of the users who alone may subscribe, with commas between them.
    pub allow_user_limited_channels: bool,
    /// Whether any client with a user id may subscribe.
    pub allow_subscribe_for_client: bool,
    /// Whether any client without a user id may subscribe.
    pub allow_subscribe_for_anonymous: bool,
    /// Whether any client with a user id may publish, in the room or not.
    pub allow_publish_for_client: bool,
    /// Whether clients in the room may publish into it.
    pub allow_publish_for_subscriber: bool,
    /// Whether what holds for clients and subscribers about publishing also holds without a user id.
    pub allow_publish_for_anonymous: bool,
    /// Whether any client with a user id may read the history.
    pub allow_history_for_client: bool,
    /// Whether clients in the room may read its history.
    pub allow_history_for_subscriber: bool,
    /// Whether what holds for clients and subscribers about history also holds without a user id.
    pub allow_history_for_anonymous: bool,
    /// Whether any client with a user id may ask who is in the room.
    pub allow_presence_for_client: bool,
    /// Whether clients in the room may ask who else is.
    pub allow_presence_for_subscriber: bool,
    /// Whether what holds for clients and subscribers about presence also holds without a user id.
    pub allow_presence_for_anonymous: bool,
    /// What payloads may be.
    pub publication_data_format: DataFormat,
    /// The kinds of deltas that clients may ask for: `fossil`, or none. A client with deltas is given what has changed since the message
    /// before, which is computed once for all of a shard that speak the same encoding.
    pub allowed_delta_types: Vec<String>,
    /// Whether all messages are made deltas of for clients that asked for them; if not, those are of which whoever publishes says so.
    pub delta_publish: bool,
    /// Whether clients may be given only messages whose tags match a filter that they bring. Each different filter costs about as much as
    /// a member with a framing of its own.
    pub allow_tags_filter: bool,
    /// Whether clients are given what they have published themselves.
    pub echo: Echo,
    /// Whether the backend says who may subscribe without a token, in place of the options above. `#` and `$` in a name come first.
    pub subscribe_proxy_enabled: bool,
    /// By which proxy; `default` is `[channel.proxy.subscribe]`.
    pub subscribe_proxy_name: String,
    /// Whether the backend says who may publish, and what, in place of the options above.
    pub publish_proxy_enabled: bool,
    /// By which proxy; `default` is `[channel.proxy.publish]`.
    pub publish_proxy_name: String,
    /// Whether the backend says who may stay whose time in the room is over, in place of a new subscription token.
    pub sub_refresh_proxy_enabled: bool,
    /// By which proxy; `default` is `[channel.proxy.sub_refresh]`.
    pub sub_refresh_proxy_name: String,
    /// What a room's name, without its namespace, must match; `None` takes any.
    pub channel_regex: Option<Regex>,
    /// What happens to a member whose socket stays full until the ring has moved past it.
    pub slow_consumer: SlowConsumer,
    /// How long messages may gather before they are delivered, so that more of them share a write. At most
    /// [`DELIVERY_DELAY_MAX`].
    pub delivery_delay: Duration,
}

/// The longest [`NamespaceOptions::delivery_delay`]: beyond it people see it.
pub const DELIVERY_DELAY_MAX: Duration = Duration::from_millis(100);

/// Whether the messages of a room are kept in the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// They are not: what is in memory is all there is.
    #[default]
    Off,
    /// They are acknowledged and delivered at once, and kept some milliseconds later. Those of the last moments before a crash
    /// may be missing; the room then begins a new epoch, so that clients learn of it.
    Async,
    /// They are acknowledged and delivered when the disk has them: nothing that anybody has seen is lost.
    Stored,
}

/// The default of [`NamespaceOptions::ring_size_bytes`].
const RING_BYTES: usize = 32 << 20;

/// Messages of a kept room that are in memory at most: a few seconds of a busy room, so that nearly all who come back are served
/// from there.
const KEPT_RING_MAX: usize = 4_096;

/// What a subscription recovers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Everything since the position it names, or nothing: no gap is passed over.
    #[default]
    Stream,
    /// The newest message. For rooms of which only the newest counts, such as a price.
    Cache,
}

/// What payloads may be. JSON clients can send nothing but JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataFormat {
    /// Anything but nothing; or, of a namespace, what holds for all of them.
    #[default]
    NotEmpty,
    /// JSON.
    Json,
    /// A JSON object.
    JsonObject,
    /// Anything, nothing included.
    Binary,
}

impl DataFormat {
    /// Whether that is such a payload.
    pub(crate) fn allows(self, data: &Payload) -> bool {
        match self {
            Self::NotEmpty => !data.is_empty(),
            Self::Json => data.is_json(),
            Self::JsonObject => data.is_json_object(),
            Self::Binary => true,
        }
    }
}

/// Whether clients are given what they have published themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Echo {
    /// They are.
    #[default]
    All,
    /// A client is not given what it has published itself.
    NotClient,
    /// It is not given what its user has published, from whichever connection. Without a user it is as with `NotClient`.
    NotUser,
}

impl Echo {
    /// The kind of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::All, Self::NotClient, Self::NotUser].into_iter().find(|echo| echo.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NotClient => "not_client",
            Self::NotUser => "not_user",
        }
    }
}

/// How long development mode shows messages.
const HISTORY_TTL_DEV: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The default of [`NamespaceOptions::history_meta_ttl`].
pub(super) const HISTORY_META_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What happens to a member that cannot keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// It is closed with 3008; its SDK reconnects and recovers what it missed.
    #[default]
    Disconnect,
    /// It is put out of the room with 2500; its SDK subscribes again and recovers, or learns that it cannot.
    Skip,
    /// It goes on with the newest message. For rooms of which only the newest counts: nothing tells the client but the
    /// offsets.
    Latest,
}

impl NamespaceOptions {
    /// The defaults of development mode: everybody may do everything, all messages are kept in the database, and the last 1,000
    /// of 30 days are shown.
    #[must_use]
    pub fn dev() -> Self {
        Self {
            history_size: 1_000,
            storage: Storage::Async,
            history_ttl: HISTORY_TTL_DEV,
            presence: true,
            join_leave: true,
            force_push_join_leave: true,
            force_recovery: true,
            allow_recovery: true,
            force_positioning: true,
            allow_positioning: true,
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_publish_for_client: true,
            allow_publish_for_subscriber: true,
            allow_publish_for_anonymous: true,
            allow_history_for_client: true,
            allow_history_for_subscriber: true,
            allow_history_for_anonymous: true,
            allow_presence_for_client: true,
            allow_presence_for_subscriber: true,
            allow_presence_for_anonymous: true,
            ..Self::default()
        }
    }

    /// Whether anybody with a user may enter rooms that are named for other users.
    pub(crate) fn is_open_to_everybody(&self) -> bool {
        self.allow_subscribe_for_client && !self.allow_user_limited_channels
    }

    /// How many messages the history has in memory.
    pub(crate) fn ring_messages(&self) -> usize {
        match self.storage {
            Storage::Off => self.history_size,
            _ => self.history_size.min(KEPT_RING_MAX),
        }
    }

    /// Whether a room has a past, and it is in memory and nowhere else.
    pub(crate) fn is_kept_in_memory(&self) -> bool {
        self.storage == Storage::Off && self.history_size > 0
    }

    /// Whether its rooms have a database.
    pub(crate) fn is_stored(&self) -> bool {
        self.storage != Storage::Off
    }

    /// How long the database keeps its messages.
    pub(crate) fn retention(&self) -> Retention {
        Retention {
            ttl: Some(self.storage_ttl).filter(|ttl| !ttl.is_zero()),
            messages_max: Some(self.storage_size as u64).filter(|size| *size > 0),
        }
    }
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            history_size: 0,
            ring_size_bytes: RING_BYTES,
            history_ttl: Duration::ZERO,
            history_meta_ttl: HISTORY_META_TTL,
            storage: Storage::Off,
            storage_ttl: Duration::ZERO,
            storage_size: 0,
            presence: false,
            join_leave: false,
            force_push_join_leave: false,
            room_events: false,
            force_recovery: false,
            allow_recovery: false,
            force_recovery_mode: RecoveryMode::Stream,
            auto_cache_recover: false,
            force_positioning: false,
            allow_positioning: false,
            allow_user_limited_channels: false,
            allow_subscribe_for_client: false,
            allow_subscribe_for_anonymous: false,
            allow_publish_for_client: false,
            allow_publish_for_subscriber: false,
            allow_publish_for_anonymous: false,
            allow_history_for_client: false,
            allow_history_for_subscriber: false,
            allow_history_for_anonymous: false,
            allow_presence_for_client: false,
            allow_presence_for_subscriber: false,
            allow_presence_for_anonymous: false,
            publication_data_format: DataFormat::NotEmpty,
            allowed_delta_types: Vec::new(),
            delta_publish: false,
            allow_tags_filter: false,
            echo: Echo::All,
            subscribe_proxy_enabled: false,
            subscribe_proxy_name: DEFAULT_PROXY.to_owned(),
            publish_proxy_enabled: false,
            publish_proxy_name: DEFAULT_PROXY.to_owned(),
            sub_refresh_proxy_enabled: false,
            sub_refresh_proxy_name: DEFAULT_PROXY.to_owned(),
            channel_regex: None,
            slow_consumer: SlowConsumer::Disconnect,
            delivery_delay: Duration::ZERO,
        }
    }
}

impl PartialEq for NamespaceOptions {
    /// Two sets of options are equal when a file that says one says the other: expressions are compared by their text.
    fn eq(&self, other: &Self) -> bool {
        super::render::room(self) == super::render::room(other)
    }
}
