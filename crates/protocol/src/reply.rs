//! What a client is answered.

use super::{ClientInfo, ErrorCode, Placed, RoomName, StreamPosition};
use bytes::Bytes;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The id of the command.
    pub id: u32,
    /// The answer.
    pub body: ReplyBody,
}

/// An answer, by method.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyBody {
    /// The command failed.
    Error(ErrorCode),
    /// The command failed, and an SDK shall try again by itself, whatever it does after this error else.
    Temporary(ErrorCode),
    /// The command failed, and the application says why.
    Failed(Box<CustomError>),
    /// The session is open.
    Connect(Box<ConnectResult>),
    /// The client is in the room.
    Subscribe(Box<SubscribeResult>),
    /// The client has left the room; no push of the room follows.
    Unsubscribe,
    /// The publication is in the room.
    Publish,
    /// Who is in the room.
    Presence(Vec<ClientInfo>),
    /// How many are in the room.
    PresenceStats(PresenceStats),
    /// What was published.
    History(HistoryResult),
    /// The server is there.
    Ping,
    /// What the procedure returned, compact JSON.
    Rpc {
        /// The returned value.
        data: Option<Bytes>,
    },
    /// The new connection token is taken.
    Refresh(RefreshResult),
    /// The new subscription token is taken.
    SubRefresh {
        /// Seconds until the subscription expires, where it does.
        ttl_s: Option<u32>,
    },
}

impl ReplyBody {
    /// The number and text of the error, if it is one.
    pub fn error(&self) -> Option<(u32, &str)> {
        match self {
            Self::Error(error) | Self::Temporary(error) => Some((error.code(), error.message())),
            Self::Failed(error) => Some((error.code, &error.message)),
            _ => None,
        }
    }

    /// Whether it is an error after which an SDK asks again by itself.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Error(error) => error.is_temporary(),
            Self::Temporary(_) => true,
            Self::Failed(error) => error.temporary,
            _ => false,
        }
    }
}

/// An error of the application's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomError {
    /// Its number; Centrifugo leaves 400 to 1999 to applications.
    pub code: u32,
    /// Its text.
    pub message: String,
    /// Whether an SDK asks again by itself.
    pub temporary: bool,
}

/// What a client learns when its session opens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectResult {
    /// The client's id, new with each connection.
    pub client: String,
    /// The server's version.
    pub version: String,
    /// Seconds until the connection expires, where it does.
    pub ttl_s: Option<u32>,
    /// Data of the application, compact JSON.
    pub data: Option<Bytes>,
    /// Seconds between the server's pings; 0 when it sends none.
    pub ping_s: u32,
    /// Whether the client must answer pings.
    pub pong: bool,
    /// The secret by which later requests of an emulated connection name this session; empty where the connection takes
    /// commands itself.
    pub session: String,
    /// The id of the server process.
    pub node: String,
    /// What time it is at the server, in milliseconds since 1970; 0 where it does not say.
    pub time_ms: u64,
    /// The rooms the server has put the client in.
    pub subs: Vec<(RoomName, SubscribeResult)>,
}

/// What a client learns when it enters a room.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubscribeResult {
    /// Seconds until the subscription expires, where it does.
    pub ttl_s: Option<u32>,
    /// Whether the client may recover in this room.
    pub recoverable: bool,
    /// Whether the server watches the client's position.
    pub positioned: bool,
    /// Where the client stands before `publications`: what it recovered from, or the room's newest publication when it did not
    /// recover. Left out unless the room is recoverable or positioned.
    pub position: Option<StreamPosition>,
    /// What the client missed, oldest first; pushes go on behind them.
    pub publications: Vec<Placed>,
    /// Whether the client has asked to recover.
    pub was_recovering: bool,
    /// Whether `publications` is all that the client missed.
    pub recovered: bool,
    /// Whether publications come as a chain of deltas from here on, these among them.
    pub delta: bool,
    /// Data of the application, compact JSON.
    pub data: Option<Bytes>,
}

/// What a read of a room's past returns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryResult {
    /// What was found, in the order asked for.
    pub publications: Vec<Placed>,
    /// The newest publication's position at the time of the read.
    pub position: StreamPosition,
}

impl HistoryResult {
    /// A read that found `publications` while the room stood at `position`.
    pub fn new(publications: Vec<Placed>, position: StreamPosition) -> Self {
        Self { publications, position }
    }
}

/// How many are in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceStats {
    /// Connections in the room.
    pub clients: u32,
    /// Different user ids among them.
    pub users: u32,
}

/// What a client learns when its new token is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshResult {
    /// The client's id.
    pub client: String,
    /// The server's version.
    pub version: String,
    /// Seconds until the connection expires, where it does.
    pub ttl_s: Option<u32>,
}
