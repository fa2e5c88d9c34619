//! A session, driven by the bytes of an input: what its client says, how the world answers, how time passes.

use std::collections::HashMap;
use std::sync::Arc;

use super::rewrite::write;
use super::source::Source;
use super::witness::{Rules, Witness};
use crate::auth::{Expiry, Fetched, KeysUnavailable, RoomClaims, Tokens};
use crate::callbacks::{Admitted, Allowed, Answer as Told, Entry, Event, Extended};
use crate::config::{Config, JwksEndpoint, NamespaceOptions, RecoveryMode};
use crate::session::settings::ByNamespace;
use crate::session::{Action, Ids, Session, Settings, Subscribed};
use roomcast_protocol::{
    ClientInfo, CloseCode, Command, ConnectRequest, CustomError, Encoding, ErrorCode, FilterWish, HistoryRequest,
    HistoryResult, Payload, Placed, PresenceStats, Publication, PublishRequest, Request, RoomName, RpcRequest,
    StreamPosition, SubscribeRequest, UnsubscribeCode,
};

/// Where the clock starts.
const START_MS: u64 = 1_000_000;
/// Names that clients use; the namespaces have rules of their own, and not all are names of rooms.
const ROOMS: [&str; 13] = [
    "a",
    "b",
    "c",
    "news",
    "cache:a",
    "asks:a",
    "shut:a",
    "none:a",
    "bare:a",
    "$private",
    "",
    "line\nbreak",
    "$cache:a",
];
/// A token whose key nobody has: header, claims and a signature in their form.
const FOREIGN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.eyJzdWIiOiI0MiJ9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Steps of one course: longer inputs say nothing new.
const STEPS_MAX: usize = 512;

pub(super) fn check(input: &[u8]) {
    let mut source = Source::new(input);
    let mut course = Course::new(&mut source);
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        course.step(&mut source);
    }
    course.finish();
}

struct Course {
    session: Session,
    encoding: Encoding,
    /// Whether frames come although the session has asked not to be given any.
    is_pushy: bool,
    now_ms: u64,
    next_id: u32,
    /// Commands that wait to be sent as one frame.
    frame: Vec<u8>,
    /// The action that was completed last, to be completed once more.
    settled: Option<Action>,
    witness: Witness,
    allows_anonymous: bool,
}

