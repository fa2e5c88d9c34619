//! How much is done for a client before others have their turn.

use roomcast_protocol::{ConnectRequest, Request};

/// What is done for a client in one turn, in commands of the simplest kind: each costs a microsecond or a few, so that a client that
/// sends a thousand at once keeps others waiting for a fraction of a millisecond at a time.
pub(super) const WORK_PER_TURN: u16 = 64;

/// To look at a token costs some ten to some hundred microseconds.
const TOKEN: u16 = 16;

/// What tells messages, or members, tells many of them.
const LIST: u16 = 8;

/// Messages, or members, that cost as much as a command to be told: each is written down.
const TOLD_AT_ONCE: usize = 16;

/// What telling so many messages, or members, costs beside the command that has asked for them: a thousand, all of a turn.
pub(super) fn of_telling(count: usize) -> u16 {
    u16::try_from(count / TOLD_AT_ONCE).unwrap_or(u16::MAX)
}

/// What a connect command costs, about.
pub(super) fn of_connect(request: &ConnectRequest) -> u16 {
    if request.token.is_empty() { 1 } else { TOKEN }
}

/// What a command costs, about.
pub(super) fn of(request: &Request) -> u16 {
    match request {
        Request::Connect(connect) => of_connect(connect),
        Request::Subscribe(subscribe) if !subscribe.token.is_empty() => TOKEN,
        Request::Refresh { .. } | Request::SubRefresh { .. } => TOKEN,
        Request::Subscribe(subscribe) if subscribe.recover => LIST,
        Request::History(_) | Request::Presence { .. } => LIST,
        _ => 1,
    }
}
