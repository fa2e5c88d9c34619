//! The one publisher of an exclusive room.

use std::fmt;

use super::core::RoomRef;
use super::{PublishWait, Room};
use crate::error::{CloseReason, PublishError};
use crate::ring::{Refusal, Writer};

/// Publishes into an exclusive room, alone: no claim, no fence, and a batch costs one atomic operation.
///
/// Made by [`Broker::exclusive`](crate::Broker::exclusive). Dropping it closes the room.
///
/// # Examples
/// ```
/// use roomcast::{Broker, Start};
///
/// let broker = Broker::<u64>::new();
/// let mut publisher = broker.exclusive("prices")?;
/// let mut prices = publisher.room().subscribe().now()?;
/// assert_eq!(publisher.publish(100)?, 0);
/// assert_eq!(publisher.publish_all([101, 102, 103])?, 1..4);
/// assert_eq!(&*prices.try_recv_batch(10)?, &[100, 101, 102, 103]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Publisher<T> {
    writer: Writer<T, RoomRef<T>>,
    room_ref: RoomRef<T>,
}

impl<T> Publisher<T> {
    pub(crate) fn new(writer: Writer<T, RoomRef<T>>) -> Self {
        Self { room_ref: writer.holder().clone(), writer }
    }

    /// A handle on the room, whose `publish` is refused.
    pub fn room(&self) -> Room<T> {
        Room::new(self.room_ref.clone())
    }

    /// Publishes a message and returns its sequence.
    ///
    /// # Errors
    /// As [`Room::publish`].
    #[inline]
    pub fn publish(&mut self, message: T) -> Result<u64, PublishError<T>> {
        let Self { writer, room_ref } = self;
        writer
            .publish(message, room_ref.0.now(), room_ref)
            .map_err(|(refusal, message)| room_ref.refused(refusal, message))
    }

    /// Publishes, waiting while a [`Policy::Block`](crate::Policy::Block) subscriber keeps the room full.
    ///
    /// # Errors
    /// As [`Room::publish_wait`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing was published; the message is dropped with it.
    ///
    /// # Examples
    /// ```
    /// # futures::executor::block_on(async {
    /// use roomcast::{Broker, Policy, RoomOptions};
    ///
    /// let broker = Broker::<u64>::new();
    /// let mut prices = broker.exclusive_with("prices", RoomOptions::new().capacity(1))?;
    /// let mut ledger = prices.room().subscribe().policy(Policy::Block).now()?;
    /// let publishing = async {
    ///     for price in 0..100 {
    ///         assert_eq!(prices.publish_wait(price).await, Ok(price));
    ///     }
    /// };
    /// let reading = async {
    ///     for price in 0..100 {
    ///         assert_eq!(ledger.recv().await, Ok(price));
    ///     }
    /// };
    /// futures::join!(publishing, reading);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn publish_wait(&mut self, message: T) -> PublishWait<'_, T> {
        PublishWait::exclusive(self, message)
    }

    /// Publishes messages in order, with one atomic operation for each segment they fill, and returns their sequences.
    /// They are written where they stay, as the iterator gives them, and are published when a segment is full or the
    /// iterator has no more.
    ///
    /// # Errors
    /// As [`Room::publish_all`]: what was taken from the iterator and not published comes back, what came before it is
    /// published, and the rest is still in the iterator.
    ///
    /// # Panics
    /// When the iterator does; what it gave since the last full segment is then not published.
    #[inline]
    pub fn publish_all(
        &mut self,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<std::ops::Range<u64>, PublishError<Vec<T>>> {
        let Self { writer, room_ref } = self;
        let (first, mut messages) = (writer.tail(), messages.into_iter());
        loop {
            if may_wait(&messages) && room_ref.ring().is_closed() {
                return Err(room_ref.refused(Refusal::Closed, Vec::new()));
            }
            let published = writer.publish_run(&mut messages, room_ref.0.now(), room_ref);
            if let Some((refusal, back)) = published.refused {
                return Err(room_ref.refused(refusal, back));
            }
            if !published.more {
                return Ok(first..writer.tail());
            }
        }
    }

    pub(super) fn room_ref(&self) -> &RoomRef<T> {
        &self.room_ref
    }
}

/// Whether the next message of an iterator may be long in coming, as from a channel: a room that is closed does not wait
/// for it.
#[inline(always)]
pub(super) fn may_wait(messages: &impl Iterator) -> bool {
    let (surely, perhaps) = messages.size_hint();
    surely == 0 && perhaps != Some(0)
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.room_ref.end(CloseReason::Closed);
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("room", &self.room_ref.0.name).finish_non_exhaustive()
    }
}
