//! Chance: a random source that begins with a seed, so that whoever gives the seed can have the same ids again.

use std::cell::RefCell;
use std::fmt;
use std::io;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _, TryRng as _};
use uuid::{Builder, Uuid};

/// What a random source begins with.
pub(crate) type Seed = [u8; 32];

/// A seed that nobody can guess: the system's.
///
/// # Errors
/// What the system says when it has none.
pub(crate) fn system_seed() -> io::Result<Seed> {
    let mut seed = Seed::default();
    SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

/// The random source of one shard: a cipher's stream. Who does not know the seed cannot tell the next id by those before it.
pub(crate) struct Rng(RefCell<StdRng>);

impl Rng {
    pub(crate) fn from_seed(seed: Seed) -> Self {
        Self(RefCell::new(StdRng::from_seed(seed)))
    }

    /// A number from 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        f64::from(self.0.borrow_mut().next_u32()) / f64::from(u32::MAX)
    }

    /// A random id of version 4.
    pub(crate) fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.0.borrow_mut().fill_bytes(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }
}

impl fmt::Debug for Rng {
    /// Without its state: that tells all ids to come.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rng").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let ids = |seed| {
            let rng = Rng::from_seed(seed);
            [(); 3].map(|()| rng.uuid())
        };
        assert_eq!(ids([7; 32]), ids([7; 32]));
        assert_ne!(ids([7; 32]), ids([8; 32]));
        let [first, second, _] = ids([7; 32]);
        assert_ne!(first, second);
        assert_eq!((first.get_version_num(), first.get_variant()), (4, uuid::Variant::RFC4122));
    }

    #[test]
    fn the_system_gives_no_seed_twice() {
        assert_ne!(system_seed().expect("a seed"), system_seed().expect("a seed"));
    }
}
