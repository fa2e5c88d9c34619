//! One reader of many rooms.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

use super::core::RoomId;
use super::subscription::Subscription;
use crate::sync::{AcqRel, AtomicBool, Queue};
use crate::wake::WakerCell;

/// Keys of members that have left which the list of ready rooms may hold before they are taken out, beyond twice the
/// members: so seldom that it costs nothing, so few that it takes no memory to speak of.
const STALE_KEYS_MAX: usize = 64;

/// Names a subscription in a [`RoomSet`]. Given out again after the subscription has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey(usize);

/// One handle over the subscriptions of many rooms, which join and leave while it is read.
///
/// It keeps a list of the rooms that have something and never polls all; rooms take turns. Order and lag are per room.
///
/// # Examples
/// ```
/// use roomcast::{Broker, RoomSet};
///
/// # futures::executor::block_on(async {
/// let broker = Broker::<u32>::new();
/// let (odd, even) = (broker.room("odd")?, broker.room("even")?);
/// let mut set = RoomSet::new();
/// let (odds, evens) = (set.join(odd.subscribe().await?), set.join(even.subscribe().await?));
/// even.publish(2)?;
/// assert_eq!(set.ready().await, evens);
/// assert_eq!(set.get_mut(evens).unwrap().try_recv()?, 2);
/// odd.publish(1)?;
/// assert_eq!(set.ready().await, odds);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RoomSet<T> {
    members: Slab<Member<T>>,
    by_room: HashMap<RoomId, usize>,
    ready: Arc<ReadyList>,
    /// The room last given out: it goes to the end of the list at the next call, if it has more.
    current: Option<usize>,
}

struct Member<T> {
    subscription: Subscription<T>,
    bell: Waker,
    entry: Arc<Entry>,
}

/// The keys of rooms that may have something. Holds each member at most once, and keys that have left meanwhile.
pub(super) struct ReadyList {
    keys: Queue<usize>,
    pub(super) reader: WakerCell,
}

/// The waker of one member: puts it on the list.
struct Entry {
    key: usize,
    listed: AtomicBool,
    list: Arc<ReadyList>,
}

impl Entry {
    fn list(&self) {
        // AcqRel: Release for the reader that takes the key next; Acquire after its clearing. Pairs with `poll_ready`.
        if !self.listed.swap(true, AcqRel) {
            self.list.keys.push(self.key);
        }
    }
}

impl Wake for Entry {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list();
        if let Some(waker) = self.list.reader.take() {
            waker.wake();
        }
    }
}

impl<T> RoomSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self {
            members: Slab::new(),
            by_room: HashMap::new(),
            ready: Arc::new(ReadyList { keys: Queue::new(), reader: WakerCell::new() }),
            current: None,
        }
    }

    pub(super) fn ready_list(&self) -> &Arc<ReadyList> {
        &self.ready
    }

    /// How many subscriptions are in it.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a subscription.
    pub fn join(&mut self, subscription: Subscription<T>) -> RoomKey {
        let slot = self.members.vacant_entry();
        let key = slot.key();
        let entry = Arc::new(Entry { key, listed: AtomicBool::new(false), list: self.ready.clone() });
        self.by_room.insert(subscription.room_id(), key);
        slot.insert(Member { subscription, bell: Waker::from(entry.clone()), entry: entry.clone() });
        entry.wake_by_ref();
        RoomKey(key)
    }

    /// Takes a subscription out.
    pub fn leave(&mut self, key: RoomKey) -> Option<Subscription<T>> {
        let member = self.members.try_remove(key.0)?;
        let room = member.subscription.room_id();
        if self.by_room.get(&room) == Some(&key.0) {
            self.by_room.remove(&room);
        }
        if self.ready.keys.len() > 2 * self.members.len() + STALE_KEYS_MAX {
            self.forget_stale_keys();
        }
        Some(member.subscription)
    }

    /// Takes keys off the list whose members have left, so that coming and going without reading leaves nothing.
    fn forget_stale_keys(&mut self) {
        let mut seen = HashSet::new();
        for _ in 0..self.ready.keys.len() {
            let Some(key) = self.ready.keys.pop() else { break };
            if self.members.contains(key) && seen.insert(key) {
                self.ready.keys.push(key);
            }
        }
    }

    /// A subscription of the set, to be read with its `try_recv*`.
    pub fn get_mut(&mut self, key: RoomKey) -> Option<&mut Subscription<T>> {
        self.members.get_mut(key.0).map(|member| &mut member.subscription)
    }

    /// The keys of all subscriptions in it.
    pub fn keys(&self) -> impl Iterator<Item = RoomKey> {
        self.members.iter().map(|(key, _)| RoomKey(key))
    }

    pub(super) fn has_room(&self, room: RoomId) -> bool {
        self.by_room.contains_key(&room)
    }

    /// The next room that has something to read, lag and its end included. Read it with [`RoomSet::get_mut`], as much as
    /// you like; what you leave comes up again after the other rooms. Pending while no room has anything.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<RoomKey> {
        if let Some(member) = self.current.take().and_then(|key| self.members.get(key)) {
            member.entry.list();
        }
        self.ready.reader.register(context.waker());
        // What is listed from here on has its own wake-up: a room whose message is just being committed lists itself again
        // and again, and must not keep the task from its executor.
        for _ in 0..self.ready.keys.len() {
            let Some(key) = self.ready.keys.pop() else { break };
            let Some(member) = self.members.get_mut(key) else { continue };
            // AcqRel: Acquire sees what the waker did before it listed the key; a wake after this lists it again.
            member.entry.listed.swap(false, AcqRel);
            if member.subscription.poll_readable(&mut Context::from_waker(&member.bell)).is_ready() {
                self.current = Some(key);
                return Poll::Ready(RoomKey(key));
            }
        }
        Poll::Pending
    }

    /// Waits for the next room that has something to read; see [`RoomSet::poll_ready`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is lost.
    pub async fn ready(&mut self) -> RoomKey {
        std::future::poll_fn(|context| self.poll_ready(context)).await
    }
}

impl<T> Default for RoomSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for RoomSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomSet").field("len", &self.len()).finish_non_exhaustive()
    }
}
