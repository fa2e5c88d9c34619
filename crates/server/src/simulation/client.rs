//! A client that is played: it says what the simulation has it say, and checks all that it hears.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::heard::{Ear, Form, Heard, Moment};
use super::model::{Invariant, Model};
use super::server::Server;
use super::site::NO;
use super::stay::{Entry, InRoom, Wish, filter, hear_history};
use super::token::Term;
use crate::wire::framing::Framing;
use crate::wire::socket_double::SocketDouble;
use bytes::Bytes;
use roomcast_protocol::Encoding;

/// How long a server may take to write to a socket that is empty: it waits for nothing, and all that it does at once takes no time.
const PATIENCE: Duration = Duration::from_millis(5);

/// The code of an answer that something is not allowed.
const DENIED: u64 = 103;

/// The code with which somebody is put out of a room whose token is over.
const EXPIRED: u64 = 2_501;

/// One client, over all its connections.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) user: String,
    pub(super) form: Form,
    /// How many bytes it takes from its socket the next time it looks; all of them where nothing is said.
    pub(super) takes: Option<usize>,
    /// How many it takes whenever it looks from then on.
    pub(super) takes_each_time: Option<usize>,
    /// It does not answer pings.
    pub(super) is_mute: bool,
    pub(super) line: Option<Line>,
    /// Where it was in rooms, for when it comes back.
    places: BTreeMap<String, (String, u64)>,
    /// The rooms that it was in when it went, until it has come back into them, and how.
    pub(super) wanted: BTreeMap<String, (Wish, Option<Term>)>,
    /// It comes back into them as SDKs do, with where it was in them.
    pub(super) recovers: bool,
    /// Everything it has heard, for whoever compares.
    pub(super) log: String,
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) socket: SocketDouble,
    ear: Ear,
    /// How long it may be there.
    pub(super) term: Option<Term>,
    /// Since when it has taken all there is, and the server has more for it.
    stuck_since: Option<Instant>,
    /// Its name, once it knows it.
    pub(super) client: Option<String>,
    session: Option<String>,
    next_id: u64,
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) stays: BTreeMap<String, InRoom>,
}

/// A command that has not been answered.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Connect,
    Refresh,
    /// May be too late.
    SubRefresh {
        room: String,
        may_be_over: bool,
    },
    Subscribe(Entry),
    Unsubscribe {
        room: String,
    },
    /// With the number of the change of the configuration that forbids it.
    Publish {
        number: u64,
        room: String,
        forbidden_by: Option<u64>,
    },
    History {
        room: String,
        at: u64,
        is_last: bool,
    },
    Presence {
        room: String,
        is_last: bool,
    },
}

/// What was found when everything was at rest.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) histories: BTreeMap<String, BTreeSet<u64>>,
    pub(super) present: BTreeMap<String, BTreeSet<String>>,
}

impl Line {
    fn is_renewing(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Refresh))
    }

    fn is_renewing_in(&self, room: &str) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::SubRefresh { room: of, .. } if of == room))
    }

    /// How long it may be there, and in the rooms that it is in or enters.
    pub(super) fn terms(&mut self) -> impl Iterator<Item = &mut Term> {
        let entering = self.asked.values_mut().filter_map(|asked| match asked {
            Asked::Subscribe(entry) => entry.term.as_mut(),
            _ => None,
        });
        let rooms = self.stays.values_mut().filter_map(|stay| stay.term.as_mut());
        self.term.iter_mut().chain(rooms).chain(entering)
    }

    /// Whether its time may be over: by its token, or by the one before, if the new one waits behind what was said earlier.
    fn may_be_over(&self) -> bool {
        self.term.is_some_and(|term| term.may_be_over() || self.is_renewing())
    }
}

impl Client {
    pub(super) fn new(user: String, form: Form) -> Self {
        Self {
            user,
            form,
            takes: None,
            takes_each_time: None,
            is_mute: false,
            line: None,
            places: BTreeMap::new(),
            wanted: BTreeMap::new(),
            recovers: true,
            log: String::new(),
        }
    }

