//! One reader of many rooms.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_core::Stream;
use slab::Slab;

use super::coop::Coop;
use super::core::RoomId;
use super::subscription::Subscription;
use crate::error::RecvError;
use crate::sync::{AcqRel, AtomicBool, Queue};
use crate::wake::WakerCell;

/// Keys of members that have left which the list of ready rooms may hold before they are taken out, beyond twice the
/// members: so seldom that it costs nothing, so few that it takes no memory to speak of.
const STALE_KEYS_MAX: usize = 64;

/// Names a subscription in a [`RoomSet`]. After that has left, the key names none: it is not given out again (until 2^32
/// more have joined).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey {
    place: u32,
    /// Tells those apart that had the place one after the other.
    serial: u32,
}

impl RoomKey {
    fn place(self) -> usize {
        self.place as usize
    }
}

/// One handle over the subscriptions of many rooms, which join and leave while it is read.
///
/// It keeps a list of the rooms that have something and never polls all; rooms take turns. Order and lag are per room. A
/// subscription whose end was told, by any of its methods, leaves by itself at the next poll of the set.
///
/// # Examples
/// By message, as a [`Stream`] too:
/// ```
/// use roomcast::{Broker, RecvError, RoomSet};
///
/// # futures::executor::block_on(async {
/// let broker = Broker::<u32>::new();
/// let mut set = broker.subscribe_many(["odd", "even"])?;
/// broker.publish("odd", 1)?;
/// broker.publish("even", 2)?;
/// broker.close();
/// let (mut sum, mut ends) = (0, 0);
/// while let Some((key, received)) = set.recv().await {
///     match received {
///         Ok(number) => sum += number,
///         Err(RecvError::Lagged(missed)) => panic!("{missed} of {} are gone", set.get(key).unwrap().room().name()),
///         Err(_) => ends += 1,
///     }
/// }
/// assert_eq!((sum, ends, set.len()), (3, 2, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
/// By room, where you take what you like:
/// ```
/// use roomcast::{Broker, RoomSet};
///
/// # futures::executor::block_on(async {
/// let broker = Broker::<u32>::new();
/// let (odd, even) = (broker.room("odd")?, broker.room("even")?);
/// let mut set = RoomSet::new();
/// let (odds, evens) = (set.join(odd.subscribe().now()?), set.join(even.subscribe().now()?));
/// even.publish(2)?;
/// assert_eq!(set.ready().await, evens);
/// assert_eq!(set.get_mut(evens).unwrap().try_recv()?, 2);
/// odd.publish(1)?;
/// assert_eq!(set.ready().await, odds);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # How a room is listed
/// Each member's waker puts its key on the list, unless it is there, and wakes the reader. The reader takes a key off,
/// clears the mark that says so, and only then looks and registers the member's waker anew: what comes before the look is
/// found by it, what comes after lists the key again. A member that was lent ([`RoomSet::get_mut`]) may have been polled
/// with another waker, or have something left, so it is listed again before the next look.
pub struct RoomSet<T> {
    members: Slab<Member<T>>,
    by_room: HashMap<RoomId, RoomKey>,
    ready: Arc<ReadyList>,
    /// The room last lent: it goes to the end of the list at the next poll.
    current: Option<RoomKey>,
    next_serial: u32,
    coop: Coop,
}

struct Member<T> {
    subscription: Subscription<T>,
    bell: Waker,
    entry: Arc<Entry>,
}

/// The keys of rooms that may have something. Holds each member at most once, and keys that have left meanwhile.
pub(super) struct ReadyList {
    keys: Queue<RoomKey>,
    pub(super) reader: WakerCell,
}

/// The waker of one member: puts it on the list.
struct Entry {
    key: RoomKey,
    listed: AtomicBool,
    list: Arc<ReadyList>,
}

