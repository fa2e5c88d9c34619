//! Payloads that count, wakers made by hand, and a limit on tests that would otherwise hang.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use roomcast::{Broker, HandlerSubscription, Ref, Room, Subscription, TryRecvError};

/// How long something that must happen may take before the test fails instead of hanging. Far beyond what a loaded
/// machine needs; nothing is concluded from how long it took.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `test` on a thread of its own, and fails if it hangs.
pub(crate) fn finishes<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = mpsc::channel();
    let thread = thread::spawn(move || drop(done.send(test())));
    match result.recv_timeout(PATIENCE) {
        Ok(result) => {
            thread.join().expect("it has sent its result");
            result
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().expect_err("it panicked")),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
    }
}

/// Waits until something that another thread brings about is so.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::yield_now();
    }
}

/// How many [`Counted`] values are alive.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<AtomicUsize>);

impl Census {
    pub(crate) fn alive(&self) -> usize {
        self.0.load(SeqCst)
    }

    pub(crate) fn count(&self, number: u64) -> Counted {
        self.0.fetch_add(1, SeqCst);
        Counted { number, census: self.clone() }
    }
}

/// A payload that is counted, and is not `Clone`.
pub(crate) struct Counted {
    pub(crate) number: u64,
    census: Census,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.census.0.fetch_sub(1, SeqCst);
    }
}

/// A waker that counts.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), Waker::from(wakes))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A waker that panics.
pub(crate) struct Bomb;

impl Bomb {
    pub(crate) fn waker() -> Waker {
        Waker::from(Arc::new(Self))
    }
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("this waker always panics");
    }
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

/// Publishes these messages, each of which must be taken.
#[track_caller]
pub(crate) fn publish_all(room: &Room<u64>, messages: impl IntoIterator<Item = u64>) {
    for message in messages {
        if let Err(error) = room.publish(message) {
            panic!("{error}");
        }
    }
}

/// Publishes so many messages, each the sequence it gets.
#[track_caller]
pub(crate) fn publish_more(room: &Room<u64>, count: u64) {
    publish_all(room, room.tail()..room.tail() + count);
}

/// Everything there is to read now, by value; panics on anything but `Empty` at the end.
#[track_caller]
pub(crate) fn drain<T: Clone + Send + Sync + 'static>(subscription: &mut Subscription<T>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        match subscription.try_recv() {
            Ok(message) => all.push(message),
            Err(TryRecvError::Empty) => return all,
            Err(error) => panic!("{error} after {} messages", all.len()),
        }
    }
}

/// Keeps one shard of a broker busy in a handler until it is let go.
pub(crate) struct Blocked {
    entered: Receiver<()>,
    go_on: Sender<()>,
    pub(crate) served: HandlerSubscription<u64>,
    pub(crate) room: Room<u64>,
}

impl Blocked {
    /// Adds a handler that waits at each message; nothing is blocked before [`Blocked::block`].
    pub(crate) fn new(broker: &Broker<u64>, name: &str) -> Self {
        let room = broker.room(name).unwrap();
        let (enter, entered) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let served = block_on(room.subscribe_with(move |_: Ref<'_, u64>| {
            let _ = enter.send(());
            let _ = wait.recv();
        }));
        Self { entered, go_on, served: served.unwrap(), room }
    }

    /// Returns when the shard is in the handler.
    pub(crate) fn block(&self) {
        self.room.publish(0).unwrap();
        self.entered.recv().unwrap();
    }

    /// Lets the shard go on; the handler goes away.
    pub(crate) fn release(self) {
        drop(self.go_on);
        block_on(self.served.unsubscribe());
    }
}
