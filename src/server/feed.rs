//! What a shard delivers: one cursor per room it has members in, and the members.
//!
//! What a room has gathered since its last visit is one run. It is encoded once for each form that clients speak, and the same
//! bytes are written to every socket of that form: members of one room and one form are a group. A member is a cursor: while its socket takes everything it goes along with the group and costs nothing but the
//! write; when the socket is full it stops, alone, at its sequence, and later goes on from the room's ring until it has
//! caught up with the group.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use slab::Slab;

use super::config::SlowConsumer;
use super::connection::{Connection, Written};
use super::lag::Lag;
use super::message::Message;
use super::metrics::ShardMetrics;
use super::run::Run;
use super::wire::Wire;
use crate::protocol::{CloseCode, RoomName};
use crate::store::StoredMark;
use crate::{Position, Resumption, Room, RoomKey, RoomSet, Start, Subscription, TryRecvError};

/// Messages of one room delivered before the next ready room has its turn.
const ROOM_MESSAGES_PER_VISIT: usize = 256;

/// Members a run is written to before other rooms have their turn: about a millisecond of system calls.
const ROOM_WRITES_PER_VISIT: usize = 512;

/// Runs a member may take from the ring at once to catch up before others on its shard have their turn.
const CATCH_UP_RUNS_PER_VISIT: usize = 4;

/// The rooms of one kind of message that a shard has members in.
pub(crate) struct Feed<M: Message> {
    set: RoomSet<M>,
    groups: Slab<Group<M>>,
    by_name: HashMap<(RoomName, Wire), usize>,
    by_key: HashMap<RoomKey, usize>,
    /// Groups whose last run has not been written to all members, the one that waits longest first.
    unfinished: VecDeque<usize>,
    /// Groups that have reached what is stored of their rooms.
    held: Vec<usize>,
    /// Groups that let messages gather, by when they are due.
    gathering: BinaryHeap<Reverse<(Instant, usize)>>,
    metrics: ShardMetrics,
}

/// How a room is delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// How long messages may gather, to be written together.
    pub(crate) delay: Duration,
    pub(crate) slow_consumer: SlowConsumer,
}

/// A room's members of one form on this shard.
struct Group<M: Message> {
    name: RoomName,
    wire: Wire,
    room: Room<M>,
    cursor: Cursor<M>,
    encoder: M::Encoder,
    manner: Manner,
    /// The next sequence the group takes.
    next: u64,
    /// How far the room is stored, where nothing else is delivered.
    mark: Option<Arc<StoredMark>>,
    members: Slab<Member>,
    /// The run that has not been written to all members.
    sending: Option<Sending>,
}

/// Where the group's subscription is.
enum Cursor<M: Message> {
    /// In the feed's set, which says when there is something.
    Listed(RoomKey),
    /// Here: something is there, and not to be read yet.
    Aside(Box<Subscription<M>>),
    /// The room has ended.
    Ended,
}

/// A run on its way round the members.
struct Sending {
    run: Run,
    round: Round,
}

/// How far a run has come.
struct Round {
    /// The sequence the run begins with; it ends where the group stands.
    first: u64,
    /// The member that is next.
    at: usize,
    takers: u64,
}

struct Member {
    connection: Rc<Connection>,
    place: Place,
}

/// Where a member is. `With` becomes `Behind` when its socket is full, when it starts in the middle of a run or when the
/// group lost messages; only [`Feed::catch_up`] leads back.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Takes the group's runs, from this sequence on.
    With(u64),
    /// Takes nothing from the group; its next message is this one.
    Behind(u64),
}

impl Member {
    /// From here on it goes on by itself, from that sequence.
    fn fall_behind(&mut self, at: u64, metrics: &ShardMetrics) {
        self.place = Place::Behind(at);
        self.connection.fell_behind();
        metrics.behind.inc();
    }

    /// From here on it takes the group's runs again.
    fn catch_up(&mut self, at: u64, metrics: &ShardMetrics) {
        self.place = Place::With(at);
        self.connection.caught_up();
        metrics.behind.dec();
    }
}

/// A member's place in a feed; valid until it is given to [`Feed::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    group: usize,
    member: usize,
}