impl Entry {
    fn list(&self) {
        // AcqRel: Release for the reader that takes the key next; Acquire after its clearing. Pairs with
        // `poll_ready_unconstrained`.
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
            next_serial: 0,
            coop: Coop::default(),
        }
    }

    pub(super) fn ready_list(&self) -> &Arc<ReadyList> {
        &self.ready
    }

    /// How many subscriptions are in it, those included that have ended and were not said to be over yet.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a subscription.
    pub fn join(&mut self, mut subscription: Subscription<T>) -> RoomKey {
        subscription.begin_anew();
        let slot = self.members.vacant_entry();
        let key = RoomKey { place: slot.key() as u32, serial: self.next_serial };
        self.next_serial = self.next_serial.wrapping_add(1);
        let entry = Arc::new(Entry { key, listed: AtomicBool::new(false), list: self.ready.clone() });
        self.by_room.insert(subscription.room_id(), key);
        slot.insert(Member { subscription, bell: Waker::from(entry.clone()), entry: entry.clone() });
        entry.wake_by_ref();
        key
    }

    /// Takes a subscription out.
    pub fn leave(&mut self, key: RoomKey) -> Option<Subscription<T>> {
        self.member(key)?;
        let member = self.members.remove(key.place());
        let room = member.subscription.room_id();
        if self.by_room.get(&room) == Some(&key) {
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
            if self.member(key).is_some() && seen.insert(key) {
                self.ready.keys.push(key);
            }
        }
    }

    fn member(&self, key: RoomKey) -> Option<&Member<T>> {
        self.members.get(key.place()).filter(|member| member.entry.key == key)
    }

    /// A subscription of the set.
    pub fn get(&self, key: RoomKey) -> Option<&Subscription<T>> {
        self.member(key).map(|member| &member.subscription)
    }

    /// A subscription of the set, to be read in any way, also with its futures: what it has left, and what comes later,
    /// makes its room come up again.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use roomcast::{Broker, RoomSet};
    /// use tokio::time::timeout;
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("numbers")?;
    /// let mut set = RoomSet::new();
    /// let key = set.join(room.subscribe().now()?);
    /// assert!(timeout(Duration::ZERO, set.get_mut(key).unwrap().recv()).await.is_err());
    /// room.publish(7)?;
    /// assert_eq!(set.ready().await, key);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_mut(&mut self, key: RoomKey) -> Option<&mut Subscription<T>> {
        self.member(key)?;
        if let Some(lent) = self.current.replace(key).filter(|lent| *lent != key) {
            self.list(lent);
        }
        Some(&mut self.members[key.place()].subscription)
    }

    fn list(&self, key: RoomKey) {
        if let Some(member) = self.member(key) {
            member.entry.list();
        }
    }

    /// The keys of all subscriptions in it.
    pub fn keys(&self) -> impl Iterator<Item = RoomKey> {
        self.members.iter().map(|(_, member)| member.entry.key)
    }

    pub(super) fn has_room(&self, room: RoomId) -> bool {
        self.by_room.contains_key(&room)
    }

    /// The next room that has something to read, lag and its end included. Read it with [`RoomSet::get_mut`], as much as
    /// you like; what you leave comes up again after the other rooms. Pending while no room has anything, and now and then
    /// although one has, woken at once, so that other tasks have their turn.
    ///
    /// A room that has ended comes up until its end was told, and then leaves.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<RoomKey> {
        ready!(self.coop.proceed(context));
        let polled = self.poll_ready_unconstrained(context);
        self.coop.note(polled)
    }

    /// The same whenever a room has something: for callers that let other tasks have their turn by themselves, as with
    /// tokio's `unconstrained`.
    pub fn poll_ready_unconstrained(&mut self, context: &mut Context<'_>) -> Poll<RoomKey> {
        if let Some(lent) = self.current.take() {
            self.list(lent);
        }
        self.ready.reader.register(context.waker());
        // What is listed from here on has its own wake-up: a room whose message is just being committed lists itself again
        // and again, and must not keep the task from its executor.
        for _ in 0..self.ready.keys.len() {
            let Some(key) = self.ready.keys.pop() else { break };
            let Some(member) = self.members.get_mut(key.place()).filter(|member| member.entry.key == key) else {
                continue;
            };
            // AcqRel: Acquire sees what the waker did before it listed the key; a wake after this lists it again.
            member.entry.listed.swap(false, AcqRel);
            if member.subscription.is_over() {
                drop(self.leave(key));
                continue;
            }
            if member.subscription.poll_found(&mut Context::from_waker(&member.bell)).is_ready() {
                self.current = Some(key);
                return Poll::Ready(key);
            }
        }
        Poll::Pending
    }

    /// Waits for the next room that has something to read; see [`RoomSet::poll_ready`]. For ever, while nobody is in it.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is lost.
    pub async fn ready(&mut self) -> RoomKey {
        std::future::poll_fn(|context| self.poll_ready(context)).await
    }

    /// Receives a clone of the next message of any room, waiting for it, with the key of its subscription. Rooms that have
    /// something take turns, message by message. `None` when nobody is in it.
    ///
    /// Lag and the end of a room come in its place, as from [`Subscription::recv`]; the end once. The key leads to the
    /// subscription until the next call at least.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is lost.
    ///
    /// # Panics
    /// When `T::clone` panics; the message then counts as received.
    pub async fn recv(&mut self) -> Option<(RoomKey, Result<T, RecvError>)>
    where
        T: Clone,
    {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// [`RoomSet::recv`] for a poll of your own.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<(RoomKey, Result<T, RecvError>)>>
    where
        T: Clone,
    {
        self.poll_recv_by(context, |set, context| match set.poll_ready(context) {
            Poll::Pending if set.is_empty() => Poll::Ready(None),
            polled => polled.map(Some),
        })
    }

    /// The next message of the rooms that `poll_ready` finds; nothing when it says that there will be none.
    pub(super) fn poll_recv_by(
        &mut self,
        context: &mut Context<'_>,
        poll_ready: impl Fn(&mut Self, &mut Context<'_>) -> Poll<Option<RoomKey>>,
    ) -> Poll<Option<(RoomKey, Result<T, RecvError>)>>
    where
        T: Clone,
    {
        loop {
            let Some(key) = ready!(poll_ready(self, context)) else { return Poll::Ready(None) };
            if let Some(received) = self.receive(key) {
                return Poll::Ready(Some((key, received)));
            }
        }
    }

    /// What the subscription has, if it has something.
    fn receive(&mut self, key: RoomKey) -> Option<Result<T, RecvError>>
    where
        T: Clone,
    {
        match self.get_mut(key)?.try_recv() {
            Ok(message) => Some(Ok(message)),
            Err(error) => error.into_recv_error().map(Err),
        }
    }
}

/// As a stream, a set yields what [`RoomSet::recv`] does, and ends, until the next joins, when nobody is in it.
impl<T: Clone> Stream for RoomSet<T> {
    type Item = (RoomKey, Result<T, RecvError>);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(context)
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
