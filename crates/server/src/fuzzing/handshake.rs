//! The head of a request for a WebSocket, as it comes in one piece: what is made of it, and what is answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::{HeaderMap, Method, header};

use crate::config::origin::normal_origin;
use crate::config::{Compression, HttpServer};
use crate::net::address::Proxies;
use crate::net::arrival::Peer;
use crate::net::fast_upgrade::handshake_of;
use crate::net::http::HEADERS_MAX;
use crate::wire::ws::Handshake;

/// Heads longer than this are not cut everywhere.
const CUT_BYTES_MAX: usize = 512;

pub(super) fn check(input: &[u8]) {
    let Some((headers, bytes)) = handshake_of(input) else { return };
    assert_eq!(handshake_of(&input[..bytes]), Some((headers.clone(), bytes)), "what comes behind it changes something");
    for short in bytes.saturating_sub(CUT_BYTES_MAX)..bytes {
        assert!(handshake_of(&input[..short]).is_none(), "it is whole without its last {} bytes", bytes - short);
    }
    answer(&headers);
    stream(&headers);
    where_from(&headers);
    if let Some(Ok(origin)) = headers.get(header::ORIGIN).map(|it| it.to_str())
        && let Ok(normal) = normal_origin(origin)
    {
        assert_eq!(normal_origin(&normal), Ok(normal.clone()), "{origin:?} has two normal forms");
    }
}

/// Whatever the request says, the answer is one, and says nothing that it was not asked for.
fn answer(headers: &HeaderMap) {
    let Ok(mut handshake) = Handshake::parse(&Method::GET, None, headers) else { return };
    for enabled in [false, true] {
        handshake.negotiate(headers, &Compression { enabled, ..Compression::default() });
        assert!(enabled || handshake.compression.is_none());
        let head = handshake.head();
        let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut lines);
        assert_eq!(response.parse(&head), Ok(httparse::Status::Complete(head.len())), "{}", head.escape_ascii());
        assert_eq!(response.code, Some(101));
        for line in response.headers.iter() {
            let asked_for = match line.name {
                "connection" | "upgrade" => true,
                "sec-websocket-accept" => line.value.len() == 28,
                "sec-websocket-protocol" => headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL),
                "sec-websocket-extensions" => headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) && enabled,
                _ => false,
            };
            assert!(asked_for, "{}: {}", line.name, line.value.escape_ascii());
        }
        assert_eq!(
            response.headers.len(),
            3 + usize::from(handshake.subprotocol.is_some()) + usize::from(handshake.compression.is_some())
        );
    }
}

/// In a stream of HTTP/2 the same headers ask for the same.
fn stream(headers: &HeaderMap) {
    let alone = Handshake::parse(&Method::GET, None, headers);
    let streamed = Handshake::parse_stream(&Method::CONNECT, Some("websocket"), None, headers);
    if let (Ok(alone), Ok(streamed)) = (alone, streamed) {
        assert_eq!((alone.subprotocol, alone.encoding), (streamed.subprotocol, streamed.encoding));
    }
}

/// Who is no proxy is where it is, whatever it says; who is one is believed no address that is none.
fn where_from(headers: &HeaderMap) {
    let trusted_proxies = ["10.0.0.0/8".to_owned()].to_vec();
    let proxies = Proxies::new(&HttpServer { trusted_proxies, ..HttpServer::default() });
    let found = |address: [u8; 4]| {
        let address = IpAddr::from(Ipv4Addr::from(address));
        (proxies.client_address(Peer::Tcp(SocketAddr::new(address, 1)), headers), address)
    };
    let (stranger, itself) = found([203, 0, 113, 7]);
    assert_eq!(stranger, Some(itself), "a stranger is believed");
    let (named, proxy) = found([10, 0, 0, 1]);
    assert!(named.is_some(), "nobody");
    if !headers.contains_key("x-forwarded-for") && !headers.contains_key("x-real-ip") {
        assert_eq!(named, Some(proxy));
    }
}
