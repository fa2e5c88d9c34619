//! HTTP/2: requests, clients' connections in streams, and what a stranger can do with either.

mod by_hand;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode, Version};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use roomcast_server::config::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::frames::{frame, read_frame};
use crate::harness::{PATIENCE, Running, dial, eventually};
use crate::net::authority::{Authority, BOTH};
use by_hand::PREFACE;

fn http2(config: &mut Config) {
    config.http_server.h2c_external = true;
}

/// Runs a script of a client, which is given a connection.
fn with_client<T>(server: &Running, script: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let address = server.address;
    block_on(async {
        let socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let client = speak(socket).await;
        // What the server says of itself comes first.
        while !client.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        script(client).await
    })
}

fn block_on<T>(script: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, script).await.expect("it does not take long") })
}

async fn speak(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Bytes> {
    // Little on a stream that is not read, much on all together: one holds up no other.
    let mut windows = h2::client::Builder::new();
    windows.initial_window_size(20_000).initial_connection_window_size(1 << 24);
    let (client, connection) = windows.handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    client.ready().await.expect("it is ready")
}

/// The same over TLS, where that is agreed on.
fn with_tls_client<T>(
    config: impl FnOnce(&mut Config),
    script: impl AsyncFnOnce(&Running, SendRequest<Bytes>) -> T,
) -> T {
    let authority = Authority::new();
    let server = Running::with(|options| {
        options.http_server.internal_port = Some(0);
        options.http_server.tls_external = true;
        options.http_server.tls = authority.vouch_for("chat.example").options();
        config(options);
    });
    let mut client = authority.client(&BOTH, None);
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
    block_on(async {
        let socket = tokio::net::TcpStream::connect(server.address).await.expect("a connection");
        let name = rustls::pki_types::ServerName::try_from("chat.example").expect("a name");
        let socket = connector.connect(name, socket).await.expect("TLS");
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        script(&server, speak(socket).await).await
    })
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().version(Version::HTTP_2).method(method).uri(format!("http://localhost{path}"))
}

/// The whole of an answer.
async fn whole(answer: Response<RecvStream>) -> (StatusCode, String) {
    let status = answer.status();
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    while let Some(data) = body.data().await {
        let data = data.expect("a body");
        body.flow_control().release_capacity(data.len()).expect("it is read");
        text.extend_from_slice(&data);
    }
    (status, String::from_utf8(text).expect("text"))
}

async fn ask(client: &mut SendRequest<Bytes>, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let request = request(method, path).body(()).expect("a request");
    let (answer, mut out) = client.send_request(request, body.is_empty()).expect("it is sent");
    if !body.is_empty() {
        out.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("it is sent");
    }
    whole(answer.await.expect("an answer")).await
}

/// A client's connection in a stream.
struct Streamed {
    out: SendStream<Bytes>,
    incoming: RecvStream,
    input: Vec<u8>,
}

impl Streamed {
    async fn open(client: &mut SendRequest<Bytes>, path: &str) -> (Response<()>, Self) {
        let mut request = request(Method::CONNECT, path).header("sec-websocket-version", "13").body(()).expect("good");
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (answer, out) = client.send_request(request, false).expect("it is sent");
        let (parts, incoming) = answer.await.expect("an answer").into_parts();
        (Response::from_parts(parts, ()), Self { out, incoming, input: Vec::new() })
    }

    fn send(&mut self, text: &str) {
        self.out.send_data(frame(0x81, text.as_bytes()).into(), false).expect("it is sent");
    }

    /// The next frame; nothing at the end of the stream.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(received) = read_frame(&self.input).expect("a frame of a server") {
                let (first, payload, length) = (received.first, received.payload.to_vec(), received.length);
                self.input.drain(..length);
                return Some((first, payload));
            }
            let data = self.incoming.data().await?.expect("the stream goes on");
            self.incoming.flow_control().release_capacity(data.len()).expect("it is read");
            self.input.extend_from_slice(&data);
        }
    }

    /// The next things that are said, in lines.
    async fn said(&mut self) -> Vec<Value> {
        let (first, payload) = self.frame().await.expect("a frame");
        assert_eq!(first, 0x81, "{}", String::from_utf8_lossy(&payload));
        let lines = payload.split(|byte| *byte == b'\n');
        lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
    }

    async fn publication(&mut self) -> Value {
        loop {
            let said = self.said().await;
            if let Some(found) = said.into_iter().find(|object| !object["push"]["pub"].is_null()) {
                return found["push"]["pub"]["data"].clone();
            }
        }
    }
}

const ENTER: &str = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"hall\"}}";

