//! A session: one client's side of the protocol as a state machine; commands in, actions out, time passed in, no I/O.
//!
//! It uses `config`, `util`, `limits`, `auth`, `callbacks` and the protocol. It is used by `rooms` and `client`.

mod access;
mod action;
mod asking;
mod commands;
mod completions;
mod heartbeat;
mod names;
mod rates;
mod server_command;
pub(crate) mod settings;
mod speech;
mod stays;
#[cfg(test)]
mod tests;
mod tokens;
mod view;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use self::action::{Action, MembershipGrant, Recover, Subscribed, Ticket};
pub(crate) use self::server_command::{ServerCommand, SubscribeOptions};
use self::settings::PingTimes;
pub(crate) use self::settings::{OptionsLookup, Settings};
pub(crate) use self::speech::Speech;
pub(crate) use self::view::{View, is_by_user, is_own};

use self::access::Grant;
use self::heartbeat::{Beat, Heartbeat};
use self::names::Names;
use self::server_command::Waiting;
use self::stays::Stays;
use self::tokens::Opened;
use crate::auth::Fetched;
use crate::limits::rates::OwnRates;
use roomcast_protocol::{
    ClientInfo, CloseCode, Command, ConnectRequest, ConnectResult, DecodeError, Encoding, ErrorCode, Payload, Push,
    Reply, ReplyBody, Request, RoomName, StreamPosition, SubscribeRequest, UnsubscribeCode,
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
/// What `send` brings is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Arc<Settings>,
    who: Identity,
    phase: Phase,
    heartbeat: Heartbeat,
    speech: Speech,
    /// The rooms the client is in, as the replies it has been given say.
    rooms: Names,
    /// The command whose action is under way.
    pending: Option<Pending>,
    /// Commands behind it, the client's of at most one frame: see [`Session::wants_frames`].
    queue: VecDeque<Waiting>,
    /// What ends the session when they are answered: the client has broken the protocol behind them.
    ending: Option<CloseCode>,
    next_ticket: u64,
    /// While a command begins again that has waited for keys: when they were fetched.
    keys_fetched: Option<Fetched>,
    /// What tokens have granted for a while, or in one room.
    stays: Stays,
    /// Subscription tokens that proved nothing since the last that did.
    tokens_refused: u16,
    /// What may still be done in this turn.
    work_left: u16,
    /// What it has done lately, where that is limited.
    rates: OwnRates,
    /// The time as it was told last.
    now_ms: u64,
}

/// After how long it is looked again whether a client that is waited for still waits itself.
const WAITED_FOR_US_MS: u64 = 1_000;

/// What a new session is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    /// The client's id, which others see.
    pub(crate) client: String,
    /// The secret by which later requests of an emulated connection name the session.
    pub(crate) session: String,
    /// The user that the client is without a token, where a proxy has said so.
    pub(crate) user: Option<String>,
}

/// The client, before and after it has said who it is.
#[derive(Debug)]
enum Identity {
    Unknown(Box<Ids>),
    Known(ClientInfo),
}

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Closed,
}

/// A command that waits for the world.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    /// The command's id.
    id: u32,
    kind: PendingKind,
}

/// What it waits for, with what its reply needs.
#[derive(Debug)]
enum PendingKind {
    /// What the backend says of who the client is; then as by a token.
    AskWho(Box<ConnectRequest>),
    /// What it says of a subscription; then entering.
    AskToSubscribe {
        room: RoomName,
        request: Box<SubscribeRequest>,
    },
    /// What it says of a publication; then publishing.
    AskToPublish {
        room: RoomName,
        data: Payload,
    },
    /// What a procedure of the backend's returns; then the reply.
    Rpc,
    /// Entering the rooms that the server puts the client into; then the reply.
    Connect(Box<Connecting>),
    Subscribe {
        room: RoomName,
        /// What is recovered; nothing, though the client may have asked, where the room is not recoverable.
        recover: Option<Recover>,
        was_recovering: bool,
        grant: Box<Grant>,
        reject_unrecovered: bool,
        /// What its token has said.
        opened: Option<Box<Opened>>,
    },
    /// Leaving a room; then the reply.
    Unsubscribe {
        reply: ReplyBody,
    },
    /// Entering a room that the server puts the client into; then the push.
    PutIn {
        room: RoomName,
        grant: Box<Grant>,
        recover: Option<Recover>,
        options: Option<Box<SubscribeOptions>>,
    },
    /// Leaving a room that the server takes the client out of; then the push.
    TakeOut {
        room: RoomName,
        code: UnsubscribeCode,
    },
    Publish {
        /// Whether the client is in the room, which then is there.
        is_inside: bool,
    },
    History {
        since: Option<StreamPosition>,
    },
    Presence,
    PresenceStats,
    /// The keys of a token; then the command that has brought it begins again.
    Keys(Box<Request>),
}

