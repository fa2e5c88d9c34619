//! How an archive is doing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, PoisonError};

use super::error::{StoreError, StoreErrorKind};

/// How an archive is doing. Figures; each is true of some moment of the last second or so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Messages committed since the start.
    pub stored: u64,
    /// Batches committed since the start.
    pub batches: u64,
    /// Messages published and not committed, in all rooms. Bounded by what the rings hold: a room that is a whole ring ahead
    /// of the store takes no more.
    pub lag: u64,
    /// What the store said the last time, while it does not do what it is asked.
    pub trouble: Option<(StoreErrorKind, String)>,
    /// Whether that is for good: nothing more is stored until the process is restarted.
    pub is_stopped: bool,
}

/// The same, where it is kept.
#[derive(Debug, Default)]
pub(super) struct StatusCell {
    pub(super) stored: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) lag: AtomicU64,
    in_trouble: AtomicBool,
    is_stopped: AtomicBool,
    trouble: Mutex<Option<(StoreErrorKind, String)>>,
}

impl StatusCell {
    pub(super) fn read(&self) -> Status {
        // Relaxed: figures.
        Status {
            stored: self.stored.load(Relaxed),
            batches: self.batches.load(Relaxed),
            lag: self.lag.load(Relaxed),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            is_stopped: self.is_stopped(),
        }
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        // Relaxed: a hint.
        self.in_trouble.load(Relaxed)
    }

    pub(super) fn is_stopped(&self) -> bool {
        // Acquire: pairs with `stop`; who sees it finds why.
        self.is_stopped.load(Acquire)
    }

    /// Takes note that nothing more will be stored, and why.
    pub(super) fn stop(&self, error: &StoreError) {
        self.note(Some(error));
        // Release: pairs with `is_stopped`.
        self.is_stopped.store(true, Release);
    }

    /// Takes note of how a commit went; true when that is news.
    pub(super) fn note(&self, error: Option<&StoreError>) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let now = error.map(|error| (error.kind(), error.to_string()));
        // Relaxed: as above.
        self.in_trouble.store(now.is_some(), Relaxed);
        let is_news = *trouble != now;
        *trouble = now;
        is_news
    }
}
