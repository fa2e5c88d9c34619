//! What a seed makes of the world before anything happens in it: rooms and their options, shards, clients.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::dice::Dice;
use super::heard::Form;
use super::model::{Asks, History, RoomKind};
use crate::config::{Config, NamespaceOptions, Secret, SlowConsumer, Storage};
use roomcast_protocol::FOSSIL;

/// The world of one seed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) rooms: Vec<RoomKind>,
    pub(super) shards: usize,
    pub(super) clients: Vec<(String, Form)>,
    pub(super) runs: u32,
    pub(super) steps: u64,
    /// Clients bring tokens that say who they are, for a while.
    pub(super) has_tokens: bool,
}

/// What tokens are signed with.
const SECRET: &str = "what the site and the server know";

/// How long a client may stay that has brought nothing new in time.
pub(super) const EXPIRED_CLOSE_DELAY: Duration = Duration::from_secs(5);

/// How long the backend may take for an answer.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a server may take: the machine that a seed is played on decides nothing.
const MEMORY_BYTES: usize = 1 << 30;

/// More messages than a seed publishes.
const ALL_MESSAGES: usize = 20_000;

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut config = Config::dev();
        config.memory.limit = NonZeroUsize::new(MEMORY_BYTES);
        config.client.ping_interval = Duration::from_secs(10);
        config.client.pong_timeout = Duration::from_secs(3);
        config.client.write_timeout = Duration::from_secs(*dice.pick(&[2, 10, 30]));
        config.client.history_max_publication_limit = ALL_MESSAGES;
        config.client.recovery_max_publication_limit = ALL_MESSAGES;
        config.storage.timeout = Duration::from_secs(3);
        config.shutdown.timeout = Duration::from_secs(5);
        config.client.expired_close_delay = EXPIRED_CLOSE_DELAY;
        for proxy in [&mut config.proxies.subscribe, &mut config.proxies.publish] {
            proxy.endpoint = Some("http://site.example/asked".to_owned());
            proxy.timeout = CALLBACK_TIMEOUT;
        }
        let has_tokens = dice.percent(30);
        if has_tokens {
            config.client.token.hmac_secret_key = Some(Secret::new(SECRET));
        }
        let mut rooms = Vec::new();
        for at in 0..dice.between(1, 3) {
            let (kind, options) = draw_room(dice, &format!("r{at}:hall"));
            config.channel.namespaces.insert(format!("r{at}"), options);
            rooms.push(kind);
        }
        let user = |at| format!("u{at}");
        let clients = (0..dice.between(2, 6))
            .map(|at| (user(at / 2), *dice.pick(&[Form::Frames, Form::Frames, Form::Chunks, Form::Events])))
            .collect();
        Self {
            config,
            rooms,
            shards: dice.between(1, 2) as usize,
            clients,
            runs: dice.between(1, 3) as u32,
            steps: *dice.pick(&[20, 40, 80]),
            has_tokens,
        }
    }
}

fn draw_room(dice: &mut Dice, name: &str) -> (RoomKind, NamespaceOptions) {
    let history = dice.weighed(&[(5, History::Whole), (2, History::Short), (1, History::None)]);
    let storage = match history {
        History::None => Storage::Off,
        _ => dice.weighed(&[(3, Storage::Off), (2, Storage::Async), (4, Storage::Stored)]),
    };
    let slow = dice.weighed(&[(3, SlowConsumer::Disconnect), (2, SlowConsumer::Skip), (1, SlowConsumer::Latest)]);
    let asks = Asks { subscribing: dice.percent(10), publishing: dice.percent(10) };
    let mut options = NamespaceOptions {
        subscribe_proxy_enabled: asks.subscribing,
        publish_proxy_enabled: asks.publishing,
        storage,
        slow_consumer: slow,
        allow_tags_filter: true,
        allowed_delta_types: vec![FOSSIL.to_owned()],
        delta_publish: dice.percent(50),
        ..NamespaceOptions::dev()
    };
    if dice.percent(15) {
        options.delivery_delay = Duration::from_millis(dice.between(1, 100));
    }
    match history {
        History::Whole => {
            options.history_size = ALL_MESSAGES;
            options.history_ttl = Duration::from_secs(365 * 86_400);
            options.history_meta_ttl = options.history_ttl;
        }
        History::Short => {
            options.history_size = dice.between(1, 20) as usize;
            options.history_ttl = Duration::from_secs(dice.between(2, 20));
            options.history_meta_ttl = options.history_ttl + Duration::from_secs(dice.between(0, 20));
            if storage != Storage::Off && dice.percent(50) {
                options.storage_size = options.history_size + dice.between(0, 20) as usize;
            }
        }
        History::None => {
            options.history_size = 0;
            (options.force_recovery, options.allow_recovery) = (false, false);
            (options.force_positioning, options.allow_positioning) = (false, false);
        }
    }
    (RoomKind { name: name.to_owned(), storage, slow, history, asks }, options)
}