/// A connect command under way.
#[derive(Debug)]
struct Connecting {
    result: ConnectResult,
    /// The rooms to be entered, the next one last.
    rooms: Vec<PutIn>,
    entered: Vec<(RoomName, MembershipGrant, View)>,
}

/// A room that a client is put into when it connects.
#[derive(Debug)]
struct PutIn {
    room: RoomName,
    recover: Option<Recover>,
    was_recovering: bool,
    grant: Grant,
    /// What its token has said of the room.
    opened: Option<Box<Opened>>,
    /// Whether the client named it, and can do without; the others are what it relies on.
    is_wish: bool,
}

impl Session {
    /// A session of a client that has not said anything yet.
    pub(crate) fn new(settings: Arc<Settings>, ids: Ids, now_ms: u64) -> Self {
        let stale_at_ms = now_ms + settings.stale_timeout_ms;
        Self {
            settings,
            who: Identity::Unknown(Box::new(ids)),
            phase: Phase::Opening,
            heartbeat: Heartbeat::Opening { stale_at_ms },
            speech: Speech::Commands,
            rooms: Names::default(),
            pending: None,
            queue: VecDeque::new(),
            ending: None,
            next_ticket: 0,
            keys_fetched: None,
            stays: Stays::default(),
            tokens_refused: 0,
            work_left: u16::MAX,
            rates: OwnRates::default(),
            now_ms,
        }
    }

