//! The protocols of the contenders, from the client's side: what it says, and what it makes of what it hears.

mod centrifugo;
mod decoder;
mod nats;
mod plain;
mod redis;
mod stream;

use roomcast_lab::protocol::Encoding;
use roomcast_lab::websocket;

pub use self::decoder::Decoder;
use crate::payload::{self, Stamp};

/// What servers are asked for; all listen on the loopback.
const HOST: &str = "127.0.0.1";

/// How one talks to a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The Centrifugo client protocol, version 2, in JSON over WebSocket.
    Centrifugo,
    /// The same in Protobuf.
    Protobuf,
    /// The same in JSON, in an answer of HTTP without end.
    Stream,
    /// The same in Protobuf.
    ProtobufStream,
    /// The same in JSON, as server-sent events.
    Events,
    /// A WebSocket whose path names the room; what is sent is published, what is published is received.
    Plain,
    /// The protocol of Redis, version 3, in which a subscriber may publish.
    Redis,
    /// The protocol of NATS.
    Nats,
    /// The same in frames.
    NatsOverWebSocket,
}

/// What a connection is for.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// The room it joins or publishes into.
    pub room: String,
    /// Whether it receives.
    pub joins: bool,
    /// From where it wants to go on: epoch and offset.
    pub since: Option<(String, u64)>,
}

/// Something a client hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The server listens: time to say what one is here for.
    Welcome,
    /// The server knows the client; whoever only publishes is ready.
    Connected,
    /// The intent is carried out.
    Ready {
        /// Epoch and offset of the room, where the protocol tells them.
        position: Option<(&'a str, u64)>,
        /// Whether everything since the asked position came before this.
        recovered: bool,
    },
    /// A message of the room.
    Message {
        /// What was published.
        payload: &'a [u8],
        /// The server's own number of it, from 1; 0 where there is none.
        offset: u64,
    },
    /// That many messages are gone.
    Missed(u64),
    /// A publish was taken.
    Taken,
    /// To be answered with [`Wire::write_pong`].
    Ping,
    /// To be answered with a pong frame.
    FramePing,
    /// The server says goodbye, perhaps with a code.
    Close(Option<u16>),
}

impl Wire {
    /// Whether it travels in WebSocket frames.
    pub fn is_framed(self) -> bool {
        !matches!(self, Self::Redis | Self::Nats) && !self.is_streamed()
    }

    /// Whether it is an answer of HTTP without end, in chunks; it takes no commands after the first.
    pub fn is_streamed(self) -> bool {
        matches!(self, Self::Stream | Self::ProtobufStream | Self::Events)
    }

    /// The path of the handshake.
    fn path(self, intent: &Intent) -> String {
        match self {
            Self::Centrifugo | Self::Protobuf => "/connection/websocket".to_owned(),
            Self::Plain => plain::path(intent),
            Self::Redis | Self::Nats | Self::NatsOverWebSocket => "/".to_owned(),
            Self::Stream | Self::ProtobufStream | Self::Events => String::new(),
        }
    }

    /// Appends what is said first.
    pub fn write_opening(self, intent: &Intent, out: &mut Vec<u8>) {
        match self {
            Self::Redis => redis::write_intent(intent, out),
            Self::Nats => {}
            Self::Stream | Self::ProtobufStream | Self::Events => stream::write_opening(self, intent, out),
            Self::Protobuf => websocket::write_request(HOST, &self.path(intent), Encoding::Protobuf.subprotocol(), out),
            _ => websocket::write_request(HOST, &self.path(intent), None, out),
        }
    }

