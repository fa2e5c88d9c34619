//! What a server is told, and what is made of it: one thing, put in the place of another when the configuration is read again.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::auth::{KeyFetcher, KeySets, Tokens};
use crate::callbacks::Callbacks;
use crate::config::{Config, NamespaceOptions};
use crate::limits::rates::ClientRates;
use crate::ops::metrics::Metrics;
use crate::session::Settings;
use crate::session::settings::Asks;
use roomcast_protocol::RoomName;

/// The configuration at a moment, with all that is made by it. Whoever decides something asks one of these, and not one for each half
/// of the decision.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    /// What sessions go by.
    pub(crate) settings: Arc<Settings>,
    /// Fetches the keys that issuers of tokens publish, if any does.
    pub(crate) keys: Option<KeyFetcher>,
    /// What the backend is asked.
    pub(crate) callbacks: Callbacks,
}

/// What parts are made of beside the configuration; the same for all of a server.
pub(crate) struct Makings {
    /// The name of the server process.
    pub(crate) node: Uuid,
    /// Milliseconds since 1970.
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The runtime of what is no shard's.
    pub(crate) background: Handle,
    /// The keys that issuers have published; a new configuration does not make them unknown.
    key_sets: Arc<KeySets>,
    /// What clients may do in a time, and what they have done; it counts from the start.
    rates: OnceLock<Option<Arc<ClientRates>>>,
}

impl Makings {
    pub(crate) fn new(node: Uuid, clock: Arc<dyn Fn() -> u64 + Send + Sync>, background: Handle) -> Self {
        Self { node, clock, background, key_sets: Arc::default(), rates: OnceLock::new() }
    }

    /// What that configuration comes to.
    pub(crate) fn parts(&self, config: Config, metrics: &Metrics) -> Parts {
        let Self { clock, background, key_sets, .. } = self;
        let time = || {
            let clock = Arc::clone(clock);
            move || clock()
        };
        let tokens = Tokens::with_sets(&config.client, Arc::clone(key_sets), time());
        let keys = tokens.key_sets().and_then(|sets| {
            let fetcher = KeyFetcher::new(Arc::clone(sets), background.clone(), metrics.key_fetches.clone(), time());
            fetcher.inspect_err(|error| tracing::error!(error, "no keys of issuers can be fetched")).ok()
        });
        let callbacks = Callbacks::new(&config, Arc::clone(clock), background.clone(), metrics);
        let mut settings = self.settings(&config, tokens);
        let rates =
            || ClientRates::new(&config.client_rates(), &config.channel.syntax, metrics.refusals.clone()).map(Arc::new);
        settings.rates = self.rates.get_or_init(rates).clone();
        let settings = Arc::new(settings);
        Parts { config: Arc::new(config), settings, keys, callbacks }
    }

    fn settings(&self, config: &Config, tokens: Tokens) -> Settings {
        let mut settings = Settings::new(self.node.to_string(), Box::new(config.channel.clone()), tokens);
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
        settings.syntax = config.channel.syntax.clone();
        let prefix = || settings.syntax.personal_prefix(&personal.personal_channel_namespace);
        settings.personal_rooms = personal.enabled.then(prefix);
        settings.single_connection = personal.enabled && personal.single_connection;
        settings.time = config.client.connect_include_server_time.then(|| Arc::clone(&self.clock));
        settings.proxies = Asks::new(config);
        settings.limits = config.limits();
        settings
    }
}

impl Parts {
    /// The options of a room; rooms of unknown namespaces have none.
    pub(crate) fn options(&self, room: &str) -> Option<&NamespaceOptions> {
        self.config.channel.options_for(room)
    }
}

/// The parts of the moment, which all shards see change at once.
pub(crate) type Now = ArcSwap<Parts>;

/// A look at them, for one decision.
pub(crate) type Glance = Guard<Arc<Parts>>;

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}
