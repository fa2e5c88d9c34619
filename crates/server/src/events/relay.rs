//! The thread that posts the log to the backend: in order, batch by batch, each until it is taken.
//!
//! What the backend has answered with a status of success it has taken, and nothing else moves the cursor. So whatever the backend
//! does (it is slow, gone, or says what it likes), it is told the same again, first soon and then more seldom.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::EventsError;
use super::event::Event;
use super::journal::Journal;
use super::log::{self, Position};
use super::post::Post;
use super::writer::Alarm;
use crate::config::RoomEventsOptions;
use crate::ops::metrics::RoomEventMetrics;
use crate::util::rng::Rng;

/// How long the first wait is after a failure; each is twice the one before it.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest wait: so much later a backend that is back is told of it.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// Bytes of a batch, unless a single event has more: below what web servers take of a body when nobody has told them otherwise.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The same whenever the same events are posted.
    pub(super) id: String,
    pub(super) body: Vec<u8>,
}

/// Says something to a backend.
pub(super) trait Backend {
    /// Posts a batch; done when it was answered with success.
    ///
    /// # Errors
    /// Why it is not known to be taken, without anything secret.
    fn post(&self, batch: &Batch) -> impl Future<Output = Result<(), String>>;
}

/// What a relay does, at this moment.
#[derive(Debug)]
pub(super) struct Orders<B> {
    /// Nobody is told anything without one.
    pub(super) backend: Option<Arc<B>>,
    /// The most events of a batch.
    pub(super) batch_max: usize,
}

impl<B> Clone for Orders<B> {
    fn clone(&self) -> Self {
        Self { backend: self.backend.clone(), batch_max: self.batch_max }
    }
}

impl Orders<Post> {
    /// Those that are configured, for a relay that works on that runtime.
    ///
    /// # Errors
    /// Which option cannot be used, and why.
    fn new(options: &RoomEventsOptions, runtime: &Handle) -> Result<Self, EventsError> {
        let backend = options.endpoint.is_some().then(|| Post::new(options, runtime)).transpose()?;
        Ok(Self { backend: backend.map(Arc::new), batch_max: options.batch_size })
    }
}

/// The relay of a server.
#[derive(Debug)]
pub(super) struct Relay {
    thread: JoinHandle<()>,
    heads: watch::Sender<u64>,
    orders: watch::Sender<Orders<Post>>,
    runtime: Handle,
    /// Until when it may go on, once the server ends.
    end: watch::Sender<Option<Instant>>,
}

impl Relay {
    /// Begins to deliver the log of a file from `position` on.
    ///
    /// # Errors
    /// When the system refuses a thread, or the log cannot be read.
    pub(super) fn start<Clock: Fn() -> u64 + Send + 'static>(
        path: &Path,
        options: &RoomEventsOptions,
        position: Position,
        journal: Arc<Journal>,
        (metrics, clock, rng): (RoomEventMetrics, Clock, Rng),
    ) -> Result<Self, EventsError> {
        let connection = log::open_to_read(path)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .map_err(|error| EventsError::io("no runtime for room events", error))?;
        let handle = runtime.handle().clone();
        let (orders, new_orders) = watch::channel(Orders::new(options, &handle)?);
        let (heads, new_heads) = watch::channel(position.head);
        let (end, ends) = watch::channel(None);
        let courier = Courier {
            connection,
            orders: new_orders,
            position,
            journal,
            metrics,
            clock,
            rng,
            new_heads,
            ends,
            batch_now: options.batch_size,
            backoff: BACKOFF_MIN,
        };
        let thread = thread::Builder::new()
            .name("roomcast-relay".to_owned())
            .spawn(move || run(runtime, courier))
            .map_err(|error| EventsError::io("no thread for room events", error))?;
        Ok(Self { thread, heads, orders, runtime: handle, end })
    }

    /// What it would do by other options, to be [given](Relay::give) to it when all else can be done as well.
    ///
    /// # Errors
    /// Which option cannot be used, and why.
    pub(super) fn prepare(&self, options: &RoomEventsOptions) -> Result<Orders<Post>, EventsError> {
        Orders::new(options, &self.runtime)
    }

    /// Has it go on by these; a batch that is under way comes to its end as it began.
    pub(super) fn give(&self, orders: Orders<Post>) {
        self.orders.send_replace(orders);
    }

    /// Where it hears of new events.
    pub(super) fn heads(&self) -> watch::Sender<u64> {
        self.heads.clone()
    }

    /// Delivers what is left, as long as the backend takes it and the time is not up.
    pub(super) fn close_within(self, patience: Duration) {
        self.end.send_replace(Some(Instant::now() + patience));
        // If it has panicked, it has said so.
        let _ = self.thread.join();
    }
}

/// Delivers until the server ends.
pub(super) fn run<B: Backend, Clock: Fn() -> u64>(runtime: Runtime, courier: Courier<B, Clock>) {
    let _alarm = Alarm(courier.metrics.clone());
    runtime.block_on(courier.run());
    // A name server may hold a thread of it for long, and nobody waits for what it says.
    runtime.shutdown_background();
}

