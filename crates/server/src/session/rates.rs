//! What a client may do in a time, as its session asks for it.

use super::{Action, Identity, PendingKind, Session};
use crate::limits::address::AddressKey;
use crate::limits::rates::{Deed, Operation};
use roomcast_protocol::{ClientInfo, CloseCode, ErrorCode, ReplyBody, Request};

impl Session {
    /// Counts a frame of so many bytes; its commands are refused where these are more than a client may send in a time.
    pub(super) fn count_bytes(&mut self, bytes: usize) {
        let Self { settings, rates, who, now_ms, .. } = self;
        if let Some(limits) = &settings.rates {
            limits.take_bytes(rates, who.user(), bytes, *now_ms);
        }
    }

    /// Counts a command that begins; whether it is to be done. One too many is answered with the advice to try again. Leaving a room is
    /// done in any case; but whoever keeps leaving rooms that it is not in makes work for nothing, and that is an error of its own.
    pub(super) fn count_command(&mut self, id: u32, request: &Request, out: &mut Vec<Action>) -> bool {
        // One that has waited for keys has been counted.
        if self.keys_fetched.is_some() || !self.is_over(deed(request)) {
            return true;
        }
        match request {
            Request::Unsubscribe { room } if self.rooms.contains(room) => true,
            Request::Unsubscribe { .. } => {
                self.count_error(out);
                !self.is_closed()
            }
            _ => {
                self.refuse_to_hurry(id, out);
                false
            }
        }
    }

    /// Counts an attempt to connect; whether it is to be made. A client may try again and again, and each time a token is looked at, or
    /// the backend asked.
    pub(super) fn count_attempt(&mut self, id: u32, out: &mut Vec<Action>) -> bool {
        let is_over = self.is_over(Deed { operation: None, name: "" });
        if is_over {
            self.refuse_to_hurry(id, out);
        }
        !is_over
    }

    /// Counts the wish for a room that comes with a connect command; whether it is heard, as a subscribe command for it would be.
    pub(super) fn count_wish(&mut self, room: &str) -> bool {
        !self.is_over(Deed { operation: Some(Operation::Subscribe), name: room })
    }

    fn is_over(&mut self, deed: Deed<'_>) -> bool {
        let Self { settings, rates, who, now_ms, .. } = self;
        settings.rates.as_ref().is_some_and(|limits| limits.refuses(rates, who.user(), deed, *now_ms))
    }

    /// Tells a client to try again later.
    pub(super) fn refuse_to_hurry(&mut self, id: u32, out: &mut Vec<Action>) {
        self.reply(id, ReplyBody::Error(ErrorCode::TooManyRequests), out);
        self.count_error(out);
    }

    /// Whether a client of that user comes too soon after others.
    pub(super) fn connects_too_often(&self, user: &str) -> bool {
        self.settings.rates.as_ref().is_some_and(|limits| limits.refuses_connect(user, self.now_ms))
    }

    /// Whether it is to be looked whether the room is there, of which something is wanted: whoever makes one may have made too many.
    /// Where the server puts a client it is put.
    pub(crate) fn may_make_room(&self) -> bool {
        self.settings.rates.as_ref().is_some_and(|limits| limits.limits_rooms())
            && self.pending.as_ref().is_some_and(|pending| match &pending.kind {
                PendingKind::Subscribe { .. } | PendingKind::History { .. } => true,
                PendingKind::Publish { is_inside } => !is_inside,
                PendingKind::Connect(connecting) => connecting.rooms.last().is_some_and(|room| room.is_wish),
                _ => false,
            })
    }

    /// Counts a room that a client makes, who comes from that address; whether these are too many, and it is to be told to try again.
    pub(crate) fn makes_too_many_rooms(&mut self, address: Option<AddressKey>, out: &mut Vec<Action>) -> bool {
        let Self { settings, rates, who, now_ms, .. } = self;
        let limits = settings.rates.as_ref();
        let is_refused = limits.is_some_and(|limits| limits.refuses_room(rates, who.user(), address, *now_ms));
        if is_refused {
            self.count_error(out);
        }
        is_refused
    }

    /// Counts an error that a client is answered, and closes it where that was one too many.
    pub(super) fn count_error(&mut self, out: &mut Vec<Action>) {
        let Self { settings, rates, now_ms, .. } = self;
        if settings.rates.as_ref().is_some_and(|limits| limits.is_one_error_too_many(rates, *now_ms)) {
            self.close(CloseCode::TooManyErrors, out);
        }
    }
}

impl Identity {
    /// The user; empty of one that is not known yet.
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Unknown(_) => "",
            Self::Known(info) => ClientInfo::user(info),
        }
    }
}

/// Whether an answer is an error that is the client's: not ours, nor one that we ask it to try again after.
pub(super) fn is_its_own_error(body: &ReplyBody) -> bool {
    match body {
        ReplyBody::Error(code) => !code.is_temporary(),
        ReplyBody::Failed(error) => !error.temporary,
        _ => false,
    }
}

fn deed(request: &Request) -> Deed<'_> {
    let (operation, name) = match request {
        Request::Subscribe(request) => (Some(Operation::Subscribe), &*request.room),
        Request::Unsubscribe { room } => (Some(Operation::Unsubscribe), &**room),
        Request::Publish(request) => (Some(Operation::Publish), &*request.room),
        Request::History(request) => (Some(Operation::History), &*request.room),
        Request::Presence { room } => (Some(Operation::Presence), &**room),
        Request::PresenceStats { room } => (Some(Operation::PresenceStats), &**room),
        Request::Refresh { .. } => (Some(Operation::Refresh), ""),
        Request::SubRefresh { room, .. } => (Some(Operation::SubRefresh), &**room),
        Request::Rpc(request) => (Some(Operation::Rpc), &*request.method),
        Request::Connect(_)
        | Request::Ping
        | Request::Pong
        | Request::Send { .. }
        | Request::Unknown
        | Request::Unreadable { .. } => (None, ""),
    };
    Deed { operation, name }
}
