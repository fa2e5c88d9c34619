//! The core of a room: its ring, its bell, and who is to be told.

use std::fmt;
use std::io;
use std::mem::offset_of;

use super::gate::Gate;
use super::inbox::{Action, ShardEntry, ShardInbox};
use super::left::{Left, WAKES_HELP, WAKES_MAX};
use crate::config::Clock;
use crate::error::{CloseReason, PublishError};
use crate::message::{Epoch, Position, Resumption, Start};
use crate::ring::{Bell, Refusal, Ring};
use crate::sync::{
    AcqRel, Acquire, Arc, AtomicBool, AtomicU8, AtomicU32, AtomicU64, Lazy, Relaxed, Release, SeqCst, Snapshot, fence,
    guard, spin_loop,
};
use crate::wake::{Chain, Doorbell, Waiter, take_some, wake_each, wake_some};

/// How long one who joins is held up where somebody has published since the last one joined: about 0.7 microseconds,
/// which leaves publishers most of their rate beside one who comes and goes. In a model a spin lets all others run first.
const PACE_SPINS: u32 = if cfg!(any(roomcast_loom, roomcast_shuttle)) { 0 } else { 77 };

/// Starts the shard of that number at this inbox, for the broker at this address.
pub(crate) type StartShard<T> = dyn Fn(usize, &Arc<ShardInbox<T>>, usize) -> io::Result<()> + Send + Sync;

/// What the rooms of one broker share.
pub(crate) struct Shared<T> {
    /// At least one.
    pub(crate) inboxes: Box<[Arc<ShardInbox<T>>]>,
    /// How to start a shard that is needed for the first time; nothing where they are started otherwise.
    pub(crate) start: Option<Box<StartShard<T>>>,
    pub(crate) clock: Option<Box<Clock>>,
    /// Where a new handler goes: shards take turns.
    pub(crate) next_shard: AtomicU32,
    /// What a room without members lists; one allocation for all idle rooms.
    pub(crate) nobody: std::sync::Arc<Vec<Arc<ShardEntry<T>>>>,
}

impl<T> Shared<T> {
    /// Starts a shard if that was not done; whether there is one now that will do what it is left.
    pub(super) fn start(&self, number: usize) -> bool {
        let inbox = &self.inboxes[number];
        if inbox.begin()
            && let Some(start) = &self.start
            && let Err(error) = start(number, inbox, std::ptr::from_ref(self) as usize)
        {
            tracing::error!(shard = number, %error, "the thread of a shard cannot be started");
            inbox.not_begun();
            return false;
        }
        !inbox.is_gone()
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("inboxes", &self.inboxes).finish_non_exhaustive()
    }
}

/// A room, shared by its handles, its subscribers and its broker.
///
/// In this order, because whoever comes and goes writes the first words and the reference count before them, and whoever
/// publishes reads or writes the words from `shared` on: they must not share a cache line.
#[repr(C)]
pub(crate) struct RoomCore<T> {
    /// Subscriptions and handlers. So many bits that those which are forgotten and never end do not count it round to none.
    pub(super) subscribers: AtomicU64,
    /// The subscriptions of patterns, which come by themselves.
    pub(super) watchers: AtomicU32,
    /// The tail when somebody last joined, its lower half.
    joined_at: AtomicU32,
    /// The shards that have members here: replaced whole when a shard's first member joins or its last one leaves.
    pub(super) served: Snapshot<Vec<Arc<ShardEntry<T>>>>,
    pub(crate) name: Box<str>,
    pub(crate) epoch: Epoch,
    /// The tail at the last look for idle rooms.
    tail_seen: AtomicU64,
    /// 0 while running, then a [`CloseReason`], written once and before the ring is closed.
    end: AtomicU8,
    /// Whether it stays however idle it is.
    lasting: bool,
    /// No message is earlier, whatever the clock says: when the last one was published that the room goes on from.
    time_floor: u64,
    /// Whether a `Sweep` for this room lies in a queue.
    sweeping: AtomicBool,
    /// Whether a shard has ever had members here.
    was_served: AtomicBool,
    pub(super) home: u32,
    pub(crate) shared: Arc<Shared<T>>,
    pub(super) cold: Lazy<ColdState>,
    pub(super) bell: Doorbell,
    pub(crate) ring: Ring<T>,
}

