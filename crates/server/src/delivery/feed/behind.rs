//! Members that are behind: each goes on by itself, from the ring or from what the database has, until it has caught up.

use super::events::Hears;
use super::group::{Cursor, Group};
use super::member::Place;
use super::queue::{At, Due};
use super::view::MemberView;
use super::{CaughtUp, ROOM_MESSAGES_PER_VISIT};
use crate::config::SlowConsumer;
use crate::delivery::sink::{MemberSink, Written};
use crate::ops::metrics::ShardMetrics;
use crate::rooms::handing_over::is_given_away;
use crate::wire::encoded_batch::EncodedBatch;
use roomcast::{Position, Resumption, Start, TryRecvError};
use roomcast_protocol::{CloseCode, Placed};

/// Batches a member may take from the ring at once to catch up before others on its shard have their turn.
const CATCH_UP_RUNS_PER_VISIT: usize = 4;

impl<S: MemberSink> Group<S> {
    /// Lets a member go on, as far as its socket and the budget allow. What it has missed of a room that is another process's by now
    /// is there, and it hears nothing of it here.
    pub(super) fn catch_up(
        &mut self,
        index: usize,
        may_fetch: bool,
        batch: &mut EncodedBatch,
        metrics: &ShardMetrics,
    ) -> CaughtUp {
        let caught_up = self.go_on_alone(index, may_fetch, batch, metrics);
        let has_missed = match caught_up {
            CaughtUp::Rejoined | CaughtUp::Full | CaughtUp::Unfinished | CaughtUp::Waits | CaughtUp::Held => false,
            CaughtUp::InTheDatabase(..) | CaughtUp::Missed(_) | CaughtUp::Skipped(_) => true,
            CaughtUp::EventsLost | CaughtUp::Ended => true,
        };
        if has_missed && is_given_away(&self.room) { CaughtUp::Waits } else { caught_up }
    }

    fn go_on_alone(
        &mut self,
        index: usize,
        may_fetch: bool,
        batch: &mut EncodedBatch,
        metrics: &ShardMetrics,
    ) -> CaughtUp {
        let group_at = self.at();
        let Some(member) = self.members.get_mut(index) else {
            return CaughtUp::Rejoined;
        };
        if member.is_fetching {
            return CaughtUp::Waits;
        }
        // What the group may not give, nobody is given. Behind the group a member goes along with it again.
        let is_ended = matches!(self.cursor, Cursor::Ended);
        let group_end = if is_ended { u64::MAX } else { group_at.publication };
        let events = Events::of(self.hears.as_deref(), is_ended, self.edge.last());
        let view = MemberView::new(self.view.as_deref(), index, self.framing.encoding(), &self.encoder);
        let erased = self.edge.erased(&self.room);
        for _ in 0..CATCH_UP_RUNS_PER_VISIT {
            let Place::Behind(at) = member.place else {
                return CaughtUp::Rejoined;
            };
            if !is_ended && at.has_reached(group_at) {
                member.catch_up(at, &mut self.behind, metrics);
                return CaughtUp::Rejoined;
            }
            if events.are_lost_at(at) {
                return CaughtUp::EventsLost;
            }
            let sequence = at.publication;
            let left = self.edge.range().end.min(group_end).saturating_sub(sequence);
            let mut next = at;
            let mut has_newest = member.has_newest;
            batch.begin(self.framing.for_one());
            if left > 0 {
                let position = Position { epoch: self.room.epoch(), sequence };
                let Ok(mut ring) = self.room.subscribe_from(Start::Resume(position)).now() else {
                    return CaughtUp::Ended;
                };
                let read = match ring.resumption() {
                    Resumption::Gap(missed) => Err(TryRecvError::Lagged(missed)),
                    Resumption::Unknown => return CaughtUp::Ended,
                    _ if sequence < erased.gone_before() => Err(TryRecvError::Lagged(erased.gone_before() - sequence)),
                    _ if sequence < self.edge.ring_from() => {
                        Err(TryRecvError::Lagged(self.edge.ring_from() - sequence))
                    }
                    _ => ring.try_recv_batch(left.min(ROOM_MESSAGES_PER_VISIT as u64) as usize),
                };
                let messages = match read {
                    Ok(messages) => messages,
                    // Where it stands the history was removed, nothing is left to be given, there neither.
                    Err(TryRecvError::Lagged(_))
                        if self.options.has_database
                            && self.options.slow_consumer != SlowConsumer::Latest
                            && sequence >= self.edge.range().start =>
                    {
                        if !may_fetch {
                            return CaughtUp::Waits;
                        }
                        member.is_fetching = true;
                        return CaughtUp::InTheDatabase(self.room.clone(), sequence);
                    }
                    Err(TryRecvError::Lagged(missed)) => match self.options.slow_consumer {
                        SlowConsumer::Disconnect => return CaughtUp::Missed(missed),
                        SlowConsumer::Skip => return CaughtUp::Skipped(missed),
                        SlowConsumer::Latest => {
                            // The newest one that may be seen; behind the group there is nothing to go on with.
                            let newest = self.edge.range().end.min(self.room.tail()).saturating_sub(1);
                            let publication = newest.max(sequence + 1).min(group_end.max(sequence));
                            member.skip_to(At { publication, ..at });
                            continue;
                        }
                    },
                    Err(TryRecvError::Empty) => return CaughtUp::Unfinished,
                    Err(_) => return CaughtUp::Ended,
                };
                for (sequence, time_ms, message) in messages.iter() {
                    events.push_due(&mut next, view, batch);
                    has_newest = view.push(erased.shown(sequence, message), sequence + 1, time_ms.unwrap_or(0), batch);
                    next.publication = sequence + 1;
                    if batch.is_full() {
                        break;
                    }
                }
            }
            has_newest &= events.push_due(&mut next, view, batch);
            if batch.is_empty() {
                if next == at {
                    return CaughtUp::Held;
                }
                // Nothing of it is for this member.
                (member.place, member.has_newest) = (Place::Behind(next), has_newest);
                continue;
            }
            batch.finish();
            match member.sink.write_batch(batch) {
                written @ (Written::Taken | Written::InPart) => {
                    (member.place, member.has_newest) = (Place::Behind(next), has_newest);
                    if written == Written::InPart {
                        self.waiting.insert(index, sequence..next.publication);
                    }
                    metrics.messages_out.inc_by(batch.messages());
                    metrics.bytes_out.inc_by(batch.as_bytes().len() as u64);
                }
                Written::Full => return CaughtUp::Full,
            }
        }
        CaughtUp::Unfinished
    }

