//! A room's members of one form on one shard, and the run on its way round them.

use std::rc::Rc;

use slab::Slab;

use super::{CaughtUp, Manner, ROOM_MESSAGES_PER_VISIT};
use crate::protocol::{CloseCode, RoomName};
use crate::server::config::SlowConsumer;
use crate::server::connection::{Connection, Written};
use crate::server::lag::Lag;
use crate::server::message::Message;
use crate::server::metrics::ShardMetrics;
use crate::server::run::Run;
use crate::server::visible::Edge;
use crate::server::wire::Wire;
use crate::{Position, Resumption, Room, RoomKey, Start, Subscription, TryRecvError};

/// Runs a member may take from the ring at once to catch up before others on its shard have their turn.
const CATCH_UP_RUNS_PER_VISIT: usize = 4;

/// A room's members of one form on this shard.
pub(super) struct Group<M: Message> {
    pub(super) name: RoomName,
    pub(super) wire: Wire,
    pub(super) room: Room<M>,
    pub(super) cursor: Cursor<M>,
    pub(super) encoder: M::Encoder,
    pub(super) manner: Manner,
    /// The next sequence the group takes.
    pub(super) next: u64,
    /// From where to where the room may be seen.
    pub(super) edge: Edge,
    pub(super) members: Slab<Member>,
    /// The run that has not been written to all members.
    pub(super) sending: Option<Sending>,
}

/// Where the group's subscription is.
pub(super) enum Cursor<M: Message> {
    /// In the feed's set, which says when there is something.
    Listed(RoomKey),
    /// Here: something is there, and not to be read yet.
    Aside(Box<Subscription<M>>),
    /// The room has ended.
    Ended,
}

/// A run on its way round the members.
pub(super) struct Sending {
    run: Run,
    round: Round,
}

/// How far a run has come.
pub(super) struct Round {
    /// The sequence the run begins with; it ends where the group stands.
    first: u64,
    /// The member that is next.
    at: usize,
    takers: u64,
}

pub(super) struct Member {
    pub(super) connection: Rc<Connection>,
    pub(super) place: Place,
    /// What it has missed is being read from the database.
    pub(super) is_fetching: bool,
}

/// Where a member is. `With` becomes `Behind` when its socket is full, when it starts in the middle of a run or when the
/// group lost messages; only [`Feed::catch_up`](super::Feed::catch_up) leads back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Takes the group's runs, from this sequence on.
    With(u64),
    /// Takes nothing from the group; its next message is this one.
    Behind(u64),
}

impl Member {
    /// From here on it goes on by itself, from that sequence.
    pub(super) fn fall_behind(&mut self, at: u64, metrics: &ShardMetrics) {
        self.place = Place::Behind(at);
        self.connection.fell_behind();
        metrics.behind.inc();
    }

    /// From here on it takes the group's runs again.
    pub(super) fn catch_up(&mut self, at: u64, metrics: &ShardMetrics) {
        self.place = Place::With(at);
        self.connection.caught_up();
        metrics.behind.dec();
    }
}

/// How reading a room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Everything is with the members, or the room's turn is over.
    Through,
    /// Some members have not been given the last run.
    Unfinished,
    /// Everything that may be seen is with the members.
    Held,
    /// The room has ended.
    Ended,
}

