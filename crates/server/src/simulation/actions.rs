//! What may happen in the world of a seed, beside that time passes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::client::{Asked, Client};
use super::disk::Health;
use super::model::History;
use super::server::Server;
use super::stay::Wish;
use super::temper::Temper;
use super::token::Term;
use super::world::World;
use crate::wire::socket_double::SocketDouble;

/// What a ring may have beyond what it has at least.
const SPARE: u64 = 128;

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Flood,
    FloodBatch,
    PublishBatch,
    Regret,
    Quiet,
    Leave,
    Miss,
    Slow,
    Stall,
    Mute,
    History,
    Presence,
    Erase,
    RemoveHistory,
    Disk,
    Clock,
    PutOut,
    Close,
    Reload,
    Abandon,
    Doze,
    Wait,
}

/// And how often it does.
pub(super) const ACTIONS: &[(u64, Action)] = &[
    (20, Action::Connect),
    (20, Action::Subscribe),
    (6, Action::Unsubscribe),
    (40, Action::Publish),
    (1, Action::Flood),
    (3, Action::FloodBatch),
    (6, Action::PublishBatch),
    (2, Action::Regret),
    (3, Action::Quiet),
    (5, Action::Leave),
    (12, Action::Miss),
    (10, Action::Slow),
    (6, Action::Stall),
    (1, Action::Mute),
    (5, Action::History),
    (3, Action::Presence),
    (8, Action::Erase),
    (1, Action::RemoveHistory),
    (6, Action::Disk),
    (3, Action::Clock),
    (2, Action::PutOut),
    (2, Action::Close),
    (3, Action::Reload),
    (2, Action::Abandon),
    (1, Action::Doze),
    (6, Action::Wait),
];

impl World {
    pub(super) fn room(&mut self) -> String {
        self.dice.pick(&self.plan.rooms).name.clone()
    }

    fn all_rooms(&self) -> Vec<String> {
        self.plan.rooms.iter().map(|kind| kind.name.clone()).collect()
    }

    /// A room, and often one that somebody will come back into.
    pub(super) fn busy_room(&mut self) -> String {
        let away = self.clients.iter().filter(|client| client.line.is_none());
        let wanted: BTreeSet<&String> = away.flat_map(|client| client.wanted.keys()).collect();
        let wanted: Vec<String> = wanted.into_iter().cloned().collect();
        if wanted.is_empty() || self.dice.percent(40) { self.room() } else { self.dice.pick(&wanted).clone() }
    }

    /// A room, and often the one that most are in.
    fn lively_room(&mut self) -> String {
        let members = |room: &String| self.clients.iter().filter(|client| client.is_in(room)).count();
        let most = self.all_rooms().into_iter().max_by_key(members);
        most.filter(|_| self.dice.percent(80)).unwrap_or_else(|| self.room())
    }

    /// How many messages a ring has that has no more than it must.
    fn ring_messages(&self) -> u64 {
        self.plan.bounds.ring_messages.map_or(1_024, |messages| messages as u64)
    }

