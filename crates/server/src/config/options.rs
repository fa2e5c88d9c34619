//! The table of all options: the one place that knows their names, sections, bounds and descriptions.
//!
//! Reading a file, the environment's names, the nearest name to a typing error and the printed configuration all
//! come from here, so an option cannot be known to one and not to another.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::LazyLock;
use std::time::Duration;

use super::origin::normal_origin;
use super::schema::beat;
pub(super) use super::schema::{Reload, Section, Setting, listing, setting, sign};
use super::setting::{Kind as _, duration_or_off, read};
use super::{
    DELIVERY_DELAY_MAX, NamespaceOptions, compression, database, events, handover, health, http_api, http_server,
    personal, proxy_settings, rate_settings, token, transports, unidirectional,
};
use roomcast_protocol::{FOSSIL, RoomName};

/// All sections, in the order in which they are printed; the first one stands above all others.
pub(super) static SECTIONS: LazyLock<Vec<&'static Section>> = LazyLock::new(|| {
    let first = FIRST.iter().chain(transports::SECTIONS).chain(unidirectional::SECTIONS);
    first.chain(REST).chain(rate_settings::SECTIONS).chain(proxy_settings::SECTIONS).collect()
});

/// Those before the ones of the HTTP transports.
const FIRST: &[Section] = &[
    Section {
        name: "",
        settings: &[
            setting!("data_dir", Restart, data_dir, "where logs and stored messages are kept"),
            setting!("shards", Restart, shards, "threads that deliver; unset: one per core", shards_in_bounds),
        ],
    },
    Section {
        name: "log",
        settings: &[
            Setting {
                key: "level",
                reload: Reload::Live,
                about: || Cow::from("trace, debug, info, warn, error or off; or by module: info,roomcast=debug"),
                read: |target, value| {
                    let directives: String = read(value)?;
                    target.log.level = super::level::level(&directives)?;
                    Ok(())
                },
                write: |target| target.log.level.write(),
                copy: |target, source| target.log.level.clone_from(&source.log.level),
            },
            setting!("format", Restart, log.format, "text or json"),
            setting!(
                "file",
                Restart,
                log.file,
                "whether lines also go to a file a day: true, false or the path of one that is set aside when it is full or a day old"
            ),
            setting!("dir", Restart, log.dir, "where the files of days go; unset: logs in the data directory"),
            setting!("files_max", Restart, log.files_max, "files kept", |v: &usize| within(v, &1, &LOG_FILES_MAX)),
            setting!(
                "bytes_max",
                Restart,
                log.bytes_max,
                "bytes of all files together; the oldest goes first",
                |v: &usize| { within(v, &LOG_BYTES_MIN, &LOG_BYTES_MAX) }
            ),
            setting!(
                "repeats_max",
                Live,
                log.repeats_max,
                "lines of one kind in ten seconds; more are counted and left out; 0: no limit",
                |v: &usize| within(v, &0, &LOG_REPEATS_MAX)
            ),
        ],
    },
    http_server::SECTION,
    Section {
        name: "websocket",
        settings: &[
            setting!(
                "message_size_limit",
                Live,
                websocket.message_size_limit,
                "the largest message from a client, in bytes; unset: 64 KiB, or 512 bytes for each of channel_limit",
                |v: &usize| within(v, &MESSAGE_BYTES_MIN, &MESSAGE_BYTES_MAX)
            ),
            setting!("compression", Live, websocket.compression.enabled, compression::ABOUT_ENABLED),
            setting!(
                "compression_min_size",
                Live,
                websocket.compression.min_size,
                compression::ABOUT_MIN_SIZE,
                compression::is_min_size
            ),
            setting!(
                "compression_level",
                Live,
                websocket.compression.level,
                compression::ABOUT_LEVEL,
                compression::is_level
            ),
        ],
    },
];

