//! Commands of the server: what it wants of a client's session without the client having asked.

use super::tokens::seconds;
use super::{Action, PendingKind, Phase, Session, Subscribed};
use crate::session::access::Grant;
use roomcast_protocol::{CloseCode, Command, ErrorCode, Push, RoomName, SubscribeRequest, UnsubscribeCode};

/// Commands of the server that may wait in a session behind those of its client. More wait for a client whose own commands take
/// long, and who commands it that often is served better by its coming again.
const SERVER_COMMANDS_WAITING_MAX: usize = 64;

/// Something that the server wants of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerCommand {
    /// Put the client into a room, whether it might enter by itself or not.
    Subscribe { room: RoomName },
    /// Take the client out of a room.
    Unsubscribe { room: RoomName, code: UnsubscribeCode },
    /// Let the client stay for that long from now on, or for good, whatever its token has said.
    Refresh { ttl_ms: Option<u64> },
}

/// A command that waits while an action is under way.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The client's.
    Client(Command),
    /// The server's.
    Server(ServerCommand),
}

/// What a client that is put into a room would like to have there, where it may have it.
pub(super) fn wishes() -> SubscribeRequest {
    SubscribeRequest { recoverable: true, positioned: true, ..SubscribeRequest::default() }
}

impl Session {
    /// Takes a command of the server, to be obeyed behind what the client has said before. It is nothing to a client that has
    /// not connected yet, or has gone.
    pub(crate) fn command(&mut self, command: ServerCommand, out: &mut Vec<Action>) {
        let waiting_max = self.settings.limits.commands_per_frame_max + SERVER_COMMANDS_WAITING_MAX;
        if self.phase != Phase::Open || self.ending.is_some() {
        } else if self.pending.is_none() && self.queue.is_empty() {
            self.obey(command, out);
        } else if self.queue.len() < waiting_max {
            self.queue.push_back(Waiting::Server(command));
        } else {
            self.close(CloseCode::ServerError, out);
        }
    }

    /// Begins to do it. What it leads to is a push, and nothing where the client is as it is to be.
    pub(super) fn obey(&mut self, command: ServerCommand, out: &mut Vec<Action>) {
        match command {
            ServerCommand::Subscribe { room } => {
                if self.rooms.contains(room.as_str()) {
                    return;
                }
                if self.rooms.len() >= self.settings.limits.rooms_per_client_max {
                    return self.close(CloseCode::RoomLimit, out);
                }
                // Whoever commands it has been told that there is no such namespace.
                let Ok(grant) = self.access(&room).map(|access| access.grant(&wishes())) else { return };
                let ticket = self.begin_pending(0, PendingKind::PutIn { room: room.clone(), grant });
                out.push(Action::Subscribe { ticket, room, recover: None });
            }
            ServerCommand::Refresh { ttl_ms } => {
                self.stay_connected(ttl_ms);
                out.push(Action::Push(Push::Refresh { ttl_s: ttl_ms.map(seconds) }));
            }
            ServerCommand::Unsubscribe { room, code } => {
                if self.leave(room.as_str()).is_some() {
                    let ticket = self.begin_pending(0, PendingKind::TakeOut { room: room.clone(), code });
                    out.push(Action::Unsubscribe { ticket, room });
                }
            }
        }
    }

    /// The client is in a room that the server has put it into, or cannot be; then it has not been told that it is, and the log
    /// says so: whoever commanded it has long been answered.
    pub(super) fn was_put_in(
        &mut self,
        room: RoomName,
        grant: Grant,
        subscribed: Result<Subscribed, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        match subscribed {
            Ok(subscribed) => {
                let result = self.subscribe_result(subscribed, None, false, grant);
                self.rooms.insert(room.clone());
                out.push(Action::Push(Push::Subscribe {
                    room: room.clone(),
                    recoverable: result.recoverable,
                    positioned: result.positioned,
                    position: result.position,
                    data: None,
                }));
                out.push(Action::Activate { room, membership: grant.membership });
            }
            Err(error) => self.log_not_put_in(&room, error),
        }
        self.advance(out);
    }

    pub(super) fn log_not_put_in(&self, room: &RoomName, error: ErrorCode) {
        let (code, reason) = (error.code(), error.message());
        tracing::warn!(client = self.client(), %room, code, reason, "server-side subscribe failed");
    }
}
