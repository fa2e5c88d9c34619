//! How far a room is stored, and waiting for it.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::batch::Incarnation;
use super::environment::Environment;
use super::erased::ErasedMessages;
use super::options::Durability;

/// How far one incarnation of a room is stored.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use roomcast::store::*;
/// # struct Text;
/// # impl Codec<String> for Text {
/// #     fn encode(&self, message: &String, out: &mut Vec<u8>) { out.extend_from_slice(message.as_bytes()) }
/// #     fn decode(&self, stored: &[u8]) -> Result<String, Undecodable> {
/// #         String::from_utf8(stored.to_vec()).map_err(|_| Undecodable)
/// #     }
/// # }
/// # futures::executor::block_on(async {
/// use roomcast::{Broker, RoomOptions};
///
/// let broker = Broker::<String>::new();
/// let store = SqliteStore::in_memory()?;
/// let archive = Archive::start(&broker, store, Text, Options::all(Durability::Stored))?;
/// let ledger = archive.open("ledger", RoomOptions::new())?;
/// let watermark = archive.watermark(&ledger).expect("the room is kept");
/// let sequence = ledger.publish("a debt".to_owned())?;
/// watermark.reached(sequence + 1).await?;
/// assert_eq!(watermark.stored(), 1, "it is on the disk");
/// archive.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # }
/// ```
pub struct Watermark {
    pub(super) incarnation: Incarnation,
    stored: AtomicU64,
    /// The incarnation has ended, and is stored to its end.
    complete: AtomicBool,
    /// The archive has ended before everything was stored.
    given_up: AtomicBool,
    /// Nothing as long as nothing was removed or erased: of nearly all.
    taken_away: OnceLock<Box<TakenAway>>,
    /// As many as wait: tasks, of which each has one future, and those who take back what they do not wait for any more.
    waiters: Mutex<Vec<(u64, Waker)>>,
}

/// What is not there any more of an incarnation.
#[derive(Debug, Default)]
struct TakenAway {
    /// Messages before this one were removed.
    floor: AtomicU64,
    /// Of the messages before this one, some may have been erased since the ring took them.
    distrusted: AtomicU64,
    /// Those of which it is known that they were.
    erased: Arc<ErasedMessages>,
}

impl Watermark {
    pub(super) fn new(incarnation: Incarnation) -> Self {
        let first = incarnation.first;
        Self {
            incarnation,
            stored: AtomicU64::new(first),
            complete: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            taken_away: OnceLock::new(),
            waiters: Mutex::default(),
        }
    }

    /// The first sequence of this incarnation; what lies before it is of earlier ones.
    pub fn first(&self) -> u64 {
        self.incarnation.first
    }

    /// How safely this incarnation is kept, as it was said when it was opened.
    pub fn durability(&self) -> Durability {
        self.incarnation.durability
    }

    /// The sequence after the last one that is stored; all before it are.
    pub fn stored(&self) -> u64 {
        // Acquire: pairs with `advance`; what was committed can be read.
        self.stored.load(Acquire)
    }

    /// Waits until every sequence before `end` is stored, or the room has ended and all of it is. While the store is in trouble
    /// that takes as long as the trouble: bound it with a timeout of your runtime.
    ///
    /// # Errors
    /// [`NotStored`] when the archive has ended before that: it never will be.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time.
    pub async fn reached(&self, end: u64) -> Result<(), NotStored> {
        poll_fn(|context| self.poll_reached(end, context)).await
    }

    /// [`Watermark::reached`] for a plain thread, which sleeps meanwhile; false when it takes longer than `timeout`, or never
    /// happens.
    pub(super) fn is_reached_within(&self, end: u64, timeout: Duration, environment: &dyn Environment) -> bool {
        let waker = Waker::from(Arc::new(Sleeper(thread::current())));
        let until = environment.now() + timeout;
        loop {
            if let Poll::Ready(reached) = self.poll_reached(end, &mut Context::from_waker(&waker)) {
                return reached.is_ok();
            }
            if environment.now() >= until {
                return false;
            }
            environment.park(Some(until));
        }
    }

    /// [`Watermark::reached`] for those who poll.
    ///
    /// # Errors
    /// As there.
    pub fn poll_reached(&self, end: u64, context: &mut Context<'_>) -> Poll<Result<(), NotStored>> {
        if let Some(reached) = self.is_reached(end) {
            return Poll::Ready(reached);
        }
        let mut waiters = self.waiters();
        // Again, now that whoever moves the watermark sees us.
        if let Some(reached) = self.is_reached(end) {
            return Poll::Ready(reached);
        }
        match waiters.iter_mut().find(|(_, waker)| waker.will_wake(context.waker())) {
            Some((known, _)) => *known = end.min(*known),
            None => waiters.push((end, context.waker().clone())),
        }
        Poll::Pending
    }

