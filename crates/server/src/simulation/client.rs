//! A client that is played: it says what the simulation has it say, and checks all that it hears.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::heard::{Ear, Form, Heard};
use super::model::{Invariant, Model, Sight};
use super::server::Server;
use crate::config::SlowConsumer;
use crate::wire::framing::Framing;
use crate::wire::socket_double::SocketDouble;
use bytes::Bytes;
use roomcast_protocol::Encoding;

/// One client, over all its connections.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) user: String,
    pub(super) form: Form,
    /// How many bytes it takes from its socket the next time it looks; all of them where nothing is said.
    pub(super) takes: Option<usize>,
    /// It does not answer pings.
    pub(super) is_mute: bool,
    pub(super) line: Option<Line>,
    /// Where it was in rooms, for when it comes back.
    places: BTreeMap<String, (String, u64)>,
    /// The rooms that it was in when it went, until it has come back into them.
    pub(super) wanted: BTreeSet<String>,
    /// It comes back into them as SDKs do, with where it was in them.
    recovers: bool,
    /// Everything it has heard, for whoever compares.
    pub(super) log: String,
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) socket: SocketDouble,
    ear: Ear,
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
    Subscribe { room: String, since: Option<(String, u64)>, at: u64 },
    Unsubscribe { room: String },
    Publish { number: u64 },
    History { room: String, at: u64, is_last: bool },
    Presence { room: String, is_last: bool },
}

/// Being in a room.
#[derive(Debug, Default)]
pub(super) struct InRoom {
    pub(super) epoch: String,
    /// The offset it has come to, where the room has any.
    pub(super) offset: Option<u64>,
    pub(super) since: u64,
    /// What it was given, in its order.
    pub(super) given: Vec<u64>,
    pub(super) given_set: BTreeSet<u64>,
    /// Who it was told of last: whether that one has come.
    pub(super) told: BTreeMap<String, bool>,
}

/// What was found when everything was at rest.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) histories: BTreeMap<String, BTreeSet<u64>>,
    pub(super) present: BTreeMap<String, BTreeSet<String>>,
}

impl Client {
    pub(super) fn new(user: String, form: Form) -> Self {
        Self {
            user,
            form,
            takes: None,
            is_mute: false,
            line: None,
            places: BTreeMap::new(),
            wanted: BTreeSet::new(),
            recovers: true,
            log: String::new(),
        }
    }

    /// Connects by a socket that holds so many bytes, on one of the server's shards.
    pub(super) fn connect(&mut self, server: &Server, socket: SocketDouble, shard: usize, recovers: bool) {
        self.recovers = recovers;
        let framing = match self.form {
            Form::Frames => Framing::Frames(Encoding::Json),
            Form::Chunks => Framing::Stream(Encoding::Json),
            Form::Events => Framing::Events(Encoding::Json),
        };
        let frame = Bytes::from_static(b"{\"id\":1,\"connect\":{}}");
        server.take_in(&socket, framing, &self.user, frame, shard);
        self.line = Some(Line {
            socket,
            ear: Ear::new(self.form),
            client: None,
            session: None,
            next_id: 2,
            asked: BTreeMap::from([(1, Asked::Connect)]),
            stays: BTreeMap::new(),
        });
        (self.takes, self.is_mute) = (None, false);
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

    /// Whether something about being in that room has not been answered.
    pub(super) fn is_moving(&self, room: &str) -> bool {
        let is_about = |asked: &Asked| match asked {
            Asked::Subscribe { room: of, .. } | Asked::Unsubscribe { room: of } => of == room,
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
            self.wanted.insert(room.clone());
            self.places.extend(stay.offset.map(|offset| (room, (stay.epoch, offset))));
        }
    }

    /// Once it is connected: enters the rooms again that it was in, all in one frame.
    fn come_back(&mut self, server: &Server, model: &mut Model) {
        if !self.is_connected() || self.wanted.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        let commands = wanted.iter().map(|room| self.subscribe(model, room, self.recovers)).collect();
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
    pub(super) fn subscribe(&self, model: &mut Model, room: &str, recovers: bool) -> (Asked, Value) {
        let since = self.places.get(room).filter(|_| recovers).cloned();
        let mut command = json!({"subscribe": {"channel": room}});
        if let Some((epoch, offset)) = &since {
            command["subscribe"] = json!({"channel": room, "recover": true, "epoch": epoch, "offset": offset});
        }
        (Asked::Subscribe { room: room.to_owned(), since, at: model.tick() }, command)
    }

    /// Takes what has come on its socket, and checks it.
    pub(super) fn listen(&mut self, server: &Server, model: &mut Model, found: &mut Found) {
        let mut heard = Vec::new();
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
                Heard::Message(message, written) => {
                    if !is_ping(&message) {
                        let _ = writeln!(self.log, "{message}");
                    }
                    self.hear(server, model, found, &message, written);
                }
                Heard::Closed(code) => {
                    let _ = writeln!(self.log, "closed {code}");
                    check_close(model, code, &self.user);
                }
            }
        }
        if is_over {
            if let Some(line) = &self.line {
                line.socket.leave();
            }
            return self.is_gone(model);
        }
        self.come_back(server, model);
    }

