//! Room events without threads: the shipped journal, writer, log and relay, as tasks of a world that somebody plays, and a backend that
//! is played, too.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::journal::{Journal, Taken};
use super::ledger::{Before, Ledger};
use super::log::{self, Log};
use super::relay::{BACKOFF_MIN, Backend, Batch, Courier, Orders};
use super::writer::{GATHER, Next, Writer};
use super::{EventsError, LAST_DELIVERY, RoomEvents};
use crate::config::RoomEventsOptions;
use crate::ops::metrics::RoomEventMetrics;
use crate::util::rng::Rng;

/// How often one looks who waits to be called.
const LOOK: Duration = Duration::from_millis(10);

/// A batch that is posted, and where it goes whether it was taken.
pub(crate) type Posted = (Vec<u8>, oneshot::Sender<Result<(), String>>);

/// A backend that somebody plays.
#[derive(Debug)]
struct Played(UnboundedSender<Posted>);

impl Backend for Played {
    async fn post(&self, batch: &Batch) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        // Whoever plays it may have gone.
        let _ = self.0.send((batch.body.clone(), answer));
        answered.await.unwrap_or_else(|_| Err("nobody answers".to_owned()))
    }
}

/// How far a log is, and its backend.
#[derive(Debug)]
pub(crate) struct Course {
    journal: Arc<Journal>,
    heads: watch::Receiver<u64>,
    orders: watch::Sender<Orders<Played>>,
}

impl Course {
    /// Whether all that was said is in the log, and the backend has all of it.
    pub(crate) fn is_done(&self) -> bool {
        !self.journal.is_rung() && *self.heads.borrow() == self.journal.delivered()
    }

    /// Has it try at once what has failed.
    pub(crate) fn try_again(&self) {
        self.orders.send_modify(|_| {});
    }
}

/// Opens the log of a file, as a server does that starts: what shards tell, how far it is, and what is to be done all the while, which
/// comes to its end when the events are closed.
///
/// # Errors
/// When the log cannot be had.
pub(crate) fn begin<Clock: Fn() -> u64 + Clone + Send + Sync + 'static>(
    path: &Path,
    options: &RoomEventsOptions,
    metrics: &RoomEventMetrics,
    (clock, rng): (Clock, Rng),
    posts: UnboundedSender<Posted>,
) -> Result<(RoomEvents, Course, impl Future<Output = ()> + use<Clock>), EventsError> {
    let log = Log::open(path, &rng.uuid().to_string())?;
    let ledger = Ledger::begin(log, options, clock(), Before::Over)?;
    let (journal, position) = (Arc::new(Journal::new(clock.clone())), ledger.position());
    journal.deliver(position.cursor);
    let (of_events, of_writer) = watch::channel(options.clone());
    let (heads, new_heads) = watch::channel(position.head);
    let (end, ends) = watch::channel(None);
    let (orders, new_orders) =
        watch::channel(Orders { backend: Some(Arc::new(Played(posts))), batch_max: options.batch_size });
    let courier = Courier {
        connection: log::open_to_read(path)?,
        orders: new_orders,
        position,
        journal: Arc::clone(&journal),
        metrics: metrics.clone(),
        clock: clock.clone(),
        rng,
        new_heads: new_heads.clone(),
        ends,
        batch_now: options.batch_size,
        backoff: BACKOFF_MIN,
    };
    let writer = Writer::new(ledger, Arc::clone(&journal), metrics.clone(), clock.clone(), (heads, of_writer));
    let course = Course { journal: Arc::clone(&journal), heads: new_heads, orders };
    let room_events = RoomEvents {
        journal: Arc::clone(&journal),
        clock: Box::new(clock.clone()),
        last_delivery: LAST_DELIVERY,
        options: of_events,
        hears_of_leavers: AtomicBool::new(false),
        threads: Mutex::new(None),
    };
    let work = async move {
        let write = async {
            let ledger = write(writer, &journal).await;
            end.send_replace(Some(Instant::now() + LAST_DELIVERY));
            ledger
        };
        let (mut ledger, ()) = tokio::join!(write, courier.run());
        let _ = ledger.write(&Taken::default(), journal.delivered(), clock(), |_| 0);
    };
    Ok((room_events, course, work))
}

/// Writes until the journal is closed and written.
async fn write<Clock: Fn() -> u64 + Send + 'static>(mut writer: Writer<Clock>, journal: &Journal) -> Ledger {
    loop {
        match writer.step() {
            Next::GoOn => yield_now().await,
            Next::Retry(later) => sleep(later).await,
            Next::Wait(patience) => {
                let until = Instant::now() + patience;
                while !journal.is_rung() && Instant::now() < until {
                    sleep(LOOK).await;
                }
                if !journal.is_closed() {
                    sleep(GATHER).await;
                }
            }
            Next::End => return writer.into_ledger(),
        }
    }
}
