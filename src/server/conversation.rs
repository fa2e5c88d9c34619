//! What a client and its session say to each other, and the doing of what the session wants done.
//!
//! The session decides, this carries out: it finds rooms, publishes, reads history, keeps presence, and writes replies in their
//! order. It works in turns that never wait; what a turn says is written at its end, in as few frames as it fits into.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use super::connection::{Connection, ConnectionKey};
use super::events::What;
use super::feed::{CaughtUp, Seat};
use super::goodbye::Goodbye;
use super::history;
use super::hub::Hub;
use super::kept::{May, NoAnswer};
use super::later::{self, Done, Receiver};
use super::outgoing::REPLY_BYTES_HIGH;
use super::publish::{Published, TRIES, publish};
use super::run::Run;
use super::session::{Action, Ids, Membership, Recover, Session, Subscribed};
use super::shard::Shard;
use super::tight::reserve_one;
use super::wire::Wire;
use super::ws::{self, Decoder, Opcode};
use crate::Subscription;
use crate::protocol::{
    ClientInfo, CloseCode, DecodeError, Encoding, ErrorCode, HistoryQuery, HistoryResult, Publication, RoomName,
    UnsubscribeCode,
};

/// One client's side: its session and the rooms it is in.
pub(crate) struct Conversation {
    session: Session,
    encoding: Encoding,
    decoder: Decoder,
    /// The name under which commands find the session that does not come by its own connection.
    emulated: Option<Box<str>>,
    /// Where the client stands in the rooms whose subscribe replies are being written.
    entering: Vec<(RoomName, Subscription<Publication>)>,
    rooms: Vec<Stay>,
    /// Who the client is to others; the session forgets it when it ends, and leaving is announced after that.
    info: Option<ClientInfo>,
    /// What waits until the client has taken its replies.
    backlog: Option<Box<Backlog>>,
    departed: bool,
}

#[derive(Debug, Default)]
struct Backlog {
    actions: VecDeque<Action>,
    input: Vec<u8>,
    /// The same of an emulated connection: whole frames.
    frames: VecDeque<Bytes>,
}

/// Frames that an emulated connection may have waiting; they come in requests, which nothing holds up.
const FRAMES_WAITING_MAX: usize = 64;

/// A room the client is in.
#[derive(Debug)]
struct Stay {
    room: RoomName,
    seat: Seat,
    membership: Membership,
}

impl Conversation {
    /// A conversation that has not begun.
    pub(crate) fn new(shard: &Shard, wire: Wire, key: ConnectionKey) -> Self {
        let ids = Ids { client: uuid::Uuid::new_v4().to_string(), session: uuid::Uuid::new_v4().to_string() };
        tracing::info!(client = ids.client, shard = shard.index, "connected");
        let emulated = wire.is_emulated().then(|| {
            shard.hub.emulation.register(&ids.session, shard.index, key);
            ids.session.as_str().into()
        });
        let settings = shard.hub.settings.clone();
        Self {
            session: Session::new(settings, ids, shard.now_ms()),
            encoding: wire.encoding(),
            decoder: Decoder::default(),
            emulated,
            entering: Vec::new(),
            rooms: Vec::new(),
            info: None,
            backlog: None,
            departed: false,
        }
    }

    /// The client's id.
    pub(crate) fn client(&self) -> &str {
        self.session.client()
    }

    /// When [`Conversation::tick`] is due.
    pub(crate) fn due_ms(&self) -> u64 {
        self.session.deadline_ms().unwrap_or(u64::MAX)
    }

    /// Takes what the client sent; `input` is changed in place.
    pub(crate) fn receive(connection: &Rc<Connection>, shard: &Shard, input: &mut [u8]) {
        Self::turn(connection, shard, |this, turn| this.read(turn, input));
    }

    /// Takes a frame that the client sent by another way than its connection.
    pub(crate) fn hear(connection: &Rc<Connection>, shard: &Shard, frame: Bytes) {
        Self::turn(connection, shard, |this, turn| this.read_frame(turn, frame));
    }

    /// Goes on with what waited for the client to take its replies.
    pub(crate) fn resume(connection: &Rc<Connection>, shard: &Shard) {
        let backlog = connection.conversation.borrow_mut().backlog.take();
        let Some(backlog) = backlog else { return };
        Self::turn(connection, shard, |this, turn| {
            let Backlog { actions, mut input, frames } = *backlog;
            turn.actions.extend(actions);
            this.perform(turn)?;
            frames.into_iter().try_for_each(|frame| this.read_frame(turn, frame))?;
            this.read(turn, &mut input)
        });
    }

