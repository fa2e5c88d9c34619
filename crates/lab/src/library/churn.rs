//! Those who come and go in this process.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::message::Carried;
use super::pull::{Look, Puller};
use super::reader::{Place, Reader, ReaderHandler};
use crate::load::DeliveryChecker;
use crate::recorder::Recorder;
use crate::rng::Rng;
use crate::run_state::{Phase, RunState, Tally};
use crate::scenario::{Arrivals, Scenario, Wait};
use crate::schedule::{Schedule, wait_until};
use roomcast::{HandlerSubscription, Room};

/// One of them while it is there.
enum Guest<T> {
    Pulling(Box<Puller<T>>),
    Handler(HandlerSubscription<T>),
}

/// One thread in which all of them take turns to leave and join again.
pub(super) struct Churners<T> {
    pub(super) state: Arc<RunState>,
    pub(super) scenario: Arc<Scenario>,
    pub(super) rooms: Arc<[Room<T>]>,
}

impl<T: Carried> Churners<T> {
    /// Comes and goes whenever messages are published, until it is over.
    pub(super) fn run(self) {
        let load = &self.scenario.load;
        let tally = self.state.tally();
        let mut guests: Vec<Option<Guest<T>>> = (0..load.churners).map(|_| None).collect();
        let mut rng = Rng::new(self.scenario.seed, 7_777);
        let (mut times, mut nth) = (Recorder::new(), 0);
        while let Some((phase, working)) = self.state.work() {
            let rate = if load.churn_rate > 0.0 { load.churn_rate } else { f64::INFINITY };
            let mut schedule =
                Schedule::new(self.state.clock.now(), rate, Arrivals::Even, Rng::new(self.scenario.seed, 7_778));
            while self.state.phase() == phase && !self.state.has_failed() {
                if rate.is_finite() {
                    wait_until(self.state.clock, schedule.due());
                    if self.state.clock.now() < schedule.due() {
                        continue;
                    }
                }
                let due = if rate.is_finite() { schedule.due() } else { self.state.clock.now() };
                schedule.advance();
                let guest = &mut guests[nth % load.churners];
                nth += 1;
                if let Some(guest) = guest.take() {
                    leave(guest, &tally);
                }
                *guest = self.join(rng.below(self.rooms.len()));
                if phase == Phase::Measure {
                    times.record(self.state.clock.now().saturating_sub(due).max(1));
                    tally.joins.add(1);
                }
            }
            drop(working);
        }
        guests.into_iter().flatten().for_each(|guest| leave(guest, &tally));
        self.state.results().joins.get_or_insert_with(Recorder::new).add(&times);
    }

    fn join(&self, room: usize) -> Option<Guest<T>> {
        let load = &self.scenario.load;
        let reader =
            Reader::new(&self.state, room, DeliveryChecker::from_now(load.sources()), load.read, Place::Passing, false);
        let joined = match load.wait {
            Wait::Handler => block_on(self.rooms[room].subscribe_handler(ReaderHandler(reader))).map(Guest::Handler),
            Wait::Spin | Wait::Blocking | Wait::Park => self.rooms[room]
                .subscribe()
                .now()
                .map(|subscription| Guest::Pulling(Box::new(Puller { subscription, reader }))),
        };
        match joined {
            Ok(guest) => Some(guest),
            Err(error) => {
                self.state.fail(format!("somebody could not join: {error}"));
                None
            }
        }
    }
}

fn leave<T: Carried>(guest: Guest<T>, tally: &Tally) {
    match guest {
        Guest::Pulling(mut puller) => {
            // What is there is read, so that it is checked.
            for _ in 0..LOOKS_MAX {
                if puller.look(tally) != Look::Some {
                    break;
                }
            }
            puller.compare();
        }
        Guest::Handler(served) => block_on(served.unsubscribe()),
    }
}

/// Waits for a future on this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Runs of messages one reads before it leaves.
const LOOKS_MAX: usize = 64;
