//! Clients that only listen: they say who they are, and hear pushes.

mod refused;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use roomcast_server::config::{ApiKey, Config, NamespaceOptions};
use serde_json::{Value, json};

use crate::api::result;
use crate::frames::{Received, frame, read_chunk, read_frame};
use crate::harness::{PATIENCE, Running, dial, eventually, number, read_head, text};
use crate::stalled::closes;
use crate::tokens::{options, token};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    WebSocket,
    /// Its connect request stands in the address.
    WebSocketByAddress,
    HttpStream,
    Events,
    EventsByPost,
}

const KINDS: [Kind; 5] =
    [Kind::WebSocket, Kind::WebSocketByAddress, Kind::HttpStream, Kind::Events, Kind::EventsByPost];
const OVER_HTTP: [Kind; 3] = [Kind::HttpStream, Kind::Events, Kind::EventsByPost];

impl Kind {
    fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketByAddress)
    }

    fn request(self, connect: &str, headers: &str) -> String {
        let quoted: String = connect.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let post = |path: &str| {
            let length = connect.len();
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{connect}")
        };
        let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{more}\r\n");
        match self {
            Self::WebSocket => get("/connection/uni_websocket", handshake),
            Self::WebSocketByAddress => get(&format!("/connection/uni_websocket?cf_connect={quoted}"), handshake),
            Self::HttpStream => post("/connection/uni_http_stream"),
            Self::Events => get(&format!("/connection/uni_sse?cf_connect={quoted}"), ""),
            Self::EventsByPost => post("/connection/uni_sse"),
        }
    }
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    /// A push, or the empty object of a ping.
    Push(Value),
    /// A ping frame of WebSocket.
    Ping,
    /// A close frame.
    Close(u16, String),
    End,
}

struct Listener {
    kind: Kind,
    stream: TcpStream,
    head: String,
    input: Vec<u8>,
    /// What came in chunks and is no whole message yet.
    text: String,
    heard: VecDeque<Heard>,
    has_ended: bool,
}

impl Listener {
    fn open(server: &Running, kind: Kind, connect: &str) -> Self {
        Self::open_with(server, kind, connect, "")
    }

    fn open_with(server: &Running, kind: Kind, connect: &str, headers: &str) -> Self {
        let mut stream = dial(server.address);
        stream.write_all(kind.request(connect, headers).as_bytes()).expect("a request");
        let head = read_head(&mut stream);
        let mut listener = Self {
            kind,
            stream,
            head,
            input: Vec::new(),
            text: String::new(),
            heard: VecDeque::new(),
            has_ended: false,
        };
        if kind == Kind::WebSocket {
            listener.say(connect);
        }
        listener
    }

    /// One that is connected, and its connect push.
    fn connected(server: &Running, kind: Kind, connect: &Value) -> (Self, Value) {
        let mut listener = Self::open(server, kind, &connect.to_string());
        let mut push = listener.push();
        (listener, push["connect"].take())
    }

    fn say(&mut self, message: &str) {
        // A server that has closed already is no error here.
        let _ = self.stream.write_all(&frame(0x81, message.as_bytes()));
    }

    fn hear(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            if self.has_ended {
                return Heard::End;
            }
            self.read();
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.has_ended = true,
            Ok(n) => self.input.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.has_ended = true,
            Err(error) => panic!("waited in vain: {error}"),
        }
        if self.kind.is_websocket() {
            while let Some(Received { first, payload, length }) = read_frame(&self.input).expect("a frame") {
                let said = String::from_utf8_lossy(payload).into_owned();
                match first {
                    0x81 => self.heard.extend(said.split('\n').map(object)),
                    0x89 => self.heard.push_back(Heard::Ping),
                    0x88 => {
                        let code = u16::from_be_bytes([payload[0], payload[1]]);
                        self.heard.push_back(Heard::Close(code, String::from_utf8_lossy(&payload[2..]).into_owned()));
                    }
                    other => panic!("an unexpected frame {other:#x}"),
                }
                self.input.drain(..length);
            }
            return;
        }
        while let Some((payload, length)) = read_chunk(&self.input) {
            self.text.push_str(str::from_utf8(payload).expect("text"));
            self.has_ended |= payload.is_empty();
            self.input.drain(..length);
        }
        let (end, prefix) = if self.kind == Kind::HttpStream { ("\n", "") } else { ("\n\n", "data: ") };
        while let Some((message, rest)) = self.text.split_once(end) {
            self.heard.push_back(object(message.strip_prefix(prefix).expect("a message of the transport")));
            self.text = rest.to_owned();
        }
    }

    /// The next push, pings passed over.
    fn push(&mut self) -> Value {
        loop {
            match self.hear() {
                Heard::Ping => {}
                Heard::Push(push) if push == json!({}) => {}
                Heard::Push(push) => return push,
                other => panic!("expected a push, heard {other:?}"),
            }
        }
    }

    /// Everything until the end: what the disconnect push says, and the close frame.
    fn ended(&mut self) -> (Option<Value>, Option<(u16, String)>) {
        let (mut disconnect, mut close) = (None, None);
        loop {
            match self.hear() {
                Heard::Push(mut push) => disconnect = push.get_mut("disconnect").map(Value::take).or(disconnect),
                Heard::Close(code, reason) => {
                    close = Some((code, reason));
                    // A client answers the same, and its server ends the stream.
                    let _ = self.stream.write_all(&frame(0x88, &code.to_be_bytes()));
                }
                Heard::Ping => {}
                Heard::End => return (disconnect, close),
            }
        }
    }
}

