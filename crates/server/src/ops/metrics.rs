//! What the server counts, in the words of Prometheus.
//!
//! Every shard has counters of its own, told apart by a label: counting never makes two shards write to one cache line, and
//! the picture shows whether all cores work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::reloads::Reloads;
use super::tls_metrics::TlsMetrics;
use roomcast::store::Status;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: usize,
}

/// A command of the server API: its method, and the error it was answered, 0 for none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    method: &'static str,
    code: u32,
}

/// Attempts to fetch the keys of issuers of tokens, by whether they came to something. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFetches(Family<OutcomeLabel, Counter>);

/// What was refused, by the name of the limit that it was beyond. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Family<LimitLabel, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

impl Refusals {
    /// Counts one. `limit` is one of so many.
    pub(crate) fn count(&self, limit: &'static str) {
        self.0.get_or_create(&LimitLabel { limit }).inc();
    }

    #[cfg(test)]
    pub(crate) fn of(&self, limit: &'static str) -> u64 {
        self.0.get_or_create(&LimitLabel { limit }).get()
    }
}

/// Rooms that a process before this one has given, by what became of them. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct TakenRooms(Family<OutcomeLabel, Counter>);

impl TakenRooms {
    /// Counts so many of which that became.
    pub(crate) fn count(&self, outcome: &'static str, rooms: u64) {
        self.0.get_or_create(&OutcomeLabel { outcome }).inc_by(rooms);
    }

    #[cfg(test)]
    pub(crate) fn of(&self, outcome: &'static str) -> u64 {
        self.0.get_or_create(&OutcomeLabel { outcome }).get()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl KeyFetches {
    /// Counts one.
    pub(crate) fn count(&self, is_good: bool) {
        let outcome = if is_good { "good" } else { "failed" };
        self.0.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// A proxy: the kind of event, and its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProxyLabel {
    event: &'static str,
    proxy: String,
}

/// How a call of it ended: `answered`, or what was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProxyEndLabel {
    event: &'static str,
    proxy: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CloseLabel {
    code: u16,
}

/// A part of the memory, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShareLabel {
    share: &'static str,
}

/// Who lags: a room on a shard, or one member of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RoomLag {
    pub(crate) shard: usize,
    pub(crate) room: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MemberLag {
    pub(crate) shard: usize,
    pub(crate) room: String,
    pub(crate) client: String,
}

/// The metrics of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    closes: Family<CloseLabel, Counter>,
    api_commands: Family<ApiLabel, Counter>,
    proxy_calls: Family<ProxyEndLabel, Counter>,
    proxy_in_flight: Family<ProxyLabel, Gauge>,
    proxy_seconds: Family<ProxyLabel, Histogram, fn() -> Histogram>,
    /// Requests to the server API without its key.
    pub(crate) api_refused: Counter,
    /// Messages published by the server API.
    pub(crate) api_messages: Counter,
    /// Attempts to fetch the keys of issuers.
    pub(crate) key_fetches: KeyFetches,
    /// How often the configuration was read again.
    pub(crate) reloads: Reloads,
    /// What became of rooms of the process before.
    pub(crate) taken_rooms: TakenRooms,
    /// Rooms that exist.
    pub(crate) rooms: Gauge,
    /// Open sockets, those that still speak HTTP included.
    pub(crate) sockets: Gauge,
    /// Connections refused because there were too many.
    pub(crate) refused: Counter,
    pub(crate) refusals: Refusals,
    /// Messages between the head of a room and the member of a shard that is furthest behind; see [`crate::delivery::lag`].
    pub(crate) room_lag: Family<RoomLag, Gauge>,
    memory_used: Family<ShareLabel, Gauge>,
    memory_limit: Family<ShareLabel, Gauge>,
    storage: StorageMetrics,
    pub(crate) room_events: RoomEventMetrics,
    pub(crate) tls: TlsMetrics,
    /// Messages between the head of a room and a member.
    pub(crate) member_lag: Family<MemberLag, Gauge>,
    shards: Vec<ShardMetrics>,
}

/// What one shard counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardMetrics {
    /// Open WebSocket connections.
    pub(crate) connections: Gauge,
    /// Memberships: one for each room of each connection.
    pub(crate) members: Gauge,
    /// Memberships whose sockets are full, or that catch up.
    pub(crate) behind: Gauge,
    pub(crate) connected: Counter,
    /// Messages published by this shard's clients.
    pub(crate) messages_in: Counter,
    /// Messages delivered, once for each member.
    pub(crate) messages_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    /// Times the shard looked after its ready rooms.
    pub(crate) turns: Counter,
    /// Runs encoded; messages delivered by runs is how well writes coalesce.
    pub(crate) runs: Counter,
    /// Members closed, or put out of a room, because they fell behind the ring.
    pub(crate) slow_consumers: Counter,
    /// Connections closed for what they sent.
    pub(crate) bad_input: Counter,
}

