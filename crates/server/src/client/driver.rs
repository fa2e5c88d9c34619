//! What a client and its session say to each other, and the doing of what the session wants done.
//!
//! The session decides, this carries out: it finds rooms, publishes, reads history, keeps presence, and writes replies in their
//! order. It works in turns that never wait; what a turn says is written at its end, in as few frames as it fits into.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::HeaderMap;
use bytes::Bytes;
use smallvec::smallvec;
use tokio::task::spawn_local;
use uuid::Uuid;

use crate::auth::KeysUnavailable;
use crate::callbacks::{Question, Way};
use crate::client::asking::{Asking, custom, on_terms};
use crate::client::backlog::{Backlog, Waiting};
use crate::client::connection::Connection;
use crate::client::deferred::Done;
use crate::client::listening::Listening;
use crate::client::membership::Memberships;
use crate::client::shard::Shard;
use crate::client::turn::Turn;
use crate::delivery::sink::MemberSink as _;
use crate::rooms::engine::{Accepted, Answer, Entered, Publish};
use crate::rooms::users::Selection;
use crate::session::{Action, Ids, ServerCommand, Session, Speech, Ticket};
use crate::util::key::{ConnectionAddress, ConnectionKey};
use crate::util::lane::Lane;
use crate::wire::disconnect::Disconnect;
use crate::wire::framing::Framing;
use crate::wire::unanswered::Unanswered;
use crate::wire::ws::{Decoder, Opcode};
use roomcast_protocol::{CloseCode, Encoding, ErrorCode, HistoryResult, RoomName, UnsubscribeCode};

/// One client's side: its session and the rooms it is in.
pub(crate) struct SessionDriver {
    pub(super) session: Session,
    pub(super) encoding: Encoding,
    pub(super) decoder: Decoder,
    /// The name under which commands find the session.
    session_id: Uuid,
    pub(super) listening: Listening,
    /// Whether its client's commands come by another way than its connection, too.
    is_emulated: bool,
    pub(super) rooms: Memberships,
    /// What waits until the client has taken its replies.
    pub(super) backlog: Option<Box<Backlog>>,
    pub(super) departed: bool,
    /// What the backend is told of the handshake, and what it is being asked; mostly neither.
    asking: Option<Box<Asking>>,
}

impl SessionDriver {
    /// A driver whose session has not begun.
    pub(crate) fn new(
        shard: &Shard,
        framing: Framing,
        key: ConnectionKey,
        (user, headers): (Option<String>, Option<Box<HeaderMap>>),
        unanswered: Option<Box<Unanswered>>,
    ) -> Self {
        let (client_id, session_id) = (shard.rng.uuid(), shard.rng.uuid());
        let ids = Ids { client: client_id.to_string(), session: session_id.to_string(), user };
        tracing::info!(client = ids.client, shard = shard.index, "connected");
        let is_emulated = framing.is_emulated();
        if is_emulated {
            shard.hub.local.emulation.register(&ids.session, ConnectionAddress { shard: shard.index, key });
        }
        let settings = Arc::clone(&shard.hub.now().settings);
        let listening = Listening::new(framing, unanswered);
        Self {
            session: Session::new(settings, ids, shard.now_ms()).with_speech(listening.speech),
            encoding: framing.encoding(),
            decoder: Decoder::default(),
            session_id,
            listening,
            is_emulated,
            rooms: Memberships::default(),
            backlog: None,
            departed: false,
            asking: headers.map(|headers| Box::new(Asking::new(headers))),
        }
    }

    /// Takes the answer to the client's request, if it has none.
    pub(crate) fn unanswered(&mut self) -> Option<Box<Unanswered>> {
        self.listening.unanswered()
    }

    /// The client's id.
    pub(crate) fn client(&self) -> &str {
        self.session.client()
    }

    /// When [`SessionDriver::tick`] is due.
    pub(crate) fn due_ms(&self) -> u64 {
        self.session.deadline_ms().unwrap_or(u64::MAX)
    }

    /// Takes what the client sent; `input` is changed in place.
    pub(crate) fn receive(connection: &Rc<Connection>, shard: &Shard, input: &mut [u8]) {
        Self::turn(connection, shard, |this, turn| this.read(turn, input));
    }

