//! The numbers of the protocol: errors, unsubscriptions, closes.

/// Bytes that the reason of a close may have: a control frame of WebSocket carries at most 125, two of which are the code.
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Why a command failed; the connection goes on.
///
/// The texts are fixed by the protocol: SDKs show them to developers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    /// 100: something broke on our side; asking again may help.
    Internal = 100,
    /// 101: the client has not proved who it is.
    Unauthorized = 101,
    /// 102: no namespace of that name is configured.
    UnknownRoom = 102,
    /// 103: the client may not do this in this room.
    PermissionDenied = 103,
    /// 104: no such method.
    MethodNotFound = 104,
    /// 105: the client is already in the room.
    AlreadySubscribed = 105,
    /// 106: a limit is reached, such as the number of rooms of a client.
    LimitExceeded = 106,
    /// 107: the command is understood as JSON but makes no sense.
    BadRequest = 107,
    /// 108: the feature is off in this room, or not part of this server.
    NotAvailable = 108,
    /// 109: the token is past its time; the client should fetch another.
    TokenExpired = 109,
    /// 110: the connection or subscription is past its time.
    Expired = 110,
    /// 111: too many commands in too short a time; asking again later may help.
    TooManyRequests = 111,
    /// 112: the position the client asked to read from is no longer there.
    UnrecoverablePosition = 112,
}

impl ErrorCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 13] = [
        Self::Internal,
        Self::Unauthorized,
        Self::UnknownRoom,
        Self::PermissionDenied,
        Self::MethodNotFound,
        Self::AlreadySubscribed,
        Self::LimitExceeded,
        Self::BadRequest,
        Self::NotAvailable,
        Self::TokenExpired,
        Self::Expired,
        Self::TooManyRequests,
        Self::UnrecoverablePosition,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The text on the wire.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::Unauthorized => "unauthorized",
            Self::UnknownRoom => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::Expired => "expired",
            Self::TooManyRequests => "too many requests",
            Self::UnrecoverablePosition => "unrecoverable position",
        }
    }

    /// Whether an SDK asks again by itself.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }
}

/// Why the server took a client out of a room; the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum UnsubscribeCode {
    /// 2000: the server wants it out; the SDK stays out.
    Server = 2000,
    /// 2500: the client's position is lost; the SDK subscribes again and recovers what it can.
    InsufficientState = 2500,
    /// 2501: the subscription's time is over.
    Expired = 2501,
    /// 2502: what the client knows about the room no longer holds; the SDK subscribes afresh.
    StateInvalidated = 2502,
}

impl UnsubscribeCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 4] = [Self::Server, Self::InsufficientState, Self::Expired, Self::StateInvalidated];

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The text on the wire.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Server => "server unsubscribe",
            Self::InsufficientState => "insufficient state",
            Self::Expired => "subscription expired",
            Self::StateInvalidated => "state invalidated",
        }
    }

    /// Whether an SDK subscribes again by itself.
    pub const fn resubscribes(self) -> bool {
        self.code() >= 2500
    }
}

/// Why the server ends a connection: the code and reason of its close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// 3000: the connection ended without anybody's advice.
    Closed = 3000,
    /// 3001: the server is going down.
    Shutdown = 3001,
    /// 3004: something broke on our side.
    ServerError = 3004,
    /// 3005: the connection's time is over.
    Expired = 3005,
    /// 3006: a subscription's time is over.
    SubscriptionExpired = 3006,
    /// 3008: the client reads too slowly to be kept up to date.
    Slow = 3008,
    /// 3009: writing to the client failed.
    WriteError = 3009,
    /// 3010: the client's position in a room is lost.
    InsufficientState = 3010,
    /// 3011: the server asks the client to connect again.
    ForceReconnect = 3011,
    /// 3012: the client did not answer a ping in time.
    NoPong = 3012,
    /// 3013: too many commands in too short a time.
    TooManyRequests = 3013,
    /// 3014: what the client knows no longer holds.
    StateInvalidated = 3014,
    /// 3500: the token proves nothing.
    InvalidToken = 3500,
    /// 3501: the bytes are not the protocol, or come in the wrong order.
    BadRequest = 3501,
    /// 3502: no connect command in time.
    Stale = 3502,
    /// 3503: the server wants the client gone.
    ForceDisconnect = 3503,
    /// 3504: too many connections.
    ConnectionLimit = 3504,
    /// 3505: too many rooms.
    RoomLimit = 3505,
    /// 3506: the client speaks a protocol this endpoint does not.
    InappropriateProtocol = 3506,
    /// 3507: the client may not connect.
    PermissionDenied = 3507,
    /// 3508: what the client needs is not part of this server.
    NotAvailable = 3508,
    /// 3509: the client made too many errors.
    TooManyErrors = 3509,
}

