//! What a shard delivers: one cursor per room it has members in, and the members.
//!
//! What a room has gathered since its last visit is one run. It is encoded once and the same bytes are written to every member's
//! socket. A member is a cursor: while its socket takes everything it goes along with the group and costs nothing but the
//! write; when the socket is full it stops, alone, at its sequence, and later goes on from the room's ring until it has
//! caught up with the group.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use slab::Slab;

use super::connection::{Connection, Written};
use super::message::Message;
use super::metrics::ShardMetrics;
use super::run::Run;
use crate::protocol::{CloseCode, RoomName};
use crate::{Position, Resumption, Room, RoomKey, RoomSet, Start, Subscription, TryRecvError};

/// Messages of one room delivered before the next ready room has its turn.
const ROOM_MESSAGES_PER_VISIT: usize = 256;

/// Runs a member may take from the ring at once to catch up before others on its shard have their turn.
const CATCH_UP_RUNS_PER_VISIT: usize = 4;

/// The rooms of one kind of message that a shard has members in.
pub(crate) struct Feed<M: Message> {
    set: RoomSet<M>,
    groups: Slab<Group<M>>,
    by_name: HashMap<RoomName, usize>,
    by_key: HashMap<RoomKey, usize>,
    metrics: ShardMetrics,
}

/// A room's members on this shard.
struct Group<M: Message> {
    name: RoomName,
    room: Room<M>,
    /// Where its cursor is in the set; `None` once the room has ended.
    key: Option<RoomKey>,
    encoder: M::Encoder,
    /// The next sequence the group takes.
    cursor: u64,
    members: Slab<Member>,
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
    /// The ring has moved past it; that many messages are gone.
    Missed(u64),
    /// The room has ended.
    Ended,
}

impl<M: Message> Feed<M> {
    pub(crate) fn new(metrics: ShardMetrics) -> Self {
        Self { set: RoomSet::new(), groups: Slab::new(), by_name: HashMap::new(), by_key: HashMap::new(), metrics }
    }

    /// Makes `connection` a member of `name`; its first message is the next one of `start`.
    ///
    /// What was published before that position is the caller's to have sent, so that there is neither gap nor overlap.
    pub(crate) fn join(&mut self, name: &RoomName, start: Subscription<M>, connection: &Rc<Connection>) -> Seat {
        let at = start.position();
        let group = match self.by_name.get(name) {
            Some(&group) if self.groups[group].room.epoch() == at.epoch => group,
            _ => self.open(name, start),
        };
        let Group { members, cursor, .. } = &mut self.groups[group];
        let place = if at.sequence < *cursor {
            connection.fell_behind();
            Place::Behind(at.sequence)
        } else {
            Place::With(at.sequence)
        };
        let connection = Rc::clone(connection);
        let member = members.insert(Member { connection, place });
        Seat { group, member }
    }

    /// Gives a seat back: nothing of the room goes to it any more.
    pub(crate) fn leave(&mut self, Seat { group, member }: Seat) {
        let Some(at) = self.groups.get_mut(group) else {
            return;
        };
        let Some(gone) = at.members.try_remove(member) else {
            return;
        };
        if let Place::Behind(_) = gone.place {
            gone.connection.caught_up();
        }
        if at.members.is_empty() {
            let gone = self.groups.remove(group);
            if let Some(key) = gone.key {
                self.by_key.remove(&key);
                self.set.leave(key);
            }
            if self.by_name.get(&gone.name) == Some(&group) {
                self.by_name.remove(&gone.name);
            }
        }
    }

    /// The next room with something to deliver.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<RoomKey> {
        self.set.poll_ready(cx)
    }

    /// Delivers what a room has gathered, within a budget; a room with more comes up again after the others.
    pub(crate) fn deliver(&mut self, key: RoomKey, run: &mut Run) {
        let group = self.by_key.get(&key).and_then(|&at| self.groups.get_mut(at));
        let (Some(group), Some(cursor)) = (group, self.set.get_mut(key)) else {
            self.set.leave(key);
            return;
        };
        let mut left = ROOM_MESSAGES_PER_VISIT;
        let mut ended = false;
        run.clear();
        while left > 0 {
            match cursor.try_recv_batch(left) {
                Ok(batch) => {
                    left = left.saturating_sub(batch.len());
                    for (sequence, time_ms, message) in batch.iter() {
                        let time_ms = time_ms.unwrap_or(0);
                        run.push(|out| message.encode(&group.encoder, sequence, time_ms, out));
                        if run.is_full() {
                            group.send(run, sequence + 1, &self.metrics);
                        }
                    }
                    let next = batch.first_sequence() + batch.len() as u64;
                    debug_assert_eq!(group.cursor + run.messages(), next);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(missed) | TryRecvError::Disconnected(missed)) => {
                    let next = group.cursor + run.messages();
                    group.send(run, next, &self.metrics);
                    group.lose(missed);
                }
                Err(TryRecvError::Closed(_)) => {
                    ended = true;
                    break;
                }
            }
        }
        let next = group.cursor + run.messages();
        group.send(run, next, &self.metrics);
        if ended {
            group.end();
            self.by_key.remove(&key);
            self.set.leave(key);
        }
    }

    /// Lets a member that is behind go on from the ring, as far as its socket and the budget allow.
    pub(crate) fn catch_up(&mut self, at: Seat, run: &mut Run) -> CaughtUp {
        let Some(group) = self.groups.get_mut(at.group) else {
            return CaughtUp::Ended;
        };
        group.catch_up(at.member, run, &self.metrics)
    }

    /// The live members' connections of a room; for closing them when its delivery failed.
    pub(crate) fn connections(&self, key: RoomKey) -> Vec<Rc<Connection>> {
        let group = self.by_key.get(&key).and_then(|&at| self.groups.get(at));
        group.map_or_else(Vec::new, |group| {
            let members = group.members.iter();
            members.map(|(_, m)| Rc::clone(&m.connection)).collect()
        })
    }

    fn open(&mut self, name: &RoomName, start: Subscription<M>) -> usize {
        let room = start.room().clone();
        let cursor = start.position().sequence;
        let key = self.set.join(start);
        let group = self.groups.insert(Group {
            name: name.clone(),
            room,
            key: Some(key),
            encoder: M::encoder(name),
            cursor,
            members: Slab::new(),
        });
        self.by_key.insert(key, group);
        self.by_name.insert(name.clone(), group);
        group
    }
}

