//! The way to the batch writer: requests that are left for it, and what wakes it.

use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, mpsc};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::environment::Environment;
use super::watermark::Watermark;

/// Requests that wait for the writer at most; who comes with more tries again until it gives up.
const REQUESTS_MAX: usize = 1_024;

/// Between two tries to leave a request.
const REQUEST_RETRY: Duration = Duration::from_millis(1);

/// What the batch writer is asked for.
pub(super) enum Request {
    /// Answer when everything published before is committed.
    Flush(Answer),
    /// Commit this incarnation soon, though nothing was published in it.
    Know(Arc<Watermark>),
}

/// Why a request was not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// Too many others wait.
    Busy,
    /// Nobody is there any more.
    Ended,
}

/// What a thread that waits for a flush is told by: of an answer, or that none comes.
pub(super) struct Answer {
    /// There until it is dropped.
    done: Option<mpsc::Sender<()>>,
    thread: Thread,
}

impl Answer {
    /// An answer to this thread, and where it comes.
    pub(super) fn to_this_thread() -> (Self, Receiver<()>) {
        let (done, answer) = mpsc::channel();
        (Self { done: Some(done), thread: thread::current() }, answer)
    }

    /// Somebody who no longer waits is not told.
    pub(super) fn give(self) {
        let _ = self.done.as_ref().map(|done| done.send(()));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // First, so that the thread finds that no answer comes.
        drop(self.done.take());
        self.thread.unpark();
    }
}

/// The way to the batch writer.
#[derive(Clone)]
pub(super) struct Post {
    requests: SyncSender<Request>,
    alarm: Arc<Alarm>,
    environment: Arc<dyn Environment>,
}

impl Post {
    /// A way to whom `alarm` wakes, and where what is left there comes.
    pub(super) fn new(alarm: Arc<Alarm>, environment: Arc<dyn Environment>) -> (Self, Receiver<Request>) {
        let (requests, inbox) = mpsc::sync_channel(REQUESTS_MAX);
        (Self { requests, alarm, environment }, inbox)
    }

    /// Leaves a request, for which it waits while too many others are there; without `until`, however long that takes.
    ///
    /// # Errors
    /// [`Unsent::Busy`] when that takes until then; [`Unsent::Ended`] when the writer is gone.
    pub(super) fn send_until(&self, mut request: Request, until: Option<Instant>) -> Result<(), Unsent> {
        loop {
            request = match self.requests.try_send(request) {
                Ok(()) => {
                    self.alarm.ring();
                    return Ok(());
                }
                Err(TrySendError::Full(request)) => request,
                Err(TrySendError::Disconnected(_)) => return Err(Unsent::Ended),
            };
            if until.is_some_and(|until| self.environment.now() >= until) {
                return Err(Unsent::Busy);
            }
            self.environment.sleep(REQUEST_RETRY);
        }
    }

    /// Tells the writer to end if it has stopped: nobody publishes any more.
    pub(super) fn close(&self) {
        // Release: pairs with `is_closed`.
        self.alarm.closed.store(true, Release);
        self.alarm.ring();
    }

    /// Tells the writer to end without having stored everything, should it be in trouble.
    pub(super) fn give_up(&self) {
        // Release: pairs with `is_given_up`.
        self.alarm.given_up.store(true, Release);
        self.alarm.ring();
    }
}

/// Wakes the thread that steps the batch writer, and says what it is to see then.
pub(super) struct Alarm {
    thread: Thread,
    rung: AtomicBool,
    given_up: AtomicBool,
    closed: AtomicBool,
}

impl Alarm {
    /// One that wakes this thread.
    pub(super) fn of_this_thread() -> Arc<Self> {
        Arc::new(Self {
            thread: thread::current(),
            rung: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    fn ring(&self) {
        // AcqRel: what came before is seen by who takes it. Pairs with `take`.
        if !self.rung.swap(true, AcqRel) {
            self.thread.unpark();
        }
    }

    /// Whether it has rung since it was last asked.
    pub(super) fn take(&self) -> bool {
        // AcqRel: as in `ring`.
        self.rung.swap(false, AcqRel)
    }

    /// Whether it has rung and nobody has asked.
    pub(super) fn is_rung(&self) -> bool {
        // Relaxed: a hint; `take` is what counts.
        self.rung.load(Relaxed)
    }

    /// Waits until it rings.
    pub(super) fn wait(&self, until: Option<Instant>, environment: &dyn Environment) {
        if !self.take() {
            environment.park(until);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        // Acquire: pairs with `close`.
        self.closed.load(Acquire)
    }

    pub(super) fn is_given_up(&self) -> bool {
        // Acquire: pairs with `give_up`.
        self.given_up.load(Acquire)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
