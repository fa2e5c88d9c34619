//! Everybody behind the same few verbs, one file for each.

pub mod async_broadcast;
pub mod bus;
pub mod channels;
pub mod disruptor;
pub mod registry;
pub mod ringcast;
pub mod roomcast;
pub mod tokio_broadcast;

use crate::tally::{Payload, Tally};

/// Messages a room holds, everywhere the same: the default of roomcast.
pub const CAPACITY: usize = 1024;

/// A publisher with its readers.
pub type Opened<T, C> = (<C as Contender<T>>::Publisher, Vec<<C as Contender<T>>::Reader>);

/// Publishes to everybody, and reads without waiting.
pub trait Contender<T: Payload>: 'static {
    /// Who publishes.
    type Publisher: Send + 'static;
    /// Who reads.
    type Reader: Send + 'static;
    /// Whether a publisher has to wait for the slowest reader; else that one loses messages and is told.
    const IS_GATED: bool;

    /// A room with readers of everything.
    fn open(readers: usize) -> Opened<T, Self>
    where
        Self: Sized;

    /// Many rooms with a smaller capacity, beside each other in what they share.
    fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<T, Self>>
    where
        Self: Sized;

    /// Publishes one message; waits, busily, where a reader is in the way.
    fn publish(publisher: &mut Self::Publisher, message: T);

    /// Publishes `count` messages that are numbered from `first`, in one go where that can be done.
    #[inline]
    fn publish_batch(publisher: &mut Self::Publisher, first: u64, count: usize) {
        for number in first..first + count as u64 {
            Self::publish(publisher, T::make(number));
        }
    }

    /// Reads what one call yields into the books; says how far it got, which is 0 when there is nothing.
    fn read(reader: &mut Self::Reader, tally: &mut Tally) -> usize;

    /// Compares the contender's own books with ours, where it keeps some.
    fn compare(_reader: &Self::Reader, _tally: &Tally) {}
}

/// Has a thread sleep until there is a message.
pub trait Sleeps<T: Payload>: Contender<T> {
    /// Reads at least one message, or learns how many are lost.
    fn read_blocking(reader: &mut Self::Reader, tally: &mut Tally);
}

/// Has a task sleep until there is a message.
pub trait Awaits<T: Payload>: Contender<T> {
    /// Reads at least one message, or learns how many are lost.
    fn read_async<'a>(
        reader: &'a mut Self::Reader,
        tally: &'a mut Tally,
    ) -> impl Future<Output = ()> + Send + use<'a, T, Self>;
}

/// Takes readers while it runs, from other threads.
pub trait Joins<T: Payload>: Contender<T> {
    /// Where to join.
    type Door: Send + 'static;

    /// The door of a publisher's room.
    fn door(publisher: &Self::Publisher) -> Self::Door;

    /// Joins. Dropping the reader leaves.
    fn join(door: &Self::Door) -> Self::Reader;
}

/// Is published into by several threads.
pub trait Shares<T: Payload>: Contender<T> {
    /// Another publisher for the same readers.
    fn another(publisher: &Self::Publisher) -> Self::Publisher;
}

/// Reads until there is nothing.
#[inline]
pub fn drain<T: Payload, C: Contender<T>>(reader: &mut C::Reader, tally: &mut Tally) {
    while C::read(reader, tally) > 0 {}
}

/// Drains all and checks their books.
pub fn finish<T: Payload, C: Contender<T>>(readers: Vec<C::Reader>, mut tallies: Vec<Tally>, end: u64) {
    assert_eq!(readers.len(), tallies.len());
    for (mut reader, tally) in readers.into_iter().zip(&mut tallies) {
        drain::<T, C>(&mut reader, tally);
        tally.check(end);
        C::compare(&reader, tally);
    }
}
