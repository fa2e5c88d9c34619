//! One small error type per operation.

use std::error::Error;
use std::fmt;

use crate::config::NAME_BYTES_MAX;

/// Why a room, or one subscription of it, has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Room::close`](crate::Room::close) was called.
    Closed,
    /// [`Broker::remove`](crate::Broker::remove) took the room out.
    Removed,
    /// The `Drop` of one of its messages panicked while the room was making space.
    Crashed,
    /// The broker was closed or dropped.
    BrokerClosed,
    /// Nobody was subscribed and nothing published for so long that [`Broker::expire_idle`](crate::Broker::expire_idle)
    /// took the room out.
    Expired,
    /// Said to a handler alone: the runtime that its shard ran on has ended, with the shard. The room goes on, and what the
    /// handler had not been given yet it misses.
    ShardGone,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the room is closed",
            Self::Removed => "the room was removed",
            Self::Crashed => "the room has crashed",
            Self::BrokerClosed => "the broker is closed",
            Self::Expired => "the room has expired",
            Self::ShardGone => "the runtime of the shard has ended",
        })
    }
}

/// A message was not published; it comes back with the reason.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError<T> {
    /// The room is closed, removed, or its broker is gone. Open it again by name.
    Closed(T),
    /// The room has crashed. Opening it by name gives a fresh one.
    Crashed(T),
    /// A *block* subscriber has not read far enough. Try again, or use [`Room::publish_wait`](crate::Room::publish_wait) or
    /// [`Room::publish_timeout`](crate::Room::publish_timeout).
    Full(T),
    /// As many readers as a room has segments, 65,535, have each stopped in the midst of another one, which is kept for
    /// them. Try again once some have read on or are dropped; no wait of the room's ends then, so it offers none.
    Pinned(T),
    /// The message is larger than the room's byte budget allows for one message.
    TooLarge(T),
    /// The room is exclusive: only its [`Publisher`](crate::Publisher) publishes.
    Exclusive(T),
    /// Waiting here would stop the very shard that is to make space: handlers must not wait for their own broker.
    OnShard(T),
}

impl<T> PublishError<T> {
    /// The message that was not published.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(message)
            | Self::Crashed(message)
            | Self::Full(message)
            | Self::Pinned(message)
            | Self::TooLarge(message)
            | Self::Exclusive(message)
            | Self::OnShard(message) => message,
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Closed(_) => "the room is closed; open it again by name",
            Self::Crashed(_) => "the room has crashed; open it again by name",
            Self::Full(_) => "the room is full: a blocking subscriber has not read far enough",
            Self::Pinned(_) => {
                "the room has no memory left: 65,535 readers have stopped, each in a part of its own; drop some"
            }
            Self::TooLarge(_) => "the message is larger than the room's byte budget allows",
            Self::Exclusive(_) => "the room is exclusive; publish with its publisher",
            Self::OnShard(_) => "a handler must not wait for its own broker",
        }
    }
}

impl<T> fmt::Debug for PublishError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Closed(_) => "Closed",
            Self::Crashed(_) => "Crashed",
            Self::Full(_) => "Full",
            Self::Pinned(_) => "Pinned",
            Self::TooLarge(_) => "TooLarge",
            Self::Exclusive(_) => "Exclusive",
            Self::OnShard(_) => "OnShard",
        };
        f.debug_tuple(name).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PublishError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<T> Error for PublishError<T> {}

/// Nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// That many messages were evicted before this subscriber read them. Not a failure: the next call goes on with the
    /// oldest message retained.
    Lagged(u64),
    /// The subscriber fell behind under [`Policy::Disconnect`](crate::Policy::Disconnect), by that many messages, and gets
    /// nothing any more.
    Disconnected(u64),
    /// The room has ended and everything in it was read.
    Closed(CloseReason),
    /// Waiting here would stop the very shard that is to bring the message: handlers must not wait for their own broker.
    OnShard,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lagged(missed) => write!(f, "{missed} messages were missed; reading goes on"),
            Self::Disconnected(missed) => write!(f, "disconnected after falling {missed} messages behind"),
            Self::Closed(reason) => reason.fmt(f),
            Self::OnShard => f.write_str("a handler must not wait for its own broker"),
        }
    }
}

impl Error for RecvError {}

/// Nothing was received within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// Nothing came in time. Nothing was missed by it: the next call waits for the same message.
    Timeout,
    /// See [`RecvError::Lagged`].
    Lagged(u64),
    /// See [`RecvError::Disconnected`].
    Disconnected(u64),
    /// See [`RecvError::Closed`].
    Closed(CloseReason),
    /// See [`RecvError::OnShard`].
    OnShard,
}