    fn hear(&mut self, server: &Server, model: &mut Model, found: &mut Found, message: &Value, written: u64) {
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
            return self.hear_reply(model, found, asked, message, written);
        }
        let push = &message["push"];
        if let Some(code) = push["disconnect"]["code"].as_u64() {
            return check_close(model, code as u16, &self.user);
        }
        let room = push["channel"].as_str().unwrap_or_default().to_owned();
        let Some(client) = line.client.clone() else {
            return model.break_with(Invariant::Alive, format!("a push before it is connected: {message}"));
        };
        let Some(stay) = line.stays.get_mut(&room) else {
            return model.break_with(Invariant::Presence, format!("{} is not in {room}, and hears {push}", self.user));
        };
        if push["pub"].is_object() {
            hear_publication(model, stay, &room, &push["pub"], written);
        } else if push["join"].is_object() || push["leave"].is_object() {
            let is_join = push["join"].is_object();
            let info = if is_join { &push["join"]["info"] } else { &push["leave"]["info"] };
            let who = info["client"].as_str().unwrap_or_default().to_owned();
            if stay.told.insert(who.clone(), is_join) == Some(is_join) {
                let how =
                    format!("{client} is told twice that {who} {} {room}", if is_join { "enters" } else { "leaves" });
                model.break_with(Invariant::Balance, how);
            }
        } else if push["unsubscribe"].is_object() {
            let stay = line.stays.remove(&room);
            model.left(&room, &client);
            if let Some(InRoom { epoch, offset: Some(offset), .. }) = stay {
                self.places.insert(room, (epoch, offset));
            }
        } else {
            model.break_with(Invariant::Alive, format!("nobody knows what this is: {message}"));
        }
    }

    fn hear_reply(&mut self, model: &mut Model, found: &mut Found, asked: Asked, reply: &Value, written: u64) {
        let Some(line) = &mut self.line else { return };
        if let Some(code) = reply["error"]["code"].as_u64() {
            // The database may be in trouble; the rest we have not deserved.
            if ![100, 111].contains(&code) {
                model.break_with(Invariant::Alive, format!("{asked:?} is answered {reply}"));
            }
            return;
        }
        match asked {
            Asked::Connect => {
                let text = |name: &str| reply["connect"][name].as_str().map(str::to_owned);
                (line.client, line.session) = (text("client"), text("session"));
            }
            Asked::Subscribe { room, since, at } => {
                let Some(client) = line.client.clone() else { return };
                let result = &reply["subscribe"];
                let stay = enter(model, &room, (since, at), result, &client, written);
                line.stays.insert(room, stay);
            }
            Asked::Unsubscribe { room } => {
                if let (Some(client), Some(stay)) = (&line.client, line.stays.remove(&room)) {
                    model.left(&room, client);
                    self.places.extend(stay.offset.map(|offset| (room, (stay.epoch, offset))));
                }
            }
            Asked::Publish { number } => model.acknowledged(number, written),
            Asked::History { room, at, is_last } => {
                let result = &reply["history"];
                let numbers = hear_history(model, &room, at, result, written);
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

fn enter(
    model: &mut Model,
    room: &str,
    (asked, asked_at): (Option<(String, u64)>, u64),
    result: &Value,
    client: &str,
    written: u64,
) -> InRoom {
    let has_history = model.rooms.get(room).is_some_and(super::model::RoomKind::has_history);
    let since = model.entered(room, client, asked_at);
    let epoch = result["epoch"].as_str().unwrap_or_default().to_owned();
    let mut offset = result["offset"].as_u64().unwrap_or(0);
    let mut stay = InRoom { epoch: epoch.clone(), since, ..InRoom::default() };
    let publications = result["publications"].as_array().map_or(&[][..], |publications| publications);
    let has_recovered = result["recovered"].as_bool().unwrap_or(false);
    match asked {
        Some((asked_epoch, asked_offset)) if has_recovered => {
            if asked_epoch != epoch {
                let how = format!("{client} has recovered in {room} from another epoch, {asked_epoch}, in {epoch}");
                model.break_with(Invariant::NoGap, how);
            }
            let mut next = asked_offset;
            for publication in publications {
                next += 1;
                if publication["offset"].as_u64() != Some(next) {
                    let how = format!("{client} recovers {publication} in {room} in place of {next}");
                    model.break_with(Invariant::NoGap, how);
                }
                let sight = Sight { room, epoch: &epoch, written, asked_at: Some(asked_at) };
                if let Some(number) = model.saw(sight, publication) {
                    stay.given.push(number);
                    stay.given_set.insert(number);
                }
            }
            // What does not fit comes behind the reply, whose offset is then the one that was asked for.
            if offset != next && offset != asked_offset {
                let how = format!("{client} has recovered {asked_offset} to {next} in {room}, which is at {offset}");
                model.break_with(Invariant::NoGap, how);
            }
            offset = next;
        }
        _ if !publications.is_empty() => {
            model.break_with(
                Invariant::NoGap,
                format!("{client} has not recovered in {room}, and is given {publications:?}"),
            );
        }
        // Where all of it is there and there is memory, nobody is told to load the page anew.
        Some((asked_epoch, asked_offset))
            if asked_epoch == epoch && asked_offset <= offset && model.has_all(room) && !model.is_scarce =>
        {
            let how = format!("{client} has not recovered {asked_offset} to {offset} in {room}, which has them");
            model.break_with(Invariant::NoGap, how);
        }
        _ => {}
    }
    if has_history {
        model.note_top(room, &epoch, offset);
        stay.offset = Some(offset);
    }
    stay
}

fn hear_publication(model: &mut Model, stay: &mut InRoom, room: &str, publication: &Value, written: u64) {
    let slow = model.rooms.get(room).map(|kind| kind.slow);
    let sight = Sight { room, epoch: &stay.epoch, written, asked_at: None };
    let number = model.saw(sight, publication);
    if let Some(number) = number {
        stay.given.push(number);
        if !stay.given_set.insert(number) {
            model.break_with(Invariant::NoDuplicate, format!("{number} is given twice in {room}"));
        }
    }
    let (Some(before), Some(offset)) = (stay.offset, publication["offset"].as_u64()) else { return };
    if offset <= before {
        model.break_with(Invariant::NoDuplicate, format!("{offset} comes behind {before} in {room}"));
    } else if offset > before + 1 && slow != Some(SlowConsumer::Latest) {
        model.break_with(Invariant::NoGap, format!("{offset} comes behind {before} in {room}"));
    }
    stay.offset = Some(offset);
}

fn hear_history(model: &mut Model, room: &str, at: u64, result: &Value, written: u64) -> BTreeSet<u64> {
    let epoch = result["epoch"].as_str().unwrap_or_default();
    let publications = result["publications"].as_array().map_or(&[][..], |publications| publications);
    let mut numbers = BTreeSet::new();
    let mut before: Option<u64> = None;
    for publication in publications {
        let offset = publication["offset"].as_u64();
        if before.is_some_and(|before| offset != Some(before + 1)) {
            model.break_with(
                Invariant::NoGap,
                format!("{publication} comes behind {before:?} in the history of {room}"),
            );
        }
        before = offset;
        let sight = Sight { room, epoch, written, asked_at: Some(at) };
        numbers.extend(model.saw(sight, publication));
    }
    let top = result["offset"].as_u64().unwrap_or(0);
    if before.is_some_and(|before| before > top) {
        model.break_with(Invariant::NoGap, format!("the history of {room} ends at {before:?}, and the room at {top}"));
    }
    numbers
}

fn is_ping(message: &Value) -> bool {
    message.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Codes with which a client may be closed: the server ends, it was slow, did not answer, or was sent away.
fn check_close(model: &mut Model, code: u16, user: &str) {
    if ![1000, 3001, 3008, 3012, 3503].contains(&code) {
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
