//! State by name that all shards share, striped so that two of them seldom want the same part.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Far more than shards.
const STRIPES: usize = 64;

/// A `T` for each stripe of names.
#[derive(Debug)]
pub struct Striped<T> {
    hasher: RandomState,
    stripes: Box<[Mutex<T>]>,
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), stripes: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }
}

impl<T> Striped<T> {
    /// The part in which that name is.
    pub fn of(&self, name: &str) -> MutexGuard<'_, T> {
        lock(&self.stripes[self.part_of(name)])
    }

    /// Which of the [parts](Striped::parts) that is.
    pub fn part_of(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize % STRIPES
    }

    /// Every part, one after the other.
    pub fn parts(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.stripes.iter().map(lock)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single operation, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
