//! What clients and backends see of hand-overs: every message that was acknowledged, once and in order, and nothing else.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::Value;

use super::{KEY, Process, config, connected};
use crate::frames::read_chunk;
use crate::harness::{Client, Folder, Heard, PATIENCE, dial, number, publish, read_head, text};
use crate::net::authority::{Authority, BOTH, dial_tls};

const ROOMS: [&str; 3] = ["off:hall", "async:hall", "stored:hall"];
const HAND_OVERS: usize = 3;

trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

type Any = Client<Box<dyn Both>>;

/// Where everybody connects.
#[derive(Clone)]
struct Place {
    clients: SocketAddr,
    inside: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Place {
    /// A client that is connected, however often that has to be tried.
    fn connect(&self) -> Any {
        let began = Instant::now();
        loop {
            let mut stream: Box<dyn Both> = Box::new(dial_tls(self.clients, &self.tls));
            let handshake = "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            let asked = stream.write_all(handshake.as_bytes()).is_ok();
            if asked && try_head(&mut stream).is_some_and(|head| head.starts_with("HTTP/1.1 101 ")) {
                let mut client = Client::upgraded(stream);
                client.send(r#"{"id":1,"connect":{}}"#);
                if let Some(reply) = reply(&mut client, 1) {
                    assert!(reply.get("connect").is_some(), "{reply}");
                    return client;
                }
            }
            assert!(began.elapsed() < PATIENCE, "nobody lets it in");
        }
    }
}

/// The head of an answer; nothing if there is none.
fn try_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// The reply to a command; nothing when the client is closed instead. Pushes before it are kept.
fn reply(client: &mut Any, id: u32) -> Option<Value> {
    loop {
        match client.hear() {
            Heard::Object(mut value) => match value.get_mut("push") {
                Some(push) => client.pushes.push_back(push.take()),
                None => {
                    assert_eq!(value["id"], id, "{value}");
                    return Some(value);
                }
            },
            Heard::Close(code, _) => {
                assert_eq!(code, 3001);
                return None;
            }
            Heard::End => return None,
            Heard::Pong(_) => {}
        }
    }
}

/// Publishes numbers until told to stop; the acknowledged ones, in their order.
fn publish_on(place: &Place, room: &str, stop: &AtomicBool) -> Vec<u64> {
    let (mut client, mut acknowledged, mut next) = (place.connect(), Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        next += 1;
        client.send(&publish(next + 1, room, &next.to_string()));
        match reply(&mut client, next + 1) {
            Some(reply) if reply.get("publish").is_some() => acknowledged.push(u64::from(next)),
            Some(reply) => {
                assert_eq!(reply["error"]["code"], 111, "{reply}");
                assert_eq!(reply["error"]["temporary"], true, "{reply}");
                std::thread::sleep(Duration::from_millis(5));
            }
            None => client = place.connect(),
        }
    }
    acknowledged
}

/// The same by the server API, on one connection as long as that is kept.
fn post_on(place: &Place, room: &str, stop: &AtomicBool) -> Vec<u64> {
    let (mut kept, mut acknowledged, mut next) = (None, Vec::new(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        next += 1;
        let body = format!(r#"{{"channel":"{room}","data":{next}}}"#);
        let length = body.len();
        let request =
            format!("POST /api/publish HTTP/1.1\r\nHost: localhost\r\n{KEY}Content-Length: {length}\r\n\r\n{body}");
        let mut stream = kept.take().unwrap_or_else(|| dial(place.inside));
        if stream.write_all(request.as_bytes()).is_err() {
            continue;
        }
        let Some(head) = try_head(&mut stream) else { continue };
        let head = head.to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let mut answer = vec![0; length.split('\r').next().expect("a number").parse().expect("a number")];
        stream.read_exact(&mut answer).expect("a body");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        if answer.get("result").is_some() {
            acknowledged.push(next);
        } else {
            assert_eq!(answer["error"]["code"], 111, "{answer}");
            std::thread::sleep(Duration::from_millis(5));
        }
        kept = (!head.contains("connection: close")).then_some(stream);
    }
    acknowledged
}

/// What a member has received, in its order, and how often it has come back.
#[derive(Default)]
struct Received {
    numbers: Vec<u64>,
    came_back: usize,
}

/// Is in a room until it has the last message of it, coming back whenever it is closed.
fn listen(place: &Place, room: &str) -> Received {
    let mut received = Received::default();
    let mut client = place.connect();
    let (mut seen, mut epoch) = (0, None);
    loop {
        let began = Instant::now();
        // Whoever is told to come later comes later.
        let subscribed = loop {
            let recover = epoch.as_ref().map(|epoch| format!(r#","recover":true,"offset":{seen},"epoch":"{epoch}""#));
            let recover = recover.unwrap_or_default();
            client.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{room}"{recover}}}}}"#));
            match reply(&mut client, 2) {
                Some(mut reply) if reply.get("subscribe").is_some() => break reply["subscribe"].take(),
                Some(reply) => {
                    assert_eq!(reply["error"]["code"], 111, "{reply}");
                    assert!(began.elapsed() < PATIENCE, "{room} is closed to it");
                    std::thread::sleep(Duration::from_millis(5));
                }
                None => client = place.connect(),
            }
        };
        match &epoch {
            Some(_) => {
                assert_eq!(subscribed["recovered"], true, "{room} after {seen}: {subscribed}");
                received.came_back += 1;
            }
            None => seen = number(&subscribed["offset"]),
        }
        epoch = Some(text(&subscribed["epoch"]).to_owned());
        let replayed = subscribed["publications"].as_array().cloned().unwrap_or_default();
        let mut is_over = false;
        for publication in replayed {
            is_over |= take(&publication, &mut seen, &mut received);
        }
        while !is_over {
            let heard = match client.pushes.pop_front() {
                Some(push) => push,
                None => match client.hear() {
                    Heard::Object(mut value) => value["push"].take(),
                    Heard::Close(3001, _) | Heard::End => break,
                    other => panic!("{other:?}"),
                },
            };
            if let Some(publication) = heard.get("pub") {
                is_over = take(publication, &mut seen, &mut received);
            }
        }
        if is_over {
            return received;
        }
        client = place.connect();
    }
}

/// Whether it was the last one.
fn take(publication: &Value, seen: &mut u64, received: &mut Received) -> bool {
    assert_eq!(number(&publication["offset"]), *seen + 1, "each once, in their order");
    *seen += 1;
    match publication["data"].as_u64() {
        Some(number) => {
            received.numbers.push(number);
            false
        }
        None => true,
    }
}

#[test]
fn whatever_is_acknowledged_is_received_once_and_in_order_over_hand_overs() {
    let folder = Folder::new();
    let mut config = config(&folder);
    let authority = Authority::new();
    config.http_server.tls = authority.vouch_for("chat.example").options();
    config.http_server.tls_external = true;
    config.handover.close_rate = 50;
    config.client.recovery_max_publication_limit = 10_000;
    let (first, clients, inside) = Process::first(&config);
    let tls = Arc::new(authority.client(&BOTH, None));
    let place = Place { clients, inside, tls };
    let stop = AtomicBool::new(false);
    let acknowledged = Mutex::new(BTreeMap::new());
    let received = Mutex::new(Vec::new());
    let mut process = first;
    std::thread::scope(|scope| {
        let mut publishers = Vec::new();
        for room in ROOMS.into_iter().chain(["off:posted"]) {
            for _ in 0..6 {
                let (place, received) = (place.clone(), &received);
                scope.spawn(move || {
                    let all = listen(&place, room);
                    received.lock().expect("no panic").push((room, all));
                });
            }
            let (place, stop, acknowledged) = (place.clone(), &stop, &acknowledged);
            publishers.push(scope.spawn(move || {
                let numbers = match room {
                    "off:posted" => post_on(&place, room, stop),
                    _ => publish_on(&place, room, stop),
                };
                acknowledged.lock().expect("no panic").insert(room, numbers);
            }));
        }
        for _ in 0..HAND_OVERS {
            std::thread::sleep(Duration::from_millis(300));
            let next = Process::next(&config);
            process.ended().expect("handed over");
            process = next;
        }
        stop.store(true, Ordering::Relaxed);
        for publisher in publishers {
            publisher.join().expect("all goes well");
        }
        for room in ROOMS.into_iter().chain(["off:posted"]) {
            let mut last = place.connect();
            last.send(&publish(2, room, r#""that was all""#));
            assert!(reply(&mut last, 2).is_some_and(|reply| reply.get("publish").is_some()), "{room}");
        }
    });
    let acknowledged = acknowledged.into_inner().expect("no panic");
    let received = received.into_inner().expect("no panic");
    assert_eq!(received.len(), 6 * (ROOMS.len() + 1));
    for (room, Received { numbers, came_back }) in received {
        let all = &acknowledged[room];
        assert!(all.len() > 10, "{room}: too little was said");
        // Who is slow comes when the first one is over, or is closed once for two.
        assert!((1..=HAND_OVERS).contains(&came_back), "{room}: {came_back}");
        // Whoever came in the midst has the rest.
        let begins = all.iter().position(|first| Some(first) == numbers.first()).unwrap_or(all.len());
        assert!(numbers == all[begins..], "{room}: {numbers:?} of {all:?}");
    }
    process.stop();
}

/// Commands in requests of their own, which come to the new process, that does not know the session.
#[test]
fn clients_of_http_streams_come_back_and_recover() {
    let folder = Folder::new();
    let config = config(&folder);
    let (mut first, address, _) = Process::first(&config);
    let mut speaker = connected(address);
    speaker.subscribe(2, "stored:hall");
    let open = |commands: &str| {
        let mut stream = dial(address);
        let length = commands.len();
        let request = format!(
            "POST /connection/http_stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{commands}"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream
    };
    let mut stream = open("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"stored:hall\"}}");
    speaker.publish(3, "stored:hall", "1");
    let second = Process::next(&config);
    assert_eq!(speaker.closed().0, 3001);
    let said = rest(&mut stream);
    assert!(said.contains(r#""data":1"#) && said.contains(r#""disconnect":{"code":3001"#), "{said}");
    first.ended().expect("handed over");
    let session = said.split_once(r#""session":""#).expect("a session").1.split('"').next().expect("its name");
    let body = format!(r#"{{"session":"{session}","node":"","data":"{{}}"}}"#);
    let mut lost = dial(address);
    let length = body.len();
    let head =
        format!("POST /emulation HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    lost.write_all((head + &body).as_bytes()).expect("a request");
    assert!(read_head(&mut lost).starts_with("HTTP/1.1 404 "), "the session has ended");

    let mut speaker = connected(address);
    speaker.publish(2, "stored:hall", "2");
    let epoch = said.split_once(r#""epoch":""#).expect("an epoch").1.split('"').next().expect("its name");
    let mut stream = open(&format!(
        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"stored:hall\",\"recover\":true,\"offset\":1,\"epoch\":\"{epoch}\"}}}}"
    ));
    second.shutdown.begin();
    let said = rest(&mut stream);
    assert!(said.contains(r#""recovered":true"#) && said.contains(r#""data":2"#), "{said}");
    second.stop();
}

/// All that comes until the end.
fn rest(stream: &mut impl Read) -> String {
    let (mut input, mut said) = (Vec::new(), Vec::new());
    loop {
        let mut buffer = [0; 4_096];
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8(said).expect("text"),
            Ok(n) => input.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
        while let Some((payload, length)) = read_chunk(&input) {
            said.extend_from_slice(payload);
            input.drain(..length);
        }
    }
}

#[test]
fn clients_are_closed_little_by_little() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.handover.close_rate = 20;
    let (mut first, address, _) = Process::first(&config);
    let mut clients: Vec<_> = (0..40).map(|_| connected(address)).collect();
    let second = Process::next(&config);
    let began = Instant::now();
    let mut connected_again = Vec::new();
    for client in &mut clients {
        assert_eq!(client.closed().0, 3001);
        connected_again.push(connected(address));
    }
    assert!(began.elapsed() > Duration::from_secs(1), "all at once: {:?}", began.elapsed());
    first.ended().expect("handed over");
    second.stop();
}
