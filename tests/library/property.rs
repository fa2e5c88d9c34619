//! Property tests that say their seed.

use std::env;
use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Runs `test` on so many random inputs, and shrinks one at which it panics.
///
/// `PROPTEST_RNG_SEED` repeats a run, and `PROPTEST_CASES` makes it longer or shorter.
#[track_caller]
pub(crate) fn holds<S: Strategy>(cases: u32, inputs: &S, test: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().hash_one("seed"),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let run = |input| {
        test(input);
        Ok(())
    };
    if let Err(failure) = TestRunner::new(config).run(inputs, run) {
        panic!("{failure}\nPROPTEST_RNG_SEED={seed} repeats it");
    }
}
