//! Replacing messages that were published.

use std::ops::Range;

use super::Room;
use super::subscription::Subscription;

/// What [`Room::rewrite`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewritten {
    /// So many messages were replaced.
    pub messages: u64,
    /// Whether all is done: the old messages, of this call and of those before, are dropped. If not, a publisher or a reader is
    /// in the way; to be called again then.
    pub is_done: bool,
}

impl<T: Clone> Room<T> {
    /// Replaces messages that were published: `replace` is given each of those at `sequences` that the room has, and says what is
    /// to be in its place, if anything. Of the others that lie beside them clones are made.
    ///
    /// Who begins to read afterwards is given the new ones. A subscriber that has begun to read where they lie may be given the old
    /// ones up to the end of what was there (see [`Subscription::release`]), and while it does they are kept; so is what an
    /// interrupted publisher has not come to say. Publishers are not held up. Old messages that were evicted before are dropped as
    /// always, when the room goes on.
    ///
    /// `None` in an exclusive room, whose messages are its publisher's.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Start};
    ///
    /// let broker = Broker::<String>::new();
    /// let room = broker.room("chat")?;
    /// room.publish_all(["hello", "a secret", "bye"].map(String::from))?;
    /// let rewritten = room.rewrite(0..3, |_, text| text.contains("secret").then(String::new)).unwrap();
    /// assert_eq!((rewritten.messages, rewritten.is_done), (1, true));
    /// let mut late = room.subscribe_from(Start::Oldest).now()?;
    /// assert_eq!(&*late.try_recv_batch(usize::MAX)?, ["hello", "", "bye"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rewrite(&self, sequences: Range<u64>, replace: impl FnMut(u64, &T) -> Option<T>) -> Option<Rewritten> {
        let ring = self.room_ref.ring();
        if ring.is_exclusive() {
            return None;
        }
        let (messages, is_done) = ring.rewrite(sequences, replace, &self.room_ref);
        Some(Rewritten { messages, is_done })
    }
}

impl<T> Subscription<T> {
    /// Gives back what it keeps of the room, until it is read from again: what it has found, and not handed out, it looks for anew.
    /// One that waits for the next message has done so.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Start};
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("numbers")?;
    /// room.publish_all([1, 2])?;
    /// let mut numbers = room.subscribe_from(Start::Oldest).now()?;
    /// assert_eq!(numbers.try_recv(), Ok(1));
    /// assert_eq!(room.rewrite(1..2, |_, _| Some(3)).map(|rewritten| rewritten.is_done), Some(false));
    /// numbers.release();
    /// assert_eq!(room.rewrite(1..2, |_, _| None).map(|rewritten| rewritten.is_done), Some(true));
    /// assert_eq!(numbers.try_recv(), Ok(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(&mut self) {
        self.cursor.end_lease();
    }
}
