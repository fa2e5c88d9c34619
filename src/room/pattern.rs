//! One reader of every room whose name matches, those created later included.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::core::Inside;
use super::set::{ReadyList, RoomKey, RoomSet};
use super::subscription::Subscription;
use crate::config::Policy;
use crate::message::Start;
use crate::sync::{AcqRel, Acquire, AtomicBool, Queue, Release};
use crate::wake::wake_safely;

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
    /// Rooms created or found since the subscriber looked; as many as there are rooms at most.
    found: Queue<Subscription<T>>,
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
    pub(crate) fn attach(&self, inside: &Inside<T>) -> Option<Subscription<T>> {
        if self.is_dropped() || !self.names.matches(&inside.0.name) {
            return None;
        }
        Subscription::watch(inside.clone(), Start::Oldest, self.policy)
    }

    /// Subscribes to a room that is there already, if its name matches: from now on.
    pub(crate) fn attach_existing(&self, inside: &Inside<T>) -> Option<Subscription<T>> {
        if !self.names.matches(&inside.0.name) {
            return None;
        }
        Subscription::watch(inside.clone(), Start::Latest, self.policy)
    }

    /// Hands a subscription from [`PatternShared::attach`] over, once its room is there to stay.
    pub(crate) fn hand_over(&self, subscription: Subscription<T>) {
        self.found.push(subscription);
        if self.is_dropped() {
            self.forget_found();
        } else if let Some(waker) = self.ready.reader.take() {
            wake_safely(waker);
        }
    }

    /// Says that no room will be found any more.
    pub(crate) fn end(&self) {
        // Release: rooms handed over before are seen. Pairs with `is_ended`.
        self.ended.store(true, Release);
        if let Some(waker) = self.ready.reader.take() {
            wake_safely(waker);
        }
    }

    fn is_ended(&self) -> bool {
        // Acquire: pairs with `end`.
        self.ended.load(Acquire)
    }

    fn forget_found(&self) {
        while self.found.pop().is_some() {}
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
/// lag are per room. It is read like a [`RoomSet`].
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
            found: Queue::new(),
            ready: set.ready_list().clone(),
            dropped: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        Self { set, shared }
    }

    pub(crate) fn shared(&self) -> &Arc<PatternShared<T>> {
        &self.shared
    }

    /// Takes in what was found since the last call. A room that two threads have found at once is taken once: the first
    /// one handed over reads from the same place.
    fn take_found(&mut self) {
        while let Some(subscription) = self.shared.found.pop() {
            if !self.set.has_room(subscription.room_id()) {
                self.set.join(subscription);
            }
        }
    }

    /// How many rooms it covers now.
    pub fn len(&mut self) -> usize {
        self.take_found();
        self.set.len()
    }

    /// Whether it covers no room now.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// The keys of all rooms it covers now, those with nothing to read included.
    pub fn keys(&mut self) -> impl Iterator<Item = RoomKey> {
        self.take_found();
        self.set.keys()
    }

    /// The subscription to one of the rooms, to be read with its `try_recv*`.
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
        // Registered before the looks, so that a room found in between wakes us.
        self.set.ready_list().reader.register(context.waker());
        let ended = self.shared.is_ended();
        self.take_found();
        match self.set.poll_ready(context) {
            Poll::Pending if ended && self.set.is_empty() => Poll::Ready(None),
            polled => polled.map(Some),
        }
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
    ///         Err(TryRecvError::Closed(_)) => drop(all.leave(key)),
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn ready(&mut self) -> Option<RoomKey> {
        std::future::poll_fn(|context| self.poll_ready(context)).await
    }
}

impl<T> Drop for PatternSubscription<T> {
    fn drop(&mut self) {
        // AcqRel: pairs with `is_dropped`; the broker forgets the pattern at the next one.
        self.shared.dropped.swap(true, AcqRel);
        self.shared.forget_found();
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