impl Metrics {
    pub(crate) fn new(shards: usize) -> Self {
        let mut registry = Registry::with_prefix("roomcast");
        registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let closes = Family::default();
        registry.register("closes", "Connections closed, by the code of our close frame", closes.clone());
        let api_commands = Family::default();
        registry.register("api_commands", "Commands of the server API, by method and error", api_commands.clone());
        let proxy_calls = Family::default();
        registry.register("proxy_calls", "Calls to the backend, by what became of them", proxy_calls.clone());
        let proxy_in_flight = Family::default();
        let help = "Calls to the backend that are under way or wait for a free place";
        registry.register("proxy_in_flight", help, proxy_in_flight.clone());
        let proxy_seconds = Family::new_with_constructor(proxy_histogram as fn() -> Histogram);
        registry.register("proxy_seconds", "How long calls to the backend took", proxy_seconds.clone());
        let api_refused = Counter::default();
        registry.register("api_refused", "Requests to the server API without its key", api_refused.clone());
        let api_messages = Counter::default();
        registry.register("api_messages", "Messages published by the server API", api_messages.clone());
        let key_fetches = KeyFetches::default();
        let help = "Attempts to fetch the keys of issuers of tokens, by outcome";
        registry.register("key_fetches", help, key_fetches.0.clone());
        let reloads = Reloads::register(&mut registry);
        let taken_rooms = TakenRooms::default();
        let help = "Rooms of the process before this one, by what became of them here";
        registry.register("handover_rooms", help, taken_rooms.0.clone());
        let rooms = Gauge::default();
        registry.register("rooms", "Rooms that exist", rooms.clone());
        let sockets = Gauge::default();
        registry.register("sockets", "Open sockets, those that still speak HTTP included", sockets.clone());
        let refused = Counter::default();
        registry.register("connections_refused", "Connections refused because there were too many", refused.clone());
        let refusals = Refusals::default();
        registry.register("refused", "What was refused, by the limit that it was beyond", refusals.0.clone());
        let (room_lag, member_lag) = (Family::default(), Family::default());
        let help = "Messages that the slowest member of a room still has to get, of the rooms that lag most";
        registry.register("room_lag_messages", help, room_lag.clone());
        let help = "Messages that a member still has to get, of the members that lag most";
        registry.register("member_lag_messages", help, member_lag.clone());
        let (memory_used, memory_limit) = (Family::default(), Family::default());
        registry.register("memory_used_bytes", "Memory that is used, by what for", memory_used.clone());
        registry.register("memory_limit_bytes", "Memory that may be used, by what for", memory_limit.clone());
        let storage = StorageMetrics::register(&mut registry);
        let room_events = RoomEventMetrics::register(&mut registry);
        let tls = TlsMetrics::register(&mut registry);
        let shards = ShardMetrics::register(&mut registry, shards);
        Self {
            registry,
            closes,
            api_commands,
            proxy_calls,
            proxy_in_flight,
            proxy_seconds,
            api_refused,
            api_messages,
            key_fetches,
            reloads,
            taken_rooms,
            rooms,
            sockets,
            refused,
            refusals,
            room_lag,
            memory_used,
            memory_limit,
            storage,
            room_events,
            tls,
            member_lag,
            shards,
        }
    }