    /// Goes on with what was waited for.
    pub(crate) fn complete(connection: &Rc<Connection>, shard: &Shard, done: Done) {
        Self::turn(connection, shard, |this, turn| {
            if this.departed {
                return Ok(());
            }
            if let Some(backlog) = &mut this.backlog {
                turn.actions.append(&mut backlog.actions);
            }
            match done {
                Done::Entered(ticket, room, entered) => {
                    let entered = this.stand(room, entered);
                    this.session.subscribed(ticket, entered, &mut turn.out);
                }
                Done::Published(ticket, published) => {
                    if published.is_ok() {
                        turn.shard.metrics.messages_in.inc();
                    }
                    this.session.published(ticket, published, &mut turn.out);
                }
                Done::Read(ticket, read) => this.session.history(ticket, read, &mut turn.out),
                Done::Fetched(room, from, past) => {
                    if let Some(stay) = this.rooms.iter().find(|stay| stay.room == room) {
                        let mut run = shard.run.borrow_mut();
                        shard.feed.borrow_mut().give(stay.seat, from, &past, &mut run);
                    }
                }
            }
            this.perform(turn)
        });
    }

    /// Whether the client is not to be heard until a command of its is completed.
    pub(crate) fn waits(&self) -> bool {
        !self.session.wants_frames()
    }

    /// Lets time pass. A ping or a goodbye that is due waits behind nothing.
    pub(crate) fn tick(connection: &Rc<Connection>, shard: &Shard) {
        Self::turn(connection, shard, |this, turn| {
            let now_ms = shard.now_ms();
            let pong_timeout_ms = shard.hub.settings.pong_timeout_ms;
            match connection.stalled_ms(shard) {
                // It has not seen the ping, or we have not read its answer; but somebody takes what waits for it.
                Some(ms) if ms < pong_timeout_ms => this.session.excuse(now_ms + pong_timeout_ms),
                Some(_) if this.session.owes_pong(now_ms) => return Err(CloseCode::NoPong.into()),
                // What it said may have come while nobody was there to read it.
                _ if shard.awake_since_ms() > 0 => {
                    this.session.has_not_been_heard(shard.awake_since_ms() + pong_timeout_ms);
                }
                _ => {}
            }
            this.session.tick(now_ms, &mut turn.out);
            for action in std::mem::take(&mut turn.out) {
                this.act(turn, action)?;
            }
            Ok(())
        });
    }

    /// The client has taken what waited for it: only now it may have seen the ping that was among it.
    pub(crate) fn has_taken_all(&mut self, shard: &Shard) {
        self.session.excuse(shard.now_ms() + shard.hub.settings.pong_timeout_ms);
    }

    /// Lets the rooms whose messages the client did not take go on from their rings.
    pub(crate) fn catch_up(connection: &Rc<Connection>, shard: &Shard) {
        Self::turn(connection, shard, |this, turn| this.go_on(turn));
    }

    /// Leaves every room, and says so there. Does it once, however often it is called.
    pub(crate) fn depart(&mut self, shard: &Shard) {
        if std::mem::replace(&mut self.departed, true) {
            return;
        }
        for stay in std::mem::take(&mut self.rooms) {
            self.leave(shard, stay);
        }
        if let Some(session) = self.emulated.take() {
            shard.hub.emulation.forget(&session);
        }
        self.session.close(CloseCode::Closed, &mut Vec::new());
        self.entering = Vec::new();
        self.backlog = None;
        tracing::info!(client = self.client(), shard = shard.index, "disconnected");
    }

    /// One turn: what `work` leads to is written at its end.
    fn turn<'a>(
        connection: &'a Rc<Connection>,
        shard: &'a Shard,
        work: impl FnOnce(&mut Self, &mut Turn<'a>) -> Result<(), Goodbye>,
    ) {
        let (replies, actions) = shard.lend();
        let mut turn = Turn { connection, shard, replies, actions, out: Vec::new() };
        turn.replies.begin(connection.wire());
        let done = {
            let mut this = connection.conversation.borrow_mut();
            let done = work(&mut this, &mut turn);
            if done.is_ok() && !turn.actions.is_empty() {
                this.backlog().actions.append(&mut turn.actions);
            }
            done
        };
        turn.flush();
        turn.actions.clear();
        shard.take_back(turn.replies, turn.actions);
        if let Err(goodbye) = done {
            let conversation = connection.conversation.borrow();
            let (client, code, reason) = (conversation.client(), goodbye.code(), goodbye.reason());
            if goodbye.is_bad_input() {
                shard.metrics.bad_input.inc();
                tracing::warn!(client, shard = shard.index, code, reason, "bad input");
            } else {
                tracing::debug!(client, shard = shard.index, code, reason, "closing");
            }
            drop(conversation);
            connection.close(shard, &goodbye);
        }
    }

