//! `tokio::sync::broadcast`: a ring of slots behind mutexes; every receiver clones.

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self, Receiver, Sender};

use super::{Awaits, CAPACITY, Contender, Joins, Opened, Shares, Sleeps};
use crate::tally::{Payload, Tally};

/// A broadcast channel.
pub struct Tokio;

fn open<T: Payload>(capacity: usize, readers: usize) -> (Sender<T>, Vec<Receiver<T>>) {
    let (sender, first) = broadcast::channel(capacity);
    let receivers = (1..readers).map(|_| sender.subscribe()).chain([first]).collect();
    (sender, receivers)
}

impl<T: Payload> Contender<T> for Tokio {
    type Publisher = Sender<T>;
    type Reader = Receiver<T>;
    const IS_GATED: bool = false;

    fn open(readers: usize) -> Opened<T, Self> {
        open(CAPACITY, readers)
    }

    fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
        (0..rooms).map(|_| open(capacity, readers)).collect()
    }

    #[inline]
    fn publish(sender: &mut Sender<T>, message: T) {
        assert!(sender.send(message).is_ok(), "there is a receiver");
    }

    #[inline]
    fn read(receiver: &mut Receiver<T>, tally: &mut Tally) -> usize {
        match receiver.try_recv() {
            Ok(message) => {
                tally.see_next(&message);
                1
            }
            Err(TryRecvError::Lagged(missed)) => {
                tally.miss(missed);
                missed as usize
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => 0,
        }
    }
}

fn count_in<T: Payload>(received: Result<T, RecvError>, tally: &mut Tally) {
    match received {
        Ok(message) => tally.see_next(&message),
        Err(RecvError::Lagged(missed)) => tally.miss(missed),
        Err(RecvError::Closed) => panic!("the sender is alive"),
    }
}

impl<T: Payload> Sleeps<T> for Tokio {
    fn read_blocking(receiver: &mut Receiver<T>, tally: &mut Tally) {
        count_in(receiver.blocking_recv(), tally);
    }
}

impl<T: Payload> Awaits<T> for Tokio {
    async fn read_async(receiver: &mut Receiver<T>, tally: &mut Tally) {
        count_in(receiver.recv().await, tally);
    }
}

impl<T: Payload> Joins<T> for Tokio {
    type Door = Sender<T>;

    fn door(sender: &Sender<T>) -> Sender<T> {
        sender.clone()
    }

    #[inline]
    fn join(sender: &Sender<T>) -> Receiver<T> {
        sender.subscribe()
    }
}

impl<T: Payload> Shares<T> for Tokio {
    fn another(sender: &Sender<T>) -> Sender<T> {
        sender.clone()
    }
}
