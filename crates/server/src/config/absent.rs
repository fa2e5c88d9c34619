//! Options of Centrifugo 6 that are not served here: the one list of them, with what it means that each is missing.
//!
//! An option that is served leaves this list and stands in [`options`](super::options) instead.

use super::proxy_settings::OWN;
use super::tree::Value;

/// An option that is not served, or with all that is in it, a section.
#[derive(Debug)]
pub(super) struct Absent {
    /// Its path. What holds for a namespace holds for rooms without one.
    pub(super) path: &'static str,
    pub(super) weight: Weight,
    /// What that means.
    pub(super) meaning: &'static str,
    /// A value that asks for nothing, beside those that are empty, zero or false.
    usual: &'static str,
}

/// What follows when somebody sets an option that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nothing is lost: it is done another way, or there is no need of it.
    Otherwise,
    /// It is served whatever is said of it, and so somebody sees what the file may forbid.
    Always,
    /// Nothing by itself: it is a part of another option that is not served.
    Part,
    /// Something is slower, larger, or seen by its operator less well. It is said, and the server starts.
    Missing,
    /// Somebody could do or see what the file forbids, or a message, a right or a client that the file promises would be lost.
    /// The server does not start, unless it is told to go without.
    Refused,
}

impl Absent {
    const fn usually(self, usual: &'static str) -> Self {
        Self { usual, ..self }
    }

    /// Whether this value asks for something.
    pub(super) fn is_asked_for(&self, value: &Value) -> bool {
        let says_nothing = |text: &str| {
            matches!(text, "" | "0" | "0s" | "false" | "null" | "[]" | "{}")
                || (!self.usual.is_empty() && text == self.usual)
        };
        match value {
            Value::Table(members) => !members.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Text(text) | Value::Plain(text) => !says_nothing(text),
            Value::Integer(number) => !says_nothing(&number.to_string()),
            Value::Bool(truth) => *truth,
            Value::Other(kind) => *kind != NULL,
        }
    }
}

/// What a notation calls a value that is none.
pub(super) const NULL: &str = "null";

const fn entry(weight: Weight, path: &'static str, meaning: &'static str) -> Absent {
    Absent { path, weight, meaning, usual: "" }
}

const fn otherwise(path: &'static str, meaning: &'static str) -> Absent {
    entry(Weight::Otherwise, path, meaning)
}

const fn always(path: &'static str, meaning: &'static str) -> Absent {
    entry(Weight::Always, path, meaning)
}

const fn missing(path: &'static str, meaning: &'static str) -> Absent {
    entry(Weight::Missing, path, meaning)
}

const fn refused(path: &'static str, meaning: &'static str) -> Absent {
    entry(Weight::Refused, path, meaning)
}

const fn part(path: &'static str, of: &'static str) -> Absent {
    entry(Weight::Part, path, of)
}

/// The entry of an option, by its path: its own, or that of the section it is in.
pub(super) fn find(path: &str) -> Option<&'static Absent> {
    let path = of_any_namespace(path);
    let is_in = |entry: &&Absent| path == entry.path || is_inside(&path, entry.path);
    ABSENT.iter().filter(is_in).max_by_key(|entry| entry.path.len())
}

/// Whether there is anything in the list at, below or above this path.
pub(super) fn knows(path: &str) -> bool {
    let path = of_any_namespace(path);
    ABSENT.iter().any(|entry| path == entry.path || is_inside(&path, entry.path) || is_inside(entry.path, &path))
}

/// The list, with the paths of what stands alone: of the rooms and calls without a namespace, and of the proxies without a name.
pub(super) fn alone() -> impl Iterator<Item = (String, &'static Absent)> {
    ABSENT.iter().flat_map(|entry| {
        let of_proxy = entry.path.strip_prefix("proxies.");
        let of_each = of_proxy.into_iter().flat_map(|key| OWN.map(|section| format!("{section}.{key}")));
        let itself = of_proxy.is_none().then(|| entry.path.replacen(".namespaces", ".without_namespace", 1));
        of_each.chain(itself).map(move |path| (path, entry))
    })
}

/// The keys of the list that stand in this section, or in a section of it.
pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static str> {
    ABSENT.iter().filter_map(move |entry| entry.path.strip_prefix(section)?.strip_prefix('.'))
}

