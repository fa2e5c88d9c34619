//! What people write themselves: channels in a registry that subscribers enter and leave while it is published into.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use tokio::sync::mpsc;

use super::{CAPACITY, Contender, Joins, Opened};
use crate::tally::{Payload, Tally};

/// A `Mutex` around a list of `crossbeam-channel`s.
pub struct MutexOfCrossbeam;

/// A `DashMap` from the name of a room to its `tokio::sync::mpsc` channels.
pub struct DashMapOfMpsc;

/// A subscriber's sender. A full channel takes no more: what it refuses is counted as lost.
pub struct Entry<S> {
    number: u64,
    sender: S,
    lost: Arc<AtomicU64>,
}

/// A subscriber; leaves when it is dropped.
pub struct Seat<R, L: Registry> {
    number: u64,
    receiver: R,
    lost: Arc<AtomicU64>,
    registry: L,
}

/// Where a seat is to be given back.
pub trait Registry {
    /// Takes the subscriber out.
    fn leave(&self, number: u64);
}

impl<R, L: Registry> Drop for Seat<R, L> {
    fn drop(&mut self) {
        self.registry.leave(self.number);
    }
}

impl<R, L: Registry> Seat<R, L> {
    /// What was lost comes after what was kept, because a full channel refuses the newest.
    fn count_in<T: Payload>(&mut self, message: Option<T>, tally: &mut Tally) -> usize {
        if let Some(message) = message {
            tally.see_next(&message);
            return 1;
        }
        let lost = self.lost.swap(0, Relaxed);
        tally.miss(lost);
        lost as usize
    }
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A list behind a lock.
pub struct Locked<T>(Arc<Mutex<Vec<Entry<crossbeam_channel::Sender<T>>>>>);

impl<T> Locked<T> {
    fn with<R>(&self, then: impl FnOnce(&mut Vec<Entry<crossbeam_channel::Sender<T>>>) -> R) -> R {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Registry for Locked<T> {
    fn leave(&self, number: u64) {
        self.with(|entries| {
            if let Some(at) = entries.iter().position(|entry| entry.number == number) {
                entries.swap_remove(at);
            }
        });
    }
}

impl<T: Payload> Contender<T> for MutexOfCrossbeam {
    type Publisher = Locked<T>;
    type Reader = Seat<crossbeam_channel::Receiver<T>, Locked<T>>;
    const IS_GATED: bool = false;

    fn open(readers: usize) -> Opened<T, Self> {
        let publisher = Locked(Arc::default());
        let seats = (0..readers).map(|_| Self::join(&Locked(publisher.0.clone()))).collect();
        (publisher, seats)
    }

    fn open_many(rooms: usize, _capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
        (0..rooms).map(|_| Self::open(readers)).collect()
    }

    #[inline]
    fn publish(publisher: &mut Locked<T>, message: T) {
        publisher.with(|entries| {
            for entry in entries {
                if entry.sender.try_send(message.clone()).is_err() {
                    entry.lost.fetch_add(1, Relaxed);
                }
            }
        });
    }

    #[inline]
    fn read(seat: &mut Self::Reader, tally: &mut Tally) -> usize {
        let message = seat.receiver.try_recv().ok();
        seat.count_in(message, tally)
    }
}

impl<T: Payload> Joins<T> for MutexOfCrossbeam {
    type Door = Locked<T>;

    fn door(publisher: &Locked<T>) -> Locked<T> {
        Locked(publisher.0.clone())
    }

    fn join(door: &Locked<T>) -> Self::Reader {
        let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
        let (number, lost) = (NUMBERS.fetch_add(1, Relaxed), Arc::<AtomicU64>::default());
        door.with(|entries| entries.push(Entry { number, sender, lost: lost.clone() }));
        Seat { number, receiver, lost, registry: Locked(door.0.clone()) }
    }
}

/// One room of a map of rooms.
pub struct Mapped<T> {
    rooms: Arc<DashMap<String, Vec<Entry<mpsc::Sender<T>>>>>,
    room: String,
}

impl<T> Clone for Mapped<T> {
    fn clone(&self) -> Self {
        Self { rooms: self.rooms.clone(), room: self.room.clone() }
    }
}

impl<T: Payload> Mapped<T> {
    /// A map with that many rooms, and a handle on one of them.
    pub fn with_rooms(rooms: usize) -> Self {
        let map = DashMap::new();
        for number in 0..rooms {
            map.insert(format!("room.{number}"), Vec::new());
        }
        Self { rooms: Arc::new(map), room: "room.0".to_owned() }
    }

    /// Publishes by name.
    #[inline]
    pub fn publish(&self, name: &str, message: T) {
        let room = self.rooms.get(name).expect("the room was made");
        for entry in &*room {
            if entry.sender.try_send(message.clone()).is_err() {
                entry.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Enters the room of that name.
    pub fn enter(&self, name: &str) -> Seat<mpsc::Receiver<T>, Self> {
        DashMapOfMpsc::join(&Self { rooms: self.rooms.clone(), room: name.to_owned() })
    }
}

impl<T> Registry for Mapped<T> {
    fn leave(&self, number: u64) {
        if let Some(mut room) = self.rooms.get_mut(&self.room)
            && let Some(at) = room.iter().position(|entry| entry.number == number)
        {
            room.swap_remove(at);
        }
    }
}

impl<T: Payload> Contender<T> for DashMapOfMpsc {
    type Publisher = Mapped<T>;
    type Reader = Seat<mpsc::Receiver<T>, Mapped<T>>;
    const IS_GATED: bool = false;

    fn open(readers: usize) -> Opened<T, Self> {
        let publisher = Mapped::with_rooms(1);
        let seats = (0..readers).map(|_| Self::join(&publisher)).collect();
        (publisher, seats)
    }

    fn open_many(rooms: usize, _capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
        let map = Mapped::with_rooms(rooms);
        let open = |number: usize| {
            let publisher = Mapped { rooms: map.rooms.clone(), room: format!("room.{number}") };
            let seats = (0..readers).map(|_| Self::join(&publisher)).collect();
            (publisher, seats)
        };
        (0..rooms).map(open).collect()
    }

    #[inline]
    fn publish(publisher: &mut Mapped<T>, message: T) {
        Mapped::publish(publisher, &publisher.room, message);
    }

    #[inline]
    fn read(seat: &mut Self::Reader, tally: &mut Tally) -> usize {
        let message = seat.receiver.try_recv().ok();
        seat.count_in(message, tally)
    }
}

impl<T: Payload> Joins<T> for DashMapOfMpsc {
    type Door = Mapped<T>;

    fn door(publisher: &Mapped<T>) -> Mapped<T> {
        publisher.clone()
    }

    fn join(door: &Mapped<T>) -> Self::Reader {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let (number, lost) = (NUMBERS.fetch_add(1, Relaxed), Arc::<AtomicU64>::default());
        let entry = Entry { number, sender, lost: lost.clone() };
        door.rooms.entry(door.room.clone()).or_default().push(entry);
        Seat { number, receiver, lost, registry: door.clone() }
    }
}
