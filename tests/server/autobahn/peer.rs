//! The client of a case: it sends what the case says, cut as the case says, and notes what it sees.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use super::wire::{self, CLOSE, Encoding, FIN, PONG, Said, hex};
use crate::frames::{Received, frame, read_frame};
use crate::harness::{PATIENCE, Running, eventually, read_head};

/// Something a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// What it published came back, unchanged.
    Echo,
    /// What it published was refused, with an error of this number.
    Refusal(u64),
    /// A pong with its payload.
    Pong(Vec<u8>),
    /// All that was sent was read, and nothing was said.
    Nothing,
    /// A close frame with its code.
    Close(u16),
    /// The server has closed its side of the connection.
    End,
    /// Something no case leads to.
    Strange(String),
}

/// How what is sent is cut into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// One write of all frames.
    Together,
    /// A write per frame.
    Frames,
    /// Writes of so many octets.
    Octets(usize),
}

/// A member of a room.
pub(super) struct Peer<'a> {
    server: &'a Running,
    stream: TcpStream,
    encoding: Encoding,
    /// How frames are written from now on.
    pub(super) cut: Cut,
    output: Vec<u8>,
    input: Vec<u8>,
    /// How much of `input` has been taken out.
    used: usize,
    heard: VecDeque<Seen>,
    answers: usize,
    /// The payloads published that have not come back, oldest first.
    published: VecDeque<Vec<u8>>,
    seen: Vec<Seen>,
}