impl Course {
    fn new(source: &mut Source<'_>) -> Self {
        let (bits, more) = (source.byte(), source.byte());
        let mut settings = Settings::new("node".to_owned(), Box::new(options(false)), Tokens::none());
        settings.allow_anonymous = bits & 3 != 3;
        settings.trust_display_names = bits & 4 != 0;
        settings.ignore_tokens = bits & 8 == 0;
        let asks = more & 32 != 0;
        if asks {
            settings.options = Box::new(options(true));
            settings.proxies.connect = true;
            settings.proxies.refresh = more & 64 != 0;
            settings.proxies.rpc.without_namespace.proxy_enabled = true;
        }
        let fetches = more & 128 != 0;
        if fetches {
            settings.tokens = of_an_issuer();
        }
        (settings.ping_interval_ms, settings.pong_timeout_ms) =
            [(25_000, 8_000), (1_000, 900), (0, 8_000), (7, 1)][usize::from(bits >> 4) & 3];
        settings.limits.commands_per_frame_max = [1_024, 3][usize::from(more) & 1];
        settings.limits.rooms_per_client_max = [128, 2][usize::from(more >> 1) & 1];
        settings.limits.recovery_publications_max = [300, 2][usize::from(more >> 2) & 1];
        let put_in = ["news", "cache:a", "shut:a"];
        let names = put_in[..usize::from(more >> 3) & 3].iter().filter_map(|name| RoomName::parse(name, 255).ok());
        settings.subscribe_on_connect = names.collect();
        let rules = Rules {
            limits: settings.limits,
            allow_anonymous: settings.allow_anonymous,
            ignore_tokens: settings.ignore_tokens && !fetches,
            asks,
            fetches_for: fetches.then_some(FOREIGN),
            pings: settings.ping_interval_ms > 0,
            put_in: settings.subscribe_on_connect.len(),
        };
        let allows_anonymous = settings.allow_anonymous;
        let ids = Ids { client: "client".to_owned(), session: "secret".to_owned(), user: None };
        Self {
            session: Session::new(Arc::new(settings), ids, START_MS),
            encoding: if bits & 64 == 0 { Encoding::Json } else { Encoding::Protobuf },
            is_pushy: bits & 128 != 0,
            now_ms: START_MS,
            next_id: 1,
            frame: Vec::new(),
            settled: None,
            witness: Witness::new(rules),
            allows_anonymous,
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.byte() % 16 {
            0..=6 => {
                let command = self.command(source);
                write(self.encoding, &command, &mut self.frame);
                let is_last = source.byte() & 3 != 0;
                if is_last {
                    self.send();
                }
            }
            7 => {
                let length = source.byte().into();
                self.frame = source.take(length).to_vec();
                self.send();
            }
            8..=11 => self.complete(source, true),
            12 => self.complete(source, false),
            13 => self.disturb(source),
            14 => self.wait(u64::from(source.word())),
            _ => self.wait(self.session.deadline_ms().unwrap_or(self.now_ms).saturating_sub(self.now_ms)),
        }
    }

    fn command(&mut self, source: &mut Source<'_>) -> Command {
        let id = match source.byte() % 16 {
            0 => 0,
            1 => source.word().into(),
            _ => self.next_id,
        };
        self.next_id += 1;
        Command { id, request: request(source) }
    }

    /// Sends the frame, unless the session does not read.
    fn send(&mut self) {
        if !self.is_pushy && !self.session.wants_frames() {
            return;
        }
        let (encoding, frame) = (self.encoding, std::mem::take(&mut self.frame));
        self.witness.said(encoding, &frame);
        self.act(|session, now_ms, out| session.receive_frame(encoding, &frame, now_ms, out));
    }

    /// Completes the action that is under way.
    fn complete(&mut self, source: &mut Source<'_>, good: bool) {
        let is_aside = self.witness.has_asides() && source.byte() & 1 != 0;
        let landed = if is_aside { self.witness.land_aside() } else { self.witness.land() };
        let Some(action) = landed else { return };
        let answer = Answer::new(source, good);
        if good {
            self.witness.entered(&action, &answer.subscribed);
        }
        match &action {
            Action::FetchKeys { .. } => self.witness.was_told_who(false),
            Action::Ask { question, .. } => match answer.of_the_backend(&question.event) {
                Told::Connect(admitted) => {
                    self.witness.puts_in(admitted.as_ref().map_or(0, |admitted| admitted.rooms.len()));
                    self.witness.was_told_who(admitted.is_some() || self.allows_anonymous);
                }
                _ if matches!(question.event, Event::Connect { .. }) => self.witness.was_told_who(false),
                _ => {}
            },
            _ => {}
        }
        self.act(|session, _, out| answer.give(session, &action, out));
        self.settled = Some(action);
    }

    /// Lets something happen that nobody has waited for.
    fn disturb(&mut self, source: &mut Source<'_>) {
        match source.byte() % 16 {
            0..=7 => {
                let room = source.one_of(&ROOMS);
                let code = source.one_of(&[UnsubscribeCode::Server, UnsubscribeCode::InsufficientState]);
                if self.witness.expelled(room) {
                    self.act(|session, _, out| session.expelled(room, code, out));
                }
            }
            8..=14 => {
                // An answer that comes twice is passed over.
                let Some(action) = self.settled.clone() else { return };
                let answer = Answer::new(source, true);
                self.act(|session, _, out| {
                    answer.give(session, &action, out);
                    assert!(out.is_empty(), "{action:?} was completed twice, and that led to {out:?}");
                });
            }
            _ => self.act(|session, _, out| session.close(CloseCode::ServerError, out)),
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.witness.waited(&self.session);
        self.act(|session, now_ms, out| session.tick(now_ms, out));
        let due_ms = self.session.deadline_ms();
        assert!(
            due_ms.is_none_or(|due_ms| due_ms > self.now_ms),
            "a clock that is due again at once: {:?}",
            self.session
        );
    }

    fn act(&mut self, act: impl FnOnce(&mut Session, u64, &mut Vec<Action>)) {
        let mut out = Vec::new();
        act(&mut self.session, self.now_ms, &mut out);
        self.witness.saw(&self.session, out);
    }

    /// Answers whatever is asked of the world, until the client has all its replies.
    fn finish(mut self) {
        let mut source = Source::new(&[]);
        self.is_pushy = false;
        if !self.frame.is_empty() {
            self.send();
        }
        for _ in 0..=self.witness.unanswered() {
            self.complete(&mut source, true);
        }
        self.witness.ended();
        self.act(|session, _, out| session.close(CloseCode::Closed, out));
        self.act(|session, now_ms, out| session.tick(now_ms + 1_000_000, out));
        assert!(self.session.is_closed());
    }
}

fn request(source: &mut Source<'_>) -> Request {
    let room = source.one_of(&ROOMS).to_owned();
    let data = |source: &mut Source<'_>| source.one_of(&["1", "{\"name\":\" Ann \"}", "null", "\"\\ud800\""]);
    match source.byte() % 20 {
        0..=3 => {
            let bits = source.byte();
            Request::Subscribe(SubscribeRequest {
                room,
                token: token(bits),
                recover: bits & 16 != 0,
                position: position(source),
                positioned: bits & 1 != 0,
                recoverable: bits & 2 != 0,
                join_leave: bits & 4 != 0,
                flag: u64::from(bits >> 5 & 3),
                kind: i32::from(bits == 255),
                filter: if bits == 254 { FilterWish::Malformed } else { FilterWish::None },
                ..SubscribeRequest::default()
            })
        }
        4..=6 => Request::Unsubscribe { room },
        7 | 8 => {
            let data = Payload::json(data(source).into());
            Request::Publish(PublishRequest { room, data: Some(data), is_map: source.byte() == 255 })
        }
        9 => {
            let (limit, reverse) = (i32::from(source.byte().cast_signed()), source.byte() & 1 != 0);
            let since = (source.byte() & 1 != 0).then(|| position(source));
            Request::History(HistoryRequest { room, limit, since, reverse })
        }
        10 => Request::Presence { room },
        11 => Request::PresenceStats { room },
        12 => Request::Ping,
        13 => Request::Pong,
        14 => Request::Send { data: data(source).into() },
        15 => Request::Rpc(RpcRequest { method: room, data: None }),
        16 => Request::Refresh { token: "token".to_owned() },
        17 => Request::SubRefresh { room, token: "token".to_owned() },
        18 if source.byte() & 3 == 3 => Request::Unreadable { is_connect: source.byte() & 1 != 0 },
        18 => Request::Unknown,
        _ => {
            let bits = source.byte();
            Request::Connect(ConnectRequest {
                token: token(bits),
                data: (bits & 16 != 0).then(|| "{\"name\":\"\\u0007Ann\"}".into()),
                subs: subs(source, bits >> 5),
                ..ConnectRequest::default()
            })
        }
    }
}

fn token(bits: u8) -> String {
    let token = match bits & 15 {
        15 => "token",
        14 => FOREIGN,
        _ => "",
    };
    token.to_owned()
}

/// Tokens whose keys are an issuer's, of which none is here.
fn of_an_issuer() -> Tokens {
    let mut client = Config::default().client;
    client.token.jwks_public_endpoint = JwksEndpoint::read("https://id.example/keys").ok();
    Tokens::new(&client, || 0)
}

fn position(source: &mut Source<'_>) -> StreamPosition {
    let offset = source.one_of(&[0, 1, 2, 3, 7, u64::MAX]);
    StreamPosition { offset, epoch: source.one_of(&["", "e", "other"]).to_owned() }
}

/// Rooms that a client names when it connects, some of them twice.
fn subs(source: &mut Source<'_>, count: u8) -> Vec<(String, Option<StreamPosition>)> {
    let sub = |source: &mut Source<'_>| {
        let room = source.one_of(&ROOMS).to_owned();
        (room, (source.byte() & 1 != 0).then(|| position(source)))
    };
    (0..count).map(|_| sub(source)).collect()
}

/// The world's answer to an action, whichever it is.
struct Answer {
    result: Result<(), ErrorCode>,
    subscribed: Subscribed,
}

impl Answer {
    fn new(source: &mut Source<'_>, good: bool) -> Self {
        let error = source.one_of(&[ErrorCode::Internal, ErrorCode::UnknownRoom, ErrorCode::TooManyRequests]);
        let top = source.one_of(&[0, 1, 3, 7, u64::MAX]);
        let first = source.one_of(&[1, 2, 3, 7, u64::MAX - 1]);
        let found = (first..=top).take(4).filter(|_| source.byte() & 7 != 7).map(placed).collect();
        let epoch = source.one_of(&["e", "e", "e", "other"]).to_owned();
        let subscribed = Subscribed { top: StreamPosition { offset: top, epoch }, found };
        Self { result: if good { Ok(()) } else { Err(error) }, subscribed }
    }

