//! Joins and leaves that have come in for a shard, and the groups that have some to give.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use slab::Slab;

use super::group::Group;
use super::queue::{Bytes, Counted, ENTRY_BYTES, EventQueue, Kept, Total};
use crate::delivery::sink::MemberSink;
use crate::rooms::join_leave::{Event, Inbox};
use roomcast::Epoch;
use roomcast_protocol::RoomName;

/// The inbox of a shard and those who listen to it.
pub(super) struct Hearing {
    inbox: Inbox,
    /// Groups, by room.
    groups: HashMap<RoomName, Vec<usize>>,
    /// Groups that have something to give, the one that waits longest first; each once.
    eventful: VecDeque<usize>,
    /// What the queues of all groups hold.
    total: Total,
    /// What of that is kept for events that are to be taken for all members of a room: they are alive that long.
    reserved: HashMap<*const Event, usize>,
    /// Nothing is left in them that only members behind their groups need, unless a group has gone on since.
    is_swept: bool,
}

/// What a group has that hears who comes and goes.
pub(super) struct Hears {
    pub(super) queue: EventQueue,
    /// The next event that the group takes.
    pub(super) next: u64,
    /// Whether it is in the list of those that have something to give.
    is_listed: bool,
}

impl Hearing {
    pub(super) fn new(inbox: Inbox) -> Self {
        let total = Total::new(Bytes::new(inbox.queues_bytes_max()));
        Self {
            inbox,
            groups: HashMap::new(),
            eventful: VecDeque::new(),
            total,
            reserved: HashMap::new(),
            is_swept: false,
        }
    }

    /// From here on events of the room are for that group, too.
    pub(super) fn listen(&mut self, name: &RoomName, epoch: Epoch, group: usize) -> Box<Hears> {
        self.inbox.listen(name);
        self.groups.entry(name.clone()).or_default().push(group);
        self.none_yet(epoch)
    }

