//! The batch writer: the thread that reads rooms and commits what they publish.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::backend::{RetentionCutoff, Store};
use super::batch::Incarnation;
use super::batch_builder::BatchBuilder;
use super::codec::Codec;
use super::error::{StoreError, StoreErrorKind};
use super::incarnations::Incarnations;
use super::options::{Durability, Options};
use super::status::StatusCell;
use super::watermark::Watermark;
use crate::error::TryRecvError;
use crate::room::{PatternSubscription, RoomKey};
use crate::sync::guard;

/// Requests that wait for the thread at most; who comes with more tries again until it gives up.
const REQUESTS_MAX: usize = 1_024;

/// Between two tries to leave a request.
const REQUEST_RETRY: Duration = Duration::from_millis(1);

/// Between two tries of a commit that fails, at first and at last.
const RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// How often ending the run is tried.
const FINISH_TRIES: u32 = 3;

/// How often the rooms' lag is summed up, at most; it may take a hundredth of the time.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether the store is still ours, while nothing is committed, which looks as well.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(2);

/// How often what has outlived its retention is taken out.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// Rooms whose retention is looked after, and messages that are removed, between two batches.
const RETENTION_ROOMS: usize = 64;
const RETENTION_MESSAGES: usize = 4_096;

/// What is kept of the buffer of a large batch.
const BYTES_KEPT: usize = 1 << 20;

/// What the thread and the archive share.
pub(super) struct Shared<T> {
    pub(super) store: Arc<dyn Store>,
    pub(super) codec: Box<dyn Codec<T>>,
    pub(super) options: Options,
    pub(super) incarnations: Incarnations,
    pub(super) status: StatusCell,
}

/// What the thread is asked for.
pub(super) enum Request {
    /// Answer when everything published before is committed.
    Flush(mpsc::Sender<()>),
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

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Post {
    requests: SyncSender<Request>,
    alarm: Arc<Alarm>,
}

impl Post {
    /// Leaves a request, for which it waits while too many others are there.
    ///
    /// # Errors
    /// [`Unsent::Busy`] when that takes until then; [`Unsent::Ended`] when the thread is gone.
    pub(super) fn send_until(&self, mut request: Request, until: Instant) -> Result<(), Unsent> {
        loop {
            request = match self.requests.try_send(request) {
                Ok(()) => {
                    self.alarm.ring();
                    return Ok(());
                }
                Err(TrySendError::Full(request)) => request,
                Err(TrySendError::Disconnected(_)) => return Err(Unsent::Ended),
            };
            if Instant::now() >= until {
                return Err(Unsent::Busy);
            }
            thread::sleep(REQUEST_RETRY);
        }
    }

    /// Tells the thread to end if it has stopped: nobody publishes any more.
    pub(super) fn close(&self) {
        // Release: pairs with `is_closed`.
        self.alarm.closed.store(true, Release);
        self.alarm.ring();
    }

    /// Tells the thread to end without having stored everything, should it be in trouble.
    pub(super) fn give_up(&self) {
        // Release: pairs with `is_given_up`.
        self.alarm.given_up.store(true, Release);
        self.alarm.ring();
    }
}

/// Wakes the thread.
struct Alarm {
    thread: Thread,
    rung: AtomicBool,
    given_up: AtomicBool,
    closed: AtomicBool,
}

impl Alarm {
    fn ring(&self) {
        // AcqRel: what came before is seen by the thread that takes it. Pairs with `wait`.
        if !self.rung.swap(true, AcqRel) {
            self.thread.unpark();
        }
    }