/// How far a member came that was behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaughtUp {
    /// It goes along with the group again.
    Rejoined,
    /// Its socket is full again.
    Full,
    /// There is more to take and others have their turn first.
    Unfinished,
    /// The ring has moved past it; that many messages are gone, and so is the client to be.
    Missed(u64),
    /// The same, and the client is to leave the room.
    Skipped(u64),
    /// The room has ended.
    Ended,
}

impl<M: Message> Feed<M> {
    pub(crate) fn new(metrics: ShardMetrics) -> Self {
        Self {
            set: RoomSet::new(),
            groups: Slab::new(),
            by_name: HashMap::new(),
            by_key: HashMap::new(),
            unfinished: VecDeque::new(),
            held: Vec::new(),
            gathering: BinaryHeap::new(),
            metrics,
        }
    }

    /// Makes `connection` a member of `name`; its first message is the next one of `start`. Who comes first says in which
    /// `manner` the room is delivered, and up to which `mark`.
    ///
    /// What was published before that position is the caller's to have sent, so that there is neither gap nor overlap.
    pub(crate) fn join(
        &mut self,
        name: &RoomName,
        start: Subscription<M>,
        connection: &Rc<Connection>,
        manner: Manner,
        mark: Option<Arc<StoredMark>>,
    ) -> Seat {
        let (at, wire) = (start.position(), connection.wire());
        let group = match self.by_name.get(&(name.clone(), wire)) {
            Some(&group) if self.groups[group].room.epoch() == at.epoch => group,
            _ => self.open(name, wire, start, manner, mark),
        };
        let Group { members, next, .. } = &mut self.groups[group];
        let mut member = Member { connection: Rc::clone(connection), place: Place::With(at.sequence) };
        if at.sequence < *next {
            member.fall_behind(at.sequence, &self.metrics);
        }
        let member = members.insert(member);
        Seat { group, member }
    }

    /// Gives a seat back: nothing of the room goes to it any more.
    pub(crate) fn leave(&mut self, Seat { group, member }: Seat) {
        let Some(at) = self.groups.get_mut(group) else {
            return;
        };
        let Some(mut gone) = at.members.try_remove(member) else {
            return;
        };
        if let Place::Behind(at) = gone.place {
            gone.catch_up(at, &self.metrics);
        }
        if at.members.is_empty() {
            let gone = self.groups.remove(group);
            if let Cursor::Listed(key) = gone.cursor {
                self.by_key.remove(&key);
                self.set.leave(key);
            }
            let key = (gone.name, gone.wire);
            if self.by_name.get(&key) == Some(&group) {
                self.by_name.remove(&key);
            }
        }
    }

