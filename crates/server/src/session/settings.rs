//! What the sessions of a server have in common.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::auth::Tokens;
use crate::config::{Channel, ChannelSyntax, Config, NamespaceOptions, Rpc};
use crate::limits::rates::ClientRates;
use crate::session::heartbeat::TimesId;
use roomcast_protocol::{ErrorCode, Limits, RoomName};

/// How sessions behave; one for all sessions of a server.
pub(crate) struct Settings {
    /// The id of this server process.
    pub(crate) node: String,
    /// Time between pings (default 25 s); 0 sends none. Shorter finds dead clients sooner and costs a packet per
    /// client and interval.
    pub(crate) ping_interval_ms: u64,
    /// How long a client may take to answer a ping (default 8 s), less than the interval.
    pub(crate) pong_timeout_ms: u64,
    /// The number of these two, and what they were before. A client is told when it connects how often it is pinged, and takes a
    /// server for gone that pings less often; so it keeps the times that it has connected with.
    pub(crate) ping_times: TimesId,
    pub(crate) all_ping_times: Vec<PingTimes>,
    /// How long a client may take to connect (default 10 s).
    pub(crate) stale_timeout_ms: u64,
    /// Whether clients may connect without a token; they then have the empty user id.
    pub(crate) allow_anonymous: bool,
    /// Whether a client may say in its connect data, as `{"name":"…"}`, what others shall see of it: its `conn_info`
    /// becomes `{"name":"…"}`, cut to [`Limits::display_name_chars_max`]. For development: nothing proves the name.
    pub(crate) trust_display_names: bool,
    /// Whether tokens that no key could verify are not looked at, and private rooms open without one. For development.
    pub(crate) ignore_tokens: bool,
    /// Whether a token without a user lets nobody in.
    pub(crate) disallow_anonymous_tokens: bool,
    /// Whether everybody may connect and do everything, and nothing expires.
    pub(crate) insecure: bool,
    /// Verifies tokens.
    pub(crate) tokens: Tokens,
    /// How long a client whose token has expired may take to bring another (default 25 s).
    pub(crate) expired_close_delay_ms: u64,
    /// The same of a subscription token (default 25 s).
    pub(crate) expired_sub_close_delay_ms: u64,
    /// The rooms that every client is put into when it connects.
    pub(crate) subscribe_on_connect: Vec<RoomName>,
    /// The signs in the names of rooms.
    pub(crate) syntax: ChannelSyntax,
    /// What the name of a user's own room begins with, before the user; its clients are put into it.
    pub(crate) personal_rooms: Option<String>,
    /// Whether the connections of a user end when a newer one has connected.
    pub(crate) single_connection: bool,
    /// The time that clients are told when they connect, in milliseconds since 1970; they are told none without it.
    pub(crate) time: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
    /// What the backend is asked about all clients; what about those of a room, the options of rooms say.
    pub(crate) proxies: Asks,
    /// The bounds on what a client may ask for.
    pub(crate) limits: Limits,
    /// How often it may; `None` where that is not bounded.
    pub(crate) rates: Option<Arc<ClientRates>>,
    /// What clients may do in a room.
    pub(crate) options: Box<dyn OptionsLookup>,
}

/// How often a client is pinged, and how long it may take to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PingTimes {
    pub(crate) interval_ms: u64,
    pub(crate) timeout_ms: u64,
}

/// What the backend is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asks {
    /// Who a client is that brings no token.
    pub(crate) connect: bool,
    /// Whether a client may stay whose time is over.
    pub(crate) refresh: bool,
    /// Which procedures it has.
    pub(crate) rpc: Rpc,
    /// What clients say in place of headers and is passed on to any proxy, in lower case.
    pub(crate) emulated_headers: BTreeSet<String>,
}

impl Asks {
    pub(crate) fn new(config: &Config) -> Self {
        let proxies = &config.proxies;
        let emulated = proxies.all().flat_map(|(_, options)| &options.emulated_headers);
        Self {
            connect: proxies.connect_enabled,
            refresh: proxies.refresh_enabled,
            rpc: config.rpc.clone(),
            emulated_headers: emulated.cloned().collect(),
        }
    }
}

