//! The lives that run, or are not stored to their ends yet.

use std::collections::HashMap;
use std::sync::Arc;

use super::mark::StoredMark;
use crate::message::Epoch;
use crate::striped::Striped;

/// The newest life of each room, by name.
#[derive(Debug)]
pub(super) struct Lives {
    marks: Striped<HashMap<Box<str>, Arc<StoredMark>>>,
}

impl Lives {
    pub(super) fn new() -> Self {
        Self { marks: Striped::new() }
    }

    pub(super) fn newest(&self, room: &str) -> Option<Arc<StoredMark>> {
        self.marks.of(room).get(room).cloned()
    }

    pub(super) fn of(&self, room: &str, epoch: Epoch) -> Option<Arc<StoredMark>> {
        self.newest(room).filter(|mark| mark.life.epoch == epoch)
    }

    pub(super) fn put(&self, mark: &Arc<StoredMark>) {
        let room = mark.life.room.as_str();
        self.marks.of(room).insert(room.into(), Arc::clone(mark));
    }

    /// Forgets this life, unless another has taken its place.
    pub(super) fn forget(&self, mark: &Arc<StoredMark>) {
        let room = mark.life.room.as_str();
        let mut marks = self.marks.of(room);
        if marks.get(room).is_some_and(|known| Arc::ptr_eq(known, mark)) {
            marks.remove(room);
        }
    }
}
