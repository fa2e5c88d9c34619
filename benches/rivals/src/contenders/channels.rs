//! A channel per subscriber, into each of which the publisher sends a clone.

use std::hint::spin_loop;
use std::marker::PhantomData;

use super::{Awaits, CAPACITY, Contender, Opened, Sleeps};
use crate::tally::{Payload, Tally};

/// A channel of that kind for every subscriber.
pub struct PerSubscriber<K>(PhantomData<K>);

/// A kind of channel, bounded.
pub trait Channel: 'static {
    /// Where it is sent into.
    type Sender<T: Payload>: Send + Sync + 'static;
    /// Where it is read.
    type Receiver<T: Payload>: Send + 'static;

    /// Makes one.
    fn bounded<T: Payload>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>);
    /// Sends, unless it is full; the message comes back then.
    fn try_send<T: Payload>(sender: &Self::Sender<T>, message: T) -> Result<(), T>;
    /// Receives, if there is something.
    fn try_recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> Option<T>;
}

/// A channel a thread can wait at.
pub trait Blocking: Channel {
    /// Waits for a message.
    fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> T;
}

/// A channel a task can wait at.
pub trait Async: Channel {
    /// Waits for a message.
    fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> impl Future<Output = T> + Send;
}

impl<T: Payload, K: Channel> Contender<T> for PerSubscriber<K> {
    type Publisher = Vec<K::Sender<T>>;
    type Reader = K::Receiver<T>;
    const IS_GATED: bool = true;

    fn open(readers: usize) -> Opened<T, Self> {
        (0..readers).map(|_| K::bounded(CAPACITY)).unzip()
    }

    fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
        (0..rooms).map(|_| (0..readers).map(|_| K::bounded(capacity)).unzip()).collect()
    }

    #[inline]
    fn publish(senders: &mut Vec<K::Sender<T>>, message: T) {
        for sender in senders {
            let mut copy = message.clone();
            while let Err(refused) = K::try_send(sender, copy) {
                copy = refused;
                spin_loop();
            }
        }
    }

    #[inline]
    fn read(receiver: &mut K::Receiver<T>, tally: &mut Tally) -> usize {
        let Some(message) = K::try_recv(receiver) else { return 0 };
        tally.see_next(&message);
        1
    }
}

impl<T: Payload, K: Blocking> Sleeps<T> for PerSubscriber<K> {
    fn read_blocking(receiver: &mut K::Receiver<T>, tally: &mut Tally) {
        tally.see_next(&K::recv(receiver));
    }
}

impl<T: Payload, K: Async> Awaits<T> for PerSubscriber<K> {
    async fn read_async(receiver: &mut K::Receiver<T>, tally: &mut Tally) {
        tally.see_next(&K::recv(receiver).await);
    }
}

/// `crossbeam-channel`.
pub struct Crossbeam;

impl Channel for Crossbeam {
    type Sender<T: Payload> = crossbeam_channel::Sender<T>;
    type Receiver<T: Payload> = crossbeam_channel::Receiver<T>;

    fn bounded<T: Payload>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        crossbeam_channel::bounded(capacity)
    }

    #[inline]
    fn try_send<T: Payload>(sender: &Self::Sender<T>, message: T) -> Result<(), T> {
        sender.try_send(message).map_err(crossbeam_channel::TrySendError::into_inner)
    }

    #[inline]
    fn try_recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl Blocking for Crossbeam {
    fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> T {
        receiver.recv().expect("the sender is alive")
    }
}

/// `tokio::sync::mpsc`.
pub struct TokioMpsc;

impl Channel for TokioMpsc {
    type Sender<T: Payload> = tokio::sync::mpsc::Sender<T>;
    type Receiver<T: Payload> = tokio::sync::mpsc::Receiver<T>;

    fn bounded<T: Payload>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        tokio::sync::mpsc::channel(capacity)
    }

    #[inline]
    fn try_send<T: Payload>(sender: &Self::Sender<T>, message: T) -> Result<(), T> {
        sender.try_send(message).map_err(tokio::sync::mpsc::error::TrySendError::into_inner)
    }

    #[inline]
    fn try_recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl Blocking for TokioMpsc {
    fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> T {
        receiver.blocking_recv().expect("the sender is alive")
    }
}

impl Async for TokioMpsc {
    async fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> T {
        receiver.recv().await.expect("the sender is alive")
    }
}

/// `flume`.
pub struct Flume;

impl Channel for Flume {
    type Sender<T: Payload> = flume::Sender<T>;
    type Receiver<T: Payload> = flume::Receiver<T>;

    fn bounded<T: Payload>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        flume::bounded(capacity)
    }

    #[inline]
    fn try_send<T: Payload>(sender: &Self::Sender<T>, message: T) -> Result<(), T> {
        sender.try_send(message).map_err(flume::TrySendError::into_inner)
    }

    #[inline]
    fn try_recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl Blocking for Flume {
    fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> T {
        receiver.recv().expect("the sender is alive")
    }
}

impl Async for Flume {
    async fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> T {
        receiver.recv_async().await.expect("the sender is alive")
    }
}

/// `thingbuf`.
pub struct Thingbuf;

impl Channel for Thingbuf {
    type Sender<T: Payload> = thingbuf::mpsc::Sender<T>;
    type Receiver<T: Payload> = thingbuf::mpsc::Receiver<T>;

    fn bounded<T: Payload>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        thingbuf::mpsc::channel(capacity)
    }

    #[inline]
    fn try_send<T: Payload>(sender: &Self::Sender<T>, message: T) -> Result<(), T> {
        sender.try_send(message).map_err(thingbuf::mpsc::errors::TrySendError::into_inner)
    }

    #[inline]
    fn try_recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl Async for Thingbuf {
    async fn recv<T: Payload>(receiver: &mut Self::Receiver<T>) -> T {
        receiver.recv().await.expect("the sender is alive")
    }
}
