//! Rooms at rest: nobody is in them and their history has expired, so that all that is left of one is its position.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use roomcast::Position;
use roomcast::internal::Striped;

/// Rooms at rest whose positions are kept; one more begins a new epoch when it comes back. Fewer where there is less memory.
const DORMANT_MAX: u64 = 1_000_000;

/// What the position of one takes, with a name of usual length.
const POSITION_BYTES: u64 = 192;

/// The positions of rooms at rest.
#[derive(Debug)]
pub(crate) struct DormantRooms {
    rooms: Striped<HashMap<Box<str>, DormantRoom>>,
    count: AtomicUsize,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct DormantRoom {
    position: Position,
    /// When the position is forgotten.
    until_ms: u64,
    /// The room is running again, and goes on from there: nobody else may.
    is_running: bool,
}

impl DormantRooms {
    /// Keeps as many as fit into so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let most = (bytes_max / POSITION_BYTES).min(DORMANT_MAX) as usize;
        Self { rooms: Striped::default(), count: AtomicUsize::new(0), most }
    }

    /// Lets a room rest that has ended at that position; false where there is no place for one more.
    pub(crate) fn lay(&self, room: &str, position: Position, until_ms: u64) -> bool {
        let mut rooms = self.rooms.of(room);
        let rest = DormantRoom { position, until_ms, is_running: false };
        if let Some(known) = rooms.get_mut(room) {
            *known = rest;
        } else if self.count.load(Relaxed) < self.most {
            // Relaxed: a bound against floods; a few more do no harm.
            self.count.fetch_add(1, Relaxed);
            rooms.insert(room.into(), rest);
        } else {
            return false;
        }
        true
    }

    /// Makes a room, which goes on from its position if it was at rest. Nobody else makes the same room meanwhile.
    pub(crate) fn wake<R>(&self, room: &str, make: impl FnOnce(Option<Position>) -> R) -> R {
        let mut rooms = self.rooms.of(room);
        let rest = rooms.get_mut(room).filter(|rest| !rest.is_running);
        make(rest.map(|rest| {
            rest.is_running = true;
            rest.position
        }))
    }

    /// Takes the position of a room out that is at rest: it goes on from there, once.
    pub(crate) fn take(&self, room: &str) -> Option<Position> {
        let rest = self.rooms.of(room).remove(room)?;
        // Relaxed: as in `lay`.
        self.count.fetch_sub(1, Relaxed);
        (!rest.is_running).then_some(rest.position)
    }

    /// Ready when all are made that were being made.
    pub(crate) fn wait_for_all(&self) {
        self.rooms.parts().for_each(drop);
    }

    /// Takes out all that are at rest, with their positions and until when those count.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = (Box<str>, Position, u64)> {
        self.rooms.parts().flat_map(|mut rooms| std::mem::take(&mut *rooms)).filter_map(|(name, rest)| {
            // Relaxed: as in `lay`.
            self.count.fetch_sub(1, Relaxed);
            (!rest.is_running).then_some((name, rest.position, rest.until_ms))
        })
    }

    /// Until when the position of a room counts that is running again and was not published into since.
    pub(crate) fn until_ms(&self, room: &str) -> Option<u64> {
        self.rooms.of(room).get(room).map(|rest| rest.until_ms)
    }

    /// Forgets the positions whose time is over.
    pub(crate) fn forget(&self, now_ms: u64) {
        for mut rooms in self.rooms.parts() {
            let before = rooms.len();
            rooms.retain(|_, rest| rest.until_ms > now_ms);
            self.count.fetch_sub(before - rooms.len(), Relaxed);
        }
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.count.load(Relaxed) as u64 * POSITION_BYTES
    }

    #[cfg(test)]
    pub(crate) fn position(&self, room: &str) -> Option<Position> {
        self.rooms.of(room).get(room).map(|rest| rest.position)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count.load(Relaxed)
    }
}
