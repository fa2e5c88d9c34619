//! The Centrifugo client protocol from a client's side, as far as a load speaks it.

use super::{json, protobuf};
use crate::scenario::Encoding;

/// The id of the command that connects; all others count on from there.
pub(super) const CONNECT_ID: u32 = 1;
/// The id of every command that joins.
pub(super) const SUBSCRIBE_ID: u32 = 2;
/// The id of every command that leaves.
pub(super) const UNSUBSCRIBE_ID: u32 = 3;
/// The id of the first publish.
pub(super) const PUBLISH_ID: u32 = 4;

/// Where a room was: its epoch and the offset of the last message seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// Something a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Heard<'a> {
    Connected,
    /// It has joined; what it missed comes before this.
    Joined {
        position: Option<Position>,
        /// Whether it got everything since the position it named; none when it named none.
        recovered: Option<bool>,
    },
    Left,
    /// A message, and the server's number of it, 0 where there is none.
    Message(&'a [u8], u64),
    /// A publish was taken.
    Taken,
    /// The server has put it out of the room.
    PutOut,
    Ping,
    /// What is said to no purpose of ours.
    Other,
    Refused(String),
}

/// What is spoken, with what a listener keeps between two messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire(pub(super) Encoding);

impl Wire {
    /// The subprotocol of the handshake.
    pub(super) fn subprotocol(self) -> Option<&'static str> {
        match self.0 {
            Encoding::Json => None,
            Encoding::Protobuf => Some("centrifuge-protobuf"),
        }
    }

    /// The kind of frames.
    pub(super) fn opcode(self) -> u8 {
        match self.0 {
            Encoding::Json => crate::websocket::TEXT,
            Encoding::Protobuf => crate::websocket::BINARY,
        }
    }

    /// Appends a command that connects.
    pub(super) fn connect(self, out: &mut Vec<u8>) {
        match self.0 {
            Encoding::Json => json::connect(out),
            Encoding::Protobuf => protobuf::connect(out),
        }
    }

    /// Appends a command that joins, from a position on where one is known.
    pub(super) fn subscribe(self, room: &str, since: Option<&Position>, out: &mut Vec<u8>) {
        match self.0 {
            Encoding::Json => json::subscribe(room, since, out),
            Encoding::Protobuf => protobuf::subscribe(room, since, out),
        }
    }

    /// Appends a command that leaves.
    pub(super) fn unsubscribe(self, room: &str, out: &mut Vec<u8>) {
        match self.0 {
            Encoding::Json => json::unsubscribe(room, out),
            Encoding::Protobuf => protobuf::unsubscribe(room, out),
        }
    }

    /// Appends a command that publishes.
    pub(super) fn publish(self, room: &str, id: u32, message: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        match self.0 {
            Encoding::Json => json::publish(room, id, message, out),
            Encoding::Protobuf => protobuf::publish(room, id, message, out),
        }
    }

    /// Appends the answer to a ping.
    pub(super) fn pong(self, out: &mut Vec<u8>) {
        match self.0 {
            Encoding::Json => out.extend_from_slice(b"{}"),
            Encoding::Protobuf => out.push(0),
        }
    }

    /// Makes something of the message of a frame.
    #[inline]
    pub(super) fn hear(self, message: &[u8], each: &mut impl FnMut(Heard<'_>)) -> Result<(), String> {
        match self.0 {
            Encoding::Json => json::hear(message, each),
            Encoding::Protobuf => protobuf::hear(message, each),
        }
    }
}