fn object(message: &str) -> Heard {
    Heard::Push(serde_json::from_str(message).unwrap_or_else(|error| panic!("{error}: {message}")))
}

/// A server that lets in who brings a token, with a namespace that keeps messages.
fn server(change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.dev = false;
        config.client.allow_anonymous_connect_without_token = false;
        config.client.token = options().token;
        config.http_api.key = ApiKey::new("secret");
        let mut kept = NamespaceOptions::default();
        (kept.history_size, kept.history_ttl) = (100, Duration::from_secs(600));
        (kept.force_recovery, kept.allow_subscribe_for_client) = (true, true);
        config.channel.namespaces.insert("kept".to_owned(), kept);
        let mut told = NamespaceOptions::default();
        (told.join_leave, told.force_push_join_leave) = (true, true);
        config.channel.namespaces.insert("told".to_owned(), told);
        config.channel.namespaces.insert("plain".to_owned(), NamespaceOptions::default());
        change(config);
    })
}

#[test]
fn the_first_push_says_who_the_client_is_and_where() {
    let server = server(|_| {});
    let first = result(&server, "publish", json!({"channel": "kept:a", "data": 1}));
    for kind in KINDS {
        let claims = json!({"sub": "ann", "exp": 4_000_000_000_u64, "channels": ["kept:a", "plain:b"]});
        let (listener, connect) = Listener::connected(&server, kind, &json!({"token": token(&claims), "name": "page"}));
        let mut keys: Vec<_> = connect.as_object().expect("a connect push").keys().map(String::as_str).collect();
        keys.sort_unstable();
        // Neither `pong`, nor `node`, where commands would go.
        assert_eq!(keys, ["client", "expires", "ping", "session", "subs", "ttl", "version"], "{kind:?}");
        assert_eq!((number(&connect["ping"]), &connect["expires"]), (25, &json!(true)));
        let at = json!({"recoverable": true, "positioned": true, "epoch": first["epoch"], "offset": 1});
        assert_eq!(connect["subs"], json!({"kept:a": at, "plain:b": {}}));
        let expected = match kind {
            Kind::WebSocket | Kind::WebSocketByAddress => "upgrade: websocket",
            Kind::HttpStream => "content-type: application/json",
            Kind::Events | Kind::EventsByPost => "content-type: text/event-stream",
        };
        assert!(listener.head.contains(expected), "{}", listener.head);
    }
}