/// Those after the ones of the HTTP transports.
const REST: &[Section] = &[
    Section {
        name: "client",
        settings: &[
            listing!(
                "allowed_origins",
                Live,
                client.allowed_origins,
                "origins of pages that may connect, * standing for any run of characters; empty: this server's own pages",
                ORIGINS_MAX,
                normal_origin
            ),
            setting!(
                "allow_anonymous_connect_without_token",
                Live,
                client.allow_anonymous_connect_without_token,
                "let clients connect without a token"
            ),
            setting!(
                "disallow_anonymous_connection_tokens",
                Live,
                client.disallow_anonymous_connection_tokens,
                "let nobody connect with a token that names no user"
            ),
            setting!(
                "insecure",
                Live,
                client.insecure,
                "let everybody do everything, without tokens and without expiry"
            ),
            setting!(
                "insecure_skip_token_signature_verify",
                Live,
                client.insecure_skip_token_signature_verify,
                "believe every token, whoever has signed it"
            ),
            setting!(
                "user_id_http_header",
                Live,
                client.user_id_http_header,
                "the header in which a proxy, and nobody else, says whose a client without a token is",
                header_name
            ),
            setting!(
                "expired_close_delay",
                Live,
                client.expired_close_delay,
                "how long a client whose token has expired may take to bring a new one",
                |v: &Duration| between(*v, Duration::ZERO, DELAY_MAX)
            ),
            setting!(
                "expired_sub_close_delay",
                Live,
                client.expired_sub_close_delay,
                "the same of a room whose token has expired",
                |v: &Duration| between(*v, Duration::ZERO, DELAY_MAX)
            ),
            beat!("ping_interval", Live, client.ping_interval, "how often the server pings; -1: never"),
            beat!(
                "pong_timeout",
                Live,
                client.pong_timeout,
                "how long a client may take to answer; -1: it does not answer"
            ),
            setting!(
                "write_timeout",
                Live,
                client.write_timeout,
                "how long a full socket may take nothing before its client is closed",
                |v: &Duration| between(*v, HEARTBEAT_MIN, DELAY_MAX)
            ),
            setting!(
                "stale_close_delay",
                Live,
                client.stale_close_delay,
                "how long a connection may wait before it says connect",
                |v: &Duration| between(*v, HEARTBEAT_MIN, DELAY_MAX)
            ),
            setting!(
                "channel_limit",
                Live,
                client.channel_limit,
                "rooms one connection may be in",
                |v: &usize| within(v, &1, &CHANNEL_LIMIT_MAX)
            ),
            setting!(
                "message_command_limit",
                Live,
                client.message_command_limit,
                "commands in one message, more than channel_limit; unset: what a client that comes back may need"
            ),
            listing!(
                "subscribe_on_connect",
                Live,
                client.subscribe_on_connect,
                "rooms that every client is put into when it connects",
                SUBSCRIBE_ON_CONNECT_MAX,
                room_name
            ),
            setting!(
                "connection_limit",
                Live,
                client.connection_limit,
                "connections in all; 0: as many as descriptors allow; more: status 503"
            ),
            setting!(
                "user_connection_limit",
                Live,
                client.user_connection_limit,
                "connections of one user; 0: a quarter of all; more: code 3504"
            ),
            setting!(
                "connection_rate_limit",
                Live,
                client.connection_rate_limit,
                "new connections in a second, and as many at once; 0: no limit; more: status 503"
            ),
            setting!(
                "connect_include_server_time",
                Live,
                client.connect_include_server_time,
                "say in the connect reply what time it is"
            ),
            setting!(
                "history_max_publication_limit",
                Live,
                client.history_max_publication_limit,
                "publications in one history reply",
                |v: &usize| within(v, &1, &REPLY_PUBLICATIONS_MAX)
            ),
            setting!(
                "recovery_max_publication_limit",
                Live,
                client.recovery_max_publication_limit,
                "publications a reconnecting client is given",
                |v: &usize| within(v, &1, &REPLY_PUBLICATIONS_MAX)
            ),
        ],
    },
    Section { name: "client.token", settings: token::CONNECTION },
    Section { name: "client.subscription_token", settings: token::SUBSCRIPTION },
    personal::SECTION,
    unidirectional::DISCONNECTS,
    http_api::SECTION,
    health::SECTION,
    events::SECTION,
    Section {
        name: "shutdown",
        settings: &[setting!("timeout", Live, shutdown.timeout, "how long draining may take", |v: &Duration| between(
            *v,
            Duration::ZERO,
            DELAY_MAX
        ))],
    },
    handover::SECTION,
    Section {
        name: "storage",
        settings: &[
            setting!("type", Restart, storage.kind, database::places()),
            setting!("url", Restart, storage.url, database::urls()),
            setting!(
                "overload",
                Live,
                storage.overload,
                "a publisher whose room is a whole ring ahead of the database: refuse it (error 111) or let it wait"
            ),
            setting!(
                "timeout",
                Live,
                storage.timeout,
                "how long a publisher waits for the database at most; then error 111",
                |v: &Duration| between(*v, STORAGE_TIMEOUT_MIN, DELAY_MAX)
            ),
        ],
    },
    Section {
        name: "memory",
        settings: &[setting!(
            "limit",
            Restart,
            memory.limit,
            "bytes that the server takes in all; unset: three quarters of what the machine, or its cgroup, has",
            memory_in_bounds
        )],
    },
    Section {
        name: "channel",
        settings: &[
            setting!("max_length", Restart, channel.max_length, "the longest room name, in bytes", |v: &usize| within(
                v,
                &1,
                &ROOM_NAME_BYTES_MAX
            )),
            setting!(
                "history_meta_ttl",
                Live,
                channel.history_meta_ttl,
                "history_meta_ttl of the rooms that say nothing of it",
                |v: &Duration| between(*v, Duration::from_secs(1), TTL_MAX)
            ),
            setting!(
                "publication_data_format",
                Live,
                channel.publication_data_format,
                "what payloads may be where the namespace does not say: json, json_object, binary (also empty) or anything but empty"
            ),
            sign!(
                "private_prefix",
                channel.syntax.private_prefix,
                "$",
                "starts the names of rooms that only a subscription token opens, before their namespace"
            ),
            sign!(
                "namespace_boundary",
                channel.syntax.namespace_boundary,
                ":",
                "divides a namespace from the rest of a room's name"
            ),
            sign!("user_boundary", channel.syntax.user_boundary, "#", "stands before the users whom a room is for"),
            sign!("user_separator", channel.syntax.user_separator, ",", "stands between these users"),
        ],
    },
];

