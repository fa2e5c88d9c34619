//! One reader of every room whose name matches, those created later included.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::core::RoomRef;
use super::found::Found;
use super::set::{ReadyList, RoomKey, RoomSet};
use super::subscription::Subscription;
use crate::config::Policy;
use crate::error::RecvError;
use crate::message::Start;
use crate::sync::{AcqRel, Acquire, AtomicBool, Release, SeqCst, fence, yield_now};
use crate::wake::wake_safely;

pub use super::found::PassedOver;

/// A pattern over names: `*` stands for any text, also none; everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Box<str>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Whether `name` matches. Linear in practice, and never worse than the product of the lengths.
    fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to go on after the last star, taking one byte more into it.
        let mut retry: Option<(usize, usize)> = None;
        while n < name.len() {
            if p < pattern.len() && pattern[p] == b'*' {
                retry = Some((p + 1, n));
                p += 1;
            } else if p < pattern.len() && pattern[p] == name[n] {
                (p, n) = (p + 1, n + 1);
            } else if let Some((after_star, taken)) = retry {
                retry = Some((after_star, taken + 1));
                (p, n) = (after_star, taken + 1);
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|&byte| byte == b'*')
    }
}

/// Which rooms are meant.
pub(crate) enum Names {
    Like(Glob),
    Those(Box<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Names {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Like(glob) => glob.matches(name),
            Self::Those(are_meant) => are_meant(name),
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Like(glob) => glob.0.fmt(f),
            Self::Those(_) => f.write_str("a function"),
        }
    }
}

/// What a broker knows of a pattern subscription.
pub(crate) struct PatternShared<T> {
    names: Names,
    policy: Policy,
    /// Rooms created or found since the subscriber looked.
    found: Found<T>,
    ready: Arc<ReadyList>,
    dropped: AtomicBool,
    /// Whether the broker is closed, so that no room will be found any more.
    ended: AtomicBool,
}

impl<T> PatternShared<T> {
    pub(crate) fn is_dropped(&self) -> bool {
        // Acquire: pairs with the swap in `PatternSubscription::drop`.
        self.dropped.load(Acquire)
    }

    /// Subscribes to a room nobody can see yet, if its name matches: its first message will be there.
    pub(crate) fn attach(&self, room_ref: &RoomRef<T>) -> Option<Subscription<T>> {
        if self.is_dropped() || !self.names.matches(&room_ref.0.name) {
            return None;
        }
        Subscription::watch(room_ref.clone(), Start::Oldest, self.policy)
    }

    /// Subscribes to a room that is there already, if its name matches: from now on.
    pub(crate) fn attach_existing(&self, room_ref: &RoomRef<T>) -> Option<Subscription<T>> {
        if !self.names.matches(&room_ref.0.name) {
            return None;
        }
        Subscription::watch(room_ref.clone(), Start::Latest, self.policy)
    }

    /// Hands a subscription from [`PatternShared::attach`] over, once its room is there to stay.
    pub(crate) fn hand_over(&self, subscription: Subscription<T>) {
        self.found.push(subscription);
        if !self.clear_if_dropped() {
            self.wake_reader();
        }
    }

    /// Lets go what nobody will take any more, if the reader is gone; whether it is. To be called after something was put in.
    fn clear_if_dropped(&self) -> bool {
        // SeqCst: what was put in before our look at the mark. Pairs with the fence in `drop`: either it is found there, or
        // we find the reader gone. model: create_drop
        fence(SeqCst);
        let dropped = self.is_dropped();
        if dropped {
            self.found.clear();
        }
        dropped
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.ready.reader.take() {
            wake_safely(waker);
        }
    }

    /// Whether it has as many rooms to look at as there may be, and must not miss the one of that name: then that is not to
    /// be made.
    pub(crate) fn refuses(&self, name: &str, rooms_max: u64) -> bool {
        self.policy == Policy::Block && self.found.len() as u64 >= rooms_max && self.names.matches(name)
    }

    /// Passes over rooms that have ended, where nobody looks at what was found: a few, to be called whenever a room comes or
    /// goes. `live` is how many there are.
    pub(crate) fn pass_over_ended(&self, live: usize) {
        if self.policy == Policy::Block || !self.found.pass_over_ended(live) {
            return;
        }
        self.clear_if_dropped();
        // It may have looked while some were in our hands.
        self.wake_reader();
    }