    /// Gives a member what the database has from `from` on.
    pub(super) fn deliver_stored(
        &mut self,
        index: usize,
        from: u64,
        past: &[Placed],
        batch: &mut EncodedBatch,
        metrics: &ShardMetrics,
    ) {
        let group_at = self.at();
        let Some(member) = self.members.get_mut(index) else { return };
        let mut at = match member.place {
            Place::Behind(at) if member.is_fetching && at.publication == from => at,
            // It has left the room meanwhile, and come again.
            _ => return,
        };
        member.is_fetching = false;
        let is_ended = matches!(self.cursor, Cursor::Ended);
        let group_end = if is_ended { u64::MAX } else { group_at.publication };
        if past.first().is_none_or(|first| first.offset != from + 1) {
            let removed = self.edge.range().start;
            if from >= removed {
                return member.sink.close_soon(CloseCode::Slow);
            }
            // It was removed while it was being read: what it has missed it is told when it goes on.
            return member.sink.wake();
        }
        let events = Events::of(self.hears.as_deref(), is_ended, self.edge.last());
        let view = MemberView::new(self.view.as_deref(), index, self.framing.encoding(), &self.encoder);
        // It may have been read before.
        let erased = self.edge.erased(&self.room);
        // Behind the group it goes along with it.
        let mut left = &past[..past.partition_point(|placed| placed.offset <= group_end)];
        while !left.is_empty() && !events.are_lost_at(at) {
            batch.begin(self.framing.for_one());
            let (mut next, mut taken, mut has_newest) = (at, 0, member.has_newest);
            for Placed { offset, time_ms, publication } in left {
                events.push_due(&mut next, view, batch);
                let publication = erased.shown(offset.saturating_sub(1), publication);
                has_newest = view.push(publication, *offset, *time_ms, batch);
                next.publication = *offset;
                taken += 1;
                if batch.is_full() {
                    break;
                }
            }
            batch.finish();
            if !batch.is_empty() {
                match member.sink.write_batch(batch) {
                    Written::Taken => {}
                    Written::InPart => drop(self.waiting.insert(index, at.publication..next.publication)),
                    Written::Full => break,
                }
                metrics.messages_out.inc_by(batch.messages());
                metrics.bytes_out.inc_by(batch.as_bytes().len() as u64);
            }
            (member.place, member.has_newest) = (Place::Behind(next), has_newest);
            (at, left) = (next, &left[taken..]);
        }
        member.sink.wake();
    }
}

/// The events that a member is to be given which goes on by itself: those that its group has taken, or, when there is no group
/// any more, all.
struct Events<'a> {
    hears: Option<&'a Hears>,
    end: u64,
    /// From where on nothing more is ever published.
    last: u64,
}

impl<'a> Events<'a> {
    fn of(hears: Option<&'a Hears>, is_ended: bool, last: u64) -> Self {
        let end = hears.map_or(0, |hears| if is_ended { hears.queue.end() } else { hears.next });
        Self { hears, end, last }
    }

    fn are_lost_at(&self, at: At) -> bool {
        let is_next = |hears: &Hears| at.event < self.end && matches!(hears.queue.due(at, self.last), Some(Due::Lost));
        self.hears.is_some_and(|hears| at.event < hears.queue.first() || is_next(hears))
    }

    /// Appends those that come before the publication that comes next: all of them, so that none is overtaken, which the queue
    /// bounds. Whether the member has as payload still what it had before.
    fn push_due(&self, at: &mut At, view: MemberView<'_>, batch: &mut EncodedBatch) -> bool {
        let Some(hears) = self.hears else { return true };
        let mut is_as_before = true;
        while at.event < self.end
            && let Some(Due::Event(event)) = hears.queue.due(*at, self.last)
        {
            is_as_before &= view.push_event(event, batch);
            at.event += 1;
        }
        is_as_before
    }
}