    /// Goes by other settings from here on.
    pub(crate) fn follow(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// What it goes by.
    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The same of a client that can say only this much.
    pub(crate) fn with_speech(self, speech: Speech) -> Self {
        Self { speech, ..self }
    }

    /// Takes a frame: all its commands, or those up to the first error, which closes the session when they are answered.
    pub(crate) fn receive_frame(&mut self, encoding: Encoding, frame: &[u8], now_ms: u64, out: &mut Vec<Action>) {
        self.now_ms = now_ms;
        self.count_bytes(frame.len());
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
        self.now_ms = now_ms;
        match (self.phase, command.request) {
            (Phase::Closed, _) => {}
            _ if self.ending.is_some() => {}
            // Its connect command waits for the world; what comes with it waits for that.
            (Phase::Opening, request) if self.pending.is_some() => self.wait_for_connect(command.id, request, out),
            // One who comes with one token after the other, none of which lets it in.
            (Phase::Opening, Request::Connect(_)) if self.work_left == 0 => {
                self.close(CloseCode::TooManyRequests, out);
            }
            (Phase::Opening, Request::Connect(request)) => {
                if self.count_attempt(command.id, out) {
                    self.work_left = self.work_left.saturating_sub(work::of_connect(&request));
                    self.connect(command.id, request, out);
                }
            }
            // As with one that is not authorized: it may try again.
            (Phase::Opening, Request::Unreadable { is_connect: true }) => {
                self.reply(command.id, ReplyBody::Error(ErrorCode::BadRequest), out);
            }
            (Phase::Opening, _) | (Phase::Open, Request::Connect(_) | Request::Unreadable { is_connect: true }) => {
                self.end(CloseCode::BadRequest, out);
            }
            // A pong waits for nothing, or a slow command would make a living client look dead.
            (Phase::Open, Request::Pong) => {
                if !self.heartbeat.pong() {
                    self.end(CloseCode::BadRequest, out);
                }
            }
            // Nearly always: nothing is under way and nothing waits.
            (Phase::Open, request) if self.pending.is_none() && self.queue.is_empty() && self.work_left > 0 => {
                self.start(command.id, request, out);
            }
            (Phase::Open, request) => self.wait(command.id, request, out),
        }
    }

    /// Lets a command wait behind others.
    fn wait(&mut self, id: u32, request: Request, out: &mut Vec<Action>) {
        match self.queue.len() >= self.settings.limits.commands_per_frame_max {
            true => self.close(CloseCode::TooManyRequests, out),
            false => self.queue.push_back(Waiting::Client(Command { id, request })),
        }
    }

    /// The same behind the connect command, with which it has come.
    fn wait_for_connect(&mut self, id: u32, request: Request, out: &mut Vec<Action>) {
        match request {
            Request::Connect(_) | Request::Unreadable { is_connect: true } | Request::Pong => {
                self.end(CloseCode::BadRequest, out);
            }
            request => self.wait(id, request, out),
        }
    }

    /// Takes the news that the client's bytes are not the protocol.
    pub(crate) fn reject(&mut self, _error: DecodeError, out: &mut Vec<Action>) {
        self.end(CloseCode::BadRequest, out);
    }

    /// Ends the session behind the commands that wait: what was good before the client went wrong is still answered.
    fn end(&mut self, code: CloseCode, out: &mut Vec<Action>) {
        if self.pending.is_none() && self.queue.is_empty() {
            self.close(code, out);
        } else if !self.is_closed() {
            self.ending.get_or_insert(code);
        }
    }

    /// Takes the news that the client is out of a room it did not leave: the room ended, or the client fell behind.
    /// Nothing of the room may be written after this.
    pub(crate) fn expelled(&mut self, room: &str, code: UnsubscribeCode, out: &mut Vec<Action>) {
        if let Some(room) = self.leave(room) {
            out.push(Action::Push(Push::Unsubscribe { room, code }));
        }
    }

    /// The client is about to be out of the room, if it is in it.
    fn leave(&mut self, room: &str) -> Option<RoomName> {
        self.stays.forget_room(room);
        self.rooms.take(room)
    }

    /// Ends the session; a session that has ended stays so.
    pub(crate) fn close(&mut self, code: CloseCode, out: &mut Vec<Action>) {
        if !self.is_closed() {
            self.end_now(out, Action::Close(code));
        }
    }

    /// Ends the session by its last action.
    fn end_now(&mut self, out: &mut Vec<Action>, last: Action) {
        self.phase = Phase::Closed;
        self.heartbeat = Heartbeat::Still;
        self.pending = None;
        self.queue = VecDeque::new();
        self.ending = None;
        self.rooms = Names::default();
        self.stays = Stays::default();
        self.rates = OwnRates::default();
        out.push(last);
    }

    /// Lets time pass; to be called at [`Session::deadline_ms`] or somewhat later.
    pub(crate) fn tick(&mut self, now_ms: u64, out: &mut Vec<Action>) {
        self.now_ms = now_ms;
        self.rates.forget_idle(now_ms);
        // A session that has ended keeps none.
        while let Some(ended) = self.stays.take_ended(now_ms) {
            self.stay_is_over(ended, out);
        }
        let PingTimes { interval_ms, timeout_ms } = self.settings.ping_times_of(self.heartbeat.times());
        match self.heartbeat.tick(now_ms, interval_ms, timeout_ms) {
            Beat::Nothing => {}
            // Who only listens hears first that it is connected.
            Beat::Ping if self.speech != Speech::Commands && self.is_connecting() => {
                self.heartbeat.pong();
            }
            Beat::Ping => {
                out.push(Action::Ping);
                if self.speech == Speech::Nothing {
                    // There is no answer to wait for.
                    self.heartbeat.pong();
                }
            }
            // While we do not read, its silence is our doing.
            Beat::NoPong if !self.wants_frames() => self.heartbeat.extend(now_ms + timeout_ms),
            Beat::NoPong => self.close(CloseCode::NoPong, out),
            // It has said connect, and waits for us.
            Beat::Stale if self.pending.is_some() => self.heartbeat.extend_any(now_ms + WAITED_FOR_US_MS),
            Beat::Stale => self.close(CloseCode::Stale, out),
        }
    }

    fn is_connecting(&self) -> bool {
        matches!(&self.pending, Some(Pending { kind: PendingKind::Connect(_), .. }))
    }

    /// Takes the time before something that does not come with it: a completion, a command of the server.
    pub(crate) fn notice_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Takes the answer of the client's transport to a ping.
    pub(crate) fn ponged(&mut self) {
        if self.speech == Speech::Pongs {
            // One that nobody has asked for is nothing.
            self.heartbeat.pong();
        }
    }

    /// How long its client may take to answer a ping.
    pub(crate) fn pong_timeout_ms(&self) -> u64 {
        self.settings.ping_times_of(self.heartbeat.times()).timeout_ms
    }

    /// Whether the answer to a ping is overdue.
    pub(crate) fn owes_pong(&self, now_ms: u64) -> bool {
        self.heartbeat.is_overdue(now_ms)
    }

    /// Gives the client until then to answer the ping that it was sent, if it was sent one: it shows otherwise that it lives.
    pub(crate) fn excuse(&mut self, until_ms: u64) {
        self.heartbeat.extend(until_ms);
    }

    /// Gives the client until then to say what it is waited for: nobody has read what it said.
    pub(crate) fn has_not_been_heard(&mut self, until_ms: u64) {
        self.heartbeat.extend_any(until_ms);
    }

    /// When to call [`Session::tick`] next; it changes with what the session takes in.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let (beat, stay) = (self.heartbeat.deadline_ms(), self.stays.deadline_ms());
        beat.into_iter().chain(stay).min()
    }

