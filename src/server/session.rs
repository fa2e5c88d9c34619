//! A session: one client's side of the protocol as a state machine; commands in, actions out, time passed in, no I/O.

mod access;
mod action;
mod heartbeat;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::action::{Action, Membership, Subscribed, Ticket};
pub(crate) use self::settings::{RoomRules, RulesLookup, Settings};

use self::access::{Access, Grant};
use self::heartbeat::{Beat, Heartbeat};
use crate::protocol::{
    ClientInfo, CloseCode, Command, ConnectRequest, ConnectResult, DecodeError, Encoding,
    ErrorCode, HistoryQuery, HistoryRequest, HistoryResult, PresenceStats, Publication,
    PublishRequest, Push, Reply, ReplyBody, Request, RoomName, StreamPosition, SubscribeRequest,
    SubscribeResult, UnsubscribeCode, recovered,
};

/// One client's side of the protocol.
///
/// Every method that can lead to something appends to the caller's list of [`Action`]s, to be done in that order.
/// Commands are answered strictly one by one: while an action with a [`Ticket`] is not completed, further commands
/// wait, and [`Session::wants_frames`] says whether to read more.
///
/// # Guarantees
/// - The first thing a client may say is `connect`, and its reply comes before all others.
/// - A room's pushes may be written from [`Action::Activate`], which follows the subscribe reply, until
///   [`Action::Unsubscribe`], which precedes the unsubscribe reply.
/// - [`Action::Close`] comes once, and nothing after it.
///
/// Tokens do not exist yet: `refresh` and `sub_refresh` answer error 108, as does `rpc`, which nobody handles, and
/// what `send` brings is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Arc<Settings>,
    ids: Ids,
    phase: Phase,
    heartbeat: Heartbeat,
    /// The rooms the client is in, as the replies it has been given say.
    rooms: HashSet<RoomName>,
    /// The command whose action is under way.
    flight: Option<Flight>,
    /// Commands behind it, of at most one frame: see [`Session::wants_frames`].
    queue: VecDeque<Command>,
    next_ticket: u64,
}

/// What a new session is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    /// The client's id, which others see.
    pub(crate) client: String,
    /// The secret by which later requests of an emulated connection name the session.
    pub(crate) session: String,
}

/// How far the session is.
#[derive(Debug)]
enum Phase {
    Opening,
    Open(ClientInfo),
    Closed,
}

/// A command that waits for the world.
#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    /// The command's id.
    id: u32,
    kind: FlightKind,
}

/// What it waits for, with what its reply needs.
#[derive(Debug)]
enum FlightKind {
    Subscribe {
        room: RoomName,
        recover: Option<StreamPosition>,
        grant: Grant,
        reject_unrecovered: bool,
    },
    /// Leaving a room; then the reply.
    Unsubscribe {
        reply: ReplyBody,
    },
    Publish,
    History {
        since: Option<StreamPosition>,
    },
    Presence,
    PresenceStats,
}

impl Session {
    /// A session of a client that has not said anything yet.
    pub(crate) fn new(settings: Arc<Settings>, ids: Ids, now_ms: u64) -> Self {
        let stale_at_ms = now_ms + settings.stale_timeout_ms;
        Self {
            settings,
            ids,
            phase: Phase::Opening,
            heartbeat: Heartbeat::Opening { stale_at_ms },
            rooms: HashSet::new(),
            flight: None,
            queue: VecDeque::new(),
            next_ticket: 0,
        }
    }

    /// Takes a frame: all its commands, or those up to the first error, which closes the session.
    pub(crate) fn receive_frame(
        &mut self,
        encoding: Encoding,
        frame: &[u8],
        now_ms: u64,
        out: &mut Vec<Action>,
    ) {
        match encoding.commands(frame, &self.settings.limits) {
            Ok(commands) => {
                for command in commands {
                    match command {
                        Ok(command) => self.receive(command, now_ms, out),
                        Err(error) => self.reject(error, out),
                    }
                }
            }
            Err(error) => self.reject(error, out),
        }
    }

