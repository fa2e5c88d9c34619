//! A bound on the bytes a ring retains.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::Bell;
use super::directory::Directory;
use super::geometry::Geometry;
use crate::sync::{AtomicU64, Relaxed, SeqCst, fence};

/// What [`Budget::make_room`] has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// Segments that were evicted: where there are any, everybody parked is to look again.
    pub(crate) evicted: usize,
    /// A *block* subscriber has not read far enough to make the room that is needed.
    pub(crate) blocked: bool,
}

/// The bytes a ring may retain, and how to weigh a message.
///
/// One segment holds at most a quarter of the budget, since no message may weigh more than a quarter divided by the slots
/// of a segment; full segments are evicted early until they hold three quarters, before the next one is begun. So what
/// can be read never exceeds the budget; what slow readers pin comes on top and is shown in the statistics.
///
/// Where larger messages are taken, older segments are let go for each at once, so that few of them stay within the budget. The
/// segment that is published into and the full one before it stay, whatever they hold: a ring of nothing but large messages
/// has as much more.
pub(crate) struct Budget<T> {
    bytes_max: u64,
    /// What a message may weigh that is more than its part of a segment.
    large_max: u64,
    weigh: Arc<dyn Fn(&T) -> usize + Send + Sync>,
    /// The generation before which somebody may be evicting, or has, who does not rotate. It only grows.
    trimmed: AtomicU64,
}

impl<T> Budget<T> {
    pub(crate) fn new(bytes_max: u64, weigh: Arc<dyn Fn(&T) -> usize + Send + Sync>) -> Self {
        Self { bytes_max, large_max: 0, weigh, trimmed: AtomicU64::new(0) }
    }

    /// The same that takes messages of up to so many bytes, though a segment full of them is more than a quarter.
    pub(crate) fn with_large(self, large_max: u64) -> Self {
        Self { large_max, ..self }
    }

    /// The bytes of `message`, or `Err` with them if they are more than its part of a segment of this shape.
    pub(crate) fn weigh(&self, message: &T, shape: Geometry) -> Result<u64, u64> {
        let bytes = (self.weigh)(message) as u64;
        if bytes <= self.bytes_max / 4 / shape.slots() { Ok(bytes) } else { Err(bytes) }
    }

    /// Whether a message of so many bytes, which is more than its part, is taken all the same.
    pub(crate) fn takes(&self, bytes: u64) -> bool {
        bytes <= self.large_max
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
    /// ([`super::Ring::oldest_kept`]): what a rotation evicts it weighs itself, and who allows less than a rotation says how
    /// far it has come.
    pub(crate) fn make_room(
        &self,
        directory: &Directory<T>,
        shape: Geometry,
        newest_full: u64,
        allowed: u64,
        bell: &impl Bell,
    ) -> Made {
        let mut made = Made { evicted: 0, blocked: false };
        let trims = allowed < self.full_max();
        let excess = match trims {
            true => Self::excess(directory, shape, newest_full, allowed),
            false => self.rotation_excess(directory, shape, newest_full),
        };
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
            let may_evict = || bell.may_evict(shape.first(generation + 1));
            // Not said before a first look at the gates: one that is shut is no reason to begin later.
            if !may_evict() || (trims && !self.announce(generation, may_evict)) {
                made.blocked = true;
                break;
            }
            if directory.replace(generation, word, word.into_gone()) {
                directory.retire(word.index(), bell);
                made.evicted += 1;
            }
        }
        made
    }

    /// Says that `generation` is about to be evicted, and looks at the gates once more.
    fn announce(&self, generation: u64, may_evict: impl FnOnce() -> bool) -> bool {
        // Relaxed: the fence carries it. Others that trim have the greatest stay.
        self.trimmed.fetch_max(generation + 1, Relaxed);
        // SeqCst: what we have said before our look at the gates. Pairs with the fence of a *block* subscriber, between
        // setting its gate and asking `trimmed`: it finds what we said, or we see its gate. model: trim_join
        fence(SeqCst);
        may_evict()
    }

    /// The generation before which somebody may be evicting who does not rotate.
    pub(crate) fn trimmed(&self) -> u64 {
        // Relaxed: the fence before it carries what was said. Pairs with the fence in `announce`. model: trim_join
        self.trimmed.load(Relaxed)
    }

    /// The generations that a rotation evicts: never the newest full one, from whose last time the next one goes on.
    pub(crate) fn rotation_excess(&self, directory: &Directory<T>, shape: Geometry, newest_full: u64) -> Range<u64> {
        let excess = Self::excess(directory, shape, newest_full, self.full_max());
        excess.start..excess.end.min(newest_full.max(excess.start))
    }

    /// The generations, oldest first, that do not fit beside the newer full ones.
    fn excess(directory: &Directory<T>, shape: Geometry, newest_full: u64, allowed: u64) -> Range<u64> {
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
