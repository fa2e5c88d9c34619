//! Subscribers of this process that read by themselves: by looking again and again, a thread each, or a task each.

use std::hint::spin_loop;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::message::Carried;
use super::reader::Reader;
use crate::run_state::{RunState, Tally};
use roomcast::{RecvError, Subscription, TryRecvError};

/// A subscriber that reads by itself: a subscription and who checks what comes.
pub(super) struct Puller<T> {
    pub(super) subscription: Subscription<T>,
    pub(super) reader: Reader,
}

/// What one look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There was something.
    Some,
    /// There was nothing yet.
    None,
    /// Nothing will come any more.
    Over,
}

impl<T: Carried> Puller<T> {
    /// Reads what is there, up to a bound.
    #[inline]
    pub(super) fn look(&mut self, tally: &Tally) -> Look {
        match self.subscription.try_recv_batch(BATCH_MAX) {
            Ok(batch) => {
                self.reader.take(&batch, tally);
                Look::Some
            }
            Err(TryRecvError::Empty) => Look::None,
            Err(TryRecvError::Lagged(missed)) => {
                self.reader.miss(missed, tally);
                Look::Some
            }
            // Disconnected or closed.
            Err(_) => Look::Over,
        }
    }

    /// Compares the broker's own accounts with what was seen.
    pub(super) fn compare(&mut self) {
        let accounts = self.subscription.accounting();
        let seen = (self.reader.checker.received(), self.reader.checker.missed());
        let is_sum = accounts.received + accounts.lagged + accounts.conflated == accounts.end - accounts.start;
        if !is_sum || seen != (accounts.received, accounts.lagged) {
            self.reader.checker.lose(1, || format!("the accounts of the broker are {accounts:?}, {seen:?} was seen"));
        }
    }
}

/// Looks at all of them in turn until all are over.
pub(super) fn spin<T: Carried>(state: &RunState, mut pullers: Vec<Puller<T>>) {
    let tally = state.tally();
    let mut idle = 0_u32;
    while !pullers.is_empty() {
        let (mut any, mut over) = (false, false);
        for puller in &mut pullers {
            match puller.look(&tally) {
                Look::Some => any = true,
                Look::None => {}
                Look::Over => over = true,
            }
        }
        if over {
            pullers.retain_mut(|puller| {
                let stays = puller.look(&tally) != Look::Over;
                if !stays {
                    puller.compare();
                }
                stays
            });
        }
        idle = if any { 0 } else { idle + 1 };
        if idle > 0 {
            (0..PAUSES).for_each(|_| spin_loop());
            if idle.is_multiple_of(LOOKS) {
                thread::yield_now();
            }
        }
    }
}

/// Reads a little of each, and sleeps that long in between.
pub(super) fn read_slowly<T: Carried>(state: &RunState, mut pullers: Vec<Puller<T>>, pause: Duration) {
    let tally = state.tally();
    while !pullers.is_empty() {
        pullers.retain_mut(|puller| {
            let stays = puller.look(&tally) != Look::Over;
            if !stays {
                puller.compare();
            }
            stays
        });
        // Once it is over the rest is read without delay.
        if state.phase() != crate::run_state::Phase::Over {
            thread::sleep(pause);
        }
    }
}

/// Sleeps until something comes, then takes what came with it.
pub(super) fn block<T: Carried>(state: &RunState, mut puller: Puller<T>) {
    let tally = state.tally();
    loop {
        let Puller { subscription, reader } = &mut puller;
        match subscription.recv_ref_blocking() {
            Ok(message) => reader.take_one(&message, &tally),
            Err(RecvError::Lagged(missed)) => reader.miss(missed, &tally),
            Err(_) => return puller.compare(),
        }
        while puller.look(&tally) == Look::Some {}
    }
}

/// The same as tasks of one runtime.
pub(super) fn park<T: Carried>(state: &Arc<RunState>, pullers: Vec<Puller<T>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return state.fail(format!("no runtime could be started: {error}")),
    };
    let tally = state.tally();
    let tasks: Vec<_> = pullers.into_iter().map(|puller| runtime.spawn(await_all(puller, tally.clone()))).collect();
    runtime.block_on(async {
        for task in tasks {
            // A task that panicked leaves deliveries that are missing.
            let _ = task.await;
        }
    });
}

async fn await_all<T: Carried>(mut puller: Puller<T>, tally: Arc<Tally>) {
    loop {
        match puller.subscription.recv_batch(BATCH_MAX).await {
            Ok(batch) => puller.reader.take(&batch, &tally),
            Err(RecvError::Lagged(missed)) => puller.reader.miss(missed, &tally),
            Err(_) => return puller.compare(),
        }
    }
}

/// Messages taken at once: a segment of a usual room.
const BATCH_MAX: usize = 64;
/// Between two looks at nothing.
const PAUSES: u32 = 16;
/// Looks at nothing until others get the core.
const LOOKS: u32 = 16;