    /// Takes a frame that the client sent by another way than its connection.
    pub(crate) fn receive_frame(connection: &Rc<Connection>, shard: &Shard, frame: Bytes) {
        Self::turn(connection, shard, |this, turn| this.read_frame(turn, frame));
    }

    /// Goes on with what waited for the client to take its replies.
    pub(crate) fn resume(connection: &Rc<Connection>, shard: &Shard) {
        let backlog = {
            let mut driver = connection.driver.borrow_mut();
            let waits_for_turn = driver.session.waits_for_turn();
            driver.backlog.take().or_else(|| waits_for_turn.then(Box::default))
        };
        let Some(backlog) = backlog else { return };
        Self::turn(connection, shard, |this, turn| {
            let Backlog { actions, found_in, mut input, waiting, .. } = *backlog;
            turn.actions.extend(actions);
            turn.found_in.extend(found_in);
            this.run_actions(turn)?;
            if turn.actions.is_empty() && this.session.waits_for_turn() {
                this.session.go_on(shard.now_ms(), &mut turn.out);
                this.run_actions(turn)?;
            }
            this.read(turn, &mut input)?;
            waiting.into_iter().try_for_each(|waiting| match waiting {
                Waiting::Frame(frame) => this.read_frame(turn, frame),
                Waiting::Command(command) => this.read_command(turn, command),
            })
        });
    }

    /// Takes what was erased of a room out of answers that wait for the client: when they are written nobody may know of it any more.
    pub(crate) fn recall(&mut self, shard: &Shard, room: &RoomName, user: Option<&str>) {
        if let Some(backlog) = &mut self.backlog {
            backlog.recall(room, |found| shard.hub.hide_recalled(room, user, found));
        }
    }

    /// Takes a command of the server.
    pub(crate) fn command(connection: &Rc<Connection>, shard: &Shard, mut command: ServerCommand) {
        command.begins(shard.now_ms());
        Self::turn(connection, shard, |this, turn| {
            this.take_up(turn);
            this.read_command(turn, command)
        });
    }

    /// Whether its client is connected without a user, and is meant.
    pub(crate) fn is_without_user(&self, selection: &Selection) -> bool {
        let is_connected = self.session.info().is_some() && self.session.user().is_empty();
        is_connected && selection.includes(self.client(), self.session_id)
    }

    /// What is held of what its client has said, and was not done or is not complete yet.
    pub(crate) fn bytes_held(&self) -> usize {
        self.decoder.bytes_held()
            + self.session.bytes_waiting()
            + self.backlog.as_ref().map_or(0, |backlog| backlog.bytes_held())
    }

    /// Ready when the client may go on with what it has said and was not done: at once where its last turn was not all used up.
    pub(crate) fn poll_turn(&mut self, lane: &Lane, cx: &mut Context<'_>) -> Poll<()> {
        let is_heard_out = self.backlog.as_deref().is_some_and(|backlog| backlog.is_heard_out);
        match is_heard_out || self.waits_for_turn() {
            true => lane.poll_turn(&mut self.backlog().place, cx),
            false => Poll::Ready(()),
        }
    }

    /// Whether it waits for that turn, and is woken when it comes.
    pub(crate) fn waits_in_lane(&self) -> bool {
        self.backlog.as_deref().is_some_and(|backlog| backlog.place.is_waiting())
    }

    /// Whether commands of the client wait for nothing but its next turn.
    pub(crate) fn waits_for_turn(&self) -> bool {
        self.session.waits_for_turn()
    }

    /// Whether the client is not to be heard until a command of its is completed, or what was heard before is done.
    pub(crate) fn waits(&self) -> bool {
        !self.session.wants_frames() || self.backlog.as_deref().is_some_and(|backlog| !backlog.input.is_empty())
    }

