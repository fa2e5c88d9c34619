//! Messages that were erased while a ring still holds them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sequences of a room's messages that were erased while its ring, or somebody who has read them, may still hold them: nobody is
/// to be given them. As many as were erased and not forgotten since.
#[derive(Debug, Default)]
pub struct ErasedMessages {
    /// The sequence after the highest that was ever in it; who asks beyond it looks no further.
    end: AtomicU64,
    /// All before this one are.
    before: AtomicU64,
    /// Nothing where none ever was: of nearly all rooms.
    sequences: Mutex<Option<Box<Sequences>>>,
}

/// All of them, in two ages.
#[derive(Debug, Default)]
struct Sequences {
    /// Those since [`ErasedMessages::forget_before`] was called last.
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl ErasedMessages {
    /// From this sequence on none is erased; 0 where none is.
    pub fn end(&self) -> u64 {
        // Acquire: pairs with `extend`; who sees it sees what is in it.
        self.end.load(Acquire)
    }

    /// All before this one are; 0 where there is no such one.
    pub fn all_before(&self) -> u64 {
        // Relaxed: as in `contains`.
        self.before.load(Relaxed)
    }

    /// Whether the message at `sequence` is erased.
    pub fn contains(&self, sequence: u64) -> bool {
        // Relaxed: `end` was read before, which is written after it.
        sequence < self.end()
            && (sequence < self.before.load(Relaxed) || {
                self.sequences()
                    .as_deref()
                    .is_some_and(|Sequences { young, old }| young.contains(&sequence) || old.contains(&sequence))
            })
    }

    /// From here on these are erased.
    pub fn extend(&self, erased: impl IntoIterator<Item = u64>) {
        let mut erased = erased.into_iter().peekable();
        if erased.peek().is_none() {
            return;
        }
        let mut sequences = self.sequences();
        let young = &mut sequences.get_or_insert_default().young;
        young.extend(erased);
        let end = young.last().map_or(0, |last| last + 1);
        // Release: pairs with `end`.
        self.end.fetch_max(end, Release);
    }

    /// From here on all before `sequence` are.
    pub fn extend_to(&self, sequence: u64) {
        // Relaxed: as in `contains`.
        self.before.fetch_max(sequence, Relaxed);
        // Release: pairs with `end`.
        self.end.fetch_max(sequence, Release);
    }

    /// Forgets those before `sequence` that were erased before this was called last, and says whether none is left. To be called once
    /// in a while, with the oldest message of the ring: who has read one before it was erased has until the next time.
    pub fn forget_before(&self, sequence: u64) -> bool {
        let mut sequences = self.sequences();
        let Some(Sequences { young, old }) = sequences.as_deref_mut() else { return true };
        *old = old.split_off(&sequence);
        old.append(young);
        old.is_empty()
    }

    fn sequences(&self) -> MutexGuard<'_, Option<Box<Sequences>>> {
        // What is erased is in one of both, whatever has broken off.
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_erased_is_known_until_it_is_forgotten() {
        let erased = ErasedMessages::default();
        assert_eq!((erased.end(), erased.contains(0)), (0, false));
        erased.extend([7, 3]);
        erased.extend([5]);
        assert_eq!(
            [2, 3, 4, 5, 7, 8].map(|sequence| erased.contains(sequence)),
            [false, true, false, true, true, false]
        );
        assert_eq!(erased.end(), 8);
        assert!(!erased.forget_before(6));
        assert!(erased.contains(3), "somebody may have read it before");
        erased.extend([4]);
        assert!(!erased.forget_before(6));
        assert!(erased.contains(4));
        assert_eq!([3, 5, 7].map(|sequence| erased.contains(sequence)), [false, false, true]);
        assert!(erased.forget_before(8));
        assert_eq!([4, 7].map(|sequence| erased.contains(sequence)), [false; 2]);
    }

    #[test]
    fn all_before_one_are_erased_at_once() {
        let erased = ErasedMessages::default();
        erased.extend([7]);
        erased.extend_to(4);
        erased.extend_to(2);
        assert_eq!(
            [0, 3, 4, 6, 7, 8].map(|sequence| erased.contains(sequence)),
            [true, true, false, false, true, false]
        );
        let erased = ErasedMessages::default();
        erased.extend_to(4);
        assert_eq!((erased.end(), erased.contains(3), erased.contains(4)), (4, true, false));
    }
}