    /// What the backend says to that.
    fn of_the_backend(&self, event: &Event) -> Told {
        match self.result {
            Ok(()) => {}
            Err(ErrorCode::Internal) => return Told::Failed,
            Err(ErrorCode::UnknownRoom) => {
                let (code, message, temporary) = (1_000, "no".to_owned(), false);
                return Told::Error(Box::new(CustomError { code, message, temporary }));
            }
            Err(_) => return Told::Disconnect { code: 4_000, reason: "go".to_owned() },
        }
        let which = self.subscribed.top.offset % 8;
        let expiry = [Expiry::Never, Expiry::InMs(1), Expiry::InMs(5_000)][self.subscribed.found.len() % 3];
        match event {
            Event::Connect { .. } if which == 3 => Told::Connect(None),
            Event::Connect { .. } => {
                let user = if which == 1 { "42" } else { "" }.to_owned();
                let rooms = if which == 7 { vec![("b".to_owned(), RoomClaims::default())] } else { Vec::new() };
                let meta = (which > 0).then(|| "1".into());
                Told::Connect(Some(Box::new(Admitted { user, expiry, info: None, data: None, rooms, meta })))
            }
            Event::Refresh if which == 3 => Told::Extended(None),
            Event::Refresh | Event::SubRefresh { .. } => {
                Told::Extended(Some(Box::new(Extended { expiry, info: Some("2".into()), meta: None })))
            }
            Event::Subscribe { .. } => {
                let expiry = if which == 3 { Expiry::Past } else { expiry };
                let info = (which > 0).then(|| "3".into());
                Told::Subscribe(Box::new(Entry { says: RoomClaims { info, ..RoomClaims::default() }, expiry }))
            }
            Event::Publish { .. } => {
                let data = (which > 0).then(|| Payload::json("4".into()));
                Told::Publish(Box::new(Allowed { data, ..Allowed::default() }))
            }
            Event::Rpc { .. } => Told::Rpc((which > 0).then(|| "5".into())),
        }
    }