/// Every push that there is, as it stands on the wire.
#[test]
fn what_happens_is_pushed_without_an_envelope() {
    let server = server(|_| {});
    for kind in KINDS {
        let claims = json!({"sub": "ann", "channels": ["plain:a", "told:a"]});
        let (mut listener, connect) = Listener::connected(&server, kind, &json!({"token": token(&claims)}));
        let client = text(&connect["client"]).to_owned();
        let info = json!({"user": "ann", "client": client});
        assert_eq!(listener.push(), json!({"channel": "told:a", "join": {"info": info}}), "{kind:?}");

        let tags = json!({"kind": "news"});
        result(&server, "publish", json!({"channel": "plain:a", "data": {"text": "a\nb"}, "tags": tags}));
        let mut push = listener.push();
        let publication = push["pub"].as_object_mut().expect("a publication");
        assert!(["time", "offset"].iter().all(|name| publication.remove(*name).is_some()), "{publication:?}");
        assert_eq!(push, json!({"channel": "plain:a", "pub": {"data": {"text": "a\nb"}, "tags": tags}}));

        let bob = json!({"token": token(&json!({"sub": "bob", "channels": ["told:a"]}))});
        let (other, connect) = Listener::connected(&server, kind, &bob);
        let info = json!({"user": "bob", "client": connect["client"]});
        assert_eq!(listener.push(), json!({"channel": "told:a", "join": {"info": info}}));
        other.stream.shutdown(Shutdown::Both).expect("a shutdown");
        assert_eq!(listener.push(), json!({"channel": "told:a", "leave": {"info": info}}));

        let only = |mut params: Value| {
            params["user"] = json!("ann");
            params["client"] = json!(client);
            params
        };
        let position = result(&server, "publish", json!({"channel": "kept:b", "data": 1}));
        result(&server, "subscribe", only(json!({"channel": "kept:b", "data": {"welcome": true}})));
        let subscribe = json!({"recoverable": true, "positioned": true, "epoch": position["epoch"],
                               "offset": position["offset"], "data": {"welcome": true}});
        assert_eq!(listener.push(), json!({"channel": "kept:b", "subscribe": subscribe}));
        result(&server, "unsubscribe", only(json!({"channel": "kept:b"})));
        let unsubscribe = json!({"code": 2000, "reason": "server unsubscribe"});
        assert_eq!(listener.push(), json!({"channel": "kept:b", "unsubscribe": unsubscribe}));
        result(&server, "refresh", only(json!({"expire_at": 4_000_000_000_u64})));
        let refresh = listener.push()["refresh"].clone();
        assert_eq!((&refresh["expires"], number(&refresh["ttl"]) > 1_000_000), (&json!(true), true), "{refresh}");
        result(&server, "disconnect", only(json!({"disconnect": {"code": 4500, "reason": "kicked"}})));
        let (disconnect, close) = listener.ended();
        assert_eq!(disconnect, Some(json!({"code": 4500, "reason": "kicked"})), "{kind:?}");
        assert_eq!(close, kind.is_websocket().then(|| (4500, "kicked".to_owned())));
    }
}

#[test]
fn who_comes_back_with_its_position_is_given_what_it_missed() {
    let server = server(|_| {});
    for (round, kind) in KINDS.into_iter().enumerate() {
        let room = format!("kept:{round}");
        let connect = json!({"token": token(&json!({"sub": "ann"})), "subs": {&room: {}}});
        let (listener, first) = Listener::connected(&server, kind, &connect);
        assert_eq!(number(&first["subs"][&room]["offset"]), 0, "{first}");
        let epoch = first["subs"][&room]["epoch"].clone();
        drop(listener);
        for data in 1..=3 {
            result(&server, "publish", json!({"channel": room, "data": data}));
        }
        let subs = json!({&room: {"recover": true, "offset": 1, "epoch": epoch}, "plain:shut": {}, "none:a": {}});
        let connect = json!({"token": token(&json!({"sub": "ann"})), "subs": subs});
        let (mut listener, again) = Listener::connected(&server, kind, &connect);
        let entered = &again["subs"][&room];
        assert_eq!((&entered["recovered"], number(&entered["offset"])), (&json!(true), 1), "{kind:?} {entered}");
        let missed: Vec<_> = entered["publications"].as_array().expect("some").iter().map(|p| &p["data"]).collect();
        assert_eq!(missed, [2, 3]);
        assert_eq!(again["subs"].as_object().expect("rooms").len(), 1, "it may not enter the others");
        result(&server, "publish", json!({"channel": room, "data": 4}));
        assert_eq!(listener.push()["pub"]["offset"], 4);
    }
}

