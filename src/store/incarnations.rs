//! The incarnations that run, or are not stored to their ends yet; and those that somebody still reads.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use super::watermark::Watermark;
use crate::message::Epoch;
use crate::striped::Striped;

/// From how many on, at least, those that have ended are looked through for ones that nobody has any more.
const ENDED_MIN: usize = 8;

/// The newest incarnation of each room, by name, and earlier ones.
#[derive(Debug)]
pub(super) struct Incarnations {
    parts: Striped<Part>,
    /// Nothing more is stored of any.
    given_up: AtomicBool,
}

/// Those of some rooms.
#[derive(Debug, Default)]
struct Part {
    newest: HashSet<ByRoom>,
    ended: Ended,
}

/// The watermarks of incarnations that are in no other table any more, as long as somebody else has them: who reads a ring to its end is
/// to learn of what is erased meanwhile. No more than twice as many as there are such readers, and [`ENDED_MIN`], are kept in mind.
#[derive(Debug, Default)]
struct Ended {
    /// In the order in which they ended.
    watermarks: Vec<Weak<Watermark>>,
    /// At how many they are looked through.
    full_at: usize,
}

impl Ended {
    /// Keeps one in mind if anybody has it but the caller, who has it once.
    fn add(&mut self, watermark: &Arc<Watermark>) {
        // Nobody finds it any more, so that no more will have it.
        if Arc::strong_count(watermark) == 1 {
            return;
        }
        if self.watermarks.len() >= self.full_at.max(ENDED_MIN) {
            self.watermarks.retain(|known| known.strong_count() > 0);
            self.full_at = 2 * self.watermarks.len();
        }
        self.watermarks.push(Arc::downgrade(watermark));
    }

    /// Those that somebody has, the one that ended last first.
    fn read(&self) -> impl Iterator<Item = Arc<Watermark>> {
        self.watermarks.iter().rev().filter_map(Weak::upgrade)
    }
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
        Self { parts: Striped::default(), given_up: AtomicBool::new(false) }
    }

    pub(super) fn newest(&self, room: &str) -> Option<Arc<Watermark>> {
        self.parts.of(room).newest.get(room).map(|ByRoom(watermark)| Arc::clone(watermark))
    }

    pub(super) fn of(&self, room: &str, epoch: Epoch) -> Option<Arc<Watermark>> {
        self.newest(room).filter(|watermark| watermark.incarnation.epoch == epoch)
    }

    /// All of a room that anybody may read, the newest one first.
    pub(super) fn all_of(&self, room: &str) -> Vec<Arc<Watermark>> {
        let part = self.parts.of(room);
        let newest = part.newest.get(room).map(|ByRoom(watermark)| Arc::clone(watermark));
        newest.into_iter().chain(part.ended.read().filter(|watermark| watermark.incarnation.room == room)).collect()
    }

    pub(super) fn put(&self, watermark: &Arc<Watermark>) {
        let room = watermark.incarnation.room.as_str();
        let mut part = self.parts.of(room);
        if let Some(ByRoom(earlier)) = part.newest.replace(ByRoom(Arc::clone(watermark))) {
            part.ended.add(&earlier);
        }
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

    /// All of them that anybody may read.
    pub(super) fn all(&self) -> Vec<Arc<Watermark>> {
        let of_part = |part: &Part| -> Vec<_> {
            let newest = part.newest.iter().map(|ByRoom(watermark)| Arc::clone(watermark));
            newest.chain(part.ended.read()).collect()
        };
        self.parts.parts().flat_map(|part| of_part(&part)).collect()
    }

    /// Forgets this incarnation, which has ended, unless another has taken its place. The caller has it once.
    pub(super) fn forget(&self, watermark: &Arc<Watermark>) {
        let room = watermark.incarnation.room.as_str();
        let mut part = self.parts.of(room);
        if part.newest.get(room).is_some_and(|ByRoom(known)| Arc::ptr_eq(known, watermark)) {
            part.newest.remove(room);
            part.ended.add(watermark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::batch::Incarnation;
    use crate::store::options::Durability;

    fn begin(incarnations: &Incarnations, room: &str) -> Arc<Watermark> {
        let watermark = Arc::new(Watermark::new(Incarnation::going_on(room, None, Durability::Stored)));
        incarnations.put(&watermark);
        watermark
    }

    fn is_known(incarnations: &Incarnations, watermark: &Arc<Watermark>) -> bool {
        incarnations.all_of(&watermark.incarnation.room).iter().any(|known| Arc::ptr_eq(known, watermark))
    }

    #[test]
    fn one_that_has_ended_is_known_as_long_as_somebody_reads_it() {
        let incarnations = Incarnations::new();
        let first = begin(&incarnations, "hall");
        let reader = Arc::clone(&first);
        incarnations.forget(&first);
        drop(first);
        let (second, other) = (begin(&incarnations, "hall"), begin(&incarnations, "other"));
        assert_eq!(incarnations.all_of("hall").len(), 2);
        assert!(Arc::ptr_eq(&incarnations.all_of("hall")[0], &second), "the newest first");
        assert!(is_known(&incarnations, &reader) && is_known(&incarnations, &other));
        assert_eq!(incarnations.all().len(), 3);
        // One that somebody has opened by another way takes its place before it is forgotten.
        let third = begin(&incarnations, "hall");
        incarnations.forget(&second);
        assert!([&reader, &second, &third].into_iter().all(|watermark| is_known(&incarnations, watermark)));
        drop((reader, second));
        assert_eq!(incarnations.all_of("hall").len(), 1);
    }

    #[test]
    fn those_that_nobody_reads_any_more_are_not_kept_in_mind() {
        let incarnations = Incarnations::new();
        let kept = || incarnations.parts.of("hall").ended.watermarks.len();
        for _ in 0..100 {
            incarnations.forget(&begin(&incarnations, "hall"));
        }
        assert_eq!(kept(), 0, "nobody ever had them");
        let readers: Vec<_> = (0..5).map(|_| begin(&incarnations, "hall")).collect();
        for _ in 0..1_000 {
            let ended = begin(&incarnations, "hall");
            let reader = Arc::clone(&ended);
            incarnations.forget(&ended);
            drop(reader);
            assert!(kept() <= 2 * (readers.len() + ENDED_MIN), "{}", kept());
        }
        assert!(readers.iter().all(|reader| is_known(&incarnations, reader)));
    }
}