    fn wait(&self, until: Option<Instant>) {
        // AcqRel: as in `ring`.
        if self.rung.swap(false, AcqRel) {
            return;
        }
        match until {
            Some(until) => thread::park_timeout(until.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
        self.rung.swap(false, AcqRel);
    }

    fn is_closed(&self) -> bool {
        // Acquire: pairs with `close`.
        self.closed.load(Acquire)
    }

    fn is_given_up(&self) -> bool {
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

/// The state of the thread.
pub(super) struct BatchWriter<T> {
    shared: Arc<Shared<T>>,
    pattern: PatternSubscription<T>,
    watermarks: HashMap<RoomKey, Arc<Watermark>>,
    builder: BatchBuilder,
    /// When the first message of the batch was read.
    since: Option<Instant>,
    /// Incarnations that have ended, and whose last messages are in the batch.
    ended: Vec<Arc<Watermark>>,
    flushes: Vec<mpsc::Sender<()>>,
    requests: Receiver<Request>,
    alarm: Arc<Alarm>,
    lag_due: Instant,
    confirm_due: Instant,
    retention: Sweep,
}

/// However the thread ends, nobody waits for it for ever.
impl<T> Drop for BatchWriter<T> {
    fn drop(&mut self) {
        self.answer_all();
    }
}

impl<T> BatchWriter<T> {
    /// Tells all who wait for a watermark that nothing more will be stored.
    fn answer_all(&self) {
        self.shared.incarnations.give_up();
        self.watermarks.values().chain(&self.ended).for_each(|watermark| watermark.give_up());
    }
}

/// How much of what rooms have published is in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    /// As much as fits.
    Some,
    /// All there was.
    All,
    /// All there will ever be.
    Last,
}

/// Where the thread is in letting go what has outlived its retention.
struct Sweep {
    due: Instant,
    after: Option<String>,
}

impl<T: Send + Sync + 'static> BatchWriter<T> {
    /// Starts the thread. It ends, and says how, when the broker is closed and everything is stored, or when it is given up.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(
        shared: Arc<Shared<T>>,
        pattern: PatternSubscription<T>,
    ) -> std::io::Result<(Post, thread::JoinHandle<Result<(), StoreError>>)> {
        let (requests, inbox) = mpsc::sync_channel(REQUESTS_MAX);
        let (hello, alarm) = mpsc::channel();
        let thread = thread::Builder::new().name("roomcast-storage".to_owned()).spawn(move || {
            let alarm = Arc::new(Alarm {
                thread: thread::current(),
                rung: AtomicBool::new(false),
                given_up: AtomicBool::new(false),
                closed: AtomicBool::new(false),
            });
            let _ = hello.send(Arc::clone(&alarm));
            let now = Instant::now();
            let writer = Self {
                shared,
                pattern,
                watermarks: HashMap::new(),
                builder: BatchBuilder::default(),
                since: None,
                ended: Vec::new(),
                flushes: Vec::new(),
                requests: inbox,
                alarm,
                lag_due: now,
                confirm_due: now + CONFIRM_INTERVAL,
                retention: Sweep { due: now, after: None },
            };
            writer.run()
        })?;
        let alarm = alarm.recv().map_err(std::io::Error::other)?;
        Ok((Post { requests, alarm }, thread))
    }

    fn run(mut self) -> Result<(), StoreError> {
        // A codec may panic. What is half done is only held from then on.
        let kept = guard(|| self.keep()).unwrap_or_else(|panicked| {
            let text = format!(
                "the storage thread panicked ({}); nothing more is stored; restart this process",
                panicked.text()
            );
            Err(StoreError::new(StoreErrorKind::Other, text))
        });
        if let Err(error) = &kept {
            self.stop(error);
        }
        kept
    }

    /// Answers all who wait, and stays until the archive is closed: as long as the rooms are subscribed to, those that are a ring
    /// ahead take nothing more that would be lost.
    fn stop(&mut self, error: &StoreError) {
        if !self.alarm.is_given_up() {
            tracing::error!(%error, "storage has stopped");
        }
        self.shared.status.stop(error);
        self.answer_all();
        // Whoever waits for a flush learns that there is none, and so does who asks from now on.
        self.requests = mpsc::sync_channel(1).1;
        self.flushes.clear();
        while !self.alarm.is_closed() && !self.alarm.is_given_up() {
            self.alarm.wait(None);
        }
    }

    /// Until the broker is closed and everything is stored, or it is given up, or must not go on.
    fn keep(&mut self) -> Result<(), StoreError> {
        let waker = Waker::from(Arc::clone(&self.alarm));
        let mut context = Context::from_waker(&waker);
        loop {
            self.take_requests();
            let gathered = self.gather(&mut context);
            if gathered == Gathered::Last || self.is_due() {
                self.commit()?;
            }
            match gathered {
                Gathered::Some => {}
                Gathered::All => {
                    // Somebody who no longer waits is not told.
                    let is_committed = self.builder.batch.is_empty();
                    for done in self.flushes.drain(..).filter(|_| is_committed) {
                        let _ = done.send(());
                    }
                }
                Gathered::Last => return self.finish(),
            }
            if self.alarm.is_given_up() {
                // Nobody is there to ask for more, and the broker runs on: what comes last is unknown.
                return self.commit();
            }
            self.watch()?;
            if gathered == Gathered::All {
                let chore = self.next_chore();
                let until = self.batch_due().map_or(chore, |due| due.min(chore));
                self.alarm.wait(Some(until));
            }
        }
    }

    fn take_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Flush(done) => self.flushes.push(done),
                Request::Know(watermark) => {
                    self.builder.incarnation(&watermark);
                    self.since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Reads what there is, until the batch is full.
    fn gather(&mut self, context: &mut Context<'_>) -> Gathered {
        while !self.is_full() {
            match self.pattern.poll_listed(context) {
                Poll::Ready(Some(key)) => self.read(key),
                Poll::Ready(None) => return Gathered::Last,
                Poll::Pending => return Gathered::All,
            }
        }
        Gathered::Some
    }

    fn read(&mut self, key: RoomKey) {
        let Some(subscription) = self.pattern.get_mut(key) else { return };
        let watermark = match self.watermarks.get(&key) {
            Some(watermark) => Arc::clone(watermark),
            None => {
                let room = subscription.room();
                let known = self.shared.incarnations.of(room.name(), room.epoch());
                let watermark = known.unwrap_or_else(|| {
                    // Somebody has opened it without asking us: an incarnation of its own.
                    let durability = (self.shared.options.durability)(room.name()).unwrap_or_default();
                    let first = subscription.position().sequence;
                    let incarnation =
                        Incarnation { room: room.name().to_owned(), epoch: room.epoch(), first, durability };
                    let watermark = Arc::new(Watermark::new(incarnation));
                    self.shared.incarnations.put(&watermark);
                    watermark
                });
                if watermark.incarnation.durability == Durability::Stored {
                    // Who is given a message after it was stored finds it in the ring.
                    subscription.hold();
                }
                self.watermarks.insert(key, Arc::clone(&watermark));
                watermark
            }
        };
        let options = &self.shared.options;
        let mut incarnation = None;
        loop {
            if self.builder.is_full(options) {
                return;
            }
            // One by one: how large they are shows when they are encoded, and what was read cannot be put back.
            match subscription.try_recv_batch(1) {
                Ok(batch) => {
                    let incarnation = *incarnation.get_or_insert_with(|| self.builder.incarnation_at(&watermark, key));
                    self.builder.take(incarnation, &batch, &*self.shared.codec);
                    self.since.get_or_insert_with(Instant::now);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Closed(_) | TryRecvError::Disconnected(_)) => {
                    // The key may be another room's from here on.
                    drop(self.pattern.leave(key));
                    self.watermarks.remove(&key);
                    self.builder.left(&watermark);
                    self.ended.push(watermark);
                    return;
                }
                Err(TryRecvError::Lagged(missed)) => {
                    // A blocking subscription is not overrun.
                    tracing::error!(room = watermark.incarnation.room, missed, "messages were not stored");
                    debug_assert!(false, "{missed} messages were not stored");
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.builder.is_full(&self.shared.options)
    }

    /// Whether to commit now.
    fn is_due(&self) -> bool {
        let is_awaited = self.builder.batch.durability == Durability::Stored && !self.builder.batch.is_empty();
        let is_late = self.batch_due().is_some_and(|due| due <= Instant::now());
        is_awaited || is_late || self.is_full() || !self.flushes.is_empty() || !self.ended.is_empty()
    }

    fn batch_due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.shared.options.batch_delay)
    }

    fn next_chore(&self) -> Instant {
        match self.shared.options.retains_all {
            true => self.lag_due,
            false => self.lag_due.min(self.retention.due),
        }
        .min(self.confirm_due)
    }

    /// Commits the batch, however long it takes, and says so to all who wait.
    ///
    /// # Errors
    /// When the archive gives up, what the store said last; [`StoreErrorKind::Overtaken`] at once.
    fn commit(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let status = &shared.status;
        if !self.builder.batch.is_empty() {
            let mut pause = RETRY[0];
            while let Err(error) = self.shared.store.commit(&self.builder.batch) {
                if error.kind() == StoreErrorKind::Overtaken {
                    return Err(error);
                }
                if status.note(Some(&error)) {
                    tracing::error!(%error, messages = self.builder.batch.len(), "the store does not take messages; trying again");
                }
                if self.alarm.is_given_up() {
                    return Err(error);
                }
                self.sum_up_lag();
                self.alarm.wait(Some(Instant::now() + pause));
                pause = (pause * 2).min(RETRY[1]);
            }
            if status.note(None) {
                tracing::info!("the store takes messages again");
            }
            // Relaxed: figures.
            status.stored.fetch_add(self.builder.batch.len() as u64, Relaxed);
            status.batches.fetch_add(1, Relaxed);
            for (watermark, key, stored) in self.builder.advanced() {
                if watermark.incarnation.durability == Durability::Stored
                    && let Some(subscription) = key.and_then(|key| self.pattern.get_mut(key))
                {
                    subscription.let_go(stored);
                }
                watermark.advance(stored);
            }
            self.builder.clear(BYTES_KEPT);
            self.since = None;
            self.confirm_due = Instant::now() + CONFIRM_INTERVAL;
        }
        for watermark in self.ended.drain(..) {
            self.shared.incarnations.forget(&watermark);
            watermark.complete();
        }
        Ok(())
    }

    /// Ends the run; tried again, since what broke while nothing was written shows now.
    fn finish(&self) -> Result<(), StoreError> {
        for _ in 1..FINISH_TRIES {
            match self.shared.store.finish() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == StoreErrorKind::Overtaken => return Err(error),
                Err(error) => tracing::warn!(%error, "the run could not be ended; trying again"),
            }
            self.alarm.wait(Some(Instant::now() + RETRY[0]));
        }
        self.shared.store.finish()
    }

    /// What is done now and then.
    ///
    /// # Errors
    /// [`StoreErrorKind::Overtaken`].
    fn watch(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.lag_due <= now {
            self.sum_up_lag();
        }
        if self.confirm_due <= now {
            if let Err(error) = self.shared.store.confirm()
                && error.kind() == StoreErrorKind::Overtaken
            {
                return Err(error);
            }
            // What else is wrong shows where something is to be written.
            self.confirm_due = Instant::now() + CONFIRM_INTERVAL;
        }
        if !self.shared.options.retains_all && self.retention.due <= now {
            let Sweep { after, .. } = &mut self.retention;
            let after = after.take();
            let more = match self.let_go(after.as_deref()) {
                Ok(more) => more,
                Err(error) if error.kind() == StoreErrorKind::Overtaken => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "old messages could not be taken out; trying again in a minute");
                    None
                }
            };
            self.retention.due = if more.is_some() { now } else { now + RETENTION_INTERVAL };
            self.retention.after = more;
        }
        Ok(())
    }

