//! One shard: a future that serves what rooms leave for it, on a thread of its own or on a runtime of the embedder's.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::group::{Group, Turn};
use crate::room::{Action, Inside, Join, Leave, Port, Record, RoomId, serving};
use crate::sync::{Arc, Relaxed, Signal, spin_loop};
use crate::wake::wake_some;

/// Actions served between two rooms, so that neither a flood of publishes holds up a join, nor joins a publish.
const TURN_ACTIONS: usize = 64;

/// Rooms served in one poll before the runtime, where there is one, gets its turn.
const TURN_ROOMS: usize = 64;

/// Readers woken in one go by a shard before it looks at its rooms again.
const TURN_WAKES: usize = 256;

/// How often a thread of our own looks for work before it sleeps: some 50 µs, a few times what waking it would cost. Where
/// each look is a step of a schedule, once.
const SPINS: u32 = if cfg!(roomcast_shuttle) { 1 } else { 1_000 };

/// A shard of a broker; ready when it was told to stop and has served what was there.
pub(crate) struct Shard<T: 'static> {
    port: Arc<Port<T>>,
    /// See [`serving`].
    broker: usize,
    groups: Slab<Group<T>>,
    by_room: HashMap<RoomId, usize>,
    /// Groups with something to do, each once.
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
}

impl<T: 'static> Shard<T> {
    pub(crate) fn new(port: Arc<Port<T>>, broker: usize) -> Self {
        Self {
            port,
            broker,
            groups: Slab::new(),
            by_room: HashMap::new(),
            ready: VecDeque::new(),
            is_ready: Vec::new(),
        }
    }

    /// Serves a bounded amount of everything; true if there is more.
    fn turn(&mut self) -> bool {
        for _ in 0..TURN_ROOMS {
            self.serve_actions();
            for record in self.port.take_inbox() {
                if self.groups.get(record.key).is_some_and(|group| Arc::ptr_eq(&group.record, &record)) {
                    self.make_ready(record.key);
                }
            }
            let Some(key) = self.ready.pop_front() else { break };
            self.is_ready[key] = false;
            match self.groups[key].turn() {
                Turn::Again => self.make_ready(key),
                Turn::Parked => {}
                Turn::Over => self.remove_group(key),
            }
        }
        !self.ready.is_empty() || self.port.has_work()
    }

    fn serve_actions(&mut self) {
        for _ in 0..TURN_ACTIONS {
            let Some(action) = self.port.next_action() else { break };
            // Relaxed: a figure.
            self.port.figures.actions.fetch_add(1, Relaxed);
            match action {
                Action::Join(join) => self.join(*join),
                Action::Leave(leave) => self.leave(leave),
                Action::Wake(mut waiters) => {
                    wake_some(&mut waiters, TURN_WAKES);
                    if !waiters.is_empty() {
                        self.port.post_lazily(Action::Wake(waiters));
                    }
                }
                Action::Sweep(room) => {
                    if Inside(room.clone()).sweep() {
                        self.port.post_lazily(Action::Sweep(room));
                    }
                }
            }
        }
    }

    fn join(&mut self, join: Join<T>) {
        if join.inside.0.ended().is_some() || join.promise.is_cancelled() {
            // The promise is dropped, which says so.
            join.refuse();
            return;
        }
        let id = join.inside.id();
        let key = match self.by_room.get(&id) {
            Some(&key) => key,
            None => {
                let slot = self.groups.vacant_entry();
                let key = slot.key();
                let record = Record::new(self.port.clone(), key);
                slot.insert(Group::new(join.inside.clone(), record));
                self.by_room.insert(id, key);
                self.is_ready.resize(self.is_ready.len().max(key + 1), false);
                // Relaxed: a figure.
                self.port.figures.rooms.fetch_add(1, Relaxed);
                key
            }
        };
        self.groups[key].join(join);
        self.make_ready(key);
    }

    fn leave(&mut self, leave: Leave<T>) {
        if let Some(&key) = self.by_room.get(&leave.inside.id()) {
            self.groups[key].leave(leave.member, &leave.seat);
            if self.groups[key].is_empty() {
                self.remove_group(key);
            }
        }
        if let Some(promise) = leave.promise {
            promise.keep();
        }
    }

    fn make_ready(&mut self, key: usize) {
        if !std::mem::replace(&mut self.is_ready[key], true) {
            self.ready.push_back(key);
        }
    }

    fn remove_group(&mut self, key: usize) {
        let group = self.groups.remove(key);
        self.by_room.remove(&group.inside.id());
        if std::mem::replace(&mut self.is_ready[key], false) {
            self.ready.retain(|&ready| ready != key);
        }
        // Relaxed: a figure.
        self.port.figures.rooms.fetch_sub(1, Relaxed);
    }
}

impl<T: 'static> Future for Shard<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shard = &mut *self;
        if serving(shard.broker, || shard.turn()) {
            if shard.port.is_stopping() && shard.ready.is_empty() && !shard.port.has_tasks() {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !shard.port.may_sleep(context.waker()) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<T: 'static> Drop for Shard<T> {
    fn drop(&mut self) {
        let port = self.port.clone();
        serving(self.broker, || self.groups.clear());
        port.finish();
    }
}

/// Runs a shard on this thread until it is told to stop. Before it sleeps it looks around for a moment, so that a burst
/// does not pay for a wake-up each time.
pub(crate) fn run_on_thread<T: 'static>(shard: Shard<T>) {
    let port = shard.port.clone();
    let mut shard = pin!(shard);
    let signal = Signal::for_this_thread();
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    while shard.as_mut().poll(&mut context).is_pending() {
        let woken = (0..SPINS).any(|_| {
            spin_loop();
            signal.take() || port.has_work()
        });
        if !woken {
            signal.wait();
        }
    }
}
