//! Taking back what was erased and is on its way, also from who is in an incarnation of its room that has ended.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::RoomFeed;
use super::group::{Cursor, Group, Sending};
use super::member::{Member, Place};
use crate::delivery::sink::MemberSink;
use crate::ops::metrics::ShardMetrics;
use crate::rooms::handing_over::is_given_away;
use roomcast::Room;
use roomcast_protocol::{Publication, RoomName};

/// Groups of incarnations that have ended, whose places are other groups'.
#[derive(Debug, Default)]
pub(super) struct Outdated(HashMap<RoomName, SmallVec<[usize; 1]>>);

impl Outdated {
    pub(super) fn add(&mut self, room: &RoomName, group: usize) {
        self.0.entry(room.clone()).or_default().push(group);
    }

    /// Takes a group out, if it is one.
    pub(super) fn remove(&mut self, room: &RoomName, group: usize) {
        if let Some(groups) = self.0.get_mut(room) {
            groups.retain(|known| *known != group);
            if groups.is_empty() {
                self.0.remove(room);
            }
        }
    }

    fn of(&self, room: &RoomName) -> impl Iterator<Item = usize> {
        self.0.get(room).into_iter().flatten().copied()
    }
}

/// Whether a room has ended, and is not another process's.
pub(super) fn is_over(room: &Room<Publication>) -> bool {
    !room.is_running() && !is_given_away(room)
}

impl<S: MemberSink> RoomFeed<S> {
    /// Takes back what is on its way to members of a room and was not given to them: something of it was erased, single messages or what
    /// that user has said. Members of an incarnation that has ended are given nothing more of it, for nobody knows what of its ring is
    /// erased: they are led out of the room, and come again.
    pub(crate) fn recall(&mut self, room: &RoomName, user: Option<&str>) {
        let mut groups = self.groups_of(room);
        groups.extend(self.outdated.of(room));
        for at in groups {
            let Some(group) = self.groups.get_mut(at) else { continue };
            let is_over = is_over(&group.room);
            group.recall(user, is_over, &self.metrics);
            if is_over {
                self.end(at);
            }
        }
    }

    /// The groups of a room that new members come into.
    pub(super) fn groups_of(&self, room: &RoomName) -> SmallVec<[usize; 4]> {
        let mut groups = SmallVec::new();
        for &framing in &self.framings {
            for hears in [false, true] {
                // One in a place of another incarnation of the room comes to an end.
                groups.extend(self.by_name.get(&(room.clone(), framing, hears)).copied());
            }
        }
        groups.extend(self.apart.get(room).into_iter().flat_map(HashMap::values).copied());
        groups
    }
}

impl<S: MemberSink> Group<S> {
    /// Takes back the batch that is on its way: it may hold what was erased since. The members that have not been given it go on by
    /// themselves; those whose sockets have begun to take something that was erased are cut off, and come again. Where the room `is_over`
    /// that may be whatever they have begun to take, or is being read for them.
    fn recall(&mut self, user: Option<&str>, is_over: bool, metrics: &ShardMetrics) {
        if let Cursor::Detached(cursor) = &mut self.cursor {
            // One that rests may stand where it has read.
            cursor.release();
        }
        let erased = self.edge.erased(&self.room);
        // What a user has said without a place may be anywhere.
        let has_unplaced = user.is_some() && self.hears.is_some();
        for (member, sequences) in std::mem::take(&mut self.waiting) {
            let Some(Member { sink, .. }) = self.members.get(member) else { continue };
            if sink.is_full() && (is_over || has_unplaced || sequences.clone().any(|sequence| erased.is_at(sequence))) {
                sink.cut();
            } else if sink.is_full() {
                self.waiting.insert(member, sequences);
            }
        }
        for (_, member) in self.members.iter_mut().filter(|(_, member)| is_over && member.is_fetching) {
            member.is_fetching = false;
            member.sink.wake();
        }
        if let (Some(user), Some(hears)) = (user, &mut self.hears) {
            hears.queue.erase(user);
        }
        if let Some(view) = &mut self.view {
            view.recall();
        }
        let Some(Sending { batch, round }) = self.sending.take() else { return };
        let end = self.at();
        for at in round.at..self.members.capacity() {
            let Some(member) = self.members.get_mut(at) else { continue };
            if let Place::With(from) = member.place
                && !from.has_reached(end)
            {
                member.fall_behind(from.max(round.first), &mut self.behind, metrics);
            }
        }
        metrics.messages_out.inc_by(round.takers * batch.messages());
        metrics.bytes_out.inc_by(round.takers * batch.as_bytes().len() as u64);
    }
}
