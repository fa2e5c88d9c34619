//! Who is not let in to listen, and requests that lead to nothing.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use roomcast_server::config::{Config, Farewell, HttpAnswer, Transform};
use serde_json::json;

use super::{KINDS, Kind, Listener, OVER_HTTP, server, token};
use crate::api::result;
use crate::harness::{Running, dial, eventually};
use crate::streaming::{answer, status};

/// What `connect` comes to of somebody who is not let in, and the two ways to say it otherwise.
#[test]
fn who_is_not_let_in_is_told_with_a_code() {
    let expired = token(&json!({"sub": "ann", "exp": 1}));
    let over = token(&json!({"sub": "ann", "expire_at": 1}));
    let anonymous = token(&json!({}));
    let cases = [
        (json!({"token": expired}), 3005, 109),
        (json!({"token": over}), 3005, 110),
        (json!({"token": "x.y.z"}), 3500, 3500),
        (json!({"token": anonymous}), 3507, 3507),
        (json!({}), 3501, 101),
    ];
    let strict = |config: &mut Config| config.client.disallow_anonymous_connection_tokens = true;
    let by_code = server(strict);
    for kind in KINDS {
        for (connect, code, _) in &cases {
            let mut listener = Listener::open(&by_code, kind, &connect.to_string());
            let (disconnect, close) = listener.ended();
            assert_eq!(disconnect.expect("a push")["code"], *code, "{kind:?} {connect}");
            assert_eq!(close.map(|(code, _)| code), kind.is_websocket().then_some(*code));
        }
    }
    let own = server(|config| {
        strict(config);
        let codes = &mut config.client.connect_code_to_unidirectional_disconnect;
        codes.enabled = true;
        codes.transforms = Arc::from([
            Transform::new(109, Farewell::new(4109, "fetch another token")),
            Transform::new(101, Farewell::new(4401, "log in")),
            Transform::new(3500, Farewell::new(4999, "of a disconnect nothing becomes")),
        ]);
    });
    for kind in KINDS {
        for (at, code) in [(0, 4109), (1, 3005), (2, 3500), (4, 4401)] {
            let mut listener = Listener::open(&own, kind, &cases[at].0.to_string());
            assert_eq!(listener.ended().0.expect("a push")["code"], code, "{kind:?}");
        }
    }
    let by_status = server(|config| {
        strict(config);
        let one_way = &mut config.unidirectional;
        for answers in
            [&mut one_way.sse.connect_code_to_http_response, &mut one_way.http_stream.connect_code_to_http_response]
        {
            answers.enabled = true;
            answers.transforms = Arc::from([
                Transform::new(109, HttpAnswer::new(401, "fetch another token")),
                Transform::new(3500, HttpAnswer::new(403, "")),
                Transform::new(101, HttpAnswer::new(204, "")),
            ]);
        }
    });
    for kind in OVER_HTTP {
        let told = |at: usize| answer(&by_status, kind.request(&cases[at].0.to_string(), "").as_bytes());
        for (at, expected, body) in [
            (0, 401, "fetch another token"),
            (1, 500, "Internal Server Error"),
            (2, 403, "invalid token"),
            (3, 500, "Internal Server Error"),
            (4, 204, ""),
        ] {
            let said = told(at);
            let (head, rest) = said.split_once("\r\n\r\n").expect("a head");
            assert_eq!((status(&said), rest), (expected, body), "{kind:?} {at}");
            assert!(head.contains("connection: close") && !head.contains("chunked"), "{head}");
        }
        // Who is let in is answered as ever.
        let (mut listener, _) = Listener::connected(
            &by_status,
            kind,
            &json!({"token": token(&json!({"sub": "ann", "channels": ["plain:a"]}))}),
        );
        result(&by_status, "publish", json!({"channel": "plain:a", "data": 1}));
        assert_eq!(listener.push()["pub"]["data"], 1);
    }
}