    /// The counters of one shard.
    pub(crate) fn shard(&self, index: usize) -> ShardMetrics {
        self.shards[index].clone()
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Counts a connection that the server closed.
    pub(crate) fn closed(&self, code: u16) {
        self.closes.get_or_create(&CloseLabel { code }).inc();
    }

    /// Rooms of connections, each room of each counted.
    pub(crate) fn members(&self) -> u64 {
        self.shards.iter().map(|shard| u64::try_from(shard.members.get()).unwrap_or(0)).sum()
    }

    /// The counters of one proxy. There are as many as the configuration names.
    pub(crate) fn proxy(&self, event: &'static str, proxy: &str) -> ProxyMetrics {
        let label = ProxyLabel { event, proxy: proxy.to_owned() };
        ProxyMetrics {
            calls: self.proxy_calls.clone(),
            in_flight: self.proxy_in_flight.get_or_create_owned(&label),
            seconds: self.proxy_seconds.get_or_create_owned(&label),
            label,
        }
    }

    /// Counts a command of the server API. `method` is one of so many.
    pub(crate) fn api_called(&self, method: &'static str, code: u32) {
        self.api_commands.get_or_create(&ApiLabel { method, code }).inc();
    }

    /// Says how much memory is used of what may be, for that.
    pub(crate) fn memory(&self, share: &'static str, used: u64, limit: u64) {
        let label = ShareLabel { share };
        self.memory_used.get_or_create(&label).set(i64::try_from(used).unwrap_or(i64::MAX));
        self.memory_limit.get_or_create(&label).set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// Open connections of clients.
    pub(crate) fn clients(&self) -> u32 {
        self.shards.iter().map(|shard| u32::try_from(shard.connections.get()).unwrap_or(0)).sum()
    }

    /// Everything, in the text format of OpenMetrics, with how the database is doing.
    pub(crate) fn render(&self, storage: Option<&Status>, now_ms: u64) -> String {
        self.room_events.lag_seconds.set(self.room_events.waited_s(now_ms) as i64);
        if let Some(status) = storage {
            self.storage.set(status);
        }
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            // Writing into a string does not fail; an empty page is a scrape error there, not a panic here.
            Err(std::fmt::Error) => String::new(),
        }
    }
}

/// What one proxy counts.
#[derive(Clone, Debug)]
pub(crate) struct ProxyMetrics {
    label: ProxyLabel,
    calls: Family<ProxyEndLabel, Counter>,
    in_flight: Gauge,
    seconds: Histogram,
}

impl ProxyMetrics {
    /// Counts a call for as long as what is returned is kept.
    pub(crate) fn begin(&self) -> impl Drop + use<> {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts how a call ended. `outcome` is one of so many.
    pub(crate) fn ended(&self, outcome: &'static str, took: Duration) {
        let ProxyLabel { event, proxy } = self.label.clone();
        self.calls.get_or_create(&ProxyEndLabel { event, proxy, outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

/// A call under way, of somebody who may stop waiting for it.
struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// From a backend beside us to one that answers at the last moment.
fn proxy_histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// How the database is doing.
#[derive(Debug, Default)]
struct StorageMetrics {
    lag: Gauge,
    trouble: Gauge,
    messages: Counter,
    batches: Counter,
}

impl StorageMetrics {
    fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let help = "Messages published into kept rooms that the database does not have yet";
        registry.register("storage_lag_messages", help, this.lag.clone());
        let help = "1 while the database does not take messages, else 0";
        registry.register("storage_trouble", help, this.trouble.clone());
        registry.register("storage_messages", "Messages the database has taken", this.messages.clone());
        registry.register("storage_batches", "Transactions in which it has taken them", this.batches.clone());
        this
    }

    fn set(&self, status: &Status) {
        self.lag.set(status.lag as i64);
        self.trouble.set(i64::from(status.trouble.is_some()));
        // Relaxed: figures.
        self.messages.inner().store(status.stored, Relaxed);
        self.batches.inner().store(status.batches, Relaxed);
    }
}

/// How the log of room events is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomEventMetrics {
    /// Events written into the log.
    pub(crate) logged: Counter,
    /// Events that the backend has taken.
    pub(crate) delivered: Counter,
    /// Events of the log that it still has to take.
    pub(crate) lag: Gauge,
    /// How old the oldest of them is, when it is looked at.
    lag_seconds: Gauge,
    /// Since when it has waited, in milliseconds since 1970; 0 while none does.
    waits_since: Arc<AtomicU64>,
    /// Events that it will not be told of, only that they are missing.
    pub(crate) lost: Counter,
    /// Batches that it has not taken.
    pub(crate) failures: Counter,
    /// 1 while the disk does not take the log, else 0.
    pub(crate) trouble: Gauge,
}

impl RoomEventMetrics {
    /// Says since when the oldest event has waited that the backend still has to take, if there is one.
    pub(crate) fn waits_since(&self, time_ms: Option<u64>) {
        // Relaxed, here and below: a figure.
        self.waits_since.store(time_ms.unwrap_or(0), Relaxed);
    }

    /// Says that one may wait, of which it cannot be found out since when.
    pub(crate) fn waits_at_least_since(&self, now_ms: u64) {
        let _ = self.waits_since.compare_exchange(0, now_ms, Relaxed, Relaxed);
    }

    /// For how long one has waited by now, in whole seconds.
    pub(crate) fn waited_s(&self, now_ms: u64) -> u64 {
        match self.waits_since.load(Relaxed) {
            0 => 0,
            since => now_ms.saturating_sub(since) / 1_000,
        }
    }

    fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("events_logged", "Room events written into the log", this.logged.clone());
        registry.register("events_delivered", "Room events that the backend has taken", this.delivered.clone());
        registry.register("events_lag", "Room events that the backend still has to take", this.lag.clone());
        let help = "How long the oldest room event has waited for the backend";
        registry.register("events_lag_seconds", help, this.lag_seconds.clone());
        let help = "Room events that are gone: the backend is told that they are missing";
        registry.register("events_lost", help, this.lost.clone());
        registry.register("events_failures", "Batches that the backend has not taken", this.failures.clone());
        registry.register(
            "events_trouble",
            "1 while the log of room events is not written, else 0",
            this.trouble.clone(),
        );
        this
    }
}

impl ShardMetrics {
    fn register(registry: &mut Registry, shards: usize) -> Vec<Self> {
        let mut gauge = |name, help| {
            let family = Family::<ShardLabel, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        };
        let connections = gauge("connections", "Open connections");
        let members = gauge("members", "Memberships of connections in rooms");
        let behind = gauge("members_behind", "Memberships that have not been given what their shard has delivered");
        let mut counter = |name, help| {
            let family = Family::<ShardLabel, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let connected = counter("connected", "Connections opened");
        let messages_in = counter("messages_in", "Messages published by clients");
        let messages_out = counter("messages_out", "Messages delivered, once for each member");
        let bytes_in = counter("bytes_in", "Bytes read from clients");
        let bytes_out = counter("bytes_out", "Bytes written to clients");
        let turns = counter("shard_turns", "Times the shard looked after its ready rooms");
        let runs = counter("shard_batches", "Batches of messages, each encoded once for all");
        let slow_consumers = counter("slow_consumers", "Members closed, or put out of a room, for falling behind");
        let bad_input = counter("bad_input", "Connections closed for what they sent");
        (0..shards)
            .map(|shard| {
                let label = ShardLabel { shard };
                Self {
                    connections: connections.get_or_create_owned(&label),
                    members: members.get_or_create_owned(&label),
                    behind: behind.get_or_create_owned(&label),
                    connected: connected.get_or_create_owned(&label),
                    messages_in: messages_in.get_or_create_owned(&label),
                    messages_out: messages_out.get_or_create_owned(&label),
                    bytes_in: bytes_in.get_or_create_owned(&label),
                    bytes_out: bytes_out.get_or_create_owned(&label),
                    turns: turns.get_or_create_owned(&label),
                    runs: runs.get_or_create_owned(&label),
                    slow_consumers: slow_consumers.get_or_create_owned(&label),
                    bad_input: bad_input.get_or_create_owned(&label),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shards_count_shows_by_shard_and_closes_by_code() {
        let metrics = Metrics::new(2);
        metrics.shard(1).messages_out.inc_by(7);
        metrics.closed(3001);
        let text = metrics.render(None, 0);
        assert!(text.contains("roomcast_messages_out_total{shard=\"0\"} 0\n"), "{text}");
        assert!(text.contains("roomcast_messages_out_total{shard=\"1\"} 7\n"), "{text}");
        assert!(text.contains("roomcast_closes_total{code=\"3001\"} 1\n"), "{text}");
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}
