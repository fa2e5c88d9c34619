//! The store: the trait that a back end implements, and what is handed over by it.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::batch::Batch;
use super::error::{StoreError, StoreErrorKind};
use super::options::{Durability, Retention};
use crate::message::Epoch;

/// One message as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the room.
    pub sequence: u64,
    /// When it was published, on the broker's clock; 0 without one.
    pub time: u64,
    /// Who wrote it, if anybody is named.
    pub author: Option<String>,
    /// What the [`Codec`](super::Codec) made of it; `None` once it was erased, which leaves its place taken.
    pub body: Option<Vec<u8>>,
}

/// How far a room is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its newest incarnation.
    pub epoch: Epoch,
    /// The first sequence that is kept; `next` when none is. From here on none is missing.
    pub oldest: u64,
    /// The sequence after the newest one stored.
    pub next: u64,
    /// Whether nobody can have been given a message of this incarnation that is not stored: no run has ended uncleanly since the
    /// one in which it was written last, or it is [`Durability::Stored`].
    pub is_whole: bool,
    /// How safely this incarnation is kept, as [`Incarnation::durability`](super::Incarnation::durability) said last.
    pub durability: Durability,
}

/// A room that a store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEntry {
    /// Its name.
    pub name: String,
    /// How far it is stored.
    pub span: Span,
}

