//! Commands of the server: what it wants of a client's session without the client having asked.

use bytes::Bytes;

use super::commands::recover;
use super::stays::RoomStay;
use super::{Action, PendingKind, Phase, Recover, Session, Subscribed};
use crate::auth::Overrides;
use crate::session::access::Grant;
use roomcast_protocol::{
    CloseCode, Command, ErrorCode, Push, Request, RoomName, StreamPosition, SubscribeRequest, UnsubscribeCode,
};

/// Commands of the server that may wait in a session behind those of its client. More wait for a client whose own commands take
/// long, and who commands it that often is served better by its coming again.
const SERVER_COMMANDS_WAITING_MAX: usize = 64;

/// Something that the server wants of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerCommand {
    /// Put the client into a room, whether it might enter by itself or not. Mostly nothing more is said of that.
    Subscribe { room: RoomName, options: Option<Box<SubscribeOptions>> },
    /// Take the client out of a room.
    Unsubscribe { room: RoomName, code: UnsubscribeCode },
    /// Let the client stay for that long from now on, or for good, whatever its token has said; and what is known of it, if that is
    /// something else.
    Refresh { ttl_ms: Option<u64>, info: Option<Bytes> },
}

/// What is said of a subscription that the server makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscribeOptions {
    /// What the client is told with it, compact JSON.
    pub(crate) data: Option<Bytes>,
    /// What is known of the client in the room, compact JSON.
    pub(crate) info: Option<Bytes>,
    /// How long it may stay, if not for good: from when its shard has taken the command.
    pub(crate) ttl_ms: Option<u64>,
    /// The same as a time of the session's, from then on.
    pub(crate) until_ms: Option<u64>,
    /// From where on it is given what it has missed.
    pub(crate) recover: Option<StreamPosition>,
    /// Options of the room that are otherwise for it.
    pub(crate) overrides: Overrides,
}

impl ServerCommand {
    /// From here on the times count that it says: however long it waits behind what the client has said, and for the room.
    pub(crate) fn begins(&mut self, now_ms: u64) {
        if let Self::Subscribe { options: Some(options), .. } = self {
            options.until_ms = options.ttl_ms.map(|ttl_ms| now_ms + ttl_ms);
        }
    }

    /// Bytes that it holds beside itself.
    pub(crate) fn bytes(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        match self {
            Self::Subscribe { options: Some(options), .. } => {
                size_of::<SubscribeOptions>() + len(&options.data) + len(&options.info)
            }
            Self::Subscribe { .. } | Self::Unsubscribe { .. } => 0,
            Self::Refresh { info, .. } => len(info),
        }
    }
}

/// A command that waits while an action is under way.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The client's.
    Client(Command),
    /// The server's.
    Server(ServerCommand),
}

impl Waiting {
    /// What it takes, about: itself, and what its client publishes or hands over.
    pub(super) fn bytes_held(&self) -> usize {
        let data = match self {
            Self::Client(Command { request: Request::Publish(publish), .. }) => {
                publish.data.as_ref().map_or(0, |data| data.as_bytes().len())
            }
            Self::Client(Command { request: Request::Send { data }, .. }) => data.len(),
            Self::Client(Command { request: Request::Rpc(rpc), .. }) => rpc.data.as_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        size_of::<Self>() + data
    }
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
            ServerCommand::Subscribe { room, options } => {
                if self.rooms.contains(room.as_str()) {
                    return;
                }
                if self.rooms.len() >= self.settings.limits.rooms_per_client_max {
                    return self.close(CloseCode::RoomLimit, out);
                }
                let overrides = options.as_ref().map_or_else(Overrides::default, |options| options.overrides);
                let grant = self.access(&room).map(|access| access.grant_with(&wishes(), overrides));
                let grant = match grant {
                    Ok(grant) => grant,
                    Err(code) => return self.log_not_put_in(room.as_str(), code),
                };
                let position = options.as_ref().and_then(|options| options.recover.clone());
                let recover = position.and_then(|position| recover(&grant, Some(position)));
                let kind = PendingKind::PutIn {
                    room: room.clone(),
                    grant: Box::new(grant),
                    recover: recover.clone(),
                    options,
                };
                let ticket = self.begin_pending(0, kind);
                out.push(Action::Subscribe { ticket, room, recover });
            }
            ServerCommand::Unsubscribe { room, code } => {
                if self.leave(room.as_str()).is_some() {
                    let ticket = self.begin_pending(0, PendingKind::TakeOut { room: room.clone(), code });
                    out.push(Action::Unsubscribe { ticket, room });
                }
            }
            ServerCommand::Refresh { ttl_ms, info } => {
                let ttl_ms = ttl_ms.filter(|_| !self.settings.insecure);
                self.stay_connected(ttl_ms);
                self.set_info(info);
                out.push(Action::Push(Push::Refresh { ttl_s: self.told_ttl_s(ttl_ms) }));
            }
        }
    }

    /// The client is in a room that the server has put it into, or cannot be; then it has not been told that it is, and the log
    /// says so: whoever commanded it has long been answered.
    pub(super) fn was_put_in(
        &mut self,
        room: RoomName,
        (grant, recover): (Box<Grant>, Option<Recover>),
        options: Option<Box<SubscribeOptions>>,
        subscribed: Result<Subscribed, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        match subscribed {
            Ok(subscribed) => {
                let (result, view) = self.subscribe_result(subscribed, recover.as_ref(), recover.is_some(), &grant);
                self.rooms.insert(room.clone());
                let SubscribeOptions { data, info, until_ms, .. } =
                    options.map_or_else(Default::default, |options| *options);
                let info = self.info_in_room(info);
                if info.is_some() || until_ms.is_some() {
                    self.stays.set_room(RoomStay { room: room.as_str().into(), until_ms, info, is_put_in: true });
                }
                out.push(Action::Push(Push::Subscribe {
                    room: room.clone(),
                    recoverable: result.recoverable,
                    positioned: result.positioned,
                    position: result.position,
                    data,
                }));
                let missed = result.publications.into_iter();
                out.extend(
                    missed.map(|publication| Action::Push(Push::Publication { room: room.clone(), publication })),
                );
                out.push(Action::Activate { room, membership: grant.membership, view });
            }
            Err(error) => self.log_not_put_in(room.as_str(), error),
        }
        self.advance(out);
    }

    /// The client has done nothing wrong; whoever has named the room is to find out.
    pub(super) fn log_not_put_in(&self, room: &str, error: ErrorCode) {
        let (code, reason) = (error.code(), error.message());
        // What nobody has found to be a name may be of any length.
        let room: String = room.chars().take(self.settings.limits.room_name_bytes_max).collect();
        tracing::warn!(client = self.client(), room, code, reason, "server-side subscribe failed");
    }
}