/// Delivers.
pub(super) struct Courier<B, Clock> {
    pub(super) connection: Connection,
    pub(super) orders: watch::Receiver<Orders<B>>,
    pub(super) position: Position,
    pub(super) journal: Arc<Journal>,
    pub(super) metrics: RoomEventMetrics,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
    pub(super) new_heads: watch::Receiver<u64>,
    pub(super) ends: watch::Receiver<Option<Instant>>,
    /// The most events of the next batch: fewer after a failure. Whatever it was (the batch was too large, or takes too long, or one event of
    /// it is too much for the backend), the events before it get through.
    pub(super) batch_now: usize,
    pub(super) backoff: Duration,
}

impl<B: Backend, Clock: Fn() -> u64> Courier<B, Clock> {
    /// Goes on until the server ends.
    pub(super) async fn run(mut self) {
        loop {
            let end = *self.ends.borrow_and_update();
            // Before it is looked what there is.
            self.new_heads.borrow_and_update();
            match self.deliver(end).await {
                Ok(true) => self.has_succeeded(),
                Ok(false) if end.is_some() => return,
                Ok(false) => {
                    tokio::select! {
                        changed = self.new_heads.changed() => {
                            // The writer is gone, and what it has written may be left.
                            if changed.is_err() {
                                let _ = self.ends.changed().await;
                            }
                        }
                        _ = self.ends.changed() => {}
                        Ok(()) = self.orders.changed() => {}
                    }
                }
                Err(_) if end.is_some() => return,
                Err(why) => {
                    let wait = self.has_failed(&why);
                    tokio::select! {
                        () = sleep(wait) => {}
                        _ = self.ends.changed() => {}
                        // It may be another backend, or the right secret.
                        Ok(()) = self.orders.changed() => {}
                    }
                }
            }
        }
    }

    /// Posts the next batch; false if there is none.
    async fn deliver(&mut self, end: Option<Instant>) -> Result<bool, String> {
        let Orders { backend, batch_max } = self.orders.borrow_and_update().clone();
        let Some(backend) = backend else {
            self.metrics.waits_since(None);
            self.metrics.lag.set(0);
            return Ok(false);
        };
        self.batch_now = self.batch_now.min(batch_max);
        let (now_ms, after) = ((self.clock)(), self.position.cursor);
        let read = log::read(&self.connection, after, self.batch_now, now_ms);
        let (events, head) = read.map_err(|error| {
            self.metrics.waits_at_least_since(now_ms);
            format!("the log cannot be read: {error}")
        })?;
        let Some(first) = events.first() else {
            self.metrics.waits_since(None);
            self.metrics.lag.set(0);
            return Ok(false);
        };
        self.metrics.waits_since(Some(first.time_ms));
        let (batch, count, last) = batch(&self.position.epoch, &events);
        let posted = match end {
            None => self.until_the_end(&backend, &batch).await,
            Some(end) => timeout_at(end, backend.post(&batch)).await.unwrap_or_else(|_| Err("no time".to_owned())),
        };
        posted?;
        self.position.cursor = last;
        self.journal.deliver(last);
        self.metrics.delivered.inc_by(count);
        self.metrics.lag.set(head.saturating_sub(last) as i64);
        Ok(true)
    }

    /// Posts a batch; once the server ends, until its time is up.
    async fn until_the_end(&self, backend: &B, batch: &Batch) -> Result<(), String> {
        let mut ends = self.ends.clone();
        let times_up = async {
            // Of a relay that nobody ends, it is not.
            match ends.wait_for(Option::is_some).await.map(|end| *end) {
                Ok(Some(end)) => tokio::time::sleep_until(end).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            posted = backend.post(batch) => posted,
            () = times_up => Err("the server ends".to_owned()),
        }
    }

    fn has_succeeded(&mut self) {
        self.backoff = BACKOFF_MIN;
        self.batch_now = self.orders.borrow().batch_max.min(self.batch_now * 2);
    }

    /// How long to wait.
    fn has_failed(&mut self, why: &str) -> Duration {
        self.metrics.failures.inc();
        let wait = self.jittered(self.backoff);
        let after = self.position.cursor;
        tracing::warn!(after, ?wait, "the backend has not taken room events: {why}");
        self.backoff = BACKOFF_MAX.min(self.backoff * 2);
        self.batch_now = (self.batch_now / 2).max(1);
        wait
    }

    /// Between a half and the whole of it: servers that were refused together do not come together again.
    fn jittered(&self, wait: Duration) -> Duration {
        let half = wait / 2;
        let chance = self.rng.uuid().as_u128() as u32;
        half + half.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

/// As many of the events as fit into a batch, how many they are, and the last of them.
pub(super) fn batch(epoch: &str, events: &[Event]) -> (Batch, u64, u64) {
    let mut body = format!(r#"{{"epoch":"{epoch}","events":["#).into_bytes();
    let (mut count, mut last, mut next) = (0, 0, Vec::new());
    for event in events {
        next.clear();
        event.write(&mut next);
        if count > 0 && body.len() + next.len() > BATCH_BYTES_MAX {
            break;
        }
        if count > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&next);
        (count, last) = (count + 1, event.offset);
    }
    body.extend_from_slice(b"]}");
    let first = events.first().map_or(0, Event::first);
    (Batch { id: format!("{epoch}-{first}-{last}"), body }, count, last)
}
