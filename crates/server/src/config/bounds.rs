//! Which options are limits: each that takes a number, a time or a rate says so here, and names the test that exceeds it over real
//! sockets, or why it bounds nothing that strangers do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::options::{ROOM, SECTIONS, Setting};
use super::proxy_settings::{PROXY, RPC, repeated};
use super::tree::Value;
use super::{Config, NamespaceOptions, ProxyOptions, RpcOptions};

/// What an option is.
enum Bound {
    /// A limit, which this test of `tests/server/` or `tests/cli/` exceeds: whoever is over it is told, and others go on.
    Exceeded(&'static str),
    /// A limit that no test can exceed from outside, for this reason; this unit test holds it.
    Held(&'static str, #[expect(dead_code, reason = "it is for who reads")] &'static str),
    /// None, for this reason.
    NoLimit(#[expect(dead_code, reason = "it is for who reads")] &'static str),
}

use Bound::{Exceeded, Held, NoLimit};

const PLACE: &str = "where the server is";
const BEAT: &str = "how often something is done";
const EFFORT: &str = "how much is done to send less";
const HANDS: &str = "how the operator's server changes hands";
const RETENTION: &str = "what is kept, where somebody wants it kept";

/// All that take a number, a time or a rate, with their sections; those of namespaces and of proxies once.
const BOUNDS: &[(&str, Bound)] = &[
    ("shards", NoLimit("threads of the operator's choice")),
    ("log.files_max", Exceeded("the_files_of_a_log_are_so_many_and_hold_so_many_bytes")),
    ("log.bytes_max", Exceeded("the_files_of_a_log_are_so_many_and_hold_so_many_bytes")),
    ("log.repeats_max", Exceeded("strangers_fill_no_disk_through_the_log")),
    ("http_server.port", NoLimit(PLACE)),
    ("http_server.internal_port", NoLimit(PLACE)),
    ("websocket.message_size_limit", Exceeded("each_case_is_closed_with_its_code_and_others_go_on")),
    (
        "uni_websocket.message_size_limit",
        Exceeded("requests_that_say_nothing_good_are_refused_before_anything_is_made_of_them"),
    ),
    (
        "uni_http_stream.max_request_body_size",
        Exceeded("requests_that_say_nothing_good_are_refused_before_anything_is_made_of_them"),
    ),
    (
        "uni_sse.max_request_body_size",
        Exceeded("requests_that_say_nothing_good_are_refused_before_anything_is_made_of_them"),
    ),
    ("http_server.tls_autocert.retry_interval", NoLimit(BEAT)),
    ("http_server.tls_check_interval", NoLimit(BEAT)),
    ("http_server.tls_handshake_timeout", Exceeded("a_handshake_has_its_time")),
    ("http_server.tls_handshake_limit", Exceeded("of_too_many_handshakes_the_oldest_are_given_up")),
    ("http_server.tcp_unsent_limit", Exceeded("the_system_holds_little_for_who_takes_nothing")),
    ("http_server.tcp_unread_limit", Exceeded("the_system_holds_little_of_who_is_not_read")),
    ("websocket.compression_level", NoLimit(EFFORT)),
    ("websocket.compression_min_size", NoLimit(EFFORT)),
    ("uni_websocket.compression_level", NoLimit(EFFORT)),
    ("uni_websocket.compression_min_size", NoLimit(EFFORT)),
    ("client.expired_close_delay", Exceeded("a_connection_that_outlives_its_token_is_closed")),
    ("client.expired_sub_close_delay", Exceeded("a_room_opens_by_its_token_until_that_is_over")),
    ("client.ping_interval", NoLimit(BEAT)),
    ("client.pong_timeout", Exceeded("pings_are_answered_between_fragments_and_missing_pongs_are_noticed")),
    ("client.write_timeout", Exceeded("who_takes_nothing_is_closed_before_any_ping_is_due")),
    ("client.stale_close_delay", Exceeded("silence_is_closed_as_stale")),
    ("client.channel_limit", Exceeded("each_refusal_in_a_room_has_its_error")),
    ("client.message_command_limit", Exceeded("a_message_holds_so_many_commands")),
    ("client.connection_limit", Exceeded("beyond_the_connection_limit_newcomers_are_told_so_and_others_stay")),
    ("client.user_connection_limit", Exceeded("a_user_has_so_many_connections_and_others_theirs")),
    ("client.connection_rate_limit", Exceeded("new_connections_come_so_many_in_a_second")),
    ("client.history_max_publication_limit", Exceeded("an_answer_holds_so_many_publications")),
    ("client.recovery_max_publication_limit", Exceeded("a_client_that_missed_too_much_is_told_and_starts_from_now")),
    ("client.token.hmac_previous_secret_key_valid_until", NoLimit("a date")),
    ("client.subscription_token.hmac_previous_secret_key_valid_until", NoLimit("a date")),
    (
        "client.rate_limit.client_command.total",
        Exceeded("a_flood_of_commands_is_told_to_try_again_and_then_cut_off_while_others_go_on"),
    ),
    (
        "client.rate_limit.client_command.default",
        Exceeded("kinds_that_say_nothing_have_the_default_and_namespaces_their_own"),
    ),
    ("client.rate_limit.client_command.subscribe", Exceeded(EACH)),
    ("client.rate_limit.client_command.unsubscribe", Exceeded(EACH)),
    ("client.rate_limit.client_command.publish", Exceeded(EACH)),
    ("client.rate_limit.client_command.history", Exceeded(EACH)),
    ("client.rate_limit.client_command.presence", Exceeded(EACH)),
    ("client.rate_limit.client_command.presence_stats", Exceeded(EACH)),
    ("client.rate_limit.client_command.refresh", Exceeded(EACH)),
    ("client.rate_limit.client_command.sub_refresh", Exceeded(EACH)),
    ("client.rate_limit.client_command.rpc", Exceeded(EACH)),
    ("client.rate_limit.user_command.total", Exceeded(OF_USER)),
    ("client.rate_limit.user_command.default", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.connect", Exceeded(OF_USER)),
    ("client.rate_limit.user_command.subscribe", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.unsubscribe", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.publish", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.history", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.presence", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.presence_stats", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.refresh", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.sub_refresh", Exceeded(EACH_OF_USER)),
    ("client.rate_limit.user_command.rpc", Exceeded(EACH_OF_USER)),
    (
        "client.rate_limit.room_creation.client",
        Exceeded("a_connection_makes_so_many_rooms_and_enters_those_that_are_there"),
    ),
    ("client.rate_limit.room_creation.user", Exceeded("a_user_and_an_address_make_so_many_rooms")),
    ("client.rate_limit.room_creation.ip", Exceeded("a_user_and_an_address_make_so_many_rooms")),
    ("client.rate_limit.client_error.total", Exceeded("errors_of_its_own_cut_a_client_off")),
    ("client.rate_limit.client_bytes.buckets", Exceeded("a_client_and_a_user_send_so_many_bytes")),
    ("client.rate_limit.user_bytes.buckets", Exceeded("a_client_and_a_user_send_so_many_bytes")),
    ("client.rate_limit.ip_connect.buckets", Exceeded("an_address_opens_so_many_connections_in_a_time")),
    ("client.rate_limit.ip_connect.max_concurrent_per_ip", Exceeded("an_address_has_so_many_connections")),
    ("client.rate_limit.ip_request.buckets", Exceeded("an_address_sends_so_many_requests_and_who_has_the_key_any")),
    (
        "client.rate_limit.ip_request.max_memory_per_ip",
        Exceeded("an_address_that_sends_bodies_slowly_has_its_part_of_the_memory_and_others_theirs"),
    ),
    ("events.batch_size", Exceeded("a_backend_that_was_out_for_too_long_is_told_what_it_missed")),
    ("events.timeout", Exceeded("whatever_a_backend_does_it_is_told_all_of_it_in_order")),
    ("events.vacated_delay", NoLimit(BEAT)),
    ("events.log_max_size", Exceeded("a_backend_that_was_out_for_too_long_is_told_what_it_missed")),
    ("events.log_max_age", Held("what_is_too_old_goes_when_nothing_else_happens", "the shortest is a minute")),
    ("shutdown.timeout", NoLimit("how the operator's server ends")),
    ("handover.timeout", Exceeded("who_asks_for_a_server_and_says_nothing_more_is_given_up")),
    ("handover.aim", NoLimit(HANDS)),
    ("handover.bytes", NoLimit(HANDS)),
    ("handover.close_rate", NoLimit(HANDS)),
    ("handover.close_within", NoLimit(HANDS)),
    ("storage.timeout", Exceeded("a_publisher_that_waits_too_long_for_the_disk_is_told_to_try_again")),
    ("memory.limit", Exceeded("clients_that_ask_for_much_and_take_nothing_are_held_little")),
    ("channel.max_length", Exceeded("a_room_has_a_name_of_so_many_bytes")),
    ("channel.history_meta_ttl", NoLimit(RETENTION)),
    ("channel.namespaces.history_size", Exceeded("a_history_holds_so_many_messages")),
    ("channel.namespaces.ring_size_bytes", Exceeded("large_messages_in_many_rooms_drive_out_the_coldest")),
    ("channel.namespaces.history_ttl", NoLimit(RETENTION)),
    ("channel.namespaces.storage_ttl", NoLimit(RETENTION)),
    ("channel.namespaces.storage_size", Exceeded("retention_bounds_what_is_seen")),
    ("channel.namespaces.history_meta_ttl", NoLimit(RETENTION)),
    ("channel.namespaces.delivery_delay", NoLimit(BEAT)),
    ("proxies.timeout", Exceeded("a_backend_that_cannot_be_used_is_an_internal_error_that_may_pass")),
    (
        "proxies.concurrency",
        Exceeded("calls_beyond_the_bound_wait_for_their_turn_and_beyond_the_queue_they_fail_at_once"),
    ),
    (
        "proxies.queue_size",
        Exceeded("calls_beyond_the_bound_wait_for_their_turn_and_beyond_the_queue_they_fail_at_once"),
    ),
];

const EACH: &str = "each_kind_of_command_has_a_limit_and_leaving_is_never_refused";
const EACH_OF_USER: &str = "each_kind_of_command_has_a_limit_that_all_connections_of_a_user_share";
const OF_USER: &str = "all_connections_of_a_user_share_its_limits";

/// Values of the kinds that limits have, in writings of which each is read by one kind alone.
fn is_countable<T>(setting: &Setting<T>, default: impl Fn() -> T) -> bool {
    let reads = |value: Value| (setting.read)(&mut default(), &value).is_ok();
    let plain = |text: &str| Value::Plain(text.to_owned());
    if reads(plain("no number")) || reads(plain(&"x".repeat(40))) || reads(Value::Bool(true)) {
        return false;
    }
    let numbers = [1, 200, 70_000, 2_000_000, 1 << 30].map(Value::Integer);
    let times = ["60ms", "2s", "2m", "40days"];
    let is_time = times.into_iter().any(|time| reads(Value::Text(time.to_owned())));
    let rates = [r#"[{"interval":"1s","rate":1}]"#, r#"{"buckets":[{"interval":"1s","rate":1}]}"#];
    numbers.into_iter().any(reads) || is_time || rates.into_iter().any(|rate| reads(plain(rate)))
}

/// The names of all options that take a number, a time or a rate.
fn countable() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for section in SECTIONS.iter().filter(|section| repeated(section.name).is_none()) {
        // What each proxy has stands below.
        let own = section.settings.iter().filter(|it| !section.name.contains("proxy") || !is_of_proxy(it.key));
        for setting in own.filter(|setting| is_countable(setting, Config::default)) {
            let dot = if section.name.is_empty() { "" } else { "." };
            names.insert(format!("{}{dot}{}", section.name, setting.key));
        }
    }
    let of_room = ROOM.iter().filter(|setting| is_countable(setting, NamespaceOptions::default));
    names.extend(of_room.map(|setting| format!("channel.namespaces.{}", setting.key)));
    let of_proxy = PROXY.iter().filter(|setting| is_countable(setting, ProxyOptions::default));
    names.extend(of_proxy.map(|setting| format!("proxies.{}", setting.key)));
    let of_rpc = RPC.iter().filter(|setting| is_countable(setting, RpcOptions::default));
    names.extend(of_rpc.map(|setting| format!("rpc.namespaces.{}", setting.key)));
    names
}

fn is_of_proxy(key: &str) -> bool {
    PROXY.iter().any(|setting| setting.key == key)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push_str(&fs::read_to_string(path).expect("text"));
        }
    }
}

#[test]
fn each_limit_has_a_test_that_exceeds_it_and_a_row_of_its_bounds() {
    let (mut outside, mut inside) = (String::new(), String::new());
    for folder in ["tests/server", "tests/cli"] {
        sources(&repository().join(folder), &mut outside);
    }
    sources(&repository().join("crates/server/src"), &mut inside);
    let page = fs::read_to_string(repository().join("docs/server.md")).expect("the page");
    let section = |head: &str| {
        let (_, rest) = page.split_once(&format!("\n## {head}\n")).unwrap_or_else(|| panic!("there is no {head}"));
        rest.split("\n## ").next().unwrap_or_default().to_owned()
    };
    let rows = section("How many, and how often") + &section("Bounds of the options");
    let mut findings = Vec::new();
    let found = countable();
    assert!(found.len() > 60, "{found:?}");
    for name in &found {
        let Some((_, bound)) = BOUNDS.iter().find(|(known, _)| known == name) else {
            findings.push(format!("{name}: say in BOUNDS whether it is a limit, and which test exceeds it"));
            continue;
        };
        let (test, sources) = match bound {
            Exceeded(test) => (test, &outside),
            Held(test, _) => (test, &inside),
            NoLimit(_) => continue,
        };
        if !sources.contains(&format!("fn {test}(")) {
            findings.push(format!("{name}: there is no test {test}"));
        }
        let key = name.rsplit('.').next().unwrap_or_default();
        let is_there = rows.contains(&format!("`{name}`")) || rows.contains(&format!("`{key}`"));
        let is_there = is_there || rows.contains(&format!(".{key}`"));
        if !is_there {
            findings.push(format!("{name}: docs/server.md says nothing of its bounds"));
        }
    }
    for (name, _) in BOUNDS.iter().filter(|(name, _)| !found.contains(*name)) {
        findings.push(format!("{name}: there is no such option that takes a number, a time or a rate"));
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
