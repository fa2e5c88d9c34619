//! Room events for a backend: who comes, who goes, which rooms are occupied and vacated, in a log that is delivered in order and at
//! least once, whoever crashes.
//!
//! Shards tell the [`Journal`] (memory alone: nobody waits). A thread of its own takes from there what has changed, works out by the
//! [`Ledger`](ledger::Ledger) what that means, and writes it into the [log](log::Log): events, and with them in one transaction
//! who is in which room. A second thread, the [relay](relay), posts the log to the backend.
//!
//! It uses `config`, `backend`, `ops` for metrics, `util`, SQLite and the library. It is used by `rooms`, whose hub has it, by `client`, which says who comes
//! and goes, and by the command line.

mod error;
mod event;
mod journal;
mod leavers;
mod ledger;
mod log;
mod others;
mod post;
mod relay;
mod schema;
mod signature;
#[cfg(test)]
pub(crate) mod stepped;
#[cfg(test)]
mod tests;
pub mod tools;
mod writer;

use std::fmt;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use self::error::EventsError;
pub(crate) use self::event::Reason;
pub(crate) use self::journal::Journal;
pub(crate) use self::leavers::Leavers;
pub(crate) use self::ledger::Before;

use self::journal::Taken;
use self::ledger::Ledger;
use self::log::Log;
use self::post::Post;
use self::relay::{Orders, Relay};
use self::writer::Writer;
use crate::config::{Config, RoomEventsOptions};
use crate::ops::metrics::RoomEventMetrics;
use crate::util::panics::lock;
use crate::util::rng::Rng;

/// The log of room events of a server, being written and delivered.
pub(crate) struct RoomEvents {
    journal: Arc<Journal>,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How long the backend may take for what is left.
    last_delivery: Duration,
    /// Where the writer finds what is configured.
    options: watch::Sender<RoomEventsOptions>,
    /// The process before this one still tells of its clients.
    hears_of_leavers: AtomicBool,
    /// Until they have ended.
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<Ledger>,
    relay: Relay,
}

/// What other options come to, and can be done.
#[derive(Debug)]
pub(crate) struct Prepared {
    options: RoomEventsOptions,
    orders: Option<Orders<Post>>,
}

impl RoomEvents {
    /// Opens the log and ends in it what a process before has left open, unless that one has handed over and is still there; `None`
    /// where nothing is an event and there is no log of which a backend would have to be told the rest. To be called before anybody is
    /// let in.
    ///
    /// # Errors
    /// When the log cannot be had: another process has it, it is damaged, the disk is full.
    pub(crate) fn start(
        config: &Config,
        metrics: &RoomEventMetrics,
        clock: impl Fn() -> u64 + Clone + Send + Sync + 'static,
        rng: Rng,
        before: Before,
    ) -> Result<Option<Self>, EventsError> {
        let path = config.events_log();
        if !config.has_events() && !path.exists() {
            return Ok(None);
        }
        let log = Log::open(&path, &rng.uuid().to_string())?;
        let ledger = Ledger::begin(log, &config.events, clock(), before)?;
        let journal = Arc::new(Journal::new(clock.clone()));
        journal.deliver(ledger.position().cursor);
        let (position, parts) = (ledger.position(), (metrics.clone(), clock.clone(), rng));
        let relay = Relay::start(&path, &config.events, position, Arc::clone(&journal), parts)?;
        let (options, of_writer) = watch::channel(config.events.clone());
        let told = (relay.heads(), of_writer);
        let writer = Writer::new(ledger, Arc::clone(&journal), metrics.clone(), clock.clone(), told).start()?;
        let threads = Mutex::new(Some(Threads { writer, relay }));
        let last_delivery = LAST_DELIVERY.min(config.shutdown.timeout);
        let hears_of_leavers = AtomicBool::new(false);
        Ok(Some(Self { journal, clock: Box::new(clock), last_delivery, options, hears_of_leavers, threads }))
    }

    /// Where shards say who comes and goes.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Who goes after [`RoomEvents::close_within`], to be told to the process that has the log now.
    pub(crate) fn leavers(&self) -> Leavers<'_> {
        Leavers::of(&self.journal)
    }

    /// The process before this one is going to tell of its clients, until [`RoomEvents::others_are_gone`].
    pub(crate) fn expect_leavers(&self) {
        // Release: with the load in `hears_of_leavers`; nothing hangs on it.
        self.hears_of_leavers.store(true, Release);
    }

    /// Whether it still does.
    pub(crate) fn hears_of_leavers(&self) -> bool {
        self.hears_of_leavers.load(Acquire)
    }

    /// Hears of those who go from the process before this one; nothing where it is no record of that.
    pub(crate) fn hear_of_leavers(&self, record: &[u8]) -> Option<()> {
        leavers::note(record, &self.journal)
    }

    /// The process before this one has no clients any more.
    pub(crate) fn others_are_gone(&self) {
        self.journal.others_are_gone();
        // Release: with the load in `hears_of_leavers`; what was heard is in the journal.
        self.hears_of_leavers.store(false, Release);
    }

    /// What it would do by other options, to be [followed](RoomEvents::follow) when all else can be done as well.
    ///
    /// # Errors
    /// Which option cannot be used, and why.
    pub(crate) fn prepare(&self, options: &RoomEventsOptions) -> Result<Prepared, EventsError> {
        let threads = lock(&self.threads);
        let orders = threads.as_ref().map(|threads| threads.relay.prepare(options)).transpose()?;
        Ok(Prepared { options: options.clone(), orders })
    }

    /// Goes by these from here on.
    pub(crate) fn follow(&self, Prepared { options, orders }: Prepared) {
        let has_changed = self.options.send_if_modified(|known| {
            let has_changed = *known != options;
            *known = options;
            has_changed
        });
        // Connections to the backend, and what it has been told, are not begun anew for nothing.
        if has_changed && let (Some(orders), Some(threads)) = (orders, &*lock(&self.threads)) {
            threads.relay.give(orders);
        }
    }

    /// Writes what is left, and lets the backend have it for a moment. Nobody comes any more.
    pub(crate) fn close(&self) {
        self.close_within(self.last_delivery);
    }

    /// The same, where the backend may take so long. The log is another process's to have when this returns.
    pub(crate) fn close_within(&self, last_delivery: Duration) {
        self.journal.close();
        let threads = lock(&self.threads).take();
        let Some(Threads { writer, relay }) = threads else { return };
        // Whoever panics has said so.
        let ledger = writer.join().ok();
        relay.close_within(last_delivery);
        // How far the backend is now. Where that is lost, it is told the same again.
        if let Some(mut ledger) = ledger {
            let _ = ledger.write(&Taken::default(), self.journal.delivered(), (self.clock)(), |_| 0);
        }
    }
}

impl fmt::Debug for RoomEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomEvents").field("journal", &self.journal).finish_non_exhaustive()
    }
}

/// How long the backend may take for what is left when the server ends, if that may take so long; the next start delivers the rest.
const LAST_DELIVERY: Duration = Duration::from_secs(2);