    /// Takes one command.
    pub(crate) fn receive(&mut self, command: Command, now_ms: u64, out: &mut Vec<Action>) {
        match (&self.phase, command.request) {
            (Phase::Closed, _) => {}
            (Phase::Opening, Request::Connect(request)) => {
                self.connect(command.id, &request, now_ms, out)
            }
            (Phase::Opening, _) | (Phase::Open(_), Request::Connect(_)) => {
                self.close(CloseCode::BadRequest, out)
            }
            // A pong waits for nothing, or a slow command would make a living client look dead.
            (Phase::Open(_), Request::Pong) => {
                if !self.heartbeat.pong() {
                    self.close(CloseCode::BadRequest, out);
                }
            }
            (Phase::Open(_), _)
                if self.queue.len() >= self.settings.limits.commands_per_frame_max =>
            {
                self.close(CloseCode::TooManyRequests, out);
            }
            (Phase::Open(_), request) => {
                self.queue.push_back(Command {
                    id: command.id,
                    request,
                });
                self.advance(out);
            }
        }
    }

    /// Takes the news that the client's bytes are not the protocol.
    pub(crate) fn reject(&mut self, _error: DecodeError, out: &mut Vec<Action>) {
        self.close(CloseCode::BadRequest, out);
    }

    /// Completes [`Action::Subscribe`].
    ///
    /// On `Ok` either [`Action::Activate`] follows, or [`Action::Unsubscribe`], when the client would rather not be in
    /// a room it cannot recover in.
    pub(crate) fn subscribed(
        &mut self,
        ticket: Ticket,
        result: Result<Subscribed, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        let FlightKind::Subscribe {
            room,
            recover,
            grant,
            reject_unrecovered,
        } = flight.kind
        else {
            return self.misused(flight, out);
        };
        match result {
            Err(error) => self.reply(flight.id, ReplyBody::Error(error), out),
            Ok(subscribed) => {
                let result = self.subscribe_result(subscribed, recover.as_ref(), grant);
                if reject_unrecovered && result.was_recovering && !result.recovered {
                    let reply = ReplyBody::Error(ErrorCode::UnrecoverablePosition);
                    let ticket = self.take_off(flight.id, FlightKind::Unsubscribe { reply });
                    out.push(Action::Unsubscribe { ticket, room });
                } else {
                    self.rooms.insert(room.clone());
                    self.reply(flight.id, ReplyBody::Subscribe(Box::new(result)), out);
                    out.push(Action::Activate {
                        room,
                        membership: grant.membership,
                    });
                }
            }
        }
        self.advance(out);
    }