impl<'a> Peer<'a> {
    /// Connects and enters the room.
    pub(super) fn enter(server: &'a Running, encoding: Encoding) -> Self {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
            encoding.subprotocol()
        );
        stream.write_all(request.as_bytes()).expect("a handshake");
        let head = read_head(&mut stream).to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains(&encoding.subprotocol().to_lowercase()), "{head}");
        let mut peer = Self {
            server,
            stream,
            encoding,
            cut: Cut::Together,
            output: Vec::new(),
            input: Vec::new(),
            used: 0,
            heard: VecDeque::new(),
            answers: 0,
            published: VecDeque::new(),
            seen: Vec::new(),
        };
        peer.frame(FIN | encoding.opcode(), &encoding.entrance());
        peer.flush();
        while peer.answers < 2 && peer.heard.is_empty() {
            peer.listen();
        }
        assert!(peer.heard.is_empty(), "expected to enter the room, but heard {:?}", peer.heard);
        peer
    }

    /// Sends a frame.
    pub(super) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&frame(first, payload));
    }

    /// Sends bytes of the wire: a frame, or a part of one.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        if self.cut != Cut::Together {
            self.flush();
        }
    }

    /// Publishes `parts` as one payload, each in a frame of its own.
    pub(super) fn publish(&mut self, parts: &[&[u8]]) {
        for fragment in self.fragments(parts) {
            self.send(&fragment);
        }
    }

    /// Publishes a payload in frames of `size` bytes.
    pub(super) fn publish_in_frames_of(&mut self, size: usize, payload: &[u8]) {
        self.published.push_back(payload.to_vec());
        let command = self.encoding.publish(&[payload]).concat();
        for fragment in wire::fragments(self.encoding.opcode(), command.chunks(size)) {
            self.send(&fragment);
        }
    }

    /// What [`Peer::publish`] sends, for a case that sends other things in between.
    pub(super) fn fragments(&mut self, parts: &[&[u8]]) -> Vec<Vec<u8>> {
        self.published.push_back(parts.concat());
        let command = self.encoding.publish(parts);
        wire::fragments(self.encoding.opcode(), command.iter().map(Vec::as_slice))
    }

    /// Waits for the next thing to see.
    pub(super) fn hear(&mut self) {
        if self.is_over() {
            return;
        }
        self.flush();
        while self.heard.is_empty() {
            self.listen();
        }
        self.seen.extend(self.heard.pop_front());
    }

    /// Waits until the server has read what was sent, and looks whether it has said something.
    ///
    /// The server must have one shard and no other client: then it has also dealt with all it has read.
    pub(super) fn look(&mut self) {
        if self.is_over() {
            return;
        }
        let read = || self.server.metric("roomcast_bytes_in_total");
        let wanted = read() + self.output.len() as u64;
        self.flush();
        eventually("the server reads what was sent", || self.server.metric("roomcast_bytes_in_total") >= wanted);
        self.stream.set_nonblocking(true).expect("a socket option");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket option");
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.heard.is_empty() => {
                self.seen.push(Seen::Nothing)
            }
            _ => self.hear(),
        }
    }

    /// Closes as the suite does once it has seen `awaited` things; nothing awaited: leaves that to the server. Returns all
    /// that was seen.
    pub(super) fn finish(mut self, awaited: Option<usize>) -> Vec<Seen> {
        if let Some(awaited) = awaited {
            while self.seen.len() < awaited && !self.is_over() {
                self.hear();
            }
            self.frame(FIN | CLOSE, &1000u16.to_be_bytes());
        }
        while !self.is_over() {
            self.hear();
        }
        self.seen
    }

    /// Whether nothing more will come.
    fn is_over(&self) -> bool {
        matches!(self.seen.last(), Some(Seen::End | Seen::Strange(_)))
    }

    /// Writes what waits. A server that has closed already is no error here: what it said before counts.
    fn flush(&mut self) {
        let chunk = match self.cut {
            Cut::Together | Cut::Frames => self.output.len().max(1),
            Cut::Octets(octets) => octets,
        };
        for chunk in self.output.chunks(chunk) {
            if self.stream.write_all(chunk).is_err() {
                break;
            }
        }
        self.output.clear();
    }

    /// Takes a frame out of the input, reading more if there is none.
    fn listen(&mut self) {
        match read_frame(&self.input[self.used..]) {
            Err(strange) => self.heard.push_back(Seen::Strange(strange)),
            Ok(None) => self.fill(),
            Ok(Some(Received { first, payload, length })) => {
                self.used += length;
                match first ^ FIN {
                    PONG => self.heard.push_back(Seen::Pong(payload.to_vec())),
                    CLOSE => self.heard.push_back(closed(payload)),
                    opcode if opcode == self.encoding.opcode() => {
                        self.encoding.read(payload).into_iter().for_each(|said| self.understand(said));
                    }
                    _ => self.heard.push_back(Seen::Strange(format!("a frame that begins {first:#04x}"))),
                }
            }
        }
    }

    fn understand(&mut self, said: Said) {
        self.heard.push_back(match said {
            Said::Answer => {
                self.answers += 1;
                return;
            }
            Said::Publication(data) if self.published.pop_front().is_some_and(|published| published == data) => {
                Seen::Echo
            }
            Said::Publication(_) => Seen::Strange("another payload".to_owned()),
            Said::Refusal(error) => {
                self.published.pop_front();
                Seen::Refusal(error)
            }
            Said::Strange(strange) => Seen::Strange(strange),
        });
    }

    fn fill(&mut self) {
        self.input.drain(..self.used);
        self.used = 0;
        let rest = self.input.len();
        self.input.resize(rest + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[rest..]);
        self.input.truncate(rest + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) if rest == 0 => self.heard.push_back(Seen::End),
            Ok(0) => self.heard.push_back(Seen::Strange("the end within a frame".to_owned())),
            Ok(_) => {}
            Err(error) => self.heard.push_back(Seen::Strange(format!("{} instead of the end", error.kind()))),
        }
    }
}

/// Much at a time, since a message may be of megabytes.
const READ_BYTES: usize = 256 * 1024;

fn closed(payload: &[u8]) -> Seen {
    match payload {
        [high, low, reason @ ..] if std::str::from_utf8(reason).is_ok() => {
            Seen::Close(u16::from_be_bytes([*high, *low]))
        }
        other => Seen::Strange(format!("a close frame with {}", hex(other))),
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("echo"),
            Self::Refusal(error) => write!(f, "error {error}"),
            Self::Pong(payload) => match std::str::from_utf8(payload) {
                Ok("") => f.write_str("empty pong"),
                Ok(text) => write!(f, "pong `{text}`"),
                Err(_) if payload.len() > 16 => write!(f, "pong of {} bytes", payload.len()),
                Err(_) => write!(f, "pong `{}`", hex(payload)),
            },
            Self::Nothing => f.write_str("nothing yet"),
            Self::Close(code) => write!(f, "close {code}"),
            Self::End => f.write_str("end"),
            Self::Strange(strange) => write!(f, "unexpected: {strange}"),
        }
    }
}
