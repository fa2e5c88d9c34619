//! Rooms of which messages were erased lately: what their rings have of them is taken out.
//!
//! It is shown to nobody from the acknowledgement on ([`Edge::erased`](crate::rooms::visible::Edge::erased)), and goes from memory
//! shortly afterwards, whether anything is published there or not: at once where nobody is reading it, and else when a later look
//! finds that nobody is any more.

use crate::util::panics::lock;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use roomcast::Room;
use roomcast_protocol::Publication;

/// How often rings are looked at that may still have something of what was erased.
pub(crate) const ERASING_INTERVAL: Duration = Duration::from_secs(5);

/// Looks at a ring after an erasure, at least: who was reading when the first found nobody has gone on by the last.
const LOOKS_MIN: u32 = 4;

/// The rooms.
#[derive(Default)]
pub(crate) struct Erasing(Mutex<HashMap<Box<str>, ToErase>>);

/// A room, and how often its ring was looked at since something was erased last.
struct ToErase {
    room: Room<Publication>,
    looks: u32,
}

impl Erasing {
    /// Messages of a room were erased.
    pub(crate) fn note(&self, room: &Room<Publication>) {
        self.rooms().insert(room.name().into(), ToErase { room: room.clone(), looks: 0 });
    }

    /// Has each of the rooms looked at by `take_out`, which says whether its ring has nothing any more of what was erased.
    pub(crate) fn go_on(&self, take_out: impl Fn(&Room<Publication>) -> bool) {
        let rooms: Vec<_> = self.rooms().values().map(|to_erase| to_erase.room.clone()).collect();
        for room in rooms {
            // A ring goes with its room.
            let is_out = !room.is_running() || take_out(&room);
            let mut rooms = self.rooms();
            if let Some(to_erase) = rooms.get_mut(room.name()).filter(|to_erase| to_erase.room == room) {
                to_erase.looks += 1;
                if is_out && (to_erase.looks >= LOOKS_MIN || !room.is_running()) {
                    rooms.remove(room.name());
                }
            }
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Box<str>, ToErase>> {
        lock(&self.0)
    }
}

impl fmt::Debug for Erasing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erasing").finish_non_exhaustive()
    }
}
