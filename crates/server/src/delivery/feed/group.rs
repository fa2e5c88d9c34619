//! A room's members of one framing on one shard, and the batch on its way round them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::task::Waker;

use slab::Slab;

use super::ROOM_MESSAGES_PER_VISIT;
use super::events::Hears;
use super::member::{Member, Place};
use super::queue::{At, Due};
use super::view::{GroupView, Share};
use crate::config::SlowConsumer;
use crate::delivery::lag::Lag;
use crate::delivery::sink::{MemberSink, Written};
use crate::ops::metrics::ShardMetrics;
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::handing_over::is_given_away;
use crate::rooms::visible::Edge;
use crate::wire::encoded_batch::EncodedBatch;
use crate::wire::framing::Framing;
use roomcast::{Position, Room, RoomKey, Start, Subscription, TryRecvError};
use roomcast_protocol::{CloseCode, Publication, PublicationEncoder, RoomName};

/// Messages that are encoded for members alone while a batch is on its way, for those who are not given their own: a millisecond or so.
const APART_MESSAGES_PER_BATCH: u64 = 4_096;

/// Bytes of payload that are made a delta of in the time of a write: what is sent of them may be a few bytes, and does not fill a batch.
const DELTA_BYTES_PER_WRITE: usize = 1_024;

/// Bytes that are compressed in the time of a write.
const COMPRESSED_BYTES_PER_WRITE: usize = 256;

/// A room's members of one framing on this shard.
pub(super) struct Group<S> {
    pub(super) name: RoomName,
    pub(super) framing: Framing,
    pub(super) room: Room<Publication>,
    pub(super) cursor: Cursor,
    pub(super) encoder: PublicationEncoder,
    pub(super) options: DeliveryOptions,
    /// The next sequence the group takes.
    pub(super) next: u64,
    /// Whether its members hear who comes and goes.
    pub(super) is_listening: bool,
    /// The events of a group that has any to give: one whose members hear who comes and goes, or were given a message without an
    /// offset.
    pub(super) hears: Option<Box<Hears>>,
    /// From where to where the room may be seen.
    pub(super) edge: Edge,
    /// Whether it rests until more may be seen.
    pub(super) is_held: bool,
    /// What has it looked at again then; of one that has rested.
    pub(super) waker: Option<Waker>,
    pub(super) members: Slab<Member<S>>,
    /// How many of them are behind.
    pub(super) behind: usize,
    /// The batch that has not been written to all members.
    pub(super) sending: Option<Sending>,
    /// Members whose sockets have not taken all of the last batch of this room, when that was written, and its sequences.
    pub(super) waiting: BTreeMap<usize, Range<u64>>,
    /// What its members are given otherwise than all of it as it is, if they are.
    pub(super) view: Option<Box<GroupView>>,
}

/// Where the group's subscription is.
pub(super) enum Cursor {
    /// In the feed's set, which says when there is something.
    Listed(RoomKey),
    /// Here: something is there, and not to be read yet.
    Detached(Box<Subscription<Publication>>),
    /// The room has ended.
    Ended,
}

/// A batch on its way round the members.
pub(super) struct Sending {
    pub(super) batch: EncodedBatch,
    pub(super) round: Round,
}

/// How far a batch has come.
pub(super) struct Round {
    /// Where the batch begins; it ends where the group stands.
    pub(super) first: At,
    /// The member that is next.
    pub(super) at: usize,
    pub(super) takers: u64,
}

/// How reading a room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Everything is with the members, or the room's turn is over.
    Through,
    /// Some members have not been given the last batch.
    Unfinished,
    /// Everything that may be seen is with the members.
    Held,
    /// The room has ended.
    Ended,
    /// It is another process's by now: its members hear nothing more here.
    GivenAway,
}