const _: () = {
    let ring = offset_of!(RoomCore<u64>, ring);
    assert!(
        are_apart(offset_of!(RoomCore<u64>, served), offset_of!(RoomCore<u64>, shared)),
        "those who come and go write into a cache line of those who publish"
    );
    assert!(
        // The types of loom have sizes of their own.
        cfg!(roomcast_loom) || are_apart(ring + Ring::<u64>::POLLED_END, ring + Ring::<u64>::CLAIMED),
        "those who wait poll a cache line of those who publish"
    );
};

/// Whether what ends at one place of a room and what begins at another are never in one cache line. A room begins sixteen
/// bytes, the reference counts, behind where its allocation does, which is aligned to sixteen bytes.
const fn are_apart(end: usize, begin: usize) -> bool {
    begin >= (end - 1) / 16 * 16 + 64
}

/// What most rooms never need.
#[derive(Debug)]
pub(super) struct ColdState {
    /// The *block* subscribers.
    pub(super) gates: Snapshot<Vec<Arc<Gate>>>,
    /// Those who wait for something other than a message, and how many they are.
    pub(super) lifecycle: Doorbell,
    pub(super) waiting: AtomicU32,
    /// Messages that subscribers were told they missed.
    pub(super) lagged: AtomicU64,
    /// Readers whom publishers have left to others to wake.
    left: Lazy<Arc<Left>>,
}

impl ColdState {
    fn new() -> Self {
        Self {
            gates: Snapshot::new(std::sync::Arc::default()),
            lifecycle: Doorbell::new(),
            waiting: AtomicU32::new(0),
            lagged: AtomicU64::new(0),
            left: Lazy::new(),
        }
    }

    /// Wakes some of those who are left to others.
    #[inline(never)]
    fn help(&self) {
        if let Some(left) = self.left.peek().filter(|left| !left.is_empty()) {
            left.help();
        }
    }
}