    fn sum_up_lag(&mut self) {
        let start = Instant::now();
        let keys: Vec<RoomKey> = self.watermarks.keys().copied().collect();
        let mut unread = 0;
        for key in keys {
            unread += self.pattern.get_mut(key).map_or(0, |room| room.lag());
        }
        // Relaxed: a figure.
        self.shared.status.lag.store(unread + self.builder.batch.len() as u64, Relaxed);
        self.lag_due = start + LAG_INTERVAL.max(start.elapsed() * 100);
    }

    /// Takes out what has outlived its retention in some rooms; after which one to go on, if there are more.
    fn let_go(&self, after: Option<&str>) -> Result<Option<String>, StoreError> {
        let Shared { store, options, .. } = &*self.shared;
        let rooms = store.rooms(after, RETENTION_ROOMS)?;
        let mut left = RETENTION_MESSAGES;
        let mut done = None;
        for room in &rooms {
            let retention = (options.retention)(&room.name);
            if retention.is_bounded() {
                let now = options.clock.as_ref().map_or(0, |clock| clock(&room.name));
                if let Some(span) = store.span(&room.name, RetentionCutoff::at(retention, now))?
                    && span.oldest > room.span.oldest
                {
                    left -= store.remove(&room.name, span.oldest, left)?.min(left);
                }
            }
            if left == 0 {
                // The same room again, until nothing is left of what goes.
                return Ok(Some(done.unwrap_or_default()));
            }
            done = Some(room.name.clone());
        }
        Ok(done.filter(|_| rooms.len() == RETENTION_ROOMS))
    }
}
