//! Joins and leaves that have come in for a shard, and the groups that have some to give.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use slab::Slab;

use super::group::Group;
use super::queue::{EventQueue, Kept, Total};
use crate::delivery::sink::MemberSink;
use crate::ops::metrics::ShardMetrics;
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
        Self { inbox, groups: HashMap::new(), eventful: VecDeque::new(), total: Total::default() }
    }

    /// From here on events of the room are for that group, too.
    pub(super) fn listen(&mut self, name: &RoomName, epoch: Epoch, group: usize) -> Box<Hears> {
        self.inbox.listen(name);
        self.groups.entry(name.clone()).or_default().push(group);
        self.none_yet(epoch)
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
    }

    /// Takes in what has come in, and has whoever polls woken for more.
    pub(super) fn poll<S: MemberSink>(
        &mut self,
        groups: &mut Slab<Group<S>>,
        metrics: &ShardMetrics,
        cx: &mut Context<'_>,
    ) {
        if self.groups.is_empty() {
            return;
        }
        while let Poll::Ready(Some(event)) = self.inbox.poll_take(cx) {
            self.take_in(&event, groups, metrics);
        }
        self.take_loss(groups, metrics);
    }

    /// The same, without anybody to be woken.
    pub(super) fn collect<S: MemberSink>(&mut self, groups: &mut Slab<Group<S>>, metrics: &ShardMetrics) {
        while let Some(event) = self.inbox.try_take() {
            self.take_in(&event, groups, metrics);
        }
        self.take_loss(groups, metrics);
    }

    fn take_in<S: MemberSink>(&mut self, event: &Arc<Event>, groups: &mut Slab<Group<S>>, metrics: &ShardMetrics) {
        for &at in self.groups.get(&event.room).into_iter().flatten() {
            if let Some(group) = groups.get_mut(at) {
                take_in(&mut self.eventful, at, group, event, metrics);
            }
        }
    }

    /// Takes in an event for a group, whether it listens or not.
    pub(super) fn take_in_for<S: MemberSink>(
        &mut self,
        at: usize,
        event: &Arc<Event>,
        groups: &mut Slab<Group<S>>,
        metrics: &ShardMetrics,
    ) {
        let Some(group) = groups.get_mut(at) else { return };
        if group.hears.is_none() {
            group.hears = Some(self.none_yet(group.room.epoch()));
        }
        take_in(&mut self.eventful, at, group, event, metrics);
    }

    /// Something did not fit into the inbox: whose it was is not known any more.
    fn take_loss<S: MemberSink>(&mut self, groups: &mut Slab<Group<S>>, metrics: &ShardMetrics) {
        if !self.inbox.take_loss() {
            return;
        }
        for &at in self.groups.values().flatten() {
            let Some(group) = groups.get_mut(at) else { continue };
            if let Some(hears) = &mut group.hears {
                hears.queue.lose_all();
                group.lose_events(metrics);
            }
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
        }
        list(&mut self.eventful, at, group);
    }
}

fn take_in<S: MemberSink>(
    eventful: &mut VecDeque<usize>,
    at: usize,
    group: &mut Group<S>,
    event: &Arc<Event>,
    metrics: &ShardMetrics,
) {
    let Some(hears) = &mut group.hears else { return };
    match hears.queue.push(Arc::clone(event), hears.next) {
        Kept::Yes => {}
        Kept::InsteadOfOlder => group.wake_behind(),
        Kept::No => group.lose_events(metrics),
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