fn is_inside(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// The path under which the list has the options of rooms, and of calls, without a namespace, and those of proxies without a name.
fn of_any_namespace(path: &str) -> String {
    let of_proxy = OWN.iter().find_map(|section| path.strip_prefix(section)?.strip_prefix('.'));
    match of_proxy {
        Some(rest) => format!("proxies.{rest}"),
        None => path.replacen(".without_namespace", ".namespaces", 1),
    }
}

const NO_OTHER_NODES: &str =
    "this is one server with its rooms in its memory; `[storage]` keeps messages over a restart";
const NO_MAPS: &str =
    "there are no map or shared-poll subscriptions; clients that ask for one are answered with an error";
const NO_PROXY: &str = "the backend is not asked";
const OTHER_SIGNS: &str = "the signs in room names are fixed, and names would mean something else";
const OTHER_PATH: &str = "the path is fixed, and clients that ask for another one find nothing";
const ONE_BUFFER: &str = "messages are encoded once for all who receive them, and buffers are the server's affair";
const ONE_LIMIT: &str = "`websocket.message_size_limit` holds for every transport";
const CLIENTS_TLS: &str = "a client's `tls`: a server has no use for it";
const NO_CONSUMER: &str = "no queue is read: what a backend puts into one reaches nobody";

/// The list. The more exact of two entries holds.
pub(super) const ABSENT: &[Absent] = &[
    part("http_server.tls.server_ca_pem", CLIENTS_TLS),
    part("http_server.tls.insecure_skip_verify", CLIENTS_TLS),
    part("http_server.tls.server_name", CLIENTS_TLS),
    part("http_server.internal_tls.server_ca_pem", CLIENTS_TLS),
    part("http_server.internal_tls.insecure_skip_verify", CLIENTS_TLS),
    part("http_server.internal_tls.server_name", CLIENTS_TLS),
    missing("http_server.http3.enabled", "clients use HTTP/1.1 and HTTP/2"),
    refused("engine.type", NO_OTHER_NODES).usually("memory"),
    part("engine", "`engine.type`"),
    refused("broker.enabled", NO_OTHER_NODES),
    part("broker", "`broker.enabled`"),
    refused("presence_manager.enabled", NO_OTHER_NODES),
    part("presence_manager", "`presence_manager.enabled`"),
    part("map_broker", "`subscription_type` of a namespace"),
    refused("controller.enabled", NO_OTHER_NODES),
    part("controller", "`controller.enabled`"),
    part("shared_poll", "`subscription_type` of a namespace"),
    refused("client.connect_proxy_name", NO_PROXY),
    refused("client.refresh_proxy_name", NO_PROXY),
    missing("client.allowed_delta_types", "messages are sent in full"),
    otherwise("client.presence_update_interval", "who is in a room is known by its open connections"),
    missing("client.concurrency", "the commands of a client are answered one after the other"),
    otherwise(
        "client.queue_max_size",
        "members read from the room itself; `slow_consumer` says what becomes of one that cannot keep up",
    ),
    otherwise("client.channel_position_check_delay", "a member cannot lose its place unnoticed"),
    otherwise("client.channel_position_max_time_lag", "a member cannot lose its place unnoticed"),
    part("channel.proxy.subscribe_stream", "`subscribe_stream_proxy_enabled`"),
    part("channel.proxy.map_publish", "`subscription_type`"),
    part("channel.proxy.map_remove", "`subscription_type`"),
    part("channel.proxy.shared_poll_refresh", "`subscription_type`"),
    refused("channel.patterns", OTHER_SIGNS),
    refused("channel.namespaces.subscribe_stream_proxy_enabled", "no backend streams into a subscription"),
    part("channel.namespaces.subscribe_stream_proxy_name", "`subscribe_stream_proxy_enabled`"),
    part("channel.namespaces.subscribe_stream_proxy_bidirectional", "`subscribe_stream_proxy_enabled`"),
    refused("channel.namespaces.subscription_type", NO_MAPS).usually("stream"),
    refused("channel.namespaces.map_clients_presence_channel_prefix", NO_MAPS),
    refused("channel.namespaces.map_users_presence_channel_prefix", NO_MAPS),
    part("channel.namespaces.map", "`subscription_type`"),
    part("channel.namespaces.shared_poll", "`subscription_type`"),
    part("proxies.grpc", "an `endpoint` of gRPC, which is refused"),
    refused("proxies.grpc_metadata", "nothing is passed on of clients of gRPC; there are none"),
    part("proxies.http.tls.client_ca_pem", "a server's `tls`: a client has no use for it"),
    refused(
        "grpc_api.enabled",
        "a backend that commands the server over gRPC reaches nobody; `[http_api]` does the same",
    ),
    part("grpc_api", "`grpc_api.enabled`"),
    refused("consumers.enabled", NO_CONSUMER),
    part("consumers", "a consumer that is `enabled`"),
    refused("websocket.disabled", "clients may connect by WebSocket"),
    refused("websocket.handler_prefix", OTHER_PATH).usually("/connection/websocket"),
    otherwise(
        "websocket.decompressed_message_size_limit",
        "`websocket.message_size_limit` holds for a message as it was before it was compressed, too",
    ),
    otherwise("websocket.read_buffer_size", ONE_BUFFER),
    otherwise("websocket.use_write_buffer_pool", ONE_BUFFER),
    otherwise("websocket.write_buffer_size", ONE_BUFFER),
    otherwise("websocket.write_timeout", "`client.write_timeout` says how long a full socket may take nothing"),
    otherwise("sse.max_request_body_size", ONE_LIMIT),
    otherwise("http_stream.max_request_body_size", ONE_LIMIT),
    refused("emulation.handler_prefix", OTHER_PATH).usually("/emulation"),
    otherwise("emulation.max_request_body_size", ONE_LIMIT),
    refused("webtransport.enabled", "clients that connect by WebTransport alone find nothing"),
    part("webtransport", "`webtransport.enabled`"),
    otherwise(
        "uni_websocket.decompressed_message_size_limit",
        "`uni_websocket.message_size_limit` holds for a message as it was before it was compressed, too",
    ),
    otherwise("uni_websocket.read_buffer_size", ONE_BUFFER),
    otherwise("uni_websocket.use_write_buffer_pool", ONE_BUFFER),
    otherwise("uni_websocket.write_buffer_size", ONE_BUFFER),
    otherwise("uni_websocket.write_timeout", "`client.write_timeout` says how long a full socket may take nothing"),
    otherwise("uni_websocket.disable_closing_handshake", "a connection that is closed is told so by a close frame"),
    refused("uni_grpc.enabled", "unidirectional clients of gRPC find nothing"),
    part("uni_grpc", "`uni_grpc.enabled`"),
    missing("admin.enabled", "there is no page for its operator; `/metrics` and the server API tell what it would"),
    part("admin", "`admin.enabled`"),
    always("prometheus.enabled", "metrics are always served; `http_server.internal_port` keeps them in"),
    missing("prometheus.handler_prefix", "metrics are at `/metrics`").usually("/metrics"),
    missing("prometheus", "the metrics are those of docs/server.md"),
    always("health.enabled", "`/health` is always served, where metrics are"),
    always("swagger.enabled", "the description of the server API is always served beside it"),
    part("swagger", "`swagger.enabled`"),
    missing("debug.enabled", "there is no profile over HTTP"),
    part("debug", "`debug.enabled`"),
    missing("opentelemetry.enabled", "there are no traces"),
    part("opentelemetry", "`opentelemetry.enabled`"),
    missing("graphite.enabled", "metrics are fetched from `/metrics`, not sent"),
    part("graphite", "`graphite.enabled`"),
    otherwise("usage_stats", "nothing is ever sent to anybody"),
    missing("node.name", "it has no name; metrics tell servers apart by where they are fetched from"),
    otherwise("node.info_metrics_aggregate_interval", "there are no other nodes to tell"),
    missing("pid_file", "no file is written; a supervisor knows its process"),
    otherwise("enable_unreleased_features", "there are none"),
    missing("dev", "`serve --dev` is for trying it out"),
];

#[cfg(test)]
mod tests {
    use super::super::options::{ROOM, SECTIONS};
    use super::*;

    #[test]
    fn the_more_exact_entry_holds() {
        assert_eq!(find("engine.type").unwrap().weight, Weight::Refused);
        assert_eq!(find("engine.redis.address").unwrap().weight, Weight::Part);
        assert_eq!(find("channel.without_namespace.map.mode").unwrap().path, "channel.namespaces.map");
        assert!(find("engines.type").is_none() && find("channel.namespaces.mapped").is_none());
        assert!(knows("http_server.tls") && !knows("http_servers"));
    }

    #[test]
    fn nothing_is_both_served_and_not() {
        let served =
            SECTIONS.iter().flat_map(|section| section.settings.iter().map(|setting| (section.name, setting.key)));
        for (section, key) in served.chain(ROOM.iter().map(|setting| ("channel.namespaces", setting.key))) {
            let path = format!("{section}.{key}");
            let listed = ABSENT.iter().find(|entry| entry.path == path.trim_start_matches('.'));
            assert!(listed.is_none(), "{path} is served: take it off the list");
        }
    }

    #[test]
    fn each_stands_there_once() {
        for (at, entry) in ABSENT.iter().enumerate() {
            assert!(ABSENT[at + 1..].iter().all(|other| other.path != entry.path), "{}", entry.path);
        }
    }

    #[test]
    fn what_asks_for_nothing_is_told_from_what_does() {
        let engine = find("engine.type").unwrap();
        for value in ["memory", "", "null"] {
            assert!(!engine.is_asked_for(&Value::Text(value.to_owned())), "{value}");
        }
        assert!(engine.is_asked_for(&Value::Text("redis".to_owned())));
        let broker = find("broker.enabled").unwrap();
        assert!(!broker.is_asked_for(&Value::Bool(false)) && !broker.is_asked_for(&Value::Plain("false".to_owned())));
        assert!(broker.is_asked_for(&Value::Plain("true".to_owned())) && broker.is_asked_for(&Value::Integer(1)));
    }
}
