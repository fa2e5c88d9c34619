//! What can go wrong between a load and a server.

use std::fmt;
use std::io;

use roomcast_lab::{protocol, websocket};

use crate::payload::Damage;

/// Why a run has failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The contender cannot be run here.
    NotRun(String),
    /// The system refused something.
    System(String),
    /// The server closed a connection that was needed, with that code where it gave one.
    Closed(Option<u16>),
    /// The server answered something that is not in its protocol, or not in this place.
    Unexpected(&'static str),
    /// The server answered something that cannot be read.
    Malformed(String),
    /// The server answered with an error.
    Refused(String),
    /// A message came damaged.
    Damaged(Damage),
    /// Messages were lost and nobody said so.
    Lost(u64),
    /// Something took longer than it may.
    TooLong(&'static str),
    /// Not everything came once and in order, or was told to be gone.
    Delivery(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(reason) => write!(f, "not run: {reason}"),
            Self::System(error) => f.write_str(error),
            Self::Closed(None) => f.write_str("the server closed a connection"),
            Self::Closed(Some(code)) => write!(f, "the server closed a connection with {code}"),
            Self::Unexpected(what) => write!(f, "the server sent {what}"),
            Self::Malformed(what) => write!(f, "the server sent {what}"),
            Self::Refused(line) => write!(f, "the server refused: {line}"),
            Self::Damaged(damage) => write!(f, "the server sent {damage}"),
            Self::Lost(count) => write!(f, "{count} messages were lost without a word"),
            Self::TooLong(what) => write!(f, "{what} took too long"),
            Self::Delivery(what) => f.write_str(what),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error.to_string())
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<websocket::Error> for Fault {
    fn from(error: websocket::Error) -> Self {
        match error {
            websocket::Error::Refused(line) => Self::Refused(line),
            websocket::Error::Unexpected(what) => Self::Unexpected(what),
            other => Self::System(other.to_string()),
        }
    }
}

impl From<protocol::Malformed> for Fault {
    fn from(malformed: protocol::Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}