impl From<RecvError> for RecvTimeoutError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(missed) => Self::Lagged(missed),
            RecvError::Disconnected(missed) => Self::Disconnected(missed),
            RecvError::Closed(reason) => Self::Closed(reason),
            RecvError::OnShard => Self::OnShard,
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Timeout => f.write_str("nothing came in time; the next call waits for the same message"),
            Self::Lagged(missed) => RecvError::Lagged(missed).fmt(f),
            Self::Disconnected(missed) => RecvError::Disconnected(missed).fmt(f),
            Self::Closed(reason) => RecvError::Closed(reason).fmt(f),
            Self::OnShard => RecvError::OnShard.fmt(f),
        }
    }
}

impl Error for RecvTimeoutError {}

/// Nothing was received without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRecvError {
    /// Nothing there yet; or an earlier message is still being written, even if a later one's `publish` has returned.
    Empty,
    /// See [`RecvError::Lagged`].
    Lagged(u64),
    /// See [`RecvError::Disconnected`].
    Disconnected(u64),
    /// See [`RecvError::Closed`].
    Closed(CloseReason),
}

impl TryRecvError {
    pub(crate) fn into_recv_error(self) -> Option<RecvError> {
        match self {
            Self::Empty => None,
            Self::Lagged(missed) => Some(RecvError::Lagged(missed)),
            Self::Disconnected(missed) => Some(RecvError::Disconnected(missed)),
            Self::Closed(reason) => Some(RecvError::Closed(reason)),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.into_recv_error() {
            Some(error) => error.fmt(f),
            None => f.write_str("nothing to receive yet"),
        }
    }
}

impl Error for TryRecvError {}

/// A subscription was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The room has ended. Open it again by name.
    Closed(CloseReason),
    /// Waiting here would stop the very shard that may have to answer: handlers must not wait for their own broker. Await
    /// it elsewhere.
    OnShard,
    /// There is no shard to run a handler: the broker was built with none, the runtimes they ran on have ended, the system
    /// refuses to start a thread, or this process was forked off the one they run in. The room is open: pull from it.
    NoShard,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShard => f.write_str("there is no shard to run a handler; pull, or make a broker that has one"),
            Self::Closed(reason) => write!(f, "{reason}; open it again by name"),
            Self::OnShard => f.write_str("a handler must not wait for its own broker; await it elsewhere"),
        }
    }
}

impl Error for SubscribeError {}

/// A broker is not shut down yet. It is closed, and its shards have been told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The time is over and a handler still runs. Wait again, or drop the broker.
    StillRunning,
    /// Waiting here would stop the very shard that is to end: handlers must not wait for their own broker.
    OnShard,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StillRunning => "a handler is still running; wait longer, or drop the broker",
            Self::OnShard => "a handler must not wait for its own broker; shut it down elsewhere",
        })
    }
}

impl Error for ShutdownError {}

/// A room was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomError {
    /// The broker is closed.
    Closed,
    /// There is a room of that name already, so it cannot be created as an exclusive one.
    Taken,
    /// A room needs a name.
    NameEmpty,
    /// The name is longer than [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX).
    NameTooLong,
    /// The broker holds as many rooms as [`Builder::rooms_max`](crate::Builder::rooms_max) allows, or a pattern with
    /// [`Policy::Block`](crate::Policy::Block) has as many to look at. Remove some, or have the pattern read.
    TooManyRooms,
    /// The room was to have a byte budget, and the broker was not told how to weigh a message: see
    /// [`Builder::weigh`](crate::Builder::weigh).
    Unweighed,
}

impl fmt::Display for RoomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the broker is closed"),
            Self::Taken => f.write_str("there is a room of that name already; choose another or remove it"),
            Self::NameEmpty => f.write_str("a room needs a name"),
            Self::NameTooLong => {
                write!(f, "a room's name may have {NAME_BYTES_MAX} bytes at most")
            }
            Self::TooManyRooms => f.write_str("the broker holds as many rooms as it may; remove some"),
            Self::Unweighed => f.write_str("a byte budget needs `Builder::weigh`, which says what a message weighs"),
        }
    }
}

impl Error for RoomError {}

/// A message was not published by name.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishByNameError<T> {
    /// There is no room to publish into.
    Room(RoomError, T),
    /// The room refused it.
    Publish(PublishError<T>),
}

impl<T> PublishByNameError<T> {
    /// The message that was not published.
    pub fn into_inner(self) -> T {
        match self {
            Self::Room(_, message) => message,
            Self::Publish(error) => error.into_inner(),
        }
    }
}

impl<T> fmt::Debug for PublishByNameError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(error, _) => f.debug_tuple("Room").field(error).finish_non_exhaustive(),
            Self::Publish(error) => f.debug_tuple("Publish").field(error).finish(),
        }
    }
}

impl<T> fmt::Display for PublishByNameError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(error, _) => error.fmt(f),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl<T> Error for PublishByNameError<T> {}
