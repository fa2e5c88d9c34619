//! HTTP/2: requests, clients' connections in streams, and what a stranger can do with either.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode, Version};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use roomcast_server::config::{Config, RateBucket};
use serde_json::{Value, json};

use crate::frames::{frame, read_frame};
use crate::harness::{PATIENCE, Running, dial, eventually};

fn http2(config: &mut Config) {
    config.http_server.h2c_external = true;
}

/// Runs a script of a client, which is given a connection.
fn with_client<T>(server: &Running, script: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = server.address;
    runtime.block_on(async move {
        let socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
        // Little on a stream that is not read, much on all together: one holds up no other.
        let mut windows = h2::client::Builder::new();
        windows.initial_window_size(20_000).initial_connection_window_size(1 << 24);
        let (client, connection) = windows.handshake(socket).await.expect("HTTP/2");
        tokio::spawn(connection);
        let client = client.ready().await.expect("it is ready");
        let script = async {
            // What the server says of itself comes first.
            while !client.is_extended_connect_protocol_enabled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            script(client).await
        };
        tokio::time::timeout(PATIENCE, script).await.expect("it does not take long")
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
fn nobody_speaks_http2_unless_it_is_switched_on() {
    let server = Running::start();
    let mut stream = dial(server.address);
    stream.write_all(PREFACE).expect("it is taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
}

// From here on by hand: what no library would send.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 0xb;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Headers of `GET http://localhost` and a path.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x09localhost");
    block
}

/// A connection that has said the preface and these settings.
fn raw(server: &Running, settings: &[u8]) -> TcpStream {
    let mut stream = dial(server.address);
    stream.write_all(&[PREFACE, &frame_of(SETTINGS, 0, 0, settings)].concat()).expect("it is taken");
    stream
}

/// The next frame: kind, stream and payload; nothing at the end.
fn next(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

fn number_at(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]])
}

/// Why the server gives the connection up; nothing if it ends without a word.
fn farewell(stream: &mut TcpStream) -> Option<u32> {
    while let Some((kind, _, payload)) = next(stream) {
        if kind == GOAWAY && number_at(&payload, 4) != 0 {
            return Some(number_at(&payload, 4));
        }
    }
    None
}

/// Others are served as ever.
fn is_well(server: &Running) {
    let mut member = server.member("member", "lobby");
    member.publish(3, "lobby", "1");
    assert_eq!(member.publication()["data"], 1);
}

#[test]
fn requests_that_are_taken_back_again_and_again_end_the_connection() {
    let server = Running::with(http2);
    let mut stream = raw(&server, &[]);
    let mut id = 1;
    // The server may hang up while this goes on.
    for _ in 0..100 {
        let mut burst = Vec::new();
        for _ in 0..50 {
            burst.extend(frame_of(HEADERS, END_HEADERS | END_STREAM, id, &get("/metrics")));
            burst.extend(frame_of(RST_STREAM, 0, id, &CANCEL.to_be_bytes()));
            id += 2;
        }
        if stream.write_all(&burst).is_err() {
            break;
        }
    }
    assert!(matches!(farewell(&mut stream), None | Some(ENHANCE_YOUR_CALM)));
    is_well(&server);
}

#[test]
fn clients_may_come_and_go_in_streams_of_one_connection_and_nothing_is_left_of_them() {
    let server = Running::with(http2);
    let mut stream = raw(&server, &[]);
    let mut block = vec![0x02, 0x07];
    block.extend_from_slice(b"CONNECT");
    block.extend_from_slice(b"\x00\x09:protocol\x09websocket\x86\x04\x15/connection/websocket\x01\x09localhost");
    block.extend_from_slice(b"\x00\x15sec-websocket-version\x0213");
    for nth in 0..300 {
        let id = 1 + 2 * nth;
        stream.write_all(&frame_of(HEADERS, END_HEADERS, id, &block)).expect("it is taken");
        while !matches!(next(&mut stream).expect("it goes on"), (HEADERS, of, _) if of == id) {}
        stream.write_all(&frame_of(RST_STREAM, 0, id, &CANCEL.to_be_bytes())).expect("it is taken");
    }
    eventually("all have gone", || server.metric("roomcast_connections{") == 0);
    stream.write_all(&frame_of(PING, 0, 0, &[7; 8])).expect("it is taken");
    while next(&mut stream).expect("the connection goes on") != (PING, 0, vec![7; 8]) {}
}

#[test]
fn a_client_in_a_stream_is_one_of_those_that_are_counted() {
    let server = Running::with(|config| {
        http2(config);
        config.client.connection_limit = 3;
    });
    with_client(&server, async |mut client| {
        let (_, first) = Streamed::open(&mut client, "/connection/websocket").await;
        let (_, second) = Streamed::open(&mut client, "/connection/websocket").await;
        let (refused, _) = Streamed::open(&mut client, "/connection/websocket").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        let mut third = None;
        while third.is_none() {
            let (response, streamed) = Streamed::open(&mut client, "/connection/websocket").await;
            third = (response.status() == StatusCode::OK).then_some(streamed);
        }
        drop((second, third));
    });
}

#[test]
fn an_address_that_sends_too_many_requests_is_told_so_and_then_loses_its_connection() {
    let server = Running::with(|config| {
        http2(config);
        let limits = &mut config.client.rate_limit;
        limits.ip_connect.exempt.clear();
        limits.ip_request.buckets = vec![RateBucket { interval: Duration::from_secs(3_600), rate: 5 }];
    });
    let mut ann = server.member("Ann", "hall");
    with_client(&server, async |mut client| {
        let mut found = Vec::new();
        for _ in 0..1_000 {
            let request = request(Method::GET, "/nowhere").body(()).expect("a request");
            let Ok((answer, _)) = client.send_request(request, true) else { break };
            let Ok(answer) = answer.await else { break };
            found.push(answer.status().as_u16());
            let Ok(ready) = client.ready().await else { break };
            client = ready;
        }
        assert_eq!(found[..7], [404, 404, 404, 404, 404, 429, 429]);
        assert!((100..200).contains(&found.len()), "{}", found.len());
    });
    ann.publish(3, "hall", "1");
}

/// A proxy may send all that its clients ask for through one connection.
#[test]
fn clients_in_the_streams_of_a_proxy_s_connection_are_told_apart() {
    let server = Running::with(|config| {
        http2(config);
        config.http_server.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
        let limit = &mut config.client.rate_limit.ip_connect;
        (limit.max_concurrent_per_ip, limit.exempt) = (1, Vec::new());
    });
    with_client(&server, async |mut client| {
        let mut kept = Vec::new();
        for (address, expected) in [("203.0.113.7", 200), ("203.0.113.8", 200), ("203.0.113.7", 429)] {
            let request = request(Method::POST, "/connection/http_stream").header("x-forwarded-for", address);
            let (answer, mut out) = client.send_request(request.body(()).expect("good"), false).expect("it is sent");
            out.send_data(Bytes::from_static(ENTER.as_bytes()), true).expect("it is sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status(), expected, "{address}");
            kept.push(answer);
        }
    });
}

#[test]
fn headers_without_end_and_headers_that_are_too_long_are_not_held() {
    let server = Running::with(http2);
    let mut endless = raw(&server, &[]);
    endless.write_all(&frame_of(HEADERS, END_STREAM, 1, &get("/health"))).expect("it is taken");
    let more = frame_of(CONTINUATION, 0, 1, b"\x00\x01a\x01b");
    let mut is_cut = false;
    for _ in 0..1_000 {
        is_cut |= endless.write_all(&more.repeat(100)).is_err();
        if is_cut {
            break;
        }
    }
    assert!(is_cut || farewell(&mut endless).is_some(), "nobody takes them for ever");
    let mut long = raw(&server, &[]);
    let mut block = get("/health");
    for _ in 0..300 {
        block.extend_from_slice(b"\x00\x01a\x64");
        block.extend_from_slice(&[b'x'; 100]);
    }
    let (head, tail) = block.split_at(16_000);
    long.write_all(&[frame_of(HEADERS, END_STREAM, 1, head), frame_of(CONTINUATION, END_HEADERS, 1, tail)].concat())
        .expect("it is taken");
    let refused = loop {
        match next(&mut long) {
            // 431, or the stream or the connection is given up.
            Some((HEADERS, _, block)) => break block.windows(3).any(|three| three == b"431") || block[0] != 0x88,
            Some((RST_STREAM | GOAWAY, ..)) | None => break true,
            Some(_) => {}
        }
    };
    assert!(refused);
    is_well(&server);
}

#[test]
fn no_more_streams_are_open_at_once_than_were_announced() {
    let server = Running::with(http2);
    let mut stream = raw(&server, &[]);
    let mut announced = None;
    // Requests that are not whole wait for the rest.
    for nth in 0..110 {
        let mut block = vec![0x83, 0x86, 0x04, b"/connection/http_stream".len() as u8];
        block.extend_from_slice(b"/connection/http_stream\x01\x09localhost");
        stream.write_all(&frame_of(HEADERS, END_HEADERS, 1 + 2 * nth, &block)).expect("it is taken");
    }
    let mut refused = 0;
    while refused < 10 {
        match next(&mut stream) {
            Some((SETTINGS, _, payload)) if !payload.is_empty() => {
                let streams = payload.chunks(6).find(|setting| setting[..2] == [0, 3]);
                announced = streams.map(|setting| number_at(setting, 2));
            }
            Some((RST_STREAM, id, payload)) => {
                assert_eq!((number_at(&payload, 0), id > 200), (REFUSED_STREAM, true), "{id}");
                refused += 1;
            }
            Some(_) => {}
            None => panic!("the connection ended"),
        }
    }
    assert_eq!(announced, Some(100));
    is_well(&server);
}

#[test]
fn who_takes_no_answer_is_given_up_and_its_connection_goes_on() {
    let server = Running::with(|config| {
        http2(config);
        config.client.write_timeout = Duration::from_millis(300);
    });
    // A window of nothing.
    let mut stream = raw(&server, &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&frame_of(HEADERS, END_HEADERS | END_STREAM, 1, &get("/page/app.js"))).expect("it is taken");
    let mut kinds = Vec::new();
    loop {
        let (kind, id, payload) = next(&mut stream).expect("the connection goes on");
        kinds.push(kind);
        if kind == RST_STREAM {
            assert_eq!((id, number_at(&payload, 0)), (1, CANCEL));
            break;
        }
    }
    assert!(kinds.contains(&HEADERS) && !kinds.contains(&DATA), "{kinds:?}");
    stream.write_all(&frame_of(PING, 0, 0, &[7; 8])).expect("it is taken");
    while next(&mut stream).expect("the connection goes on") != (PING, 0, vec![7; 8]) {}
}

#[test]
fn pings_without_end_are_not_answered_into_memory() {
    let server = Running::with(|config| {
        http2(config);
        config.client.write_timeout = Duration::from_millis(500);
    });
    let mut stream = raw(&server, &[]);
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4_096).expect("a socket option");
    // Nobody reads the answers: at some time nothing more is taken, and then it is over.
    let burst = frame_of(PING, 0, 0, &[0; 8]).repeat(1_000);
    let mut taken = 0;
    while stream.write_all(&burst).is_ok() {
        taken += 1;
        assert!(taken < 10_000, "it is taken without end");
    }
    is_well(&server);
}