impl<S: MemberSink> Group<S> {
    /// Reads what there is and sends it, within a budget. Where events are put between the publications, it reads no further than
    /// `end`: which events come before those is not known yet.
    pub(super) fn read_to(
        &mut self,
        end: u64,
        cursor: &mut Subscription<Publication>,
        batch: &mut EncodedBatch,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> Read {
        self.pass_by_erased(cursor, metrics);
        match (&self.hears, &self.view) {
            (None, None) => self.read(cursor, batch, writes, metrics),
            _ => self.read_apart(end, cursor, batch, writes, metrics),
        }
    }

    fn read(
        &mut self,
        cursor: &mut Subscription<Publication>,
        batch: &mut EncodedBatch,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> Read {
        let end = self.edge.range().end;
        let erased = self.edge.erased(&self.room);
        for _ in 0..ROOM_MESSAGES_PER_VISIT {
            // Each time, for the group moves on by more than one message where it has lost some.
            if self.next + batch.messages() >= end {
                break;
            }
            match cursor.try_recv_ref() {
                Ok(message) => {
                    let (sequence, time_ms) = (message.sequence(), message.time().unwrap_or(0));
                    debug_assert_eq!(self.next + batch.messages(), sequence);
                    let publication = erased.shown(sequence, &message);
                    // The wire counts from 1.
                    batch.push(|out| self.encoder.encode(publication, sequence + 1, time_ms, out));
                    if batch.is_full() && !self.send(batch, writes, metrics) {
                        return Read::Unfinished;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(missed) | TryRecvError::Disconnected(missed))
                    if !is_given_away(&self.room) =>
                {
                    // Nobody is to be left with a batch that lies before what is lost.
                    self.send_to_all(batch, metrics);
                    self.lose(missed, metrics);
                }
                Err(_) => {
                    self.send_to_all(batch, metrics);
                    return self.end_of_reading();
                }
            }
        }
        match self.send(batch, writes, metrics) {
            false => Read::Unfinished,
            true if self.deliverable() == 0 => Read::Held,
            true => Read::Through,
        }
    }

    /// The same with joins and leaves at their places, and of publications what the members are given, as they are given it.
    fn read_apart(
        &mut self,
        end: u64,
        cursor: &mut Subscription<Publication>,
        batch: &mut EncodedBatch,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> Read {
        let end = end.min(self.edge.range().end);
        let last = self.edge.last();
        let erased = self.edge.erased(&self.room);
        let (mut at, mut work) = (self.at(), 0);
        self.begin_batch();
        for _ in 0..ROOM_MESSAGES_PER_VISIT {
            let due = self.hears.as_ref().and_then(|hears| hears.queue.due(at, last));
            if let Some(Due::Event(event)) = due {
                let encoding = self.framing.encoding();
                match &mut self.view {
                    None => batch.push(|out| encoding.encode_push(&event.push(), out)),
                    Some(view) => view.push_event(event, encoding, &self.encoder, batch),
                }
                at.event += 1;
            } else if let Some(Due::Lost) = due {
                // Nobody is to be left with a batch that lies before what is lost.
                self.send_to(at, batch, &mut { usize::MAX }, metrics);
                self.lose_events(metrics);
                at = self.at();
            } else if at.publication >= end {
                break;
            } else {
                match cursor.try_recv_ref() {
                    Ok(message) => {
                        let (sequence, time_ms) = (message.sequence(), message.time().unwrap_or(0));
                        debug_assert_eq!(at.publication, sequence);
                        let publication = erased.shown(sequence, &message);
                        match &mut self.view {
                            None => batch.push(|out| self.encoder.encode(publication, sequence + 1, time_ms, out)),
                            Some(view) => {
                                let may_be_base = |base| self.edge.may_be_base(base, &erased);
                                work += view.push((publication, sequence, time_ms), may_be_base, &self.encoder, batch);
                                *writes = writes.saturating_sub(work / DELTA_BYTES_PER_WRITE);
                                work %= DELTA_BYTES_PER_WRITE;
                            }
                        }
                        at.publication = sequence + 1;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Lagged(missed) | TryRecvError::Disconnected(missed))
                        if !is_given_away(&self.room) =>
                    {
                        self.send_to(at, batch, &mut { usize::MAX }, metrics);
                        self.lose(missed, metrics);
                        at = self.at();
                    }
                    Err(_) => {
                        self.send_to(at, batch, &mut { usize::MAX }, metrics);
                        return self.end_of_reading();
                    }
                }
            }
            if (batch.is_full() || *writes == 0) && !self.send_to(at, batch, writes, metrics) {
                return Read::Unfinished;
            }
            if *writes == 0 {
                // None of it was for anybody, and finding that out was enough for a turn.
                break;
            }
        }
        match self.send_to(at, batch, writes, metrics) {
            false => Read::Unfinished,
            true if self.deliverable() == 0 => Read::Held,
            true => Read::Through,
        }
    }

    fn end_of_reading(&self) -> Read {
        if is_given_away(&self.room) { Read::GivenAway } else { Read::Ended }
    }

    /// Its first member has the publication before that one: of a group with deltas, the first one is made of it.
    pub(super) fn begin_chain_behind(&mut self, next: u64) {
        let Some(view) = self.view.as_mut().filter(|view| view.is_chain()) else { return };
        let Some(newest) = next.checked_sub(1) else { return };
        let start = Start::Resume(Position { epoch: self.room.epoch(), sequence: newest });
        // Where the ring has it no longer, the next one is whole.
        if let Ok(mut ring) = self.room.subscribe_from(start).now()
            && let Ok(message) = ring.try_recv_ref()
            && message.sequence() == newest
        {
            view.begin_chain(&message, newest);
        }
    }

    /// Begins a batch of a group whose members are given something else than others.
    fn begin_batch(&mut self) {
        let Some(view) = &mut self.view else { return };
        let lacks = |member: &Member<S>| !member.has_newest && matches!(member.place, Place::With(_));
        let needs_whole = view.is_chain() && self.members.iter().any(|(_, member)| lacks(member));
        view.begin(self.framing, needs_whole);
    }

    /// Where the group stands.
    pub(super) fn at(&self) -> At {
        At { publication: self.next, event: self.hears.as_ref().map_or(0, |hears| hears.next) }
    }

    /// The number that the next event gets.
    pub(super) fn events_end(&self) -> u64 {
        self.hears.as_ref().map_or(0, |hears| hears.queue.end())
    }

    /// Whether there is an event to be given now.
    pub(super) fn has_due(&self) -> bool {
        let due = |hears: &Hears| hears.queue.due(self.at(), self.edge.last()).is_some();
        !matches!(self.cursor, Cursor::Ended) && self.hears.as_ref().is_some_and(|hears| due(hears))
    }

    /// Passes by what may have been erased since the ring took it: the members are given what the database has.
    fn pass_by_erased(&mut self, cursor: &mut Subscription<Publication>, metrics: &ShardMetrics) {
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

    /// Sends the batch, whatever it takes.
    fn send_to_all(&mut self, batch: &mut EncodedBatch, metrics: &ShardMetrics) {
        let mut writes = usize::MAX;
        self.send(batch, &mut writes, metrics);
    }

    /// Sends a batch of publications alone.
    fn send(&mut self, batch: &mut EncodedBatch, writes: &mut usize, metrics: &ShardMetrics) -> bool {
        let to = At { publication: self.next + batch.messages(), event: 0 };
        self.send_to(to, batch, writes, metrics)
    }

    /// Sends the batch to the members that go along, and moves the group to where it ends. False if there are more members than
    /// writes left; [`Group::go_on`] gives it to the others.
    fn send_to(&mut self, to: At, batch: &mut EncodedBatch, writes: &mut usize, metrics: &ShardMetrics) -> bool {
        let mut round = Round { first: self.at(), at: 0, takers: 0 };
        self.next = to.publication;
        if let Some(hears) = &mut self.hears {
            hears.next = to.event;
        }
        if batch.is_empty() {
            // What lies before it is for nobody here.
            return true;
        }
        batch.finish();
        if let Some(view) = &mut self.view {
            view.finish();
        }
        let compressed = batch.compressed_bytes() + self.view.as_ref().map_or(0, |view| view.compressed_bytes());
        *writes = writes.saturating_sub(compressed.div_ceil(COMPRESSED_BYTES_PER_WRITE));
        let is_through = self.go_round(&mut round, batch, writes, metrics);
        match is_through {
            true => {
                batch.clear();
                self.begin_batch();
            }
            false => {
                self.sending = Some(Sending { batch: std::mem::take(batch), round });
                batch.begin(self.framing);
            }
        }
        is_through
    }

    /// Gives the batch that is on its way to further members; true when all have it.
    pub(super) fn go_on(&mut self, writes: &mut usize, metrics: &ShardMetrics) -> bool {
        let Some(mut sending) = self.sending.take() else { return true };
        let is_through = self.go_round(&mut sending.round, &mut sending.batch, writes, metrics);
        if !is_through {
            self.sending = Some(sending);
        }
        is_through
    }

    /// Gives a batch to the members that go along, from where the round stands; true when all have it.
    fn go_round(
        &mut self,
        round: &mut Round,
        batch: &mut EncodedBatch,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> bool {
        let mut oldest = None;
        while round.at < self.members.capacity() {
            if *writes == 0 {
                return false;
            }
            let at = round.at;
            round.at += 1;
            let Some(member) = self.members.get_mut(at) else { continue };
            let written = match member.place {
                // Nearly all: nothing of the batch lies before it, and it is given what everybody is.
                Place::With(from) if self.view.is_none() && round.first.has_reached(from) => {
                    *writes -= 1;
                    member.sink.write_batch(batch)
                }
                Place::With(from) => match self.give_apart((at, from), round.first, batch, writes, metrics) {
                    Some(written) => written,
                    None => continue,
                },
                Place::Behind(next) => {
                    self.look_after_behind(at, next, &mut oldest);
                    continue;
                }
            };
            match written {
                Written::Taken => round.takers += 1,
                rest => self.note_full(at, rest, round, metrics),
            }
        }
        self.catch_up_apart(batch.messages(), metrics);
        metrics.runs.inc();
        metrics.messages_out.inc_by(round.takers * batch.messages());
        metrics.bytes_out.inc_by(round.takers * batch.as_bytes().len() as u64);
        true
    }

    /// A member's socket has not taken all of the batch.
    #[cold]
    fn note_full(&mut self, at: usize, written: Written, round: &mut Round, metrics: &ShardMetrics) {
        if written == Written::Full {
            self.members[at].fall_behind(round.first, &mut self.behind, metrics);
        } else {
            round.takers += 1;
            self.waiting.insert(at, round.first.publication..self.next);
        }
    }

    /// Gives a member that goes along `from` there its part of the batch, which begins with `first`: it starts in the midst of it, or may be
    /// given something else than everybody. How the batch was written, if it is given that.
    fn give_apart(
        &mut self,
        (at, from): (usize, At),
        first: At,
        batch: &mut EncodedBatch,
        writes: &mut usize,
        metrics: &ShardMetrics,
    ) -> Option<Written> {
        let end = self.at();
        let member = self.members.get_mut(at)?;
        if from.has_reached(end) {
            return None;
        }
        if !first.has_reached(from) {
            // The ring has its part.
            member.fall_behind(from.max(first), &mut self.behind, metrics);
            return None;
        }
        let share = self.view.as_ref().map_or(Share::All, |view| view.share(at, member.has_newest, batch));
        if share == Share::All {
            *writes -= 1;
            return Some(member.sink.write_batch(batch));
        }
        let view = self.view.as_mut()?;
        if view.give(share, member, writes, metrics) {
            if share != Share::Nothing && member.sink.is_full() {
                self.waiting.insert(at, first.publication..end.publication);
            }
            return None;
        }
        if share == Share::Apart {
            view.own.set_apart(at);
        }
        member.fall_behind(first, &mut self.behind, metrics);
        None
    }

    /// A socket that stays full never asks for what the ring has lost: it is told from here.
    fn look_after_behind(&self, at: usize, next: At, oldest: &mut Option<u64>) {
        let oldest = *oldest.get_or_insert_with(|| self.room.oldest());
        let ends = !self.options.has_database && self.options.slow_consumer == SlowConsumer::Disconnect;
        let Some(Member { sink, .. }) = self.members.get(at).filter(|_| ends && next.publication < oldest) else {
            return;
        };
        if sink.is_full() {
            sink.close_soon(CloseCode::Slow);
        }
    }

    /// Lets members go on at once of whose own something was in the batch: the ring may move past those who wait for their turn, and
    /// they are not slow. As many as may be looked after here; the others have their turns.
    fn catch_up_apart(&mut self, messages: u64, metrics: &ShardMetrics) {
        let Some(view) = &mut self.view else { return };
        let apart = view.own.take_apart();
        if apart.is_empty() {
            return;
        }
        let mut batch = EncodedBatch::default();
        for member in apart.into_iter().take((APART_MESSAGES_PER_BATCH / messages.max(1)) as usize) {
            // The database it asks in its turn, where the answer is taken.
            let _ = self.catch_up(member, false, &mut batch, metrics);
        }
    }

    /// The ring moved past the group: each member learns for itself what that means for it.
    fn lose(&mut self, missed: u64, metrics: &ShardMetrics) {
        tracing::warn!(room = %self.name, missed, "the shard fell behind the room");
        self.fall_behind_all(missed, metrics);
    }

    /// Moves the group on past messages that it does not give; the members go on by themselves.
    fn fall_behind_all(&mut self, missed: u64, metrics: &ShardMetrics) {
        let next = self.next + missed;
        let at = self.at();
        for (_, member) in &mut self.members {
            match member.place {
                Place::With(from) if from.publication < next => {
                    member.fall_behind(from.max(at), &mut self.behind, metrics);
                }
                _ => {}
            }
        }
        self.next = next;
    }

    /// Moves the group on past events that are gone; each member that was to be given them learns of it.
    fn lose_events(&mut self, metrics: &ShardMetrics) {
        tracing::warn!(room = %self.name, "joins and leaves did not fit into the queue, members come again");
        let at = self.at();
        let Some(hears) = &mut self.hears else { return };
        hears.next += 1;
        for (_, member) in &mut self.members {
            match member.place {
                Place::With(from) if from.event < hears.next => {
                    member.fall_behind(from.max(at), &mut self.behind, metrics);
                }
                Place::With(_) => {}
                Place::Behind(_) => member.sink.wake(),
            }
        }
    }

    /// Has the members look who are behind: some may have lost what they were to be given.
    pub(super) fn wake_behind(&self) {
        let behind = self.members.iter().filter(|(_, member)| matches!(member.place, Place::Behind(_)));
        behind.for_each(|(_, member)| member.sink.wake());
    }

    /// The room is over: members find out when they next go on from the ring.
    pub(super) fn end(&mut self, metrics: &ShardMetrics) {
        self.cursor = Cursor::Ended;
        let at = self.at();
        for (_, member) in &mut self.members {
            if let Place::With(from) = member.place {
                member.fall_behind(from.max(at), &mut self.behind, metrics);
            }
        }
    }

    /// A member that is behind, and where.
    pub(super) fn behind(&self, member: usize) -> Option<(&Member<S>, At)> {
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
                    client: member.sink.client(),
                    messages: head.get_or_insert_with(|| self.room.tail()).saturating_sub(at.publication),
                });
            }
        }
    }
}
