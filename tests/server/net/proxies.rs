//! Who a client is behind a proxy: believed where the proxy is named, forged otherwise.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use roomcast_server::config::Config;

use super::authority::{Authority, over};
use crate::harness::{Client, Running, dial, eventually};

/// A server that lets each address have two connections, however they come.
fn server(change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.http_server.internal_port = Some(0);
        let limit = &mut config.client.rate_limit.ip_connect;
        (limit.max_concurrent_per_ip, limit.exempt) = (2, Vec::new());
        change(config);
    })
}

/// The status that a handshake with these headers is answered with; none where there is no answer.
fn handshake(stream: &mut TcpStream, headers: &str) -> Option<String> {
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    let _ = stream.write_all(request.as_bytes());
    let mut status = [0; 12];
    stream.read_exact(&mut status).ok()?;
    Some(String::from_utf8_lossy(&status[9..]).into_owned())
}

fn ask(server: &Running, before: &[u8], headers: &str) -> (TcpStream, Option<String>) {
    let mut stream = dial(server.address);
    let _ = stream.write_all(before);
    let status = handshake(&mut stream, headers);
    (stream, status)
}

fn status(found: &(TcpStream, Option<String>)) -> Option<&str> {
    found.1.as_deref()
}

#[test]
fn clients_behind_a_proxy_are_told_apart_by_what_it_says() {
    let server = server(|config| config.http_server.trusted_proxies = vec!["127.0.0.0/8".to_owned()]);
    let of = |client: &str| ask(&server, b"", &format!("X-Forwarded-For: {client}\r\n"));
    let mut kept: Vec<_> = (0..2).map(|_| of("203.0.113.7")).collect();
    assert!(kept.iter().all(|found| status(found) == Some("101")), "{kept:?}");
    // What it writes itself stands further away than what the proxy adds.
    assert_eq!(status(&of("198.51.100.1, 203.0.113.7")), Some("429"));
    kept.push(of("203.0.113.8"));
    assert_eq!(kept.last().and_then(status), Some("101"), "another client");
    // A handshake in pieces takes the long way.
    let mut stream = dial(server.address);
    stream
        .write_all(b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.7\r\n")
        .expect("half");
    std::thread::sleep(std::time::Duration::from_millis(50));
    stream
        .write_all(
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .expect("the rest");
    assert!(crate::harness::read_head(&mut stream).starts_with("HTTP/1.1 429 "));
    kept.remove(0);
    eventually("its place is free", || status(&of("203.0.113.7")) == Some("101"));
}

#[test]
fn nobody_is_another_by_its_own_word() {
    let server = server(|config| config.http_server.trusted_proxies = vec!["10.0.0.0/8".to_owned()]);
    let forged = |at: u8| {
        ask(
            &server,
            b"",
            &format!(
                "X-Forwarded-For: 203.0.113.{at}\r\nX-Real-IP: 203.0.113.{at}\r\nForwarded: for=203.0.113.{at}\r\n"
            ),
        )
    };
    let kept = [forged(1), forged(2)];
    assert!(kept.iter().all(|found| status(found) == Some("101")), "{kept:?}");
    assert_eq!(status(&forged(3)), Some("429"), "all of them are of one address");
}

#[test]
fn a_proxy_header_says_who_comes_and_comes_from_proxies_alone() {
    let proxied = server(|config| {
        config.http_server.trusted_proxies = vec!["127.0.0.1".to_owned()];
        config.http_server.proxy_protocol = true;
    });
    let v1 = |client: &str| format!("PROXY TCP4 {client} 10.0.0.1 1234 80\r\n").into_bytes();
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[203, 0, 113, 7, 10, 0, 0, 1, 4, 210, 0, 80]].concat();
    let kept = [ask(&proxied, &v1("203.0.113.7"), ""), ask(&proxied, &v2, "")];
    assert!(kept.iter().all(|found| status(found) == Some("101")), "{kept:?}");
    assert_eq!(status(&ask(&proxied, &v2, "")), None, "the third of that address");
    // The client is no proxy: what it says of itself is nothing.
    let third = ask(&proxied, &v1("203.0.113.7"), "X-Forwarded-For: 198.51.100.1\r\n");
    assert_eq!(status(&third), None);
    assert_eq!(status(&ask(&proxied, &v1("203.0.113.9"), "")), Some("101"));
    assert_eq!(status(&ask(&proxied, b"", "")), None, "without one nobody is let in");
    assert_eq!(status(&ask(&proxied, b"PROXY TCP4 nonsense\r\n", "")), None);

    let stranger = server(|config| {
        config.http_server.trusted_proxies = vec!["10.0.0.0/8".to_owned()];
        config.http_server.proxy_protocol = true;
    });
    assert_eq!(status(&ask(&stranger, &v1("203.0.113.7"), "")), None, "it comes from no proxy of ours");
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let authority = Authority::new();
    let server = server(|config| {
        config.http_server.trusted_proxies = vec!["127.0.0.1".to_owned()];
        config.http_server.proxy_protocol = true;
        config.http_server.tls = authority.vouch_for("chat.example").options();
        config.http_server.tls_external = true;
    });
    let config = Arc::new(authority.client(rustls::ALL_VERSIONS, None));
    let mut socket = dial(server.address);
    socket.write_all(b"PROXY TCP6 2001:db8::7 ::1 1234 443\r\n").expect("a header");
    let mut ann = Client::over(over(socket, &config));
    ann.send(r#"{"id":1,"connect":{}}"#);
    ann.reply(1);
}
