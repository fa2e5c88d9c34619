//! The inbox of a shard, the side of it that rooms see: where to leave work for it, and how to wake it.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::core::RoomCore;
use super::join::{Join, Leave};
use super::left::Left;
use crate::sync::{
    AcqRel, Acquire, Arc, AtomicBool, AtomicU32, AtomicU64, Queue, Relaxed, Release, SeqCst, fence, process_id,
    thread_local,
};
use crate::wake::{Chain, Doorbell, Link, Linked, Stack, Waiter, WakerCell, wake_some};

/// What only a shard does. The queue holds at most one `Sweep` and two `Wake` per room, one `Join` per pending future and one `Leave`
/// per member, so it is bounded by what its users hold.
pub(crate) enum Action<T> {
    Join(Box<Join<T>>),
    Leave(Leave<T>),
    /// Readers to wake that were too many for the publisher, unless others have done so meanwhile.
    Wake(Arc<Left>),
    /// Messages to drop that the room has evicted.
    Sweep(Arc<RoomCore<T>>),
}

/// Where rooms leave work for one shard.
pub(crate) struct ShardInbox<T> {
    /// Rooms that have something for this shard's members.
    rooms: Stack<ShardEntry<T>>,
    actions: Queue<Action<T>>,
    /// Handlers that are to be drained and of which the shard was not told yet.
    draining: AtomicU32,
    /// Set by the shard before its last look at the two above, cleared by whoever wakes it.
    sleeping: AtomicBool,
    waker: WakerCell,
    /// The process in which a shard was started here, or the inbox ended without one; 0 before.
    process: AtomicU32,
    stopping: AtomicBool,
    stopped: AtomicBool,
    /// Those who wait for the end of the shard.
    gone: Doorbell,
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

impl<T> ShardInbox<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            rooms: Stack::new(),
            actions: Queue::new(),
            draining: AtomicU32::new(0),
            sleeping: AtomicBool::new(false),
            waker: WakerCell::new(),
            process: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            gone: Doorbell::new(),
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

    /// Claims the start of the shard, or the end without one; false if somebody else has.
    pub(crate) fn begin(&self) -> bool {
        // AcqRel: one starts it. Relaxed: who comes second looks at nothing else.
        self.process.compare_exchange(0, process_id(), AcqRel, Relaxed).is_ok()
    }

    /// Takes back what [`ShardInbox::begin`] has claimed: there is no shard. Who has relied on one meanwhile is told, and if the
    /// inbox was to end meanwhile, it does.
    pub(crate) fn not_begun(&self) {
        // Relaxed: ordered by the fence.
        self.process.store(0, Relaxed);
        // SeqCst: our mark before our looks. Pairs with the fences in `post_lazily` and in `ring`, which `stop` comes by.
        // model: post_not_begun
        fence(SeqCst);
        self.drop_actions();
        if self.is_stopping() && self.begin() {
            self.finish();
        }
    }

    /// Whether a shard was started, or the inbox ended.
    pub(super) fn is_begun(&self) -> bool {
        // Relaxed: a shard that is just being started is as good as one that is not.
        self.process.load(Relaxed) != 0
    }

    /// Whether the shard runs in another process, of which this one was forked off: it will do nothing here.
    pub(crate) fn is_elsewhere(&self) -> bool {
        // Relaxed: a fork copies it as it was.
        ![0, process_id()].contains(&self.process.load(Relaxed))
    }

    /// Whether nothing will be done here any more.
    pub(crate) fn is_gone(&self) -> bool {
        // Acquire: sees what the shard did last. Pairs with the store in `finish`.
        self.stopped.load(Acquire) || self.is_elsewhere()
    }

    /// Waits until nothing will be done here any more.
    pub(crate) async fn wait_until_gone(&self) {
        let waiting = WaitsForEnd { inbox: self, waiter: Waiter::new() };
        poll_fn(|context| waiting.poll(context)).await;
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
        // finds the action, or we find it gone. With that in `not_begun`, too: there may be no shard after all.
        fence(SeqCst);
        // Relaxed: ordered by the fence.
        if self.stopped.load(Relaxed) || !self.is_begun() {
            self.drop_actions();
        }
    }

