//! How a task that always finds something lets the others of its executor have their turn.
//!
//! A future that is always ready never lets its executor go on: a reader that finds a message each time would keep timers
//! and other tasks waiting for ever. So whoever has found something [`FINDS_MAX`] times, without being pending in between,
//! **yields**: it wakes its own task and is pending once. The executor is not asked, for there may be any. In a `select!`
//! the others would be found ready then, and the task would go on; so while one yields, what is polled on its thread yields
//! as well, each once, until one of them is polled again: then the executor has had its turn.
//!
//! Only polls are counted. What never waits (`try_*`) and what sleeps on a thread (`*_blocking`, `*_timeout`) is not.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use crate::sync::thread_local;

/// Finds in a row until the others have their turn: what tokio gives a task, a few microseconds of work.
const FINDS_MAX: u8 = 128;

/// How many pollers with other wakers yield as well: they may be parts of the same task, with wakers of their own
/// (`FuturesUnordered`, which gives up after two). So few that it costs a thread with many tasks nothing to speak of.
const STRANGERS_MAX: u8 = 3;

/// How many that have never yielded before do as well: one that is made anew for each poll would do so for ever.
/// As many as tokio's `select!` has branches.
const NEWCOMERS_MAX: u8 = 64;

thread_local! {
    static THREAD: Thread = const { Thread::new() };
}

/// Where one poller stands.
#[derive(Debug, Default)]
pub(super) struct Coop {
    /// What it has found since it was last pending.
    finds: u8,
    /// Whether it is over with its first find, so that what it finds is counted for its thread.
    is_single: bool,
    /// Whether it has yielded and found nothing since.
    waits: bool,
    /// The yielding of its thread in which it took part; 0 for none.
    yielded_in: u32,
}

/// Who yields on one thread.
struct Thread {
    /// Whether somebody does, and nobody was polled again since.
    yields: Cell<bool>,
    /// Counts them, from 1 on.
    yielding: Cell<u32>,
    /// The task of the one who began, by its waker.
    task: Cell<(usize, usize)>,
    strangers: Cell<u8>,
    newcomers: Cell<u8>,
    /// Whether the last one was broken off for somebody who waited.
    broken_off: Cell<bool>,
    /// Finds of futures that are over with one.
    finds: Cell<u8>,
}

impl Coop {
    /// For a future that is over with its first find.
    pub(super) fn single() -> Self {
        Self { is_single: true, ..Self::default() }
    }

    /// To be asked at the beginning of a poll, whose outcome is then to be noted; pending if it is to yield, with its task
    /// woken.
    #[inline]
    pub(super) fn proceed(&mut self, context: &Context<'_>) -> Poll<()> {
        let goes_on = THREAD.with(|thread| {
            let finds = if self.is_single { thread.finds.get() } else { self.finds };
            finds < FINDS_MAX && !thread.yields.get()
        });
        if goes_on { Poll::Ready(()) } else { self.proceed_or_yield(context.waker()) }
    }

    /// Notes how a poll has ended.
    #[inline]
    pub(super) fn note<R>(&mut self, polled: Poll<R>) -> Poll<R> {
        if polled.is_pending() {
            self.finds = 0;
        } else {
            self.finds = self.finds.saturating_add(1);
            self.waits = false;
            if self.is_single {
                THREAD.with(|thread| thread.finds.set(thread.finds.get().saturating_add(1)));
            }
        }
        polled
    }

    #[cold]
    #[inline(never)]
    fn proceed_or_yield(&mut self, waker: &Waker) -> Poll<()> {
        let task = (waker.data() as usize, std::ptr::from_ref(waker.vtable()) as usize);
        if task.0 == 0 {
            // A waker that wakes nobody: whoever polls with it wants to know what is there now.
            return Poll::Ready(());
        }
        let yields = THREAD.with(|thread| {
            let yields = match thread.yields.get() {
                true => thread.keeps(self, task),
                false => thread.begins(self, task),
            };
            if yields {
                self.yielded_in = thread.yielding.get();
            } else {
                self.finds = 0;
            }
            yields
        });
        if !yields {
            return Poll::Ready(());
        }
        self.waits = true;
        waker.wake_by_ref();
        Poll::Pending
    }
}

impl Thread {
    const fn new() -> Self {
        Self {
            yields: Cell::new(false),
            yielding: Cell::new(0),
            task: Cell::new((0, 0)),
            strangers: Cell::new(0),
            newcomers: Cell::new(0),
            broken_off: Cell::new(false),
            finds: Cell::new(0),
        }
    }

    /// Whether somebody who has found enough is to yield: not if it has, and somebody else has told since that the executor
    /// had its turn.
    fn begins(&self, coop: &Coop, task: (usize, usize)) -> bool {
        if coop.waits {
            return false;
        }
        self.yields.set(true);
        // 0 stands for none.
        self.yielding.set(self.yielding.get().checked_add(1).unwrap_or(1));
        self.task.set(task);
        self.strangers.set(0);
        self.newcomers.set(0);
        if coop.is_single {
            self.finds.set(0);
        }
        true
    }

    /// Whether somebody who is polled while another yields is to do so as well. Not, and the yielding is over, if it
    /// 1. has: the executor had its turn;
    /// 2. has yielded in an earlier one and found nothing since, once in a row: in a `join!` the first branch would have
    ///    all the turns otherwise;
    /// 3. is one stranger, or one newcomer, too many.
    fn keeps(&self, coop: &Coop, task: (usize, usize)) -> bool {
        let is_stranger = self.task.get() != task;
        let had_its_turn = coop.yielded_in == self.yielding.get();
        let breaks_off = !had_its_turn && coop.waits && !self.broken_off.get();
        let is_newcomer = coop.yielded_in == 0;
        let is_one_too_many = is_stranger && self.strangers.get() == STRANGERS_MAX
            || is_newcomer && self.newcomers.get() == NEWCOMERS_MAX;
        if had_its_turn || breaks_off || is_one_too_many {
            self.yields.set(false);
            self.broken_off.set(breaks_off);
            return false;
        }
        self.strangers.set(self.strangers.get() + u8::from(is_stranger));
        self.newcomers.set(self.newcomers.get() + u8::from(is_newcomer));
        true
    }
}