    /// Decodes and handles frames, until there are no more or the client must first take its replies.
    fn read(&mut self, turn: &mut Turn<'_>, input: &mut [u8]) -> Result<(), Goodbye> {
        let limit_bytes = turn.shard.hub.config.websocket.message_size_limit;
        let mut used = 0;
        while used < input.len() {
            if !self.wants_input(turn) {
                self.backlog().input.extend_from_slice(&input[used..]);
                return Ok(());
            }
            let (read, event) = self.decoder.decode(&mut input[used..], limit_bytes)?;
            used += read;
            let Some(event) = event else { continue };
            match event {
                ws::Event::Text(text) if self.encoding == Encoding::Json => self.understand(turn, text.as_bytes())?,
                ws::Event::Binary(bytes) if self.encoding == Encoding::Protobuf => self.understand(turn, &bytes)?,
                ws::Event::Text(_) | ws::Event::Binary(_) => {
                    self.session.reject(DecodeError::WrongFrameKind, &mut turn.out);
                    self.perform(turn)?;
                }
                ws::Event::Ping(payload) => turn.replies.push_control(Opcode::Pong, &payload),
                ws::Event::Pong => {}
                ws::Event::Close(code) => return Err(Goodbye::answer(code)),
            }
        }
        Ok(())
    }

    /// The same for a whole frame.
    fn read_frame(&mut self, turn: &mut Turn<'_>, frame: Bytes) -> Result<(), Goodbye> {
        if self.wants_input(turn) {
            return self.understand(turn, &frame);
        }
        let frames = &mut self.backlog().frames;
        if frames.len() >= FRAMES_WAITING_MAX {
            return Err(CloseCode::TooManyRequests.into());
        }
        frames.push_back(frame);
        Ok(())
    }

    fn understand(&mut self, turn: &mut Turn<'_>, frame: &[u8]) -> Result<(), Goodbye> {
        self.session.receive_frame(self.encoding, frame, turn.shard.now_ms(), &mut turn.out);
        self.perform(turn)
    }

    fn backlog(&mut self) -> &mut Backlog {
        self.backlog.get_or_insert_default()
    }

    fn wants_input(&self, turn: &Turn<'_>) -> bool {
        turn.actions.is_empty() && self.session.wants_frames()
    }

    /// Does what the session wants done, in order, until nothing is left or the client must first take its replies.
    fn perform(&mut self, turn: &mut Turn<'_>) -> Result<(), Goodbye> {
        loop {
            turn.actions.extend(turn.out.drain(..));
            if turn.is_saturated() {
                // What the client has not taken does not keep it.
                let goodbye = turn.actions.iter().find_map(|action| match action {
                    Action::Close(code) => Some(Goodbye::from(*code)),
                    _ => None,
                });
                let goodbye = goodbye.or_else(|| self.session.ending().map(Goodbye::from));
                return goodbye.map_or(Ok(()), Err);
            }
            let Some(action) = turn.actions.pop_front() else {
                return Ok(());
            };
            self.act(turn, action)?;
        }
    }