/// The options of `[channel.without_namespace]` and of each of `[[channel.namespaces]]`.
pub(super) const ROOM: &[Setting<NamespaceOptions>] = &[
    setting!("history_size", Live, history_size, "messages of the history; 0: no history", |v: &usize| within(
        v,
        &0,
        &HISTORY_SIZE_MAX
    )),
    setting!(
        "ring_size_bytes",
        Live,
        ring_size_bytes,
        "bytes of messages that a room has in memory; the oldest go first",
        |v: &usize| within(v, &RING_BYTES_MIN, &RING_BYTES_MAX)
    ),
    setting!("history_ttl", Live, history_ttl, "how long a message stays in the history", |v: &Duration| between(
        *v,
        Duration::ZERO,
        TTL_MAX
    )),
    setting!(
        "storage",
        Restart,
        storage,
        "keep messages in the database: off, async (soon) or stored (before they are acknowledged and delivered)"
    ),
    setting!(
        "storage_ttl",
        Live,
        storage_ttl,
        "how long the database keeps a message; 0s: for good",
        |v: &Duration| between(*v, Duration::ZERO, TTL_MAX)
    ),
    setting!("storage_size", Live, storage_size, "messages of a room that the database keeps; 0: all"),
    setting!("presence", Live, presence, "know who is in the room"),
    setting!("join_leave", Live, join_leave, "announce coming and going to clients that ask for it"),
    setting!("force_push_join_leave", Live, force_push_join_leave, "announce coming and going to everybody"),
    setting!("room_events", Restart, room_events, "tell the backend of [events] who comes and goes"),
    setting!("force_recovery", Live, force_recovery, "every subscription recovers what it missed"),
    setting!("allow_recovery", Live, allow_recovery, "a subscription recovers when the client asks"),
    setting!("force_positioning", Live, force_positioning, "every subscription is told its position"),
    setting!("allow_positioning", Live, allow_positioning, "a subscription is told its position when the client asks"),
    setting!("allow_subscribe_for_client", Live, allow_subscribe_for_client, "clients with a user id may subscribe"),
    setting!(
        "allow_subscribe_for_anonymous",
        Live,
        allow_subscribe_for_anonymous,
        "clients without a user id may subscribe"
    ),
    setting!(
        "allow_user_limited_channels",
        Live,
        allow_user_limited_channels,
        "rooms named name#42,43 are for the users 42 and 43 alone"
    ),
    setting!("allow_publish_for_client", Live, allow_publish_for_client, "clients with a user id may publish"),
    setting!("allow_publish_for_subscriber", Live, allow_publish_for_subscriber, "clients in the room may publish"),
    setting!("allow_publish_for_anonymous", Live, allow_publish_for_anonymous, "both also without a user id"),
    setting!("allow_history_for_client", Live, allow_history_for_client, "clients with a user id may read the history"),
    setting!(
        "allow_history_for_subscriber",
        Live,
        allow_history_for_subscriber,
        "clients in the room may read the history"
    ),
    setting!("allow_history_for_anonymous", Live, allow_history_for_anonymous, "both also without a user id"),
    setting!(
        "allow_presence_for_client",
        Live,
        allow_presence_for_client,
        "clients with a user id may ask who is in the room"
    ),
    setting!(
        "allow_presence_for_subscriber",
        Live,
        allow_presence_for_subscriber,
        "clients in the room may ask who is in it"
    ),
    setting!("allow_presence_for_anonymous", Live, allow_presence_for_anonymous, "both also without a user id"),
    setting!(
        "subscribe_proxy_enabled",
        Live,
        subscribe_proxy_enabled,
        "the backend says who may subscribe without a token, in place of allow_subscribe_…"
    ),
    setting!(
        "subscribe_proxy_name",
        Live,
        subscribe_proxy_name,
        "by which of the proxies; default: [channel.proxy.subscribe]"
    ),
    setting!(
        "publish_proxy_enabled",
        Live,
        publish_proxy_enabled,
        "the backend says who may publish, and what, in place of allow_publish_…"
    ),
    setting!(
        "publish_proxy_name",
        Live,
        publish_proxy_name,
        "by which of the proxies; default: [channel.proxy.publish]"
    ),
    setting!(
        "sub_refresh_proxy_enabled",
        Live,
        sub_refresh_proxy_enabled,
        "the backend says who may stay whose time in the room is over, in place of a new token"
    ),
    setting!(
        "sub_refresh_proxy_name",
        Live,
        sub_refresh_proxy_name,
        "by which of the proxies; default: [channel.proxy.sub_refresh]"
    ),
    setting!(
        "history_meta_ttl",
        Live,
        history_meta_ttl,
        "how long a room that nobody uses keeps its position after its last message; 0s: as all rooms",
        |v: &Duration| between(*v, Duration::ZERO, TTL_MAX)
    ),
    setting!(
        "force_recovery_mode",
        Live,
        force_recovery_mode,
        "what is recovered: stream (all that was missed) or cache (the newest message)"
    ),
    setting!(
        "auto_cache_recover",
        Live,
        auto_cache_recover,
        "every subscription recovers the newest message, asked or not; needs force_recovery and the mode cache"
    ),
    setting!(
        "publication_data_format",
        Live,
        publication_data_format,
        "what payloads may be: json, json_object or binary (also empty); unset: what holds for all rooms"
    ),
    listing!(
        "allowed_delta_types",
        Live,
        allowed_delta_types,
        "deltas that clients may ask for: [\"fossil\"] or none",
        DELTA_TYPES_MAX,
        delta_type
    ),
    setting!("delta_publish", Live, delta_publish, "make deltas of all messages, not only of those published so"),
    setting!("allow_tags_filter", Live, allow_tags_filter, "clients may ask for messages with certain tags only"),
    setting!(
        "echo",
        Live,
        echo,
        "give clients what they publish themselves: all, not_client (not its own) or not_user (not its user's)"
    ),
    setting!("channel_regex", Live, channel_regex, "what names must match, without their namespace"),
    setting!(
        "slow_consumer",
        Live,
        slow_consumer,
        "a member that cannot keep up: disconnect it, skip (it must subscribe again) or go on with the latest message"
    ),
    setting!(
        "delivery_delay",
        Live,
        delivery_delay,
        "how long messages may gather, so that more share a write",
        |v: &Duration| between(*v, Duration::ZERO, DELIVERY_DELAY_MAX)
    ),
];

