//! The one publisher of an exclusive room.

use std::collections::VecDeque;
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
    /// Empty between calls, but for what a clock or a scale that panicked has left: that was never published.
    batch: VecDeque<T>,
}

impl<T> Publisher<T> {
    pub(crate) fn new(writer: Writer<T, Inside<T>>) -> Self {
        Self { writer, batch: VecDeque::new() }
    }

    /// A handle on the room, whose `publish` is refused.
    pub fn room(&self) -> Room<T> {
        Room::new(self.writer.ring().clone())
    }

    /// Publishes a message and returns its sequence.
    ///
    /// # Errors
    /// As [`Room::publish`].
    pub fn publish(&mut self, message: T) -> Result<u64, PublishError<T>> {
        self.batch.clear();
        self.batch.push_back(message);
        let inside = self.writer.ring().clone();
        match self.writer.publish(&mut self.batch, inside.0.now(), &inside) {
            Ok((sequence, _)) => Ok(sequence),
            Err(refusal) => match self.batch.pop_back() {
                Some(message) => Err(inside.refused(refusal, message)),
                None => unreachable!("a refused message comes back"),
            },
        }
    }

    /// Publishes messages in order, with one atomic operation for each segment they fill, and returns their sequences.
    ///
    /// # Errors
    /// As [`Room::publish`]; what was not published comes back, and what came before it is published.
    pub fn publish_all(
        &mut self,
        messages: impl IntoIterator<Item = T>,
    ) -> Result<std::ops::Range<u64>, PublishError<Vec<T>>> {
        self.batch.clear();
        self.batch.extend(messages);
        let inside = self.writer.ring().clone();
        let mut range = inside.tail()..inside.tail();
        while !self.batch.is_empty() {
            match self.writer.publish(&mut self.batch, inside.0.now(), &inside) {
                Ok((first, count)) => range.end = first + count as u64,
                Err(refusal) => return Err(inside.refused(refusal, self.batch.drain(..).collect())),
            }
        }
        Ok(range)
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.writer.ring().end(CloseReason::Closed);
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("room", &self.writer.ring().0.name).finish_non_exhaustive()
    }
}
