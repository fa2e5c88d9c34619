//! Messages as they are lent to readers, and places in a room.

use std::fmt;
use std::num::ParseIntError;
use std::ops::Deref;
use std::str::FromStr;

/// Identity of one incarnation of a room: a fresh one for each room ever created.
///
/// A sequence means something together with its epoch only. Prints as a short text that parses back.
///
/// ```
/// use roomcast::{Broker, Epoch};
///
/// let broker = Broker::<u64>::new();
/// let epoch = broker.room("lobby")?.epoch();
/// assert_eq!(epoch.to_string().parse::<Epoch>()?, epoch);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub(crate) u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

/// For a store that has kept the number: an epoch made up otherwise may be that of another room's incarnation.
impl From<u64> for Epoch {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// A place in a room: the next sequence to read, in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The incarnation of the room that `sequence` belongs to.
    pub epoch: Epoch,
    /// The first message not received yet. Sequences count from 0.
    pub sequence: u64,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Latest,
    /// With the oldest message retained.
    Oldest,
    /// That many messages before what is published from now on, or as many as are retained.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Start};
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("chat")?;
    /// room.publish_all(0..10)?;
    /// let mut screen = room.subscribe_from(Start::Last(3)).now()?;
    /// assert_eq!(&*screen.try_recv_batch(usize::MAX)?, &[7, 8, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Last(u64),
    /// Where an earlier subscription stopped; [`Subscription::resumption`](crate::Subscription::resumption) says whether
    /// anything was missed.
    Resume(Position),
}

/// How a subscription began, compared with what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resumption {
    /// Nothing was to be resumed.
    Fresh,
    /// It goes on exactly where it was asked to.
    Resumed,
    /// That many messages are gone; it begins with the oldest retained.
    Gap(u64),
    /// The position is of another epoch, or lies in the future; it begins with what is published from now on.
    Unknown,
}

/// A message lent by reference, with its place in the room.
///
/// It may be kept across an `.await`. While it lives, the segment it lies in is kept; publishers are not held up.
pub struct Ref<'a, T> {
    pub(crate) sequence: u64,
    pub(crate) time: Option<&'a crate::sync::AtomicU64>,
    pub(crate) message: &'a T,
}

impl<T> Ref<'_, T> {
    /// Its place in the room: the first message has 0, each further one 1 more.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was published, on the clock given to [`Builder::clock`](crate::Builder::clock); never less than that of an
    /// earlier sequence. `None` without a clock.
    pub fn time(&self) -> Option<u64> {
        self.time.map(decided)
    }
}

impl<'a, T> Ref<'a, T> {
    /// The message as a plain reference, for as long as it is lent.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Subscription};
    ///
    /// /// The longest of what is there.
    /// fn longest(notes: &mut Subscription<String>) -> Option<&str> {
    ///     let notes = notes.try_recv_batch(usize::MAX).ok()?;
    ///     notes.refs().map(|note| note.into_ref().as_str()).max_by_key(|note| note.len())
    /// }
    ///
    /// let broker = Broker::<String>::new();
    /// let room = broker.room("notes")?;
    /// let mut notes = room.subscribe().now()?;
    /// room.publish_all(["a", "abc", "ab"].map(String::from))?;
    /// assert_eq!(longest(&mut notes), Some("abc"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn into_ref(self) -> &'a T {
        self.message
    }
}

impl<T> Clone for Ref<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ref<'_, T> {}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.message
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ref").field("sequence", &self.sequence).field("message", self.message).finish()
    }
}

/// A run of consecutive messages lent by reference, as one slice.
///
/// It is the slice, and iterates over it. With sequences and times, [`Batch::iter`] and [`Batch::refs`] do so.
///
/// # Examples
/// ```
/// use roomcast::Broker;
///
/// let broker = Broker::<u64>::new();
/// let room = broker.room("numbers")?;
/// let mut numbers = room.subscribe().now()?;
/// room.publish_all([5, 6, 7])?;
/// let run = numbers.try_recv_batch(usize::MAX)?;
/// assert_eq!(run.iter().map(|(sequence, _, number)| sequence * number).sum::<u64>(), 20);
/// assert_eq!((run.len(), run.contains(&6), run[2]), (3, true, 7));
/// let mut sum = 0;
/// for number in run {
///     sum += number;
/// }
/// assert_eq!(sum, 18);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Batch<'a, T> {
    pub(crate) first: u64,
    pub(crate) messages: &'a [T],
    /// The publish times by message, or nothing where the room has no clock.
    pub(crate) times: &'a [crate::sync::AtomicU64],
}

impl<'a, T> Batch<'a, T> {
    /// The sequence of the first message.
    #[inline]
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// The messages as a plain slice, for as long as they are lent.
    #[inline]
    pub fn as_slice(&self) -> &'a [T] {
        self.messages
    }

    /// The messages with their sequence and publish time. (The slice's own is `as_slice().iter()`, or the batch itself in a
    /// `for` loop.)
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, Option<u64>, &'a T)> + use<'a, T> {
        self.refs().map(|message| (message.sequence, message.time(), message.message))
    }

    /// What comes after the first `skip` messages.
    #[inline]
    pub(crate) fn behind(&self, skip: usize) -> Self {
        Self {
            first: self.first + skip as u64,
            messages: &self.messages[skip..],
            times: self.times.get(skip..).unwrap_or(&[]),
        }
    }

    /// The first `count` messages.
    #[inline]
    pub(crate) fn before(&self, count: usize) -> Self {
        Self { first: self.first, messages: &self.messages[..count], times: self.times.get(..count).unwrap_or(&[]) }
    }

    /// The first message; a batch that was received has one.
    #[inline]
    pub(crate) fn into_first(self) -> Ref<'a, T> {
        Ref { sequence: self.first, time: self.times.first(), message: &self.messages[0] }
    }

    /// The messages as [`Ref`]s.
    #[inline]
    pub fn refs(&self) -> impl ExactSizeIterator<Item = Ref<'a, T>> + use<'a, T> {
        let (first, times) = (self.first, self.times);
        let messages = self.messages.iter().enumerate();
        messages.map(move |(index, message)| Ref { sequence: first + index as u64, time: times.get(index), message })
    }
}

impl<'a, T> IntoIterator for Batch<'a, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.messages.iter()
    }
}

impl<'a, T> IntoIterator for &Batch<'a, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.messages.iter()
    }
}

fn decided(time: &crate::sync::AtomicU64) -> u64 {
    // Relaxed: decided before the message was committed, which the lender has seen.
    time.load(crate::sync::Relaxed)
}

impl<T> Deref for Batch<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.messages
    }
}

impl<T: fmt::Debug> fmt::Debug for Batch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("first", &self.first).field("messages", &self.messages).finish()
    }
}