    /// Lets time pass. A ping or a goodbye that is due waits behind nothing.
    pub(crate) fn tick(connection: &Rc<Connection>, shard: &Shard) {
        Self::turn(connection, shard, |this, turn| {
            let now_ms = shard.now_ms();
            let pong_timeout_ms = this.session.pong_timeout_ms();
            match connection.stalled_ms(shard) {
                // What it answers may go to the other process.
                _ if this.is_emulated && shard.lets_go() => this.session.excuse(now_ms + pong_timeout_ms),
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
            let mut rest = Vec::new();
            for action in std::mem::take(&mut turn.out) {
                match action {
                    Action::Ping | Action::Close(_) | Action::Disconnect { .. } => this.run_action(turn, action)?,
                    action => rest.push(action),
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
            this.take_up(turn);
            turn.out.extend(rest);
            this.run_actions(turn)
        });
    }

    /// The client has taken what waited for it: only now it may have seen the ping that was among it.
    pub(crate) fn has_taken_all(&mut self, shard: &Shard) {
        self.session.excuse(shard.now_ms() + self.session.pong_timeout_ms());
    }

    /// Lets the rooms whose messages the client did not take go on from their rings.
    pub(crate) fn catch_up(connection: &Rc<Connection>, shard: &Shard) {
        Self::turn(connection, shard, |this, turn| this.resume_rooms(turn));
    }

    /// Leaves every room, and says so there. Does it once, however often it is called.
    pub(crate) fn depart(&mut self, shard: &Shard, key: ConnectionKey, disconnect: &Disconnect) {
        if std::mem::replace(&mut self.departed, true) {
            return;
        }
        // First, for whatever goes wrong in the rooms: nobody would take it out of the indices afterwards.
        if self.is_emulated {
            shard.hub.local.emulation.forget(&self.session_id.to_string());
        }
        if !self.session.user().is_empty() {
            shard.hub.local.commands.users.forget(self.session.user(), ConnectionAddress { shard: shard.index, key });
        }
        self.rooms.leave_all(shard, self.session.client(), disconnect);
        shard.hub.note_disconnect(self.session.client(), disconnect);
        self.session.close(CloseCode::Closed, &mut Vec::new());
        self.backlog = None;
        self.asking = None;
        tracing::info!(client = self.client(), shard = shard.index, "disconnected");
    }

    /// One turn: what `work` leads to is written at its end.
    pub(super) fn turn<'a>(
        connection: &'a Rc<Connection>,
        shard: &'a Shard,
        work: impl FnOnce(&mut Self, &mut Turn<'a>) -> Result<(), Disconnect>,
    ) {
        let (replies, actions) = shard.scratch.lend();
        let mut turn = Turn {
            connection,
            shard,
            replies,
            actions,
            out: Vec::new(),
            found_in: VecDeque::new(),
            told_of: Vec::new(),
        };
        turn.replies.begin(connection.framing().for_one());
        let done = {
            let mut this = connection.driver.borrow_mut();
            if let Some(settings) = shard.hub.settings_other_than(this.session.settings()) {
                this.session.follow(settings);
            }
            this.session.begin_turn();
            let done = work(&mut this, &mut turn);
            if done.is_ok() && !turn.actions.is_empty() {
                let backlog = this.backlog();
                backlog.actions.append(&mut turn.actions);
                backlog.found_in.append(&mut turn.found_in);
            }
            done
        };
        turn.flush();
        turn.actions.clear();
        shard.scratch.take_back(turn.replies, turn.actions);
        if let Err(disconnect) = done {
            let driver = connection.driver.borrow();
            let (client, code, reason) = (driver.client(), disconnect.code(), disconnect.reason());
            if disconnect.is_bad_input() {
                shard.metrics.bad_input.inc();
                tracing::warn!(client, shard = shard.index, code, reason, "bad input");
            } else {
                tracing::debug!(client, shard = shard.index, code, reason, "closing");
            }
            drop(driver);
            connection.close(shard, &disconnect);
        }
    }

    /// Does what the session wants done, in order, until nothing is left or the client must first take its replies.
    pub(super) fn run_actions(&mut self, turn: &mut Turn<'_>) -> Result<(), Disconnect> {
        loop {
            turn.actions.extend(turn.out.drain(..));
            if turn.is_saturated() {
                // What the client has not taken does not keep it.
                let disconnect = turn.actions.iter().find_map(|action| match action {
                    Action::Close(code) => Some(Disconnect::from(*code)),
                    Action::Disconnect { code, reason } => Some(custom(*code, reason)),
                    _ => None,
                });
                let disconnect = disconnect.or_else(|| self.session.ending().map(Disconnect::from));
                return disconnect.map_or(Ok(()), Err);
            }
            let Some(action) = turn.actions.pop_front() else {
                return Ok(());
            };
            self.run_action(turn, action)?;
        }
    }

    fn run_action(&mut self, turn: &mut Turn<'_>, action: Action) -> Result<(), Disconnect> {
        let Some(mut action) = self.unless_one_room_too_many(turn, action) else { return Ok(()) };
        let hub = &*turn.shard.hub;
        if let Action::Reply(reply) = &mut action {
            turn.hide_erased_since(&mut reply.body);
        }
        match action {
            Action::Reply(reply) if self.listening.is_all() => self.listening.answer(turn, self.encoding, &reply)?,
            Action::Reply(reply) => turn.replies.push(|out| self.encoding.encode_reply(&reply, out)),
            Action::Push(push) => turn.replies.push(|out| self.encoding.encode_push(&push, out)),
            Action::Ping => {
                turn.replies.push(|out| self.encoding.encode_ping(out));
                if self.listening.speech == Speech::Pongs {
                    turn.replies.push_control(Opcode::Ping, &[]);
                }
            }
            Action::Identify => {
                let address = ConnectionAddress { shard: turn.shard.index, key: turn.connection.key };
                let (users, user) = (&hub.local.commands.users, self.session.user());
                let count = users.register(user, address, self.session.client(), self.session_id);
                // Where the newest takes the place of the others, these are about to go.
                if hub.connections.is_too_many_of_user(count) && !self.session.settings().single_connection {
                    return Err(CloseCode::ConnectionLimit.into());
                }
                hub.note_connect(self.session.client(), self.session.user());
            }
            Action::Supersede => {
                let address = ConnectionAddress { shard: turn.shard.index, key: turn.connection.key };
                let (local, user) = (Arc::clone(&hub.local), self.session.user().to_owned());
                // Nobody waits for those who go.
                spawn_local(async move { local.commands.supersede(&user, address).await });
            }
            Action::Close(code) => return Err(code.into()),
            Action::Disconnect { code, reason } => return Err(custom(code, &reason)),
            Action::Ask { ticket, question } => self.ask(turn, ticket, *question)?,
            Action::Subscribe { ticket, room, recover } => {
                let publications_max = self.session.settings().limits.recovery_publications_max;
                let engine = hub.has_place_for_member().and_then(|()| hub.engine(&room));
                match engine.map(|engine| engine.enter(&room, recover.as_ref(), publications_max)) {
                    Err(code) => self.session.subscribed(ticket, Err(code), &mut turn.out),
                    Ok(Answer::Now(entered)) => self.entered(turn, ticket, room, entered),
                    Ok(Answer::Later(work)) => {
                        turn.receiver()?.complete_with(async move { Done::Entered(ticket, room, work.await) });
                    }
                }
            }
            Action::Activate { room, membership, view } => {
                // A session that something else has ended by now has nobody to make a member; its end is among what follows.
                if let Some(info) = self.session.info_in(room.as_str()).cloned() {
                    self.rooms.activate(turn.connection, turn.shard, room, (membership, view), info)?;
                }
            }
            Action::Unsubscribe { ticket, room } => {
                self.rooms.leave(turn.shard, self.session.client(), &room);
                self.session.unsubscribed(ticket, &mut turn.out);
            }
            Action::Publish { ticket, room, publication, terms } => {
                tracing::trace!(client = self.client(), %room, "publish");
                let engine = hub.engine(&room);
                let terms = terms.map(|terms| Box::new(on_terms(*terms)));
                let answers = engine
                    .map(|engine| engine.publish(smallvec![Publish { terms, ..Publish::new(room, publication) }]));
                match answers.map(|mut answers| answers.pop()) {
                    Ok(Some(Answer::Now(published))) => {
                        let is_due = published.is_ok() && turn.shard.delivery.has_published();
                        self.published(turn, ticket, published);
                        if is_due {
                            // Replies before what others publish, as they were said first.
                            turn.flush();
                            turn.shard.deliver_now();
                        }
                    }
                    Ok(Some(Answer::Later(work))) => {
                        turn.receiver()?.complete_with(async move { Done::Published(ticket, work.await) });
                    }
                    Ok(None) => self.published(turn, ticket, Err(ErrorCode::Internal)),
                    Err(code) => self.published(turn, ticket, Err(code)),
                }
            }
            Action::History { ticket, room, query } => {
                let read = hub.engine(&room).map(|engine| engine.history(&room, &query));
                match read.unwrap_or_else(|code| Answer::Now(Err(code))) {
                    Answer::Now(read) => self.read_history(turn, ticket, room, read),
                    Answer::Later(work) => {
                        turn.receiver()?.complete_with(async move { Done::Read(ticket, room, work.await) });
                    }
                }
            }
            Action::Presence { ticket, room } => match hub.members(&room) {
                Answer::Now(members) => self.session.presence(ticket, members, &mut turn.out),
                Answer::Later(work) => {
                    turn.receiver()?.complete_with(async move { Done::Members(ticket, work.await) });
                }
            },
            Action::FetchKeys { ticket, wanted } => match hub.now().keys.clone() {
                Some(fetcher) => {
                    let work = async move { Done::Keys(ticket, fetcher.fetch(wanted).await) };
                    turn.receiver()?.complete_with(work);
                }
                None => self.session.keys_fetched(ticket, Err(KeysUnavailable), &mut turn.out),
            },
            Action::PresenceStats { ticket, room } => match hub.presence_stats(&room) {
                Answer::Now(stats) => self.session.presence_stats(ticket, stats, &mut turn.out),
                Answer::Later(work) => {
                    turn.receiver()?.complete_with(async move { Done::Counted(ticket, work.await) });
                }
            },
        }
        Ok(())
    }

    /// Asks the backend.
    fn ask(&mut self, turn: &Turn<'_>, ticket: Ticket, question: Question) -> Result<(), Disconnect> {
        let way = Way {
            client: self.session.client().to_owned(),
            transport: turn.connection.framing().transport(),
            encoding: self.encoding,
        };
        let (now, receiver) = (turn.shard.hub.now(), turn.receiver()?);
        self.asking.get_or_insert_default().ask(&now.callbacks, &receiver, ticket, question, way);
        Ok(())
    }

    pub(super) fn entered(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        room: RoomName,
        entered: Result<Entered, ErrorCode>,
    ) {
        let before = turn.out.len();
        let entered = entered.map(|entered| self.rooms.remember(room.clone(), entered));
        self.session.subscribed(ticket, entered, &mut turn.out);
        turn.note_found(before, room);
    }

    pub(super) fn read_history(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        room: RoomName,
        read: Result<HistoryResult, ErrorCode>,
    ) {
        let before = turn.out.len();
        self.session.history(ticket, read, &mut turn.out);
        turn.note_found(before, room);
    }

    pub(super) fn published(&mut self, turn: &mut Turn<'_>, ticket: Ticket, published: Result<Accepted, ErrorCode>) {
        if let Ok(Accepted { offset, epoch }) = &published {
            tracing::trace!(client = self.client(), offset, %epoch, "published");
        }
        self.session.published(ticket, published.map(drop), &mut turn.out);
    }

    fn resume_rooms(&mut self, turn: &mut Turn<'_>) -> Result<(), Disconnect> {
        let Turn { connection, shard, .. } = *turn;
        let receiver = || turn.receiver();
        let ended = self.rooms.catch_up(connection, shard, self.session.client(), receiver)?;
        for room in ended {
            if self.rooms.leave(shard, self.session.client(), &room) {
                self.session.expelled(room.as_str(), UnsubscribeCode::InsufficientState, &mut turn.out);
            }
        }
        self.run_actions(turn)
    }
}

impl fmt::Debug for SessionDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionDriver")
            .field("client", &self.client())
            .field("rooms", &self.rooms.len())
            .finish_non_exhaustive()
    }
}
