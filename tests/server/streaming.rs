//! HTTP streaming and server-sent events: answers without end, and commands in requests of their own.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use roomcast_server::config::{OperationLimit, RateBucket};
use serde_json::{Value, json};

use crate::frames::read_chunk;
use crate::harness::{PATIENCE, Running, dial, eventually, number, read_head, text};
use crate::stalled::{closes, fill, histories};

/// A transport whose output is text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    HttpStream,
    Events,
    EventsByPost,
}

const KINDS: [Kind; 3] = [Kind::HttpStream, Kind::Events, Kind::EventsByPost];

/// A client whose connection only speaks.
struct Streamed<'a> {
    running: &'a Running,
    stream: TcpStream,
    kind: Kind,
    head: String,
    /// What came in chunks and has not been heard.
    payload: Vec<u8>,
    /// What came and is not a whole chunk yet.
    input: Vec<u8>,
    has_ended: bool,
    session: String,
}

impl<'a> Streamed<'a> {
    fn open(running: &'a Running, kind: Kind, commands: &str) -> Self {
        Self::over(running, dial(running.address), kind, commands)
    }

    fn over(running: &'a Running, mut stream: TcpStream, kind: Kind, commands: &str) -> Self {
        stream.write_all(request(kind, commands, "").as_bytes()).expect("a request");
        let head = read_head(&mut stream);
        Self {
            running,
            stream,
            kind,
            head,
            payload: Vec::new(),
            input: Vec::new(),
            has_ended: false,
            session: String::new(),
        }
    }

