//! How many requests over HTTP an address may send, and how much memory they may take.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use roomcast_server::config::{ApiKey, Config};

use super::{once, refused};
use crate::api::KEY;
use crate::harness::{Running, dial, dial_from, eventually, read_head};

/// Everybody is counted, and connections are as many as anybody likes.
fn counted(config: &mut Config) {
    let limits = &mut config.client.rate_limit;
    limits.ip_connect.exempt.clear();
    limits.ip_connect.buckets.clear();
    limits.ip_request.buckets = once(5);
    config.http_api.key = ApiKey::new("secret");
}

/// The head of the answer to a request with a body of `{}`, on a connection of its own.
fn ask(server: &Running, method: &str, path: &str, headers: &str) -> String {
    let mut stream = dial(server.address);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n{headers}\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase()
}

fn status(head: &str) -> &str {
    &head[9..12]
}

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const WRONG_KEY: &str = "X-API-Key: guess\r\n";

#[test]
fn an_address_sends_so_many_requests_and_who_has_the_key_any() {
    let server = Running::with(counted);
    let mut ann = server.member("Ann", "hall");
    let with_key = |times: usize| {
        (0..times).for_each(|_| assert_eq!(status(&ask(&server, "POST", "/api/channels", KEY)), "200"));
    };
    with_key(20);
    assert_eq!(status(&ask(&server, "POST", "/emulation", "")), "404", "there is no such session");
    for _ in 0..4 {
        assert_eq!(status(&ask(&server, "POST", "/api/channels", WRONG_KEY)), "401");
    }
    for (method, path, headers) in [
        ("POST", "/api/channels", WRONG_KEY),
        ("GET", "/api/openapi.json", ""),
        ("POST", "/emulation", ""),
        ("POST", "/connection/http_stream", ""),
        ("POST", "/connection/uni_sse", ""),
        ("OPTIONS", "/emulation", ""),
        ("GET", "/connection/websocket", ""),
        ("GET", "/", ""),
        ("GET", "/nowhere", ""),
    ] {
        let head = ask(&server, method, path, headers);
        assert_eq!(status(&head), "429", "{path}");
        assert!(head.contains("retry-after: 1") && head.contains("connection: close"), "{head}");
    }
    with_key(1);
    assert_eq!(status(&ask(&server, "GET", "/health", "")), "200");
    ann.publish(3, "hall", "1");
    // As a connection it is counted elsewhere, however it comes.
    let mut stream = dial(server.address);
    for part in ["GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\n", HANDSHAKE] {
        stream.write_all(part.as_bytes()).expect("a part");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
}

#[test]
fn requests_are_counted_for_whom_a_proxy_sends_them() {
    let server = Running::with(|config| {
        counted(config);
        config.http_server.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    });
    let found = |client: &str| {
        let headers = format!("X-Forwarded-For: {client}\r\n");
        (0..10).filter(|_| status(&ask(&server, "POST", "/emulation", &headers)) == "404").count()
    };
    assert_eq!([found("203.0.113.7"), found("203.0.113.7"), found("203.0.113.8")], [5, 0, 5]);
}

#[test]
fn a_private_address_sends_any_number_of_requests_and_a_dry_run_refuses_none() {
    let private = Running::with(|config| config.client.rate_limit.ip_request.buckets = once(1));
    let dry = Running::with(|config| {
        counted(config);
        config.client.rate_limit.ip_request.dry_run = true;
    });
    for server in [&private, &dry] {
        assert!((0..10).all(|_| status(&ask(server, "POST", "/emulation", "")) == "404"));
    }
    // Of which one asks for the number.
    assert_eq!(refused(&private, "client.rate_limit.ip_request.buckets"), 0);
    assert_eq!(refused(&dry, "client.rate_limit.ip_request.buckets"), 6);
}

const MEMORY: &str = "client.rate_limit.ip_request.max_memory_per_ip";
const PART_BYTES: usize = 256 * 1024;

/// Each address has that much memory for what it asks for, and may ask as often as it likes.
fn memory_counted(config: &mut Config) {
    counted(config);
    config.client.rate_limit.ip_request.buckets.clear();
    config.client.rate_limit.ip_request.max_memory_per_ip = PART_BYTES;
    config.client.stale_close_delay = Duration::from_secs(60);
}

/// Begins a body, of which the rest does not come; the status of the answer, if one comes in the next moment.
fn begin(mut stream: TcpStream, headers: &str) -> (TcpStream, Option<String>) {
    let request = format!("POST /emulation HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n{headers}\r\n{{");
    // One that is not let in may be closed before it has asked.
    let _ = stream.write_all(request.as_bytes());
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time");
    let mut answer = [0; 12];
    let status = stream.read_exact(&mut answer).is_ok().then(|| String::from_utf8_lossy(&answer[9..]).into_owned());
    (stream, status)
}

/// Begins bodies until one of them is refused; those that are held.
fn begin_all(begin: impl Fn() -> (TcpStream, Option<String>)) -> Vec<TcpStream> {
    let mut held = Vec::new();
    eventually("it is told to come later", || {
        let (stream, status) = begin();
        held.push(stream);
        assert!(status.is_none() || status.as_deref() == Some("503"), "{status:?}");
        status.is_some()
    });
    held
}

#[test]
fn an_address_that_sends_bodies_slowly_has_its_part_of_the_memory_and_others_theirs() {
    let server = Running::with(memory_counted);
    let mut ann = server.member("Ann", "hall");
    let held = begin_all(|| begin(dial_from("127.0.0.2", server.address), ""));
    assert!((8..60).contains(&held.len()), "{}", held.len());
    let used = server.metric("roomcast_memory_used_bytes{share=\"requests\"}") as usize;
    // Who asks for that number has some, too.
    assert!((PART_BYTES / 2..PART_BYTES + 64 * 1024).contains(&used), "{used}");
    assert!(refused(&server, MEMORY) > 0);
    assert_eq!(status(&ask(&server, "POST", "/emulation", "")), "404", "another address: there is no such session");
    ann.publish(3, "hall", "1");
    drop(held);
    eventually("it may ask again", || begin(dial_from("127.0.0.2", server.address), "").1.is_none());
}

#[test]
fn what_a_proxy_sends_takes_memory_of_its_client_s_part() {
    let server = Running::with(|config| {
        memory_counted(config);
        config.http_server.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    });
    let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let held = begin_all(|| begin(dial(server.address), &of("203.0.113.7")));
    assert!((8..60).contains(&held.len()), "{}", held.len());
    let head = ask(&server, "POST", "/emulation", &of("203.0.113.7"));
    assert_eq!(status(&head), "503");
    assert!(head.contains("retry-after: 1"), "{head}");
    assert_eq!(status(&ask(&server, "POST", "/emulation", &of("203.0.113.8"))), "404");
    let with_key = ask(&server, "POST", "/api/channels", &format!("{KEY}{}", of("203.0.113.7")));
    assert_eq!(status(&with_key), "200", "whoever has the key is let in");
    assert_eq!(status(&ask(&server, "GET", "/health", &of("203.0.113.7"))), "200");
}