impl<T> RoomCore<T> {
    pub(crate) fn new(
        name: &str,
        epoch: Epoch,
        home: u32,
        lasting: bool,
        time_floor: u64,
        ring: Ring<T>,
        shared: Arc<Shared<T>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            subscribers: AtomicU64::new(0),
            watchers: AtomicU32::new(0),
            tail_seen: AtomicU64::new(u64::MAX),
            cold: Lazy::new(),
            served: Snapshot::new(shared.nobody.clone()),
            name: name.into(),
            epoch,
            shared,
            home,
            joined_at: AtomicU32::new(0),
            end: AtomicU8::new(0),
            sweeping: AtomicBool::new(false),
            was_served: AtomicBool::new(false),
            lasting,
            time_floor,
            bell: Doorbell::new(),
            ring,
        })
    }

    /// What most rooms never need, made now if need be.
    pub(super) fn cold(&self) -> &ColdState {
        self.cold.force(ColdState::new)
    }

    /// The number of *block* subscribers.
    pub(super) fn blocking(&self) -> usize {
        self.cold.peek().map_or(0, |cold| cold.gates.read(Vec::len))
    }

    /// The broker's identity, for telling whether a thread serves it.
    pub(crate) fn broker(&self) -> usize {
        Arc::as_ptr(&self.shared) as usize
    }

    pub(crate) fn now(&self) -> u64 {
        self.shared.clock.as_ref().map_or(0, |clock| clock().max(self.time_floor))
    }

    /// Why the room has ended; `None` while it runs.
    pub(crate) fn ended(&self) -> Option<CloseReason> {
        // Acquire: pairs with the exchange in `settle`.
        match self.end.load(Acquire) {
            0 => None,
            1 => Some(CloseReason::Closed),
            2 => Some(CloseReason::Removed),
            3 => Some(CloseReason::Crashed),
            4 => Some(CloseReason::BrokerClosed),
            _ => Some(CloseReason::Expired),
        }
    }

    /// Why the room has ended, for somebody who has found its ring closed. Settles it where [`RoomRef::expire`] has closed
    /// the ring and not said so yet.
    pub(crate) fn reason(&self) -> CloseReason {
        self.ended().unwrap_or_else(|| {
            self.settle(CloseReason::Expired);
            self.ended().unwrap_or(CloseReason::Expired)
        })
    }

    /// Says why the room has ended, unless somebody was first.
    fn settle(&self, reason: CloseReason) -> bool {
        let code = match reason {
            CloseReason::Closed => 1,
            CloseReason::Removed => 2,
            CloseReason::Crashed => 3,
            CloseReason::BrokerClosed => 4,
            CloseReason::Expired => 5,
            CloseReason::ShardGone => unreachable!("a room goes on without a shard"),
        };
        // Release: pairs with the load in `ended`.
        self.end.compare_exchange(0, code, Release, Relaxed).is_ok()
    }

    /// Hands the room to the shards that asked for it and takes out the readers that are to be woken.
    fn answer(&self) -> Chain<Waiter> {
        let waiters = self.bell.disarm();
        // Relaxed: set before the first shard has armed the bell. Pairs with the store in `list`, by way of the bell.
        if self.was_served.load(Relaxed) {
            self.served.read(|entries| entries.iter().for_each(ShardEntry::call));
        }
        waiters
    }

    /// Wakes everybody who is parked.
    #[cold]
    #[inline(never)]
    fn ring_bell(&self) {
        let mut waiters = self.answer();
        wake_some(&mut waiters, WAKES_MAX - WAKES_HELP);
        match waiters.is_empty() {
            true => self.help(),
            false => self.wake_last(waiters),
        }
    }

    /// Wakes the last few that a publisher wakes itself, and leaves whoever remains to them and to the shards.
    #[cold]
    #[inline(never)]
    fn wake_last(&self, mut waiters: Chain<Waiter>) {
        let last = take_some::<WAKES_HELP>(&mut waiters);
        let left = (!waiters.is_empty()).then(|| self.cold().left.force(|| Arc::new(Left::new())));
        if let Some(left) = left {
            left.leave(waiters);
        }
        let woken = wake_each(last);
        let Some(left) = left else { return };
        if !woken {
            // They went before the rest was left, and may not have found it.
            left.wake_some();
        }
        if left.call() {
            self.call_shard(left);
        }
    }

    /// Has a shard help: the home shard, and, as that may be in the midst of a handler, another one that sleeps.
    /// Both may be held up for long, so nobody relies on them.
    fn call_shard(&self, left: &Arc<Left>) {
        let (home, shared) = (self.home_inbox(), &self.shared);
        if !home.is_begun() && !shared.start(self.home_shard()) {
            // Nobody could be called, and nobody would hear of it later.
            left.wake_called(usize::MAX);
            return;
        }
        let other = if home.is_asleep() { None } else { shared.inboxes.iter().find(|inbox| inbox.is_asleep()) };
        for inbox in other.into_iter().chain([home]) {
            inbox.post(Action::Wake(left.clone()));
        }
    }

    /// Wakes some of those whom a publisher has left to others. Every reader calls it that was woken, yields, is about to
    /// sleep, has come to the end, or goes: it may be one of the woken, on whom the rest relies. model: leave_help
    #[inline(always)]
    pub(super) fn help(&self) {
        if let Some(cold) = self.cold.peek() {
            cold.help();
        }
    }

    /// The same of a reader that will not sleep any more: nobody relies on it from here on.
    pub(super) fn help_last(&self, waiter: Option<&Waiter>) {
        // Before the help, see `wake_each`.
        let waker = waiter.and_then(Waiter::forget);
        self.help();
        // Foreign code: whatever becomes of it, the reader is told how its room has ended.
        drop(guard(|| drop(waker)));
    }

    pub(super) fn home_inbox(&self) -> &Arc<ShardInbox<T>> {
        &self.shared.inboxes[self.home as usize]
    }

    /// The number of its home shard.
    pub(crate) fn home_shard(&self) -> usize {
        self.home as usize
    }

    /// Asks for the bell to ring when `sequence` is committed. The caller then makes a `fence(SeqCst)` and looks again.
    pub(crate) fn arm_for(&self, sequence: u64) {
        self.bell.arm(sequence);
        self.ring.arm();
    }

    /// Wakes those who wait for something other than a message.
    pub(super) fn wake_lifecycle(&self) {
        if let Some(cold) = self.cold.peek() {
            wake_some(&mut cold.lifecycle.disarm(), usize::MAX);
        }
    }

    /// The same if anybody does. To be called after a `fence(SeqCst)`.
    #[inline(always)]
    pub(super) fn wake_lifecycle_if_any(&self) {
        if self.cold.peek().is_some_and(|cold| cold.lifecycle.is_armed()) {
            self.wake_lifecycle();
        }
    }

    /// Whether nobody is subscribed, patterns aside.
    pub(super) fn is_vacated(&self) -> bool {
        // Relaxed: a figure; who waits for it has a fence before. Pairs with the fence in `leave`.
        self.subscribers.load(Relaxed) == 0
    }

    /// Counts a subscriber out and tells those who wait for the last one.
    #[inline(always)]
    pub(super) fn leave(&self) {
        // Relaxed: ordered by the fence.
        if self.subscribers.fetch_sub(1, Relaxed) == 1 {
            // SeqCst: our leaving before our look at who waits for it. Pairs with the fence in `LifecycleWait::park`.
            // model: leave_vacated
            fence(SeqCst);
            self.wake_lifecycle_if_any();
        }
    }

    /// A reader that may have parked is gone.
    #[inline(never)]
    pub(super) fn abandon(&self, waiter: &Waiter) {
        // Before the help, see `wake_each`; and dropped behind everything else, since that may panic.
        let _waker = waiter.forget();
        self.help();
        // Relaxed: a figure that decides when to sweep.
        if self.bell.abandon(waiter, self.subscribers.load(Relaxed)) {
            // All of them here: left to a shard that is busy, those who are gone would pile up.
            wake_some(&mut self.answer(), usize::MAX);
        }
    }

    /// Lets those who publish get on, if they are in the middle of it. Each who joins takes the cache line of the claim word
    /// from them once, which costs them as much as several messages.
    #[inline]
    fn pace(&self, tail: u64) {
        // Relaxed: a measure.
        if self.joined_at.swap(tail as u32, Relaxed) != tail as u32 {
            (0..PACE_SPINS).for_each(|_| spin_loop());
        }
    }

    /// Where a subscription that asks for `start` begins.
    #[inline]
    pub(crate) fn begin(&self, start: Start) -> (u64, Resumption) {
        let tail = self.ring.tail();
        self.pace(tail);
        match start {
            Start::Latest => (tail, Resumption::Fresh),
            _ => self.begin_before(start, tail),
        }
    }

    /// The same for one that may want what was published before.
    #[inline(never)]
    fn begin_before(&self, start: Start, tail: u64) -> (u64, Resumption) {
        match start {
            Start::Latest => (tail, Resumption::Fresh),
            Start::Oldest => (self.ring.oldest(), Resumption::Fresh),
            Start::Last(count) => (self.ring.oldest().max(tail.saturating_sub(count)), Resumption::Fresh),
            Start::Resume(Position { epoch, sequence }) if epoch == self.epoch && sequence <= tail => {
                let oldest = self.ring.oldest();
                match sequence < oldest {
                    true => (oldest, Resumption::Gap(oldest - sequence)),
                    false => (sequence, Resumption::Resumed),
                }
            }
            Start::Resume(_) => (tail, Resumption::Unknown),
        }
    }
}

