//! Roomcast: shared and exclusive rooms, read by reference, as slices or cloned. All else is at its defaults.

use std::marker::PhantomData;

use roomcast::{Broker, Publisher, RecvError, Room, RoomOptions, Subscription, TryRecvError};

use super::{Awaits, CAPACITY, Contender, Joins, Opened, Shares, Sleeps};
use crate::tally::{Payload, Tally};

/// A room everybody may publish into.
pub struct Shared<H = ByRef>(PhantomData<H>);

/// A room with one publisher.
pub struct Exclusive<H = ByRef>(PhantomData<H>);

/// How a subscription is read.
pub trait How: Send + Sync + 'static {
    /// Messages that one call may yield.
    const MAX: usize = 1;

    /// Reads what one call yields.
    fn read<T: Payload>(subscription: &mut Subscription<T>, tally: &mut Tally) -> Result<usize, TryRecvError>;
}

/// One message at a time, lent.
pub struct ByRef;

impl How for ByRef {
    #[inline]
    fn read<T: Payload>(subscription: &mut Subscription<T>, tally: &mut Tally) -> Result<usize, TryRecvError> {
        let message = subscription.try_recv_ref()?;
        tally.see(message.sequence(), &*message);
        Ok(1)
    }
}

/// All there is in a segment, lent.
pub struct Slices;

impl How for Slices {
    const MAX: usize = usize::MAX;

    #[inline]
    fn read<T: Payload>(subscription: &mut Subscription<T>, tally: &mut Tally) -> Result<usize, TryRecvError> {
        let run = subscription.try_recv_batch(usize::MAX)?;
        tally.see_slice(run.first_sequence(), &run);
        Ok(run.len())
    }
}

/// One message at a time, cloned.
pub struct Cloned;

impl How for Cloned {
    #[inline]
    fn read<T: Payload>(subscription: &mut Subscription<T>, tally: &mut Tally) -> Result<usize, TryRecvError> {
        let message = subscription.try_recv()?;
        tally.see_next(&message);
        Ok(1)
    }
}

/// A room with its broker, which lives as long as the publisher does.
pub struct Host<T: Payload> {
    /// The broker.
    pub broker: Broker<T>,
    /// Its one room, or one of its many.
    pub room: Room<T>,
}

/// The one publisher of a room, with its broker.
pub struct ExclusiveHost<T: Payload> {
    _broker: Broker<T>,
    publisher: Publisher<T>,
}

fn subscribe<T: Payload>(room: &Room<T>, readers: usize) -> Vec<Subscription<T>> {
    (0..readers).map(|_| room.subscribe().now().expect("the room is open")).collect()
}

#[inline]
fn read<T: Payload, H: How>(subscription: &mut Subscription<T>, tally: &mut Tally) -> usize {
    match H::read(subscription, tally) {
        Ok(count) => count,
        Err(error) => read_nothing(error, tally),
    }
}

#[cold]
fn read_nothing(error: TryRecvError, tally: &mut Tally) -> usize {
    match error {
        TryRecvError::Lagged(missed) => {
            tally.miss(missed);
            missed as usize
        }
        _ => 0,
    }
}

fn count_in<T: Payload>(received: Result<roomcast::Ref<'_, T>, RecvError>, tally: &mut Tally) {
    match received {
        Ok(message) => tally.see(message.sequence(), &*message),
        Err(RecvError::Lagged(missed)) => tally.miss(missed),
        Err(error) => panic!("the room is open and the policy is to lag: {error}"),
    }
}

fn compare<T: Payload>(subscription: &Subscription<T>, tally: &Tally) {
    let books = subscription.accounting();
    assert_eq!(books.received + books.lagged + books.conflated, books.end - books.start, "the accounting rule");
    assert_eq!((books.end, books.received, books.lagged), (tally.next(), tally.received(), tally.lagged()));
}

impl<T: Payload, H: How> Contender<T> for Shared<H> {
    type Publisher = Host<T>;
    type Reader = Subscription<T>;
    const IS_GATED: bool = false;

    fn open(readers: usize) -> Opened<T, Self> {
        let broker = Broker::builder().capacity(CAPACITY).build();
        let room = broker.room("rival").expect("a new broker has space");
        let subscriptions = subscribe(&room, readers);
        (Host { broker, room }, subscriptions)
    }

    fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
        let broker = Broker::<T>::new();
        let open = |number: usize| {
            let options = RoomOptions::new().capacity(capacity);
            let room = broker.room_with(&format!("room.{number}"), options).expect("space for a million rooms");
            let subscriptions = subscribe(&room, readers);
            (Host { broker: broker.clone(), room }, subscriptions)
        };
        (0..rooms).map(open).collect()
    }

    #[inline]
    fn publish(host: &mut Host<T>, message: T) {
        assert!(host.room.publish(message).is_ok(), "the room is open and nobody blocks it");
    }

    #[inline]
    fn publish_batch(host: &mut Host<T>, first: u64, count: usize) {
        let messages = (first..first + count as u64).map(T::make);
        assert!(host.room.publish_all(messages).is_ok(), "the room is open and nobody blocks it");
    }

    #[inline]
    fn read(subscription: &mut Subscription<T>, tally: &mut Tally) -> usize {
        read::<T, H>(subscription, tally)
    }

    fn compare(subscription: &Subscription<T>, tally: &Tally) {
        compare(subscription, tally);
    }
}

impl<T: Payload, H: How> Sleeps<T> for Shared<H> {
    fn read_blocking(subscription: &mut Subscription<T>, tally: &mut Tally) {
        count_in(subscription.recv_ref_blocking(), tally);
    }
}

impl<T: Payload, H: How> Awaits<T> for Shared<H> {
    async fn read_async(subscription: &mut Subscription<T>, tally: &mut Tally) {
        if H::MAX == 1 {
            return count_in(subscription.recv_ref().await, tally);
        }
        match subscription.recv_batch(H::MAX).await {
            Ok(run) => tally.see_slice(run.first_sequence(), &run),
            Err(RecvError::Lagged(missed)) => tally.miss(missed),
            Err(error) => panic!("the room is open and the policy is to lag: {error}"),
        }
    }
}

impl<T: Payload, H: How> Joins<T> for Shared<H> {
    type Door = Room<T>;

    fn door(host: &Host<T>) -> Room<T> {
        host.room.clone()
    }

    #[inline]
    fn join(room: &Room<T>) -> Subscription<T> {
        room.subscribe().now().expect("the room is open")
    }
}

impl<T: Payload, H: How> Shares<T> for Shared<H> {
    fn another(host: &Host<T>) -> Host<T> {
        Host { broker: host.broker.clone(), room: host.room.clone() }
    }
}

impl<T: Payload, H: How> Contender<T> for Exclusive<H> {
    type Publisher = ExclusiveHost<T>;
    type Reader = Subscription<T>;
    const IS_GATED: bool = false;

    fn open(readers: usize) -> Opened<T, Self> {
        let broker = Broker::builder().capacity(CAPACITY).build();
        let publisher = broker.exclusive("rival").expect("a new broker has space");
        let subscriptions = subscribe(&publisher.room(), readers);
        (ExclusiveHost { _broker: broker, publisher }, subscriptions)
    }

    fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
        let broker = Broker::<T>::builder().capacity(capacity).build();
        let open = |number: usize| {
            let publisher = broker.exclusive(&format!("room.{number}")).expect("space for a million rooms");
            let subscriptions = subscribe(&publisher.room(), readers);
            (ExclusiveHost { _broker: broker.clone(), publisher }, subscriptions)
        };
        (0..rooms).map(open).collect()
    }

    #[inline]
    fn publish(host: &mut ExclusiveHost<T>, message: T) {
        assert!(host.publisher.publish(message).is_ok(), "the room is open and nobody blocks it");
    }

    #[inline]
    fn publish_batch(host: &mut ExclusiveHost<T>, first: u64, count: usize) {
        let messages = (first..first + count as u64).map(T::make);
        assert!(host.publisher.publish_all(messages).is_ok(), "the room is open and nobody blocks it");
    }

    #[inline]
    fn read(subscription: &mut Subscription<T>, tally: &mut Tally) -> usize {
        read::<T, H>(subscription, tally)
    }

    fn compare(subscription: &Subscription<T>, tally: &Tally) {
        compare(subscription, tally);
    }
}

impl<T: Payload, H: How> Sleeps<T> for Exclusive<H> {
    fn read_blocking(subscription: &mut Subscription<T>, tally: &mut Tally) {
        count_in(subscription.recv_ref_blocking(), tally);
    }
}

impl<T: Payload, H: How> Awaits<T> for Exclusive<H> {
    async fn read_async(subscription: &mut Subscription<T>, tally: &mut Tally) {
        <Shared<H> as Awaits<T>>::read_async(subscription, tally).await;
    }
}
