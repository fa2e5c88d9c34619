//! What may happen in the world of a seed, beside that time passes.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_local;

use super::client::{Asked, Client};
use super::disk::Health;
use super::server::Server;
use super::world::{Late, World};
use crate::config::Storage;
use crate::rooms::engine::{Erase, Publish, PublishBatch};
use crate::rooms::users::Recipients;
use crate::wire::socket_double::SocketDouble;
use roomcast_protocol::{CloseCode, Payload, Publication, RoomName, UnsubscribeCode};

/// What may happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Flood,
    PublishBatch,
    Leave,
    Miss,
    Slow,
    Mute,
    History,
    Presence,
    Erase,
    RemoveHistory,
    Disk,
    Clock,
    PutOut,
    Close,
    Wait,
}

/// And how often it does.
pub(super) const ACTIONS: &[(u64, Action)] = &[
    (20, Action::Connect),
    (20, Action::Subscribe),
    (6, Action::Unsubscribe),
    (40, Action::Publish),
    (1, Action::Flood),
    (6, Action::PublishBatch),
    (5, Action::Leave),
    (12, Action::Miss),
    (10, Action::Slow),
    (1, Action::Mute),
    (5, Action::History),
    (3, Action::Presence),
    (4, Action::Erase),
    (1, Action::RemoveHistory),
    (6, Action::Disk),
    (3, Action::Clock),
    (2, Action::PutOut),
    (2, Action::Close),
    (6, Action::Wait),
];

impl World {
    fn room(&mut self) -> String {
        self.dice.pick(&self.plan.rooms).name.clone()
    }

    /// A room, and often one that somebody will come back into.
    fn busy_room(&mut self) -> String {
        let away = self.clients.iter().filter(|client| client.line.is_none());
        let wanted: BTreeSet<&String> = away.flat_map(|client| &client.wanted).collect();
        let wanted: Vec<String> = wanted.into_iter().cloned().collect();
        if wanted.is_empty() || self.dice.percent(40) { self.room() } else { self.dice.pick(&wanted).clone() }
    }

