//! Threads of which one runs at a time: those that may wait for a disk. Each has a baton handed to it and hands it back where it
//! waits; meanwhile the simulation stands still. So what waits is interleaved with everything else, and always in the same way.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until};

use crate::util::stepped::Work;
use roomcast::internal::wait_for_locks_by;

/// How often a thread that is parked looks again: the longer nobody has woken it, the more seldom, since each look costs a turn.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(20);

/// When who has been parked since then looks again.
pub(super) fn next_look(since: Instant) -> Instant {
    Instant::now() + (since.elapsed() / 16).clamp(LOOK_AGAIN, LOOK_AGAIN_MAX)
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pause {
    For(Duration),
    /// To be woken, until then at most.
    Parked(Option<Instant>),
}

/// A thread that runs while it has the baton. Dropped, it unwinds from where it waits.
#[derive(Debug)]
pub(super) struct Thread {
    baton: Option<SyncSender<()>>,
    back: Receiver<Pause>,
    thread: Option<JoinHandle<()>>,
}

/// A thread's own end.
struct Seat {
    baton: Receiver<()>,
    back: SyncSender<Pause>,
}

/// What a thread unwinds with that is not needed any more.
struct Dropped;

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

impl Thread {
    /// One that will do that, by the clock of the runtime that this is called on.
    pub(super) fn new(work: impl FnOnce() + Send + 'static) -> Self {
        let (baton, own_baton) = sync_channel(1);
        let (own_back, back) = sync_channel(1);
        let runtime = Handle::current();
        let work = move || {
            if own_baton.recv().is_err() {
                return;
            }
            let _entered = runtime.enter();
            wait_for_locks_by(|| pause(Pause::For(LOOK_AGAIN)));
            SEAT.set(Some(Seat { baton: own_baton, back: own_back }));
            let done = catch_unwind(AssertUnwindSafe(work));
            // From here on it is over for whoever has the other end.
            SEAT.take();
            if let Err(payload) = done
                && !is_dropped(&*payload)
            {
                resume_unwind(payload);
            }
        };
        Self { baton: Some(baton), back, thread: Some(thread::spawn(work)) }
    }

    /// Lets it run until it waits, and says for what; nothing when it has done what it had to do.
    pub(super) fn go_on(&self) -> Option<Pause> {
        self.baton.as_ref()?.send(()).ok()?;
        self.back.recv().ok()
    }
}

fn is_dropped(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Dropped>()
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.baton.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Has this thread wait, if it is one of these; others go on at once.
pub(super) fn pause(how: Pause) {
    let goes_on = SEAT.with_borrow(|seat| {
        let Some(seat) = seat else { return true };
        thread::panicking() || seat.back.send(how).is_ok() && seat.baton.recv().is_ok()
    });
    if !goes_on {
        resume_unwind(Box::new(Dropped));
    }
}

/// Lets a thread come to its end, while others go on.
async fn drive(thread: Thread) {
    let mut parked = None;
    while let Some(pause) = thread.go_on() {
        match pause {
            Pause::For(time) => {
                parked = None;
                sleep(time).await;
            }
            Pause::Parked(until) => {
                let soon = next_look(*parked.get_or_insert_with(Instant::now));
                sleep_until(until.map_or(soon, |until| until.min(soon))).await;
            }
        }
    }
}

/// Does all work that comes, each piece on a thread of its own.
pub(super) async fn work_forever(mut works: UnboundedReceiver<Work>) {
    while let Some(work) = works.recv().await {
        tokio::task::spawn_local(drive(Thread::new(work)));
    }
}
