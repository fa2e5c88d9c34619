//! Sequence arithmetic: which slot of which generation a sequence is. Free of `T` and of `unsafe`.

/// The most slots a segment has; the claim word counts claims beyond it for as many threads as fit in 14 bits.
pub(crate) const SEGMENT_SLOTS_MAX: u64 = 1024;

/// The most segments a directory has, so that a ring's own table of segments (65,535) holds several laps of late ones.
pub(crate) const SEGMENTS_MAX: u64 = 4096;

/// The shape of a ring: `segments` segments of `slots` slots each.
///
/// Generations count from 1: generation `g` holds the sequences `start + (g - 1) * slots ..` and stands in the directory
/// at `g % segments`. Generation 0 is the full, empty past of a ring nobody has published into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// The first sequence of the ring: 0, or where an earlier life of the room has ended. Known here alone, so that
    /// claims, generations and segments are the same wherever a ring begins.
    start: u64,
    slots_log2: u8,
    segments: u16,
}

impl Geometry {
    /// The shape that retains at least `capacity` messages.
    ///
    /// Slots per segment are a power of two, at most 64 and at most a quarter of the capacity, so that what a slow reader
    /// pins and what an eviction takes stay small beside the ring. One segment more than the capacity fills, because the
    /// newest may have just begun.
    pub(crate) fn for_capacity(capacity: u64) -> Self {
        Self::with_slots(capacity, 64)
    }

    /// The same with at most so many slots in a segment, as far as the directory reaches.
    pub(crate) fn with_slots(capacity: u64, slots_max: u64) -> Self {
        let capacity = capacity.clamp(1, capacity_max());
        let quarter = (capacity / 4).max(1).min(slots_max.max(1));
        let mut slots = (1 << quarter.ilog2()).min(64);
        while capacity.div_ceil(slots) + 1 > SEGMENTS_MAX {
            slots *= 2;
        }
        Self::new(slots, capacity.div_ceil(slots) + 1)
    }

    /// The shape with exactly these numbers.
    ///
    /// # Panics
    /// When `slots` is not a power of two up to [`SEGMENT_SLOTS_MAX`], or `segments` not in `2..=`[`SEGMENTS_MAX`].
    #[track_caller]
    pub(crate) fn new(slots: u64, segments: u64) -> Self {
        assert!(slots.is_power_of_two() && slots <= SEGMENT_SLOTS_MAX, "{slots} slots in a segment");
        assert!((2..=SEGMENTS_MAX).contains(&segments), "{segments} segments in a ring");
        Self { start: 0, slots_log2: slots.ilog2() as u8, segments: segments as u16 }
    }

    /// The same shape for a ring whose first sequence is `start`.
    pub(crate) fn starting_at(self, start: u64) -> Self {
        Self { start, ..self }
    }

    /// The first sequence of the ring.
    pub(crate) fn start(self) -> u64 {
        self.start
    }

    /// Slots in a segment.
    #[inline(always)]
    pub(crate) fn slots(self) -> u64 {
        1 << self.slots_log2
    }

    /// Segments in the directory.
    #[inline(always)]
    pub(crate) fn segments(self) -> u64 {
        u64::from(self.segments)
    }

    /// The generation that holds `sequence`; the first one for what lies before the start.
    #[inline(always)]
    pub(crate) fn generation(self, sequence: u64) -> u64 {
        (sequence.saturating_sub(self.start) >> self.slots_log2) + 1
    }

    /// The slot of `sequence` in its generation.
    #[inline(always)]
    pub(crate) fn slot(self, sequence: u64) -> usize {
        (sequence.wrapping_sub(self.start) & (self.slots() - 1)) as usize
    }

    /// The sequence of slot 0 of `generation`. Generation 0 ends where the first sequence begins, hence the wrapping.
    #[inline(always)]
    pub(crate) fn first(self, generation: u64) -> u64 {
        (generation.wrapping_sub(1) << self.slots_log2).wrapping_add(self.start)
    }

    /// The sequence that follows `count` claims in `generation`.
    #[inline(always)]
    pub(crate) fn after(self, generation: u64, count: u64) -> u64 {
        self.first(generation).wrapping_add(count)
    }

    /// Where `generation` stands in the directory.
    #[inline(always)]
    pub(crate) fn position(self, generation: u64) -> usize {
        (generation % self.segments()) as usize
    }

    /// The oldest generation retained while `newest` is the newest.
    #[inline(always)]
    pub(crate) fn oldest(self, newest: u64) -> u64 {
        (newest + 1).saturating_sub(self.segments()).max(1)
    }
}

/// The largest capacity a ring can be asked for.
pub(crate) const fn capacity_max() -> u64 {
    (SEGMENTS_MAX - 1) * SEGMENT_SLOTS_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_capacity_is_a_lower_bound_in_messages() {
        for capacity in (1..5_000).chain([65_536, 1 << 20, capacity_max()]) {
            let shape = Geometry::for_capacity(capacity);
            assert!((shape.segments() - 1) * shape.slots() >= capacity, "{capacity}: {shape:?}");
            assert!(shape.slots() <= (capacity / 4).max(1) || shape.slots() > 64, "{capacity}: {shape:?}");
        }
    }

    #[test]
    fn the_empty_past_ends_where_sequence_zero_begins() {
        let shape = Geometry::new(4, 2);
        assert_eq!(shape.after(0, 4), 0);
        assert_eq!(shape.generation(0), 1);
        assert_eq!(shape.oldest(0), 1);
        assert_eq!(shape.oldest(2), 1);
        assert_eq!(shape.oldest(3), 2);
    }

    #[test]
    fn a_ring_may_begin_anywhere() {
        let shape = Geometry::new(4, 2).starting_at(6);
        assert_eq!(shape.after(0, 4), 6, "nothing was published, so the next one is the first");
        let place = |sequence| (shape.generation(sequence), shape.slot(sequence));
        assert_eq!([6, 9, 10, 13, 14].map(place), [(1, 0), (1, 3), (2, 0), (2, 3), (3, 0)]);
        assert_eq!([1, 2, 3].map(|generation| shape.first(generation)), [6, 10, 14]);
        assert_eq!(shape.generation(5), 1, "what lies before the start is of no generation of its own");
    }

    proptest! {
        #[test]
        fn a_sequence_is_found_again(
            start in 0..u64::MAX / 4, further in 0..u64::MAX / 4, slots_log2 in 0u32..=10, segments in 2..=SEGMENTS_MAX,
        ) {
            let shape = Geometry::new(1 << slots_log2, segments).starting_at(start);
            let sequence = start + further;
            let generation = shape.generation(sequence);
            prop_assert_eq!(shape.after(generation, shape.slot(sequence) as u64), sequence);
            prop_assert!(shape.position(generation) < segments as usize);
            prop_assert_ne!(shape.position(generation), shape.position(generation + 1));
        }
    }
}
