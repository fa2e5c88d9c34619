//! A crowd of handlers that shards serve, each boxed by itself and keeping books of its own, and the knowledge when all
//! have handled a window, at the price of one counter per shard.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use futures::future::join_all;
use harness::machine::{nanos, wait_until};
use roomcast::{Broker, Handler, HandlerSubscription, Ref, Room};

use crate::tally::Tally;

/// What the handlers of one shard share. Only that shard's thread writes to it.
#[repr(align(128))]
#[derive(Default)]
struct Desk {
    seen: AtomicU64,
    goal: AtomicU64,
    per_window: AtomicU64,
    windows: Windows,
}

/// What the publisher looks at, on a line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Windows {
    done: AtomicU64,
    /// When the last one was done, in nanoseconds after the crowd began.
    at: AtomicU64,
}

impl Desk {
    #[inline]
    fn count(&self, begin: Instant) {
        let seen = self.seen.load(Relaxed) + 1;
        // Release: pairs with the Acquire in `gather`.
        self.seen.store(seen, Release);
        if seen == self.goal.load(Relaxed) {
            self.finish(seen, begin);
        }
    }

    #[cold]
    fn finish(&self, seen: u64, begin: Instant) {
        self.goal.store(seen + self.per_window.load(Relaxed), Relaxed);
        self.windows.at.store(nanos(begin.elapsed()) as u64, Relaxed);
        // Release: pairs with the Acquire in `Crowd::have_done`.
        self.windows.done.store(self.windows.done.load(Relaxed) + 1, Release);
    }
}

/// Where the handlers meet.
struct Meeting {
    begin: Instant,
    desks: Mutex<HashMap<ThreadId, Arc<Desk>>>,
    books: Mutex<Vec<Tally>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Member {
    tally: Tally,
    desk: Option<Arc<Desk>>,
    meeting: Arc<Meeting>,
}

impl Handler<u64> for Member {
    #[inline]
    fn message(&mut self, message: Ref<'_, u64>) {
        self.tally.see(message.sequence(), &*message);
        let meeting = &self.meeting;
        let desk =
            self.desk.get_or_insert_with(|| lock(&meeting.desks).entry(thread::current().id()).or_default().clone());
        desk.count(meeting.begin);
    }

    fn lagged(&mut self, missed: u64) {
        self.tally.miss(missed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.meeting.books).push(self.tally);
    }
}

/// Handlers in one room or in several.
pub struct Crowd {
    meeting: Arc<Meeting>,
    served: Vec<HandlerSubscription<u64>>,
    desks: Vec<Arc<Desk>>,
}

impl Crowd {
    /// So many handlers join each of these rooms.
    pub async fn join(rooms: &[Room<u64>], each: usize) -> Self {
        let (begin, desks, books) = (Instant::now(), Mutex::default(), Mutex::default());
        let meeting = Arc::new(Meeting { begin, desks, books });
        let member = || Member { tally: Tally::from(0), desk: None, meeting: meeting.clone() };
        let joins =
            rooms.iter().flat_map(|room| (0..each).map(move |_| room)).map(|room| room.subscribe_handler(member()));
        let served = join_all(joins).await.into_iter().map(|served| served.expect("the room is open")).collect();
        Self { meeting, served, desks: Vec::new() }
    }

    /// Whether all have handled the first message of every room; if so, it is known who sits where, and windows are
    /// counted from now on.
    pub fn gather(&mut self, window: u64) -> bool {
        self.desks = lock(&self.meeting.desks).values().cloned().collect();
        let seen: Vec<u64> = self.desks.iter().map(|desk| desk.seen.load(Acquire)).collect();
        if seen.iter().sum::<u64>() < self.served.len() as u64 {
            return false;
        }
        for (desk, members) in self.desks.iter().zip(seen) {
            desk.per_window.store(members * window, Relaxed);
            desk.goal.store(members + members * window, Relaxed);
        }
        true
    }

    /// Publishes the first message and waits for all to handle it.
    pub fn gather_blocking(&mut self, rooms: &[Room<u64>], window: u64) {
        rooms.iter().for_each(|room| assert!(room.publish(0).is_ok()));
        wait_until(|| self.gather(window));
    }

    /// Whether that many windows have been handled by all.
    #[inline]
    pub fn have_done(&self, windows: u64) -> bool {
        self.desks.iter().all(|desk| desk.windows.done.load(Acquire) >= windows)
    }

    /// When the last window was done, in nanoseconds after the crowd began.
    pub fn done_at(&self) -> f64 {
        self.desks.iter().map(|desk| desk.windows.at.load(Relaxed)).max().unwrap_or_default() as f64
    }

    /// Now, on the same scale.
    pub fn now(&self) -> f64 {
        nanos(self.meeting.begin.elapsed())
    }

    /// Sends all home and checks their books: each has received or missed all up to `end`.
    pub fn leave(self, broker: Broker<u64>, end: u64) {
        let Self { meeting, served, .. } = self;
        let members = served.len();
        drop((served, broker));
        wait_until(|| lock(&meeting.books).len() == members);
        lock(&meeting.books).iter().for_each(|tally| tally.check(end));
    }
}
