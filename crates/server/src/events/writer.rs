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
const GATHER: Duration = Duration::from_millis(10);

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
    is_in_trouble: bool,
    /// Somebody has removed the file, and it was said.
    is_removed: bool,
}

impl<Clock: Fn() -> u64 + Send + 'static> Writer<Clock> {
    /// Begins to write; the thread gives the ledger back when the journal is closed and written.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(
        ledger: Ledger,
        journal: Arc<Journal>,
        metrics: RoomEventMetrics,
        clock: Clock,
        (heads, options): (watch::Sender<u64>, watch::Receiver<RoomEventsOptions>),
    ) -> Result<JoinHandle<Ledger>, EventsError> {
        let writer = Self { ledger, journal, metrics, clock, heads, options, is_in_trouble: false, is_removed: false };
        thread::Builder::new()
            .name("roomcast-events".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| EventsError::io("no thread for room events", error))
    }

    fn run(mut self) -> Ledger {
        let _alarm = Alarm(self.metrics.clone());
        self.journal.listen();
        let (mut taken, mut last_tries) = (Taken::default(), None);
        loop {
            // Before what it says is looked for.
            let is_closed = self.journal.is_closed();
            self.journal.answer();
            if self.options.has_changed().unwrap_or(false) {
                self.ledger.follow(&self.options.borrow_and_update());
            }
            if taken.is_empty() {
                self.journal.take(&mut taken);
            }
            let has_written = self.write(&mut taken);
            if is_closed {
                let tried_since = *last_tries.get_or_insert_with(Instant::now);
                match has_written {
                    // What time has brought can wait for the next start.
                    Some(_) if !taken.is_unfinished() => break,
                    None if tried_since.elapsed() > LAST_TRIES => {
                        tracing::error!("room events are not written; the next start makes up for them");
                        break;
                    }
                    _ => {}
                }
            }
            match has_written {
                Some(is_unfinished) if is_unfinished || taken.is_unfinished() => {}
                Some(_) => self.wait(),
                None => thread::sleep(RETRY_INTERVAL),
            }
        }
        self.ledger
    }

    /// Whether there is more to do at once; nothing if it has failed.
    fn write(&mut self, taken: &mut Taken) -> Option<bool> {
        let (now_ms, delivered) = ((self.clock)(), self.journal.delivered());
        let written = self.ledger.write(taken, delivered, now_ms, |name| self.journal.part_of(name));
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
        if taken.lost > 0 {
            tracing::warn!(changes = taken.lost, "room events were more than memory is given for; the backend is told");
        }
        self.look_after_file();
        self.journal.written(taken);
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

    /// Until something has changed or is due.
    fn wait(&self) {
        let now_ms = (self.clock)();
        let until_due = |due_ms: u64| Duration::from_millis(due_ms.saturating_sub(now_ms));
        let patience = self.ledger.due_ms().map_or(LOOK_INTERVAL, until_due).min(LOOK_INTERVAL);
        // Woken for nothing, it looks and waits again.
        thread::park_timeout(patience);
        if !self.journal.is_closed() {
            thread::sleep(GATHER);
        }
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
