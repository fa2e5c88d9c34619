//! The world of a seed at rest: everybody has taken everything, and all of it is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{Client, Found};
use super::disk::Health;
use super::model::{Invariant, Message};
use super::server::Server;
use super::stay::{InRoom, Wish};
use super::token::Term;
use super::world::World;
use crate::config::SlowConsumer;
use crate::events::stepped::Course;
use crate::ops::metrics::ShardMetrics;
use crate::rooms::join_leave::INBOX_BYTES_MAX;
use crate::wire::send_queue::REPLY_BYTES_HIGH;

/// How long everything may take to come to rest.
const REST: Duration = Duration::from_secs(90);

/// The queues of a shard hold no more, as its delivery promises.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// What waits for one socket: replies until its commands have to wait, with the one that goes beyond, and the rest of a batch.
const WAITING_BYTES_MAX: usize = REPLY_BYTES_HIGH + (4 << 20) + (1 << 20);

/// What a socket holds then: enough for no client to be slow.
const BUFFER_AT_REST: usize = 1 << 20;

/// How long nothing must have happened at rest: longer than a pong is waited for that was not said before.
const QUIET: Duration = Duration::from_secs(5);

impl World {
    /// Lets everything come to rest, and looks at all of it.
    pub(super) async fn rest(&mut self, server: &Rc<Server>) {
        self.disk.set_health(Health::GOOD);
        self.model.site.borrow_mut().is_well = true;
        self.tell(true);
        server.events.iter().for_each(Course::try_again);
        self.reload_first(server);
        if self.clients.iter().all(|client| client.line.is_none()) {
            self.connect(server);
        }
        for client in &mut self.clients {
            (client.takes, client.takes_each_time, client.is_mute) = (None, None, false);
            client.wanted.values_mut().filter_map(|(_, term)| term.as_mut()).for_each(Term::stay);
            if let Some(line) = &mut client.line {
                line.socket.widen(BUFFER_AT_REST);
                line.terms().for_each(Term::stay);
            }
        }
        self.settle(server).await;
        self.check_members();
        let Some(at) = self.connected() else { return };
        let rooms: Vec<String> = self.plan.rooms.iter().map(|kind| kind.name.clone()).collect();
        for room in &rooms {
            self.ask(server, at, room, true, true);
            self.ask(server, at, room, false, true);
        }
        let found = self.settle(server).await;
        for (room, numbers) in &found.histories {
            self.model.check_history(room, numbers);
        }
        self.check_presence(&found);
        self.check_told();
        self.check_counts(server);
    }