/// A room in an `Arc`, in the roles that need one.
#[derive(Debug)]
pub(crate) struct RoomRef<T>(pub(crate) Arc<RoomCore<T>>);

impl<T> RoomRef<T> {
    /// Where its messages are.
    #[inline(always)]
    pub(crate) fn ring(&self) -> &Ring<T> {
        &self.0.ring
    }

    /// Gives a message (or several) back with the reason why the ring did not take it.
    #[cold]
    pub(super) fn refused<M>(&self, refusal: Refusal, message: M) -> PublishError<M> {
        match refusal {
            Refusal::Full => PublishError::Full(message),
            Refusal::Pinned => PublishError::Pinned(message),
            Refusal::TooLarge => PublishError::TooLarge(message),
            Refusal::Closed if self.0.ended() == Some(CloseReason::Crashed) => PublishError::Crashed(message),
            Refusal::Closed => PublishError::Closed(message),
        }
    }

    /// Ends the room. Whoever is first decides the reason.
    pub(crate) fn end(&self, reason: CloseReason) -> bool {
        let first = self.0.settle(reason);
        self.ring().close(self);
        self.tell_ended();
        first
    }

    /// Ends the room if nobody is subscribed, nothing was published since the last call and `expires` agrees; false if it
    /// lives on.
    ///
    /// The ring is closed first and only at the tail that was looked at, so no message that was taken is lost with the
    /// room. Whoever finds the ring closed before the reason is said says it ([`RoomCore::reason`]).
    pub(crate) fn expire(&self, expires: impl FnOnce() -> bool) -> bool {
        let core = &self.0;
        let tail = self.ring().tail();
        // Relaxed: figures; the close below decides.
        let moved = core.tail_seen.swap(tail, Relaxed) != tail;
        if moved || core.lasting || self.ring().is_exclusive() || !core.is_vacated() || core.ended().is_some() {
            return false;
        }
        if !expires() || !self.ring().close_at(tail, self) {
            return false;
        }
        core.settle(CloseReason::Expired);
        self.tell_ended();
        // Whoever was first has ended it.
        core.ended() == Some(CloseReason::Expired)
    }