    /// Appends what is said to [`Heard::Welcome`].
    pub fn write_intent(self, intent: &Intent, mask: [u8; 4], out: &mut Vec<u8>) {
        match self {
            Self::Protobuf => websocket::write(websocket::BINARY, Some(mask), out, |out| {
                centrifugo::write_commands(Encoding::Protobuf, intent, out)
            }),
            Self::Centrifugo => {
                let json = Encoding::Json;
                websocket::write(json.opcode(), Some(mask), out, |out| centrifugo::write_commands(json, intent, out));
            }
            Self::Plain | Self::Redis | Self::Stream | Self::ProtobufStream | Self::Events => {}
            Self::Nats => nats::write_intent(intent, out),
            Self::NatsOverWebSocket => {
                websocket::write(websocket::BINARY, Some(mask), out, |out| nats::write_intent(intent, out));
            }
        }
    }

    /// Appends the publish of a payload of so many bytes; `number` counts what the connection publishes, from 0.
    pub fn write_publish(self, room: &str, stamp: Stamp, bytes: usize, number: u32, mask: [u8; 4], out: &mut Vec<u8>) {
        let payload = |out: &mut Vec<u8>| payload::write(stamp, bytes, out);
        match self {
            Self::Centrifugo => websocket::write(websocket::TEXT, Some(mask), out, |out| {
                centrifugo::write_publish(room, number, out, payload);
            }),
            Self::Plain => websocket::write(websocket::TEXT, Some(mask), out, payload),
            Self::Redis => redis::write_publish(room, bytes, out, payload),
            Self::Nats => nats::write_publish(room, bytes, out, payload),
            Self::NatsOverWebSocket => {
                websocket::write(websocket::BINARY, Some(mask), out, |out| {
                    nats::write_publish(room, bytes, out, payload)
                });
            }
            // Others publish for them.
            Self::Protobuf | Self::Stream | Self::ProtobufStream | Self::Events => {}
        }
    }

    /// Appends the answer to [`Heard::Ping`].
    pub fn write_pong(self, mask: [u8; 4], out: &mut Vec<u8>) {
        match self {
            Self::Centrifugo => websocket::write(websocket::TEXT, Some(mask), out, |out| out.extend_from_slice(b"{}")),
            Self::Nats => out.extend_from_slice(nats::PONG),
            Self::NatsOverWebSocket => {
                websocket::write(websocket::BINARY, Some(mask), out, |out| out.extend_from_slice(nats::PONG))
            }
            Self::Protobuf => websocket::write(websocket::BINARY, Some(mask), out, |out| out.push(0)),
            // A measurement is over before the answer to a ping is missed.
            Self::Plain | Self::Redis | Self::Stream | Self::ProtobufStream | Self::Events => {}
        }
    }

    /// Appends a goodbye, where the protocol has one.
    pub fn write_close(self, mask: [u8; 4], out: &mut Vec<u8>) {
        if self.is_framed() {
            websocket::write(websocket::CLOSE, Some(mask), out, |out| out.extend_from_slice(&1000_u16.to_be_bytes()));
        }
    }
}

/// The number that a run of digits at the beginning spells, and what follows it; `None` when there is no digit.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = bytes[..digits]
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    (digits > 0).then_some((value, &bytes[digits..]))
}

/// What the parsers' tests share.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    /// What is heard, without what it borrows.
    pub(super) fn told(heard: &Heard<'_>) -> String {
        match heard {
            Heard::Message { payload, offset } => format!("{} {offset}", String::from_utf8_lossy(payload)),
            other => format!("{other:?}"),
        }
    }

    /// All that a decoder makes of `bytes`, cut into pieces of that size.
    pub(super) fn heard(wire: Wire, bytes: &[u8], piece: usize) -> Result<Vec<String>, Fault> {
        let (mut decoder, mut all) = (Decoder::new(wire), Vec::new());
        for piece in bytes.chunks(piece) {
            decoder.hear(piece, |heard| {
                all.push(told(&heard));
                Ok(())
            })?;
        }
        Ok(all)
    }

    #[test]
    fn numbers_end_where_their_digits_do() {
        assert_eq!(number(b"120,"), Some((120, &b","[..])));
        assert_eq!(number(b"x"), None);
        assert_eq!(number(b"99999999999999999999"), None);
    }
}
