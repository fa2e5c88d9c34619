//! The incarnations that run, or are not stored to their ends yet.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::watermark::Watermark;
use crate::message::Epoch;
use crate::striped::Striped;

/// The newest incarnation of each room, by name.
#[derive(Debug)]
pub(super) struct Incarnations {
    watermarks: Striped<HashSet<ByRoom>>,
    /// Nothing more is stored of any.
    given_up: AtomicBool,
}

/// A watermark that is found by the name of its room, which it has: no second one is kept.
#[derive(Debug)]
struct ByRoom(Arc<Watermark>);

impl Borrow<str> for ByRoom {
    fn borrow(&self) -> &str {
        &self.0.incarnation.room
    }
}

impl Hash for ByRoom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl PartialEq for ByRoom {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl Eq for ByRoom {}

impl Incarnations {
    pub(super) fn new() -> Self {
        Self { watermarks: Striped::default(), given_up: AtomicBool::new(false) }
    }

    pub(super) fn newest(&self, room: &str) -> Option<Arc<Watermark>> {
        self.watermarks.of(room).get(room).map(|ByRoom(watermark)| Arc::clone(watermark))
    }

    pub(super) fn of(&self, room: &str, epoch: Epoch) -> Option<Arc<Watermark>> {
        self.newest(room).filter(|watermark| watermark.incarnation.epoch == epoch)
    }

    pub(super) fn put(&self, watermark: &Arc<Watermark>) {
        let room = watermark.incarnation.room.as_str();
        let mut watermarks = self.watermarks.of(room);
        watermarks.replace(ByRoom(Arc::clone(watermark)));
        // Relaxed: either `give_up` comes to this stripe later, or it has been there, and the stripe's lock shows it to us.
        if self.given_up.load(Relaxed) {
            watermark.give_up();
        }
    }

    /// Says that nothing more is stored, of these incarnations and of all that come.
    pub(super) fn give_up(&self) {
        // Relaxed: as in `put`.
        self.given_up.store(true, Relaxed);
        // Without the locks: who is woken may ask for a watermark.
        self.all().iter().for_each(|watermark| watermark.give_up());
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Watermark>> {
        let of_part = |ByRoom(watermark): &ByRoom| Arc::clone(watermark);
        self.watermarks.parts().flat_map(|watermarks| watermarks.iter().map(of_part).collect::<Vec<_>>()).collect()
    }

    /// Forgets this incarnation, unless another has taken its place.
    pub(super) fn forget(&self, watermark: &Arc<Watermark>) {
        let room = watermark.incarnation.room.as_str();
        let mut watermarks = self.watermarks.of(room);
        if watermarks.get(room).is_some_and(|ByRoom(known)| Arc::ptr_eq(known, watermark)) {
            watermarks.remove(room);
        }
    }
}