impl CloseCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 22] = [
        Self::Closed,
        Self::Shutdown,
        Self::ServerError,
        Self::Expired,
        Self::SubscriptionExpired,
        Self::Slow,
        Self::WriteError,
        Self::InsufficientState,
        Self::ForceReconnect,
        Self::NoPong,
        Self::TooManyRequests,
        Self::StateInvalidated,
        Self::InvalidToken,
        Self::BadRequest,
        Self::Stale,
        Self::ForceDisconnect,
        Self::ConnectionLimit,
        Self::RoomLimit,
        Self::InappropriateProtocol,
        Self::PermissionDenied,
        Self::NotAvailable,
        Self::TooManyErrors,
    ];

    /// The number in the close frame.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The text in the close frame; short enough for every WebSocket (under 124 bytes).
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Closed => "connection closed",
            Self::Shutdown => "shutdown",
            Self::ServerError => "internal server error",
            Self::Expired => "connection expired",
            Self::SubscriptionExpired => "subscription expired",
            Self::Slow => "slow",
            Self::WriteError => "write error",
            Self::InsufficientState => "insufficient state",
            Self::ForceReconnect => "force reconnect",
            Self::NoPong => "no pong",
            Self::TooManyRequests => "too many requests",
            Self::StateInvalidated => "state invalidated",
            Self::InvalidToken => "invalid token",
            Self::BadRequest => "bad request",
            Self::Stale => "stale",
            Self::ForceDisconnect => "force disconnect",
            Self::ConnectionLimit => "connection limit",
            Self::RoomLimit => "channel limit",
            Self::InappropriateProtocol => "inappropriate protocol",
            Self::PermissionDenied => "permission denied",
            Self::NotAvailable => "not available",
            Self::TooManyErrors => "too many errors",
        }
    }

    /// Whether SDKs connect again after this close: all do, but for 3500–3999 and 4500–4999.
    pub const fn reconnects(self) -> bool {
        Self::reconnects_after(self.code())
    }

    /// The same of any code, the application's among them.
    pub const fn reconnects_after(code: u16) -> bool {
        !matches!(code, 3500..=3999 | 4500..=4999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_only_internal_and_too_many_requests_are_temporary() {
        let codes: Vec<_> = ErrorCode::ALL.map(ErrorCode::code).into();
        assert_eq!(codes, (100..=112).collect::<Vec<_>>());
        let temporary: Vec<_> =
            ErrorCode::ALL.into_iter().filter(|error| error.is_temporary()).map(ErrorCode::code).collect();
        assert_eq!(temporary, [100, 111]);
    }

    #[test]
    fn sdks_resubscribe_from_2500_up() {
        let again: Vec<_> = UnsubscribeCode::ALL.into_iter().filter(|c| c.resubscribes()).map(|c| c.code()).collect();
        assert_eq!(again, [2500, 2501, 2502]);
    }

    #[test]
    fn codes_from_3500_are_terminal_and_every_reason_fits_a_close_frame() {
        for close in CloseCode::ALL {
            assert_eq!(close.reconnects(), close.code() < 3500, "{close:?}");
            assert!(!close.reason().is_empty() && close.reason().len() <= CLOSE_REASON_BYTES_MAX, "{close:?}");
        }
        assert!(CloseCode::ALL.is_sorted_by_key(|close| close.code()));
        assert_eq!(CloseCode::BadRequest.code(), 3501);
        assert_eq!(CloseCode::NoPong.reason(), "no pong");
    }
}