impl<M: Message> Group<M> {
    /// Reads what there is and sends it, within a budget.
    pub(super) fn read(
        &mut self,
        cursor: &mut Subscription<M>,
        run: &mut Run,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> Read {
        self.pass_by_erased(cursor, metrics);
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

    /// Passes by what may have been erased since the ring took it: the members are given what the database has.
    fn pass_by_erased(&mut self, cursor: &mut Subscription<M>, metrics: &ShardMetrics) {
        let ring_from = self.edge.ring_from();
        if self.next >= ring_from {
            return;
        }
        while cursor.position().sequence < ring_from {
            let left = (ring_from - cursor.position().sequence) as usize;
            if cursor.try_recv_batch(left).is_err() {
                break;
            }
        }
        let missed = cursor.position().sequence.saturating_sub(self.next);
        self.fall_behind_all(missed, metrics);
    }

    /// How many more messages may be delivered.
    fn deliverable(&self) -> u64 {
        self.edge.range().end.saturating_sub(self.next)
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
    pub(super) fn go_on(&mut self, writes: &mut usize, metrics: &ShardMetrics) -> bool {
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
                    let ends = M::LOSS_MATTERS
                        && !self.manner.is_kept
                        && self.manner.slow_consumer == SlowConsumer::Disconnect;
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
        tracing::warn!(room = %self.name, missed, "the shard fell behind the room");
        self.fall_behind_all(missed, metrics);
    }

    /// Moves the group on past messages that it does not give; the members go on by themselves.
    fn fall_behind_all(&mut self, missed: u64, metrics: &ShardMetrics) {
        let next = self.next + missed;
        for (_, member) in &mut self.members {
            match member.place {
                Place::With(from) if from < next => member.fall_behind(from.max(self.next), metrics),
                _ => {}
            }
        }
        self.next = next;
    }

    /// The room is over: members find out when they next go on from the ring.
    pub(super) fn end(&mut self, metrics: &ShardMetrics) {
        self.cursor = Cursor::Ended;
        for (_, member) in &mut self.members {
            if let Place::With(from) = member.place {
                member.fall_behind(from.max(self.next), metrics);
            }
        }
    }

    /// A member that is behind, and where.
    pub(super) fn behind(&self, member: usize) -> Option<(&Member, u64)> {
        let member = self.members.get(member)?;
        match member.place {
            Place::Behind(at) => Some((member, at)),
            Place::With(_) => None,
        }
    }

    /// The members that are behind, and by how much.
    pub(super) fn lags(&self, lags: &mut Vec<Lag>) {
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

    pub(super) fn catch_up(&mut self, member: usize, run: &mut Run, metrics: &ShardMetrics) -> CaughtUp<M> {
        let Some(member) = self.members.get_mut(member) else {
            return CaughtUp::Rejoined;
        };
        if member.is_fetching {
            return CaughtUp::Waits;
        }
        for _ in 0..CATCH_UP_RUNS_PER_VISIT {
            let Place::Behind(sequence) = member.place else {
                return CaughtUp::Rejoined;
            };
            if !matches!(self.cursor, Cursor::Ended) && sequence >= self.next {
                member.catch_up(sequence, metrics);
                return CaughtUp::Rejoined;
            }
            // What the group may not give, nobody is given. Behind the group the member goes along with it again.
            let group_end = if matches!(self.cursor, Cursor::Ended) { u64::MAX } else { self.next };
            let left = self.edge.range().end.min(group_end).saturating_sub(sequence);
            if left == 0 {
                return CaughtUp::Held;
            }
            let position = Position { epoch: self.room.epoch(), sequence };
            let Ok(mut ring) = self.room.subscribe_from(Start::Resume(position)).now() else {
                return CaughtUp::Ended;
            };
            let read = match ring.resumption() {
                Resumption::Gap(missed) => Err(TryRecvError::Lagged(missed)),
                Resumption::Unknown => return CaughtUp::Ended,
                _ if sequence < self.edge.ring_from() => Err(TryRecvError::Lagged(self.edge.ring_from() - sequence)),
                _ => ring.try_recv_batch(left.min(ROOM_MESSAGES_PER_VISIT as u64) as usize),
            };
            let batch = match read {
                Ok(batch) => batch,
                Err(TryRecvError::Lagged(missed)) if !M::LOSS_MATTERS => {
                    member.place = Place::Behind(sequence + missed);
                    continue;
                }
                Err(TryRecvError::Lagged(_))
                    if self.manner.is_kept && self.manner.slow_consumer != SlowConsumer::Latest =>
                {
                    member.is_fetching = true;
                    return CaughtUp::InTheDatabase(self.room.clone(), sequence);
                }
                Err(TryRecvError::Lagged(missed)) => match self.manner.slow_consumer {
                    SlowConsumer::Disconnect => return CaughtUp::Missed(missed),
                    SlowConsumer::Skip => return CaughtUp::Skipped(missed),
                    SlowConsumer::Latest => {
                        // The newest one that may be seen; behind the group there is nothing to go on with.
                        let newest = self.edge.range().end.min(self.room.tail()).saturating_sub(1);
                        member.place = Place::Behind(newest.max(sequence + 1).min(group_end.max(sequence)));
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

    /// Gives a member what the database has from `from` on.
    pub(super) fn give(
        &mut self,
        member: usize,
        from: u64,
        past: &[(u64, u64, M)],
        run: &mut Run,
        metrics: &ShardMetrics,
    ) {
        let Some(member) = self.members.get_mut(member) else { return };
        if !member.is_fetching || !matches!(member.place, Place::Behind(at) if at == from) {
            // It has left the room meanwhile, and come again.
            return;
        }
        member.is_fetching = false;
        if past.first().is_none_or(|(first, ..)| *first != from) {
            return member.connection.close_soon(CloseCode::Slow);
        }
        let mut left = past;
        while !left.is_empty() {
            run.begin(self.wire);
            let mut taken = 0;
            for (sequence, time_ms, message) in left {
                run.push(|out| message.encode(&self.encoder, *sequence, *time_ms, out));
                taken += 1;
                if run.is_full() {
                    break;
                }
            }
            run.finish();
            if member.connection.write_run(run) == Written::Full {
                break;
            }
            metrics.messages_out.inc_by(run.messages());
            metrics.bytes_out.inc_by(run.as_bytes().len() as u64);
            member.place = Place::Behind(left[taken - 1].0 + 1);
            left = &left[taken..];
        }
        member.connection.wake();
    }
}