/// Somewhere to keep what rooms publish. Implement it to keep it elsewhere; the example `own_store` does.
///
/// # Guarantees asked for
/// - [`Store::commit`] keeps a batch whole or not at all; what is kept already is kept once (a batch may come again after an
///   error).
/// - A batch of [`Durability::Stored`](super::Durability::Stored) is on the disk when `commit` returns. Others may follow.
/// - Reading sees all that was committed before it began. It may go on beside a commit: neither waits long for the other.
/// - One process writes: after another has begun a run, whatever changes the store is refused as
///   [`StoreErrorKind::Overtaken`](super::StoreErrorKind::Overtaken), which is decided in the same transaction. So is a message
///   in whose place another stands.
/// - An error keeps nothing, loses nothing, and may pass: the archive comes again with the same.
///
/// Called from several threads: `commit` from one at a time, the others from any.
pub trait Store: Send + Sync + 'static {
    /// Begins a run: takes the store for this process alone, and notes whether the last run ended with [`Store::finish`].
    ///
    /// # Errors
    /// When another process has it, or it cannot be used.
    fn begin(&self) -> Result<(), StoreError>;

    /// Keeps new incarnations and the messages of a batch.
    ///
    /// # Errors
    /// As the store has it; nothing of the batch is kept then.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Says that everything ever published was committed. The run is over: the next one goes on in the same incarnations.
    ///
    /// # Errors
    /// When that cannot be written down; the next run then begins new incarnations where messages may be missing.
    fn finish(&self) -> Result<(), StoreError>;

    /// Lets go of all that keeps another process out, after [`Store::finish`] or instead of it: this one does not write any more. By
    /// itself it happens when the store is dropped.
    fn let_go(&self) {}

    /// Looks whether another process has begun a run since ours, without writing. It is asked every few seconds while nothing is
    /// committed, and when a room is opened; [`Store::commit`] is to see it by itself. Without it, who was overtaken learns it
    /// with the next commit.
    ///
    /// # Errors
    /// [`StoreErrorKind::Overtaken`](super::StoreErrorKind::Overtaken) when one has; others as the store has it.
    fn confirm(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How far a room is stored, what `cutoff` lets fall left out; `None` for an unknown one.
    ///
    /// # Errors
    /// As the store has it.
    fn span(&self, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>, StoreError>;

    /// Messages of the room in `range`, of its newest incarnation and of those before it as far as they go on from each other:
    /// the first `limit` of them, or with `newest_first` the last, the newest first. Fewer where together they would have more
    /// than `bytes_max`, but at least one.
    ///
    /// # Errors
    /// As the store has it.
    fn read(&self, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError>;

    /// Rooms in the order of their names, those after `after`.
    ///
    /// # Errors
    /// As the store has it.
    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError>;

    /// The names of those alone, without a look at their messages: where a store is damaged, one room must not hide the others.
    ///
    /// # Errors
    /// As the store has it.
    fn room_names(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        Ok(self.rooms(after, limit)?.into_iter().map(|room| room.name).collect())
    }

    /// Removes up to `limit` messages of a room that lie before `before`; how many it has removed.
    ///
    /// # Errors
    /// As the store has it.
    fn remove(&self, room: &str, before: u64, limit: usize) -> Result<usize, StoreError>;

    /// Erases what up to `limit` messages of an author say, in all rooms; their places stay taken. How many.
    ///
    /// # Errors
    /// As the store has it.
    fn erase(&self, author: &str, limit: usize) -> Result<usize, StoreError>;

    /// Erases what messages of one room say that lie before `before`, of its newest incarnation and of those before it as far as they
    /// go on from each other; their places stay taken. Up to `limit` of an author's; the sequences of those that are erased by it. What
    /// the author has said in incarnations that nobody can reach any more goes as well, and is not counted.
    /// When it returns fewer than `limit`, they are not to be found in the store's files, copies excepted, as far as that is in its
    /// power.
    ///
    /// # Errors
    /// As the store has it. A store that does not implement it erases by author alone, and says so.
    fn erase_in(&self, room: &str, erasure: Erasure<'_>, before: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let _ = (room, erasure, before, limit);
        Err(StoreError::new(StoreErrorKind::Other, "this store cannot erase messages of one room"))
    }

    /// What was removed and erased so far is to be found in the store's files no more, copies excepted, as far as that is in its power;
    /// called when all of it is.
    ///
    /// # Errors
    /// As the store has it.
    fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Which messages of a room are to be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store that passes one over would leave what is to go")]
pub enum Erasure<'a> {
    /// Those of an author.
    Author(&'a str),
    /// Those in these places.
    Sequences(&'a [u64]),
}

/// A store that is a file, which the program copies and checks itself.
pub trait FileStore: Store {
    /// Copies the whole store, as it is at this moment, into a new file, while it may be written on. The file appears when all of
    /// it is on the disk.
    ///
    /// # Errors
    /// When the file exists already or cannot be written, the disk is full, or there is nothing to copy.
    fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// Reads the whole file and says whether it is sound.
    ///
    /// # Errors
    /// [`StoreErrorKind::Damaged`](super::StoreErrorKind::Damaged) when it is not, or there is nothing in it, not even tables.
    fn check(&self) -> Result<(), StoreError>;

    /// What a person does to put a copy in its place: the end of a sentence that begins "to restore it,".
    fn restoring(&self) -> String;
}

/// How much of a range is read at once, and from which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The most messages.
    pub limit: usize,
    /// The most bytes of bodies, one message excepted.
    pub bytes_max: usize,
    /// Whether to read from the newest down.
    pub newest_first: bool,
}

/// What has outlived its retention at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionCutoff {
    /// Messages before this time.
    pub before_time: u64,
    /// All but so many.
    pub messages_max: Option<u64>,
}

impl RetentionCutoff {
    /// What `retention` lets fall at the time `now`, in milliseconds as the broker's clock has them.
    pub fn at(retention: Retention, now: u64) -> Self {
        let ttl = retention.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        Self { before_time: ttl.map_or(0, |ttl| now.saturating_sub(ttl)), messages_max: retention.messages_max }
    }
}

/// Has a store let go, on a thread of its own and for so long, if it is to be done elsewhere at all; whether it is done. Otherwise it is as soon
/// as the store answers.
pub(super) fn let_go_within(store: &Arc<dyn Store>, timeout: Option<Duration>) -> bool {
    let (done, is_done) = mpsc::channel();
    let spawned = timeout.and_then(|timeout| {
        let store = Arc::clone(store);
        let let_go = move || {
            store.let_go();
            // Who has waited long enough is gone.
            let _ = done.send(());
        };
        thread::Builder::new().name("roomcast-let-go".to_owned()).spawn(let_go).ok().map(|_| timeout)
    });
    match spawned {
        Some(timeout) => is_done.recv_timeout(timeout).is_ok(),
        None => {
            store.let_go();
            true
        }
    }
}
