//! A lane: of the tasks that are in it, so many have a turn in each round of all tasks of their thread.
//!
//! A runtime polls what is ready first come, first served. So who has little to do waits for all who came before, however much that
//! is: a burst of newcomers, or clients that never run out of work. In a lane such tasks wait for each other in place of making everybody
//! else wait. No time is lost by it: where nothing else is ready, the rounds are short.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// A lane of one thread.
pub(crate) struct Lane {
    /// Turns in a round.
    turns: usize,
    /// Those of this round that nobody has had.
    left: Cell<usize>,
    /// Who waits for a turn, the first one first: one entry for each task.
    waiting: RefCell<VecDeque<Rc<Place>>>,
    /// Begins the next round.
    rounds: RefCell<Waker>,
}

/// One who waits for a turn.
#[derive(Debug)]
struct Place {
    has_turn: Cell<bool>,
    waker: RefCell<Waker>,
}

/// What a task keeps of a lane while it waits for a turn.
#[derive(Debug, Default)]
pub(crate) struct InLane(Option<Rc<Place>>);

impl InLane {
    /// Whether it has asked for a turn and not taken it: it is woken for it.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.is_some()
    }
}

impl Lane {
    /// A lane with so many turns in a round.
    pub(crate) fn new(turns: usize) -> Self {
        let (waiting, rounds) = (RefCell::default(), RefCell::new(Waker::noop().clone()));
        Self { turns, left: Cell::new(turns), waiting, rounds }
    }

    /// Ready when it is the turn of the task that asks, behind those that have asked before.
    pub(crate) fn poll_turn(&self, place: &mut InLane, cx: &mut Context<'_>) -> Poll<()> {
        let InLane(mine) = place;
        match mine {
            Some(waiting) if waiting.has_turn.get() => {
                *mine = None;
                return Poll::Ready(());
            }
            Some(waiting) => waiting.waker.borrow_mut().clone_from(cx.waker()),
            None if self.left.get() > 0 => {
                self.left.set(self.left.get() - 1);
                self.rounds.borrow().wake_by_ref();
                return Poll::Ready(());
            }
            None => {
                let waker = RefCell::new(cx.waker().clone());
                let waiting = Rc::new(Place { has_turn: Cell::new(false), waker });
                self.waiting.borrow_mut().push_back(Rc::clone(&waiting));
                *mine = Some(waiting);
            }
        }
        Poll::Pending
    }

    /// Polls `work` in turns of this lane as long as it is in the lane, which `is_in` says.
    pub(crate) async fn hold<Work: Future>(&self, is_in: &Cell<bool>, work: Work) -> Work::Output {
        let (mut work, mut place) = (pin!(work), InLane::default());
        std::future::poll_fn(|cx| {
            if is_in.get() {
                ready!(self.poll_turn(&mut place, cx));
            }
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Begins a round when all that was ready at the last one has been polled, and the runtime has looked at its sockets. Of each thread
    /// one task does it, for all its lanes.
    pub(crate) fn poll_rounds(&self, cx: &mut Context<'_>) {
        if !self.rounds.borrow().will_wake(cx.waker()) {
            *self.rounds.borrow_mut() = cx.waker().clone();
        }
        let (mut waiting, mut left) = (self.waiting.borrow_mut(), self.turns);
        let is_used = self.left.get() < self.turns;
        while left > 0
            && let Some(next) = waiting.pop_front()
        {
            // Whoever has gone has nothing to do.
            if Rc::strong_count(&next) > 1 {
                next.has_turn.set(true);
                next.waker.borrow().wake_by_ref();
                left -= 1;
            }
        }
        self.left.set(left);
        if is_used || left < self.turns {
            // Behind all that is ready now, and behind the sockets that have something to say by then: woken at once, the lane would go
            // round and round before anybody looks at those.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("turns", &self.turns).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// Begins the rounds of a lane.
    fn begin(lane: &Rc<Lane>) {
        let lane = Rc::clone(lane);
        spawn_local(poll_fn(move |cx| -> Poll<()> {
            lane.poll_rounds(cx);
            Poll::Pending
        }));
    }

    /// Goes on and on, in turns of the lane, and counts them.
    async fn go_on(lane: Rc<Lane>, is_in: Rc<Cell<bool>>, turns: Rc<Cell<usize>>) {
        let busily = poll_fn(|cx| -> Poll<()> {
            turns.set(turns.get() + 1);
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        lane.hold(&is_in, busily).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_is_in_no_lane_waits_for_few_of_those_that_are() {
        LocalSet::new()
            .run_until(async {
                let lane = Rc::new(Lane::new(3));
                begin(&lane);
                let (in_lane, others) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                for _ in 0..200 {
                    spawn_local(go_on(Rc::clone(&lane), Rc::new(Cell::new(true)), Rc::clone(&in_lane)));
                }
                spawn_local(go_on(Rc::clone(&lane), Rc::new(Cell::new(false)), Rc::clone(&others)));
                while others.get() < 1_000 {
                    yield_now().await;
                }
                let had = in_lane.get();
                assert!((3..=3_000).contains(&had), "{had} turns beside 1,000");
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn all_have_their_turn_one_after_the_other() {
        LocalSet::new()
            .run_until(async {
                let lane = Rc::new(Lane::new(2));
                begin(&lane);
                let each: Vec<Rc<Cell<usize>>> = (0..50).map(|_| Rc::default()).collect();
                for turns in &each {
                    spawn_local(go_on(Rc::clone(&lane), Rc::new(Cell::new(true)), Rc::clone(turns)));
                }
                while each[0].get() < 100 {
                    yield_now().await;
                }
                let had: Vec<usize> = each.iter().map(|turns| turns.get()).collect();
                assert!(had.iter().all(|turns| (99..=101).contains(turns)), "{had:?}");
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_goes_while_it_waits_takes_no_turn_and_an_empty_lane_rests() {
        LocalSet::new()
            .run_until(async {
                let lane = Rc::new(Lane::new(1));
                let rounds = Rc::new(Cell::new(0));
                spawn_local({
                    let (lane, rounds) = (Rc::clone(&lane), Rc::clone(&rounds));
                    poll_fn(move |cx| -> Poll<()> {
                        rounds.set(rounds.get() + 1);
                        lane.poll_rounds(cx);
                        Poll::Pending
                    })
                });
                let turns = Rc::<Cell<usize>>::default();
                let tasks: Vec<_> = (0..10)
                    .map(|_| spawn_local(go_on(Rc::clone(&lane), Rc::new(Cell::new(true)), Rc::clone(&turns))))
                    .collect();
                while turns.get() < 20 {
                    yield_now().await;
                }
                tasks.iter().for_each(|task| task.abort());
                for _ in 0..20 {
                    yield_now().await;
                }
                assert!(lane.waiting.borrow().is_empty());
                let before = (rounds.get(), turns.get());
                for _ in 0..20 {
                    yield_now().await;
                }
                assert_eq!((rounds.get(), turns.get()), before, "nobody is there");
                let mut place = InLane::default();
                poll_fn(|cx| lane.poll_turn(&mut place, cx)).await;
            })
            .await;
    }
}
