//! The one publisher of an exclusive room.

use std::fmt;

use super::Room;
use super::core::Inside;
use crate::error::{CloseReason, PublishError};
use crate::ring::Writer;

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
    writer: Writer<T, Inside<T>>,
    inside: Inside<T>,
}

impl<T> Publisher<T> {
    pub(crate) fn new(writer: Writer<T, Inside<T>>) -> Self {
        Self { inside: writer.ring().clone(), writer }
    }

    /// A handle on the room, whose `publish` is refused.
    pub fn room(&self) -> Room<T> {
        Room::new(self.inside.clone())
    }

    /// Publishes a message and returns its sequence.
    ///
    /// # Errors
    /// As [`Room::publish`].
    #[inline]
    pub fn publish(&mut self, message: T) -> Result<u64, PublishError<T>> {
        let Self { writer, inside } = self;
        writer.publish(message, inside.0.now(), inside).map_err(|(refusal, message)| inside.refused(refusal, message))
    }

    /// Publishes messages in order, with one atomic operation for each segment they fill, and returns their sequences.
    /// They are written where they stay, as the iterator gives them.
    ///
    /// # Errors
    /// As [`Room::publish`]; what was not published comes back, and what came before it is published.
    ///
    /// # Panics
    /// When the iterator does; what it gave since the last full segment is then not published.
    #[inline]
    pub fn publish_all(
        &mut self,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<std::ops::Range<u64>, PublishError<Vec<T>>> {
        let Self { writer, inside } = self;
        let (first, mut messages) = (writer.tail(), messages.into_iter());
        loop {
            let published = writer.publish_run(&mut messages, inside.0.now(), inside);
            if let Some((refusal, mut back)) = published.refused {
                back.extend(messages);
                return Err(inside.refused(refusal, back));
            }
            if !published.more {
                return Ok(first..writer.tail());
            }
        }
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.inside.end(CloseReason::Closed);
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("room", &self.inside.0.name).finish_non_exhaustive()
    }
}
