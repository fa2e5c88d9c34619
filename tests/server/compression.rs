//! Messages that travel compressed (RFC 7692), over real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use roomcast_server::config::Config;
use serde_json::{Value, json};

use crate::frames::frame;
use crate::harness::{Client, Running, dial, read_head};

/// A client that compresses, and reads what is compressed.
pub(crate) struct Compressed {
    stream: TcpStream,
    input: Vec<u8>,
    /// Of each message so far, whether it came compressed.
    pub(crate) came_compressed: Vec<bool>,
    /// What came, in lines, and has not been asked for.
    lines: Vec<Value>,
}

const RSV1: u8 = 0x40;
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The message as it travels.
pub(crate) fn deflated(message: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(message.len() + 100);
    let mut compress = Compress::new(flate2::Compression::new(6), false);
    compress.compress_vec(message, &mut packed, FlushCompress::Sync).expect("it can be compressed");
    packed.strip_suffix(&TAIL).expect("a flushed message ends so").to_vec()
}

/// The message as it was.
pub(crate) fn inflated(packed: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(1 << 20);
    let mut inflate = Decompress::new(false);
    inflate.decompress_vec(&[packed, &TAIL].concat(), &mut whole, FlushDecompress::Sync).expect("deflated");
    whole
}

impl Compressed {
    fn over(mut stream: TcpStream, path: &str, in_two_writes: bool) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        let (first, rest) = request.split_at(if in_two_writes { 20 } else { request.len() });
        stream.write_all(first.as_bytes()).expect("a handshake");
        if in_two_writes {
            // What comes in pieces is HTTP's to read.
            std::thread::sleep(std::time::Duration::from_millis(50));
            stream.write_all(rest.as_bytes()).expect("a handshake");
        }
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let agreed = "\r\nsec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
        assert!(head.contains(agreed), "{head}");
        Self { stream, input: Vec::new(), came_compressed: Vec::new(), lines: Vec::new() }
    }

    fn open(server: &Running) -> Self {
        Self::over(dial(server.address), "/connection/websocket", false)
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(&frame(0x81 | RSV1, &deflated(text.as_bytes()))).expect("it is taken");
    }

    /// The next frame: its first byte, and its payload as it was.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let [first, second, rest @ ..] = &*self.input {
                let (skip, length) = match (second, rest) {
                    (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
                    (126, _) => (2, usize::MAX / 2),
                    (127, _) => panic!("no message here is that long"),
                    (length, _) => (2, usize::from(*length)),
                };
                if let Some(payload) = self.input.get(skip..skip + length) {
                    let (first, payload) = (*first, payload.to_vec());
                    self.input.drain(..skip + length);
                    let is_compressed = first & RSV1 != 0;
                    return (
                        first & !RSV1,
                        if is_compressed {
                            self.note(true);
                            inflated(&payload)
                        } else {
                            self.note(false);
                            payload
                        },
                    );
                }
            }
            let mut buffer = [0; 64 * 1024];
            let read = self.stream.read(&mut buffer).expect("more");
            assert!(read > 0, "the stream has ended");
            self.input.extend_from_slice(&buffer[..read]);
        }
    }

    fn note(&mut self, is_compressed: bool) {
        self.came_compressed.push(is_compressed);
    }

    /// The next thing that is said.
    fn object(&mut self) -> Value {
        while self.lines.is_empty() {
            let (first, payload) = self.frame();
            assert_eq!(first, 0x81, "{}", String::from_utf8_lossy(&payload));
            let lines = payload.split(|byte| *byte == b'\n');
            self.lines.extend(lines.map(|line| serde_json::from_slice(line).expect("JSON")));
            self.lines.retain(|line: &Value| line.as_object().is_none_or(|object| !object.is_empty()));
        }
        self.lines.remove(0)
    }

    fn publication(&mut self) -> Value {
        loop {
            let object = self.object();
            if !object["push"]["pub"].is_null() {
                return object["push"]["pub"].clone();
            }
        }
    }

    /// The code that the server closes with.
    fn closed(&mut self) -> u16 {
        loop {
            let (first, payload) = self.frame();
            if first == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

fn compressing(config: &mut Config) {
    config.websocket.compression.enabled = true;
    config.websocket.compression.min_size = 400;
    config.unidirectional.websocket.compression.enabled = true;
    config.shards = std::num::NonZeroUsize::new(1);
}

const ENTER: &str = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"hall\"}}";

fn data(length: usize) -> Value {
    json!({ "text": "what is said again and again ".repeat(length / 29 + 1) })
}

#[test]
fn members_are_given_the_same_whether_they_take_it_compressed_or_not() {
    let server = Running::with(compressing);
    let mut plain = server.member("plain", "hall");
    let mut members: Vec<_> = [false, true]
        .map(|in_two_writes| Compressed::over(dial(server.address), "/connection/websocket", in_two_writes))
        .into();
    for member in &mut members {
        member.send(ENTER);
        assert_eq!(member.object()["id"], 1);
        assert_eq!(member.object()["id"], 2);
        assert!(member.came_compressed.iter().all(|came| !came), "replies are for one alone");
    }
    for length in [10, 1_000, 40_000] {
        plain.publish(3, "hall", &data(length).to_string());
        let said = plain.publication();
        for member in &mut members {
            assert_eq!(member.publication(), said);
            assert_eq!(member.came_compressed.last(), Some(&(length >= 1_000)), "{length}");
        }
    }
    members[0].send(&json!({ "id": 3, "publish": { "channel": "hall", "data": data(5_000) } }).to_string());
    let said = plain.publication();
    assert_eq!(said["data"], data(5_000));
    assert_eq!(members[1].publication(), said);
}

#[test]
fn who_only_listens_is_given_compressed_pushes() {
    let server = Running::with(compressing);
    let path = "/connection/uni_websocket?cf_connect=%7B%22subs%22%3A%7B%22hall%22%3A%7B%7D%7D%7D";
    let mut listener = Compressed::over(dial(server.address), path, false);
    assert!(!listener.object()["connect"].is_null());
    let mut other = server.connected("other");
    other.publish(3, "hall", &data(3_000).to_string());
    let publication = loop {
        // Who comes is told as well.
        let said = listener.object();
        if !said["pub"].is_null() {
            break said["pub"].clone();
        }
    };
    assert_eq!(publication["data"], data(3_000));
    assert_eq!(listener.came_compressed.last(), Some(&true));
}

#[test]
fn nothing_is_compressed_unless_it_is_switched_on_and_offered() {
    for (is_on, offer) in
        [(false, "permessage-deflate"), (true, ""), (true, "permessage-deflate; server_max_window_bits=9")]
    {
        let server = Running::with(|config| config.websocket.compression.enabled = is_on);
        let mut stream = dial(server.address);
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: {offer}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a handshake");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("extensions"), "{head}");
        // And a frame that says it is compressed is a broken rule.
        stream.write_all(&frame(0xc1, &deflated(ENTER.as_bytes()))).expect("it is taken");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("a close frame");
        assert_eq!((answer[0], answer[2..].to_vec()), (0x88, 1002_u16.to_be_bytes().to_vec()), "{offer}");
    }
}

#[test]
fn what_cannot_be_read_or_is_too_long_ends_the_connection_and_no_other() {
    let server = Running::with(compressing);
    let mut other = server.member("other", "hall");
    let bomb = deflated(&vec![b' '; 8 * 1024 * 1024]);
    assert!(bomb.len() < 16_000, "it is short on its way");
    let whole = deflated(ENTER.as_bytes());
    let (head, tail) = whole.split_at(4);
    for (what, code, frames) in [
        ("a bomb", 1009, frame(0xc1, &bomb)),
        ("noise", 1007, frame(0xc1, &[0xff; 100])),
        ("half a message", 1007, frame(0xc1, head)),
        ("no text", 1007, frame(0xc1, &deflated(&[0xff; 100]))),
        ("the bit on a continuation", 1002, [frame(0x41, head), frame(0xc0, tail)].concat()),
        ("the bit on a ping", 1002, frame(0xc9, b"")),
        ("another bit", 1002, frame(0xa1, b"")),
    ] {
        let mut client = Compressed::open(&server);
        client.stream.write_all(&frames).expect("it is taken");
        assert_eq!(client.closed(), code, "{what}");
    }
    let mut whole_in_pieces = Compressed::open(&server);
    let frames = [frame(0x41, head), frame(0x89, b""), frame(0x80, tail)].concat();
    whole_in_pieces.stream.write_all(&frames).expect("it is taken");
    assert_eq!(whole_in_pieces.frame().0, 0x8a, "a pong within a message");
    assert_eq!(whole_in_pieces.object()["id"], 1);
    other.publish(3, "hall", "1");
    assert_eq!(other.publication()["data"], 1);
}

/// A few bytes on the wire are as much as many to read: nobody is read on and on while others wait.
#[test]
fn who_sends_little_that_is_much_has_turns_as_others_have() {
    let server = Running::with(|config| {
        compressing(config);
        config.websocket.compression.min_size = 60_000;
    });
    let mut busy = Compressed::open(&server);
    busy.send(ENTER);
    busy.object();
    busy.object();
    let padded = format!("{{\"id\":9,\"ping\":{{}}}}{}", " ".repeat(60_000));
    let message = frame(0xc1, &deflated(padded.as_bytes()));
    assert!(message.len() < 200, "{} bytes", message.len());
    const MESSAGES: usize = 400;
    busy.stream.write_all(&message.repeat(MESSAGES)).expect("it is taken");
    let last = json!({ "id": 10, "publish": { "channel": "hall", "data": "behind them" } }).to_string();
    busy.send(&last);
    let mut other: Client = server.member("other", "lobby");
    other.publish(3, "lobby", "1");
    assert_eq!(other.publication()["data"], 1);
    // All of it is heard in the end, in its order.
    loop {
        let object = busy.object();
        if object["id"] == 10 {
            assert!(!object["publish"].is_null(), "{object}");
            break;
        }
    }
}
