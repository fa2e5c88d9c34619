//! What the tokens come to that a client brings: who it is, which rooms are open to it, and for how long.

use bytes::Bytes;

use super::heartbeat::hash;
use super::stays::RoomStay;
use super::{Action, Identity, Session};
use super::{Pending, PendingKind, Ticket};
use crate::auth::{
    ConnectionToken, Expiry, Fetched, KeysUnavailable, Overrides, RoomClaims, SubscriptionToken, TokenError, WantedKeys,
};
use roomcast_protocol::{ClientInfo, CloseCode, ErrorCode, RefreshResult, ReplyBody, Request, RoomName};

/// How much earlier than at its end the backend may be asked about a stay: that part of its length.
const ASK_EARLY_SHARE: u64 = 10;

/// Over how long those are spread, at most, about whom the backend is asked at the same time.
pub(super) const ASK_SPREAD_MS: u64 = 30_000;

/// The same of those who have brought nothing new: that part of the time that they have for it.
const CLOSE_EARLY_SHARE: u64 = 5;

/// What a good subscription token says, for the room that it was brought for.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) overrides: Overrides,
    pub(super) data: Option<Bytes>,
    /// Until when the client may stay, if not for good.
    pub(super) ttl_s: Option<u32>,
    pub(super) stay: Option<RoomStay>,
}

/// Why a token does not do what it was brought for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is past its time, and another is to be fetched.
    TokenExpired,
    /// It is good, and what it allows has ended before.
    Expired,
    /// It proves nothing.
    Invalid,
    /// It is another's, or another room's: the client is not what it says.
    Foreign,
    /// Its key is not here. These are to be fetched; nothing where that is no use now.
    Unverified(Option<WantedKeys>),
}

impl Session {
    /// Whether a connection token is looked at.
    pub(super) fn verifies_connections(&self) -> bool {
        !self.takes_anybody() || self.settings.tokens.takes_connections()
    }

    /// The same of a subscription token.
    pub(super) fn verifies_subscriptions(&self) -> bool {
        !self.takes_anybody() || self.settings.tokens.takes_subscriptions()
    }

    /// Whether nobody needs a token. One that comes all the same is looked at where there is a key for it.
    fn takes_anybody(&self) -> bool {
        self.settings.ignore_tokens || self.settings.insecure
    }

    /// Who brings this token, and how long the connection may stay, if not for good.
    pub(super) fn connection_token(&self, token: &str) -> Result<(ConnectionToken, Option<u64>), Refused> {
        let token = self.settings.tokens.connection(token).map_err(|error| self.refused(error))?;
        let ttl_ms = self.ttl_ms(token.expiry)?;
        Ok((token, ttl_ms))
    }

    /// What this token says of that room for this client.
    pub(super) fn subscription_token(&self, room: &RoomName, token: &str) -> Result<Opened, Refused> {
        let token = self.settings.tokens.subscription(token).map_err(|error| self.refused(error))?;
        let SubscriptionToken { user, client, room: of, says, expiry } = token;
        let is_ours = user == self.user() && client.is_none_or(|client| client == self.client());
        if !is_ours || of != room.as_str() {
            return Err(Refused::Foreign);
        }
        let ttl_ms = self.ttl_ms(expiry)?;
        Ok(self.opened(room, says, ttl_ms))
    }

    fn refused(&self, error: TokenError) -> Refused {
        match (error, self.keys_fetched) {
            (TokenError::Expired, _) => Refused::TokenExpired,
            (TokenError::Invalid, _) => Refused::Invalid,
            (TokenError::Unverified(wanted), None) => Refused::Unverified(wanted),
            // The issuer was asked for this very token, and does not know its key.
            (TokenError::Unverified(_), Some(Fetched::Now)) => Refused::Invalid,
            (TokenError::Unverified(_), Some(Fetched::Before)) => Refused::Unverified(None),
        }
    }