    fn act(&mut self, turn: &mut Turn<'_>, action: Action) -> Result<(), Goodbye> {
        let hub = &*turn.shard.hub;
        match action {
            Action::Reply(reply) => turn.replies.push(|out| self.encoding.encode_reply(&reply, out)),
            Action::Push(push) => turn.replies.push(|out| self.encoding.encode_push(&push, out)),
            Action::Ping => turn.replies.push(|out| self.encoding.encode_ping(out)),
            Action::Close(code) => return Err(code.into()),
            Action::Subscribe { ticket, room, recover } => match self.enter(hub, &room, recover.as_ref()) {
                Err(NoAnswer::InTheDatabase) => later::enter(&turn.receiver()?, ticket, room, recover),
                Err(NoAnswer::Failed(code)) => self.session.subscribed(ticket, Err(code), &mut turn.out),
                Ok(entered) => {
                    let entered = self.stand(room, Ok(entered));
                    self.session.subscribed(ticket, entered, &mut turn.out);
                }
            },
            Action::Activate { room, membership } => self.activate(turn, room, membership)?,
            Action::Unsubscribe { ticket, room } => {
                self.entering.retain(|(entering, _)| *entering != room);
                if let Some(at) = self.rooms.iter().position(|stay| stay.room == room) {
                    let stay = self.rooms.swap_remove(at);
                    self.leave(turn.shard, stay);
                }
                self.session.unsubscribed(ticket, &mut turn.out);
            }
            Action::Publish { ticket, room, publication } => {
                tracing::trace!(client = self.client(), %room, "publish");
                let published = match publish(hub, &room, publication) {
                    Published::Done(published) => published,
                    Published::AwaitsDisk(mark, end) => {
                        later::await_stored(&turn.receiver()?, ticket, mark, end);
                        return Ok(());
                    }
                    Published::Awaits(publication) => {
                        later::publish(&turn.receiver()?, ticket, room, publication);
                        return Ok(());
                    }
                };
                let is_due = published.is_ok() && turn.shard.has_published();
                self.session.published(ticket, published, &mut turn.out);
                if is_due {
                    // Replies before what others publish, as they were said first.
                    turn.flush();
                    turn.shard.deliver_now();
                }
            }
            Action::History { ticket, room, query } => {
                let read = match read_history(hub, &room, &query) {
                    Err(NoAnswer::InTheDatabase) => {
                        later::read(&turn.receiver()?, ticket, room, query);
                        return Ok(());
                    }
                    Err(NoAnswer::Failed(code)) => Err(code),
                    Ok(read) => Ok(read),
                };
                self.session.history(ticket, read, &mut turn.out);
            }
            Action::Presence { ticket, room } => {
                let members = hub.presence.members(room.as_str());
                self.session.presence(ticket, Ok(members), &mut turn.out);
            }
            Action::PresenceStats { ticket, room } => {
                let stats = hub.presence.stats(room.as_str());
                self.session.presence_stats(ticket, Ok(stats), &mut turn.out);
            }
        }
        Ok(())
    }

    /// Takes a position in the room, silently; [`Conversation::activate`] makes the client a member from there.
    fn enter(
        &self,
        hub: &Hub,
        name: &RoomName,
        recover: Option<&Recover>,
    ) -> Result<(Subscription<Publication>, Subscribed), NoAnswer> {
        hub.options(name.as_str()).ok_or(ErrorCode::UnknownRoom)?;
        let publications_max = hub.config.client.recovery_max_publication_limit;
        if let Some((kept, _)) = hub.keeping(name) {
            let room = hub.running(name).ok_or(NoAnswer::InTheDatabase)?;
            return kept.enter(&room, recover, &hub.visible(&room)?, publications_max, May::AskInMemory);
        }
        let mut entered = Err(ErrorCode::Internal);
        for _ in 0..TRIES {
            let room = hub.open(name)?;
            entered = history::enter(&room, recover, &hub.visible(&room)?, publications_max);
            // A room that expired between the look-up and the entering: the next look-up opens a fresh one.
            if entered.is_ok() {
                break;
            }
        }
        Ok(entered?)
    }

    /// Remembers where the client stands in a room until it is made a member.
    fn stand(
        &mut self,
        room: RoomName,
        entered: Result<(Subscription<Publication>, Subscribed), ErrorCode>,
    ) -> Result<Subscribed, ErrorCode> {
        let (subscription, subscribed) = entered?;
        self.entering.push((room, subscription));
        Ok(subscribed)
    }

    fn activate(&mut self, turn: &mut Turn<'_>, room: RoomName, membership: Membership) -> Result<(), Goodbye> {
        let Turn { connection, shard, .. } = *turn;
        let at = self.entering.iter().position(|(entered, _)| *entered == room);
        let entered = at.map(|at| self.entering.swap_remove(at));
        if self.entering.is_empty() {
            // A member that is silent holds no memory for how it came in.
            self.entering = Vec::new();
        }
        let (Some((_, start)), Some(info)) = (entered, self.session.info().cloned()) else {
            debug_assert!(false, "a room is activated that was not entered");
            return Err(CloseCode::ServerError.into());
        };
        tracing::debug!(client = self.client(), %room, shard = shard.index, "join");
        let manner = shard.hub.manner(&room);
        // A room that nobody knows how far to show is not shown: the client comes again.
        let edge = shard.hub.edge(&start.room()).map_err(|_| CloseCode::ServerError)?;
        let delivery = (manner, edge);
        let seat = shard.feed.borrow_mut().join(&room, start, connection, delivery, membership.hears_join_leave);
        self.info = Some(info.clone());
        let is_new = membership.presence && shard.hub.enter(&room, info.clone());
        reserve_one(&mut self.rooms);
        self.rooms.push(Stay { room: room.clone(), seat, membership });
        shard.metrics.members.inc();
        shard.wake_delivery();
        if membership.announced
            && (is_new || !membership.presence)
            && let Some(position) = shard.feed.borrow().position(seat)
        {
            shard.hub.events.announce(&room, What::Join(info), position);
        }
        Ok(())
    }

