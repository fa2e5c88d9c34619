//! What the backend is asked about a client, and what its answers make of the waiting command.

use std::sync::Arc;

use super::stays::Stay;
use super::tokens::ASK_SPREAD_MS;
use super::{Action, Pending, PendingKind, Phase, Session, Ticket};
use crate::auth::Expiry;
use crate::callbacks::{Admitted, Allowed, Answer, Event, Extended, Question};
use crate::config::DEFAULT_PROXY;
use crate::session::commands::Who;
use crate::session::server_command::ServerCommand;
use roomcast_protocol::{
    CloseCode, ConnectRequest, ErrorCode, Payload, Publication, ReplyBody, RoomName, RpcRequest, SubscribeRequest,
    UnsubscribeCode,
};

/// How long somebody may stay whose time is over, and about whom the backend could not be asked; then it is asked again. As
/// Centrifugo: a backend that is down for a minute throws nobody out.
const ASK_AGAIN_MS: u64 = 60_000;

impl Session {
    /// Asks who a client is that brings no token.
    pub(super) fn ask_who(&mut self, id: u32, request: ConnectRequest, out: &mut Vec<Action>) {
        let headers = request.headers.clone();
        let event = Event::Connect {
            data: request.data.clone(),
            name: request.name.clone(),
            version: request.version.clone(),
            rooms: request.subs.iter().map(|(room, _)| room.clone()).collect(),
        };
        let question = Question { proxy: DEFAULT_PROXY.to_owned(), user: None, meta: None, headers, event };
        let ticket = self.begin_pending(id, PendingKind::AskWho(Box::new(request)));
        out.push(Action::Ask { ticket, question: Box::new(question) });
    }

    /// Asks whether the client may enter.
    pub(super) fn ask_to_subscribe(
        &mut self,
        id: u32,
        room: RoomName,
        request: SubscribeRequest,
        out: &mut Vec<Action>,
    ) {
        let Ok(options) = self.settings.options.options_of(room.as_str()) else { return };
        let proxy = options.subscribe_proxy_name.clone();
        let event = Event::Subscribe { room: room.as_str().to_owned(), data: request.data.clone() };
        let kind = PendingKind::AskToSubscribe { room, request: Box::new(request) };
        self.ask(id, kind, proxy, event, out);
    }

    /// Asks whether the client may publish that.
    pub(super) fn ask_to_publish(&mut self, id: u32, room: RoomName, data: Payload, out: &mut Vec<Action>) {
        let Ok(options) = self.settings.options.options_of(room.as_str()) else { return };
        let proxy = options.publish_proxy_name.clone();
        let event = Event::Publish { room: room.as_str().to_owned(), data: data.to_bytes() };
        self.ask(id, PendingKind::AskToPublish { room, data }, proxy, event, out);
    }

    /// Calls a procedure of the backend's.
    pub(super) fn begin_rpc(&mut self, id: u32, request: RpcRequest, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        let RpcRequest { method, data } = request;
        let rpc = &self.settings.proxies.rpc;
        if rpc.ping_enabled && method == rpc.ping_method {
            self.reply(id, ReplyBody::Rpc { data: None }, out);
            return Ok(());
        }
        if !rpc.is_served() {
            return Err(ErrorCode::NotAvailable);
        }
        let options = rpc.options_for(&method).ok_or(ErrorCode::MethodNotFound)?;
        if !options.proxy_enabled {
            return Err(ErrorCode::NotAvailable);
        }
        let proxy = options.proxy_name.clone();
        self.ask(id, PendingKind::Rpc, proxy, Event::Rpc { method, data }, out);
        Ok(())
    }

    fn ask(&mut self, id: u32, kind: PendingKind, proxy: String, event: Event, out: &mut Vec<Action>) {
        let question = Box::new(self.question(proxy, event));
        let ticket = self.begin_pending(id, kind);
        out.push(Action::Ask { ticket, question });
    }

    fn question(&self, proxy: String, event: Event) -> Question {
        let (meta, headers) = (self.stays.meta().cloned(), self.stays.headers().to_vec());
        Question { proxy, user: Some(self.user().to_owned()), meta, headers, event }
    }

    /// The time of a stay is over. Where the backend is to be asked whether it goes on, it is; commands go on meanwhile.
    pub(super) fn stay_is_over(&mut self, stay: Stay, out: &mut Vec<Action>) {
        let (proxy, event) = match &stay {
            Stay::Connection if self.settings.proxies.refresh => (DEFAULT_PROXY, Event::Refresh),
            Stay::Connection => return self.may_not_stay(stay, out),
            Stay::Room(room) => match self.sub_refresh_proxy(room) {
                Some(proxy) => (proxy, Event::SubRefresh { room: room.to_string() }),
                None => return self.may_not_stay(stay, out),
            },
        };
        let question = Box::new(self.question(proxy.to_owned(), event));
        let ticket = self.next_ticket();
        self.stays.ask(ticket, stay);
        out.push(Action::Ask { ticket, question });
    }

    /// By which proxy the backend is asked whether somebody may stay in a room; nothing where tokens decide.
    pub(super) fn sub_refresh_proxy(&self, room: &str) -> Option<&str> {
        let options = self.settings.options.options_of(room).ok()?;
        options.sub_refresh_proxy_enabled.then_some(&*options.sub_refresh_proxy_name)
    }