    /// A room, and one without a long history if there is any.
    fn small_room(&mut self) -> String {
        let small = self.plan.rooms.iter().filter(|kind| kind.history != History::Whole);
        let small: Vec<String> = small.map(|kind| kind.name.clone()).collect();
        if small.is_empty() { self.room() } else { self.dice.pick(&small).clone() }
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
                let Some(at) = self.connected() else { return };
                let all = if self.plan.temper == Temper::Slow { 90 } else { 30 };
                let rooms = if self.dice.percent(all) { self.all_rooms() } else { vec![self.room()] };
                for room in rooms {
                    if !self.clients[at].is_in(&room) && !self.clients[at].is_moving(&room) {
                        self.subscribe(server, at, &room);
                    }
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
                let room = self.busy_room();
                self.publish(server, &room, count);
            }
            Action::Flood => {
                let (room, count) = (self.busy_room(), self.dice.between(1, 6) * self.ring_messages() / 4);
                // What is asked about takes its time, one after the other.
                if !self.model.rooms[&room].asks.publishing {
                    self.publish(server, &room, count);
                }
            }
            Action::FloodBatch => {
                // A shard finds more than a ring holds that has no more than it must.
                let (room, least) = (self.small_room(), self.ring_messages() + SPARE);
                let count = self.dice.between(least, least + 200);
                self.publish_batch(server, &room, count);
            }
            Action::Stall => self.stall(server),
            Action::PublishBatch => {
                let (room, count) = (self.busy_room(), self.dice.between(1, 5));
                self.publish_batch(server, &room, count);
            }
            Action::Regret => {
                let (room, count) = (self.lively_room(), self.dice.between(1, 6));
                self.regret(server, &room, count);
            }
            Action::Quiet => {
                let (room, count) = (self.lively_room(), self.dice.between(1, 3));
                self.publish_quietly(server, &room, count);
            }
            Action::Leave => {
                let Some(at) = self.connected() else { return };
                self.leave(at);
            }
            Action::Miss => self.miss(server),
            Action::Slow => {
                let Some(at) = self.connected() else { return };
                let takes = self.dice.weighed(&[(3, Some(0)), (2, Some(100)), (2, Some(5_000)), (4, None)]);
                let is_steady = takes.is_some_and(|takes| takes > 0) && self.dice.percent(60);
                self.detail(format_args!("{at} takes {takes:?}, each time {is_steady}"));
                self.clients[at].takes = takes;
                self.clients[at].takes_each_time = takes.filter(|_| is_steady);
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
            Action::Erase => {
                let room = self.busy_room();
                self.erase(server, room, false);
            }
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
                if self.late.borrow().0 > 0 {
                    // What is said again then may be remembered no more.
                    return;
                }
                self.model.terms.forget();
                self.model.has_jumped = true;
                self.detail(format_args!("by {by_ms} ms"));
                self.clock.jump(by_ms);
            }
            Action::PutOut | Action::Close => self.command(server, matches!(action, Action::Close)),
            Action::Reload => self.reload(server),
            Action::Abandon => {
                for at in 0..self.clients.len() {
                    self.leave(at);
                }
            }
            Action::Doze | Action::Wait => {}
        }
    }

    fn leave(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(line) = &client.line else { return };
        if self.dice.percent(50) {
            line.socket.leave()
        } else {
            line.socket.cut()
        }
        let _ = writeln!(self.trace, "    {at} is gone");
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

    /// Somebody takes nothing, and all the rooms that it is in go on.
    fn stall(&mut self, server: &Rc<Server>) {
        let Some(any) = self.connected() else { return };
        let most = (0..self.clients.len()).max_by_key(|at| self.clients[*at].rooms().len());
        let at = most.filter(|_| self.dice.percent(60)).filter(|at| self.clients[*at].is_connected()).unwrap_or(any);
        let rooms = self.clients[at].rooms();
        self.detail(format_args!("{at} takes nothing, in {rooms:?}"));
        // Or little from then on, so that it catches up in one room and not in another.
        let goes_on = self.dice.percent(if self.plan.temper == Temper::Slow { 80 } else { 20 });
        let each_time = goes_on.then(|| *self.dice.pick(&[100, 400, 1_500]));
        (self.clients[at].takes, self.clients[at].takes_each_time) = (Some(0), each_time);
        for room in rooms {
            let count = self.dice.between(5, 60);
            self.publish_batch(server, &room, count);
            if self.dice.percent(40) {
                // Of what is on its way then.
                self.erased_next = Some(room);
            }
        }
    }

    pub(super) fn connect(&mut self, server: &Rc<Server>) {
        let free: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].line.is_none()).collect();
        if free.is_empty() {
            return;
        }
        let at = *self.dice.pick(&free);
        let buffers: &[usize] = match self.plan.temper {
            Temper::Slow => &[150, 600, 2_000],
            Temper::Erasures | Temper::Deltas => &[2_000, 16_000, 64_000],
            _ => &[150, 2_000, 16_000, 64_000],
        };
        let (buffer_max, shard) = (*self.dice.pick(buffers), self.dice.below(8) as usize);
        self.detail(format_args!("{at} connects, {buffer_max} bytes"));
        let socket = SocketDouble::new(buffer_max, Arc::clone(self.disk.syncs()));
        self.clients[at].recovers = self.dice.percent(90);
        // Who is put out of a room is not to have been closed before.
        let is_long = self.plan.temper == Temper::Tokens && self.dice.percent(60);
        let term = self.plan.has_tokens.then(|| if is_long { Term::new(600, false) } else { self.term() });
        self.clients[at].connect(server, socket, shard, term);
    }

    /// How long somebody may stay, somewhere.
    fn term(&mut self) -> Term {
        Term::new(*self.dice.pick(&[2, 4, 8, 600]), self.dice.percent(50))
    }

    /// Has everybody come, and enter most rooms, before anything else happens.
    pub(super) async fn gather(&mut self, server: &Rc<Server>) {
        for _ in 0..self.clients.len() {
            self.connect(server);
        }
        self.hear(server).await;
        for at in 0..self.clients.len() {
            for room in self.all_rooms() {
                let client = &self.clients[at];
                let may_enter = client.is_connected() && !client.is_in(&room) && !client.is_moving(&room);
                if may_enter && self.dice.percent(90) {
                    self.subscribe(server, at, &room);
                }
            }
        }
        self.hear(server).await;
    }

    /// Lets clients hear what they are told, also those whose sockets hold little of it at a time.
    async fn hear(&mut self, server: &Rc<Server>) {
        for _ in 0..10 {
            self.pass(server, Duration::from_millis(1)).await;
        }
    }

    fn subscribe(&mut self, server: &Rc<Server>, at: usize, room: &str) {
        let recovers = self.dice.percent(if self.plan.temper == Temper::Deltas { 30 } else { 80 });
        let wish = match self.model.rooms[room].has_history() {
            true if self.plan.temper == Temper::Deltas => self.dice.weighed(&[(4, Wish::Deltas), (1, Wish::All)]),
            true if self.plan.temper == Temper::Erasures => self.dice.weighed(&[(9, Wish::All), (1, Wish::Deltas)]),
            true if self.plan.temper == Temper::Floods => self.dice.weighed(&[(1, Wish::Deltas), (1, Wish::All)]),
            true => self.dice.weighed(&[(6, Wish::All), (3, Wish::Deltas), (1, Wish::Tagged(0)), (1, Wish::Tagged(1))]),
            false => self.dice.weighed(&[(6, Wish::All), (1, Wish::Tagged(0))]),
        };
        let term = (self.plan.has_tokens && self.dice.percent(60)).then(|| self.term());
        self.detail(format_args!("{at} enters {room}, recovers {recovers}, {wish:?}, {term:?}"));
        let command = self.clients[at].subscribe(server, &mut self.model, room, recovers, (wish, term));
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

    fn publish(&mut self, server: &Rc<Server>, room: &str, count: u64) {
        let Some(at) = self.connected() else { return };
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
                let (number, text) = self.model.publish(room, &user, padding);
                let data: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let command = json!({"publish": {"channel": room, "data": data}});
                let forbidden_by = self.model.forbids.forbidden_by(room);
                commands.push((Asked::Publish { number, room: room.to_owned(), forbidden_by }, command));
            }
            self.clients[at].say(server, &mut self.model, commands);
        }
    }
}