    /// The next group with something to deliver: first those whose messages have gathered, all of them if `now` is `None`.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, now: Option<Instant>) -> Poll<usize> {
        if self.gathering.peek().is_some_and(|Reverse((due, _))| now.is_none_or(|now| *due <= now)) {
            let due = self.gathering.pop().map(|Reverse((_, at))| at);
            return due.map_or(Poll::Pending, Poll::Ready);
        }
        self.release_stored(cx);
        loop {
            let key = ready!(self.set.poll_ready(cx));
            let Some(&at) = self.by_key.get(&key) else {
                self.set.leave(key);
                continue;
            };
            match (self.groups.get(at).map_or(Duration::ZERO, |group| group.manner.delay), now) {
                (Duration::ZERO, _) | (_, None) => return Poll::Ready(at),
                (delay, Some(now)) => {
                    self.lay_aside(at);
                    self.gathering.push(Reverse((now + delay, at)));
                }
            }
        }
    }

    /// Lets groups go on of whose rooms more is stored by now; who is left is woken for it.
    fn release_stored(&mut self, cx: &mut Context<'_>) {
        for at in std::mem::take(&mut self.held) {
            let Some(group) = self.groups.get(at) else { continue };
            let is_held = group.mark.as_ref().is_some_and(|mark| mark.poll_reached(group.next + 1, cx).is_pending());
            match is_held {
                true => self.held.push(at),
                false => self.list(at),
            }
        }
    }

    /// The group whose run waits longest for the rest of its members.
    pub(crate) fn next_unfinished(&mut self) -> Option<usize> {
        self.unfinished.pop_front()
    }

    pub(crate) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// When the next messages will have gathered.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.gathering.peek().map(|Reverse((due, _))| *due)
    }

    /// Delivers what a room has gathered, within a budget; a room with more comes up again after the others. What it
    /// writes is taken from `writes`.
    pub(crate) fn deliver(&mut self, at: usize, run: &mut Run, writes: &mut usize) {
        let Some(group) = self.groups.get_mut(at) else {
            return;
        };
        run.begin(group.wire);
        let before = (*writes).min(ROOM_WRITES_PER_VISIT);
        let mut left = before;
        let mut is_held = false;
        let is_through = group.go_on(&mut left, &self.metrics) && {
            let read = if let Cursor::Listed(key) = group.cursor {
                let subscription = self.set.get_mut(key);
                subscription.map_or(Read::Ended, |cursor| group.read(cursor, run, &mut left, &self.metrics))
            } else if let Cursor::Aside(mut cursor) = std::mem::replace(&mut group.cursor, Cursor::Ended) {
                let read = group.read(&mut cursor, run, &mut left, &self.metrics);
                group.cursor = Cursor::Aside(cursor);
                read
            } else {
                Read::Through
            };
            if read == Read::Ended {
                self.end(at);
            }
            is_held = read == Read::Held;
            read != Read::Unfinished
        };
        *writes -= before - left;
        if !is_through {
            self.lay_aside(at);
            self.unfinished.push_back(at);
        } else if is_held {
            self.lay_aside(at);
            self.held.push(at);
        } else {
            self.list(at);
        }
    }

    /// Delivers everything that is left of a room's run, whatever it takes.
    pub(crate) fn finish(&mut self, at: usize) {
        if let Some(group) = self.groups.get_mut(at) {
            let mut writes = usize::MAX;
            group.go_on(&mut writes, &self.metrics);
            self.list(at);
        }
    }

    /// Takes a group's subscription out of the set, which would go on saying that there is something.
    fn lay_aside(&mut self, at: usize) {
        let group = &mut self.groups[at];
        if let Cursor::Listed(key) = group.cursor {
            self.by_key.remove(&key);
            group.cursor = self.set.leave(key).map_or(Cursor::Ended, |cursor| Cursor::Aside(Box::new(cursor)));
        }
    }

    /// Puts it back.
    fn list(&mut self, at: usize) {
        let Some(group) = self.groups.get_mut(at) else { return };
        if let Cursor::Aside(_) = group.cursor
            && let Cursor::Aside(cursor) = std::mem::replace(&mut group.cursor, Cursor::Ended)
        {
            let key = self.set.join(*cursor);
            group.cursor = Cursor::Listed(key);
            self.by_key.insert(key, at);
        }
    }

    fn end(&mut self, at: usize) {
        self.lay_aside(at);
        self.groups[at].end(&self.metrics);
    }

    /// Lets a member that is behind go on from the ring, as far as its socket and the budget allow.
    pub(crate) fn catch_up(&mut self, at: Seat, run: &mut Run) -> CaughtUp {
        let Some(group) = self.groups.get_mut(at.group) else {
            return CaughtUp::Ended;
        };
        group.catch_up(at.member, run, &self.metrics)
    }

    /// The members that are behind, in all rooms.
    pub(crate) fn lags(&self) -> Vec<Lag> {
        let mut lags = Vec::new();
        self.groups.iter().for_each(|(_, group)| group.lags(&mut lags));
        lags
    }

    /// The live members' connections of a room; for closing them when its delivery failed.
    pub(crate) fn connections(&self, at: usize) -> Vec<Rc<Connection>> {
        self.groups.get(at).map_or_else(Vec::new, |group| {
            let members = group.members.iter();
            members.map(|(_, m)| Rc::clone(&m.connection)).collect()
        })
    }

    fn open(
        &mut self,
        name: &RoomName,
        wire: Wire,
        start: Subscription<M>,
        manner: Manner,
        mark: Option<Arc<StoredMark>>,
    ) -> usize {
        let room = start.room().clone();
        let next = start.position().sequence;
        let key = self.set.join(start);
        let group = self.groups.insert(Group {
            name: name.clone(),
            wire,
            room,
            cursor: Cursor::Listed(key),
            encoder: M::encoder(name, wire.encoding()),
            manner,
            next,
            mark,
            members: Slab::new(),
            sending: None,
        });
        self.by_key.insert(key, group);
        self.by_name.insert((name.clone(), wire), group);
        group
    }
}