    /// Begins a turn: so much is done in it, and then commands wait for the next one.
    pub(crate) fn begin_turn(&mut self) {
        self.work_left = work::WORK_PER_TURN;
    }

    /// Whether commands wait for nothing but another turn, in which [`Session::go_on`] is to be called.
    pub(crate) fn waits_for_turn(&self) -> bool {
        self.pending.is_none() && !self.queue.is_empty()
    }

    /// Goes on with commands that have waited for a turn.
    pub(crate) fn go_on(&mut self, now_ms: u64, out: &mut Vec<Action>) {
        self.now_ms = now_ms;
        self.advance(out);
    }

    /// Whether the transport should read. It should not while commands, or the end, wait behind an action, or for a turn: so what a client can
    /// make the server hold is one frame of commands, [`Limits::commands_per_frame_max`] at most, and a session that
    /// is handed more closes with 3013.
    ///
    /// [`Limits::commands_per_frame_max`]: roomcast_protocol::Limits::commands_per_frame_max
    pub(crate) fn wants_frames(&self) -> bool {
        self.queue.is_empty() && self.ending.is_none() && !self.is_closed()
    }

    /// What is to end the session when the commands that wait are answered.
    pub(crate) fn ending(&self) -> Option<CloseCode> {
        self.ending
    }

    /// Whether the session has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The client's id.
    pub(crate) fn client(&self) -> &str {
        match &self.who {
            Identity::Unknown(ids) => &ids.client,
            Identity::Known(info) => info.client(),
        }
    }

    /// Who the client is to others, once it is connected.
    pub(crate) fn info(&self) -> Option<&ClientInfo> {
        match &self.who {
            Identity::Known(info) if self.phase == Phase::Open => Some(info),
            _ => None,
        }
    }

    /// Who the client is to others in a room, once it is connected.
    pub(crate) fn info_in(&self, room: &str) -> Option<&ClientInfo> {
        self.stays.info_in(room).or_else(|| self.info())
    }

    /// The client's user; empty of one that has not said who it is. A session that has ended still knows.
    pub(crate) fn user(&self) -> &str {
        self.who.user()
    }

    /// What its commands that wait take, about.
    pub(crate) fn bytes_waiting(&self) -> usize {
        self.queue.iter().map(Waiting::bytes_held).sum()
    }

    /// Begins waiting commands until one has to wait for the world, or enough is done.
    fn advance(&mut self, out: &mut Vec<Action>) {
        while self.pending.is_none() && (self.work_left > 0 || self.queue.is_empty()) {
            let Some(waiting) = self.queue.pop_front() else {
                // A client that is silent holds no memory for what it once said.
                self.queue = VecDeque::new();
                if let Some(code) = self.ending.take() {
                    self.close(code, out);
                }
                return;
            };
            match waiting {
                // It has come with a connect command that let nobody in.
                Waiting::Client(_) if self.phase == Phase::Opening => return self.close(CloseCode::BadRequest, out),
                Waiting::Client(command) => self.start(command.id, command.request, out),
                Waiting::Server(command) => self.obey(command, out),
            }
        }
    }

    fn start(&mut self, id: u32, request: Request, out: &mut Vec<Action>) {
        self.work_left = self.work_left.saturating_sub(work::of(&request));
        if !self.count_command(id, &request, out) {
            return;
        }
        if let Err(error) = self.begin(id, request, out) {
            self.reply(id, ReplyBody::Error(error), out);
        }
    }

    fn reply(&mut self, id: u32, body: ReplyBody, out: &mut Vec<Action>) {
        let is_its_own_error = rates::is_its_own_error(&body);
        // Only `send` comes without an id, and it is not answered.
        if id != 0 {
            out.push(Action::Reply(Reply { id, body }));
        }
        if is_its_own_error {
            self.count_error(out);
        }
    }
}
