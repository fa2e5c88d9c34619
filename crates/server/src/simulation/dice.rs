//! Chance: one stream of numbers from one seed.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::util::rng::{Rng, Seed};

/// What decides everything that is not decided by the code under test.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which is not zero.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// A number in a range, its ends included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Whether something happens that happens so often of a hundred times.
    pub(super) fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }

    /// One of them.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// One of what has these weights.
    pub(super) fn weighed<T: Copy>(&mut self, of: &[(u64, T)]) -> T {
        let mut left = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, what) in of {
            match left.checked_sub(*weight) {
                None => return *what,
                Some(rest) => left = rest,
            }
        }
        unreachable!("the weights are what was drawn from")
    }

    /// A stream of its own that begins here.
    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.number())
    }

    /// A source of ids that begins here.
    pub(super) fn rng(&mut self) -> Rng {
        let mut seed = Seed::default();
        self.0.fill_bytes(&mut seed);
        Rng::from_seed(seed)
    }
}