/// How reading a room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Everything is with the members, or the room's turn is over.
    Through,
    /// Some members have not been given the last run.
    Unfinished,
    /// Everything that is stored is with the members.
    Held,
    /// The room has ended.
    Ended,
}

impl<M: Message> Group<M> {
    /// Reads what there is and sends it, within a budget.
    fn read(
        &mut self,
        cursor: &mut Subscription<M>,
        run: &mut Run,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> Read {
        let deliverable = self.deliverable();
        for _ in 0..deliverable.min(ROOM_MESSAGES_PER_VISIT as u64) {
            match cursor.try_recv_ref() {
                Ok(message) => {
                    let (sequence, time_ms) = (message.sequence(), message.time().unwrap_or(0));
                    debug_assert_eq!(self.next + run.messages(), sequence);
                    run.push(|out| message.encode(&self.encoder, sequence, time_ms, out));
                    if run.is_full() && !self.send(run, writes, metrics) {
                        return Read::Unfinished;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(missed) | TryRecvError::Disconnected(missed)) => {
                    // Nobody is to be left with a run that lies before what is lost.
                    self.send_to_all(run, metrics);
                    self.lose(missed, metrics);
                }
                Err(TryRecvError::Closed(_)) => {
                    self.send_to_all(run, metrics);
                    return Read::Ended;
                }
            }
        }
        match self.send(run, writes, metrics) {
            false => Read::Unfinished,
            true if self.deliverable() == 0 => Read::Held,
            true => Read::Through,
        }
    }

    /// How many more messages may be delivered.
    fn deliverable(&self) -> u64 {
        let mark = self.mark.as_ref().filter(|mark| !mark.is_complete());
        mark.map_or(u64::MAX, |mark| mark.stored().saturating_sub(self.next))
    }

    /// Sends the run, whatever it takes.
    fn send_to_all(&mut self, run: &mut Run, metrics: &ShardMetrics) {
        let mut writes = usize::MAX;
        self.send(run, &mut writes, metrics);
    }

    /// Sends the run to the members that go along, and moves the group behind it. False if there are more members than
    /// writes left; [`Group::go_on`] gives it to the others.
    fn send(&mut self, run: &mut Run, writes: &mut usize, metrics: &ShardMetrics) -> bool {
        if run.is_empty() {
            return true;
        }
        run.finish();
        let mut round = Round { first: self.next, at: 0, takers: 0 };
        self.next += run.messages();
        let is_through = self.go_round(&mut round, run, writes, metrics);
        match is_through {
            true => run.clear(),
            false => {
                self.sending = Some(Sending { run: std::mem::take(run), round });
                run.begin(self.wire);
            }
        }
        is_through
    }

    /// Gives the run that is on its way to further members; true when all have it.
    fn go_on(&mut self, writes: &mut usize, metrics: &ShardMetrics) -> bool {
        let Some(mut sending) = self.sending.take() else { return true };
        let is_through = self.go_round(&mut sending.round, &mut sending.run, writes, metrics);
        if !is_through {
            self.sending = Some(sending);
        }
        is_through
    }

    fn go_round(&mut self, round: &mut Round, run: &mut Run, writes: &mut usize, metrics: &ShardMetrics) -> bool {
        let mut oldest = None;
        while round.at < self.members.capacity() {
            if *writes == 0 {
                return false;
            }
            let member = self.members.get_mut(round.at);
            round.at += 1;
            let Some(member) = member else { continue };
            let from = match member.place {
                Place::With(from) => from,
                Place::Behind(at) => {
                    // A socket that stays full never asks for what the ring has lost: it is told from here.
                    let oldest = *oldest.get_or_insert_with(|| self.room.oldest());
                    let ends = M::LOSS_MATTERS && self.manner.slow_consumer == SlowConsumer::Disconnect;
                    if ends && at < oldest && member.connection.is_full() {
                        member.connection.close_soon(CloseCode::Slow);
                    }
                    continue;
                }
            };
            if from >= self.next {
                continue;
            }
            let behind_at = if from > round.first {
                // It starts in the middle of this run: the ring has its part.
                from
            } else {
                *writes -= 1;
                match member.connection.write_run(run) {
                    Written::Taken => {
                        round.takers += 1;
                        continue;
                    }
                    Written::Full => round.first,
                }
            };
            member.fall_behind(behind_at, metrics);
        }
        metrics.runs.inc();
        metrics.messages_out.inc_by(round.takers * run.messages());
        metrics.bytes_out.inc_by(round.takers * run.as_bytes().len() as u64);
        true
    }

    /// The ring moved past the group: each member learns for itself what that means for it.
    fn lose(&mut self, missed: u64, metrics: &ShardMetrics) {
        let next = self.next + missed;
        tracing::warn!(room = %self.name, missed, "the shard fell behind the room");
        for (_, member) in &mut self.members {
            match member.place {
                Place::With(from) if from < next => member.fall_behind(from.max(self.next), metrics),
                _ => {}
            }
        }
        self.next = next;
    }

    /// The room is over: members find out when they next go on from the ring.
    fn end(&mut self, metrics: &ShardMetrics) {
        self.cursor = Cursor::Ended;
        for (_, member) in &mut self.members {
            if let Place::With(from) = member.place {
                member.fall_behind(from.max(self.next), metrics);
            }
        }
    }

    /// The members that are behind, and by how much.
    fn lags(&self, lags: &mut Vec<Lag>) {
        let mut head = None;
        for (_, member) in &self.members {
            if let Place::Behind(at) = member.place {
                lags.push(Lag {
                    room: self.name.to_string(),
                    client: member.connection.conversation.borrow().client().to_owned(),
                    messages: head.get_or_insert_with(|| self.room.tail()).saturating_sub(at),
                });
            }
        }
    }

    fn catch_up(&mut self, member: usize, run: &mut Run, metrics: &ShardMetrics) -> CaughtUp {
        let Some(member) = self.members.get_mut(member) else {
            return CaughtUp::Rejoined;
        };
        for _ in 0..CATCH_UP_RUNS_PER_VISIT {
            let Place::Behind(sequence) = member.place else {
                return CaughtUp::Rejoined;
            };
            if !matches!(self.cursor, Cursor::Ended) && sequence >= self.next {
                member.catch_up(sequence, metrics);
                return CaughtUp::Rejoined;
            }
            let position = Position { epoch: self.room.epoch(), sequence };
            let Ok(mut ring) = self.room.subscribe_from(Start::Resume(position)).now() else {
                return CaughtUp::Ended;
            };
            let read = match ring.resumption() {
                Resumption::Gap(missed) => Err(TryRecvError::Lagged(missed)),
                Resumption::Unknown => return CaughtUp::Ended,
                _ => ring.try_recv_batch(ROOM_MESSAGES_PER_VISIT),
            };
            let batch = match read {
                Ok(batch) => batch,
                Err(TryRecvError::Lagged(missed)) if !M::LOSS_MATTERS => {
                    member.place = Place::Behind(sequence + missed);
                    continue;
                }
                Err(TryRecvError::Lagged(missed)) => match self.manner.slow_consumer {
                    SlowConsumer::Disconnect => return CaughtUp::Missed(missed),
                    SlowConsumer::Skip => return CaughtUp::Skipped(missed),
                    SlowConsumer::Latest => {
                        member.place = Place::Behind(self.room.tail().saturating_sub(1));
                        continue;
                    }
                },
                Err(TryRecvError::Empty) => return CaughtUp::Unfinished,
                Err(_) => return CaughtUp::Ended,
            };
            run.begin(self.wire);
            let mut next = batch.first_sequence();
            for (sequence, time_ms, message) in batch.iter() {
                let time_ms = time_ms.unwrap_or(0);
                run.push(|out| message.encode(&self.encoder, sequence, time_ms, out));
                next = sequence + 1;
                if run.is_full() {
                    break;
                }
            }
            run.finish();
            match member.connection.write_run(run) {
                Written::Taken => {
                    member.place = Place::Behind(next);
                    metrics.messages_out.inc_by(run.messages());
                    metrics.bytes_out.inc_by(run.as_bytes().len() as u64);
                }
                Written::Full => return CaughtUp::Full,
            }
        }
        CaughtUp::Unfinished
    }
}

impl<M: Message> fmt::Debug for Feed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("rooms", &self.by_name.len()).finish_non_exhaustive()
    }
}
