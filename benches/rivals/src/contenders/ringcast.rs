//! `ringcast`: a seqlock ring for `Copy` types, with one sender; it loses the oldest.

use ringcast::{Receiver, RecvError, Sender, bounded};

use super::{CAPACITY, Contender, Opened};
use crate::tally::Tally;

/// A ring.
pub struct Ringcast;

/// The sender, with room for a batch: it takes slices only.
pub struct Batching {
    sender: Sender<u64>,
    batch: Vec<u64>,
}

fn open(capacity: usize, readers: usize) -> (Batching, Vec<Receiver<u64>>) {
    let (sender, first) = bounded(capacity);
    let receivers = (1..readers).map(|_| sender.subscribe()).chain([first]).collect();
    (Batching { sender, batch: Vec::new() }, receivers)
}

impl Contender<u64> for Ringcast {
    type Publisher = Batching;
    type Reader = Receiver<u64>;
    const IS_GATED: bool = false;

    fn open(readers: usize) -> Opened<u64, Self> {
        open(CAPACITY, readers)
    }

    fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<u64, Self>> {
        (0..rooms).map(|_| open(capacity, readers)).collect()
    }

    #[inline]
    fn publish(publisher: &mut Batching, message: u64) {
        publisher.sender.send(message);
    }

    #[inline]
    fn publish_batch(publisher: &mut Batching, first: u64, count: usize) {
        publisher.batch.clear();
        publisher.batch.extend(first..first + count as u64);
        publisher.sender.send_batch(&publisher.batch);
    }

    #[inline]
    fn read(receiver: &mut Receiver<u64>, tally: &mut Tally) -> usize {
        match receiver.try_recv() {
            Ok(message) => {
                tally.see_next(&message);
                1
            }
            Err(RecvError::Overrun { lost }) => {
                tally.miss(lost as u64);
                lost
            }
            Err(_) => 0,
        }
    }
}
