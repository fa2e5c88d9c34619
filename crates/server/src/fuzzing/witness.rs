//! Watches a session, and knows what it may do next.

use std::collections::{BTreeSet, VecDeque};

use super::commands::{assert_json, assert_protobuf};
use crate::callbacks::Event;
use crate::config::RecoveryMode;
use crate::session::{Action, Recover, Session, Subscribed};
use roomcast_protocol::{
    CloseCode, Command, Encoding, ErrorCode, Limits, Push, Reply, ReplyBody, Request, RoomName, SubscribeResult,
};

/// What the session was made with.
pub(super) struct Rules {
    pub(super) limits: Limits,
    pub(super) allow_anonymous: bool,
    pub(super) ignore_tokens: bool,
    pub(super) pings: bool,
    /// How many rooms the client is put into.
    pub(super) put_in: usize,
    /// Whether the backend says who a client is that brings no token, and is asked in some rooms.
    pub(super) asks: bool,
    /// The token whose key is to be fetched, and is not known then either.
    pub(super) fetches_for: Option<&'static str>,
}

pub(super) struct Witness {
    rules: Rules,
    /// The ids of commands that have not been answered, in their order; none for those that are not answered at all.
    unanswered: VecDeque<Option<u32>>,
    under_way: Option<Action>,
    /// What the backend is asked while the client goes on.
    aside: Vec<Action>,
    /// Whether it is being found out who the client is.
    is_asked_who: bool,
    /// Rooms that were entered, with what was asked of their past and what was found, until the client is told.
    entered: Vec<Entered>,
    /// Rooms of which the client has just been told that it is in them.
    told: VecDeque<RoomName>,
    /// Rooms whose pushes may be written.
    live: BTreeSet<RoomName>,
    /// Whether a connect command was taken, and whether it was answered.
    is_open: bool,
    is_connected: bool,
    is_closed: bool,
    /// Whether a ping waits for its pong.
    is_pinged: bool,
    /// Whether the session read before time passed.
    was_reading: bool,
    /// Whether what has been said leaves it no choice, once what was said before has been answered.
    must_close: bool,
    /// How many rooms the client has named in its connect command.
    named: usize,
    must_push: bool,
}

struct Entered {
    room: RoomName,
    recover: Option<Recover>,
    found: Subscribed,
}

