//! State by name that all shards share, striped so that two of them seldom want the same part.

use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(feature = "failpoint")]
pub use self::stepped::wait_for_locks_by;
#[cfg(feature = "failpoint")]
type Hashes = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
#[cfg(not(feature = "failpoint"))]
type Hashes = std::hash::RandomState;

/// Far more than shards.
const STRIPES: usize = 64;

/// A `T` for each stripe of names.
#[derive(Debug)]
pub struct Striped<T> {
    /// At random, so that nobody can choose names that meet; but not in tests, of which some are to do the same again.
    hasher: Hashes,
    stripes: Box<[Mutex<T>]>,
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self { hasher: Hashes::default(), stripes: (0..STRIPES).map(|_| Mutex::default()).collect() }
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
    #[cfg(feature = "failpoint")]
    if let Some(locked) = stepped::lock(mutex) {
        return locked;
    }
    // Each change is a single operation, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks of threads that a simulation steps.
#[cfg(feature = "failpoint")]
mod stepped {
    use std::cell::Cell;
    use std::sync::{Mutex, MutexGuard, TryLockError};

    thread_local! {
        static WAIT: Cell<Option<fn()>> = const { Cell::new(None) };
    }

    /// Has this thread call `wait` again and again, as long as another one holds what it would lock, instead of sleeping.
    pub fn wait_for_locks_by(wait: fn()) {
        WAIT.set(Some(wait));
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        let wait = WAIT.get()?;
        loop {
            match mutex.try_lock() {
                Ok(locked) => return Some(locked),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => wait(),
            }
        }
    }
}
