//! Backends that are slow, dead, lying, redirecting, huge, or broken: whoever asked is told, and nobody else notices.

use std::time::Duration;

use serde_json::json;

use super::backend::{Backend, Said};
use super::{backend, connected, say, server};
use crate::harness::{Running, eventually};

/// The shortest that says something.
const SHORT: Duration = Duration::from_millis(100);

fn assert_fails(backend: &Backend, timeout: Duration, outcome: &str) {
    let server = server(backend, |config| {
        config.proxies.connect.timeout = timeout;
        config.client.user_id_http_header = Some("x-user".to_owned());
    });
    let mut client = server.client();
    for id in 1..3 {
        let reply = say(&mut client, id, &json!({"connect": {}}));
        assert_eq!(
            reply["error"],
            json!({"code": 100, "message": "internal server error", "temporary": true}),
            "{outcome}"
        );
    }
    let metric = format!("roomcast_proxy_calls_total{{event=\"connect\",proxy=\"default\",outcome=\"{outcome}\"}}");
    assert_eq!(server.metric(&metric), 2, "{}", server.get("/metrics", "").1);
    assert_eq!(server.metric("roomcast_proxy_in_flight"), 0);
}

#[test]
fn a_backend_that_cannot_be_used_is_an_internal_error_that_may_pass() {
    let patient = Duration::from_secs(10);
    assert_fails(&Backend::start(|_| Said::Nothing), SHORT, "timeout");
    assert_fails(&Backend::start(|_| Said::Redirect), patient, "redirected");
    assert_fails(&Backend::start(|_| Said::Huge), patient, "too_large");
    assert_fails(&Backend::start(|_| Said::Status(503, "{\"result\":{\"user\":\"42\"}}")), patient, "status");
    assert_fails(&Backend::start(|_| Said::Status(200, "<html>")), patient, "unreadable");
    assert_fails(&Backend::start(|_| Said::Json(json!({"result": {"user": 42}}))), patient, "unreadable");
    assert_fails(&Backend::start(|_| Said::Json(json!({"disconnect": {"code": 1}}))), patient, "unreadable");
    assert_fails(&Backend::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), patient, "broken");
    assert_fails(&Backend::saying(b"who is there?"), patient, "broken");
    let gone = Backend::start(|_| Said::Nothing);
    let address = gone.address;
    drop(gone);
    let mut dead = Backend::start(|_| Said::Nothing);
    dead.address = address;
    assert_fails(&dead, patient, "unreachable");
}

/// Backends that say what is HTTP and no use, or never come to an end.
#[test]
fn a_backend_that_talks_without_end_is_heard_no_longer_than_it_may() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let leak = |text: String| &*Box::leak(text.into_bytes().into_boxed_slice());
    let patient = Duration::from_secs(10);
    let saying = |text: String| Backend::saying(leak(text));
    assert_fails(&saying(format!("{OK}X-Long: {}\r\n\r\n{{}}", "x".repeat(1 << 20))), patient, "broken");
    assert_fails(&saying(format!("{OK}{}\r\n{{}}", "X-Many: x\r\n".repeat(1_000))), patient, "broken");
    assert_fails(
        &saying("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".into()),
        patient,
        "status",
    );
    assert_fails(&saying(format!("{OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}")), patient, "broken");
    assert_fails(
        &saying(format!("{OK}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\u{1f}x")),
        patient,
        "unreadable",
    );
    let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    assert_fails(&saying(format!("{early}HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")), patient, "status");
    let (slow, fast) = (Duration::from_millis(5), Duration::ZERO);
    assert_fails(&Backend::dripping(b"HTTP/1.1 200 OK\r\nX-", b"x", slow), SHORT, "timeout");
    assert_fails(
        &Backend::dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" ", slow),
        SHORT,
        "timeout",
    );
    assert_fails(&Backend::dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", slow), SHORT, "timeout");
    let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = leak(format!("1000\r\n{}\r\n", " ".repeat(4_096)));
    assert_fails(&Backend::dripping(endless, chunk, fast), patient, "too_large");
    assert_fails(&Backend::dripping(endless, b"1;x=y", slow), SHORT, "timeout");
}

/// What a client writes in place of headers reaches the backend as a header of that name, or not at all.
#[test]
fn a_client_smuggles_nothing_into_a_call() {
    let backend = Backend::start(|_| Said::Json(json!({"result": {"user": "42"}})));
    let server = server(&backend, |config| {
        let connect = &mut config.proxies.connect;
        connect.emulated_headers = vec!["x-page".to_owned(), "x-other".to_owned()];
        connect.http_headers = vec!["x-real".to_owned()];
    });
    let mut client = server.client();
    let headers = json!({
        "X-Page": "a\r\nX-Evil: 1", "x-other": "b\u{0}", "X-Evil: 1\r\nx-page": "c", "Content-Length": "0", "Host": "evil",
        "Transfer-Encoding": "chunked", "Authorization": "mine", "X-Real": "forged", "x-page ": "d",
    });
    assert!(say(&mut client, 1, &json!({"connect": {"headers": headers}})).get("connect").is_some());
    let asked = backend.asked();
    for name in ["x-page", "x-other", "x-evil", "transfer-encoding", "authorization", "x-real"] {
        assert!(!asked.headers.contains_key(name), "{name}: {:?}", asked.headers);
    }
    assert_eq!(asked.headers["host"], backend.address.to_string().as_str());
    assert_ne!(asked.headers["content-length"], "0");
}