    fn leave(&self, shard: &Shard, stay: Stay) {
        let Stay { room, seat, membership } = stay;
        tracing::debug!(client = self.client(), %room, shard = shard.index, "leave");
        let position = shard.feed.borrow_mut().leave(seat);
        shard.metrics.members.dec();
        let present = membership.presence && shard.hub.presence.leave(room.as_str(), self.client()).is_some();
        if membership.announced
            && (present || !membership.presence)
            && let (Some(info), Some(position)) = (self.info.clone(), position)
        {
            shard.hub.events.announce(&room, What::Leave(info), position);
        }
    }

    fn go_on(&mut self, turn: &mut Turn<'_>) -> Result<(), Goodbye> {
        let Turn { connection, shard, .. } = *turn;
        let mut ended = Vec::new();
        let mut run = shard.run.borrow_mut();
        for stay in &self.rooms {
            match shard.feed.borrow_mut().catch_up(stay.seat, &mut run) {
                CaughtUp::Rejoined | CaughtUp::Waits => {}
                CaughtUp::Held => shard.wake_delivery(),
                CaughtUp::InTheDatabase(room, from) => later::fetch(&turn.receiver()?, stay.room.clone(), room, from),
                // Who was put out of a room before is told, socket or not.
                CaughtUp::Full => break,
                CaughtUp::Unfinished => connection.wake(),
                CaughtUp::Ended => ended.push(stay.room.clone()),
                CaughtUp::Skipped(missed) => {
                    let room = &stay.room;
                    tracing::warn!(client = self.client(), %room, missed, "slow consumer, out of the room");
                    shard.metrics.slow_consumers.inc();
                    ended.push(room.clone());
                }
                CaughtUp::EventsLost => {
                    let room = &stay.room;
                    tracing::warn!(client = self.client(), %room, "joins and leaves were lost, out of the room");
                    shard.metrics.slow_consumers.inc();
                    ended.push(room.clone());
                }
                CaughtUp::Missed(missed) => {
                    let room = &stay.room;
                    tracing::warn!(client = self.client(), %room, missed, "slow consumer");
                    return Err(CloseCode::Slow.into());
                }
            }
        }
        drop(run);
        for room in ended {
            if let Some(at) = self.rooms.iter().position(|stay| stay.room == room) {
                let stay = self.rooms.swap_remove(at);
                self.leave(shard, stay);
                let code = UnsubscribeCode::InsufficientState;
                self.session.expelled(room.as_str(), code, &mut turn.out);
            }
        }
        self.perform(turn)
    }
}

/// What one turn of one connection works with.
struct Turn<'a> {
    connection: &'a Rc<Connection>,
    shard: &'a Shard,
    replies: Run,
    /// What is to be done next.
    actions: VecDeque<Action>,
    /// What the session has just added.
    out: Vec<Action>,
}

impl Turn<'_> {
    /// Writes what has been said so far.
    fn flush(&mut self) {
        self.replies.finish();
        if !self.replies.is_empty() {
            let bytes = self.replies.as_bytes();
            self.shard.metrics.bytes_out.inc_by(bytes.len() as u64);
            self.connection.write_own(self.shard, bytes);
            self.replies.clear();
        }
    }

    /// Who is told when something that takes its time is done.
    fn receiver(&self) -> Result<Receiver, Goodbye> {
        Receiver::new(self.connection, self.shard).ok_or_else(|| CloseCode::Shutdown.into())
    }

    /// Whether the client must take its replies before more is done for it.
    fn is_saturated(&mut self) -> bool {
        if self.replies.len() >= REPLY_BYTES_HIGH {
            self.flush();
        }
        self.connection.is_saturated()
    }
}

fn read_history(hub: &Hub, name: &RoomName, query: &HistoryQuery) -> Result<HistoryResult, NoAnswer> {
    hub.options(name.as_str()).ok_or(ErrorCode::UnknownRoom)?;
    if let Some((kept, _)) = hub.keeping(name) {
        let room = hub.running(name).ok_or(NoAnswer::InTheDatabase)?;
        return kept.history(&room, query, &hub.visible(&room)?, May::AskInMemory);
    }
    let room = hub.open(name)?;
    Ok(history::history(&room, query, &hub.visible(&room)?)?)
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("client", &self.client())
            .field("rooms", &self.rooms.len())
            .finish_non_exhaustive()
    }
}
