//! One shard: it serves what rooms leave for it, on a thread of its own or on a runtime of the embedder's.
//!
//! On a thread of its own it lingers at the rooms it has served last: it looks at them itself for a while, and a publish
//! into one of them calls nobody.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::group::{Group, Turn};
use crate::room::{Action, Join, Leave, RoomId, RoomRef, ShardEntry, ShardInbox, serving};
use crate::sync::{Arc, Relaxed};

/// Actions served between two rooms, so that neither a flood of publishes holds up a join, nor joins a publish.
const TURN_ACTIONS: usize = 64;

/// Rooms served in one poll before the runtime, where there is one, gets its turn.
const TURN_ROOMS: usize = 64;

/// How often a shard helps to wake the readers of a room, a few dozen each time, before it looks at its rooms again.
const TURN_HELPS: usize = 4;

/// Rooms that a thread of our own goes on looking at when it has served them: enough for the few that are busy, few enough
/// that looking costs less than being called.
const LINGER_ROOMS: usize = 16;

/// A shard of a broker; ready when it was told to stop and has served what was there.
pub(crate) struct Shard<T: 'static> {
    inbox: Arc<ShardInbox<T>>,
    /// See [`serving`].
    broker: usize,
    groups: Slab<Group<T>>,
    by_room: HashMap<RoomId, usize>,
    /// How each group waits, by its key.
    states: Vec<State>,
    /// Groups that are ready, each once.
    ready: VecDeque<usize>,
    /// Groups that linger, the one served longest ago first.
    lingering: VecDeque<usize>,
    linger_max: usize,
    /// The most messages that a group has handled in the last turn.
    longest_run: usize,
}

/// What a group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be called.
    Parked,
    /// Nothing: it has something to do.
    Ready,
    /// Something that the shard finds when it looks.
    Lingering,
}

