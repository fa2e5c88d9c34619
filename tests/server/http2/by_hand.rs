//! Frames by hand: what no library would send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use roomcast_server::config::RateBucket;

use super::{ENTER, Streamed, http2, request, with_client};
use crate::harness::{Running, dial, eventually};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const UNKNOWN: u8 = 0xfa;
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

#[test]
fn frames_that_ask_for_nothing_without_end_end_the_connection_and_it_is_told_why() {
    let server = Running::with(http2);
    for frame in [
        frame_of(PING, 0, 0, &[0; 8]),
        frame_of(SETTINGS, 0, 0, &[]),
        frame_of(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame_of(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]),
        frame_of(UNKNOWN, 0, 0, b"what is that"),
    ] {
        let mut stream = raw(&server, &[]);
        let mut out = stream.try_clone().expect("a socket");
        let burst = frame.repeat(100);
        let flood = std::thread::spawn(move || (0..200).take_while(|_| out.write_all(&burst).is_ok()).count());
        // Whoever reads all answers: no socket is ever full.
        assert_eq!(farewell(&mut stream), Some(ENHANCE_YOUR_CALM), "{frame:?}");
        flood.join().expect("it ends");
    }
    is_well(&server);
}

#[test]
fn who_pings_as_often_as_it_is_told_something_goes_on() {
    let server = Running::with(http2);
    let mut stream = raw(&server, &[]);
    for nth in 0..1_500 {
        let ping = frame_of(PING, 0, 0, &[7; 8]);
        let request = frame_of(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * nth, &get("/nowhere"));
        stream.write_all(&[ping.clone(), ping, request].concat()).expect("it is taken");
        let mut has_ended = false;
        while !has_ended {
            let (kind, id, _) = next(&mut stream).expect("the connection goes on");
            has_ended = (kind, id) == (DATA, 1 + 2 * nth);
        }
    }
}

/// Over HTTP/1 nobody is left to ask: no connection is accepted any more, and idle ones are closed.
#[test]
fn who_asks_a_server_that_drains_is_told_that_it_is_well_and_not_ready() {
    let server = Running::with(http2);
    let mut stream = raw(&server, &[]);
    let mut answer = |id: u32, path: &str| {
        let request = frame_of(HEADERS, END_HEADERS | END_STREAM, id, &get(path));
        stream.write_all(&request).expect("it is taken");
        loop {
            let (kind, of, payload) = next(&mut stream).expect("the connection goes on");
            if (kind, of) == (DATA, id) && !payload.is_empty() {
                return String::from_utf8(payload).expect("text");
            }
        }
    };
    assert_eq!([answer(1, "/health"), answer(3, "/ready")], ["{}\n", "{}\n"]);
    server.begin_shutdown();
    // What is on its way when the server says that it goes is answered; what says that it was heard is not said.
    assert_eq!(answer(5, "/health"), "{}\n");
    assert!(answer(7, "/ready").contains("drains"));
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
    assert_eq!(farewell(&mut stream), Some(ENHANCE_YOUR_CALM), "it is told why");
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

/// And each of them has its part of the memory for requests.
#[test]
fn clients_in_the_streams_of_a_proxy_s_connection_have_memory_of_their_own() {
    let server = Running::with(|config| {
        http2(config);
        config.http_server.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
        let limits = &mut config.client.rate_limit;
        (limits.ip_connect.exempt, limits.ip_request.max_memory_per_ip) = (Vec::new(), 128 * 1024);
    });
    with_client(&server, async |mut client| {
        let mut begun = Vec::new();
        let mut begin = |address: &str| {
            let request = request(Method::POST, "/emulation").header("x-forwarded-for", address);
            let (answer, mut out) = client.send_request(request.body(()).expect("good"), false).expect("it is sent");
            out.send_data(Bytes::from_static(b"{"), false).expect("it is sent");
            begun.push(out);
            answer
        };
        // Three that say no more, of 36 KiB each.
        let _held = [(); 3].map(|()| begin("203.0.113.7"));
        let refused = begin("203.0.113.7").await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "1");
        let other = begin("203.0.113.8");
        begun.last_mut().expect("its body").send_data(Bytes::new(), true).expect("it is sent");
        assert_eq!(other.await.expect("an answer").status(), StatusCode::BAD_REQUEST, "it was read to its end");
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