    /// Completes [`Action::Unsubscribe`]: nothing of the room will be written any more.
    pub(crate) fn unsubscribed(&mut self, ticket: Ticket, out: &mut Vec<Action>) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        let FlightKind::Unsubscribe { reply } = flight.kind else {
            return self.misused(flight, out);
        };
        self.reply(flight.id, reply, out);
        self.advance(out);
    }

    /// Completes [`Action::Publish`].
    pub(crate) fn published(
        &mut self,
        ticket: Ticket,
        result: Result<(), ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        let FlightKind::Publish = flight.kind else {
            return self.misused(flight, out);
        };
        self.finish(flight.id, result.map(|()| ReplyBody::Publish), out);
    }

    /// Completes [`Action::History`]. Whether the epoch the client named is the room's is judged here.
    pub(crate) fn history(
        &mut self,
        ticket: Ticket,
        result: Result<HistoryResult, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        let FlightKind::History { since } = flight.kind else {
            return self.misused(flight, out);
        };
        let result = result.and_then(|history| {
            let is_foreign = since.is_some_and(|since| {
                !since.epoch.is_empty() && since.epoch != history.position.epoch
            });
            if is_foreign {
                Err(ErrorCode::UnrecoverablePosition)
            } else {
                Ok(ReplyBody::History(history))
            }
        });
        self.finish(flight.id, result, out);
    }

    /// Completes [`Action::Presence`].
    pub(crate) fn presence(
        &mut self,
        ticket: Ticket,
        result: Result<Vec<ClientInfo>, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        let FlightKind::Presence = flight.kind else {
            return self.misused(flight, out);
        };
        self.finish(flight.id, result.map(ReplyBody::Presence), out);
    }

    /// Completes [`Action::PresenceStats`].
    pub(crate) fn presence_stats(
        &mut self,
        ticket: Ticket,
        result: Result<PresenceStats, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(flight) = self.land(ticket) else {
            return;
        };
        let FlightKind::PresenceStats = flight.kind else {
            return self.misused(flight, out);
        };
        self.finish(flight.id, result.map(ReplyBody::PresenceStats), out);
    }

    /// Takes the news that the client is out of a room it did not leave: the room ended, or the client fell behind.
    /// Nothing of the room may be written after this.
    pub(crate) fn expelled(&mut self, room: &str, code: UnsubscribeCode, out: &mut Vec<Action>) {
        if let Some(room) = self.rooms.take(room) {
            out.push(Action::Push(Push::Unsubscribe { room, code }));
        }
    }

    /// Ends the session; a session that has ended stays so.
    pub(crate) fn close(&mut self, code: CloseCode, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.phase = Phase::Closed;
        self.heartbeat = Heartbeat::Still;
        self.flight = None;
        self.queue = VecDeque::new();
        self.rooms = HashSet::new();
        out.push(Action::Close(code));
    }

    /// Lets time pass; to be called at [`Session::deadline_ms`] or somewhat later.
    pub(crate) fn tick(&mut self, now_ms: u64, out: &mut Vec<Action>) {
        let Settings {
            ping_interval_ms,
            pong_timeout_ms,
            ..
        } = *self.settings;
        match self
            .heartbeat
            .tick(now_ms, ping_interval_ms, pong_timeout_ms)
        {
            Beat::Nothing => {}
            Beat::Ping => out.push(Action::Ping),
            // While we do not read, its silence is our doing.
            Beat::NoPong if !self.wants_frames() => self.heartbeat.extend(now_ms + pong_timeout_ms),
            Beat::NoPong => self.close(CloseCode::NoPong, out),
            Beat::Stale => self.close(CloseCode::Stale, out),
        }
    }

    /// When to call [`Session::tick`] next; it changes with what the session takes in.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.heartbeat.deadline_ms()
    }

    /// Whether the transport should read. It should not while commands wait behind an action: so what a client can
    /// make the server hold is one frame of commands, [`Limits::commands_per_frame_max`] at most, and a session that
    /// is handed more closes with 3013.
    ///
    /// [`Limits::commands_per_frame_max`]: crate::protocol::Limits::commands_per_frame_max
    pub(crate) fn wants_frames(&self) -> bool {
        self.queue.is_empty() && !self.is_closed()
    }

    /// Whether the session has ended.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// The client's id.
    pub(crate) fn client(&self) -> &str {
        &self.ids.client
    }

    /// Who the client is to others, once it is connected.
    pub(crate) fn info(&self) -> Option<&ClientInfo> {
        match &self.phase {
            Phase::Open(info) => Some(info),
            Phase::Opening | Phase::Closed => None,
        }
    }

    fn connect(&mut self, id: u32, request: &ConnectRequest, now_ms: u64, out: &mut Vec<Action>) {
        if !self.settings.allow_anonymous {
            return self.reply(id, ReplyBody::Error(ErrorCode::Unauthorized), out);
        }
        let conn_info = match &request.data {
            Some(data) if self.settings.trust_display_names => {
                display_name(data, self.settings.limits.display_name_chars_max)
            }
            _ => None,
        };
        self.phase = Phase::Open(ClientInfo::new(
            String::new(),
            self.ids.client.clone(),
            conn_info,
            None,
        ));
        let ping_interval_ms = self.settings.ping_interval_ms;
        self.heartbeat = Heartbeat::connected(&self.ids.client, ping_interval_ms, now_ms);
        let mut result = ConnectResult::default();
        result.client.clone_from(&self.ids.client);
        result.version = env!("CARGO_PKG_VERSION").to_owned();
        result.ping_s = u32::try_from(ping_interval_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
        result.pong = ping_interval_ms > 0;
        result.session.clone_from(&self.ids.session);
        result.node.clone_from(&self.settings.node);
        self.reply(id, ReplyBody::Connect(Box::new(result)), out);
    }

    /// Begins waiting commands until one has to wait for the world.
    fn advance(&mut self, out: &mut Vec<Action>) {
        while self.flight.is_none() {
            let Some(command) = self.queue.pop_front() else {
                return;
            };
            if let Err(error) = self.begin(command.id, command.request, out) {
                self.reply(command.id, ReplyBody::Error(error), out);
            }
        }
    }

    fn begin(&mut self, id: u32, request: Request, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        match request {
            Request::Subscribe(request) => self.begin_subscribe(id, request, out)?,
            Request::Unsubscribe { room } => self.begin_unsubscribe(id, &room, out)?,
            Request::Publish(request) => self.begin_publish(id, request, out)?,
            Request::History(request) => self.begin_history(id, &request, out)?,
            Request::Presence { room } => {
                let room = self.room(&room)?;
                self.access(&room)?.presence()?;
                let ticket = self.take_off(id, FlightKind::Presence);
                out.push(Action::Presence { ticket, room });
            }
            Request::PresenceStats { room } => {
                let room = self.room(&room)?;
                self.access(&room)?.presence()?;
                let ticket = self.take_off(id, FlightKind::PresenceStats);
                out.push(Action::PresenceStats { ticket, room });
            }
            Request::Ping => self.reply(id, ReplyBody::Ping, out),
            Request::Send { .. } => {}
            Request::Rpc(_) | Request::Refresh { .. } | Request::SubRefresh { .. } => {
                return Err(ErrorCode::NotAvailable);
            }
            Request::Unknown => return Err(ErrorCode::MethodNotFound),
            Request::Connect(_) | Request::Pong => {
                unreachable!("taken by `receive`, which queues neither")
            }
        }
        Ok(())
    }

    fn begin_subscribe(
        &mut self,
        id: u32,
        request: SubscribeRequest,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let room = self.room(&request.room)?;
        if self.rooms.contains(&room) {
            return Err(ErrorCode::AlreadySubscribed);
        }
        if self.rooms.len() >= self.settings.limits.rooms_per_client_max {
            return Err(ErrorCode::LimitExceeded);
        }
        let grant = self.access(&room)?.subscribe(&request)?;
        let recover = (grant.recoverable && request.recover).then_some(request.position);
        let reject_unrecovered = request.flag & SubscribeRequest::REJECT_UNRECOVERED != 0;
        let kind = FlightKind::Subscribe {
            room: room.clone(),
            recover: recover.clone(),
            grant,
            reject_unrecovered,
        };
        let ticket = self.take_off(id, kind);
        out.push(Action::Subscribe {
            ticket,
            room,
            recover,
        });
        Ok(())
    }

    fn begin_unsubscribe(
        &mut self,
        id: u32,
        room: &str,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let room = self.room(room)?;
        let reply = ReplyBody::Unsubscribe;
        if self.rooms.remove(&room) {
            let ticket = self.take_off(id, FlightKind::Unsubscribe { reply });
            out.push(Action::Unsubscribe { ticket, room });
        } else {
            // As Centrifugo: who is outside already has what it wants.
            self.reply(id, reply, out);
        }
        Ok(())
    }

    fn begin_publish(
        &mut self,
        id: u32,
        request: PublishRequest,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let room = self.room(&request.room)?;
        let data = request.data.ok_or(ErrorCode::BadRequest)?;
        self.access(&room)?.publish()?;
        let publication = Publication::new(data, self.info().cloned());
        let ticket = self.take_off(id, FlightKind::Publish);
        out.push(Action::Publish {
            ticket,
            room,
            publication,
        });
        Ok(())
    }

    fn begin_history(
        &mut self,
        id: u32,
        request: &HistoryRequest,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let room = self.room(&request.room)?;
        self.access(&room)?.history()?;
        let query = HistoryQuery::new(request, self.settings.limits.publications_max);
        let ticket = self.take_off(
            id,
            FlightKind::History {
                since: query.since.clone(),
            },
        );
        out.push(Action::History {
            ticket,
            room,
            query,
        });
        Ok(())
    }

    /// What entering a room is answered with, by the recovery rule.
    fn subscribe_result(
        &self,
        subscribed: Subscribed,
        recover: Option<&StreamPosition>,
        grant: Grant,
    ) -> SubscribeResult {
        let Subscribed { top, found } = subscribed;
        let mut result = SubscribeResult::default();
        result.recoverable = grant.recoverable;
        result.positioned = grant.positioned;
        if let Some(asked) = recover {
            result.was_recovering = true;
            let offsets = found.iter().map(|placed| placed.offset);
            result.recovered =
                recovered(asked, &top, offsets, self.settings.limits.publications_max);
            if result.recovered {
                result.publications = found;
            }
        }
        result.position = grant.positioned.then_some(top);
        result
    }

    fn room(&self, name: &str) -> Result<RoomName, ErrorCode> {
        RoomName::parse(name, self.settings.limits.room_name_bytes_max)
            .map_err(|_| ErrorCode::BadRequest)
    }

    fn access<'a>(&'a self, room: &'a RoomName) -> Result<Access<'a>, ErrorCode> {
        Ok(Access {
            rules: (self.settings.rules)(room.as_str())?,
            room: room.as_str(),
            user: self.info().map_or("", ClientInfo::user),
            is_subscribed: self.rooms.contains(room),
        })
    }

    fn take_off(&mut self, id: u32, kind: FlightKind) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.flight = Some(Flight { ticket, id, kind });
        ticket
    }

    fn land(&mut self, ticket: Ticket) -> Option<Flight> {
        self.flight.take_if(|flight| flight.ticket == ticket)
    }

    /// A ticket came back to the wrong method: our own mistake, which the client hears as an internal error.
    fn misused(&mut self, flight: Flight, out: &mut Vec<Action>) {
        debug_assert!(false, "{flight:?} was completed as another kind of action");
        self.finish(flight.id, Err(ErrorCode::Internal), out);
    }

    fn finish(&mut self, id: u32, result: Result<ReplyBody, ErrorCode>, out: &mut Vec<Action>) {
        self.reply(id, result.unwrap_or_else(ReplyBody::Error), out);
        self.advance(out);
    }

    fn reply(&self, id: u32, body: ReplyBody, out: &mut Vec<Action>) {
        // Only `send` comes without an id, and it is not answered.
        if id != 0 {
            out.push(Action::Reply(Reply { id, body }));
        }
    }
}

/// What `data` says the client wants to be called, as its `conn_info`: no control characters, no space around it, at
/// most `chars_max` characters; `None` if nothing is left.
fn display_name(data: &Bytes, chars_max: usize) -> Option<Bytes> {
    #[derive(serde::Deserialize)]
    struct ConnectData {
        name: String,
    }
    let ConnectData { name } = serde_json::from_slice(data).ok()?;
    let name: String = name
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(chars_max)
        .collect();
    let name = name.trim();
    (!name.is_empty()).then(|| serde_json::json!({ "name": name }).to_string().into())
}