#[test]
fn every_address_is_served() {
    let server = Running::with(|config| {
        http2(config);
        config.http_api.insecure = true;
    });
    let mut member = server.member("member", "hall");
    with_client(&server, async |mut client| {
        let (status, page) = ask(&mut client, Method::GET, "/", "").await;
        assert!(status == StatusCode::OK && page.contains("<html"), "{status}");
        assert_eq!(ask(&mut client, Method::GET, "/health", "").await, (StatusCode::OK, "{}\n".to_owned()));
        let (_, metrics) = ask(&mut client, Method::GET, "/metrics", "").await;
        assert!(metrics.contains("roomcast_connections"), "a long answer: {}", metrics.len());
        let (status, body) = ask(&mut client, Method::HEAD, "/health", "").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
        assert_eq!(ask(&mut client, Method::GET, "/nowhere", "").await.0, StatusCode::NOT_FOUND);
        let command = json!({ "channel": "hall", "data": { "text": "x".repeat(50_000) } }).to_string();
        let (status, said) = ask(&mut client, Method::POST, "/api/publish", &command).await;
        assert!(status == StatusCode::OK && said.contains("result"), "{status} {said}");
        assert_eq!(ask(&mut client, Method::GET, "/connection/websocket", "").await.0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(ask(&mut client, Method::CONNECT, "/connection/websocket", "").await.0, StatusCode::NOT_FOUND);
    });
    assert_eq!(member.publication()["data"]["text"].as_str().map(str::len), Some(50_000));
}

#[test]
fn a_request_names_its_host_and_foreign_ones_are_turned_away() {
    let server = Running::with(|config| {
        http2(config);
        config.http_server.allowed_hosts = vec!["chat.example".to_owned()];
    });
    with_client(&server, async |mut client| {
        for (host, expected) in [("chat.example", 200), ("evil.example", 421), ("127.0.0.1", 200)] {
            let request = Request::builder().uri(format!("http://{host}/")).body(()).expect("a request");
            let (answer, _) = client.send_request(request, true).expect("it is sent");
            assert_eq!(answer.await.expect("an answer").status(), expected, "{host}");
        }
        let (response, _) = {
            let mut foreign = request(Method::CONNECT, "/connection/websocket")
                .header("sec-websocket-version", "13")
                .header("origin", "https://evil.example")
                .body(())
                .expect("a request");
            foreign.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
            client.send_request(foreign, false).expect("it is sent")
        };
        assert_eq!(response.await.expect("an answer").status(), StatusCode::FORBIDDEN);
    });
}

#[test]
fn a_websocket_in_a_stream_is_a_client_like_any_other() {
    let server = Running::with(http2);
    let mut other = server.member("other", "hall");
    with_client(&server, async |mut client| {
        let (response, mut first) = Streamed::open(&mut client, "/connection/websocket").await;
        assert_eq!(response.status(), StatusCode::OK);
        let (_, mut second) = Streamed::open(&mut client, "/connection/websocket").await;
        for member in [&mut first, &mut second] {
            member.send(ENTER);
            assert!(!member.said().await[0]["connect"].is_null());
        }
        first.send(r#"{"id":3,"publish":{"channel":"hall","data":"from a stream"}}"#);
        assert_eq!(second.publication().await, "from a stream");
        assert_eq!(first.publication().await, "from a stream");
        let large = "y".repeat(50_000);
        other.publish(3, "hall", &format!("\"{large}\""));
        for member in [&mut first, &mut second] {
            assert_eq!(member.publication().await, large);
        }
        // A close frame is answered, and the stream ends.
        first.out.send_data(frame(0x88, &1000_u16.to_be_bytes()).into(), true).expect("it is sent");
        assert_eq!(first.frame().await, Some((0x88, 1000_u16.to_be_bytes().to_vec())));
        assert_eq!(first.frame().await, None);
        // One that is reset is gone.
        second.out.send_reset(h2::Reason::CANCEL);
        drop(second);
        // It is on its way before this is.
        ask(&mut client, Method::GET, "/health", "").await;
        eventually("both have gone", || server.metric("roomcast_connections{") == 1);
    });
    assert_eq!(other.publication()["data"], "from a stream");
}

#[test]
fn a_client_that_does_not_read_its_stream_is_slow_and_holds_up_no_other() {
    let server = Running::with(|config| {
        http2(config);
        config.client.write_timeout = Duration::from_millis(300);
    });
    let mut other = server.member("other", "hall");
    with_client(&server, async |mut client| {
        let (_, mut stuck) = Streamed::open(&mut client, "/connection/websocket").await;
        let (_, mut quick) = Streamed::open(&mut client, "/connection/websocket").await;
        for member in [&mut stuck, &mut quick] {
            member.send(ENTER);
            member.said().await;
        }
        for nth in 0..20 {
            other.publish(3, "hall", &format!("\"{nth} {}\"", "y".repeat(20_000)));
            let said = quick.publication().await;
            assert!(said.as_str().is_some_and(|said| said.starts_with(&format!("{nth} "))), "{nth}");
        }
        eventually("it is slow", || server.metric("roomcast_closes_total{code=\"3008\"}") == 1);
        other.publish(3, "hall", "\"at last\"");
        assert_eq!(quick.publication().await, "at last");
    });
}

#[test]
fn small_frames_of_a_stream_that_is_not_heard_end_no_other() {
    let server = Running::with(http2);
    let mut other = server.member("other", "hall");
    (0..20).for_each(|nth| other.publish(3, "hall", &format!("\"{nth} {}\"", "y".repeat(20_000))));
    with_client(&server, async |mut client| {
        let (_, mut stuck) = Streamed::open(&mut client, "/connection/websocket").await;
        let (_, mut quick) = Streamed::open(&mut client, "/connection/websocket").await;
        for member in [&mut stuck, &mut quick] {
            member.send(ENTER);
            member.said().await;
        }
        // It takes none of this, so it is not heard any more.
        (3..13).for_each(|id| stuck.send(&format!(r#"{{"id":{id},"history":{{"channel":"hall","limit":100}}}}"#)));
        // The server has read all of the stream that it takes, and as much again is on its way.
        (0..5_000).for_each(|_| stuck.send("{}"));
        for nth in 0..100 {
            other.publish(3, "hall", &format!("\"{nth}\""));
            assert_eq!(quick.publication().await, nth.to_string());
        }
    });
}

#[test]
fn messages_in_a_stream_may_be_compressed() {
    let server = Running::with(|config| {
        http2(config);
        config.websocket.compression.enabled = true;
    });
    with_client(&server, async |mut client| {
        let mut request = request(Method::CONNECT, "/connection/websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-extensions", "permessage-deflate")
            .header("sec-websocket-protocol", "centrifuge-json")
            .body(())
            .expect("a request");
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (answer, _out) = client.send_request(request, false).expect("it is sent");
        let headers = answer.await.expect("an answer").into_parts().0.headers;
        assert_eq!(headers["sec-websocket-protocol"], "centrifuge-json");
        assert!(headers["sec-websocket-extensions"].to_str().is_ok_and(|it| it.starts_with("permessage-deflate")));
        assert!(!headers.contains_key("connection") && !headers.contains_key("sec-websocket-accept"));
    });
}

#[test]
fn answers_without_end_are_served() {
    let server = Running::with(http2);
    let mut other = server.connected("other");
    with_client(&server, async |mut client| {
        for (path, type_) in [("/connection/http_stream", "application/json"), ("/connection/sse", "text/event-stream")]
        {
            let request = request(Method::POST, path).body(()).expect("a request");
            let (answer, mut out) = client.send_request(request, false).expect("it is sent");
            out.send_data(Bytes::from_static(ENTER.as_bytes()), true).expect("it is sent");
            let (parts, mut body) = answer.await.expect("an answer").into_parts();
            assert_eq!((parts.status, parts.headers["content-type"].to_str().ok()), (StatusCode::OK, Some(type_)));
            let mut text = String::new();
            let mut has_asked = false;
            while !text.contains("said to all") {
                let data = body.data().await.expect("it has no end").expect("data");
                body.flow_control().release_capacity(data.len()).expect("it is read");
                text += str::from_utf8(&data).expect("text");
                if text.contains("\"subscribe\"") && !std::mem::replace(&mut has_asked, true) {
                    other.publish(3, "hall", "\"said to all\"");
                }
            }
            assert!(!text.contains("\r\n"), "no chunks of HTTP/1: {text}");
        }
    });
}

#[test]
fn who_is_in_a_stream_is_told_that_the_server_goes() {
    let server = Running::with(http2);
    with_client(&server, async |mut client| {
        let (_, mut member) = Streamed::open(&mut client, "/connection/websocket").await;
        member.send(ENTER);
        member.said().await;
        server.begin_shutdown();
        loop {
            match member.frame().await.expect("a close frame") {
                (0x88, payload) => break assert_eq!(payload[..2], 3001_u16.to_be_bytes()),
                (0x81, _) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    server.stop().expect("a clean end");
}

#[test]
fn nobody_speaks_http2_without_tls_unless_it_is_switched_on() {
    let server = Running::start();
    let mut stream = dial(server.address);
    stream.write_all(PREFACE).expect("it is taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn over_tls_it_is_agreed_on_and_websockets_come_by_it_only_where_that_is_switched_on() {
    with_tls_client(
        |_| {},
        async |server, mut client| {
            let (status, page) = ask(&mut client, Method::GET, "/", "").await;
            assert!(status == StatusCode::OK && page.contains("<html"), "{status}");
            assert!(!client.is_extended_connect_protocol_enabled(), "browsers have their WebSockets beside it");
            assert_eq!(server.metric("roomcast_tls_handshakes_total{outcome=\"done\"}"), 1);
        },
    );
    with_tls_client(
        |config| config.http_server.h2_websocket = true,
        async |_, mut client| {
            while !client.is_extended_connect_protocol_enabled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let (_, mut first) = Streamed::open(&mut client, "/connection/websocket").await;
            let (_, mut second) = Streamed::open(&mut client, "/connection/websocket").await;
            for member in [&mut first, &mut second] {
                member.send(ENTER);
                assert!(!member.said().await[0]["connect"].is_null());
            }
            let large = "z".repeat(50_000);
            for nth in 0..20 {
                first.send(&format!(r#"{{"id":{},"publish":{{"channel":"hall","data":"{nth}{large}"}}}}"#, nth + 3));
                for member in [&mut first, &mut second] {
                    assert_eq!(member.publication().await, format!("{nth}{large}"));
                }
            }
        },
    );
}