    /// Takes back what [`Watermark::poll_reached`] was asked with that waker: it is neither woken nor kept any longer. For those
    /// who have a waker of its own for each of many rooms; a task that goes may leave its one.
    pub fn forget(&self, waker: &Waker) {
        let gone = {
            let mut waiters = self.waiters();
            let at = waiters.iter().position(|(_, known)| known.will_wake(waker));
            at.map(|at| waiters.swap_remove(at))
        };
        // Without the lock, as those that are woken.
        drop(gone);
    }

    fn is_reached(&self, end: u64) -> Option<Result<(), NotStored>> {
        if self.stored() >= end || self.is_complete() {
            Some(Ok(()))
        } else {
            self.is_given_up().then_some(Err(NotStored))
        }
    }

    pub(super) fn advance(&self, stored: u64) {
        // Release: pairs with `stored`.
        self.stored.fetch_max(stored, Release);
        self.wake(|end| end <= stored);
    }

    /// Says that the incarnation has ended and is stored to its end.
    pub(super) fn complete(&self) {
        // Release: pairs with `is_complete`.
        self.complete.store(true, Release);
        self.wake(|_| true);
    }

    /// Whether the room has ended, and is stored to its end.
    pub fn is_complete(&self) -> bool {
        // Acquire: pairs with `complete`.
        self.complete.load(Acquire)
    }

    /// Says that nothing more of the incarnation will be stored; to be said when that is so, whatever was stored.
    pub(super) fn give_up(&self) {
        // Release: pairs with `is_given_up`.
        self.given_up.store(true, Release);
        self.wake(|_| true);
    }

    /// Whether the archive has ended, so that the watermark stays where it is.
    pub fn is_given_up(&self) -> bool {
        // Acquire: pairs with `give_up`; where the watermark stands then is where it stays.
        self.given_up.load(Acquire)
    }

    /// Messages before this one were removed: nobody is to read them any more, whoever still has them.
    pub fn floor(&self) -> u64 {
        // Relaxed: what is hidden was removed from the store before; both say the same.
        self.taken_away.get().map_or(0, |taken_away| taken_away.floor.load(Relaxed))
    }

    pub(super) fn raise_floor(&self, floor: u64) {
        // Relaxed: as in `floor`.
        self.taken_away().floor.fetch_max(floor, Relaxed);
    }

    /// From this sequence on a room's ring shows what the store does: of what it holds before, some may have been erased. What was
    /// removed is another matter, of which [`Watermark::floor`] tells: it may still be given to who was there when it was published.
    pub fn ring_from(&self) -> u64 {
        // Relaxed: as in `floor`.
        self.taken_away.get().map_or(0, |taken_away| taken_away.distrusted.load(Relaxed))
    }

    pub(super) fn distrust_ring(&self, until: u64) {
        // Relaxed: as in `floor`.
        self.taken_away().distrusted.fetch_max(until, Relaxed);
    }

    /// The messages that were erased with [`Archive::erase_in`](super::Archive::erase_in), or are to be: nobody is to be given them,
    /// whoever still has them. Who holds this after the room has ended is told of what is erased then, too.
    pub fn erased(&self) -> &Arc<ErasedMessages> {
        &self.taken_away().erased
    }

    /// The same for whoever looks: nothing where none was.
    pub fn erased_if_any(&self) -> Option<&Arc<ErasedMessages>> {
        self.taken_away.get().map(|taken_away| &taken_away.erased)
    }

    fn taken_away(&self) -> &TakenAway {
        self.taken_away.get_or_init(Box::default)
    }

    fn wake(&self, is_due: impl Fn(u64) -> bool) {
        let due: Vec<Waker> = {
            let mut waiters = self.waiters();
            if waiters.is_empty() {
                return;
            }
            waiters.extract_if(.., |(end, _)| is_due(*end)).map(|(_, waker)| waker).collect()
        };
        // Without the lock: a waker may run code of the one who waits.
        due.into_iter().for_each(Waker::wake);
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        // Each change is a single operation.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watermark")
            .field("incarnation", &self.incarnation)
            .field("stored", &self.stored())
            .finish_non_exhaustive()
    }
}

/// The archive has ended before that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NotStored;

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("storage has ended before this was stored; open the room anew once an archive runs again")
    }
}

impl Error for NotStored {}

/// Wakes a thread.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::Broker;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn who_takes_back_what_it_waited_for_is_neither_woken_nor_kept() {
        let epoch = Broker::<u8>::new().room("hall").expect("there is space").epoch();
        let incarnation = Incarnation { room: "hall".to_owned(), epoch, first: 0, durability: Durability::Stored };
        let watermark = Watermark::new(incarnation);
        let counts = [(); 2].map(|()| Arc::<Count>::default());
        let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)).clone());
        for waker in &wakers {
            assert!(watermark.poll_reached(1, &mut Context::from_waker(waker)).is_pending());
        }
        watermark.forget(&wakers[0]);
        watermark.forget(&wakers[0]);
        assert_eq!(counts.each_ref().map(Arc::strong_count), [2, 3]);
        watermark.advance(1);
        assert_eq!(counts.map(|count| count.0.load(Relaxed)), [0, 1]);
    }
}
