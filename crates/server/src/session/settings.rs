//! What the sessions of a server have in common.

use std::fmt;

use crate::config::RecoveryMode;
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
    /// How long a client may take to connect (default 10 s).
    pub(crate) stale_timeout_ms: u64,
    /// Whether clients may connect without a token; they then have the empty user id.
    pub(crate) allow_anonymous: bool,
    /// Whether a client may say in its connect data, as `{"name":"…"}`, what others shall see of it: its `conn_info`
    /// becomes `{"name":"…"}`, cut to [`Limits::display_name_chars_max`]. For development: nothing proves the name.
    pub(crate) trust_display_names: bool,
    /// Whether tokens are not looked at. For development; otherwise every token is invalid, as there is no key yet.
    pub(crate) ignore_tokens: bool,
    /// The rooms that every client is put into when it connects.
    pub(crate) subscribe_on_connect: Vec<RoomName>,
    /// The bounds on what a client may ask for.
    pub(crate) limits: Limits,
    /// Looks up the rules of a well-formed room name: [`ErrorCode::UnknownRoom`] if its namespace is not configured,
    /// [`ErrorCode::BadRequest`] if the namespace does not take the name.
    pub(crate) rules: RulesLookup,
}

/// Finds the rules of a room by its full name.
pub(crate) type RulesLookup = Box<dyn Fn(&str) -> Result<RoomRules, ErrorCode> + Send + Sync>;

impl Settings {
    /// The defaults, for a server process named `node` whose rooms follow `rules`.
    pub(crate) fn new(node: String, rules: RulesLookup) -> Self {
        Self {
            node,
            ping_interval_ms: 25_000,
            pong_timeout_ms: 8_000,
            stale_timeout_ms: 10_000,
            allow_anonymous: false,
            trust_display_names: false,
            ignore_tokens: false,
            subscribe_on_connect: Vec::new(),
            limits: Limits::default(),
            rules,
        }
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
            .field("subscribe_on_connect", &self.subscribe_on_connect)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What clients may do in a room; the names are those of the configuration, where each is explained. All off by
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoomRules {
    /// How many publications the room keeps.
    pub(crate) history_size: usize,
    pub(crate) presence: bool,
    pub(crate) join_leave: bool,
    pub(crate) force_push_join_leave: bool,
    pub(crate) recovery_mode: RecoveryMode,
    pub(crate) force_recovery: bool,
    pub(crate) allow_recovery: bool,
    pub(crate) force_positioning: bool,
    pub(crate) allow_positioning: bool,
    pub(crate) allow_user_limited_channels: bool,
    pub(crate) allow_subscribe_for_client: bool,
    pub(crate) allow_subscribe_for_anonymous: bool,
    pub(crate) allow_publish_for_client: bool,
    pub(crate) allow_publish_for_subscriber: bool,
    pub(crate) allow_publish_for_anonymous: bool,
    pub(crate) allow_history_for_client: bool,
    pub(crate) allow_history_for_subscriber: bool,
    pub(crate) allow_history_for_anonymous: bool,
    pub(crate) allow_presence_for_client: bool,
    pub(crate) allow_presence_for_subscriber: bool,
    pub(crate) allow_presence_for_anonymous: bool,
}
