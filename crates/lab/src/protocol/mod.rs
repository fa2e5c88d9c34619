//! The Centrifugo client protocol, version 2, from a client's side, as far as a load speaks it.
//!
//! ```
//! use roomcast_lab::protocol::{Encoding, Heard, Malformed};
//!
//! let line = br#"{"push":{"channel":"a","pub":{"data":"hello","offset":7}}}"#;
//! Encoding::Json.hear(line, &mut |heard| {
//!     assert_eq!(heard, Heard::Message(br#""hello""#, 7));
//!     Ok::<(), Malformed>(())
//! })?;
//! # Ok::<(), Malformed>(())
//! ```

mod json;
mod protobuf;

use std::fmt;

use serde::Deserialize;

use crate::websocket::{BINARY, TEXT};

/// The id of the command that connects; all others count on from there.
pub const CONNECT_ID: u32 = 1;
/// The id of every command that joins.
pub const SUBSCRIBE_ID: u32 = 2;
/// The id of every command that leaves.
pub const UNSUBSCRIBE_ID: u32 = 3;
/// The id of the first publish.
pub const PUBLISH_ID: u32 = 4;

/// Where a room was: its epoch and the offset of the last message seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// What tells one life of a room from the next.
    pub epoch: String,
    /// The number of the last message seen.
    pub offset: u64,
}

/// Something a server says.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Heard<'a> {
    /// The server knows the client.
    Connected,
    /// It has joined; what it missed comes before this.
    Joined {
        /// Where the room is, where that is told.
        position: Option<Position>,
        /// Whether it got everything since the position it named; none when it named none.
        recovered: Option<bool>,
    },
    /// It has left.
    Left,
    /// A message, and the server's number of it, 0 where there is none.
    Message(&'a [u8], u64),
    /// A publish was taken.
    Taken,
    /// The server has put it out of the room.
    PutOut,
    /// To be answered with [`Encoding::pong`].
    Ping,
    /// What is said to no purpose of ours.
    Other,
    /// An error or a disconnect, as it came.
    Refused(String),
}

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Encoding {
    /// Lines of JSON in text frames.
    #[default]
    Json,
    /// Messages behind their lengths in binary frames.
    Protobuf,
}

/// What is not in the protocol, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Malformed {
    fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for String {
    fn from(malformed: Malformed) -> Self {
        malformed.0
    }
}

impl Encoding {
    /// The subprotocol of the handshake.
    #[must_use]
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Json => None,
            Self::Protobuf => Some("centrifuge-protobuf"),
        }
    }

    /// The kind of frames.
    #[must_use]
    pub fn opcode(self) -> u8 {
        match self {
            Self::Json => TEXT,
            Self::Protobuf => BINARY,
        }
    }

    /// Appends a command that connects.
    pub fn connect(self, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::connect(out),
            Self::Protobuf => protobuf::connect(out),
        }
    }

    /// Appends a command that joins, from a position on where one is known.
    pub fn subscribe(self, room: &str, since: Option<&Position>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::subscribe(room, since, out),
            Self::Protobuf => protobuf::subscribe(room, since, out),
        }
    }

    /// Appends a command that leaves.
    pub fn unsubscribe(self, room: &str, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::unsubscribe(room, out),
            Self::Protobuf => protobuf::unsubscribe(room, out),
        }
    }

    /// Appends a command that publishes.
    pub fn publish(self, room: &str, id: u32, message: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        match self {
            Self::Json => json::publish(room, id, message, out),
            Self::Protobuf => protobuf::publish(room, id, message, out),
        }
    }

    /// Appends the answer to a ping.
    pub fn pong(self, out: &mut Vec<u8>) {
        match self {
            Self::Json => out.extend_from_slice(b"{}"),
            Self::Protobuf => out.push(0),
        }
    }

    /// Makes something of a whole message.
    ///
    /// # Errors
    /// [`Malformed`], and whatever `each` says.
    #[inline]
    pub fn hear<E: From<Malformed>>(
        self,
        message: &[u8],
        each: &mut impl FnMut(Heard<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Json => json::hear(message, each),
            Self::Protobuf => match protobuf::hear(message, each)? {
                used if used == message.len() => Ok(()),
                _ => Err(Malformed::new("a message that is cut off").into()),
            },
        }
    }

    /// Makes something of what is whole at the beginning, in a stream without frames; how many bytes that was.
    ///
    /// # Errors
    /// As [`hear`](Self::hear).
    pub fn hear_whole<E: From<Malformed>>(
        self,
        bytes: &[u8],
        each: &mut impl FnMut(Heard<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        match self {
            Self::Json => match memchr::memrchr(b'\n', bytes) {
                Some(end) => json::hear(&bytes[..end], each).map(|()| end + 1),
                None => Ok(0),
            },
            Self::Protobuf => protobuf::hear(bytes, each),
        }
    }
}