#[test]
fn requests_that_say_nothing_good_are_refused_before_anything_is_made_of_them() {
    let server = Running::with(|config| {
        config.unidirectional.sse.max_request_body_size = 1_024;
        config.unidirectional.http_stream.max_request_body_size = 1_024;
        config.unidirectional.websocket.message_size_limit = 1_024;
    });
    let close = "Connection: close\r\n";
    let long = json!({"name": "x".repeat(1_025)}).to_string();
    let [stream, sse] = ["/connection/uni_http_stream", "/connection/uni_sse"];
    let post = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{close}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    for (request, expected) in [
        (post(stream, ""), 400),
        (post(stream, "  \n"), 400),
        (post(stream, "nonsense"), 400),
        (post(stream, "null"), 400),
        (post(stream, "[]"), 400),
        (post(stream, "{} {}"), 400),
        (post(stream, r#"{"token":7}"#), 400),
        (post(stream, &long), 413),
        (post(sse, ""), 400),
        (post(sse, &long), 413),
        (format!("POST {stream} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 400),
        (format!("GET {stream} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 405),
        (format!("PUT {sse} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 405),
        (format!("GET {sse}?cf_connect=nonsense HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 400),
        (format!("GET {sse}?cf_connect={{}}&cf_connect={{}} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 400),
        (format!("POST {stream} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"), 505),
        (format!("GET {sse} HTTP/1.0\r\n\r\n"), 505),
        (Kind::WebSocketByAddress.request("nonsense", close), 400),
        (format!("GET /connection/uni_websocket HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 426),
        (Kind::HttpStream.request("{}", &format!("{close}Origin: https://elsewhere.example\r\n")), 403),
        (Kind::WebSocket.request("{}", "Origin: https://elsewhere.example\r\n"), 403),
        (Kind::Events.request("{}", &format!("{close}Sec-Fetch-Site: cross-site\r\n")), 403),
    ] {
        assert_eq!(status(&answer(&server, request.as_bytes())), expected, "{request}");
    }
    // An address without a request is one of nobody.
    let mut nobody = Listener::open(&server, Kind::Events, "");
    assert!(nobody.push()["connect"].is_object());
    for (said, expected) in
        [("nonsense".to_owned(), 3501), ("[]".to_owned(), 3501), (String::new(), 3501), (long, 1009)]
    {
        let mut listener = Listener::open(&server, Kind::WebSocket, &said);
        let (disconnect, close) = listener.ended();
        assert_eq!(close.map(|(code, _)| code), Some(expected), "{said:.20}");
        // What is wrong with frames is said in a frame.
        assert_eq!(disconnect.is_some(), expected == 3501);
    }
    assert_eq!(server.metric("roomcast_members{"), 0);
}

#[test]
fn silence_and_half_a_request_are_not_waited_for() {
    let server = Running::with(|config| config.client.stale_close_delay = Duration::from_millis(100));
    for path in ["/connection/uni_http_stream", "/connection/uni_sse"] {
        let half =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{{");
        assert_eq!(status(&answer(&server, half.as_bytes())), 408, "{path}");
    }
    let mut silent = Listener::open(&server, Kind::WebSocketByAddress, "");
    assert_eq!(silent.ended().1.expect("a close frame").0, 3502);
    let mut shut = Listener::open(&server, Kind::HttpStream, "{}");
    assert!(shut.push()["connect"].is_object());
    // Who shuts its side is gone, as a page that was closed.
    shut.stream.shutdown(Shutdown::Write).expect("a shutdown");
    assert_eq!(shut.ended(), (None, None));
    eventually("nobody is left", || server.metric("roomcast_connections{") == 0);
}

#[test]
fn each_can_be_switched_off_and_moved() {
    let server = Running::with(|config| {
        config.unidirectional = Config::default().unidirectional;
        config.unidirectional.sse.enabled = true;
        config.unidirectional.sse.handler_prefix = "/events".to_owned();
        config.transports.sse.handler_prefix = "/two/ways".to_owned();
    });
    let close = "Connection: close\r\n";
    for request in [
        Kind::WebSocket.request("", ""),
        Kind::HttpStream.request("{}", close),
        Kind::Events.request("{}", close),
        format!("GET /connection/init HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"),
        format!("GET /connection/sse?cf_connect= HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"),
    ] {
        assert_eq!(status(&answer(&server, request.as_bytes())), 404, "{request}");
    }
    for (path, first) in [
        ("/events?cf_connect={}", "data: {\"connect\""),
        ("/two/ways?cf_connect=%7B%22id%22:1,%22connect%22:%7B%7D%7D", "data: {\"id\":1"),
    ] {
        let mut stream = dial(server.address);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(first) {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            said.push(byte[0]);
        }
    }
}

#[test]
fn an_address_that_says_next_to_nothing_opens_a_connection_for_what_comes_next() {
    let server = Running::with(|config| config.client.allowed_origins = vec!["https://shop.example".to_owned()]);
    let (origin, close) = ("Origin: https://shop.example\r\n", "Connection: close\r\n");
    for (method, expected, body) in
        [("GET", 200, "{}"), ("HEAD", 200, ""), ("POST", 405, "open this address with GET\n")]
    {
        let request = format!("{method} /connection/init HTTP/1.1\r\nHost: localhost\r\n{origin}{close}\r\n");
        let said = answer(&server, request.as_bytes());
        assert_eq!((status(&said), said.split_once("\r\n\r\n").expect("a head").1), (expected, body), "{method}");
        assert!(expected != 200 || said.contains("access-control-allow-origin: https://shop.example"), "{said}");
    }
    let stranger =
        format!("GET /connection/init HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n{close}\r\n");
    assert_eq!(status(&answer(&server, stranger.as_bytes())), 403);
    let preflight = format!("OPTIONS /connection/uni_http_stream HTTP/1.1\r\nHost: localhost\r\n{origin}{close}\r\n");
    assert_eq!(status(&answer(&server, preflight.as_bytes())), 204);
    let mut page = Listener::open_with(&server, Kind::Events, "{}", origin);
    assert!(page.head.contains("access-control-allow-origin: https://shop.example"), "{}", page.head);
    assert!(page.push()["connect"].is_object());
}