    fn connected(running: &'a Running, kind: Kind, name: &str) -> Self {
        let mut client = Self::open(running, kind, &format!(r#"{{"id":1,"connect":{{"data":{{"name":"{name}"}}}}}}"#));
        assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
        let connect = client.hear().expect("a reply");
        client.session = text(&connect["connect"]["session"]).to_owned();
        client
    }

    /// Sends commands the other way; the status of the answer.
    fn send(&self, commands: &str) -> u16 {
        let body = json!({"session": self.session, "node": "", "data": commands}).to_string();
        post(self.running, "/emulation", "application/json", body.as_bytes())
    }

    /// The next message, pings answered and passed over; nothing at the end.
    fn hear(&mut self) -> Option<Value> {
        loop {
            let (separator, prefix) = match self.kind {
                Kind::HttpStream => ("\n", ""),
                Kind::Events | Kind::EventsByPost => ("\n\n", "data: "),
            };
            let said = String::from_utf8(self.payload.clone()).expect("text");
            if let Some((message, _)) = said.split_once(separator) {
                self.payload.drain(..message.len() + separator.len());
                let message = message.strip_prefix(prefix).expect("a message of the transport");
                if message == "{}" {
                    assert_eq!(self.send("{}"), 204);
                    continue;
                }
                return Some(serde_json::from_str(message).expect("JSON"));
            }
            if self.has_ended {
                assert!(said.is_empty(), "the answer ends in the midst of {said:?}");
                return None;
            }
            self.read();
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4_096];
        let n = self.stream.read(&mut buffer).expect("output");
        assert!(n > 0, "the answer has no end");
        self.input.extend_from_slice(&buffer[..n]);
        while let Some((payload, length)) = read_chunk(&self.input) {
            self.payload.extend_from_slice(payload);
            self.has_ended = payload.is_empty();
            self.input.drain(..length);
        }
    }

    /// The next message of that kind.
    fn hear_push(&mut self, kind: &str) -> Value {
        loop {
            let mut message = self.hear().expect("a push");
            if let Some(push) = message["push"].get_mut(kind) {
                return push.take();
            }
        }
    }

    fn hear_reply(&mut self, id: u32) -> Value {
        loop {
            let message = self.hear().expect("a reply");
            if message["id"] == id {
                return message;
            }
        }
    }
}

fn request(kind: Kind, commands: &str, headers: &str) -> String {
    let length = commands.len();
    match kind {
        Kind::HttpStream => format!(
            "POST /connection/http_stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{commands}"
        ),
        Kind::EventsByPost => {
            format!(
                "POST /connection/sse HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{commands}"
            )
        }
        Kind::Events => {
            let quoted: String = commands.bytes().map(|byte| format!("%{byte:02X}")).collect();
            format!("GET /connection/sse?cf_connect={quoted} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
        }
    }
}

pub(crate) fn answer(running: &Running, request: &[u8]) -> String {
    let mut stream = dial(running.address);
    stream.write_all(request).expect("a request");
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => answer,
    }
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn post(running: &Running, path: &str, content_type: &str, body: &[u8]) -> u16 {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    status(&answer(running, &[head.as_bytes(), body].concat()))
}

#[test]
fn a_streamed_client_is_a_member_like_any_other() {
    for kind in KINDS {
        let running = Running::start();
        let mut listener = running.member("ws", "hall");
        let mut client = Streamed::connected(&running, kind, "streamed");
        assert_eq!(client.send(r#"{"id":2,"subscribe":{"channel":"hall"}}"#), 204);
        assert_eq!(client.hear_reply(2)["subscribe"]["recoverable"], true, "{kind:?}");
        listener.publish(3, "hall", r#"{"t":"to all"}"#);
        assert_eq!(client.hear_push("pub")["data"], json!({"t": "to all"}));
        // Two commands in one request.
        let commands = "{\"id\":3,\"publish\":{\"channel\":\"hall\",\"data\":1}}\n{\"id\":4,\"presence_stats\":{\"channel\":\"hall\"}}";
        assert_eq!(client.send(commands), 204);
        assert_eq!(client.hear_reply(4)["presence_stats"]["num_clients"], 2);
        let heard = std::iter::from_fn(|| Some(listener.publication())).find(|push| push["data"] == 1).unwrap();
        assert_eq!(heard["info"]["conn_info"]["name"], "streamed");

        // Gone without a word: its place is empty soon.
        client.stream.shutdown(std::net::Shutdown::Both).expect("a shutdown");
        eventually("the streamed client to leave", || {
            listener.send(r#"{"id":9,"presence_stats":{"channel":"hall"}}"#);
            number(&listener.reply(9)["presence_stats"]["num_clients"]) == 1
        });
        assert_eq!(client.send("{}"), 404, "the session has ended");
    }
}

#[test]
fn what_is_missed_is_recovered_by_a_streamed_client() {
    let running = Running::start();
    let mut speaker = running.connected("speaker");
    for id in 2..7 {
        speaker.publish(id, "hall", &id.to_string());
    }
    for kind in KINDS {
        let mut client = Streamed::connected(&running, kind, "late");
        client.send(r#"{"id":2,"subscribe":{"channel":"hall","recover":true,"offset":2}}"#);
        let entered = client.hear_reply(2)["subscribe"].clone();
        assert_eq!(entered["recovered"], true, "{entered}");
        let offsets: Vec<_> =
            entered["publications"].as_array().unwrap().iter().map(|p| number(&p["offset"])).collect();
        assert_eq!(offsets, [3, 4, 5], "{kind:?}");
    }
}

#[test]
fn a_page_may_have_asked_for_something_else_on_the_same_socket() {
    let running = Running::start();
    let mut stream = dial(running.address);
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let mut seen = Vec::new();
    while !seen.ends_with(b"{}\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        seen.push(byte[0]);
    }
    let mut client = Streamed::over(&running, stream, Kind::HttpStream, r#"{"id":1,"connect":{}}"#);
    assert!(client.head.contains("transfer-encoding: chunked"), "{}", client.head);
    assert!(client.head.contains("connection: close"), "nobody uses the socket for another request: {}", client.head);
    assert!(client.hear().expect("a reply")["connect"]["client"].is_string());
}

#[test]
fn pings_are_sent_and_their_answers_awaited() {
    let running = Running::with(|config| {
        config.client.ping_interval = Duration::from_secs(1);
        config.client.pong_timeout = Duration::from_millis(500);
    });
    let mut client = Streamed::connected(&running, Kind::HttpStream, "silent");
    // It hears pings and never answers.
    client.session.clear();
    let start = std::time::Instant::now();
    let mut said = String::new();
    while !client.has_ended {
        assert!(start.elapsed() < PATIENCE);
        client.read();
        said = String::from_utf8(client.payload.clone()).expect("text");
    }
    assert!(said.contains("{}\n"), "{said}");
    assert!(said.contains("\"disconnect\":{\"code\":3012"), "{said}");
}

#[test]
fn a_goodbye_is_said_in_words_and_the_answer_ends() {
    let running = Running::start();
    for kind in KINDS {
        let mut first_word_is_wrong = Streamed::open(&running, kind, r#"{"id":1,"subscribe":{"channel":"hall"}}"#);
        let goodbye = first_word_is_wrong.hear().expect("a goodbye")["push"]["disconnect"].clone();
        assert_eq!((number(&goodbye["code"]), &goodbye["reconnect"]), (3501, &Value::Null), "{kind:?}");
        assert!(first_word_is_wrong.hear().is_none(), "the answer goes on");
    }
    let mut client = Streamed::connected(&running, Kind::Events, "guest");
    running.begin_shutdown();
    let goodbye = client.hear_push("disconnect");
    assert_eq!((number(&goodbye["code"]), &goodbye["reconnect"]), (3001, &json!(true)));
    assert!(client.hear().is_none(), "the answer goes on");
}

#[test]
fn protobuf_is_streamed_as_it_is() {
    let running = Running::start();
    // A connect command with the id 1: its fields 1 and 4, behind its length.
    let connect = [4, 0x08, 1, 0x22, 0];
    let mut stream = dial(running.address);
    let head = format!(
        "POST /connection/http_stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        connect.len()
    );
    stream.write_all(&[head.as_bytes(), &connect].concat()).expect("a request");
    let mut answer = Vec::new();
    // A reply to command 1 (0x08 1) that holds a connect result (field 5).
    while !answer.windows(3).any(|three| three == [0x08, 1, 0x2a]) {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("content-type: application/octet-stream"), "{text}");
    // An emulation request without a session: its field 3 alone.
    assert_eq!(post(&running, "/emulation", "application/octet-stream", &[0x1a, 1, 0]), 404);
}

#[test]
fn requests_that_cannot_be_served_say_why() {
    let running = Running::with(|config| config.websocket.message_size_limit = 1_024);
    let close = "Connection: close\r\n";
    for (request, expected) in [
        (format!("GET /connection/http_stream HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 405),
        (format!("GET /emulation HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 405),
        (format!("GET /connection/sse HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"), 400),
        (request(Kind::HttpStream, &"x".repeat(1_025), close), 413),
        ("POST /connection/http_stream HTTP/1.0\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}".to_owned(), 505),
        (request(Kind::HttpStream, "{}", &format!("{close}Origin: https://elsewhere.example\r\n")), 403),
    ] {
        assert_eq!(status(&answer(&running, request.as_bytes())), expected, "{request}");
    }
    let emulate = |body: &str| post(&running, "/emulation", "application/json", body.as_bytes());
    // Nobody's session.
    assert_eq!(emulate("{}"), 404);
    assert_eq!(emulate(""), 400);
    assert_eq!(emulate("nonsense"), 400);
    assert_eq!(emulate(r#"{"session":"nobody","data":"{}"}"#), 404);
    assert_eq!(emulate(&json!({"session": "s", "data": "x".repeat(1_025)}).to_string()), 413);
    assert_eq!(emulate(&"x".repeat(4_096)), 413);
}

/// As on a socket, an empty message is a bad one, and the client is told in words.
#[test]
fn a_request_without_commands_is_told_so_in_the_answer() {
    let running = Running::start();
    let told = |client: &mut Streamed<'_>| {
        assert_eq!(client.hear_push("disconnect")["code"], 3501);
        assert_eq!(client.hear(), None);
    };
    for kind in [Kind::HttpStream, Kind::EventsByPost] {
        for commands in ["", "\n"] {
            let mut client = Streamed::open(&running, kind, commands);
            assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
            told(&mut client);
        }
    }
    for kind in [Kind::HttpStream, Kind::Events] {
        let mut client = Streamed::connected(&running, kind, "Ann");
        assert_eq!(client.send(""), 204);
        told(&mut client);
    }
}

#[test]
fn an_address_changes_nothing() {
    let running = Running::start();
    let mut ann = running.member("Ann", "hall");
    let connect = r#"{"id":1,"connect":{}}"#;
    for more in [
        r#"{"id":2,"publish":{"channel":"hall","data":1}}"#,
        r#"{"id":2,"rpc":{"method":"a","data":1}}"#,
        r#"{"send":{"data":1}}"#,
        r#"{"id":2,"unsubscribe":{"channel":"hall"}}"#,
    ] {
        let commands = format!("{connect}\n{more}");
        let refused = answer(&running, request(Kind::Events, &commands, "Connection: close\r\n").as_bytes());
        assert_eq!(status(&refused), 400, "{more}");
        assert!(refused.contains("with POST"), "{refused}");
    }
    let commands = format!("{connect}\n{}", r#"{"id":2,"subscribe":{"channel":"hall"}}"#);
    let mut client = Streamed::open(&running, Kind::Events, &commands);
    assert!(client.hear_reply(2)["subscribe"].is_object());
    ann.publish(3, "hall", "2");
    assert_eq!(ann.publication()["data"], 2, "nothing else came");
}

#[test]
fn a_request_that_stops_halfway_is_not_waited_for() {
    let running = Running::with(|config| config.client.stale_close_delay = Duration::from_millis(100));
    for path in ["/connection/http_stream", "/connection/sse", "/emulation"] {
        let half =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{{");
        assert_eq!(status(&answer(&running, half.as_bytes())), 408, "{path}");
    }
}

#[test]
fn pages_that_may_connect_may_read_the_answers() {
    let running = Running::with(|config| config.client.allowed_origins = vec!["https://chat.example".to_owned()]);
    let origin = "Origin: https://chat.example\r\nConnection: close\r\n";
    let preflight = answer(
        &running,
        format!(
            "OPTIONS /emulation HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: POST\r\n{origin}\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(status(&preflight), 204);
    for line in [
        "access-control-allow-origin: https://chat.example",
        "access-control-allow-methods: GET, POST",
        "access-control-allow-headers: content-type",
        "vary: origin",
    ] {
        assert!(preflight.contains(line), "{preflight}");
    }
    let mut stream = dial(running.address);
    stream.write_all(request(Kind::Events, r#"{"id":1,"connect":{}}"#, origin).as_bytes()).expect("a request");
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("access-control-allow-origin: https://chat.example"), "{head}");
    let stranger = "OPTIONS /emulation HTTP/1.1\r\nHost: localhost\r\nOrigin: https://elsewhere.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&answer(&running, stranger.as_bytes())), 403);
}

#[test]
fn who_takes_nothing_and_answers_no_ping_is_closed() {
    let running = Running::with(|config| {
        config.client.ping_interval = Duration::from_secs(1);
        config.client.pong_timeout = Duration::from_millis(500);
        config.client.write_timeout = Duration::from_secs(3_600);
    });
    fill(&running, "hall");
    for (closed, kind) in KINDS.into_iter().enumerate() {
        // It reads nothing from here on, and its commands wait behind what it does not read.
        let client = Streamed::connected(&running, kind, "deaf");
        assert_eq!(client.send(&histories("hall")), 204);
        eventually("the end of who takes nothing", || closes(&running, 3012) > closed as u64);
    }
}

#[test]
fn an_end_does_not_wait_for_who_takes_nothing() {
    let running = Running::with(|config| {
        config.client.write_timeout = Duration::from_secs(3_600);
        // A ping comes at any moment, and what is said would not be an answer.
        config.client.ping_interval = Duration::ZERO;
    });
    fill(&running, "hall");
    let client = Streamed::connected(&running, Kind::HttpStream, "deaf");
    // One answer after the other, until one has to wait.
    let said = || running.metric("roomcast_bytes_out_total{");
    let mut before = 0;
    while said() > before {
        before = said();
        assert_eq!(client.send(r#"{"id":2,"history":{"channel":"hall","limit":2}}"#), 204);
        let asked = Instant::now();
        while said() == before && asked.elapsed() < Duration::from_millis(500) {}
    }
    assert_eq!(client.send("nonsense"), 204);
    eventually("the end", || closes(&running, 3501) == 1);
}

#[test]
fn commands_that_come_faster_than_they_are_done_are_bounded() {
    let running = Running::start();
    let client = Streamed::connected(&running, Kind::HttpStream, "flood");
    // It reads nothing: histories fill its socket, then what waits has a limit.
    let mut speaker = running.connected("speaker");
    let long = format!("\"{}\"", "x".repeat(20_000));
    for id in 2..102 {
        speaker.publish(id, "hall", &long);
    }
    let history = r#"{"id":5,"history":{"channel":"hall","limit":-1}}"#;
    eventually("the session to end", || client.send(history) == 404);
    let running = &running;
    eventually("a goodbye in the metrics", || {
        running.get("/metrics", "").1.lines().any(|line| line.contains("code=\"3013\""))
    });
}

#[test]
fn what_a_client_may_do_in_a_time_holds_however_its_commands_come() {
    let server = Running::with(|config| {
        let limits = &mut config.client.rate_limit;
        let so_many = |rate| OperationLimit {
            enabled: true,
            buckets: vec![RateBucket { interval: Duration::from_secs(3_600), rate }],
            overrides: Vec::new(),
        };
        (limits.client_command.enabled, limits.client_error.enabled) = (true, true);
        (limits.client_command.total, limits.client_error.total) = (so_many(3), so_many(2));
        (limits.room_creation.enabled, limits.room_creation.client) = (true, so_many(1).buckets);
    });
    let mut bob = server.member("Bob", "hall");
    for kind in KINDS {
        let mut ann = Streamed::connected(&server, kind, "Ann");
        let room = |nth: u32| format!("{kind:?}-{nth}");
        let subscribe = |id: u32| format!(r#"{{"id":{id},"subscribe":{{"channel":"{}"}}}}"#, room(id));
        let errors = [2, 3, 4].map(|id| {
            assert_eq!(ann.send(&subscribe(id)), 204);
            ann.hear_reply(id)["error"]["code"].as_u64().unwrap_or(0)
        });
        assert_eq!(errors, [0, 111, 111], "a room too many, and a command too many");
        assert_eq!(ann.send(&subscribe(5)), 204);
        assert_eq!(ann.hear_push("disconnect")["code"], 3509, "{kind:?}");
    }
    bob.publish(3, "hall", "1");
}