    /// Says that no room will be found any more.
    pub(crate) fn end(&self) {
        // Release: rooms handed over before are seen. Pairs with `is_ended`.
        self.ended.store(true, Release);
        self.wake_reader();
    }

    fn is_ended(&self) -> bool {
        // Acquire: pairs with `end`.
        self.ended.load(Acquire)
    }

    /// Puts what was found since the last call into the reader's set; false if some may have been left out, because somebody
    /// is just passing over those that have ended. A room that two threads have found at once is taken once: the first one
    /// handed over reads from the same place.
    fn take_found(&self, set: &mut RoomSet<T>) -> bool {
        self.found.take_all(|subscription| {
            if !set.has_room(subscription.room_id()) {
                set.join(subscription);
            }
        })
    }

    /// The next room that has something, by the reader's set; `None` when none will be found any more and every room was
    /// left.
    fn poll_set(
        &self,
        set: &mut RoomSet<T>,
        context: &mut Context<'_>,
        poll: impl Fn(&mut RoomSet<T>, &mut Context<'_>) -> Poll<RoomKey>,
    ) -> Poll<Option<RoomKey>> {
        // Registered before the looks, so that a room found in between wakes us.
        set.ready_list().reader.register(context.waker());
        let ended = self.is_ended();
        let took_all = self.take_found(set);
        match poll(set, context) {
            Poll::Pending if ended && took_all && set.is_empty() => Poll::Ready(None),
            polled => polled.map(Some),
        }
    }
}

impl<T> fmt::Debug for PatternShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternShared").field("names", &self.names).finish_non_exhaustive()
    }
}

/// A subscription to every room whose name matches a pattern. Made by
/// [`Broker::subscribe_pattern`](crate::Broker::subscribe_pattern) and
/// [`Broker::subscribe_where`](crate::Broker::subscribe_where).
///
/// Rooms created later are joined before anybody can publish into them, so their first message is never missed. Order and
/// lag are per room. It is read like a [`RoomSet`], and rooms whose end was told leave it by themselves.
///
/// Of rooms that it has not looked at yet it keeps those that run. Of those that have ended meanwhile it keeps 1,024, and
/// beyond that as many as there are rooms; the oldest are then passed over ([`PatternSubscription::passed_over`]). With
/// [`Policy::Block`] none is, but no room is made while there are [`Builder::rooms_max`](crate::Builder::rooms_max) to
/// look at.
pub struct PatternSubscription<T> {
    set: RoomSet<T>,
    shared: Arc<PatternShared<T>>,
}