    /// Completes [`Action::Ask`].
    pub(crate) fn answered(&mut self, ticket: Ticket, answer: Answer, out: &mut Vec<Action>) {
        if let Some(asked) = self.stays.take_asked(ticket) {
            return self.may_stay(asked, answer, out);
        }
        let Some(Pending { id, kind, .. }) = self.finish_pending(ticket) else { return };
        let answer = match answer {
            Answer::Disconnect { code, reason } => return self.disconnect(code, reason, out),
            Answer::Error(error) => Err(ReplyBody::Failed(error)),
            Answer::Failed => Err(ReplyBody::Error(ErrorCode::Internal)),
            answer => Ok(answer),
        };
        let done = match (kind, answer) {
            (PendingKind::AskWho(request), answer) => return self.was_told_who(id, *request, answer, out),
            (_, Err(failed)) => Err(failed),
            (PendingKind::AskToSubscribe { room, request }, Ok(Answer::Subscribe(entry))) => {
                let entered = match self.ttl_ms(entry.expiry) {
                    Ok(ttl_ms) => {
                        let opened = self.opened(&room, entry.says, ttl_ms);
                        self.subscribe_opened(id, room, *request, opened, out)
                    }
                    Err(_) => Err(ErrorCode::Expired),
                };
                entered.map_err(ReplyBody::Error)
            }
            (PendingKind::AskToPublish { room, data }, Ok(Answer::Publish(allowed))) => {
                self.publish_allowed(id, room, data, allowed, out).map_err(ReplyBody::Error)
            }
            (PendingKind::Rpc, Ok(Answer::Rpc(data))) => {
                self.reply(id, ReplyBody::Rpc { data }, out);
                Ok(())
            }
            // The answer is of the kind of its question.
            (_, Ok(_)) => Err(ReplyBody::Error(ErrorCode::Internal)),
        };
        if let Err(failed) = done {
            self.reply(id, failed, out);
        }
        self.advance(out);
    }

    fn was_told_who(
        &mut self,
        id: u32,
        request: ConnectRequest,
        answer: Result<Answer, ReplyBody>,
        out: &mut Vec<Action>,
    ) {
        let who = match answer {
            Ok(Answer::Connect(Some(admitted))) => {
                let Admitted { user, expiry, info, data, rooms, meta } = *admitted;
                match self.ttl_ms(expiry) {
                    Ok(ttl_ms) => Ok(Who { user, info, data, ttl_ms, rooms, meta }),
                    Err(_) => Err(ReplyBody::Error(ErrorCode::Expired)),
                }
            }
            // The backend does not know it; then it is as if nobody had been asked.
            Ok(_) => self.known_without_token().ok_or(ReplyBody::Error(ErrorCode::Unauthorized)),
            Err(failed) => Err(failed),
        };
        match who {
            Ok(who) => self.admit(id, who, request, out),
            Err(failed) => self.reply(id, failed, out),
        }
        self.advance(out);
    }

    fn publish_allowed(
        &mut self,
        id: u32,
        room: RoomName,
        data: Payload,
        mut allowed: Box<Allowed>,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let data = allowed.data.take().unwrap_or(data);
        let options = self.settings.options.options_of(room.as_str())?;
        if !options.publication_data_format.allows(&data) {
            return Err(ErrorCode::BadRequest);
        }
        let is_delta = options.delta_publish || std::mem::take(&mut allowed.delta);
        let mut publication = Publication::new(data, self.info_in(room.as_str()).cloned());
        publication.set_delta(is_delta);
        let tags = std::mem::take(&mut allowed.tags);
        publication.tags = (!tags.is_empty()).then(|| Arc::new(tags));
        let terms = (*allowed != Allowed::default()).then_some(allowed);
        let is_inside = self.rooms.contains(room.as_str());
        let ticket = self.begin_pending(id, PendingKind::Publish { is_inside });
        out.push(Action::Publish { ticket, room, publication, terms });
        Ok(())
    }

    /// The backend has been asked whether the client may stay.
    fn may_stay(&mut self, asked: Stay, answer: Answer, out: &mut Vec<Action>) {
        let (until_ms, info) = match answer {
            Answer::Disconnect { code, reason } => return self.disconnect(code, reason, out),
            Answer::Extended(Some(extended)) => {
                let Extended { expiry, info, meta } = *extended;
                if let (Some(meta), Stay::Connection) = (meta, &asked) {
                    self.stays.set_meta(Some(meta));
                }
                match expiry {
                    Expiry::Past => return self.may_not_stay(asked, out),
                    Expiry::Never => (None, info),
                    Expiry::InMs(ttl_ms) => (Some(self.over_ms(asked.room(), ttl_ms, None)), info),
                }
            }
            Answer::Extended(None) => return self.may_not_stay(asked, out),
            _ => (Some(self.now_ms + ASK_AGAIN_MS + self.spread(asked.room()) % ASK_SPREAD_MS), None),
        };
        match asked {
            Stay::Connection => {
                self.stays.set_connection(until_ms);
                self.set_info(info);
            }
            Stay::Room(room) => {
                let info = self.info_in_room(info);
                self.stays.prolong_room(room, until_ms, info);
            }
        }
    }

    fn may_not_stay(&mut self, asked: Stay, out: &mut Vec<Action>) {
        match asked {
            Stay::Connection => self.close(CloseCode::Expired, out),
            // It has not asked for the room, so that nothing of its own would bring it back.
            Stay::Room(room) if self.stays.is_put_in(&room) => self.close(CloseCode::SubscriptionExpired, out),
            Stay::Room(room) => {
                if let Ok(room) = self.room(&room) {
                    self.command(ServerCommand::Unsubscribe { room, code: UnsubscribeCode::Expired }, out);
                }
            }
        }
    }

    /// Ends the session for a reason of the backend's.
    fn disconnect(&mut self, code: u32, reason: String, out: &mut Vec<Action>) {
        if self.phase != Phase::Closed {
            self.end_now(out, Action::Disconnect { code, reason });
        }
    }
}