    /// How many bytes the queues hold.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.total.get()
    }

    fn none_yet(&self, epoch: Epoch) -> Box<Hears> {
        let queue = EventQueue::new(epoch, Total::clone(&self.total));
        Box::new(Hears { queue, next: 0, is_listed: false })
    }

    /// Takes it back.
    pub(super) fn unlisten(&mut self, name: &RoomName, group: usize) {
        self.inbox.unlisten(name);
        if let Some(groups) = self.groups.get_mut(name) {
            groups.retain(|other| *other != group);
            if groups.is_empty() {
                self.groups.remove(name);
            }
        }
        if self.groups.is_empty() {
            // Nobody looks at what is left in the inbox, and who listens next has come after it.
            while self.inbox.try_take().is_some() {}
            self.inbox.take_loss();
        }
    }

    /// Takes in what has come in, and has whoever polls woken for more.
    pub(super) fn poll<S: MemberSink>(&mut self, groups: &mut Slab<Group<S>>, cx: &mut Context<'_>) {
        if self.groups.is_empty() {
            return;
        }
        while let Poll::Ready(Some(event)) = self.inbox.poll_take(cx) {
            self.take_in(&event, groups);
        }
        self.take_loss(groups);
    }

    /// The same, without anybody to be woken.
    pub(super) fn collect<S: MemberSink>(&mut self, groups: &mut Slab<Group<S>>) {
        while let Some(event) = self.inbox.try_take() {
            self.take_in(&event, groups);
        }
        self.take_loss(groups);
    }

    fn take_in<S: MemberSink>(&mut self, event: &Arc<Event>, groups: &mut Slab<Group<S>>) {
        let count = self.groups.get(&event.room).map_or(0, Vec::len);
        self.make_space(event.bytes() + count * ENTRY_BYTES, groups);
        let counted = Counted::new(Arc::clone(event), &self.total);
        for &at in self.groups.get(&event.room).into_iter().flatten() {
            if let Some(group) = groups.get_mut(at) {
                take_in(&mut self.eventful, at, group, &counted);
            }
        }
    }

    /// Keeps space for an event for these groups until it is taken or released; false where there is not enough.
    pub(super) fn reserve<S: MemberSink>(
        &mut self,
        taking: &[usize],
        event: &Arc<Event>,
        groups: &mut Slab<Group<S>>,
    ) -> bool {
        if taking.is_empty() {
            return true;
        }
        let bytes = event.bytes();
        let more = bytes + taking.len() * ENTRY_BYTES;
        self.make_space(more, groups);
        let has_space = |at: &usize| {
            let hears = groups.get(*at).and_then(|group| group.hears.as_ref());
            hears.is_none_or(|hears| hears.queue.has_space(bytes, hears.next))
        };
        if self.total.get() + more > self.total.most || !taking.iter().all(has_space) {
            tracing::warn!(room = %event.room, "a message without history does not fit into the queue, its publisher is told");
            return false;
        }
        self.total.set(self.total.get() + more);
        self.reserved.insert(Arc::as_ptr(event), more);
        true
    }

    /// Gives back the space that is kept for an event.
    pub(super) fn release(&mut self, event: &Arc<Event>) {
        if let Some(bytes) = self.reserved.remove(&Arc::as_ptr(event)) {
            self.total.set(self.total.get() - bytes);
        }
    }

    /// Takes in an event for these groups, whether they listen or not, into the space that is kept for it.
    pub(super) fn take_in_for<S: MemberSink>(
        &mut self,
        taking: &[usize],
        event: &Arc<Event>,
        groups: &mut Slab<Group<S>>,
    ) {
        self.release(event);
        let counted = Counted::new(Arc::clone(event), &self.total);
        for &at in taking {
            let Some(group) = groups.get_mut(at) else { continue };
            let hears = group.hears.get_or_insert_with(|| self.none_yet(group.room.epoch()));
            if hears.queue.push_reserved(Rc::clone(&counted), hears.next) == Kept::InsteadOfOlder {
                group.wake_behind();
            }
            list(&mut self.eventful, at, group);
        }
    }

    /// Where the queues of all groups are full, forgets what only members behind their groups need, who come again: those who go along
    /// are to lose nothing for them. Most at first, a quarter of all at once, so that it is done seldom.
    fn make_space<S: MemberSink>(&mut self, more: usize, groups: &mut Slab<Group<S>>) {
        if self.total.get() + more <= self.total.most || self.is_swept {
            return;
        }
        self.is_swept = true;
        let old = |(at, group): (usize, &Group<S>)| {
            let hears = group.hears.as_ref()?;
            Some((hears.queue.bytes_before(hears.next), at)).filter(|(bytes, _)| *bytes > 0)
        };
        let mut old: Vec<_> = groups.iter().filter_map(old).collect();
        old.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        for (bytes, at) in old {
            if self.total.get() + more <= self.total.most / 4 * 3 {
                self.is_swept = false;
                return;
            }
            let Some(group) = groups.get_mut(at) else { continue };
            let Some(hears) = &mut group.hears else { continue };
            tracing::warn!(room = %group.name, bytes, "event queues are full, members that are behind come again");
            hears.queue.forget_before(hears.next);
            group.wake_behind();
        }
    }

    /// Something did not fit into the inbox: whose it was is not known any more.
    fn take_loss<S: MemberSink>(&mut self, groups: &mut Slab<Group<S>>) {
        if !self.inbox.take_loss() {
            return;
        }
        for &at in self.groups.values().flatten() {
            let Some(group) = groups.get_mut(at) else { continue };
            if let Some(hears) = &mut group.hears {
                // What was taken in came before.
                hears.queue.lose();
            }
            list(&mut self.eventful, at, group);
        }
    }

    /// The next group that has something to give.
    pub(super) fn next<S: MemberSink>(&mut self, groups: &mut Slab<Group<S>>) -> Option<usize> {
        while let Some(at) = self.eventful.pop_front() {
            let Some(group) = groups.get_mut(at) else { continue };
            let Some(hears) = &mut group.hears else { continue };
            hears.is_listed = false;
            // A batch that is on its way is finished first, and then looked at again.
            if group.sending.is_none() {
                return Some(at);
            }
        }
        None
    }

    /// Lists the group if there is something it may give now.
    pub(super) fn note<S: MemberSink>(&mut self, at: usize, group: &mut Group<S>) {
        list(&mut self.eventful, at, group);
    }

    /// After a visit: forgets what all members of the group have been given, and lists it if there is more.
    pub(super) fn settle<S: MemberSink>(&mut self, at: usize, groups: &mut Slab<Group<S>>) {
        let Some(group) = groups.get_mut(at) else { return };
        let Some(hears) = &mut group.hears else { return };
        if group.behind == 0 && group.sending.is_none() {
            hears.queue.forget_before(hears.next);
        } else {
            self.is_swept = false;
        }
        list(&mut self.eventful, at, group);
    }
}

fn take_in<S: MemberSink>(eventful: &mut VecDeque<usize>, at: usize, group: &mut Group<S>, event: &Rc<Counted>) {
    let Some(hears) = &mut group.hears else { return };
    match hears.queue.push(Rc::clone(event), hears.next) {
        // Where it is lost they learn of it when they come there.
        Kept::Yes | Kept::No => {}
        Kept::InsteadOfOlder => group.wake_behind(),
    }
    list(eventful, at, group);
}

fn list<S: MemberSink>(eventful: &mut VecDeque<usize>, at: usize, group: &mut Group<S>) {
    if !group.has_due() {
        return;
    }
    if let Some(hears) = &mut group.hears
        && !std::mem::replace(&mut hears.is_listed, true)
    {
        eventful.push_back(at);
    }
}