    fn give(&self, session: &mut Session, action: &Action, out: &mut Vec<Action>) {
        let Self { result, subscribed } = self;
        match action {
            Action::Subscribe { ticket, .. } => session.subscribed(*ticket, result.map(|()| subscribed.clone()), out),
            Action::Unsubscribe { ticket, .. } => session.unsubscribed(*ticket, out),
            Action::Publish { ticket, .. } => session.published(*ticket, *result, out),
            Action::History { ticket, .. } => {
                let Subscribed { top, found } = subscribed.clone();
                session.history(*ticket, result.map(|()| HistoryResult::new(found, top)), out);
            }
            Action::Presence { ticket, .. } => {
                let info = ClientInfo::new(String::new(), "other".to_owned(), None, None);
                session.presence(*ticket, result.map(|()| vec![info]), out);
            }
            Action::PresenceStats { ticket, .. } => {
                session.presence_stats(*ticket, result.map(|()| PresenceStats { clients: 2, users: 1 }), out);
            }
            Action::Ask { ticket, question } => {
                session.answered(*ticket, self.of_the_backend(&question.event), out);
            }
            Action::FetchKeys { ticket, .. } => {
                session.keys_fetched(*ticket, result.map(|()| Fetched::Now).map_err(|_| KeysUnavailable), out);
            }
            other => panic!("{other:?} is not completed"),
        }
    }
}

fn placed(offset: u64) -> Placed {
    Placed { offset, time_ms: 0, publication: Publication::new(Payload::json("1".into()), None) }
}

/// The options of a room by its namespace: all is allowed, but for "shut" (nothing), "asks" (what has to be asked for is not
/// forced), "bare" (keeps nothing) and "none" (is not there). Where the backend is asked, it is in "asks" and "cache".
fn options(backend: bool) -> ByNamespace {
    let open = NamespaceOptions { history_size: 100, allow_user_limited_channels: true, ..NamespaceOptions::dev() };
    let asks = NamespaceOptions {
        force_push_join_leave: false,
        force_recovery: false,
        force_positioning: false,
        allow_publish_for_client: false,
        allow_history_for_client: false,
        allow_presence_for_client: false,
        ..open.clone()
    };
    let open_to = |options: NamespaceOptions| NamespaceOptions {
        subscribe_proxy_enabled: backend,
        publish_proxy_enabled: backend,
        sub_refresh_proxy_enabled: backend,
        ..options
    };
    let cache = NamespaceOptions { force_recovery_mode: RecoveryMode::Cache, ..open.clone() };
    let rooms = HashMap::from([
        ("shut", NamespaceOptions { history_size: 1, presence: true, ..NamespaceOptions::default() }),
        ("asks", open_to(asks)),
        ("cache", open_to(cache)),
        ("bare", NamespaceOptions { history_size: 0, presence: false, ..open.clone() }),
    ]);
    ByNamespace { rooms, others: open }
}
