//! The two packed words of a ring: the claim word and the directory words.

/// How many low bits of a generation the claim word carries. At 50 million messages a second and 64 slots in a segment
/// they wrap after three hours; a publisher would have to sleep that long between two instructions to be misled.
pub(crate) const CLAIM_GENERATION_BITS: u32 = 33;

const COUNT_BITS: u32 = 14;
const INDEX_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u64 = (1 << CLAIM_GENERATION_BITS) - 1;
const CLOSED: u64 = 1 << 63;

/// `{ closed 1 | generation 33 | index 16 | count 14 }`: one `fetch_add(1)` on it hands out a slot of a segment, and with
/// it the duty to fill that slot.
///
/// * open, `count < slots`: the next claim gets slot `count` of segment `index`.
/// * open, `count >= slots`: the segment is full; someone has to install the next.
/// * closed: final. `index` is then the number of slots that were claimed in `generation`: the frozen tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimWord(pub(crate) u64);

impl ClaimWord {
    #[inline(always)]
    pub(crate) fn new(generation: u64, index: u16, count: u64) -> Self {
        debug_assert!(count <= COUNT_MASK, "a count of {count} would run into the segment index");
        Self((generation & GENERATION_MASK) << (INDEX_BITS + COUNT_BITS) | u64::from(index) << COUNT_BITS | count)
    }

    /// The same word, closed with what was claimed so far.
    #[inline]
    pub(crate) fn close(self, slots: u64) -> Self {
        let claimed = self.count().min(slots);
        Self(Self::new(self.generation_low(), claimed as u16, slots).0 | CLOSED)
    }

    #[inline(always)]
    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    #[inline(always)]
    pub(crate) fn count(self) -> u64 {
        self.0 & COUNT_MASK
    }

    #[inline(always)]
    pub(crate) fn index(self) -> u16 {
        (self.0 >> COUNT_BITS & INDEX_MASK) as u16
    }

    /// The slots claimed before a closed word was closed.
    #[inline]
    pub(crate) fn frozen_count(self) -> u64 {
        debug_assert!(self.is_closed(), "an open word has no frozen tail");
        u64::from(self.index())
    }

    #[inline(always)]
    pub(crate) fn generation_low(self) -> u64 {
        self.0 >> (INDEX_BITS + COUNT_BITS) & GENERATION_MASK
    }

    /// Whether this word was made for `generation`.
    #[inline(always)]
    pub(crate) fn is_of(self, generation: u64) -> bool {
        self.generation_low() == generation & GENERATION_MASK
    }

    /// The full generation, given one that is not newer and not 2^33 older.
    #[inline]
    pub(crate) fn generation_from(self, not_newer: u64) -> u64 {
        not_newer + (self.generation_low().wrapping_sub(not_newer) & GENERATION_MASK)
    }
}

/// `{ generation 47 | gone 1 | index 16 }`: which segment holds a generation. 0 before the first.
///
/// `gone` says that the segment was given up early to stay within a byte budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryWord(pub(crate) u64);

impl DirectoryWord {
    #[inline(always)]
    pub(crate) fn new(generation: u64, index: u16) -> Self {
        Self(generation << (INDEX_BITS + 1) | u64::from(index))
    }

    #[inline]
    pub(crate) fn into_gone(self) -> Self {
        Self(self.0 | 1 << INDEX_BITS)
    }

    #[inline(always)]
    pub(crate) fn is_gone(self) -> bool {
        self.0 & 1 << INDEX_BITS != 0
    }

    /// Whether it names a segment that can be read.
    #[inline(always)]
    pub(crate) fn is_retained(self) -> bool {
        self.generation() > 0 && !self.is_gone()
    }

    /// Whether it names the segment of `generation`, and that can be read.
    #[inline(always)]
    pub(crate) fn retains(self, generation: u64) -> bool {
        self.generation() == generation && !self.is_gone()
    }

    #[inline(always)]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> (INDEX_BITS + 1)
    }

    #[inline(always)]
    pub(crate) fn index(self) -> u16 {
        (self.0 & INDEX_MASK) as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn closing_keeps_what_was_claimed_and_nothing_of_the_overshoot() {
        assert_eq!(ClaimWord::new(7, 9, 3).close(64).frozen_count(), 3);
        assert_eq!(ClaimWord::new(7, 9, 64).close(64).frozen_count(), 64);
        assert_eq!(ClaimWord::new(7, 9, 70).close(64).frozen_count(), 64);
        assert!(ClaimWord::new(7, 9, 70).close(64).is_of(7));
    }

    #[test]
    fn a_claim_after_the_close_finds_the_segment_full() {
        let closed = ClaimWord::new(7, 9, 3).close(64);
        let later = ClaimWord(closed.0 + 5);
        assert!(later.is_closed() && later.count() >= 64);
        assert_eq!(later.frozen_count(), 3);
    }

    proptest! {
        #[test]
        fn a_claim_word_holds_its_parts(generation: u64, index: u16, count in 0..=COUNT_MASK) {
            let word = ClaimWord::new(generation, index, count);
            prop_assert!(word.is_of(generation) && !word.is_closed());
            prop_assert_eq!((word.index(), word.count()), (index, count));
        }

        #[test]
        fn the_full_generation_is_found_from_an_older_one(generation in 1u64 << 34..1 << 46, distance in 0u64..1 << 32) {
            let word = ClaimWord::new(generation, 0, 0);
            prop_assert_eq!(word.generation_from(generation - distance), generation);
        }

        #[test]
        fn a_directory_word_holds_its_parts(generation in 0u64..1 << 47, index: u16) {
            let word = DirectoryWord::new(generation, index);
            prop_assert_eq!((word.generation(), word.index(), word.is_gone()), (generation, index, false));
            prop_assert_eq!((word.is_retained(), word.retains(generation)), (generation > 0, true));
            let gone = word.into_gone();
            prop_assert_eq!((gone.generation(), gone.index(), gone.is_gone()), (generation, index, true));
            prop_assert!(!gone.is_retained() && !gone.retains(generation) && !word.retains(generation + 1));
        }
    }
}
