//! A bound on the bytes a ring retains.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::Bell;
use super::directory::Directory;
use super::geometry::Geometry;
use crate::sync::{SeqCst, fence};

/// What [`Budget::make_room`] has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// Segments were evicted: everybody parked is to look again.
    pub(crate) evicted: bool,
    /// A *block* subscriber has not read far enough to make the room that is needed.
    pub(crate) blocked: bool,
}

/// The bytes a ring may retain, and how to weigh a message.
///
/// One segment holds at most a quarter of the budget, since no message may weigh more than a quarter divided by the slots
/// of a segment; full segments are evicted early until they hold three quarters, before the next one is begun. So what
/// can be read never exceeds the budget; what slow readers pin comes on top and is shown in the statistics.
pub(crate) struct Budget<T> {
    bytes_max: u64,
    weigh: Arc<dyn Fn(&T) -> usize + Send + Sync>,
}

impl<T> Budget<T> {
    pub(crate) fn new(bytes_max: u64, weigh: Arc<dyn Fn(&T) -> usize + Send + Sync>) -> Self {
        Self { bytes_max, weigh }
    }

    /// The bytes of `message`, or `None` if it is too large for a ring of this shape.
    pub(crate) fn weigh(&self, message: &T, shape: Geometry) -> Option<u64> {
        let bytes = (self.weigh)(message) as u64;
        (bytes <= self.bytes_max / 4 / shape.slots()).then_some(bytes)
    }

    /// The bytes of a message that is in the ring already.
    pub(crate) fn bytes(&self, message: &T) -> u64 {
        (self.weigh)(message) as u64
    }

    /// What full segments may hold where one more is to be begun.
    pub(crate) fn full_max(&self) -> u64 {
        self.bytes_max / 4 * 3
    }

    /// Evicts the oldest segments while the full ones, up to `newest_full`, hold more than `allowed`, as far as no *block*
    /// subscriber wants them.
    ///
    /// From the oldest up, the one that the next segment takes the place of included, so that what is retained has no hole
    /// wherever a *block* subscriber ends it. One that joins meanwhile begins behind all that may be on its way out
    /// ([`super::Ring::oldest_kept`]).
    pub(crate) fn make_room(
        &self,
        directory: &Directory<T>,
        shape: Geometry,
        newest_full: u64,
        allowed: u64,
        bell: &impl Bell,
    ) -> Made {
        let mut made = Made { evicted: false, blocked: false };
        let excess = Self::excess(directory, shape, newest_full, allowed);
        if excess.is_empty() {
            return made;
        }
        // SeqCst: our weighing before our look at the gates. Pairs with the fence of a *block* subscriber, between setting
        // its gate and weighing the same: it finds at least what we found, or we see its gate. model: budget_join
        fence(SeqCst);
        // The first generation is 1.
        let oldest = excess.start.max(2) - 1;
        for generation in oldest..excess.end {
            let word = directory.word_to_replace(generation);
            if !word.retains(generation) {
                continue;
            }
            if !bell.may_evict(shape.first(generation + 1)) {
                made.blocked = true;
                break;
            }
            if directory.replace(generation, word, word.into_gone()) {
                directory.retire(word.index(), bell);
                made.evicted = true;
            }
        }
        made
    }

    /// The generations, oldest first, that do not fit beside the newer full ones.
    pub(crate) fn excess(directory: &Directory<T>, shape: Geometry, newest_full: u64, allowed: u64) -> Range<u64> {
        let (mut held, mut first, mut end) = (0, newest_full + 1, None);
        for generation in (shape.oldest(newest_full + 1)..=newest_full).rev() {
            let word = directory.word(generation);
            if !word.retains(generation) {
                break;
            }
            let bytes = directory.segment(word.index()).bytes();
            // Asked again: evicted and begun anew since, it holds fewer bytes, and those of another generation.
            // model: budget_join
            if directory.word(generation) != word {
                break;
            }
            held += bytes;
            if held > allowed {
                end.get_or_insert(generation + 1);
            }
            first = generation;
        }
        first..end.unwrap_or(first)
    }
}

impl<T> fmt::Debug for Budget<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}
