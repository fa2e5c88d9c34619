//! Histories that were removed of rooms that are in memory alone, and messages of theirs that were erased.
//!
//! A ring gives up what it holds by going on, or when it is told to ([`erasing`](crate::rooms::erasing)); so what was removed or
//! erased is in it for a while, and is not shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};

use roomcast::internal::Striped;
use roomcast::store::ErasedMessages;
use roomcast::{Epoch, Room};
use roomcast_protocol::Publication;

/// What is removed and erased on a node, one entry for each room that runs and had its history removed or messages erased.
#[derive(Default)]
pub(crate) struct RemovedHistories {
    rooms: Striped<HashMap<Box<str>, Removed>>,
    /// How many there are: nearly always none, and then nobody looks for one.
    count: AtomicUsize,
}

/// What is not to be seen of a room.
#[derive(Debug)]
struct Removed {
    epoch: Epoch,
    /// What lies before this.
    floor: u64,
    erased: Arc<ErasedMessages>,
}

impl RemovedHistories {
    /// Nothing of a room is to be seen of what has been published so far.
    pub(crate) fn remove(&self, room: &Room<Publication>) {
        self.change(room, |removed| removed.floor = room.tail());
    }

    /// These messages are not to be seen any more.
    pub(crate) fn erase(&self, room: &Room<Publication>, sequences: impl IntoIterator<Item = u64>) {
        self.change(room, |removed| removed.erased.extend(sequences));
    }

    /// The same of all before this one.
    pub(crate) fn erase_to(&self, room: &Room<Publication>, sequence: u64) {
        self.change(room, |removed| removed.erased.extend_to(sequence));
    }

    fn change(&self, room: &Room<Publication>, change: impl FnOnce(&mut Removed)) {
        let mut rooms = self.rooms.of(room.name());
        let epoch = room.epoch();
        let none = || Removed { epoch, floor: 0, erased: Arc::default() };
        let before = rooms.len();
        let removed = rooms.entry(room.name().into()).or_insert_with(none);
        if removed.epoch != epoch {
            *removed = none();
        }
        change(removed);
        // Release: pairs with `RemovedHistories::look`.
        self.count.fetch_add(rooms.len() - before, Release);
    }

    /// The first sequence of a room that is to be seen.
    pub(crate) fn floor(&self, room: &Room<Publication>) -> u64 {
        self.look(room, |removed| removed.floor).unwrap_or(0)
    }

    /// The messages of a room that were erased.
    pub(crate) fn erased(&self, room: &Room<Publication>) -> Option<Arc<ErasedMessages>> {
        self.look(room, |removed| Arc::clone(&removed.erased))
    }

    fn look<R>(&self, room: &Room<Publication>, look: impl FnOnce(&Removed) -> R) -> Option<R> {
        // Acquire: pairs with `RemovedHistories::change`.
        if self.count.load(Acquire) == 0 {
            return None;
        }
        let rooms = self.rooms.of(room.name());
        rooms.get(room.name()).filter(|removed| removed.epoch == room.epoch()).map(look)
    }

    /// Forgets rooms that are over, and messages that no ring has any more; `room` is the one of that name that is there.
    pub(crate) fn forget(&self, room: impl Fn(&str) -> Option<Room<Publication>>) {
        // Acquire: as in `look`.
        if self.count.load(Acquire) == 0 {
            return;
        }
        for mut rooms in self.rooms.parts() {
            let before = rooms.len();
            rooms.retain(|name, removed| {
                let Some(room) = room(name) else { return false };
                // What the ring has let go of, nobody needs to be kept from.
                let oldest = room.oldest();
                !removed.erased.forget_before(oldest) || removed.floor > oldest
            });
            // Release: as in `change`.
            self.count.fetch_sub(before - rooms.len(), Release);
        }
    }
}

impl fmt::Debug for RemovedHistories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemovedHistories").finish_non_exhaustive()
    }
}
