//! What a server is told, and what is made of it: one thing, put in the place of another when the configuration is read again.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::auth::{KeyFetcher, KeySets, Tokens};
use crate::callbacks::Callbacks;
use crate::config::{Config, NamespaceOptions};
use crate::limits::memory::{CallMemory, Memory};
use crate::limits::rates::{ClientRates, Done};
use crate::ops::metrics::Metrics;
use crate::session::Settings;
use crate::session::settings::{Asks, PingTimes};
use crate::util::panics::lock;
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
    /// Whether rooms take nothing more. It stands here because whoever asks for an engine looks here anyway.
    is_settled: AtomicBool,
}

/// What parts are made of beside the configuration; the same for all of a server.
pub(crate) struct Makings {
    /// The name of the server process.
    pub(crate) node: Uuid,
    /// Milliseconds since 1970.
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The runtime of what is no shard's.
    pub(crate) background: Handle,
    /// What the server may take.
    memory: Arc<Memory>,
    /// The keys that issuers have published; a new configuration does not make them unknown.
    key_sets: Arc<KeySets>,
    /// What clients have done lately; what they may do is configured.
    done: Arc<Done>,
    /// All that there were since the start, each once: clients keep those that they have connected with.
    ping_times: Mutex<Vec<PingTimes>>,
}

impl Makings {
    pub(crate) fn new(
        node: Uuid,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
        background: Handle,
        memory: Arc<Memory>,
    ) -> Self {
        Self {
            node,
            clock,
            background,
            memory,
            key_sets: Arc::default(),
            done: Arc::default(),
            ping_times: Mutex::default(),
        }
    }

    /// What that configuration comes to.
    pub(crate) fn parts(&self, config: Config, metrics: &Metrics) -> Parts {
        let Self { clock, background, memory, key_sets, .. } = self;
        let time = || {
            let clock = Arc::clone(clock);
            move || clock()
        };
        let tokens = Tokens::with_sets(&config.client, Arc::clone(key_sets), time());
        let keys = tokens.key_sets().and_then(|sets| {
            let (attempts, calls) = (metrics.key_fetches.clone(), CallMemory::new(Arc::clone(memory)));
            let fetcher = KeyFetcher::new(Arc::clone(sets), background.clone(), Some(calls), attempts, time());
            fetcher.inspect_err(|error| tracing::error!(error, "no keys of issuers can be fetched")).ok()
        });
        let callbacks = Callbacks::new(&config, Arc::clone(clock), background.clone(), (memory, metrics));
        let mut settings = self.settings(&config, tokens);
        let (syntax, done) = (&config.channel.syntax, Arc::clone(&self.done));
        let rates = ClientRates::new(&config.client_rates(), syntax, done, metrics.refusals.clone());
        settings.rates = rates.map(Arc::new);
        let settings = Arc::new(settings);
        Parts { config: Arc::new(config), settings, keys, callbacks, is_settled: AtomicBool::new(false) }
    }

    fn settings(&self, config: &Config, tokens: Tokens) -> Settings {
        let mut settings = Settings::new(self.node.to_string(), Box::new(config.channel.clone()), tokens);
        settings.ping_interval_ms = config.client.ping_interval.as_millis() as u64;
        settings.pong_timeout_ms = config.client.pong_timeout.as_millis() as u64;
        self.number_ping_times(&mut settings);
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

    fn number_ping_times(&self, settings: &mut Settings) {
        let now = settings.ping_times_of(None);
        let mut all = lock(&self.ping_times);
        let number = all.iter().position(|known| *known == now).unwrap_or_else(|| {
            if all.len() <= usize::from(u8::MAX) {
                all.push(now);
            } else {
                tracing::warn!("ping times have changed too often since the start; they stay as they were");
            }
            all.len() - 1
        });
        settings.ping_times = u8::try_from(number).unwrap_or(u8::MAX);
        let PingTimes { interval_ms, timeout_ms } = all[number];
        (settings.ping_interval_ms, settings.pong_timeout_ms) = (interval_ms, timeout_ms);
        settings.all_ping_times.clone_from(&all);
    }
}

impl Parts {
    /// Whether rooms take nothing more.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        // Relaxed: whoever settles waits until every shard has been through a turn, and then ends the rooms.
        self.is_settled.load(Relaxed)
    }

    pub(crate) fn set_settled(&self, is_settled: bool) {
        self.is_settled.store(is_settled, Relaxed);
    }

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
