//! Waiting for a future on a plain thread.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::backend::{AtomicBool, Thread, current_thread, park, park_timeout};
use super::{AcqRel, Release};

/// Runs `future` to its end on this thread, which sleeps between polls. Panics where it must not sleep.
#[track_caller]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    match sleep_on(future, None, refuse_async_worker) {
        Some(output) => output,
        None => unreachable!("without a timeout it waits for ever"),
    }
}

/// The same for `timeout` at most: `None` if the future was not ready in time. It is polled at least once, and once more at
/// the end.
#[track_caller]
pub(crate) fn block_on_for<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    sleep_on(future, Some(timeout), refuse_async_worker)
}

/// The same on any thread: for a drop, which must not panic and may come anywhere.
pub(crate) fn block_anywhere_for<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    sleep_on(future, Some(timeout), || {})
}

#[track_caller]
fn sleep_on<F: Future>(future: F, timeout: Option<Duration>, before_sleep: impl Fn()) -> Option<F::Output> {
    let signal = Signal::for_this_thread();
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    // Beyond what a clock can tell is for ever.
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return None;
        }
        before_sleep();
        signal.wait_for(left);
    }
}

/// Panics on a thread that runs the tasks of a tokio runtime: they would all wait, perhaps for one another.
#[track_caller]
fn refuse_async_worker() {
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // Nothing else tells such a thread from those of `spawn_blocking`, which may block.
        runtime.block_on(std::future::ready(()));
    }
}

/// Wakes the thread that made it; remembers a wake that came before the wait.
pub(crate) struct Signal {
    thread: Thread,
    woken: AtomicBool,
}

impl Signal {
    /// A signal for the thread that calls.
    pub(crate) fn for_this_thread() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { thread: current_thread(), woken: AtomicBool::new(false) })
    }

    /// Takes a wake that has come.
    pub(crate) fn take(&self) -> bool {
        // AcqRel: sees what the waker did before. Pairs with the Release in `wake_by_ref`. model: wake_wait
        self.woken.swap(false, AcqRel)
    }

    /// Sleeps until woken, or, now and then, for nothing: for `time` at most if there is one.
    fn wait_for(&self, time: Option<Duration>) {
        if !self.take() {
            match time {
                Some(time) => park_timeout(time),
                None => park(),
            }
        }
    }

    /// Sleeps until woken.
    pub(crate) fn wait(&self) {
        while !self.take() {
            park();
        }
    }
}

impl Wake for Signal {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        // Release: what was done before the wake is seen by the woken thread. Pairs with the swap in `take`. A swap, since
        // a store would cut off what an earlier waker released.
        self.woken.swap(true, Release);
        self.thread.unpark();
    }
}