impl<M: Message> Group<M> {
    /// Sends the run, which ends before `next`, to every member that goes along, and moves the group there.
    fn send(&mut self, run: &mut Run, next: u64, metrics: &ShardMetrics) {
        if run.is_empty() {
            return;
        }
        run.finish();
        let first = self.cursor;
        let mut takers = 0;
        let mut oldest = None;
        for (_, member) in &mut self.members {
            let from = match member.place {
                Place::With(from) => from,
                Place::Behind(at) => {
                    // A socket that stays full never asks for what the ring has lost: it is told from here.
                    let oldest = *oldest.get_or_insert_with(|| self.room.oldest());
                    if M::LOSS_MATTERS && at < oldest && member.connection.is_full() {
                        member.connection.close_soon(CloseCode::Slow);
                    }
                    continue;
                }
            };
            if from >= next {
                continue;
            }
            let behind_at = if from > first {
                // It starts in the middle of this run: the ring has its part.
                from
            } else {
                match member.connection.write_run(run) {
                    Written::Taken => {
                        takers += 1;
                        continue;
                    }
                    Written::Full => first,
                }
            };
            member.place = Place::Behind(behind_at);
            member.connection.fell_behind();
        }
        metrics.runs.inc();
        metrics.messages_out.inc_by(takers * run.messages());
        metrics.bytes_out.inc_by(takers * run.as_bytes().len() as u64);
        self.cursor = next;
        run.clear();
    }

    /// The ring moved past the group: each member learns for itself what that means for it.
    fn lose(&mut self, missed: u64) {
        let next = self.cursor + missed;
        tracing::warn!(room = %self.name, missed, "the shard fell behind the room");
        for (_, member) in &mut self.members {
            match member.place {
                Place::With(from) if from < next => {
                    member.place = Place::Behind(from.max(self.cursor));
                    member.connection.fell_behind();
                }
                _ => {}
            }
        }
        self.cursor = next;
    }

    /// The room is over: members find out when they next go on from the ring.
    fn end(&mut self) {
        self.key = None;
        for (_, member) in &mut self.members {
            if let Place::With(from) = member.place {
                member.place = Place::Behind(from.max(self.cursor));
                member.connection.fell_behind();
            }
        }
    }

    fn catch_up(&mut self, member: usize, run: &mut Run, metrics: &ShardMetrics) -> CaughtUp {
        let Some(Member { connection, place }) = self.members.get_mut(member) else {
            return CaughtUp::Rejoined;
        };
        for _ in 0..CATCH_UP_RUNS_PER_VISIT {
            let Place::Behind(sequence) = *place else {
                return CaughtUp::Rejoined;
            };
            if self.key.is_some() && sequence >= self.cursor {
                *place = Place::With(sequence);
                connection.caught_up();
                return CaughtUp::Rejoined;
            }
            let position = Position { epoch: self.room.epoch(), sequence };
            let Ok(mut ring) = self.room.subscribe_from(Start::Resume(position)).now() else {
                return CaughtUp::Ended;
            };
            let missed = match ring.resumption() {
                Resumption::Gap(missed) => missed,
                Resumption::Unknown => return CaughtUp::Ended,
                _ => 0,
            };
            let batch = match ring.try_recv_batch(ROOM_MESSAGES_PER_VISIT) {
                _ if missed > 0 && M::LOSS_MATTERS => return CaughtUp::Missed(missed),
                Ok(batch) => batch,
                Err(TryRecvError::Lagged(missed)) if M::LOSS_MATTERS => {
                    return CaughtUp::Missed(missed);
                }
                Err(TryRecvError::Lagged(missed)) => {
                    *place = Place::Behind(sequence + missed);
                    continue;
                }
                Err(TryRecvError::Empty) => return CaughtUp::Unfinished,
                Err(_) => return CaughtUp::Ended,
            };
            run.clear();
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
            match connection.write_run(run) {
                Written::Taken => {
                    *place = Place::Behind(next);
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