    /// Lets a command wait until the keys of its token are fetched.
    ///
    /// # Errors
    /// They cannot be had now, which a client is told as a fault of ours: it tries again.
    pub(super) fn await_keys(
        &mut self,
        id: u32,
        request: Request,
        wanted: Option<WantedKeys>,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let wanted = wanted.ok_or(ErrorCode::Internal)?;
        let ticket = self.begin_pending(id, PendingKind::Keys(Box::new(request)));
        out.push(Action::FetchKeys { ticket, wanted });
        Ok(())
    }

    /// Completes [`Action::FetchKeys`]: the command that waits begins again.
    pub(crate) fn keys_fetched(
        &mut self,
        ticket: Ticket,
        fetched: Result<Fetched, KeysUnavailable>,
        out: &mut Vec<Action>,
    ) {
        let Some(Pending { id, kind, ticket }) = self.finish_pending(ticket) else { return };
        let PendingKind::Keys(request) = kind else {
            return self.misused(Pending { ticket, id, kind }, out);
        };
        match fetched {
            Ok(fetched) => {
                self.keys_fetched = Some(fetched);
                match *request {
                    Request::Connect(request) => self.connect(id, request, out),
                    request => self.start(id, request, out),
                }
                self.keys_fetched = None;
            }
            Err(KeysUnavailable) => self.reply(id, ReplyBody::Error(ErrorCode::Internal), out),
        }
        self.advance(out);
    }

    /// The client as a room is shown it that has this info of it, where it has any.
    pub(super) fn info_in_room(&self, info: Option<Bytes>) -> Option<ClientInfo> {
        let (info, of) = info.zip(self.info())?;
        Some(ClientInfo::new(of.user().to_owned(), of.client().to_owned(), of.conn_info().cloned(), Some(info)))
    }

    /// What a token that is good for so long says of a room.
    pub(super) fn opened(&self, room: &RoomName, says: RoomClaims, ttl_ms: Option<u64>) -> Opened {
        let RoomClaims { info, data, overrides, .. } = says;
        let info = self.info_in_room(info);
        // Where the backend is asked, the client has nothing to bring.
        let is_asked = self.sub_refresh_proxy(room.as_str()).is_some();
        let delay_ms = self.settings.expired_sub_close_delay_ms;
        let until_ms = ttl_ms.map(|ttl_ms| self.over_ms(room.as_str(), ttl_ms, (!is_asked).then_some(delay_ms)));
        let says_something = until_ms.is_some() || info.is_some();
        let stay = says_something.then(|| RoomStay { room: room.as_str().into(), until_ms, info, is_put_in: false });
        Opened { overrides, data, ttl_s: ttl_ms.filter(|_| !is_asked).map(seconds), stay }
    }

    pub(super) fn ttl_ms(&self, expiry: Expiry) -> Result<Option<u64>, Refused> {
        match expiry {
            _ if self.settings.insecure => Ok(None),
            Expiry::Never => Ok(None),
            Expiry::InMs(ttl_ms) => Ok(Some(ttl_ms)),
            Expiry::Past => Err(Refused::Expired),
        }
    }

    /// The connection may stay for that long, if not for good.
    pub(super) fn stay_connected(&mut self, ttl_ms: Option<u64>) {
        let delay_ms = (!self.settings.proxies.refresh).then_some(self.settings.expired_close_delay_ms);
        let until_ms = ttl_ms.map(|ttl_ms| self.over_ms("", ttl_ms, delay_ms));
        self.stays.set_connection(until_ms);
    }

    /// When a stay is over that is good for `ttl_ms`: of a client that is to bring something new, when it has not within `delay_ms` after
    /// that; without that the backend is asked, before it. Many may have been given the same end. Neither are all of them asked about at
    /// once nor are they all closed at once: each is somewhat earlier, by its id.
    pub(super) fn over_ms(&self, room: &str, ttl_ms: u64, delay_ms: Option<u64>) -> u64 {
        let (latest_ms, spread_ms) = match delay_ms {
            Some(delay_ms) => (ttl_ms + delay_ms, delay_ms / CLOSE_EARLY_SHARE),
            None => (ttl_ms, (ttl_ms / ASK_EARLY_SHARE).min(ASK_SPREAD_MS)),
        };
        self.now_ms + latest_ms - self.spread(room) % (spread_ms + 1)
    }