impl Witness {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            unanswered: VecDeque::new(),
            under_way: None,
            aside: Vec::new(),
            is_asked_who: false,
            entered: Vec::new(),
            told: VecDeque::new(),
            live: BTreeSet::new(),
            is_open: false,
            is_connected: false,
            is_closed: false,
            is_pinged: false,
            was_reading: true,
            must_close: false,
            named: 0,
            must_push: false,
        }
    }

    /// How many completions there can be before everything is answered.
    pub(super) fn unanswered(&self) -> usize {
        // Leaving a room again counts as well, and what the backend or an issuer says before.
        4 * self.unanswered.len() + self.rules.put_in + self.named
    }

    /// The client says this.
    pub(super) fn said(&mut self, encoding: Encoding, frame: &[u8]) {
        if self.must_close {
            return;
        }
        let Ok(commands) = encoding.commands(frame, &self.rules.limits) else {
            self.must_close = true;
            return;
        };
        for command in commands {
            let Ok(Command { id, request }) = command else {
                self.must_close = true;
                return;
            };
            match &request {
                Request::Connect(connect) if !self.is_open && !self.is_asked_who => {
                    let has_token = !connect.token.is_empty() && !self.rules.ignore_tokens;
                    let is_fetched = self.rules.fetches_for.is_some_and(|token| connect.token == token);
                    self.is_asked_who = if has_token { is_fetched } else { self.rules.asks };
                    self.is_open = self.rules.allow_anonymous && !has_token && !self.is_asked_who;
                    self.named += connect.subs.len();
                }
                // It may be tried again.
                Request::Unreadable { is_connect: true } if !self.is_open && !self.is_asked_who => {}
                // Nothing else may come first, and it may not come again.
                _ if !self.is_open && !self.is_asked_who
                    || matches!(request, Request::Connect(_) | Request::Unreadable { is_connect: true }) =>
                {
                    self.must_close = true;
                }
                // Without a ping before it, it is no pong.
                Request::Pong if self.is_asked_who => self.must_close = true,
                Request::Pong => self.must_close |= !std::mem::take(&mut self.is_pinged),
                _ => {}
            }
            if self.must_close {
                return;
            }
            match request {
                Request::Pong => {}
                Request::Send { .. } => self.unanswered.push_back(None),
                _ => self.unanswered.push_back(Some(id)),
            }
        }
    }

    /// The client is about to be put out of a room; it has to be in it or to be far from it.
    pub(super) fn expelled(&mut self, room: &str) -> bool {
        self.must_push = self.live.contains(room);
        self.entered.iter().all(|entered| entered.room.as_str() != room)
    }

    /// Time is about to pass.
    pub(super) fn waited(&mut self, session: &Session) {
        self.was_reading = session.wants_frames();
    }

    /// Takes the action that waits for its completion.
    pub(super) fn land(&mut self) -> Option<Action> {
        self.under_way.take()
    }

    /// The same of one that nobody waits for.
    pub(super) fn land_aside(&mut self) -> Option<Action> {
        self.aside.pop()
    }

    /// It is about to be known who the client is, if somebody says so.
    pub(super) fn was_told_who(&mut self, is_admitted: bool) {
        if std::mem::take(&mut self.is_asked_who) {
            self.is_open = is_admitted;
            // What was said behind that relied on it.
            self.must_close |= !is_admitted && self.unanswered.len() > 1;
        }
    }

    /// So many more rooms the client is put into.
    pub(super) fn puts_in(&mut self, more: usize) {
        self.named += more;
    }

    /// Whether there is something that nobody waits for.
    pub(super) fn has_asides(&self) -> bool {
        !self.aside.is_empty()
    }

    /// The action is about to be completed: the room was entered.
    pub(super) fn entered(&mut self, action: &Action, found: &Subscribed) {
        if let Action::Subscribe { room, recover, .. } = action {
            self.entered.push(Entered { room: room.clone(), recover: recover.clone(), found: found.clone() });
        }
    }

    /// What the session has made of it.
    pub(super) fn saw(&mut self, session: &Session, actions: Vec<Action>) {
        let (replies, put_in) = (self.unanswered.len(), self.rules.put_in + self.named);
        let asides = actions.iter().filter(|action| is_aside(action)).count();
        assert!(asides <= self.live.len() + 1, "{asides} questions about {} rooms", self.live.len());
        assert!(
            actions.len() - asides <= 2 * replies + put_in + 2,
            "{replies} commands led to {} actions",
            actions.len()
        );
        for action in actions {
            assert!(!self.is_closed, "{action:?} after the close");
            let goes_on =
                matches!(action, Action::Ping | Action::Push(_) | Action::Close(_) | Action::Disconnect { .. });
            let waits = self.under_way.is_some() && !goes_on && !is_aside(&action);
            assert!(!waits, "{action:?} while {:?} is under way", self.under_way);
            let is_activation = matches!(action, Action::Activate { .. });
            assert!(is_activation || self.told.is_empty(), "{action:?}, but {:?} are not live", self.told);
            self.one(action);
        }
        assert!(self.told.is_empty(), "{:?} are not live", self.told);
        assert_eq!(session.is_closed(), self.is_closed);
        let is_busy = self.under_way.is_some();
        assert!(self.is_closed || !self.must_close || is_busy, "what was said should have ended it: {session:?}");
        assert!(self.is_closed || !self.must_push, "the client is not told that it is out of a room");
        if self.is_closed {
            assert!(!session.wants_frames() && session.deadline_ms().is_none() && session.info().is_none());
            self.unanswered.clear();
            self.under_way = None;
            self.aside.clear();
            self.is_asked_who = false;
            return;
        }
        self.pass_over();
        assert!(self.under_way.is_some() || self.unanswered.is_empty(), "a command waits for nothing: {session:?}");
        let reads = self.unanswered.len() <= 1 && !self.must_close;
        assert_eq!(session.wants_frames(), reads, "it reads unless commands or the end wait: {session:?}");
        let waiting = self.unanswered.len().saturating_sub(1);
        assert!(waiting <= self.rules.limits.commands_per_frame_max, "{waiting} commands wait");
        assert!(self.live.len() <= self.rules.limits.rooms_per_client_max.max(self.rules.put_in));
        assert!(session.deadline_ms().is_some() || !self.rules.pings, "no clock: {session:?}");
        assert!(session.info().is_some() || !self.is_connected);
    }

    fn one(&mut self, action: Action) {
        match action {
            Action::Reply(reply) => self.reply(reply),
            Action::Push(push) => self.push(&push),
            // Otherwise nobody has a user.
            Action::Identify => assert!(self.rules.asks, "a client without a user is made known"),
            Action::Supersede => panic!("users may connect more than once"),
            Action::Disconnect { .. } => {
                assert!(self.rules.asks, "there is no backend: {action:?}");
                self.is_closed = true;
            }
            Action::Ask { ref question, .. } => {
                assert!(self.rules.asks, "there is no backend: {action:?}");
                let is_connect = matches!(question.event, Event::Connect { .. });
                assert_eq!(is_connect, self.is_asked_who, "{action:?}");
                assert!(is_connect != self.is_open, "{action:?}");
                if is_aside(&action) { self.aside.push(action) } else { self.under_way = Some(action) }
            }
            Action::Ping => {
                assert!(self.rules.pings && !self.is_pinged, "a second ping before the pong");
                self.is_pinged = true;
            }
            Action::Close(code) => {
                let is_due = match code {
                    CloseCode::BadRequest => self.must_close,
                    CloseCode::InvalidToken => !self.rules.ignore_tokens,
                    CloseCode::TooManyRequests => self.unanswered.len() > self.rules.limits.commands_per_frame_max + 1,
                    CloseCode::NoPong => self.is_pinged && self.was_reading,
                    CloseCode::Stale => !self.is_open && !self.is_asked_who,
                    // By the backend.
                    CloseCode::Expired | CloseCode::RoomLimit => self.rules.asks,
                    CloseCode::TooManyErrors => !self.rules.ignore_tokens,
                    // Said from outside, or a room the client relies on is not there.
                    _ => matches!(code, CloseCode::Closed | CloseCode::ServerError),
                };
                assert!(is_due, "closed with {code:?} for nothing");
                self.is_closed = true;
            }
            Action::Activate { room, .. } => {
                assert_eq!(self.told.pop_front(), Some(room.clone()));
                assert!(self.live.insert(room), "entered twice");
            }
            Action::Unsubscribe { ref room, .. } => {
                let is_rejected = self.entered.pop().is_some_and(|entered| entered.room == *room);
                assert!(self.live.remove(room) != is_rejected, "{action:?} of a room the client is not in");
                self.under_way = Some(action);
            }
            Action::Subscribe { ref room, .. } => {
                assert!(!self.live.contains(room), "{action:?} of a room the client is in");
                self.under_way = Some(action);
            }
            // Of a token that a stranger brings, too.
            Action::FetchKeys { .. } => self.under_way = Some(action),
            Action::Publish { .. }
            | Action::History { .. }
            | Action::Presence { .. }
            | Action::PresenceStats { .. } => {
                assert!(self.is_connected, "{action:?} for a stranger");
                self.under_way = Some(action);
            }
        }
    }

    /// What is not answered is done as soon as nothing is before it.
    fn pass_over(&mut self) {
        while self.unanswered.front().is_some_and(Option::is_none) {
            self.unanswered.pop_front();
        }
    }

    fn reply(&mut self, reply: Reply) {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            assert_encoded(encoding, |out| encoding.encode_reply(&reply, out));
        }
        self.pass_over();
        assert_eq!(self.unanswered.pop_front(), Some(Some(reply.id)), "{:?}", reply.body);
        match reply.body {
            ReplyBody::Connect(result) => {
                assert!(!std::mem::replace(&mut self.is_connected, true), "connected twice");
                assert!((self.rules.put_in..=self.rules.put_in + self.named).contains(&result.subs.len()));
                for (room, result) in &result.subs {
                    self.told(room, result);
                }
                assert!(self.entered.is_empty());
            }
            ReplyBody::Subscribe(result) => {
                let room = self.entered.last().expect("a room was entered").room.clone();
                self.told(&room, &result);
            }
            ReplyBody::Error(ErrorCode::Unauthorized | ErrorCode::BadRequest | ErrorCode::Internal) => {}
            ReplyBody::Failed(error) => assert!(self.rules.asks, "{error:?}"),
            ReplyBody::Error(error) => assert!(self.is_connected, "{error:?}"),
            other => assert!(self.is_connected, "{other:?} to a stranger"),
        }
    }

    /// The client is told that it is in a room, and how it stands there.
    fn told(&mut self, room: &RoomName, result: &SubscribeResult) {
        let Entered { room: entered, recover, found: Subscribed { top, found } } = self.entered.remove(0);
        assert_eq!(entered, *room);
        self.told.push_back(entered);
        assert!(result.was_recovering || recover.is_none());
        assert_eq!(result.position.is_some(), result.positioned);
        let Some(Recover { position, mode, .. }) = recover.filter(|_| result.recovered) else {
            assert!(!result.recovered && result.publications.is_empty(), "nothing was recovered");
            assert!(result.position.iter().all(|told| *told == top));
            return;
        };
        // What it was asked for, in the incarnation that the room is in.
        assert!(result.position.iter().all(|told| told.offset == position.offset && told.epoch == top.epoch));
        let offsets: Vec<u64> = result.publications.iter().map(|placed| placed.offset).collect();
        match mode {
            RecoveryMode::Stream => {
                assert!(position.epoch.is_empty() || position.epoch == top.epoch, "recovered from another incarnation");
                assert!(offsets.len() <= self.rules.limits.recovery_publications_max);
                let missed = top.offset.checked_sub(position.offset).expect("recovered from the future");
                assert_eq!(offsets.len() as u64, missed);
                assert!(
                    offsets.iter().rev().zip(0..).all(|(&offset, back)| offset == top.offset - back),
                    "{offsets:?}"
                );
            }
            RecoveryMode::Cache => {
                let is_known = position.offset > 0 && position == top;
                assert!(is_known || found.last().map(|placed| placed.offset) == Some(top.offset));
                assert!(offsets.last().is_none_or(|&newest| newest == top.offset), "{offsets:?} is not the newest");
            }
        }
    }

    fn push(&mut self, push: &Push) {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            assert_encoded(encoding, |out| encoding.encode_push(push, out));
        }
        let Push::Unsubscribe { room, .. } = push else { panic!("{push:?} out of nothing") };
        assert!(self.live.remove(room), "{push:?} of a room the client is not in");
        assert!(std::mem::take(&mut self.must_push), "{push:?} out of nothing");
    }

    /// All that was asked has been answered.
    pub(super) fn ended(&self) {
        assert!(self.under_way.is_none() && self.unanswered.is_empty(), "{:?} are not answered", self.unanswered);
    }
}

/// Whether nobody waits for it.
fn is_aside(action: &Action) -> bool {
    matches!(action, Action::Ask { question, .. } if matches!(question.event, Event::Refresh | Event::SubRefresh { .. }))
}

fn assert_encoded(encoding: Encoding, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut out = Vec::new();
    encode(&mut out);
    match encoding {
        Encoding::Json | Encoding::JsonPushes => assert_json(&out),
        Encoding::Protobuf => assert_protobuf(&out),
    }
}
