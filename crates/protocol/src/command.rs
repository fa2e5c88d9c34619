//! What a client asks for.

use super::{FilterWish, Payload, StreamPosition};
use bytes::Bytes;

/// One command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The number its reply will carry; 0 where none is expected (a pong, a `send`).
    pub id: u32,
    /// What is asked.
    pub request: Request,
}

/// What a command asks for, by method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Opens the session; must come first.
    Connect(ConnectRequest),
    /// Enters a room.
    Subscribe(SubscribeRequest),
    /// Leaves a room.
    Unsubscribe {
        /// The room's name as the client wrote it.
        room: String,
    },
    /// Publishes into a room.
    Publish(PublishRequest),
    /// Asks who is in a room.
    Presence {
        /// The room's name as the client wrote it.
        room: String,
    },
    /// Asks how many are in a room.
    PresenceStats {
        /// The room's name as the client wrote it.
        room: String,
    },
    /// Reads what was published in a room.
    History(HistoryRequest),
    /// Asks whether the server is there.
    Ping,
    /// Hands over data without expecting a reply.
    Send {
        /// The payload, compact JSON.
        data: Bytes,
    },
    /// Calls a procedure of the application.
    Rpc(RpcRequest),
    /// Brings a new connection token.
    Refresh {
        /// The new token.
        token: String,
    },
    /// Brings a new subscription token.
    SubRefresh {
        /// The room's name as the client wrote it.
        room: String,
        /// The new token.
        token: String,
    },
    /// Answers the server's ping; it is any command without an id, but for `send`.
    Pong,
    /// A method this server does not know; answered with error 104.
    Unknown,
    /// A command with a name, token, epoch or other text that is no text, such as half a surrogate pair; answered with error
    /// 107.
    Unreadable {
        /// Whether it is a `connect`, which may be tried again.
        is_connect: bool,
    },
}

impl Request {
    /// Whether it opens a session, or is meant to.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Unreadable { is_connect: true })
    }
}

/// Who connects, and what it has seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The connection token; empty for none.
    pub token: String,
    /// Data for the application, compact JSON.
    pub data: Option<Bytes>,
    /// What the client calls itself ("js").
    pub name: String,
    /// The client's version.
    pub version: String,
    /// The rooms the client wants to be in from the start, by name, with the position to recover from where it wants to
    /// recover; at most as many as a client may have rooms.
    pub subs: Vec<(String, Option<StreamPosition>)>,
    /// What the client says in place of headers, which browsers do not let it set; at most [`ConnectRequest::HEADERS_MAX`].
    pub headers: Vec<(String, String)>,
}

impl ConnectRequest {
    /// The most `headers` that are read; further ones are dropped. As many as a request of HTTP may have to the server.
    pub const HEADERS_MAX: usize = 64;
}

/// Which room to enter, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// The room's name as the client wrote it.
    pub room: String,
    /// The subscription token; empty for none.
    pub token: String,
    /// Whether to replay what came after `position`.
    pub recover: bool,
    /// The last publication the client has seen.
    pub position: StreamPosition,
    /// Data for the application, compact JSON.
    pub data: Option<Bytes>,
    /// Whether the client wants its position in the room watched.
    pub positioned: bool,
    /// Whether the client wants to be able to recover.
    pub recoverable: bool,
    /// Whether the client wants to hear who comes and goes.
    pub join_leave: bool,
    /// The delta format the client understands; empty for none.
    pub delta: String,
    /// Bit set of wishes; see [`SubscribeRequest::REJECT_UNRECOVERED`].
    pub flag: u64,
    /// The kind of subscription: 0 is the plain one, no other is part of this server.
    pub kind: i32,
    /// Which publications the client wants, by their tags.
    pub filter: FilterWish,
}

impl SubscribeRequest {
    /// Bit of `flag`: answer error 112 instead of `recovered:false`. (Bit 1 offers channel compaction, which is not
    /// granted.)
    pub const REJECT_UNRECOVERED: u64 = 2;

    /// Whether it asks for nothing but what a client can be put into a room with: all of its publications, as they come.
    pub(crate) fn is_plain(&self) -> bool {
        self.kind == 0 && self.filter == FilterWish::None
    }
}

/// What to publish where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishRequest {
    /// The room's name as the client wrote it.
    pub room: String,
    /// The payload; `None` when the command had none.
    pub data: Option<Payload>,
    /// Whether it sets or removes the entry of a map, which is not part of this server.
    pub is_map: bool,
}

/// What to read of a room's past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryRequest {
    /// The room's name as the client wrote it.
    pub room: String,
    /// How many publications: 0 none (the position only), negative as many as there may be.
    pub limit: i32,
    /// Read only what lies beyond this position.
    pub since: Option<StreamPosition>,
    /// Whether to read from the newest down.
    pub reverse: bool,
}

/// Which procedure to call with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcRequest {
    /// The procedure's name.
    pub method: String,
    /// Its argument, compact JSON.
    pub data: Option<Bytes>,
}
