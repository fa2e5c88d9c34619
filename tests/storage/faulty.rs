//! A store in front of another, that fails or stalls when it is told to, and remembers what was committed.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use roomcast::store::{
    Batch, Durability, Erasure, Page, Record, RetentionCutoff, RoomEntry, Span, Store, StoreError, StoreErrorKind,
};

use crate::support::until;

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    Done,
    /// It is done, and takes its time.
    Late,
    /// Nothing is kept, and the archive is told so.
    Refused,
    /// It is kept, but the archive is told that it was not: the answer was lost.
    Unanswered,
}

/// A batch as it was committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) durability: Durability,
}

pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    /// Of the commits to come; those after them are done, or refused while the store is down.
    fates: Mutex<VecDeque<Fate>>,
    is_down: AtomicBool,
    finish_fails: AtomicBool,
    /// Messages are erased, and the answer is lost; once.
    loses_erasure: AtomicBool,
    is_stalled: Mutex<bool>,
    is_waited_for: AtomicBool,
    goes_on: Condvar,
    seen: Mutex<Vec<Seen>>,
}

pub(crate) const REFUSAL: &str = "this store is told to fail";

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            fates: Mutex::default(),
            is_down: AtomicBool::new(false),
            finish_fails: AtomicBool::new(false),
            loses_erasure: AtomicBool::new(false),
            is_stalled: Mutex::new(false),
            is_waited_for: AtomicBool::new(false),
            goes_on: Condvar::new(),
            seen: Mutex::default(),
        })
    }

    pub(crate) fn will(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().unwrap().extend(fates);
    }

    pub(crate) fn be_down(&self, is_down: bool) {
        self.is_down.store(is_down, SeqCst);
    }

    pub(crate) fn fail_to_finish(&self) {
        self.finish_fails.store(true, SeqCst);
    }

    /// The next messages that are erased in a room are, and the archive is told that they are not.
    pub(crate) fn lose_an_erasure(&self) {
        self.loses_erasure.store(true, SeqCst);
    }

    /// Commits wait from now on, until they may go on.
    pub(crate) fn stall(&self, is_stalled: bool) {
        *self.is_stalled.lock().unwrap() = is_stalled;
        self.goes_on.notify_all();
    }

    fn wait(&self) {
        let mut is_stalled = self.is_stalled.lock().unwrap();
        while *is_stalled {
            self.is_waited_for.store(true, SeqCst);
            is_stalled = self.goes_on.wait(is_stalled).unwrap();
        }
    }

    /// Until a commit waits.
    #[track_caller]
    pub(crate) fn until_stalled(&self) {
        until("a commit waits", || self.is_waited_for.load(SeqCst));
    }

    /// The batches that were committed so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn refusal<R>() -> Result<R, StoreError> {
    Err(StoreError::new(StoreErrorKind::Unavailable, REFUSAL))
}

impl Store for Faulty {
    fn begin(&self) -> Result<(), StoreError> {
        self.inner.begin()
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.wait();
        self.is_waited_for.store(false, SeqCst);
        let told = self.fates.lock().unwrap().pop_front();
        let otherwise = if self.is_down.load(SeqCst) { Fate::Refused } else { Fate::Done };
        let fate = told.unwrap_or(otherwise);
        if fate == Fate::Refused {
            return refusal();
        }
        if fate == Fate::Late {
            thread::sleep(Duration::from_millis(20));
        }
        self.inner.commit(batch)?;
        let bytes = batch.parts().flat_map(|run| run.messages()).map(|(.., body)| body.len()).sum();
        self.seen.lock().unwrap().push(Seen { messages: batch.len(), bytes, durability: batch.durability() });
        if fate == Fate::Unanswered { refusal() } else { Ok(()) }
    }

    fn finish(&self) -> Result<(), StoreError> {
        if self.finish_fails.load(SeqCst) { refusal() } else { self.inner.finish() }
    }

    fn let_go(&self) {
        // As behind a commit.
        self.wait();
        self.inner.let_go();
    }

    fn confirm(&self) -> Result<(), StoreError> {
        self.inner.confirm()
    }

    fn span(&self, room: &str, cut: RetentionCutoff) -> Result<Option<Span>, StoreError> {
        self.inner.span(room, cut)
    }

    fn read(&self, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError> {
        self.inner.read(room, range, page)
    }

    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError> {
        self.inner.rooms(after, limit)
    }

    fn remove(&self, room: &str, before: u64, limit: usize) -> Result<usize, StoreError> {
        self.inner.remove(room, before, limit)
    }

    fn erase(&self, author: &str, limit: usize) -> Result<usize, StoreError> {
        self.inner.erase(author, limit)
    }

    fn erase_in(&self, room: &str, erasure: Erasure<'_>, before: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let erased = self.inner.erase_in(room, erasure, before, limit)?;
        if self.loses_erasure.swap(false, SeqCst) { refusal() } else { Ok(erased) }
    }
}
