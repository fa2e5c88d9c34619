//! What is remembered of addresses and users, in parts with a lock each, and of no more of them than there is place for.

use crate::util::panics::lock;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;

/// Parts of a table: as many as may be asked at once.
const PARTS: usize = 64;

/// Entries of one part, beside those that are held: 131,072 in a table, some megabytes. Strangers have any number of addresses, and
/// what one more of them has done is then not remembered; what was remembered before is.
const ENTRIES_MAX: usize = 2_048;

/// Entries that are not looked through for what can be forgotten.
const ENTRIES_FEW: usize = 64;

/// How long a part is not looked through again when all of it had to stay.
const SWEPT_FOR_MS: u64 = 1_000;

/// Something a table remembers.
pub(crate) trait Entry: Default {
    /// Whether it is as if nothing had happened.
    fn is_idle(&self, now_ms: u64) -> bool;
}

/// Remembers something of each of many.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// Keeps strangers from choosing a part.
    hasher: RandomState,
    parts: Box<[Mutex<Part<T>>]>,
}

#[derive(Debug)]
struct Part<T> {
    entries: HashMap<u64, T>,
    /// How many there may be before it is looked which can be forgotten.
    sweep_at: usize,
    swept_ms: Option<u64>,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: ENTRIES_FEW, swept_ms: None }
    }
}

impl<T: Entry> Table<T> {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }

    /// The number of a name, as another server would not have it.
    pub(crate) fn number_of(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// Works with what is remembered of that one; `None` where there is no place for one more, and nothing was done.
    pub(crate) fn with<R>(&self, key: u64, now_ms: u64, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.in_part(key, |part| part.entry(key, now_ms, false).map(work))
    }

    /// The same where there always is place: of those that are held there are no more than connections.
    pub(crate) fn hold<R>(&self, key: u64, now_ms: u64, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.in_part(key, |part| part.entry(key, now_ms, true).map(work))
    }

    /// Works with one that was held, and says whether nobody holds it any more: beyond what there is place for it is then forgotten at
    /// once, whatever else it remembers.
    pub(crate) fn let_go(&self, key: u64, work: impl FnOnce(&mut T) -> bool) {
        self.in_part(key, |part| {
            if part.entries.get_mut(&key).is_some_and(work) && part.entries.len() > ENTRIES_MAX {
                part.entries.remove(&key);
            }
        });
    }

    /// Works with what is remembered, if something is.
    #[cfg(test)]
    pub(crate) fn find<R>(&self, key: u64, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.in_part(key, |part| part.entries.get_mut(&key).map(work))
    }

    fn in_part<R>(&self, key: u64, work: impl FnOnce(&mut Part<T>) -> R) -> R {
        let part = &self.parts[self.hasher.hash_one(key) as usize % PARTS];
        // Each change is a single operation, so a panic elsewhere leaves nothing half done.
        work(&mut lock(part))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap().entries.len()).sum()
    }
}

impl<T: Entry> Part<T> {
    fn entry(&mut self, key: u64, now_ms: u64, is_held: bool) -> Option<&mut T> {
        if !self.entries.contains_key(&key) {
            self.sweep(now_ms);
            if self.entries.len() >= ENTRIES_MAX && !is_held {
                return None;
            }
        }
        Some(self.entries.entry(key).or_default())
    }

    /// Forgets what can be forgotten, when there is twice as much as was left the last time.
    fn sweep(&mut self, now_ms: u64) {
        let is_due = self.swept_ms.is_none_or(|swept_ms| now_ms >= swept_ms.saturating_add(SWEPT_FOR_MS));
        if self.entries.len() < self.sweep_at || !is_due {
            return;
        }
        self.swept_ms = Some(now_ms);
        self.entries.retain(|_, entry| !entry.is_idle(now_ms));
        let left = self.entries.len();
        self.entries.shrink_to(2 * left);
        self.sweep_at = (2 * left).clamp(ENTRIES_FEW, ENTRIES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Until(u64);

    impl Entry for Until {
        fn is_idle(&self, now_ms: u64) -> bool {
            self.0 <= now_ms
        }
    }

    #[test]
    fn what_is_idle_is_forgotten_and_what_is_not_is_kept_however_many_come() {
        let table = Table::<Until>::new();
        let honest = [1, 2, 3];
        for key in honest {
            table.with(key, 0, |until| until.0 = 10_000);
        }
        for key in 1_000..401_000_u64 {
            // Each is idle after a second; four hundred come in a millisecond.
            let now_ms = key / 400;
            table.with(key, now_ms, |until| until.0 = now_ms + 1_000);
        }
        assert!(table.len() <= PARTS * ENTRIES_MAX, "{}", table.len());
        for key in honest {
            assert_eq!(table.find(key, |until| until.0), Some(10_000));
        }
        assert!(table.with(7, 5_000, |_| ()).is_some(), "the flood is over");
    }

    #[test]
    fn where_all_have_to_stay_one_more_is_not_remembered_unless_it_is_held() {
        let table = Table::<Until>::new();
        let taken = (0..200_000).filter(|key| table.with(*key, 0, |until| until.0 = u64::MAX).is_some()).count();
        assert_eq!(taken, PARTS * ENTRIES_MAX);
        assert!(table.hold(1_000_000, 0, |until| until.0 = 1).is_some());
        assert!(table.find(1_000_000, |_| ()).is_some());
    }

    #[test]
    fn those_that_were_held_are_no_more_than_there_is_place_for() {
        let table = Table::<Until>::new();
        for key in 0..200_000 {
            table.hold(key, 0, |until| until.0 = u64::MAX);
        }
        assert_eq!(table.len(), 200_000);
        (0..200_000).for_each(|key| table.let_go(key, |_| true));
        assert_eq!(table.len(), PARTS * ENTRIES_MAX);
        table.let_go(7_000_000, |_| true);
    }
}
