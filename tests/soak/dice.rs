//! Chance with a seed: printed, and taken from `ROOMCAST_SEED` where it is set.

use std::env;
use std::hash::{BuildHasher, RandomState};

/// The numbers of SplitMix64 (G. L. Steele and others, "Fast Splittable Pseudorandom Number Generators", 2014).
pub(crate) struct Dice(u64);

impl Dice {
    /// A seed for this test; the output of a test that fails says which.
    pub(crate) fn seed() -> u64 {
        let seed = match env::var("ROOMCAST_SEED") {
            Ok(seed) => seed.parse().expect("ROOMCAST_SEED is a number"),
            Err(_) => RandomState::new().hash_one("seed"),
        };
        eprintln!("ROOMCAST_SEED={seed}");
        seed
    }

    /// The dice of one thread.
    pub(crate) fn new(seed: u64, thread: u64) -> Self {
        Self(seed.wrapping_add(thread.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    /// A number below `below`.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % below
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }
}