impl<T: 'static> Shard<T> {
    pub(crate) fn new(inbox: Arc<ShardInbox<T>>, broker: usize) -> Self {
        // Whoever starts it has claimed it before, unless it runs by itself, as in a test.
        inbox.begin();
        Self {
            inbox,
            broker,
            groups: Slab::new(),
            by_room: HashMap::new(),
            states: Vec::new(),
            ready: VecDeque::new(),
            lingering: VecDeque::new(),
            linger_max: 0,
            longest_run: 0,
        }
    }

    /// A turn of a shard on a thread of its own, which calls [`Shard::may_sleep`] before it sleeps; true if there is more.
    pub(super) fn serve_lingering(&mut self) -> bool {
        self.linger_max = LINGER_ROOMS;
        serving(self.broker, || self.turn())
    }

    /// Serves a bounded amount of everything; true if there is more.
    fn turn(&mut self) -> bool {
        self.longest_run = 0;
        self.find_news();
        for _ in 0..TURN_ROOMS {
            self.serve_actions();
            for entry in self.inbox.take_rooms() {
                if self.groups.get(entry.key).is_some_and(|group| Arc::ptr_eq(&group.entry, &entry)) {
                    self.make_ready(entry.key);
                }
            }
            let Some(key) = self.ready.pop_front() else { break };
            self.states[key] = State::Parked;
            let (turn, handled) = self.groups[key].turn();
            self.longest_run = self.longest_run.max(handled);
            match turn {
                Turn::Again => self.make_ready(key),
                Turn::Idle => self.linger(key),
                Turn::Over => self.remove_group(key),
            }
        }
        !self.ready.is_empty() || self.inbox.has_work()
    }

    /// Whether it was told to stop and has served what was there. To be asked behind a turn.
    pub(super) fn is_done(&mut self) -> bool {
        if !self.inbox.is_stopping() {
            return false;
        }
        // Looking again behind `is_stopping`: what was closed before the stop is seen.
        self.find_news();
        self.ready.is_empty() && !self.inbox.has_tasks()
    }

    /// Goes on looking at a group that has handled everything, in the place of the one served longest ago.
    fn linger(&mut self, key: usize) {
        if self.linger_max == 0 || !self.groups[key].may_linger() {
            return self.park(key);
        }
        if self.lingering.len() >= self.linger_max
            && let Some(oldest) = self.lingering.pop_front()
        {
            self.park(oldest);
        }
        self.states[key] = State::Lingering;
        self.lingering.push_back(key);
    }

    /// Has the next publish call for a group.
    fn park(&mut self, key: usize) {
        self.states[key] = State::Parked;
        if !self.groups[key].park() {
            self.make_ready(key);
        }
    }

    /// Has whoever leaves something wake `waker`; false if there is something.
    pub(super) fn may_sleep(&mut self, waker: &Waker) -> bool {
        while let Some(key) = self.lingering.pop_front() {
            self.park(key);
        }
        self.ready.is_empty() && self.inbox.may_sleep(waker)
    }

    /// Whether there is something to do. To be asked behind a turn.
    pub(super) fn has_work(&mut self) -> bool {
        self.inbox.has_work() || self.find_news()
    }

    /// The most messages that a room had in the last turn.
    pub(super) fn longest_run(&self) -> usize {
        self.longest_run
    }

    /// Looks at the groups that linger; true if one has something to do.
    fn find_news(&mut self) -> bool {
        let Self { lingering, groups, states, ready, .. } = self;
        let lingered = lingering.len();
        lingering.retain(|&key| {
            let has_news = groups[key].has_news();
            if has_news {
                states[key] = State::Ready;
                ready.push_back(key);
            }
            !has_news
        });
        lingering.len() < lingered
    }

    fn serve_actions(&mut self) {
        for _ in 0..TURN_ACTIONS {
            let Some(action) = self.inbox.next_action() else { break };
            // Relaxed: a figure.
            self.inbox.figures.actions.fetch_add(1, Relaxed);
            match action {
                Action::Join(join) => self.join(*join),
                Action::Leave(leave) => self.leave(leave),
                Action::Wake(left) => {
                    if left.wake_called(TURN_HELPS) {
                        self.inbox.post_lazily(Action::Wake(left));
                    }
                }
                Action::Sweep(room) => {
                    if RoomRef(room.clone()).sweep() {
                        self.inbox.post_lazily(Action::Sweep(room));
                    }
                }
            }
        }
    }

    fn join(&mut self, join: Join<T>) {
        if join.room_ref.0.ended().is_some() || join.promise.is_cancelled() {
            // The promise is dropped, which says so.
            join.refuse();
            return;
        }
        let id = join.room_ref.id();
        let key = match self.by_room.get(&id) {
            Some(&key) => key,
            None => {
                let slot = self.groups.vacant_entry();
                let key = slot.key();
                let entry = ShardEntry::new(self.inbox.clone(), key);
                slot.insert(Group::new(join.room_ref.clone(), entry));
                self.by_room.insert(id, key);
                self.states.resize(self.states.len().max(key + 1), State::Parked);
                // Relaxed: a figure.
                self.inbox.figures.rooms.fetch_add(1, Relaxed);
                key
            }
        };
        self.groups[key].join(join);
        self.make_ready(key);
    }

    fn leave(&mut self, leave: Leave<T>) {
        if leave.drains {
            self.inbox.end_drain();
        }
        if let Some(&key) = self.by_room.get(&leave.room_ref.id()) {
            if leave.drains && self.groups[key].is_seated(leave.member, &leave.seat) {
                self.groups[key].drain(leave.member, leave.promise);
                return self.make_ready(key);
            }
            self.groups[key].leave(leave.member, &leave.seat);
            if self.groups[key].is_empty() {
                self.remove_group(key);
            }
        }
        leave.answer();
    }

    fn make_ready(&mut self, key: usize) {
        let before = std::mem::replace(&mut self.states[key], State::Ready);
        if before == State::Lingering {
            self.lingering.retain(|&lingering| lingering != key);
        }
        if before != State::Ready {
            self.ready.push_back(key);
        }
    }

    fn remove_group(&mut self, key: usize) {
        let group = self.groups.remove(key);
        self.by_room.remove(&group.room_ref.id());
        match std::mem::replace(&mut self.states[key], State::Parked) {
            State::Parked => {}
            State::Ready => self.ready.retain(|&ready| ready != key),
            State::Lingering => self.lingering.retain(|&lingering| lingering != key),
        }
        // Relaxed: a figure.
        self.inbox.figures.rooms.fetch_sub(1, Relaxed);
    }
}

impl<T: 'static> Future for Shard<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shard = &mut *self;
        let has_more = serving(shard.broker, || shard.turn());
        if has_more && shard.is_done() {
            return Poll::Ready(());
        }
        if has_more || !shard.may_sleep(context.waker()) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<T: 'static> Drop for Shard<T> {
    fn drop(&mut self) {
        let inbox = self.inbox.clone();
        serving(self.broker, || self.groups.clear());
        inbox.finish();
    }
}
