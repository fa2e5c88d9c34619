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

/// How many of them whoever polls with a waker that wakes nobody has before it is looked at again. Odd, so that who polls in
/// turns with such a waker and with one of its executor is sooner or later met with the latter.
const FINDS_UNWOKEN: u8 = 31;

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
    /// Whether it has yielded; forgotten with the first find after that, at the latest when `finds` is set back.
    has_yielded: bool,
    /// The yielding of its thread in which it took part; 0 for none.
    yielded_in: u32,
}

/// Who yields on one thread.
struct Thread {
    /// How many finds in a row a poller has without being looked at: none while somebody yields and nobody was polled again
    /// since, otherwise [`FINDS_MAX`].
    allowed: Cell<u8>,
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
            finds < thread.allowed.get()
        });
        if goes_on { Poll::Ready(()) } else { self.proceed_or_yield(context.waker()) }
    }

    /// The same at the beginning of a poll that is sure to find something, which is counted here; false if it is to go the
    /// long way, by [`Coop::proceed`] and [`Coop::note`]. Not for what is over with one find.
    #[inline(always)]
    pub(super) fn finds_at_once(&mut self) -> bool {
        debug_assert!(!self.is_single, "its finds are counted for its thread");
        let goes_on = self.finds < THREAD.with(|thread| thread.allowed.get());
        if goes_on {
            self.finds += 1;
        }
        goes_on
    }

    /// Notes how a poll has ended.
    #[inline]
    pub(super) fn note<R>(&mut self, polled: Poll<R>) -> Poll<R> {
        if polled.is_pending() {
            self.begin_anew();
        } else {
            self.finds = self.finds.saturating_add(1);
            if self.is_single {
                THREAD.with(|thread| thread.finds.set(thread.finds.get().saturating_add(1)));
            }
        }
        polled
    }

    /// Whether it has yielded and found nothing since.
    fn waits(&self) -> bool {
        self.has_yielded && self.finds == 0
    }

    /// Counts from the beginning.
    fn begin_anew(&mut self) {
        (self.has_yielded, self.finds) = (self.waits(), 0);
    }

    /// Lets somebody who has found enough find so many more.
    fn look_at_again_after(&mut self, finds: u8) {
        let counted = FINDS_MAX - finds;
        match self.is_single {
            true => THREAD.with(|thread| thread.finds.set(thread.finds.get().min(counted))),
            false => self.finds = self.finds.min(counted),
        }
    }

    #[cold]
    #[inline(never)]
    fn proceed_or_yield(&mut self, waker: &Waker) -> Poll<()> {
        let task = (waker.data() as usize, std::ptr::from_ref(waker.vtable()) as usize);
        if task.0 == 0 {
            // A waker that wakes nobody: whoever polls with it wants to know what is there now.
            self.look_at_again_after(FINDS_UNWOKEN);
            return Poll::Ready(());
        }
        let yields = THREAD.with(|thread| {
            let yields = match thread.allowed.get() == 0 {
                true => thread.keeps(self, task),
                false => thread.begins(self, task),
            };
            self.begin_anew();
            if yields {
                (self.has_yielded, self.yielded_in) = (true, thread.yielding.get());
            }
            yields
        });
        if !yields {
            return Poll::Ready(());
        }
        waker.wake_by_ref();
        Poll::Pending
    }
}

impl Thread {
    const fn new() -> Self {
        Self {
            allowed: Cell::new(FINDS_MAX),
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
        if coop.waits() {
            return false;
        }
        self.allowed.set(0);
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
        let had_its_turn = coop.yielded_in == self.yielding.get();
        if had_its_turn {
            return self.ends(false);
        }
        let is_stranger = self.task.get() != task;
        let breaks_off = coop.waits() && !self.broken_off.get();
        let is_newcomer = coop.yielded_in == 0;
        let is_one_too_many = is_stranger && self.strangers.get() == STRANGERS_MAX
            || is_newcomer && self.newcomers.get() == NEWCOMERS_MAX;
        if breaks_off || is_one_too_many {
            return self.ends(breaks_off);
        }
        self.strangers.set(self.strangers.get() + u8::from(is_stranger));
        self.newcomers.set(self.newcomers.get() + u8::from(is_newcomer));
        true
    }

    /// The yielding is over, and nobody is to go on with it.
    fn ends(&self, broken_off: bool) -> bool {
        self.allowed.set(FINDS_MAX);
        self.broken_off.set(broken_off);
        false
    }
}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    /// Finds once; whether it went the short way, or `None` if it was asked to yield.
    fn find(coop: &mut Coop, waker: &Waker) -> Option<bool> {
        if coop.finds_at_once() {
            return Some(true);
        }
        let goes_on = coop.proceed(&Context::from_waker(waker)).is_ready();
        goes_on.then(|| {
            assert!(coop.note(Poll::Ready(())).is_ready());
            false
        })
    }

    #[test]
    fn who_polls_without_a_waker_is_seldom_looked_at_and_never_yields() {
        let mut coop = Coop::default();
        let found: Vec<_> = (0..1000).map(|_| find(&mut coop, Waker::noop()).expect("nobody would wake it")).collect();
        assert!(found.iter().filter(|short| **short).count() > 900, "it is looked at with every poll");
    }

    #[test]
    fn one_of_an_executor_yields_after_so_many_finds_however_it_polls_beside() {
        let waker = Waker::from(Arc::new(Nobody));
        let mut coop = Coop::default();
        for _ in 0..3 {
            assert!((0..FINDS_MAX).all(|_| find(&mut coop, &waker).is_some()));
            assert_eq!(find(&mut coop, &waker), None);
        }
        let polled = (0..1000).map(|n| find(&mut coop, if n % 2 == 0 { Waker::noop() } else { &waker }));
        assert!(polled.filter(Option::is_none).count() > 3, "it has all the turns");
    }
}