    /// A number by which clients, and rooms of each, are spread.
    pub(super) fn spread(&self, room: &str) -> u64 {
        hash(self.client()).wrapping_add(hash(room))
    }

    /// What the client is told of how long it may stay: nothing where the backend is asked, for then it has nothing to bring.
    pub(super) fn told_ttl_s(&self, ttl_ms: Option<u64>) -> Option<u32> {
        ttl_ms.filter(|_| !self.settings.proxies.refresh).map(seconds)
    }

    /// Takes over what is known of the client, if something else is.
    pub(super) fn set_info(&mut self, info: Option<Bytes>) {
        if info.is_some()
            && let Identity::Known(known) = &mut self.who
        {
            *known = ClientInfo::new(known.user().to_owned(), known.client().to_owned(), info, None);
        }
    }

    /// A new connection token.
    pub(super) fn refresh(&mut self, id: u32, token: &str, out: &mut Vec<Action>) -> Result<(), ErrorCode> {
        let mut ttl_s = None;
        if self.verifies_connections() {
            if token.is_empty() {
                return Err(ErrorCode::BadRequest);
            }
            let refused = match self.connection_token(token) {
                Ok((token, _)) if token.user != self.user() => Some(CloseCode::InvalidToken),
                // It comes again, and is put into other rooms.
                Ok((token, _)) if !self.stays.is_granted(&token.rooms) => Some(CloseCode::InsufficientState),
                Ok((token, ttl_ms)) => {
                    self.stay_connected(ttl_ms);
                    ttl_s = self.told_ttl_s(ttl_ms);
                    self.set_info(token.info);
                    if token.meta.is_some() {
                        self.stays.set_meta(token.meta);
                    }
                    None
                }
                Err(Refused::Unverified(wanted)) => {
                    let request = Request::Refresh { token: token.to_owned() };
                    return self.await_keys(id, request, wanted, out);
                }
                Err(Refused::TokenExpired | Refused::Expired) => Some(CloseCode::Expired),
                Err(Refused::Invalid | Refused::Foreign) => Some(CloseCode::InvalidToken),
            };
            if let Some(code) = refused {
                self.close(code, out);
                return Ok(());
            }
        }
        // Who it is has been said by the reply to `connect`.
        self.reply(id, ReplyBody::Refresh(RefreshResult { ttl_s, ..RefreshResult::default() }), out);
        Ok(())
    }

    /// A new subscription token.
    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        room: &str,
        token: &str,
        out: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let verifies = self.verifies_subscriptions();
        if verifies && token.is_empty() {
            return Err(ErrorCode::BadRequest);
        }
        let room = self.room(room)?;
        if !self.rooms.contains(room.as_str()) {
            return Err(ErrorCode::PermissionDenied);
        }
        let mut ttl_s = None;
        if verifies {
            match self.subscription_token(&room, token) {
                Ok(opened) => {
                    ttl_s = opened.ttl_s;
                    match opened.stay {
                        // Who was put in, and by whom, is as it was.
                        Some(stay) => {
                            let is_put_in = self.stays.is_put_in(room.as_str());
                            self.stays.set_room(RoomStay { is_put_in, ..stay });
                        }
                        None => self.stays.forget_room(room.as_str()),
                    }
                }
                Err(Refused::TokenExpired) => {
                    // A plain one would have SDKs give up the room; they fetch another token after this.
                    self.reply(id, ReplyBody::Temporary(ErrorCode::TokenExpired), out);
                    return Ok(());
                }
                Err(Refused::Expired) => return Err(ErrorCode::Expired),
                Err(Refused::Unverified(wanted)) => {
                    let request = Request::SubRefresh { room: room.as_str().to_owned(), token: token.to_owned() };
                    return self.await_keys(id, request, wanted, out);
                }
                Err(Refused::Invalid | Refused::Foreign) => {
                    self.close(CloseCode::InvalidToken, out);
                    return Ok(());
                }
            }
        }
        self.reply(id, ReplyBody::SubRefresh { ttl_s }, out);
        Ok(())
    }
}

/// Whole seconds, as the wire has them; what has not ended has one left.
pub(super) fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX)
}
