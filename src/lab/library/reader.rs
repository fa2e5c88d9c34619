//! One subscriber in the process: what it does with a message, however it waits for it.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use super::message::Carried;
use crate::lab::books::Books;
use crate::lab::hall::{Hall, Sheet, Tally};
use crate::lab::recorder::Recorder;
use crate::lab::scenario::Read;
use crate::{Batch, Handler, Ref};

/// Reads, checks and counts. Hands its books in when it is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) books: Books,
    hall: Arc<Hall>,
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
    pub(super) fn new(hall: &Arc<Hall>, room: usize, books: Books, read: Read, place: Place, is_timed: bool) -> Self {
        Self { books, hall: hall.clone(), read, room, place, latency: is_timed.then(Recorder::new), newest: None }
    }

    /// The same, of one that gets the newest only.
    pub(super) fn latest(mut self) -> Self {
        self.books.keep_latest();
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
        let now = if self.latency.is_some() { self.hall.clock.now() } else { 0 };
        for (number, _, message) in batch.iter() {
            self.see(number, message, now);
        }
        batch.len() as u64
    }

    /// Takes one message.
    #[inline]
    pub(super) fn take_one<T: Carried>(&mut self, message: &Ref<'_, T>, tally: &Tally) {
        let now = if self.latency.is_some() { self.hall.clock.now() } else { 0 };
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
        self.books.receive(message.source as usize, message.sequence, Some(number));
        if !message.is_whole() {
            self.books.lose(1, || format!("message {} was changed on its way", message.sequence));
        }
        if message.due != 0
            && let Some(latency) = &mut self.latency
        {
            latency.record(now.saturating_sub(message.due));
        }
    }

    /// It was told that so many are gone.
    pub(super) fn miss(&mut self, count: u64, tally: &Tally) {
        self.books.miss(count);
        if self.place == Place::Counted {
            tally.missed.add(count);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let books = std::mem::replace(&mut self.books, Books::from_now(0));
        let mut desk = self.hall.desk();
        match self.place {
            Place::Passing => desk.hand_in_aside(books),
            place => {
                let sheet = Sheet { room: self.room, books, is_counted: place == Place::Counted };
                desk.hand_in(sheet, self.latency.as_ref());
            }
        }
    }
}

thread_local! {
    /// The counters of this thread, which is a shard's, and of which run they are.
    static OF_THIS_SHARD: RefCell<Option<(*const Hall, Arc<Tally>)>> = const { RefCell::new(None) };
}

/// Runs `with` with the counters that this thread, a shard's, has in that hall.
#[inline]
fn with_tally<R>(hall: &Arc<Hall>, with: impl FnOnce(&Tally) -> R) -> R {
    OF_THIS_SHARD.with_borrow_mut(|mine| {
        let at = Arc::as_ptr(hall);
        match mine {
            Some((of, tally)) if *of == at => with(tally),
            _ => {
                let tally = hall.tally();
                let result = with(&tally);
                *mine = Some((at, tally));
                result
            }
        }
    })
}

/// A reader that a shard serves.
#[derive(Debug)]
pub(super) struct Served(pub(super) Reader);

impl<T: Carried> Handler<T> for Served {
    fn message(&mut self, message: Ref<'_, T>) {
        let hall = self.0.hall.clone();
        with_tally(&hall, |tally| self.0.take_one(&message, tally));
    }

    fn messages(&mut self, batch: Batch<'_, T>) {
        let reader = &mut self.0;
        let count = reader.see_all(&batch);
        with_tally(&reader.hall, |tally| match reader.place {
            Place::Counted => tally.delivered.add(count),
            Place::Slow | Place::Passing => tally.aside.add(count),
        });
    }

    fn lagged(&mut self, missed: u64) {
        let hall = self.0.hall.clone();
        with_tally(&hall, |tally| self.0.miss(missed, tally));
    }
}
