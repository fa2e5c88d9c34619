//! What the server can be told: the settings, their defaults and why they are what they are.
//!
//! The names are those of Centrifugo 6 wherever an option means the same. Values come from, weakest first: the
//! defaults here, a file (TOML, YAML or JSON), the environment, the flags; [`load`] joins them.
//!
//! It uses `util`. It is used by everybody above.

mod absent;
mod answers;
mod autocert;
#[cfg(test)]
mod bounds;
mod channel;
mod channel_syntax;
mod compression;
mod database;
mod draft;
mod error;
mod events;
mod expression;
mod file;
mod handover;
mod health;
mod http_api;
mod http_server;
pub(crate) mod jwks;
mod level;
mod load;
mod namespace;
mod options;
pub(crate) mod origin;
mod parse;
mod personal;
mod proxy;
mod proxy_lists;
mod proxy_settings;
mod rate_limit;
mod rate_settings;
mod reload;
mod render;
mod schema;
mod server_tls;
mod setting;
mod status_transforms;
mod tls;
mod together;
mod token;
mod transforms;
mod transports;
mod tree;
mod unidirectional;
mod url;
mod variables;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use roomcast::internal::without_password;
use roomcast::store::Backend;
use roomcast_protocol::Limits;

pub use self::answers::{Answer, Verdict};
pub use self::autocert::Autocert;
pub use self::channel::Channel;
pub use self::channel_syntax::ChannelSyntax;
pub use self::compression::Compression;
pub use self::error::ConfigError;
pub use self::events::{Endpoint, RoomEventsOptions, WebhookSecret};
pub use self::handover::Handover;
pub use self::health::Health;
pub use self::http_api::{ApiErrorMode, ApiKey, HttpApi};
pub(crate) use self::http_server::UNIX;
pub use self::http_server::{FileMode, HttpServer};
pub use self::jwks::JwksEndpoint;
#[cfg(any(test, roomcast_fuzz))]
pub(crate) use self::load::review_text;
pub use self::load::{Flags, Loaded, Review, check, check_from, load, load_from, review, review_from};
pub use self::namespace::{
    DELIVERY_DELAY_MAX, DataFormat, Echo, NamespaceOptions, RecoveryMode, SlowConsumer, Storage,
};
pub use self::personal::PersonalRooms;
pub(crate) use self::proxy::DEFAULT_PROXY;
pub use self::proxy::{Proxies, ProxyOptions, Rpc, RpcOptions, StaticHeaders, StatusTransform, TransformTo};
pub use self::rate_limit::{
    ByteLimit, CommandLimits, ErrorLimit, IpConnect, IpRequest, OperationLimit, RateBucket, RateLimit, RateOverride,
    RoomCreation,
};
pub use self::reload::{Reloaded, reload, reload_from};
pub use self::server_tls::ServerTls;
pub(crate) use self::server_tls::{ACME_TLS, HTTP_2, Identity};
pub use self::tls::{Pem, TlsOptions};
pub use self::token::TokenOptions;
pub use self::transforms::{CodeTransforms, Farewell, HttpAnswer, Transform};
pub use self::transports::{HttpTransport, HttpTransports};
pub use self::unidirectional::{Init, UniHttpStream, UniSse, UniWebSocket, Unidirectional};
pub use crate::util::network::Network;
pub use crate::util::signature::{PublicKey, Secret};

