//! What a client is told without having asked.

use super::{ClientInfo, CloseCode, Placed, RoomName, StreamPosition, UnsubscribeCode};
use bytes::Bytes;
use std::borrow::Cow;

/// One event for a client.
///
/// Publications on their way to a whole room go through [`super::PublicationEncoder`], which needs no `Push` each.
#[derive(Clone, Debug, PartialEq)]
pub enum Push {
    /// Something was published in a room.
    Publication {
        /// The room.
        room: RoomName,
        /// What was published.
        publication: Placed,
    },
    /// Somebody entered a room.
    Join {
        /// The room.
        room: RoomName,
        /// Who.
        info: ClientInfo,
    },
    /// Somebody left a room.
    Leave {
        /// The room.
        room: RoomName,
        /// Who.
        info: ClientInfo,
    },
    /// The server put the client into a room.
    Subscribe {
        /// The room.
        room: RoomName,
        /// Whether the client may recover.
        recoverable: bool,
        /// Whether the server watches the client's position.
        positioned: bool,
        /// Where the client stands, where that matters.
        position: Option<StreamPosition>,
        /// Data of the application, compact JSON.
        data: Option<Bytes>,
    },
    /// The server took the client out of a room.
    Unsubscribe {
        /// The room.
        room: RoomName,
        /// Why.
        code: UnsubscribeCode,
    },
    /// Data for this client alone.
    Message {
        /// The payload, compact JSON.
        data: Bytes,
    },
    /// The connection is about to be closed, on transports that cannot carry a close code.
    Disconnect {
        /// Why: a [`CloseCode`], or a number of the application.
        code: u16,
        /// Why, in words.
        reason: Cow<'static, str>,
    },
    /// The connection's time has changed.
    Refresh {
        /// Seconds until the connection expires, where it does.
        ttl_s: Option<u32>,
    },
}

impl Push {
    /// The end of a connection, with a code of the protocol.
    pub const fn disconnect(code: CloseCode) -> Self {
        Self::Disconnect { code: code.code(), reason: Cow::Borrowed(code.reason()) }
    }
}
