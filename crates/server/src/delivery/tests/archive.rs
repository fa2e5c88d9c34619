//! An archive over a store of nothing, stepped by hand: what is on the disk is what a test says.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use roomcast::internal::{BatchWriter, Environment, Next};
use roomcast::store::{
    Archive, Batch, Durability, Options, Page, Record, RetentionCutoff, RoomEntry, Span, Store, StoreError,
    StoreErrorKind,
};
use roomcast::{Broker, Room, RoomOptions};
use roomcast_protocol::Publication;

use crate::rooms::stored::PublicationCodec;
use crate::rooms::visible::Edge;

/// Steps that are more than enough for a batch writer to come to rest.
const STEPS_MAX: usize = 1_000;

/// Takes everything, until it refuses, and has nothing.
#[derive(Debug)]
struct Nothing {
    refuses: Arc<AtomicBool>,
}

impl Store for Nothing {
    fn begin(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&self, _: &Batch) -> Result<(), StoreError> {
        match self.refuses.load(Relaxed) {
            true => Err(StoreError::new(StoreErrorKind::Full, "the disk is full")),
            false => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn span(&self, _: &str, _: RetentionCutoff) -> Result<Option<Span>, StoreError> {
        Ok(None)
    }

    fn read(&self, _: &str, _: Range<u64>, _: Page) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    fn rooms(&self, _: Option<&str>, _: usize) -> Result<Vec<RoomEntry>, StoreError> {
        Ok(Vec::new())
    }

    fn remove(&self, _: &str, _: u64, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    fn erase(&self, _: &str, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// A clock that stands still; who waits looks again.
struct Still {
    now: Instant,
    drawn: AtomicU64,
}

impl Environment for Still {
    fn now(&self) -> Instant {
        self.now
    }

    fn park(&self, _: Option<Instant>) {
        thread::yield_now();
    }

    fn sleep(&self, _: Duration) {
        unreachable!("nobody waits for the writer");
    }

    fn draw(&self) -> u64 {
        self.drawn.fetch_add(1, Relaxed) + 1
    }
}

/// A `stored` room's way to the disk.
pub(super) struct Disk {
    /// Until it is given up.
    archive: Option<Archive<Publication>>,
    writer: BatchWriter<Publication>,
    refuses: Arc<AtomicBool>,
}

impl Disk {
    pub(super) fn new(broker: &Broker<Publication>) -> Self {
        let refuses = Arc::new(AtomicBool::new(false));
        let store = Arc::new(Nothing { refuses: Arc::clone(&refuses) });
        let environment = Arc::new(Still { now: Instant::now(), drawn: AtomicU64::new(0) });
        let options = Options::all(Durability::Stored);
        let started = Archive::start_stepped(broker, store, Box::new(PublicationCodec), options, environment);
        let (archive, writer) = started.expect("a store that takes everything");
        Self { archive: Some(archive), writer, refuses }
    }

    fn archive(&self) -> &Archive<Publication> {
        self.archive.as_ref().expect("it is not given up")
    }

    pub(super) fn open(&self, name: &str) -> Room<Publication> {
        self.archive().open(name, RoomOptions::new()).expect("there is space")
    }

    pub(super) fn edge(&self, room: &Room<Publication>) -> Edge {
        Edge::archived(self.archive(), room).expect("a stored room has its watermark")
    }

    /// What was published is stored.
    pub(super) fn store(&mut self) {
        for _ in 0..STEPS_MAX {
            match self.writer.step() {
                Next::Now => {}
                Next::Wait(_) if self.writer.is_woken() => {}
                _ => return,
            }
        }
        panic!("the writer never comes to rest");
    }

    /// The history of a room is removed, up to where it stands.
    pub(super) fn remove(&mut self, name: &str) {
        let archive = self.archive.as_ref().expect("it is not given up");
        let writer = &mut self.writer;
        thread::scope(|scope| {
            let removal = scope.spawn(|| archive.remove(name));
            // The store has no messages to remove; the writer is asked whether it has all of them.
            for _ in 0..STEPS_MAX * STEPS_MAX {
                if removal.is_finished() {
                    break;
                }
                writer.step();
                thread::yield_now();
            }
            removal.join().expect("it does not panic").expect("it is removed");
        });
    }

    /// The archive ends without having stored what was published since.
    pub(super) fn give_up(&mut self) {
        self.refuses.store(true, Relaxed);
        self.archive = None;
        assert!(matches!(self.writer.step(), Next::Ended(Err(_))), "something was not stored");
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("archive", &self.archive).finish_non_exhaustive()
    }
}