/// Namespaces a configuration may declare: far above what anybody writes, so that a generated file fails early.
pub(super) const NAMESPACES_MAX: usize = 1_000;
/// The longest namespace name: it must leave most of a room's name to the room.
pub(super) const NAMESPACE_BYTES_MAX: usize = 64;

/// A shard is a thread; more than this is a typing error.
const SHARDS_MAX: usize = 1_024;
/// Ten years of daily files.
const LOG_FILES_MAX: usize = 3_660;
/// A few thousand lines, in several files.
const LOG_BYTES_MIN: usize = 1024 * 1024;
/// More than a disk that is for logs.
const LOG_BYTES_MAX: usize = 1024 * 1024 * 1024 * 1024;
/// More than is written in that time.
const LOG_REPEATS_MAX: usize = 1_000_000;
/// The program itself, and a few rooms.
const MEMORY_MIN: usize = 128 << 20;
/// More than a machine has.
const MEMORY_MAX: usize = 1 << 50;
/// A connect command with a token must fit.
const MESSAGE_BYTES_MIN: usize = 1_024;
/// A message is held whole in memory, once per client that is sending one.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Below this, timers cost more than the connections they watch.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
/// A connection nobody looked after for longer is gone.
const DELAY_MAX: Duration = Duration::from_secs(60 * 60);
/// Less than a disk may take for one commit would refuse what is about to be stored.
const STORAGE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// Bytes of a message that each room of a client takes when it comes back: a subscribe with a name of full length, a position
/// and a token.
pub(super) const ROOM_BYTES: usize = 512;
/// What a client that comes back sends must fit into the largest message.
const CHANNEL_LIMIT_MAX: usize = MESSAGE_BYTES_MAX / ROOM_BYTES;
/// A reply is encoded in one piece.
const REPLY_PUBLICATIONS_MAX: usize = 10_000;
/// The wire contract's.
const ROOM_NAME_BYTES_MAX: usize = 255;
/// A history is held in memory, per room.
const HISTORY_SIZE_MAX: usize = 1_000_000;
/// A few messages as large as clients may send by default.
const RING_BYTES_MIN: usize = 1 << 20;
/// More than a room is worth.
const RING_BYTES_MAX: usize = 1 << 40;
/// Ten years.
const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Each is entered before a client has its first answer.
const SUBSCRIBE_ON_CONNECT_MAX: usize = 16;
/// There is one.
const DELTA_TYPES_MAX: usize = 8;
/// Each is compared with each connection's origin.
const ORIGINS_MAX: usize = 256;

