//! Histories that were removed of rooms that are in memory alone: up to where nothing is to be seen of them.
//!
//! A ring gives up what it holds by going on, not before; so what was removed is in it for a while, and is not shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};

use roomcast::internal::Striped;
use roomcast::{Epoch, Room};
use roomcast_protocol::Publication;

/// The removed histories of a node, one entry for each room that runs and had its history removed.
#[derive(Default)]
pub(crate) struct RemovedHistories {
    rooms: Striped<HashMap<Box<str>, (Epoch, u64)>>,
    /// How many there are: nearly always none, and then nobody looks for one.
    count: AtomicUsize,
}

impl RemovedHistories {
    /// Nothing of a room is to be seen of what has been published so far.
    pub(crate) fn remove(&self, room: &Room<Publication>) {
        let mut rooms = self.rooms.of(room.name());
        if rooms.insert(room.name().into(), (room.epoch(), room.tail())).is_none() {
            // Release: pairs with `RemovedHistories::floor`.
            self.count.fetch_add(1, Release);
        }
    }

    /// The first sequence of a room that is to be seen.
    pub(crate) fn floor(&self, room: &Room<Publication>) -> u64 {
        // Acquire: pairs with `RemovedHistories::remove`.
        if self.count.load(Acquire) == 0 {
            return 0;
        }
        let rooms = self.rooms.of(room.name());
        rooms.get(room.name()).filter(|(epoch, _)| *epoch == room.epoch()).map_or(0, |(_, floor)| *floor)
    }

    /// Forgets rooms that are over.
    pub(crate) fn forget(&self, is_over: impl Fn(&str) -> bool) {
        for mut rooms in self.rooms.parts() {
            let before = rooms.len();
            rooms.retain(|room, _| !is_over(room));
            // Release: as in `remove`.
            self.count.fetch_sub(before - rooms.len(), Release);
        }
    }
}

impl fmt::Debug for RemovedHistories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemovedHistories").finish_non_exhaustive()
    }
}
