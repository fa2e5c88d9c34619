//! Commands: what each one checks, and which action it asks for.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::access::{Access, Grant};
use super::heartbeat::Heartbeat;
use super::server_command::wishes;
use super::tokens::{Opened, Refused};
use super::{
    Action, Connecting, Identity, Ids, Pending, PendingKind, Phase, PutIn, Recover, Session, Settings, Speech, Ticket,
};
use crate::auth::{ConnectionToken, Overrides, RoomClaims};
use roomcast_protocol::{
    ClientInfo, CloseCode, ConnectRequest, ConnectResult, ErrorCode, FOSSIL, HistoryQuery, HistoryRequest, Payload,
    Placed, Publication, PublishRequest, ReplyBody, Request, RoomName, StreamPosition, SubscribeRequest,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bytes of publications in a connect reply, of all rooms together that its client is put into; what they have more comes as pushes.
const CONNECT_BYTES_MAX: usize = 4 << 20;

/// Subscription tokens that prove nothing, one after the other, upon which a client is closed: as many as the rooms that it may be in by
/// default. To look at one costs some hundred microseconds, and a message may bring a thousand.
pub(super) const TOKENS_REFUSED_MAX: u16 = 128;

/// Bytes of what a client says in place of headers, of what is passed on: it is held as long as the client is connected, and web servers
/// take no more of a request's head.
const EMULATED_HEADERS_BYTES_MAX: usize = 16 * 1024;

impl Session {
    pub(super) fn connect(&mut self, id: u32, mut request: ConnectRequest, out: &mut Vec<Action>) {
        self.keep_passed_on(&mut request.headers);
        let header_bytes: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if header_bytes > EMULATED_HEADERS_BYTES_MAX {
            return self.reply(id, ReplyBody::Error(ErrorCode::BadRequest), out);
        }
        let who = if request.token.is_empty() || !self.verifies_connections() {
            if self.settings.proxies.connect {
                return self.ask_who(id, request, out);
            }
            match self.known_without_token() {
                Some(who) => who,
                None => return self.reply(id, ReplyBody::Error(ErrorCode::Unauthorized), out),
            }
        } else {
            match self.connection_token(&request.token) {
                Ok((token, _)) if token.user.is_empty() && self.settings.disallow_anonymous_tokens => {
                    return self.close(CloseCode::PermissionDenied, out);
                }
                Ok((ConnectionToken { user, info, meta, rooms, .. }, ttl_ms)) => {
                    Who { user, info, meta, ttl_ms, rooms, ..Who::default() }
                }
                Err(Refused::TokenExpired) => {
                    return self.reply(id, ReplyBody::Error(ErrorCode::TokenExpired), out);
                }
                Err(Refused::Expired) => return self.reply(id, ReplyBody::Error(ErrorCode::Expired), out),
                Err(Refused::Unverified(wanted)) => {
                    let waits = self.await_keys(id, Request::Connect(request), wanted, out);
                    return waits.unwrap_or_else(|error| self.reply(id, ReplyBody::Error(error), out));
                }
                Err(Refused::Invalid | Refused::Foreign) => return self.close(CloseCode::InvalidToken, out),
            }
        };
        self.admit(id, who, request, out);
    }

    /// Who a client is of whom neither a token nor the backend has said so; nothing where such clients are not let in.
    pub(super) fn known_without_token(&self) -> Option<Who> {
        let named = match &self.who {
            Identity::Unknown(ids) => ids.user.clone(),
            Identity::Known(_) => None,
        };
        let Settings { allow_anonymous, insecure, .. } = *self.settings;
        let user = named.or_else(|| (allow_anonymous || insecure).then(String::new))?;
        Some(Who { user, ..Who::default() })
    }

    /// Lets a client in whose user is known.
    pub(super) fn admit(&mut self, id: u32, who: Who, request: ConnectRequest, out: &mut Vec<Action>) {
        let Who { user, info, data, ttl_ms, rooms, meta } = who;
        if self.connects_too_often(&user) {
            return self.refuse_to_hurry(id, out);
        }
        let conn_info = match &request.data {
            Some(data) if info.is_none() && self.settings.trust_display_names => {
                display_name(data, self.settings.limits.display_name_chars_max)
            }
            _ => info,
        };
        self.stay_connected(ttl_ms);
        self.stays.set_meta(meta);
        self.stays.set_headers(request.headers);
        let result = ConnectResult { ttl_s: self.told_ttl_s(ttl_ms), data, ..ConnectResult::default() };
        self.open(id, (user, conn_info), result, rooms, request.subs, out);
    }

    /// Leaves those that some proxy passes on.
    fn keep_passed_on(&self, headers: &mut Vec<(String, String)>) {
        let emulated = &self.settings.proxies.emulated_headers;
        headers.retain(|(name, _)| emulated.contains(&name.to_ascii_lowercase()));
        headers.shrink_to_fit();
    }

    /// Opens the session of a client that is `user`'s, and puts it into its rooms; then the reply.
    pub(super) fn open(
        &mut self,
        id: u32,
        (user, conn_info): (String, Option<Bytes>),
        result: ConnectResult,
        granted: Vec<(String, RoomClaims)>,
        subs: Vec<(String, Option<StreamPosition>)>,
        out: &mut Vec<Action>,
    ) {
        let Identity::Unknown(ids) = &mut self.who else { return };
        let Ids { client, session, .. } = std::mem::take(&mut **ids);
        let ping_interval_ms = self.settings.ping_interval_ms;
        self.heartbeat = Heartbeat::connected(&client, self.settings.ping_times, ping_interval_ms, self.now_ms);
        if !user.is_empty() {
            out.push(Action::Identify);
        }
        self.who = Identity::Known(ClientInfo::new(user, client.clone(), conn_info, None));
        self.phase = Phase::Open;
        // It is for those who send commands to it.
        let node = if self.speech == Speech::Commands { self.settings.node.clone() } else { String::new() };
        let result = ConnectResult {
            client,
            version: VERSION.to_owned(),
            ping_s: u32::try_from(ping_interval_ms.div_ceil(1_000)).unwrap_or(u32::MAX),
            pong: ping_interval_ms > 0 && self.settings.pong_timeout_ms > 0 && self.speech == Speech::Commands,
            session,
            node,
            time_ms: self.settings.time.as_ref().map_or(0, |time| time()),
            ..result
        };
        let rooms = match self.put_in_rooms(granted, subs) {
            Ok(rooms) => rooms,
            Err(code) => return self.close(code, out),
        };
        self.put_in_next(id, Connecting { result, rooms, entered: Vec::new() }, out);
    }

    /// The rooms that a client is put into, the first one last: those of the configuration, its user's, those of its token, and of those that
    /// it asks for in `subs` the ones it may enter, as many as it may be in. Not being put in is all the answer the others have.
    fn put_in_rooms(
        &mut self,
        granted: Vec<(String, RoomClaims)>,
        subs: Vec<(String, Option<StreamPosition>)>,
    ) -> Result<Vec<PutIn>, CloseCode> {
        let wishes = wishes();
        let put_in = |room: RoomName, grant: Grant, position: Option<StreamPosition>, is_wish| {
            let was_recovering = position.is_some() || grant.recovers_newest;
            let recover = recover(&grant, position);
            PutIn { room, recover, was_recovering, grant, opened: None, is_wish }
        };
        self.stays.grant(granted.iter().map(|(name, _)| name.as_str().into()));
        let mut granted: BTreeMap<String, RoomClaims> = granted.into_iter().collect();
        // In a room that the client is put into anyway holds what its token says of it, too.
        let put_in_anyway = |session: &Self, room: RoomName, says: Option<RoomClaims>, position, code| {
            let opened = says.map(|says| {
                let ttl_ms = says.ttl_ms;
                Box::new(session.opened(&room, says, ttl_ms))
            });
            let overrides = opened.as_ref().map_or_else(Overrides::default, |opened| opened.overrides);
            let access = session.access(&room).map_err(|error| {
                session.log_not_put_in(room.as_str(), error);
                code
            });
            let grant = access?.grant_with(&wishes, overrides);
            Ok::<_, CloseCode>(PutIn { opened, ..put_in(room, grant, position, false) })
        };
        // Of a name that stands twice the last counts.
        let named = subs.into_iter().filter_map(|(name, position)| Some((self.room(&name).ok()?, position)));
        let mut asked: BTreeMap<RoomName, Option<StreamPosition>> = named.collect();
        let mut rooms = Vec::new();
        for room in &self.settings.subscribe_on_connect {
            let (says, position) = (granted.remove(room.as_str()), asked.remove(room).flatten());
            // Otherwise the configuration has named one whose namespace is not there.
            rooms.push(put_in_anyway(self, room.clone(), says, position, CloseCode::ServerError)?);
        }
        if let Some(room) = self.personal_room()? {
            if rooms.len() >= self.settings.limits.rooms_per_client_max {
                return Err(CloseCode::RoomLimit);
            }
            let (says, position) = (granted.remove(room.as_str()), asked.remove(&room).flatten());
            // Of a name that the namespace does not take there is no such room.
            rooms.push(put_in_anyway(self, room, says, position, CloseCode::BadRequest)?);
        }
        for (name, says) in granted {
            let room = self.room(&name).map_err(|error| {
                self.log_not_put_in(&name, error);
                CloseCode::BadRequest
            })?;
            if rooms.len() >= self.settings.limits.rooms_per_client_max {
                return Err(CloseCode::RoomLimit);
            }
            let position = asked.remove(&room).flatten();
            rooms.push(put_in_anyway(self, room, Some(says), position, CloseCode::BadRequest)?);
        }
        for (room, position) in asked {
            if rooms.len() >= self.settings.limits.rooms_per_client_max {
                break;
            }
            if let Ok(grant) = self.access(&room).and_then(|access| access.subscribe(&wishes))
                && self.count_wish(room.as_str())
            {
                rooms.push(put_in(room, grant, position, true));
            }
        }
        rooms.reverse();
        Ok(rooms)
    }

    /// The room of the client's user, if users have one. One whose name would say that the room is for others, too, has none, and
    /// is not let in: its messages would be theirs to read.
    fn personal_room(&self) -> Result<Option<RoomName>, CloseCode> {
        let Some(prefix) = self.settings.personal_rooms.as_ref().filter(|_| !self.user().is_empty()) else {
            return Ok(None);
        };
        let name = self.settings.syntax.personal_room(prefix, self.user());
        let room = name.as_deref().map_or(Err(ErrorCode::BadRequest), |name| self.room(name));
        room.map(Some).map_err(|error| {
            self.log_not_put_in(name.as_deref().unwrap_or(prefix), error);
            CloseCode::BadRequest
        })
    }

    /// Enters the next of the rooms that a client is put into; replies when it is in all of them.
    pub(super) fn put_in_next(&mut self, id: u32, connecting: Connecting, out: &mut Vec<Action>) {
        let Some(PutIn { room, recover, .. }) = connecting.rooms.last() else {
            let Connecting { result, entered, .. } = connecting;
            self.reply(id, ReplyBody::Connect(Box::new(result)), out);
            out.extend(entered.into_iter().map(|(room, membership, view)| Action::Activate { room, membership, view }));
            if self.settings.single_connection && !self.user().is_empty() {
                out.push(Action::Supersede);
            }
            return;
        };
        let (room, mut recover) = (room.clone(), recover.clone());
        if let Some(recover) = &mut recover {
            let found = connecting.result.subs.iter().flat_map(|(_, subscribed)| &subscribed.publications);
            recover.bytes_max = CONNECT_BYTES_MAX.saturating_sub(found.map(Placed::bytes_held).sum());
        }
        let ticket = self.begin_pending(id, PendingKind::Connect(Box::new(connecting)));
        out.push(Action::Subscribe { ticket, room, recover });
    }

    pub(super) fn begin(&mut self, id: u32, request: Request, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        match request {
            Request::Subscribe(request) => self.begin_subscribe(id, request, out)?,
            Request::Unsubscribe { room } => self.begin_unsubscribe(id, &room, out)?,
            Request::Publish(request) => self.begin_publish(id, request, out)?,
            Request::History(request) => self.begin_history(id, &request, out)?,
            Request::Presence { room } => {
                let room = self.room(&room)?;
                self.access(&room)?.presence()?;
                let ticket = self.begin_pending(id, PendingKind::Presence);
                out.push(Action::Presence { ticket, room });
            }
            Request::PresenceStats { room } => {
                let room = self.room(&room)?;
                self.access(&room)?.presence()?;
                let ticket = self.begin_pending(id, PendingKind::PresenceStats);
                out.push(Action::PresenceStats { ticket, room });
            }
            Request::Ping => self.reply(id, ReplyBody::Ping, out),
            Request::Send { .. } => {}
            Request::Refresh { token } => self.refresh(id, &token, out)?,
            Request::SubRefresh { room, token } => self.sub_refresh(id, &room, &token, out)?,
            Request::Rpc(request) => self.begin_rpc(id, request, out)?,
            Request::Unknown => return Err(ErrorCode::MethodNotFound),
            // `receive` queues neither `connect` nor a pong.
            Request::Unreadable { .. } | Request::Connect(_) | Request::Pong => return Err(ErrorCode::BadRequest),
        }
        Ok(())
    }

    fn begin_subscribe(&mut self, id: u32, request: SubscribeRequest, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        let room = self.room(&request.room)?;
        if !request.delta.is_empty() && request.delta != FOSSIL {
            self.close(CloseCode::BadRequest, out);
            return Ok(());
        }
        if self.rooms.contains(room.as_str()) {
            return Err(ErrorCode::AlreadySubscribed);
        }
        if self.rooms.len() >= self.settings.limits.rooms_per_client_max {
            return Err(ErrorCode::LimitExceeded);
        }
        let access = self.access(&room)?;
        let (grant, opened) = if request.token.is_empty() || !self.verifies_subscriptions() {
            match access.enter(&request)? {
                Some(grant) => (grant, None),
                None => {
                    self.ask_to_subscribe(id, room, request, out);
                    return Ok(());
                }
            }
        } else {
            match self.subscription_token(&room, &request.token) {
                Ok(opened) => {
                    let grant = access.subscribe_by_token(&request, opened.overrides)?;
                    self.tokens_refused = 0;
                    (grant, Some(Box::new(opened)))
                }
                Err(Refused::TokenExpired) => return Err(ErrorCode::TokenExpired),
                Err(Refused::Expired) => return Err(ErrorCode::Expired),
                Err(Refused::Unverified(wanted)) => {
                    return self.await_keys(id, Request::Subscribe(request), wanted, out);
                }
                Err(Refused::Invalid) => {
                    self.tokens_refused += 1;
                    if self.tokens_refused >= TOKENS_REFUSED_MAX {
                        self.close(CloseCode::TooManyErrors, out);
                        return Ok(());
                    }
                    return Err(ErrorCode::PermissionDenied);
                }
                Err(Refused::Foreign) => {
                    self.close(CloseCode::InvalidToken, out);
                    return Ok(());
                }
            }
        };
        self.enter(id, room, request, grant, opened, out);
        Ok(())
    }

    /// Enters a room that is open to the client by what was said of it.
    pub(super) fn subscribe_opened(
        &mut self,
        id: u32,
        room: RoomName,
        request: SubscribeRequest,
        opened: Opened,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let grant = self.access(&room)?.subscribe_by_token(&request, opened.overrides)?;
        self.enter(id, room, request, grant, Some(Box::new(opened)), out);
        Ok(())
    }

    fn enter(
        &mut self,
        id: u32,
        room: RoomName,
        request: SubscribeRequest,
        grant: Grant,
        opened: Option<Box<Opened>>,
        out: &mut Vec<Action>,
    ) {
        let was_recovering = request.recover || grant.recovers_newest;
        let recover = recover(&grant, request.recover.then_some(request.position));
        let reject_unrecovered = request.flag & SubscribeRequest::REJECT_UNRECOVERED != 0;
        let kind = PendingKind::Subscribe {
            room: room.clone(),
            recover: recover.clone(),
            was_recovering,
            grant: Box::new(grant),
            reject_unrecovered,
            opened,
        };
        let ticket = self.begin_pending(id, kind);
        out.push(Action::Subscribe { ticket, room, recover });
    }

    fn begin_unsubscribe(&mut self, id: u32, room: &str, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        let room = self.room(room)?;
        let reply = ReplyBody::Unsubscribe;
        if self.leave(room.as_str()).is_some() {
            let ticket = self.begin_pending(id, PendingKind::Unsubscribe { reply });
            out.push(Action::Unsubscribe { ticket, room });
        } else {
            // As Centrifugo: who is outside already has what it wants.
            self.reply(id, reply, out);
        }
        Ok(())
    }

    fn begin_publish(&mut self, id: u32, request: PublishRequest, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        let room = self.room(&request.room)?;
        let access = self.access(&room)?;
        if request.is_map {
            return Err(ErrorCode::NotAvailable);
        }
        let data = request.data.unwrap_or_else(|| Payload::opaque(Bytes::new()));
        if !access.options.publication_data_format.allows(&data) {
            return Err(ErrorCode::BadRequest);
        }
        if access.options.publish_proxy_enabled {
            self.ask_to_publish(id, room, data, out);
            return Ok(());
        }
        access.publish()?;
        let (is_delta, is_inside) = (access.options.delta_publish, access.is_subscribed);
        let mut publication = Publication::new(data, self.info_in(room.as_str()).cloned());
        publication.set_delta(is_delta);
        let ticket = self.begin_pending(id, PendingKind::Publish { is_inside });
        out.push(Action::Publish { ticket, room, publication, terms: None });
        Ok(())
    }

    fn begin_history(&mut self, id: u32, request: &HistoryRequest, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        let room = self.room(&request.room)?;
        self.access(&room)?.history()?;
        let query = HistoryQuery::new(request, self.settings.limits.history_publications_max);
        let ticket = self.begin_pending(id, PendingKind::History { since: query.since.clone() });
        out.push(Action::History { ticket, room, query });
        Ok(())
    }

    pub(super) fn room(&self, name: &str) -> Result<RoomName, ErrorCode> {
        RoomName::parse(name, self.settings.limits.room_name_bytes_max).map_err(|_| ErrorCode::BadRequest)
    }

    pub(super) fn access<'a>(&'a self, room: &'a RoomName) -> Result<Access<'a>, ErrorCode> {
        Ok(Access {
            options: self.settings.options.options_of(room.as_str())?,
            syntax: &self.settings.syntax,
            room: room.as_str(),
            user: self.info().map_or("", ClientInfo::user),
            is_subscribed: self.rooms.contains(room.as_str()),
            needs_token: !self.settings.ignore_tokens,
            is_insecure: self.settings.insecure,
        })
    }

    /// A ticket that no other action has.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// Lets the command `id` wait for the world.
    pub(super) fn begin_pending(&mut self, id: u32, kind: PendingKind) -> Ticket {
        let ticket = self.next_ticket();
        self.pending = Some(Pending { ticket, id, kind });
        ticket
    }
}

/// A client, as a token, the backend or the configuration has it.
#[derive(Debug, Default)]
pub(super) struct Who {
    /// Empty for an anonymous one.
    pub(super) user: String,
    pub(super) info: Option<Bytes>,
    /// What the reply brings.
    pub(super) data: Option<Bytes>,
    /// How long it may stay, if not for good.
    pub(super) ttl_ms: Option<u64>,
    /// The rooms that it is put into.
    pub(super) rooms: Vec<(String, RoomClaims)>,
    /// What is told of it to the backend.
    pub(super) meta: Option<Bytes>,
}

/// What is recovered under that grant by a client that has asked for what came after `asked`.
pub(super) fn recover(grant: &Grant, asked: Option<StreamPosition>) -> Option<Recover> {
    let asked = asked.or_else(|| grant.recovers_newest.then(StreamPosition::default));
    let position = asked.filter(|_| grant.recoverable)?;
    Some(Recover { is_filtered: !grant.view.shows_all(), ..Recover::new(position, grant.recovery_mode) })
}

/// What `data` says the client wants to be called, as its `conn_info`: no control characters, no space around it, at
/// most `chars_max` characters; `None` if nothing is left.
fn display_name(data: &Bytes, chars_max: usize) -> Option<Bytes> {
    #[derive(serde::Deserialize)]
    struct ConnectData {
        name: String,
    }
    let ConnectData { name } = serde_json::from_slice(data).ok()?;
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(chars_max).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| serde_json::json!({ "name": name }).to_string().into())
}
