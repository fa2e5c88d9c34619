//! The side of a shard that rooms see: where to leave work for it, and how to wake it.

use super::core::RoomCore;
use super::join::{Join, Leave};
use crate::sync::{
    AcqRel, Acquire, Arc, AtomicBool, AtomicU32, AtomicU64, Queue, Relaxed, Release, SeqCst, fence, thread_local,
};
use crate::wake::{Chain, Link, Linked, Stack, WakerCell};

/// What only a shard does. The queue holds at most one `Sweep` and two `Wake` per room, one `Join` per pending future and one `Leave`
/// per member, so it is bounded by what its users hold.
pub(crate) enum Action<T> {
    Join(Box<Join<T>>),
    Leave(Leave<T>),
    /// Readers to wake that were too many for the publisher, unless others have done so meanwhile.
    Wake(Arc<RoomCore<T>>),
    /// Messages to drop that the room has evicted.
    Sweep(Arc<RoomCore<T>>),
}

/// Where rooms leave work for one shard.
pub(crate) struct Port<T> {
    /// Rooms that have something for this shard's members.
    inbox: Stack<Record<T>>,
    actions: Queue<Action<T>>,
    /// Set by the shard before its last look at the two above, cleared by whoever wakes it.
    sleeping: AtomicBool,
    waker: WakerCell,
    stopping: AtomicBool,
    stopped: AtomicBool,
    pub(crate) figures: Figures,
}

/// What a shard has done so far.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) rooms: AtomicU32,
    pub(crate) members: AtomicU32,
    pub(crate) actions: AtomicU64,
    pub(crate) wakes: AtomicU64,
    pub(crate) runs: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) panics: AtomicU64,
}

impl<T> Port<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Stack::new(),
            actions: Queue::new(),
            sleeping: AtomicBool::new(false),
            waker: WakerCell::new(),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            figures: Figures {
                rooms: AtomicU32::new(0),
                members: AtomicU32::new(0),
                actions: AtomicU64::new(0),
                wakes: AtomicU64::new(0),
                runs: AtomicU64::new(0),
                deliveries: AtomicU64::new(0),
                panics: AtomicU64::new(0),
            },
        })
    }

    /// Leaves an action and wakes the shard.
    pub(crate) fn post(&self, action: Action<T>) {
        self.post_lazily(action);
        self.ring();
    }

    /// Leaves an action for when the shard is awake anyway. One left after the shard has stopped is dropped, which its
    /// waiter notices; a sweep would keep its room for ever.
    pub(crate) fn post_lazily(&self, action: Action<T>) {
        self.actions.push(action);
        // SeqCst: our push before our look at `stopped`. Pairs with the fence in `finish`: either the shard
        // finds the action, or we find it gone.
        fence(SeqCst);
        // Relaxed: ordered by the fence.
        if self.stopped.load(Relaxed) {
            self.drop_actions();
        }
    }

    /// Hands a room over to the shard. One handed over to a shard that has stopped is let go: it leads back to this port,
    /// so neither would ever be freed.
    pub(crate) fn push(&self, record: &Arc<Record<T>>) {
        if self.inbox.push(record) {
            self.ring();
            // Relaxed: ordered by the fence in `ring`, behind our push. Pairs with the fence in `finish`: either the shard
            // lets the room go, or we find it gone.
            if self.stopped.load(Relaxed) {
                drop(self.inbox.take_all());
            }
        }
    }

    /// Wakes the shard if it sleeps.
    pub(crate) fn ring(&self) {
        // SeqCst: what was pushed before our look at `sleeping`. Pairs with the fence in `may_sleep`.
        // model: shard_sleep_push
        fence(SeqCst);
        // Relaxed look first: an awake shard costs no write. AcqRel: one of several takes the call.
        if self.sleeping.load(Relaxed) && self.sleeping.swap(false, AcqRel) {
            // Relaxed: a figure.
            self.figures.wakes.fetch_add(1, Relaxed);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// Whether waking the shard takes a call. A guess: it may fall asleep or be woken at any moment.
    pub(crate) fn is_asleep(&self) -> bool {
        // Relaxed: a guess.
        self.sleeping.load(Relaxed)
    }

    pub(crate) fn next_action(&self) -> Option<Action<T>> {
        self.actions.pop()
    }

    /// The rooms handed over since the last call, first come first.
    pub(crate) fn take_inbox(&self) -> Chain<Record<T>> {
        self.inbox.take_if_any().reversed()
    }

    /// Whether something was left here, or the shard is to stop.
    pub(crate) fn has_work(&self) -> bool {
        self.has_tasks() || self.is_stopping()
    }

    /// Whether something was left here.
    pub(crate) fn has_tasks(&self) -> bool {
        !self.inbox.is_empty() || !self.actions.is_empty()
    }

    /// Says that the shard, polled with `waker`, is about to sleep; false if it must not, because there is work.
    pub(crate) fn may_sleep(&self, waker: &std::task::Waker) -> bool {
        self.waker.register(waker);
        // Release: the waker is in its cell before anybody takes the call. Pairs with the swap in `ring`.
        self.sleeping.store(true, Release);
        // SeqCst: pairs with the fence in `ring`. model: shard_sleep_push
        fence(SeqCst);
        if self.has_work() {
            // Relaxed: only we set it; a racing waker may clear it too and wake us for nothing.
            self.sleeping.store(false, Relaxed);
            return false;
        }
        true
    }

    /// Asks the shard to finish: serve what is there, then end.
    pub(crate) fn stop(&self) {
        // Release: what was closed before is seen by the last turn. Pairs with `is_stopping`.
        self.stopping.store(true, Release);
        self.ring();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        // Acquire: pairs with `stop`.
        self.stopping.load(Acquire)
    }

    /// The shard's last word: nothing left here will be done.
    pub(crate) fn finish(&self) {
        // Relaxed: ordered by the fence, which pairs with the one in `post`.
        self.stopped.store(true, Relaxed);
        fence(SeqCst);
        self.drop_actions();
        drop(self.inbox.take_all());
    }

    /// Promises are broken by dropping them, which their waiters notice; readers to be woken are woken.
    fn drop_actions(&self) {
        while let Some(action) = self.actions.pop() {
            match action {
                Action::Wake(room) => room.wake_all_left(),
                Action::Join(join) => join.refuse(),
                Action::Leave(_) | Action::Sweep(_) => {}
            }
        }
    }
}

impl<T> std::fmt::Debug for Port<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("figures", &self.figures).finish_non_exhaustive()
    }
}

