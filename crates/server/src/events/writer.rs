//! The thread that writes the log. Whatever it waits for, nobody waits for it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::EventsError;
use super::journal::{Journal, Taken};
use super::ledger::Ledger;
use crate::config::RoomEventsOptions;
use crate::ops::metrics::RoomEventMetrics;

/// How long changes gather before they are written: they are on the disk long before a tenth of a second is over, and a thousand
/// that come at once share one commit.
pub(super) const GATHER: Duration = Duration::from_millis(10);

/// How often it is looked for what is too old, when nothing else is to do.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How long after a failure it is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How long it is tried at the end of the server.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Writes what the journal has.
pub(super) struct Writer<Clock> {
    ledger: Ledger,
    journal: Arc<Journal>,
    metrics: RoomEventMetrics,
    clock: Clock,
    /// Where the relay hears of new events.
    heads: watch::Sender<u64>,
    /// What is configured.
    options: watch::Receiver<RoomEventsOptions>,
    taken: Taken,
    /// Since when it is tried for the last time.
    last_tries: Option<Instant>,
    is_in_trouble: bool,
    /// Somebody has removed the file, and it was said.
    is_removed: bool,
}

/// What a writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to do at once.
    GoOn,
    /// It waits until something has changed, so long at most, and then until more has gathered.
    Wait(Duration),
    /// It has failed, and is tried again so much later.
    Retry(Duration),
    /// The journal is closed, and everything is written or given up.
    End,
}

impl<Clock: Fn() -> u64 + Send + 'static> Writer<Clock> {
    pub(super) fn new(
        ledger: Ledger,
        journal: Arc<Journal>,
        metrics: RoomEventMetrics,
        clock: Clock,
        (heads, options): (watch::Sender<u64>, watch::Receiver<RoomEventsOptions>),
    ) -> Self {
        let (taken, last_tries) = (Taken::default(), None);
        let (is_in_trouble, is_removed) = (false, false);
        Self { ledger, journal, metrics, clock, heads, options, taken, last_tries, is_in_trouble, is_removed }
    }

    /// Begins to write; the thread gives the ledger back when the journal is closed and written.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(self) -> Result<JoinHandle<Ledger>, EventsError> {
        thread::Builder::new()
            .name("roomcast-events".to_owned())
            .spawn(move || self.run())
            .map_err(|error| EventsError::io("no thread for room events", error))
    }

    fn run(mut self) -> Ledger {
        let _alarm = Alarm(self.metrics.clone());
        self.journal.listen();
        loop {
            match self.step() {
                Next::GoOn => {}
                Next::Wait(patience) => {
                    // Woken for nothing, it looks and waits again.
                    thread::park_timeout(patience);
                    if !self.journal.is_closed() {
                        thread::sleep(GATHER);
                    }
                }
                Next::Retry(later) => thread::sleep(later),
                Next::End => return self.ledger,
            }
        }
    }

    /// Writes what has changed since the last time, and says what is to be done next.
    pub(super) fn step(&mut self) -> Next {
        // Before what it says is looked for.
        let is_closed = self.journal.is_closed();
        self.journal.answer();
        if self.options.has_changed().unwrap_or(false) {
            self.ledger.follow(&self.options.borrow_and_update());
        }
        if self.taken.is_empty() {
            self.journal.take(&mut self.taken);
        }
        let has_written = self.write();
        if is_closed {
            let tried_since = *self.last_tries.get_or_insert_with(Instant::now);
            match has_written {
                // What time has brought can wait for the next start.
                Some(_) if !self.taken.is_unfinished() => return Next::End,
                None if tried_since.elapsed() > LAST_TRIES => {
                    tracing::error!("room events are not written; the next start makes up for them");
                    return Next::End;
                }
                _ => {}
            }
        }
        match has_written {
            Some(is_unfinished) if is_unfinished || self.taken.is_unfinished() => Next::GoOn,
            Some(_) => Next::Wait(self.patience()),
            None => Next::Retry(RETRY_INTERVAL),
        }
    }

    /// The ledger, of one that has ended.
    #[cfg(test)]
    pub(super) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// Whether there is more to do at once; nothing if it has failed.
    fn write(&mut self) -> Option<bool> {
        let (now_ms, delivered) = ((self.clock)(), self.journal.delivered());
        let written = self.ledger.write(&self.taken, delivered, now_ms, |name| self.journal.part_of(name));
        let wrote = match written {
            Ok(wrote) => wrote,
            Err(error) => {
                if !std::mem::replace(&mut self.is_in_trouble, true) {
                    self.metrics.trouble.set(1);
                    tracing::error!(%error, "room events cannot be written; they wait in memory");
                }
                return None;
            }
        };
        // Set by nobody else, or by a thread that has panicked and is not to be forgotten.
        if std::mem::take(&mut self.is_in_trouble) {
            self.metrics.trouble.set(i64::from(self.is_removed));
            tracing::info!("room events can be written again");
        }
        let lost = self.taken.lost;
        if lost > 0 {
            tracing::warn!(changes = lost, "room events were more than memory is given for; the backend is told");
        }
        self.look_after_file();
        self.journal.written(&mut self.taken);
        self.metrics.logged.inc_by(wrote.events);
        self.metrics.lost.inc_by(wrote.lost);
        let head = self.ledger.position().head;
        if self.ledger.is_delivered() {
            self.metrics.lag.set(head.saturating_sub(delivered) as i64);
        }
        self.heads.send_if_modified(|known| std::mem::replace(known, head) != head);
        Some(wrote.is_unfinished)
    }

    /// Says so if somebody has removed the file: it is written and delivered from until the server ends, and is gone then.
    fn look_after_file(&mut self) {
        let (path, is_there) = self.ledger.file();
        if !is_there && !self.is_removed {
            let path = path.display();
            tracing::error!(%path, "the log of room events was removed; a server that starts anew knows nothing of who is in rooms");
            self.metrics.trouble.set(1);
            self.is_removed = true;
        }
    }

    /// How long it may be until something is due.
    fn patience(&self) -> Duration {
        let now_ms = (self.clock)();
        let until_due = |due_ms: u64| Duration::from_millis(due_ms.saturating_sub(now_ms));
        self.ledger.due_ms().map_or(LOOK_INTERVAL, until_due).min(LOOK_INTERVAL)
    }
}

/// Says so if its thread is gone while it should work.
pub(super) struct Alarm(pub(super) RoomEventMetrics);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.trouble.set(1);
            tracing::error!("a thread of room events has panicked; the next start makes up for what is missing");
        }
    }
}