#[test]
fn a_server_that_stops_waits_for_no_backend() {
    let backend = backend(|_| Said::Nothing);
    let server = server(&backend, |config| {
        config.rpc.without_namespace.proxy_enabled = true;
        config.proxies.rpc.timeout = Duration::from_secs(60);
    });
    let mut client = connected(&server, &backend);
    client.send(r#"{"id":2,"rpc":{"method":"x"}}"#);
    assert_eq!(backend.asked().path, "/rpc");
    let started = std::time::Instant::now();
    drop(server);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(client.closed().0, 3001);
}

#[test]
fn what_a_status_is_made_into_is_so_of_a_redirect_too() {
    let backend = Backend::start(|_| Said::Redirect);
    let server = server(&backend, |config| {
        let transforms = r#"[{"status_code":307,"to_error":{"code":1307,"message":"moved"}}]"#;
        config.proxies.connect.status_to_code_transforms = super::transforms_of(transforms);
    });
    let mut client = server.client();
    let reply = say(&mut client, 1, &json!({"connect": {}}));
    assert_eq!(reply["error"], json!({"code": 1307, "message": "moved"}));
}

/// While some wait for a backend that says nothing, others on their shard go on.
#[test]
fn who_waits_for_the_backend_keeps_nobody_else_from_anything() {
    let backend = backend(|_| Said::Nothing);
    let server = server(&backend, |config| {
        config.shards = std::num::NonZeroUsize::new(1);
        config.rpc.without_namespace.proxy_enabled = true;
        config.proxies.rpc.timeout = Duration::from_secs(60);
    });
    let mut waiting: Vec<_> = (0..20).map(|_| connected(&server, &backend)).collect();
    for client in &mut waiting {
        client.subscribe(2, "open:a");
        client.send(r#"{"id":3,"rpc":{"method":"x"}}"#);
    }
    for _ in 0..20 {
        assert_eq!(backend.asked().path, "/rpc");
    }
    let mut writer = connected(&server, &backend);
    writer.publish(2, "open:a", "1");
    for client in &mut waiting {
        assert_eq!(client.publication()["data"], 1, "who waits hears, too");
    }
    assert_eq!(server.metric("roomcast_proxy_in_flight{event=\"rpc\""), 20);
    // Who goes is not asked about any more.
    drop(waiting);
    eventually("the calls have ended", || server.metric("roomcast_proxy_in_flight") == 0);
}

#[test]
fn calls_beyond_the_bound_wait_for_their_turn_and_beyond_the_queue_they_fail_at_once() {
    let backend = backend(|_| Said::Nothing);
    let server = server(&backend, |config| {
        config.rpc.without_namespace.proxy_enabled = true;
        config.proxies.rpc.timeout = Duration::from_secs(60);
        config.proxies.rpc.concurrency = 1;
        config.proxies.rpc.queue_size = 1;
    });
    let [mut first, mut second, mut third] = [(); 3].map(|()| connected(&server, &backend));
    first.send(r#"{"id":2,"rpc":{"method":"x"}}"#);
    assert_eq!(backend.asked().path, "/rpc");
    second.send(r#"{"id":2,"rpc":{"method":"y"}}"#);
    eventually("the second waits", || server.metric("roomcast_proxy_in_flight{event=\"rpc\"") == 2);
    let reply = say(&mut third, 2, &json!({"rpc": {"method": "z"}}));
    assert_eq!(reply["error"]["code"], 100);
    assert_eq!(busy(&server), 1);
    backend.assert_not_asked();
    drop(first);
    assert_eq!(backend.asked().body["method"], "y", "its turn has come");
}

fn busy(server: &Running) -> u64 {
    server.metric("roomcast_proxy_calls_total{event=\"rpc\",proxy=\"default\",outcome=\"busy\"}")
}

#[test]
fn who_waits_longer_than_a_silent_client_may_is_not_taken_for_one() {
    let backend = Backend::start(|_| Said::Nothing);
    let server = server(&backend, |config| {
        config.client.stale_close_delay = SHORT;
        config.proxies.connect.timeout = Duration::from_millis(600);
    });
    let mut client = server.client();
    assert_eq!(say(&mut client, 1, &json!({"connect": {}}))["error"]["code"], 100);
}

/// A client that only listens has no answer, not even a head, until it is known who it is.
#[test]
fn who_only_listens_is_answered_when_the_backend_has_said_who_it_is() {
    use std::io::{Read as _, Write as _};
    let backend = Backend::start(|asked| match asked.body["data"].as_str() {
        Some("bad") => Said::Status(500, ""),
        _ => {
            std::thread::sleep(SHORT);
            Said::Json(json!({"result": {"user": "42", "subs": {"open:hall": {}}}}))
        }
    });
    let server = server(&backend, |_| {});
    let heard = |data: &str, until: &str| {
        let mut stream = crate::harness::dial(server.address);
        let request =
            format!("GET /connection/uni_sse?cf_connect=%7B%22data%22%3A%22{data}%22%7D HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is taken");
        let (mut heard, mut bytes) = (String::new(), [0; 4_096]);
        while !heard.contains(until) {
            let count = stream.read(&mut bytes).expect("it is answered");
            assert!(count > 0, "{heard}");
            heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        heard
    };
    let good = heard("good", "open:hall");
    assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
    assert_eq!(backend.asked().body["transport"], "uni_sse");
    let bad = heard("bad", "disconnect");
    assert!(bad.contains("\"code\":3004") && !bad.contains("\"connect\""), "{bad}");
}