/// Everything the server can be told.
///
/// ```
/// use roomcast_server::config::Config;
///
/// let config = Config::default();
/// assert_eq!(config.http_server.socket_addr().to_string(), "127.0.0.1:8000");
/// assert!(!config.channel.options_for("chat").unwrap().presence);
///
/// let dev = Config::dev();
/// assert!(dev.channel.options_for("chat").unwrap().allow_publish_for_anonymous);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Whether this is development mode: anonymous clients may do everything that the file does not forbid.
    pub dev: bool,
    /// Whether development mode may be reached from other machines, and by any name.
    pub dev_anywhere: bool,
    /// Where logs and stored messages are kept. Created when it does not exist.
    pub data_dir: PathBuf,
    /// How many shards deliver messages; `None` is one per core.
    pub shards: Option<NonZeroUsize>,
    /// `[log]`
    pub log: Log,
    /// `[http_server]`
    pub http_server: HttpServer,
    /// `[websocket]`
    pub websocket: WebSocket,
    /// `[http_stream]`, `[sse]`
    pub transports: HttpTransports,
    /// The transports of clients that only listen.
    pub unidirectional: Unidirectional,
    /// `[client]`
    pub client: Client,
    /// `[http_api]`
    pub http_api: HttpApi,
    /// `[health]`
    pub health: Health,
    /// `[events]`
    pub events: RoomEventsOptions,
    /// `[channel]`
    pub channel: Channel,
    /// `[client.proxy]`, `[channel.proxy]`, `[rpc.proxy]`, `[[proxies]]`
    pub proxies: Proxies,
    /// `[rpc]`
    pub rpc: Rpc,
    /// `[storage]`
    pub storage: StorageOptions,
    /// `[memory]`
    pub memory: MemoryOptions,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[handover]`
    pub handover: Handover,
}

/// `[log]`: what is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// A level (`info`) or directives of levels by module (`info,roomcast_server=debug`).
    pub level: String,
    /// How a line looks on the console and in the file.
    pub format: LogFormat,
    /// Which file lines also go to. Default [`LogFile::Daily`].
    pub file: LogFile,
    /// Where the files of days go; `None` is `logs` in the data directory.
    pub dir: Option<PathBuf>,
    /// How many files are kept; the oldest goes first. Default 14: two weeks to look back, where a file holds a day.
    pub files_max: usize,
    /// Bytes of all files together; the oldest goes first, and a day has more than one file where it fills an eighth of
    /// this. Default 512 MiB: whoever can make a server log must not be able to fill its disk.
    pub bytes_max: usize,
    /// Lines of one kind in ten seconds; more are counted, and the count is logged. Default 200; 0 is no limit.
    pub repeats_max: usize,
}

/// Which file lines of the log go to, beside the console.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFile {
    /// None.
    Off,
    /// One a day under [`Log::dir`].
    Daily,
    /// This one. When it is full or a day old it is set aside: the day, and a number if need be, follow its name.
    At(PathBuf),
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// `[websocket]`: limits of the WebSocket transport.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocket {
    /// The largest message a client may send, in bytes; a larger one closes with 1009. Default 64 KiB, or 512 bytes for each
    /// room of [`Client::channel_limit`] where that is more. A compressed one has that limit twice: on its way, and as it was.
    pub message_size_limit: usize,
    /// Whether and how messages are compressed.
    pub compression: Compression,
}

/// `[client]`: what a connection may do, and how long it may be silent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// Origins of web pages that may connect, `*` standing for any run of characters. Empty: only pages this server
    /// served itself. A request without an `Origin` header does not come from a page and passes.
    pub allowed_origins: Vec<String>,
    /// Whether clients may connect without a token; they then have the empty user id.
    pub allow_anonymous_connect_without_token: bool,
    /// Whether a token without a user is no good; such a client has the empty user id.
    pub disallow_anonymous_connection_tokens: bool,
    /// `[client.token]`: how tokens are verified.
    pub token: TokenOptions,
    /// Whether subscription tokens are verified by `subscription_token`; otherwise they are as connection tokens are.
    pub subscription_token_enabled: bool,
    /// `[client.subscription_token]`: how subscription tokens are verified, where that differs.
    pub subscription_token: TokenOptions,
    /// Whether everybody may connect and do everything, and nothing expires. For a server that nobody else reaches.
    pub insecure: bool,
    /// Whether tokens are believed whoever has signed them. For development.
    pub insecure_skip_token_signature_verify: bool,
    /// The header in which a proxy says whose a client is that brings no token; whoever else reaches the server may write it as
    /// well.
    pub user_id_http_header: Option<String>,
    /// How long a client whose token has expired may take to bring a new one. Default 25 s.
    pub expired_close_delay: Duration,
    /// The same of a room whose subscription token has expired. Default 25 s.
    pub expired_sub_close_delay: Duration,
    /// How often the server pings; zero is never. Default 25 s: under the 30 to 60 s after which proxies cut idle connections.
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping; shorter than `ping_interval`. Zero is that it does not answer, and one that
    /// is gone may be noticed by nobody. Default 8 s.
    pub pong_timeout: Duration,
    /// How long a socket may be full without taking anything before its client is closed, whatever it answers to pings.
    /// Default 30 s: about what a client may take to show that it is gone, and a phone in a tunnel comes back within it.
    pub write_timeout: Duration,
    /// How long a connection may wait before its `connect` command. Default 10 s.
    pub stale_close_delay: Duration,
    /// How many rooms one connection may be in. Default 128. A client that comes back sends `connect` and a subscribe for each
    /// of its rooms in one message, for which [`WebSocket::message_size_limit`] needs space.
    pub channel_limit: usize,
    /// How many commands one message may hold; more than `channel_limit`. `None` is what a client that comes back may need,
    /// twice over, and 1,024 at least.
    pub message_command_limit: Option<NonZeroUsize>,
    /// Rooms that every client is put into when it connects, at most 16; leave to subscribe is not asked for there.
    pub subscribe_on_connect: Vec<String>,
    /// `[client.connect_code_to_unidirectional_disconnect]`: what errors of `connect` become for clients that only listen.
    pub connect_code_to_unidirectional_disconnect: CodeTransforms<Farewell>,
    /// `[client.subscribe_to_user_personal_channel]`: a room of each user.
    pub subscribe_to_user_personal_channel: PersonalRooms,
    /// How many connections the server takes in all; 0 is as many as descriptors allow. One more is answered with 503.
    pub connection_limit: usize,
    /// How many connections one user may have; one more is closed with 3504. 0, the default, is a quarter of all.
    pub user_connection_limit: usize,
    /// How many new connections are taken in a second, and as many at once; one more is answered with 503. 0, the default, is no limit:
    /// whoever comes back after a restart is to be let in as fast as the machine can, and one address alone is bounded.
    pub connection_rate_limit: usize,
    /// `[client.rate_limit]`: how often clients may do something.
    pub rate_limit: RateLimit,
    /// Whether the connect reply says what time it is here.
    pub connect_include_server_time: bool,
    /// The most publications one history reply holds. Default 300.
    pub history_max_publication_limit: usize,
    /// The most publications a reconnecting client is given; one that missed more is told that it did. Default 300.
    pub recovery_max_publication_limit: usize,
}

/// `[storage]`: the database of the rooms whose `storage` is on.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageOptions {
    /// Which one. Default: the first of [`Backend::ALL`], a file in the data directory.
    pub kind: &'static Backend,
    /// Where it is, if it is a server; may hold a password.
    pub url: Option<String>,
    /// What becomes of a publisher whose room is a whole ring ahead of the database.
    pub overload: Overload,
    /// How long a publisher waits for the database at most, before it is answered with error 111. What it published into a
    /// `stored` room may be stored later all the same. Default 10 s.
    pub timeout: Duration,
}

/// `[memory]`: how much of it the server takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// Bytes in all, which are divided among what clients can make the server hold: the messages of rooms, replies that wait, what is
    /// read from the database, connections and so on. `None`, the default: three quarters of what the machine has, or the cgroup that
    /// the server runs in where that is less, so that the rest of the system has something left.
    pub limit: Option<NonZeroUsize>,
}

/// What becomes of those who publish faster than the database takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overload {
    /// They are answered with the temporary error 111.
    #[default]
    Refuse,
    /// They are answered when there is space, or, after `storage.timeout`, with error 111.
    Wait,
}

impl std::fmt::Debug for StorageOptions {
    /// Says whether there is an address, never which: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageOptions")
            .field("kind", &self.kind.name())
            .field("url", &self.url.as_ref().map(|_| "…"))
            .field("overload", &self.overload)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// `[shutdown]`: how the server ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// How long draining may take before what is left is cut. Default 30 s.
    pub timeout: Duration,
}

impl Config {
    /// The defaults of development mode: like [`Config::default`], with anonymous clients allowed to do everything and
    /// history, recovery, presence and join/leave in every room.
    #[must_use]
    pub fn dev() -> Self {
        let mut config = Self { dev: true, ..Self::default() };
        config.client.allow_anonymous_connect_without_token = true;
        config.channel.without_namespace = NamespaceOptions::dev();
        config.unidirectional = Unidirectional::dev();
        config.client.rate_limit = RateLimit::dev();
        config
    }

    /// The largest message that a client may send, by whichever transport.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.websocket.message_size_limit
    }

    /// The same without the password of the database and the secrets that sign tokens, to be shown to people: of the URL the
    /// hosts and the database stay.
    #[must_use]
    pub fn without_password(&self) -> Self {
        let mut config = self.clone();
        if let Some(url) = &mut config.storage.url {
            *url = without_password(url);
        }
        config.http_api.key.hide();
        config.events.hide();
        config.http_server.hide_secrets();
        config.client.token.hide_secrets();
        config.client.subscription_token.hide_secrets();
        config.proxies.hide_secrets();
        config
    }

    /// What clients may send.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            frame_bytes_max: self.websocket.message_size_limit,
            commands_per_frame_max: self.client.commands_per_message(),
            room_name_bytes_max: self.channel.max_length,
            rooms_per_client_max: self.client.channel_limit,
            history_publications_max: self.client.history_max_publication_limit,
            recovery_publications_max: self.client.recovery_max_publication_limit,
            ..Limits::default()
        }
    }

    /// The options a room starts from in this mode, before anything is said about its namespace.
    #[must_use]
    pub(crate) fn room_defaults(&self) -> NamespaceOptions {
        if self.dev { NamespaceOptions::dev() } else { NamespaceOptions::default() }
    }

    /// Where the database is: a file in the data directory, or the URL of a server, which may hold a password.
    #[must_use]
    pub fn database(&self) -> OsString {
        match self.storage.kind.file_name() {
            Some(name) => self.data_dir.join(name).into_os_string(),
            None => self.storage.url.clone().unwrap_or_default().into(),
        }
    }

    /// Whether there is a way for a client to connect.
    #[must_use]
    pub fn lets_anybody_in(&self) -> bool {
        let client = &self.client;
        client.token.has_key()
            || client.insecure
            || self.proxies.connect_enabled
            || client.insecure_skip_token_signature_verify
            || client.user_id_http_header.is_some()
            || client.allow_anonymous_connect_without_token
    }

    /// Whether any room's messages are kept in the database.
    pub(crate) fn stores(&self) -> bool {
        self.channel.all_options().any(|options| options.storage != Storage::Off)
    }

    /// Whether anybody's coming and going is an event for a backend.
    pub(crate) fn has_events(&self) -> bool {
        self.events.users || self.channel.all_options().any(|options| options.room_events)
    }

    /// Where the log of room events is.
    #[must_use]
    pub fn events_log(&self) -> PathBuf {
        self.data_dir.join("events.db")
    }

    /// Where the log files go.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.log.dir.clone().unwrap_or_else(|| self.data_dir.join("logs"))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dev: false,
            dev_anywhere: false,
            data_dir: PathBuf::from("data"),
            shards: None,
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
                file: LogFile::Daily,
                dir: None,
                files_max: 14,
                bytes_max: 512 * 1024 * 1024,
                repeats_max: 200,
            },
            http_server: HttpServer::default(),
            websocket: WebSocket { message_size_limit: 64 * 1024, compression: Compression::default() },
            transports: HttpTransports::default(),
            unidirectional: Unidirectional::default(),
            client: Client {
                allowed_origins: Vec::new(),
                allow_anonymous_connect_without_token: false,
                disallow_anonymous_connection_tokens: false,
                token: TokenOptions::default(),
                subscription_token_enabled: false,
                subscription_token: TokenOptions::default(),
                insecure: false,
                insecure_skip_token_signature_verify: false,
                user_id_http_header: None,
                expired_close_delay: Duration::from_secs(25),
                expired_sub_close_delay: Duration::from_secs(25),
                ping_interval: Duration::from_secs(25),
                pong_timeout: Duration::from_secs(8),
                write_timeout: Duration::from_secs(30),
                stale_close_delay: Duration::from_secs(10),
                channel_limit: 128,
                message_command_limit: None,
                subscribe_on_connect: Vec::new(),
                connect_code_to_unidirectional_disconnect: CodeTransforms::default(),
                subscribe_to_user_personal_channel: PersonalRooms::default(),
                connection_limit: 0,
                user_connection_limit: 0,
                connection_rate_limit: 0,
                rate_limit: RateLimit::default(),
                connect_include_server_time: false,
                history_max_publication_limit: 300,
                recovery_max_publication_limit: 300,
            },
            http_api: HttpApi::default(),
            health: Health::default(),
            events: RoomEventsOptions::default(),
            channel: Channel::default(),
            proxies: Proxies::default(),
            rpc: Rpc::default(),
            storage: StorageOptions {
                kind: &Backend::ALL[0],
                url: None,
                overload: Overload::Refuse,
                timeout: Duration::from_secs(10),
            },
            memory: MemoryOptions::default(),
            shutdown: Shutdown { timeout: Duration::from_secs(30) },
            handover: Handover::default(),
        }
    }
}

impl Client {
    /// How many commands one message may hold.
    pub(crate) fn commands_per_message(&self) -> usize {
        let needed = 2 * (self.channel_limit + 1);
        self.message_command_limit.map_or_else(|| needed.max(COMMANDS_PER_MESSAGE), NonZeroUsize::get)
    }
}

/// Commands in one message, whatever the limits on rooms: a batch of publishes is bounded by its bytes before.
const COMMANDS_PER_MESSAGE: usize = 1_024;
