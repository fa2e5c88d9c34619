//! `bus`: one writer, a counter per seat, and everybody waits for the slowest.

use std::hint::spin_loop;

use bus::{Bus, BusReader};

use super::{CAPACITY, Contender, Opened, Sleeps};
use crate::tally::{Payload, Tally};

/// A bus.
pub struct Seats;

fn open<T: Payload>(capacity: usize, readers: usize) -> (Bus<T>, Vec<BusReader<T>>) {
    let mut bus = Bus::new(capacity);
    let readers = (0..readers).map(|_| bus.add_rx()).collect();
    (bus, readers)
}

impl<T: Payload> Contender<T> for Seats {
    type Publisher = Bus<T>;
    type Reader = BusReader<T>;
    const IS_GATED: bool = true;

    fn open(readers: usize) -> Opened<T, Self> {
        open(CAPACITY, readers)
    }

    fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
        (0..rooms).map(|_| open(capacity, readers)).collect()
    }

    #[inline]
    fn publish(bus: &mut Bus<T>, mut message: T) {
        while let Err(refused) = bus.try_broadcast(message) {
            message = refused;
            spin_loop();
        }
    }

    #[inline]
    fn read(reader: &mut BusReader<T>, tally: &mut Tally) -> usize {
        match reader.try_recv() {
            Ok(message) => {
                tally.see_next(&message);
                1
            }
            Err(_) => 0,
        }
    }
}

impl<T: Payload> Sleeps<T> for Seats {
    fn read_blocking(reader: &mut BusReader<T>, tally: &mut Tally) {
        tally.see_next(&reader.recv().expect("the bus is alive"));
    }
}