    /// Connects by a socket that holds so many bytes, on one of the server's shards.
    pub(super) fn connect(&mut self, server: &Server, socket: SocketDouble, shard: usize, term: Option<Term>) {
        let framing = match self.form {
            Form::Frames => Framing::Frames(Encoding::Json),
            Form::Chunks => Framing::Stream(Encoding::Json),
            Form::Events => Framing::Events(Encoding::Json),
        };
        let asks = term.map_or_else(|| json!({}), |term| json!({"token": server.token(&self.user, None, term)}));
        let frame = Bytes::from(json!({"id": 1, "connect": asks}).to_string());
        // Who says by a token who it is says it by nothing else.
        let user = term.is_none().then_some(self.user.as_str());
        server.take_in(&socket, framing, user, frame, shard);
        self.line = Some(Line {
            socket,
            ear: Ear::new(self.form),
            term,
            stuck_since: None,
            client: None,
            session: None,
            next_id: 2,
            asked: BTreeMap::from([(1, Asked::Connect)]),
            stays: BTreeMap::new(),
        });
        (self.takes, self.takes_each_time, self.is_mute) = (None, None, false);
    }

    /// Whether it is connected, and knows.
    pub(super) fn is_connected(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.client.is_some())
    }

    pub(super) fn client(&self) -> Option<&str> {
        self.line.as_ref()?.client.as_deref()
    }

    pub(super) fn is_in(&self, room: &str) -> bool {
        self.line.as_ref().is_some_and(|line| line.stays.contains_key(room))
    }

    /// Since when it is in a room.
    pub(super) fn since(&self, room: &str) -> Option<u64> {
        self.line.as_ref()?.stays.get(room).map(|stay| stay.since)
    }

    /// Whether it has taken all there is, all that it has said is answered, and nothing more waits for it.
    pub(super) fn has_taken_all(&self, server: &Server) -> bool {
        let Some(line) = self.line.as_ref().filter(|_| self.takes.is_none()) else { return false };
        let has_none = |client: &str| server.waiting_bytes(client) == 0;
        // What the server wants of it comes behind what it has said.
        let is_heard = line.asked.is_empty();
        is_heard && line.socket.untaken() == 0 && !line.socket.is_over() && line.client.as_deref().is_some_and(has_none)
    }

    /// The rooms it is in.
    pub(super) fn rooms(&self) -> Vec<String> {
        self.line.iter().flat_map(|line| line.stays.keys().cloned()).collect()
    }

    /// Whether something about being in that room has not been answered.
    pub(super) fn is_moving(&self, room: &str) -> bool {
        let is_about = |asked: &Asked| match asked {
            Asked::Subscribe(Entry { room: of, .. }) | Asked::Unsubscribe { room: of } => of == room,
            _ => false,
        };
        self.line.as_ref().is_some_and(|line| line.asked.values().any(is_about))
    }

    /// The socket is gone, whoever has ended it.
    pub(super) fn is_gone(&mut self, model: &mut Model) {
        let Some(line) = self.line.take() else { return };
        let Some(client) = line.client else { return };
        for (room, stay) in line.stays {
            model.left(&room, &client);
            self.wanted.insert(room.clone(), (stay.wish, stay.term));
            self.places.extend(stay.offset.map(|offset| (room, (stay.epoch, offset))));
        }
    }

    /// Once it is connected: enters the rooms again that it was in, all in one frame.
    fn come_back(&mut self, server: &Server, model: &mut Model) {
        if !self.is_connected() || self.wanted.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        let come = |(room, (wish, term)): (String, (Wish, Option<Term>))| {
            self.subscribe(server, model, &room, self.recovers, (wish, term.map(Term::again)))
        };
        let commands = wanted.into_iter().map(come).collect();
        self.say(server, model, commands);
    }

    /// Says some commands in one frame.
    pub(super) fn say(&mut self, server: &Server, model: &mut Model, commands: Vec<(Asked, Value)>) {
        let Some(line) = &mut self.line else { return };
        let mut frame = String::new();
        for (asked, mut command) in commands {
            let id = line.next_id;
            line.next_id += 1;
            command["id"] = json!(id);
            let _ = writeln!(frame, "{command}");
            line.asked.insert(id, asked);
        }
        model.tick();
        self.send(server, &frame);
    }

    fn send(&self, server: &Server, frame: &str) {
        let Some(line) = &self.line else { return };
        match (self.form, &line.session) {
            (Form::Frames, _) => line.socket.say(&masked(frame.trim_end().as_bytes())),
            (_, Some(session)) => {
                let (hub, session, frame) = (server.hub.clone(), session.clone(), Bytes::from(frame.to_owned()));
                // It may have ended.
                tokio::task::spawn_local(async move {
                    let _ = hub.commands.take_frame(session, frame).await;
                });
            }
            (_, None) => {}
        }
    }

    /// What it says to enter a room, from where it was if it is to recover.
    pub(super) fn subscribe(
        &self,
        server: &Server,
        model: &mut Model,
        room: &str,
        recovers: bool,
        (wish, term): (Wish, Option<Term>),
    ) -> (Asked, Value) {
        let since = self.places.get(room).filter(|_| recovers).cloned();
        let mut asks = json!({"channel": room});
        if let Some((epoch, offset)) = &since {
            (asks["recover"], asks["epoch"], asks["offset"]) = (json!(true), json!(epoch), json!(offset));
        }
        match wish {
            Wish::All => {}
            Wish::Deltas => asks["delta"] = json!("fossil"),
            Wish::Tagged(tag) => asks["tf"] = filter(tag),
        }
        if let Some(term) = term {
            asks["token"] = json!(server.token(&self.user, Some(room), term));
        }
        let entry = Entry { room: room.to_owned(), since, at: model.tick(), wish, term };
        (Asked::Subscribe(entry), json!({"subscribe": asks}))
    }

    /// Whether it waits in vain: it takes everything, the server has more for it, and nothing comes.
    pub(super) fn waits_in_vain(&mut self, server: &Server) -> bool {
        let takes_all = self.takes.is_none();
        let Some(line) = &mut self.line else { return false };
        let is_empty = takes_all && line.socket.untaken() == 0 && !line.socket.is_over();
        let waits = is_empty && line.client.as_deref().is_some_and(|client| server.waiting_bytes(client) > 0);
        line.stuck_since = waits.then(|| line.stuck_since.unwrap_or_else(Instant::now));
        line.stuck_since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Takes what has come on its socket, and checks it.
    pub(super) fn listen(&mut self, server: &Server, model: &mut Model, found: &mut Found) {
        let mut heard = Vec::new();
        self.takes = self.takes_each_time.or(self.takes);
        let Some(line) = &mut self.line else { return };
        loop {
            let most = self.takes.unwrap_or(usize::MAX);
            if most == 0 {
                break;
            }
            let Some((bytes, written)) = line.socket.take(most) else { break };
            self.takes = self.takes.map(|takes| takes - bytes.len());
            if let Err(error) = line.ear.take(&bytes, written, &mut heard) {
                model.break_with(Invariant::OneOrder, format!("what came cannot be read: {error}"));
            }
        }
        let is_over = line.socket.is_over() && line.socket.untaken() == 0;
        for heard in heard {
            match heard {
                Heard::Message(message, when) => {
                    if !is_ping(&message) {
                        let _ = writeln!(self.log, "{message}");
                    }
                    self.hear(server, model, found, &message, when);
                }
                Heard::Closed(code) => {
                    let _ = writeln!(self.log, "closed {code}");
                    let may_be_over = self.line.as_ref().is_some_and(Line::may_be_over);
                    check_close(model, code, &self.user, may_be_over);
                }
            }
        }
        if is_over {
            if let Some(line) = &self.line {
                line.socket.leave();
            }
            return self.is_gone(model);
        }
        self.renew(server, model);
        self.come_back(server, model);
    }

    /// Brings a new token where it is time.
    fn renew(&mut self, server: &Server, model: &mut Model) {
        let Some(line) = self.line.as_mut().filter(|line| line.client.is_some()) else { return };
        let mut commands = Vec::new();
        if let Some(term) = line.term.filter(Term::is_due).filter(|_| !line.is_renewing()) {
            let term = term.again();
            line.term = Some(term);
            let command = json!({"refresh": {"token": server.token(&self.user, None, term)}});
            commands.push((Asked::Refresh, command));
        }
        let is_due = |stay: &InRoom| stay.term.is_some_and(|term| term.is_due());
        let due: Vec<String> =
            line.stays.iter().filter(|(_, stay)| is_due(stay)).map(|(room, _)| room.clone()).collect();
        for room in due.into_iter().filter(|room| !line.is_renewing_in(room)).collect::<Vec<_>>() {
            let Some(stay) = line.stays.get_mut(&room) else { continue };
            let Some(before) = stay.term else { continue };
            let term = before.again();
            stay.term = Some(term);
            let token = server.token(&self.user, Some(&room), term);
            let command = json!({"sub_refresh": {"channel": room, "token": token}});
            commands.push((Asked::SubRefresh { room, may_be_over: before.may_be_over() }, command));
        }
        if !commands.is_empty() {
            self.say(server, model, commands);
        }
    }

    fn hear(&mut self, server: &Server, model: &mut Model, found: &mut Found, message: &Value, when: Moment) {
        let Some(line) = &mut self.line else { return };
        if is_ping(message) {
            if !self.is_mute {
                self.send(server, "{}");
            }
            return;
        }
        if let Some(id) = message["id"].as_u64() {
            let Some(asked) = line.asked.remove(&id) else {
                return model.break_with(Invariant::Alive, format!("an answer to nothing: {message}"));
            };
            return self.hear_reply(model, found, asked, message, when);
        }
        let push = &message["push"];
        if let Some(code) = push["disconnect"]["code"].as_u64() {
            let may_be_over = line.may_be_over();
            return check_close(model, code as u16, &self.user, may_be_over);
        }
        let room = push["channel"].as_str().unwrap_or_default().to_owned();
        let Some(client) = line.client.clone() else {
            return model.break_with(Invariant::Alive, format!("a push before it is connected: {message}"));
        };
        let Some(stay) = line.stays.get_mut(&room) else {
            return model.break_with(Invariant::Presence, format!("{} is not in {room}, and hears {push}", self.user));
        };
        if push["pub"].is_object() {
            stay.hear(model, &room, &push["pub"], when);
        } else if push["join"].is_object() || push["leave"].is_object() {
            let is_join = push["join"].is_object();
            if !model.rooms.get(&room).is_some_and(|kind| kind.hears) {
                let how = format!("{client} is to hear of nobody in {room}, and hears {push}");
                model.break_with(Invariant::Presence, how);
            }
            let info = if is_join { &push["join"]["info"] } else { &push["leave"]["info"] };
            let who = info["client"].as_str().unwrap_or_default().to_owned();
            if stay.told.insert(who.clone(), is_join) == Some(is_join) {
                let how =
                    format!("{client} is told twice that {who} {} {room}", if is_join { "enters" } else { "leaves" });
                model.break_with(Invariant::Balance, how);
            }
        } else if push["unsubscribe"].is_object() {
            let may_be_over = stay.term.is_some_and(|term| term.may_be_over());
            let code = push["unsubscribe"]["code"].as_u64();
            if code == Some(EXPIRED) && !may_be_over && !line.is_renewing_in(&room) && !model.has_jumped {
                let how =
                    format!("{client} is put out of {room} before its time is over: {:?}", line.stays[&room].term);
                model.break_with(Invariant::Alive, how);
            }
            let stay = line.stays.remove(&room);
            model.left(&room, &client);
            if let Some(InRoom { epoch, offset: Some(offset), .. }) = stay {
                self.places.insert(room, (epoch, offset));
            }
        } else {
            model.break_with(Invariant::Alive, format!("nobody knows what this is: {message}"));
        }
    }

    fn hear_reply(&mut self, model: &mut Model, found: &mut Found, asked: Asked, reply: &Value, when: Moment) {
        let Some(line) = &mut self.line else { return };
        if let Some(code) = reply["error"]["code"].as_u64() {
            let is_out = matches!(&asked, Asked::SubRefresh { room, .. } if !line.stays.contains_key(room));
            if let Asked::SubRefresh { room, .. } = &asked
                && let Some(term) = line.stays.get_mut(room).and_then(|stay| stay.term.as_mut())
            {
                term.is_refused();
            }
            if !(may_be_answered(model, &asked, code) || is_out && code == DENIED) {
                model.break_with(Invariant::Alive, format!("{asked:?} is answered {reply}"));
            }
            return;
        }
        match asked {
            Asked::Connect => {
                let text = |name: &str| reply["connect"][name].as_str().map(str::to_owned);
                (line.client, line.session) = (text("client"), text("session"));
            }
            Asked::Refresh | Asked::SubRefresh { .. } => {}
            Asked::Subscribe(entry) => {
                let Some(client) = line.client.clone() else { return };
                let asks =
                    model.rooms.get(&entry.room).is_some_and(|kind| kind.asks.subscribing) && entry.term.is_none();
                if asks && !model.site.borrow().allows_client(&client, &entry.room) {
                    let how = format!("{client} is in {}, and the backend has not allowed it", entry.room);
                    model.break_with(Invariant::Alive, how);
                }
                let room = entry.room.clone();
                let stay = InRoom::enter(model, entry, &reply["subscribe"], &client, when);
                line.stays.insert(room, stay);
            }
            Asked::Unsubscribe { room } => {
                if let (Some(client), Some(stay)) = (&line.client, line.stays.remove(&room)) {
                    model.left(&room, client);
                    self.places.extend(stay.offset.map(|offset| (room, (stay.epoch, offset))));
                }
            }
            Asked::Publish { forbidden_by, number, .. } if forbidden_by == Some(model.forbids.changes) => {
                model.break_with(Invariant::Alive, format!("{number} is acknowledged, and nobody may publish there"));
            }
            Asked::Publish { number, .. } => model.acknowledged(number, when.first),
            Asked::History { room, at, is_last } => {
                let result = &reply["history"];
                let numbers = hear_history(model, &room, at, result, when);
                if is_last {
                    found.histories.insert(room, numbers);
                }
            }
            Asked::Presence { room, is_last } => {
                let present = reply["presence"]["presence"].as_object();
                let present = present.map(|present| present.keys().cloned().collect()).unwrap_or_default();
                if is_last {
                    found.present.insert(room, present);
                }
            }
        }
    }
}

