//! What a seed makes of the world before anything happens in it: rooms and their options, shards, clients.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::actions::{ACTIONS, Action};
use super::dice::Dice;
use super::heard::Form;
use super::model::{Asks, History, RoomKind};
use super::temper::Temper;
use crate::config::{Config, NamespaceOptions, Secret, SlowConsumer, Storage};
use crate::util::stepped::Bounds;
use roomcast_protocol::FOSSIL;

/// The world of one seed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) temper: Temper,
    pub(super) config: Config,
    pub(super) bounds: Bounds,
    pub(super) rooms: Vec<RoomKind>,
    pub(super) shards: usize,
    pub(super) clients: Vec<(String, Form)>,
    pub(super) runs: u32,
    pub(super) steps: u64,
    /// Clients bring tokens that say who they are, for a while, and which rooms are open to them.
    pub(super) has_tokens: bool,
    /// The backend is told who is in rooms and who is connected.
    pub(super) has_events: bool,
    /// What may happen, and how often it does.
    pub(super) actions: Vec<(u64, Action)>,
}

/// What tokens are signed with.
const SECRET: &str = "what the site and the server know";

/// How long a client may stay, connected or in a room, that has brought nothing new in time.
pub(super) const EXPIRED_CLOSE_DELAY: Duration = Duration::from_secs(2);

/// How long the backend may take for an answer.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a server may take: the machine that a seed is played on decides nothing.
const MEMORY_BYTES: usize = 1 << 30;

/// More messages than a seed publishes.
const ALL_MESSAGES: usize = 20_000;

/// What a ring has that has little: it is overrun by what is published at once.
const SMALL_RING: usize = 128;

/// Bytes of keys and versions where there is little for them: of some fifty keys.
const FEW_KEY_BYTES: u64 = 20_000;

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let temper = Temper::draw(dice);
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
        config.client.expired_sub_close_delay = EXPIRED_CLOSE_DELAY;
        for proxy in [&mut config.proxies.subscribe, &mut config.proxies.publish] {
            proxy.endpoint = Some("http://site.example/asked".to_owned());
            proxy.timeout = CALLBACK_TIMEOUT;
        }
        let has_tokens = temper == Temper::Tokens || dice.percent(20);
        if has_tokens {
            config.client.token.hmac_secret_key = Some(Secret::new(SECRET));
        }
        let count = match temper {
            Temper::Erasures => 1,
            Temper::Deltas => dice.weighed(&[(3, 1), (1, 2)]),
            Temper::Floods => dice.between(1, 2),
            Temper::Slow => 3,
            _ => dice.between(1, 3),
        };
        let has_events = dice.percent(30);
        config.events.users = has_events && dice.percent(60);
        config.events.vacated_delay = Duration::from_secs(dice.between(0, 6));
        config.events.batch_size = dice.between(1, 20) as usize;
        let mut rooms = Vec::new();
        for at in 0..count {
            let (mut kind, mut options) = draw_room(dice, temper, &format!("r{at}:hall"));
            options.room_events = has_events && dice.percent(80);
            kind.has_events = options.room_events;
            config.channel.namespaces.insert(format!("r{at}"), options);
            rooms.push(kind);
        }
        let bounds = draw_bounds(dice, temper, count);
        let user = |at| format!("u{at}");
        let forms: &[Form] = match temper {
            // All of them are given one batch.
            Temper::Erasures | Temper::Deltas => &[Form::Frames],
            _ => &[Form::Frames, Form::Frames, Form::Chunks, Form::Events],
        };
        let many = match temper {
            Temper::Erasures => dice.between(8, 10),
            Temper::Deltas => dice.between(6, 8),
            _ => dice.between(2, 6),
        };
        let clients = (0..many).map(|at| (user(at / 2), *dice.pick(forms))).collect();
        let shards = if matches!(temper, Temper::Erasures | Temper::Deltas) { 1 } else { dice.between(1, 2) as usize };
        let (runs, steps) = match temper {
            Temper::Epochs | Temper::Deploys => (dice.between(3, 4) as u32, *dice.pick(&[15, 30])),
            Temper::Mixed => (dice.between(1, 3) as u32, *dice.pick(&[20, 40, 80])),
            _ => (dice.between(1, 2) as u32, *dice.pick(&[40, 60])),
        };
        let actions = temper.actions(ACTIONS);
        Self { temper, config, bounds, rooms, shards, clients, runs, steps, has_tokens, has_events, actions }
    }
}

/// Bounds that are met in some of the worlds.
fn draw_bounds(dice: &mut Dice, temper: Temper, rooms: u64) -> Bounds {
    let has_small_rings = temper == Temper::Floods || dice.percent(60);
    let writes = match temper {
        Temper::Erasures | Temper::Deltas => Some(1),
        _ => dice.weighed(&[(2, None), (1, Some(1)), (1, Some(3))]),
    };
    Bounds {
        ring_messages: has_small_rings.then_some(SMALL_RING),
        writes,
        rooms: (temper == Temper::Mixed && rooms > 1 && dice.percent(20)).then_some(rooms - 1),
        key_bytes: dice.percent(30).then_some(FEW_KEY_BYTES),
    }
}

fn draw_room(dice: &mut Dice, temper: Temper, name: &str) -> (RoomKind, NamespaceOptions) {
    let history = match temper {
        Temper::Floods => dice.weighed(&[(1, History::Whole), (5, History::Short), (2, History::None)]),
        Temper::Epochs | Temper::Erasures => History::Whole,
        Temper::Deltas => dice.weighed(&[(2, History::Whole), (1, History::Short)]),
        _ => dice.weighed(&[(5, History::Whole), (2, History::Short), (1, History::None)]),
    };
    let storage = match (history, temper) {
        (History::None, _) => Storage::Off,
        (_, Temper::Epochs) => dice.weighed(&[(4, Storage::Off), (1, Storage::Async)]),
        (_, Temper::Erasures | Temper::Deltas | Temper::Floods) => {
            dice.weighed(&[(4, Storage::Off), (1, Storage::Async), (1, Storage::Stored)])
        }
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
        force_push_join_leave: dice.percent(60),
        delta_publish: temper == Temper::Deltas || dice.percent(50),
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
    let hears = options.force_push_join_leave;
    (RoomKind { name: name.to_owned(), storage, slow, history, asks, hears, has_events: false }, options)
}