/// Finds the options of a room.
pub(crate) trait OptionsLookup: Send + Sync {
    /// By a well-formed name, with its namespace.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRoom`] if its namespace is not configured, [`ErrorCode::BadRequest`] if the namespace does not take
    /// the name.
    fn options_of(&self, room: &str) -> Result<&NamespaceOptions, ErrorCode>;
}

impl OptionsLookup for Channel {
    fn options_of(&self, room: &str) -> Result<&NamespaceOptions, ErrorCode> {
        let options = self.options_for(room).ok_or(ErrorCode::UnknownRoom)?;
        if self.allows(room, options) { Ok(options) } else { Err(ErrorCode::BadRequest) }
    }
}

impl Settings {
    /// The defaults, for a server process named `node` whose rooms have those `options`, and where `tokens` are good.
    pub(crate) fn new(node: String, options: Box<dyn OptionsLookup>, tokens: Tokens) -> Self {
        Self {
            node,
            ping_interval_ms: 25_000,
            pong_timeout_ms: 8_000,
            ping_times: 0,
            all_ping_times: Vec::new(),
            stale_timeout_ms: 10_000,
            allow_anonymous: false,
            trust_display_names: false,
            ignore_tokens: false,
            disallow_anonymous_tokens: false,
            insecure: false,
            tokens,
            expired_close_delay_ms: 25_000,
            expired_sub_close_delay_ms: 25_000,
            subscribe_on_connect: Vec::new(),
            syntax: ChannelSyntax::default(),
            personal_rooms: None,
            single_connection: false,
            time: None,
            proxies: Asks::default(),
            limits: Limits::default(),
            rates: None,
            options,
        }
    }
}

impl Settings {
    /// Those of a number, or those of the moment.
    pub(crate) fn ping_times_of(&self, number: Option<TimesId>) -> PingTimes {
        let other = number.filter(|number| *number != self.ping_times);
        let other = other.and_then(|number| self.all_ping_times.get(usize::from(number)).copied());
        other.unwrap_or(PingTimes { interval_ms: self.ping_interval_ms, timeout_ms: self.pong_timeout_ms })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("node", &self.node)
            .field("ping_interval_ms", &self.ping_interval_ms)
            .field("pong_timeout_ms", &self.pong_timeout_ms)
            .field("stale_timeout_ms", &self.stale_timeout_ms)
            .field("allow_anonymous", &self.allow_anonymous)
            .field("trust_display_names", &self.trust_display_names)
            .field("ignore_tokens", &self.ignore_tokens)
            .field("disallow_anonymous_tokens", &self.disallow_anonymous_tokens)
            .field("insecure", &self.insecure)
            .field("expired_close_delay_ms", &self.expired_close_delay_ms)
            .field("expired_sub_close_delay_ms", &self.expired_sub_close_delay_ms)
            .field("subscribe_on_connect", &self.subscribe_on_connect)
            .field("syntax", &self.syntax)
            .field("personal_rooms", &self.personal_rooms)
            .field("single_connection", &self.single_connection)
            .field("limits", &self.limits)
            .field("rates", &self.rates)
            .finish_non_exhaustive()
    }
}

/// For tests and the fuzzer: options by namespace, of which the rooms of "none" are unknown.
#[cfg(any(test, roomcast_fuzz))]
pub(crate) struct ByNamespace {
    pub(crate) rooms: std::collections::HashMap<&'static str, NamespaceOptions>,
    /// Of all other rooms.
    pub(crate) others: NamespaceOptions,
}

#[cfg(any(test, roomcast_fuzz))]
impl OptionsLookup for ByNamespace {
    fn options_of(&self, room: &str) -> Result<&NamespaceOptions, ErrorCode> {
        match ChannelSyntax::default().namespace_of(room) {
            "none" => Err(ErrorCode::UnknownRoom),
            namespace => Ok(self.rooms.get(namespace).unwrap_or(&self.others)),
        }
    }
}