/// One shard's members in one room: what the room's snapshot lists, and what the shard's inbox carries.
pub(crate) struct Record<T> {
    link: Link<Self>,
    pub(crate) port: Arc<Port<T>>,
    /// Where the shard keeps the room's group. Written by the shard before it lists the record.
    pub(crate) key: usize,
    /// Whether the shard wants to hear of the next commit.
    parked: AtomicBool,
}

impl<T> Record<T> {
    pub(crate) fn new(port: Arc<Port<T>>, key: usize) -> Arc<Self> {
        Arc::new(Self { link: Link::new(), port, key, parked: AtomicBool::new(false) })
    }

    /// Asks for the room to be handed over at the next ring. The caller then arms the bell, fences, and looks again.
    pub(crate) fn park(&self) {
        // Release: pairs with the swap in `call`.
        self.parked.store(true, Release);
    }

    /// The shard has found something itself.
    pub(crate) fn unpark(&self) {
        // Relaxed: a racing call hands the room over for nothing.
        self.parked.store(false, Relaxed);
    }

    /// Hands the room to the shard, if it asked.
    pub(crate) fn call(record: &Arc<Self>) {
        // Relaxed look, then AcqRel: one of several publishers takes the call and sees what the shard did before.
        if record.parked.load(Relaxed) && record.parked.swap(false, AcqRel) {
            record.port.push(record);
        }
    }
}

impl<T> Linked for Record<T> {
    fn link(&self) -> &Link<Self> {
        &self.link
    }
}

thread_local! {
    /// The broker whose shard runs on this thread right now.
    static SERVING: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Runs `turn` as a shard of the broker with this address.
pub(crate) fn serving<R>(broker: usize, turn: impl FnOnce() -> R) -> R {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            SERVING.with(|serving| serving.set(self.0));
        }
    }
    let _restore = Restore(SERVING.with(|serving| serving.replace(broker)));
    turn()
}

/// Whether this thread is a shard of that broker, in the middle of a turn.
pub(crate) fn is_serving(broker: usize) -> bool {
    SERVING.with(|serving| serving.get()) == broker
}