    /// One of the clients that are connected.
    pub(super) fn connected(&mut self) -> Option<usize> {
        let connected: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].is_connected()).collect();
        (!connected.is_empty()).then(|| *self.dice.pick(&connected))
    }

    pub(super) fn act(&mut self, server: &Rc<Server>, action: Action) {
        match action {
            Action::Connect => self.connect(server),
            Action::Subscribe => {
                let (Some(at), room) = (self.connected(), self.room()) else { return };
                if !self.clients[at].is_in(&room) && !self.clients[at].is_moving(&room) {
                    self.subscribe(server, at, &room);
                }
            }
            Action::Unsubscribe => {
                let (Some(at), room) = (self.connected(), self.room()) else { return };
                if self.clients[at].is_in(&room) && !self.clients[at].is_moving(&room) {
                    self.detail(format_args!("{at} leaves {room}"));
                    let command = json!({"unsubscribe": {"channel": room}});
                    self.clients[at].say(server, &mut self.model, vec![(Asked::Unsubscribe { room }, command)]);
                }
            }
            Action::Publish => {
                let count = self.dice.weighed(&[(8, 1), (3, 3), (1, 20)]);
                self.publish(server, count);
            }
            Action::Flood => {
                let count = self.dice.between(200, 1_500);
                self.publish(server, count);
            }
            Action::PublishBatch => {
                let (room, count) = (self.busy_room(), self.dice.between(1, 5));
                self.publish_batch(server, &room, count);
            }
            Action::Leave => {
                let Some(at) = self.connected() else { return };
                self.leave(at);
            }
            Action::Miss => self.miss(server),
            Action::Slow => {
                let Some(at) = self.connected() else { return };
                let takes = self.dice.weighed(&[(3, Some(0)), (2, Some(100)), (2, Some(5_000)), (4, None)]);
                self.detail(format_args!("{at} takes {takes:?}"));
                self.clients[at].takes = takes;
            }
            Action::Mute => {
                let Some(at) = self.connected() else { return };
                self.detail(format_args!("{at} answers no pings"));
                self.clients[at].is_mute = true;
            }
            Action::History | Action::Presence => {
                let (Some(at), room) = (self.connected(), self.room()) else { return };
                self.ask(server, at, &room, matches!(action, Action::History), false);
            }
            Action::Erase => self.erase(server),
            Action::RemoveHistory => self.remove_history(server),
            Action::Disk => {
                let health = Health {
                    slow: Duration::from_millis(*self.dice.pick(&[0, 2, 50, 800])),
                    refused: self.dice.weighed(&[(6, 0), (2, 30), (1, 100)]),
                    unanswered: self.dice.weighed(&[(6, 0), (1, 30)]),
                    unread: self.dice.weighed(&[(6, 0), (1, 30), (1, 100)]),
                };
                self.detail(format_args!("{health:?}"));
                self.disk.set_health(health);
            }
            Action::Clock => {
                let by_ms = *self.dice.pick(&[-90_000_000, -100_000, -900, 900, 100_000, 90_000_000]);
                self.detail(format_args!("by {by_ms} ms"));
                self.clock.jump(by_ms);
            }
            Action::PutOut | Action::Close => self.command(server, matches!(action, Action::Close)),
            Action::Wait => {}
        }
    }

    fn leave(&mut self, at: usize) {
        self.detail(format_args!("{at} is gone"));
        let client = &mut self.clients[at];
        if let Some(line) = &client.line {
            if self.dice.percent(50) { line.socket.leave() } else { line.socket.cut() }
        }
        client.is_gone(&mut self.model);
    }

    /// Somebody goes who is in a room, and the room goes on.
    fn miss(&mut self, server: &Rc<Server>) {
        let is_in_one = |client: &Client| client.line.as_ref().is_some_and(|line| !line.stays.is_empty());
        let members: Vec<usize> = (0..self.clients.len()).filter(|at| is_in_one(&self.clients[*at])).collect();
        if members.is_empty() {
            return;
        }
        let at = *self.dice.pick(&members);
        self.leave(at);
        let room = self.busy_room();
        let count = self.dice.weighed(&[(6, 2), (3, 8), (1, 60)]);
        self.publish_batch(server, &room, count);
    }

    pub(super) fn connect(&mut self, server: &Rc<Server>) {
        let free: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].line.is_none()).collect();
        if free.is_empty() {
            return;
        }
        let at = *self.dice.pick(&free);
        let (buffer_max, shard) = (*self.dice.pick(&[150, 2_000, 16_000, 64_000]), self.dice.below(8) as usize);
        self.detail(format_args!("{at} connects, {buffer_max} bytes"));
        let socket = SocketDouble::new(buffer_max, Arc::clone(self.disk.syncs()));
        let recovers = self.dice.percent(90);
        self.clients[at].connect(server, socket, shard, recovers);
    }

    fn subscribe(&mut self, server: &Rc<Server>, at: usize, room: &str) {
        let recovers = self.dice.percent(80);
        self.detail(format_args!("{at} enters {room}, recovers {recovers}"));
        let command = self.clients[at].subscribe(&mut self.model, room, recovers);
        self.clients[at].say(server, &mut self.model, vec![command]);
    }

    pub(super) fn ask(&mut self, server: &Rc<Server>, at: usize, room: &str, is_history: bool, is_last: bool) {
        self.detail(format_args!("{at} asks of {room}, the history {is_history}"));
        let at_time = self.model.tick();
        let room = room.to_owned();
        let command = match is_history {
            true => {
                let limit = if is_last { -1 } else { *self.dice.pick(&[-1, 0, 1, 10]) };
                let command = json!({"history": {"channel": room, "limit": limit}});
                (Asked::History { room, at: at_time, is_last }, command)
            }
            false => {
                let command = json!({"presence": {"channel": room}});
                (Asked::Presence { room, is_last }, command)
            }
        };
        let has_none =
            is_history && !self.model.rooms[command.1["history"]["channel"].as_str().unwrap_or_default()].has_history();
        if !has_none {
            self.clients[at].say(server, &mut self.model, vec![command]);
        }
    }

    fn publish(&mut self, server: &Rc<Server>, count: u64) {
        let (Some(at), room) = (self.connected(), self.busy_room()) else { return };
        let first = self.model.messages.len() + 1;
        self.detail(format_args!("{at} publishes {count} from {first} in {room}"));
        let user = self.clients[at].user.clone();
        let mut left = count;
        while left > 0 {
            let some = left.min(50);
            left -= some;
            let mut commands = Vec::new();
            for _ in 0..some {
                let padding = self.dice.weighed(&[(8, 5), (3, 150), (1, 3_000)]);
                let padding = if count > 20 { 20 } else { padding };
                let (number, text) = self.model.publish(&room, &user, padding);
                let data: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let command = json!({"publish": {"channel": room, "data": data}});
                commands.push((Asked::Publish { number }, command));
            }
            self.clients[at].say(server, &mut self.model, commands);
        }
    }

    /// Has the site's backend publish some messages at once, into rooms of the engine of that one, and half of them there.
    fn publish_batch(&mut self, server: &Rc<Server>, into: &str, count: u64) {
        let is_kept = self.model.rooms[into].storage != Storage::Off;
        let of_engine = |storage: Storage| (storage != Storage::Off) == is_kept;
        let rooms: Vec<String> =
            self.plan.rooms.iter().filter(|kind| of_engine(kind.storage)).map(|kind| kind.name.clone()).collect();
        let mut batch = PublishBatch::new();
        let mut numbers = Vec::new();
        for _ in 0..count {
            let room = if self.dice.percent(50) { into.to_owned() } else { self.dice.pick(&rooms).clone() };
            let (number, text) = self.model.publish(&room, "", 5);
            numbers.push(number);
            let publication = Publication::new(Payload::json(text.into()), None);
            batch.push(Publish::new(name(&room), publication));
        }
        self.detail(format_args!("{numbers:?} in {rooms:?}"));
        let answers = match server.hub.engine(&name(into)) {
            Ok(engine) => engine.publish(batch),
            Err(_) => return,
        };
        for (number, answer) in numbers.into_iter().zip(answers) {
            let syncs = Arc::clone(self.disk.syncs());
            self.later(async move {
                match answer.wait().await {
                    Ok(at) => Late::Published(number, syncs.load(Relaxed), (at.epoch.to_string(), at.offset)),
                    Err(_) => Late::Failed,
                }
            });
        }
    }

    fn later(&self, work: impl Future<Output = Late> + 'static) {
        let late = Rc::clone(&self.late);
        late.borrow_mut().0 += 1;
        spawn_local(async move {
            let done = work.await;
            let (open, all) = &mut *late.borrow_mut();
            *open -= 1;
            all.push(done);
        });
    }

    fn erase(&mut self, server: &Rc<Server>) {
        let room = self.busy_room();
        let user = self.dice.pick(&self.clients).user.clone();
        let (what, epoch, meant) = if self.dice.percent(40) {
            let meant = self.model.will_erase(&room, |_, message| message.user == user);
            (Erase::User(user.clone()), String::new(), meant)
        } else {
            let placed = self.model.messages.values().filter(|message| message.room == room);
            let mut places: Vec<(String, u64)> = placed.filter_map(|message| message.place.clone()).collect();
            if places.is_empty() {
                return;
            }
            if self.dice.percent(60) {
                // What somebody is still to be given.
                places.drain(..places.len().saturating_sub(5));
            }
            let (epoch, offset) = self.dice.pick(&places).clone();
            let offsets: Vec<u64> = (offset..=offset + self.dice.below(3)).collect();
            // Of what has no place yet, nobody knows whether it is meant.
            let meant = self
                .model
                .will_erase(&room, |_, message| message.place.as_ref().is_none_or(|(_, at)| offsets.contains(at)));
            let is_meant =
                |number: &u64| self.model.messages[number].place.as_ref().is_some_and(|(of, _)| *of == epoch);
            let meant = meant.into_iter().filter(is_meant).collect();
            (Erase::Offsets(offsets), epoch, meant)
        };
        self.detail(format_args!("{what:?} in {room}: {meant:?}"));
        let (hub, name) = (Arc::clone(&server.hub), name(&room));
        let of_user = matches!(what, Erase::User(_)).then_some(user);
        self.later(async move {
            let erased = match hub.engine(&name) {
                Ok(engine) => engine.erase(&name, &epoch, what).wait().await,
                Err(code) => Err(code),
            };
            let is_done = erased.is_ok() && hub.commands.recall(name, of_user).await.is_ok();
            Late::Erased(room, if is_done { meant } else { Vec::new() })
        });
    }

    fn remove_history(&mut self, server: &Rc<Server>) {
        let room = self.room();
        self.detail(format_args!("of {room}"));
        self.model.will_remove(&room);
        let (hub, name) = (Arc::clone(&server.hub), name(&room));
        self.later(async move {
            if let Ok(engine) = hub.engine(&name) {
                let _ = engine.remove_history(&name).wait().await;
            }
            Late::Failed
        });
    }

    /// Has the server put a user out of a room, or close all its connections.
    fn command(&mut self, server: &Rc<Server>, closes: bool) {
        let (user, room) = (self.dice.pick(&self.clients).user.clone(), self.room());
        self.detail(format_args!("{user} is closed, or put out of {room}"));
        let hub = Arc::clone(&server.hub);
        self.later(async move {
            let recipients = Recipients { user, ..Recipients::default() };
            let _ = match closes {
                true => hub.commands.disconnect(&recipients, CloseCode::ForceDisconnect).await,
                false => hub.commands.unsubscribe(&recipients, name(&room), UnsubscribeCode::Server).await,
            };
            Late::Failed
        });
    }
}

fn name(room: &str) -> RoomName {
    RoomName::parse(room, 255).expect("the rooms of the simulation have names")
}