    /// Hands a room over to the shard. One handed over to a shard that has stopped is let go: it leads back to this inbox,
    /// so neither would ever be freed.
    pub(crate) fn push(&self, entry: &Arc<ShardEntry<T>>) {
        if self.rooms.push(entry) {
            self.ring();
            // Relaxed: ordered by the fence in `ring`, behind our push. Pairs with the fence in `finish`: either the shard
            // lets the room go, or we find it gone.
            if self.stopped.load(Relaxed) {
                drop(self.rooms.take_all());
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

    /// Says that a handler is to be drained, before the action that tells the shard.
    pub(super) fn begin_drain(&self) {
        // Relaxed: as `Seat::end`.
        self.draining.fetch_add(1, Relaxed);
    }

    /// The shard was told.
    pub(crate) fn end_drain(&self) {
        // Relaxed: as above.
        self.draining.fetch_sub(1, Relaxed);
    }

    /// Whether a handler is to be drained of which the shard was not told yet. To be asked after a look at the messages.
    pub(crate) fn is_draining(&self) -> bool {
        // Relaxed: as `Seat::end`.
        self.draining.load(Relaxed) > 0
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
    pub(crate) fn take_rooms(&self) -> Chain<ShardEntry<T>> {
        self.rooms.take_if_any().reversed()
    }

    /// Whether something was left here, or the shard is to stop.
    pub(crate) fn has_work(&self) -> bool {
        self.has_tasks() || self.is_stopping()
    }

    /// Whether something was left here.
    pub(crate) fn has_tasks(&self) -> bool {
        !self.rooms.is_empty() || !self.actions.is_empty()
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
        // Release: who waits for the end sees what the shard did. Pairs with `is_gone`.
        self.stopped.store(true, Release);
        // SeqCst: our mark before our looks. Pairs with the fences in `post_lazily` and `ring`, and with that of one who
        // waits for the end. model: post_finish, push_finish, wait_finish
        fence(SeqCst);
        self.drop_actions();
        drop(self.rooms.take_all());
        if self.gone.is_armed() {
            wake_some(&mut self.gone.disarm(), usize::MAX);
        }
    }

    /// Promises are broken by dropping them, which their waiters notice; readers to be woken are woken.
    fn drop_actions(&self) {
        while let Some(action) = self.actions.pop() {
            match action {
                Action::Wake(left) => {
                    left.wake_called(usize::MAX);
                }
                Action::Join(join) => join.refuse(),
                Action::Leave(leave) => leave.answer(),
                Action::Sweep(_) => {}
            }
        }
    }
}

/// One who waits for the end of a shard.
struct WaitsForEnd<'a, T> {
    inbox: &'a ShardInbox<T>,
    waiter: Arc<Waiter>,
}

impl<T> WaitsForEnd<'_, T> {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.inbox.is_gone() {
            return Poll::Ready(());
        }
        self.inbox.gone.park(&self.waiter, context.waker(), 0);
        // SeqCst: our waiting before our second look. Pairs with the fence in `finish`. model: wait_finish
        fence(SeqCst);
        if self.inbox.is_gone() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T> Drop for WaitsForEnd<'_, T> {
    fn drop(&mut self) {
        if self.inbox.gone.abandon(&self.waiter, 0) {
            wake_some(&mut self.inbox.gone.disarm(), usize::MAX);
        }
    }
}

impl<T> std::fmt::Debug for ShardInbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardInbox").field("figures", &self.figures).finish_non_exhaustive()
    }
}

/// One shard's members in one room: what the room's snapshot lists, and what the shard's inbox carries.
pub(crate) struct ShardEntry<T> {
    link: Link<Self>,
    pub(crate) inbox: Arc<ShardInbox<T>>,
    /// Where the shard keeps the room's group. Written by the shard before it lists the entry.
    pub(crate) key: usize,
    /// Whether the shard wants to hear of the next commit.
    parked: AtomicBool,
}

impl<T> ShardEntry<T> {
    pub(crate) fn new(inbox: Arc<ShardInbox<T>>, key: usize) -> Arc<Self> {
        Arc::new(Self { link: Link::new(), inbox, key, parked: AtomicBool::new(false) })
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
    pub(crate) fn call(entry: &Arc<Self>) {
        // Relaxed look, then AcqRel: one of several publishers takes the call and sees what the shard did before.
        if entry.parked.load(Relaxed) && entry.parked.swap(false, AcqRel) {
            entry.inbox.push(entry);
        }
    }
}

impl<T> Linked for ShardEntry<T> {
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

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
impl<T> ShardInbox<T> {
    /// Says that the shard runs in that process; returns what was said before.
    pub(crate) fn set_process(&self, process: u32) -> u32 {
        // Relaxed: for one thread.
        self.process.swap(process, Relaxed)
    }
}
