//! The incarnations that run, or are not stored to their ends yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::watermark::Watermark;
use crate::message::Epoch;
use crate::striped::Striped;

/// The newest incarnation of each room, by name.
#[derive(Debug)]
pub(super) struct Lives {
    marks: Striped<HashMap<Box<str>, Arc<Watermark>>>,
    /// Nothing more is stored of any.
    given_up: AtomicBool,
}

impl Lives {
    pub(super) fn new() -> Self {
        Self { marks: Striped::default(), given_up: AtomicBool::new(false) }
    }

    pub(super) fn newest(&self, room: &str) -> Option<Arc<Watermark>> {
        self.marks.of(room).get(room).cloned()
    }

    pub(super) fn of(&self, room: &str, epoch: Epoch) -> Option<Arc<Watermark>> {
        self.newest(room).filter(|mark| mark.life.epoch == epoch)
    }

    pub(super) fn put(&self, mark: &Arc<Watermark>) {
        let room = mark.life.room.as_str();
        let mut marks = self.marks.of(room);
        marks.insert(room.into(), Arc::clone(mark));
        // Relaxed: either `give_up` comes to this stripe later, or it has been there, and the stripe's lock shows it to us.
        if self.given_up.load(Relaxed) {
            mark.give_up();
        }
    }

    /// Says that nothing more is stored, of these incarnations and of all that come.
    pub(super) fn give_up(&self) {
        // Relaxed: as in `put`.
        self.given_up.store(true, Relaxed);
        // Without the locks: who is woken may ask for a mark.
        self.all().iter().for_each(|mark| mark.give_up());
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Watermark>> {
        self.marks.parts().flat_map(|marks| marks.values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Forgets this incarnation, unless another has taken its place.
    pub(super) fn forget(&self, mark: &Arc<Watermark>) {
        let room = mark.life.room.as_str();
        let mut marks = self.marks.of(room);
        if marks.get(room).is_some_and(|known| Arc::ptr_eq(known, mark)) {
            marks.remove(room);
        }
    }
}
