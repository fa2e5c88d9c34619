//! `async-broadcast` with overflow switched on: one mutex around everything, and it loses the oldest.

use async_broadcast::{Receiver, RecvError, Sender, TryRecvError, broadcast};

use super::{Awaits, CAPACITY, Contender, Joins, Opened, Shares, Sleeps};
use crate::tally::{Payload, Tally};

/// A broadcast channel that overflows.
pub struct AsyncBroadcast;

fn open<T: Payload>(capacity: usize, readers: usize) -> (Sender<T>, Vec<Receiver<T>>) {
    let (mut sender, first) = broadcast(capacity);
    sender.set_overflow(true);
    let receivers = (1..readers).map(|_| sender.new_receiver()).chain([first]).collect();
    (sender, receivers)
}

impl<T: Payload> Contender<T> for AsyncBroadcast {
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
        assert!(sender.try_broadcast(message).is_ok(), "there is a receiver, and what is oldest goes");
    }

    #[inline]
    fn read(receiver: &mut Receiver<T>, tally: &mut Tally) -> usize {
        match receiver.try_recv() {
            Ok(message) => {
                tally.see_next(&message);
                1
            }
            Err(TryRecvError::Overflowed(missed)) => {
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
        Err(RecvError::Overflowed(missed)) => tally.miss(missed),
        Err(RecvError::Closed) => panic!("the sender is alive"),
    }
}

impl<T: Payload> Sleeps<T> for AsyncBroadcast {
    fn read_blocking(receiver: &mut Receiver<T>, tally: &mut Tally) {
        count_in(receiver.recv_blocking(), tally);
    }
}

impl<T: Payload> Awaits<T> for AsyncBroadcast {
    async fn read_async(receiver: &mut Receiver<T>, tally: &mut Tally) {
        count_in(receiver.recv_direct().await, tally);
    }
}

impl<T: Payload> Joins<T> for AsyncBroadcast {
    type Door = Sender<T>;

    fn door(sender: &Sender<T>) -> Sender<T> {
        sender.clone()
    }

    #[inline]
    fn join(sender: &Sender<T>) -> Receiver<T> {
        sender.new_receiver()
    }
}

impl<T: Payload> Shares<T> for AsyncBroadcast {
    fn another(sender: &Sender<T>) -> Sender<T> {
        sender.clone()
    }
}
