//! Histories that were removed of rooms that are in memory alone, and messages of theirs that were erased.
//!
//! A ring gives up what it holds by going on, or when it is told to ([`erasing`](crate::rooms::erasing)); so what was removed or
//! erased is in it for a while, and is not shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};

use smallvec::SmallVec;

use roomcast::internal::Striped;
use roomcast::store::ErasedMessages;
use roomcast::{Room, WeakRoom};
use roomcast_protocol::Publication;

/// What is removed and erased on a node, one entry for each incarnation of a room that had its history removed or messages erased: of one
/// that has ended as long as somebody holds it, who may not have read it to its end, however many have come after it.
#[derive(Default)]
pub(crate) struct RemovedHistories {
    rooms: Striped<HashMap<Box<str>, OfName>>,
    /// How many there are: nearly always none, and then nobody looks for one.
    count: AtomicUsize,
}

/// Nearly always the one that runs.
type OfName = SmallVec<[Removed; 1]>;

/// What is not to be seen of a room.
#[derive(Debug)]
struct Removed {
    room: WeakRoom<Publication>,
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
        let of_name = rooms.entry(room.name().into()).or_default();
        if let Some(removed) = of_name.iter_mut().find(|removed| removed.room == *room) {
            return change(removed);
        }
        let before = of_name.len();
        of_name.retain(|removed| removed.room.upgrade().is_some());
        let mut removed = Removed { room: room.downgrade(), floor: 0, erased: Arc::default() };
        change(&mut removed);
        of_name.push(removed);
        // Release: pairs with `RemovedHistories::look`.
        self.count.fetch_add(1, Release);
        self.count.fetch_sub(before + 1 - of_name.len(), Release);
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
        rooms.get(room.name())?.iter().find(|removed| removed.room == *room).map(look)
    }

    /// Forgets rooms that nobody holds any more, and messages that no ring has any more.
    pub(crate) fn forget(&self) {
        // Acquire: as in `look`.
        if self.count.load(Acquire) == 0 {
            return;
        }
        // Should somebody let go of one meanwhile, it goes without the lock.
        let mut held = Vec::new();
        let mut is_left = |removed: &mut Removed| {
            let Some(room) = removed.room.upgrade() else { return false };
            // What the ring has let go of, nobody needs to be kept from.
            let oldest = room.oldest();
            held.push(room);
            !removed.erased.forget_before(oldest) || removed.floor > oldest
        };
        for mut rooms in self.rooms.parts() {
            let mut gone = 0;
            rooms.retain(|_, of_name| {
                let before = of_name.len();
                of_name.retain(&mut is_left);
                gone += before - of_name.len();
                !of_name.is_empty()
            });
            // Release: as in `change`.
            self.count.fetch_sub(gone, Release);
        }
    }
}

impl fmt::Debug for RemovedHistories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemovedHistories").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast::{Broker, RoomOptions};
    use roomcast_protocol::Payload;

    #[test]
    fn of_each_incarnation_that_is_held_it_is_known_what_was_erased() {
        let broker = Broker::<Publication>::new();
        let removed = RemovedHistories::default();
        let first = broker.room("hall").expect("a room");
        let publish = |room: &Room<Publication>| {
            room.publish(Publication::new(Payload::json("1".into()), None)).expect("a room that runs");
        };
        publish(&first);
        publish(&first);
        removed.erase(&first, [1]);
        assert!(broker.remove("hall"));
        // One that was at rest goes on in the same epoch.
        let options = RoomOptions::new().starting_at(roomcast::Position { epoch: first.epoch(), sequence: 2 });
        let second = broker.room_with("hall", options).expect("a room");
        publish(&second);
        assert_eq!(first.epoch(), second.epoch());
        assert!(removed.erased(&second).is_none(), "it has its own");
        removed.erase(&second, [2]);
        removed.remove(&second);
        let is_erased = |room: &Room<Publication>| {
            let erased = removed.erased(room).expect("it is known");
            [0, 1, 2].map(|sequence| erased.contains(sequence))
        };
        for _ in 0..4 {
            assert_eq!((is_erased(&first), is_erased(&second)), ([false, true, false], [false, false, true]));
            assert_eq!((removed.floor(&first), removed.floor(&second)), (0, 3));
            removed.forget();
        }
        drop(first);
        removed.forget();
        assert_eq!((removed.count.load(Acquire), is_erased(&second)), (1, [false, false, true]));
        assert!(broker.remove("hall"));
        drop(second);
        removed.forget();
        assert_eq!(removed.count.load(Acquire), 0, "nobody can ask");
    }

    #[test]
    fn a_room_that_begins_again_and_again_leaves_nothing_behind() {
        let broker = Broker::<Publication>::new();
        let removed = RemovedHistories::default();
        for _ in 0..10 {
            let room = broker.room("hall").expect("a room");
            removed.erase(&room, [0]);
            assert!(broker.remove("hall"));
            assert_eq!(removed.count.load(Acquire), 1);
        }
    }
}
