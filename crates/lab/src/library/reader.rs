//! One subscriber in the process: what it does with a message, however it waits for it.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use super::message::Carried;
use crate::load::DeliveryChecker;
use crate::recorder::Recorder;
use crate::run_state::{RunState, SubscriberReport, Tally};
use crate::scenario::Read;
use roomcast::{Batch, Handler, Ref};

/// Reads, checks and counts. Hands its report in when it is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) checker: DeliveryChecker,
    state: Arc<RunState>,
    read: Read,
    room: usize,
    place: Place,
    latency: Option<Recorder>,
    /// Where it read up to, of one that gets the newest only.
    newest: Option<u64>,
}

/// Whether others wait for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It stays and is to keep up.
    Counted,
    /// It stays and reads slowly.
    Slow,
    /// It comes and goes.
    Passing,
}

impl Reader {
    /// Of a room.
    pub(super) fn new(
        state: &Arc<RunState>,
        room: usize,
        checker: DeliveryChecker,
        read: Read,
        place: Place,
        is_timed: bool,
    ) -> Self {
        Self { checker, state: state.clone(), read, room, place, latency: is_timed.then(Recorder::new), newest: None }
    }

    /// The same, of one that gets the newest only.
    pub(super) fn latest(mut self) -> Self {
        self.checker.keep_latest();
        self.newest = Some(0);
        self
    }

    /// Takes messages that lie in a row.
    #[inline]
    pub(super) fn take<T: Carried>(&mut self, batch: &Batch<'_, T>, tally: &Tally) {
        let count = self.see_all(batch);
        self.count(batch.first_sequence(), count, tally);
    }

    #[inline]
    fn see_all<T: Carried>(&mut self, batch: &Batch<'_, T>) -> u64 {
        let now = if self.latency.is_some() { self.state.clock.now() } else { 0 };
        for (number, _, message) in batch.iter() {
            self.see(number, message, now);
        }
        batch.len() as u64
    }

    /// Takes one message.
    #[inline]
    pub(super) fn take_one<T: Carried>(&mut self, message: &Ref<'_, T>, tally: &Tally) {
        let now = if self.latency.is_some() { self.state.clock.now() } else { 0 };
        self.see(message.sequence(), &**message, now);
        self.count(message.sequence(), 1, tally);
    }

    #[inline]
    fn count(&mut self, first: u64, count: u64, tally: &Tally) {
        match self.place {
            Place::Counted => tally.delivered.add(count),
            Place::Slow | Place::Passing => tally.aside.add(count),
        }
        if let Some(newest) = &mut self.newest {
            tally.missed.add(first.saturating_sub(*newest));
            *newest = first + count;
        }
    }

    #[inline]
    fn see<T: Carried>(&mut self, number: u64, message: &T, now: u64) {
        if self.read == Read::Ref {
            self.check(number, message, now);
        } else {
            // What a subscriber keeps: of the bytes or of the pointer.
            let own = black_box(message.clone());
            self.check(number, &own, now);
        }
    }

    #[inline]
    fn check<T: Carried>(&mut self, number: u64, message: &T, now: u64) {
        let message = message.look();
        self.checker.receive(message.source as usize, message.sequence, Some(number));
        if !message.is_whole() {
            self.checker.lose(1, || format!("message {} was changed on its way", message.sequence));
        }
        if message.due != 0
            && let Some(latency) = &mut self.latency
        {
            latency.record(now.saturating_sub(message.due));
        }
    }

    /// It was told that so many are gone.
    pub(super) fn miss(&mut self, count: u64, tally: &Tally) {
        self.checker.miss(count);
        if self.place == Place::Counted {
            tally.missed.add(count);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let checker = std::mem::replace(&mut self.checker, DeliveryChecker::from_now(0));
        let mut results = self.state.results();
        match self.place {
            Place::Passing => results.hand_in_aside(checker),
            place => {
                let report = SubscriberReport { room: self.room, checker, is_counted: place == Place::Counted };
                results.hand_in(report, self.latency.as_ref());
            }
        }
    }
}

thread_local! {
    /// The counters of this thread, which is a shard's, and of which run they are.
    static OF_THIS_SHARD: RefCell<Option<(*const RunState, Arc<Tally>)>> = const { RefCell::new(None) };
}

/// Runs `with` with the counters that this thread, a shard's, has in that run.
#[inline]
fn with_tally<R>(state: &Arc<RunState>, with: impl FnOnce(&Tally) -> R) -> R {
    OF_THIS_SHARD.with_borrow_mut(|mine| {
        let at = Arc::as_ptr(state);
        match mine {
            Some((of, tally)) if *of == at => with(tally),
            _ => {
                let tally = state.tally();
                let result = with(&tally);
                *mine = Some((at, tally));
                result
            }
        }
    })
}

/// A reader that a shard serves.
#[derive(Debug)]
pub(super) struct ReaderHandler(pub(super) Reader);

impl<T: Carried> Handler<T> for ReaderHandler {
    fn message(&mut self, message: Ref<'_, T>) {
        let state = self.0.state.clone();
        with_tally(&state, |tally| self.0.take_one(&message, tally));
    }

    fn messages(&mut self, batch: Batch<'_, T>) {
        let reader = &mut self.0;
        let count = reader.see_all(&batch);
        with_tally(&reader.state, |tally| match reader.place {
            Place::Counted => tally.delivered.add(count),
            Place::Slow | Place::Passing => tally.aside.add(count),
        });
    }

    fn lagged(&mut self, missed: u64) {
        let state = self.0.state.clone();
        with_tally(&state, |tally| self.0.miss(missed, tally));
    }
}