/// Behind its connect request nothing that it says is heard, whatever it is.
#[test]
fn who_only_listens_changes_nothing() {
    let server = Running::start();
    let mut witness = server.member("witness", "hall");
    for kind in [Kind::WebSocket, Kind::WebSocketByAddress] {
        let mut listener = Listener::open(&server, kind, r#"{"subs":{"hall":{}}}"#);
        listener.say(r#"{"id":2,"publish":{"channel":"hall","data":"heard"}}"#);
        assert!(listener.push()["connect"].is_object());
        for said in ["nonsense", "{}", "", r#"{"id":3,"unsubscribe":{"channel":"hall"}}"#] {
            listener.say(said);
        }
        listener.stream.write_all(&frame(0x82, &[0xff])).expect("a binary message");
        listener.stream.write_all(&frame(0x8a, b"unasked")).expect("a pong");
        witness.publish(9, "hall", "1");
        while listener.push()["pub"]["data"] != 1 {}
    }
    assert_eq!(witness.publication()["data"], 1);
    assert_eq!(witness.publication()["data"], 1, "what the listeners have said is not among it");
    for kind in OVER_HTTP {
        let mut listener = Listener::open(&server, kind, r#"{"subs":{"hall":{}}}"#);
        listener.stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request behind it");
        assert!(listener.push()["connect"].is_object());
        witness.publish(10, "hall", "2");
        while listener.push()["pub"]["data"] != 2 {}
    }
}

#[test]
fn pings_come_and_only_a_websocket_answers_them() {
    let server = Running::with(|config| {
        config.client.ping_interval = Duration::from_millis(300);
        config.client.pong_timeout = Duration::from_millis(200);
    });
    for kind in OVER_HTTP {
        let (mut listener, connect) = Listener::connected(&server, kind, &json!({}));
        assert_eq!(connect.get("pong"), None);
        for _ in 0..4 {
            assert_eq!(listener.hear(), Heard::Push(json!({})), "{kind:?}");
        }
    }
    let (mut listener, _) = Listener::connected(&server, Kind::WebSocket, &json!({}));
    for _ in 0..4 {
        assert_eq!(listener.hear(), Heard::Push(json!({})));
        assert_eq!(listener.hear(), Heard::Ping);
        listener.stream.write_all(&frame(0x8a, b"")).expect("a pong");
    }
    let (disconnect, close) = listener.ended();
    assert_eq!(disconnect.expect("a push")["code"], 3012);
    assert_eq!(close.expect("a close frame").0, 3012);
}

#[test]
fn a_websocket_may_join_its_pushes_and_end_by_its_close_frame_alone() {
    let server = Running::with(|config| {
        config.unidirectional.websocket.join_push_messages = true;
        config.unidirectional.websocket.disable_disconnect_push = true;
    });
    let (mut listener, _) = Listener::connected(&server, Kind::WebSocket, &json!({"subs": {"hall": {}}}));
    let (mut apart, _) = Listener::connected(&server, Kind::HttpStream, &json!({"subs": {"hall": {}}}));
    let mut speaker = server.connected("speaker");
    let commands: Vec<_> = (0..50).map(|id| crate::harness::publish(id + 2, "hall", &id.to_string())).collect();
    speaker.send(&commands.join("\n"));
    for member in [&mut listener, &mut apart] {
        let mut next = 0;
        while next < 50 {
            if let Some(publication) = member.push().get("pub") {
                assert_eq!(publication["data"], next);
                next += 1;
            }
        }
    }
    server.begin_shutdown();
    assert_eq!(listener.ended(), (None, Some((3001, "shutdown".to_owned()))));
    assert_eq!(apart.ended().0.expect("a push")["code"], 3001);
}

#[test]
fn who_takes_nothing_is_closed_and_holds_up_nobody() {
    let server = Running::with(|config| config.client.write_timeout = Duration::from_millis(500));
    let deaf: Vec<_> =
        KINDS.map(|kind| Listener::connected(&server, kind, &json!({"subs": {"hall": {}}})).0).into_iter().collect();
    let (mut awake, _) = Listener::connected(&server, Kind::HttpStream, &json!({"subs": {"hall": {}}}));
    let mut speaker = server.connected("speaker");
    let long = format!("\"{}\"", "x".repeat(30_000));
    for id in 2..402 {
        speaker.publish(id, "hall", &long);
    }
    let mut heard = 0;
    while heard < 400 {
        heard += u64::from(awake.push().get("pub").is_some());
    }
    eventually("the end of those who take nothing", || closes(&server, 3008) == deaf.len() as u64);
    eventually("their sockets are free", || server.metric("roomcast_connections{") == 2);
}

#[test]
fn many_listeners_share_a_room() {
    let server = Running::start();
    let listener = |at: usize| Listener::open(&server, KINDS[at % KINDS.len()], r#"{"subs":{"hall":{}}}"#);
    let mut all: Vec<Listener> = (0..200).map(listener).collect();
    for listener in &mut all {
        assert!(listener.push()["connect"]["subs"]["hall"].is_object());
    }
    let mut speaker = server.connected("speaker");
    speaker.publish(2, "hall", "\"to all\"");
    for listener in &mut all {
        while listener.push()["pub"]["data"] != "to all" {}
    }
    drop(all);
    let started = std::time::Instant::now();
    eventually("all have left", || server.metric("roomcast_members{") == 0);
    assert!(started.elapsed() < PATIENCE);
}