pub(super) fn within<N: PartialOrd + Display>(value: &N, least: &N, most: &N) -> Result<(), String> {
    if least <= value && value <= most { Ok(()) } else { Err(format!("expected {least} to {most}, found {value}")) }
}

pub(super) fn between(value: Duration, least: Duration, most: Duration) -> Result<(), String> {
    if least <= value && value <= most {
        return Ok(());
    }
    let [least, most, value] = [least, most, value].map(humantime::format_duration);
    Err(format!("expected {least} to {most}, found {value}"))
}

fn shards_in_bounds(shards: &Option<std::num::NonZeroUsize>) -> Result<(), String> {
    shards.map_or(Ok(()), |shards| within(&shards.get(), &1, &SHARDS_MAX))
}

fn memory_in_bounds(limit: &Option<std::num::NonZeroUsize>) -> Result<(), String> {
    limit.map_or(Ok(()), |limit| within(&limit.get(), &MEMORY_MIN, &MEMORY_MAX))
}

fn header_name(name: &Option<String>) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match name {
        Some(name) if !name.bytes().all(fits) => Err(format!("expected the name of a header, found {name:?}")),
        _ => Ok(()),
    }
}

fn delta_type(name: &str) -> Result<String, String> {
    if name == FOSSIL { Ok(name.to_owned()) } else { Err(format!("expected \"fossil\", found {name:?}")) }
}

fn room_name(name: &str) -> Result<String, String> {
    match RoomName::parse(name, ROOM_NAME_BYTES_MAX) {
        Ok(_) => Ok(name.to_owned()),
        Err(error) => Err(format!("{name:?} is no name of a room: {error}")),
    }
}