impl<T> PatternSubscription<T> {
    pub(crate) fn new(names: Names, policy: Policy) -> Self {
        let set = RoomSet::new();
        let shared = Arc::new(PatternShared {
            names,
            policy,
            found: Found::new(),
            ready: set.ready_list().clone(),
            dropped: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        Self { set, shared }
    }

    pub(crate) fn shared(&self) -> &Arc<PatternShared<T>> {
        &self.shared
    }

    /// Takes in what was found, waiting for whoever has some in their hands.
    fn take_all_found(&mut self) {
        while !self.shared.take_found(&mut self.set) {
            yield_now();
        }
    }

    /// How many rooms it covers now, those included that have ended and were not said to be over yet.
    pub fn len(&mut self) -> usize {
        self.take_all_found();
        self.set.len()
    }

    /// Whether it covers no room now.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// The keys of all rooms it covers now, those with nothing to read included.
    pub fn keys(&mut self) -> impl Iterator<Item = RoomKey> {
        self.take_all_found();
        self.set.keys()
    }

    /// What was not looked at for so long that it was let go.
    pub fn passed_over(&self) -> PassedOver {
        self.shared.found.passed_over()
    }

    /// The subscription to one of the rooms.
    pub fn get(&self, key: RoomKey) -> Option<&Subscription<T>> {
        self.set.get(key)
    }

    /// The subscription to one of the rooms, to be read in any way; see [`RoomSet::get_mut`].
    pub fn get_mut(&mut self, key: RoomKey) -> Option<&mut Subscription<T>> {
        self.set.get_mut(key)
    }

    /// Stops covering one room, such as one that has ended.
    pub fn leave(&mut self, key: RoomKey) -> Option<Subscription<T>> {
        self.set.leave(key)
    }

    /// The next room that has something to read; see [`RoomSet::poll_ready`]. `None` when the broker is closed and
    /// every room was left: there will be nothing more.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Option<RoomKey>> {
        self.shared.poll_set(&mut self.set, context, RoomSet::poll_ready)
    }

    /// The same whenever a room has something.
    #[cfg(feature = "store")]
    pub(crate) fn poll_listed(&mut self, context: &mut Context<'_>) -> Poll<Option<RoomKey>> {
        self.shared.poll_set(&mut self.set, context, RoomSet::poll_ready_unconstrained)
    }

    /// Waits for the next room that has something to read; `None` when the broker is closed and every room was left.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is lost.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::{Broker, TryRecvError};
    ///
    /// let broker = Broker::<u8>::new();
    /// let mut all = broker.subscribe_pattern("*");
    /// broker.publish("a", 1)?;
    /// broker.publish("b", 2)?;
    /// broker.close();
    /// let mut sum = 0;
    /// while let Some(key) = all.ready().await {
    ///     match all.get_mut(key).unwrap().try_recv() {
    ///         Ok(number) => sum += number,
    ///         Err(error) => assert!(matches!(error, TryRecvError::Closed(_)), "{error}"),
    ///     }
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn ready(&mut self) -> Option<RoomKey> {
        std::future::poll_fn(|context| self.poll_ready(context)).await
    }

    /// Receives a clone of the next message of any room, waiting for it, with the key of its subscription; see
    /// [`RoomSet::recv`]. `None` when the broker is closed and every room was read to its end.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is lost.
    ///
    /// # Panics
    /// When `T::clone` panics; the message then counts as received.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u8>::new();
    /// let mut chats = broker.subscribe_pattern("chat.*");
    /// broker.publish("chat.1", 7)?;
    /// let (key, received) = chats.recv().await.expect("the broker is open");
    /// assert_eq!((chats.get(key).unwrap().room().name(), received), ("chat.1", Ok(7)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn recv(&mut self) -> Option<(RoomKey, Result<T, RecvError>)>
    where
        T: Clone,
    {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// [`PatternSubscription::recv`] for a poll of your own.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<(RoomKey, Result<T, RecvError>)>>
    where
        T: Clone,
    {
        let Self { set, shared } = self;
        set.poll_recv_by(context, |set, context| shared.poll_set(set, context, RoomSet::poll_ready))
    }
}

/// As a stream, a pattern yields what [`PatternSubscription::recv`] does.
impl<T: Clone> Stream for PatternSubscription<T> {
    type Item = (RoomKey, Result<T, RecvError>);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(context)
    }
}

impl<T> Drop for PatternSubscription<T> {
    fn drop(&mut self) {
        // AcqRel: pairs with `is_dropped`; the broker forgets the pattern at the next one.
        self.shared.dropped.swap(true, AcqRel);
        // SeqCst: pairs with the fence in `clear_if_dropped`.
        fence(SeqCst);
        self.shared.found.clear();
        // The broker keeps the list until the next pattern, but not whoever read it.
        drop(self.shared.ready.reader.take());
    }
}

impl<T> fmt::Debug for PatternSubscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternSubscription").field("names", &self.shared.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [("chat.*", "chat."), ("chat.*", "chat.1"), ("*", ""), ("a*b*c", "aXbYbZc"), ("**", "x")]
        {
            assert!(Glob::new(pattern).matches(name), "{pattern} {name}");
        }
        for (pattern, name) in [("chat.*", "chat"), ("", "x"), ("a*b", "abc"), ("chat", "chats"), ("a*a", "a")] {
            assert!(!Glob::new(pattern).matches(name), "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*]{0,8}", name in "[ab]{0,8}") {
            fn defined(pattern: &[u8], name: &[u8]) -> bool {
                match pattern.split_first() {
                    None => name.is_empty(),
                    Some((b'*', rest)) => (0..=name.len()).any(|taken| defined(rest, &name[taken..])),
                    Some((byte, rest)) => name.first() == Some(byte) && defined(rest, &name[1..]),
                }
            }
            prop_assert_eq!(Glob::new(&pattern).matches(&name), defined(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