    /// What follows the close of the ring.
    fn tell_ended(&self) {
        // Relaxed: ordered by the fence in `Ring::tell_closed`. Pairs with the fence in `ShardInbox::post_lazily`: either we
        // see that a sweep is queued, or `retired` sees that the room has ended. A shard that slept on would keep the whole
        // room.
        if self.0.sweeping.load(Relaxed) {
            self.0.home_inbox().ring();
        }
        self.0.wake_lifecycle();
    }

    /// Drops messages that were evicted, a few segments at a time; the shard calls again while it returns true.
    pub(crate) fn sweep(&self) -> bool {
        // AcqRel: what is retired after this asks for a new sweep.
        self.0.sweeping.swap(false, AcqRel);
        self.ring().sweep(2, self)
    }
}

impl<T> Clone for RoomRef<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> AsRef<Ring<T>> for RoomRef<T> {
    #[inline(always)]
    fn as_ref(&self) -> &Ring<T> {
        self.ring()
    }
}

impl<T> Bell for RoomRef<T> {
    #[inline(always)]
    fn committed(&self, first: u64, count: u64) {
        if self.0.bell.is_armed_for(first, count) {
            self.0.ring_bell();
        }
    }

    fn disturbed(&self) {
        if self.0.bell.is_armed() {
            self.0.ring_bell();
        }
    }

    fn may_evict(&self, sequence: u64) -> bool {
        let Some(cold) = self.0.cold.peek() else { return true };
        // Acquire: the reads up to there are done. Pairs with the Release store of the reader.
        cold.gates.read(|gates| gates.iter().all(|gate| gate.next.load(Acquire) >= sequence))
    }

    fn retired(&self) {
        // Without a shard the publisher sees to it by itself.
        if !self.0.home_inbox().is_begun() {
            return;
        }
        // Relaxed look, then AcqRel: one Sweep at a time lies in the queue.
        if !self.0.sweeping.load(Relaxed) && !self.0.sweeping.swap(true, AcqRel) {
            if self.0.home_inbox().is_elsewhere() {
                // It would keep the room for ever. The mark stays, so that nobody asks again.
                return;
            }
            self.0.home_inbox().post_lazily(Action::Sweep(self.0.clone()));
            if self.0.ended().is_some() {
                self.0.home_inbox().ring();
            }
        }
    }

    fn drop_panicked(&self) {
        tracing::error!(room = &*self.0.name, "the Drop of a message panicked; the room is crashed");
        self.end(CloseReason::Crashed);
    }
}

impl<T> fmt::Debug for RoomCore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("name", &self.name).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Tells rooms apart while they live; the address of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoomId(usize);

impl<T> RoomRef<T> {
    /// Lists a shard that has its first member here.
    pub(crate) fn list(&self, entry: &Arc<ShardEntry<T>>) {
        self.0.served.update(|entries| Some(entries.iter().chain([entry]).cloned().collect()));
        // Relaxed: the shard arms the bell afterwards, with Release, and who answers looks behind an Acquire.
        self.0.was_served.store(true, Relaxed);
    }

    /// Takes a shard off the list whose last member has left.
    pub(crate) fn unlist(&self, entry: &Arc<ShardEntry<T>>) {
        self.0
            .served
            .update(|entries| Some(entries.iter().filter(|other| !Arc::ptr_eq(other, entry)).cloned().collect()));
    }

    pub(crate) fn count_handler(&self) {
        // Relaxed: a figure.
        self.0.subscribers.fetch_add(1, Relaxed);
    }

    pub(crate) fn forget_handler(&self) {
        self.0.leave();
    }

    pub(crate) fn count_lagged(&self, missed: u64) {
        // Relaxed: a figure.
        self.0.cold().lagged.fetch_add(missed, Relaxed);
    }

    pub(crate) fn id(&self) -> RoomId {
        RoomId(Arc::as_ptr(&self.0) as usize)
    }
}
