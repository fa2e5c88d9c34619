//! Random numbers that begin with a seed, so that a scenario is the same every time.

/// A small generator (splitmix64): fast, and good enough to choose rooms by.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// One of several with the same seed.
    pub(crate) fn new(seed: u64, which: u64) -> Self {
        Self(seed ^ which.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to just below 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.share() * end as f64) as usize
    }
}