fn is_ping(message: &Value) -> bool {
    message.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Whether that may be answered with a code: the database may be in trouble, or memory used up, or the configuration is another one;
/// the rest we have not deserved.
fn may_be_answered(model: &Model, asked: &Asked, code: u64) -> bool {
    let room = match asked {
        Asked::Connect | Asked::Refresh => "",
        Asked::Subscribe(Entry { room, .. })
        | Asked::Unsubscribe { room }
        | Asked::SubRefresh { room, .. }
        | Asked::Publish { room, .. }
        | Asked::History { room, .. }
        | Asked::Presence { room, .. } => room,
    };
    match code {
        100 | 111 => true,
        102 => model.forbids.has_rooms.contains(room),
        DENIED => match asked {
            Asked::Publish { .. } => model.forbids.has_publishing.contains(room),
            Asked::SubRefresh { may_be_over, .. } => *may_be_over || model.has_jumped,
            _ => false,
        },
        106 => model.are_rings_scarce || model.are_rooms_scarce,
        109 => match asked {
            // It has waited behind others for longer than it was good for.
            Asked::Subscribe(Entry { term: Some(term), .. }) if term.may_be_over() => true,
            Asked::SubRefresh { .. } => true,
            _ => model.has_jumped,
        },
        NO => model.rooms.get(room).is_some_and(|kind| match asked {
            Asked::Subscribe(_) => kind.asks.subscribing,
            _ => kind.asks.publishing,
        }),
        _ => false,
    }
}

/// Codes with which a client may be closed: the server ends, it was slow, did not answer, was sent away, or its time was over.
fn check_close(model: &mut Model, code: u16, user: &str, may_be_over: bool) {
    let is_meant = match code {
        1000 | 3001 | 3008 | 3012 | 3503 => true,
        3005 => model.has_jumped || may_be_over,
        _ => false,
    };
    if !is_meant {
        model.break_with(Invariant::Alive, format!("{user} is closed with {code}"));
    }
}

/// A text frame of a WebSocket client. Its mask is of zeros, which change nothing.
fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        length @ ..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}