    /// Waits until nothing more happens.
    async fn settle(&mut self, server: &Rc<Server>) -> Found {
        let (began, mut quiet_since, mut heard) = (Instant::now(), Instant::now(), 0);
        let mut found = Found::default();
        while quiet_since.elapsed() < QUIET {
            let Found { histories, present } = self.listen(server);
            found.histories.extend(histories);
            found.present.extend(present);
            let log: usize = self.clients.iter().map(|client| client.log.len()).sum();
            let is_taken = |client: &Client| client.line.as_ref().is_none_or(|line| line.socket.untaken() == 0);
            let is_asked = |client: &Client| client.line.as_ref().is_some_and(|line| !line.asked.is_empty());
            let asked = self.clients.iter().position(is_asked);
            let is_told = server.events.as_ref().is_none_or(Course::is_done);
            if !is_told
                || log != heard
                || asked.is_some()
                || !self.clients.iter().all(is_taken)
                || self.late.borrow().0 > 0
            {
                (heard, quiet_since) = (log, Instant::now());
            }
            if began.elapsed() > REST {
                let what = asked.map(|at| (at, self.clients[at].line.as_ref().map(|line| line.asked.clone())));
                let how = format!("it never comes to rest; {what:?} is not answered, {} wait", self.late.borrow().0);
                self.model.break_with(Invariant::Alive, how);
            }
            if self.model.broken().is_some() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        found
    }

    /// Everybody in a room has come to its end, and has missed nothing.
    fn check_members(&mut self) {
        let mut broken = Vec::new();
        for client in &self.clients {
            let stays = client.line.iter().flat_map(|line| &line.stays);
            for (room, stay) in stays {
                let slow = self.model.rooms[room].slow;
                let top = self.model.top(room, &stay.epoch);
                let is_all = !matches!(stay.wish, Wish::Tagged(_));
                if is_all && stay.offset.is_some_and(|offset| offset != top) {
                    let how = format!("{:?} is at {:?} of {room}, which is at {top}", client.client(), stay.offset);
                    broken.push((Invariant::NoGap, how));
                }
                let is_missed = |number: &u64, message: &Message| {
                    let is_meant = message.room == *room && message.sent_at > stay.since && message.acked_at.is_some();
                    let is_for_it = is_all || matches!(stay.wish, Wish::Tagged(tag) if message.tag == Some(tag));
                    is_meant && is_for_it && !message.may_be_erased && !stay.given_set.contains(number)
                };
                let messages = self.model.messages.iter();
                let missed: Vec<u64> = messages
                    .filter(|(number, message)| is_missed(number, message))
                    .map(|(number, _)| *number)
                    .collect();
                if !missed.is_empty() && slow != SlowConsumer::Latest {
                    broken.push((
                        Invariant::NoGap,
                        format!("{:?} was never given {missed:?} of {room}", client.client()),
                    ));
                }
            }
        }
        self.check_orders(&mut broken);
        for (invariant, how) in broken {
            self.model.break_with(invariant, how);
        }
    }

    /// Where there are no offsets: two members have seen what both have seen in the same order. What is kept nowhere and comes at the
    /// same time as what is kept may come before it for one and behind it for another.
    fn check_orders(&self, broken: &mut Vec<(Invariant, String)>) {
        let lines = self.clients.iter().filter_map(|client| client.line.as_ref());
        let stays: Vec<_> = lines.flat_map(|line| &line.stays).collect();
        for (at, (room, one)) in stays.iter().enumerate() {
            for (_, other) in stays[at + 1..].iter().filter(|(of, _)| of == room) {
                let common = |stay: &InRoom, with: &InRoom| -> (Vec<u64>, Vec<u64>) {
                    let both = stay.given.iter().copied().filter(|number| with.given_set.contains(number));
                    both.partition(|number| self.model.is_quiet(*number))
                };
                if common(one, other) != common(other, one) {
                    broken.push((Invariant::OneOrder, format!("two members of {room} have seen two orders")));
                }
            }
        }
    }

    /// Who is said to be in rooms is, and whoever hears of it knows.
    fn check_presence(&mut self, found: &Found) {
        let mut broken = Vec::new();
        for (room, present) in &found.present {
            let is_in = |client: &&Client| client.is_in(room);
            let members: BTreeSet<String> =
                self.clients.iter().filter(is_in).filter_map(|client| client.client().map(str::to_owned)).collect();
            if *present != members {
                broken.push((Invariant::Presence, format!("in {room} are {members:?}, and present are {present:?}")));
            }
            for client in self.clients.iter().filter(is_in) {
                let Some(stay) = client.line.as_ref().and_then(|line| line.stays.get(room)) else { continue };
                let own = client.client();
                let others = |who: &&str| Some(*who) != own;
                // What it was told last of each is so.
                for (who, is_there) in stay.told.iter().filter(|(who, _)| others(&who.as_str())) {
                    if members.contains(who) != *is_there {
                        broken.push((
                            Invariant::Balance,
                            format!("{own:?} believes that {who} is in {room}: {is_there}"),
                        ));
                    }
                }
                if !self.model.rooms[room].hears {
                    continue;
                }
                // It was told of all who have come since. Who was there before may have gone before, and not have noticed.
                let others =
                    self.model.stays.iter().filter(|other| other.room == *room && others(&other.client.as_str()));
                for other in
                    others.filter(|other| other.asked_at > stay.since && !stay.told.contains_key(&other.client))
                {
                    broken.push((Invariant::Balance, format!("{own:?} was not told of {other:?}")));
                }
            }
        }
        for (invariant, how) in broken {
            self.model.break_with(invariant, how);
        }
    }

    /// What the backend was told of who is there is so, and it was told of everybody who has been there since the server began.
    fn check_told(&mut self) {
        let Some(told) = self.told().map(|told| told.borrow()) else { return };
        let mut broken = Vec::new();
        let mut members = BTreeSet::new();
        for client in self.clients.iter().filter(|client| client.is_connected()) {
            let name = client.client().unwrap_or_default();
            let rooms = client.rooms().into_iter().filter(|room| self.model.rooms[room].has_events);
            members.extend(rooms.map(|room| (room, name.to_owned())));
        }
        if told.members != members {
            broken.push(format!("in rooms are {members:?}, and the backend was told of {:?}", told.members));
        }
        let connected =
            self.clients.iter().filter_map(|client| Some((client.client()?.to_owned(), client.user.clone())));
        let connected: BTreeMap<String, String> = connected.filter(|_| self.plan.config.events.users).collect();
        if told.connected != connected {
            broken.push(format!("connected are {connected:?}, and the backend was told of {:?}", told.connected));
        }
        let mut stays: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for stay in &self.model.stays[self.model.stays_from..] {
            *stays.entry((stay.room.as_str(), stay.client.as_str())).or_default() += 1;
        }
        for ((room, client), times) in stays.into_iter().filter(|((room, _), _)| self.model.rooms[*room].has_events) {
            let joins = told.joins(room, client);
            if joins < times {
                broken.push(format!("{client} was in {room} {times} times, and the backend was told of {joins}"));
            }
        }
        drop(told);
        for how in broken {
            self.model.break_with(Invariant::Balance, how);
        }
    }

    /// What the server counts is so, and nothing is held for those who have taken everything.
    fn check_counts(&mut self, server: &Rc<Server>) {
        let open = self.clients.iter().filter(|client| client.line.is_some()).count() as i64;
        let members: usize = self.clients.iter().filter_map(|client| Some(client.line.as_ref()?.stays.len())).sum();
        let sum =
            |of: fn(&ShardMetrics) -> i64| -> i64 { server.shards().iter().map(|shard| of(&shard.metrics)).sum() };
        let connections = || server.shards().iter().flat_map(|shard| shard.connections.all());
        let waiting: usize = connections().map(|connection| connection.waiting_bytes()).sum();
        let behind = connections().map(|connection| i64::from(connection.rooms_behind())).sum();
        let counted = [
            ("connections", sum(|metrics| metrics.connections.get()), open),
            ("sockets", server.hub.metrics.sockets.get(), open),
            ("members", sum(|metrics| metrics.members.get()), members as i64),
            ("members behind", sum(|metrics| metrics.behind.get()), 0),
            ("bytes of events on their way", server.hub.events.bytes() as i64, 0),
            (
                "bytes of events to be given",
                server.shards().iter().map(|shard| shard.delivery.event_bytes() as i64).sum(),
                0,
            ),
            ("bytes to be written", waiting as i64, 0),
            ("rooms that connections are behind in", behind, 0),
        ];
        let memory = &server.hub.rooms.memory;
        let given_back =
            [&memory.replies, &memory.database, &memory.requests].map(|share| (share.name(), share.used() as i64, 0));
        for (what, counted, there) in counted.into_iter().chain(given_back) {
            if counted != there {
                self.model
                    .break_with(Invariant::Memory, format!("{counted} {what} are counted, and there are {there}"));
            }
        }
    }

    /// Nothing holds more than it may.
    pub(super) fn check_bounds(&mut self, server: &Rc<Server>) {
        let events = server.shards().iter().map(|shard| shard.delivery.event_bytes()).max().unwrap_or(0);
        for shard in server.shards() {
            let counted: i64 = shard.connections.all().iter().map(|it| i64::from(it.rooms_behind())).sum();
            let there = shard.metrics.behind.get();
            if counted != there {
                let how = format!("connections count {counted} rooms in which they are behind, and there are {there}");
                self.model.break_with(Invariant::Memory, how);
            }
        }
        let connections = server.shards().iter().flat_map(|shard| shard.connections.all());
        let waiting = connections.map(|connection| connection.waiting_bytes()).max().unwrap_or(0);
        let held = [
            ("events of a shard", events, EVENT_BYTES_MAX),
            ("events on their way", server.hub.events.bytes(), self.plan.shards * INBOX_BYTES_MAX),
            ("one connection", waiting, WAITING_BYTES_MAX),
        ];
        let rooms = &server.hub.rooms;
        let most = self.plan.bounds;
        let bounded = [
            (
                "keys and versions",
                rooms.terms.bytes() as usize,
                most.key_bytes.map_or(usize::MAX, |most| most as usize),
            ),
            // Two may pass at once that do not see each other.
            ("rooms", server.hub.metrics.rooms.get() as usize, most.rooms.map_or(usize::MAX, |most| most as usize + 1)),
        ];
        let shares =
            server.hub.rooms.memory.shares().map(|share| (share.name(), share.used() as usize, share.limit() as usize));
        for (what, bytes, most) in held.into_iter().chain(bounded).chain(shares) {
            if bytes > most {
                self.model
                    .break_with(Invariant::Memory, format!("{bytes} bytes are held of {what}, and {most} may be"));
            }
        }
    }
}
