//! The batch writer: reads rooms and commits what they publish, step by step.
//!
//! A thread drives it ([`BatchWriter::start`]), or somebody who has other things to do between two steps, such as a simulation.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::backend::Store;
use super::codec::Codec;
use super::environment::Environment;
use super::error::{StoreError, StoreErrorKind};
use super::incarnations::Incarnations;
use super::options::{Durability, Options};
use super::post::{Alarm, Answer, Post, Request};
use super::room_reader::{Gathered, RoomReader, Unread};
use super::status::StatusCell;
use super::sweep::Sweep;
use crate::room::PatternSubscription;
use crate::sync::guard;

/// Between two tries of a commit that fails, at first and at last.
const RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// How often ending the run is tried.
const FINISH_TRIES: u32 = 3;

/// How often the rooms' lag is summed up, at most; it may take a hundredth of the time.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether the store is still ours, while nothing is committed, which looks as well.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(2);

/// What the batch writer and the archive share.
pub(super) struct Shared<T> {
    pub(super) store: Arc<dyn Store>,
    pub(super) codec: Box<dyn Codec<T>>,
    pub(super) options: Options,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) incarnations: Incarnations,
    pub(super) status: StatusCell,
}

/// The batch writer of an archive.
pub struct BatchWriter<T> {
    shared: Arc<Shared<T>>,
    rooms: RoomReader<T>,
    flushes: Vec<Answer>,
    /// Flushes that were asked for while more was published than one batch takes, and what they wait for.
    behind: Option<(Vec<Answer>, Unread)>,
    requests: Receiver<Request>,
    alarm: Arc<Alarm>,
    phase: Phase,
    /// Whether it was given up before it looked at the rooms last.
    gives_up: bool,
    lag_due: Instant,
    confirm_due: Instant,
    sweep: Sweep,
}

/// What a batch writer does with its next step.
#[derive(Debug)]
enum Phase {
    /// It reads rooms, and commits when that is due.
    Reading,
    /// The store did not take the batch: it tries again then, or when it is given up, and waits for twice as long if that fails,
    /// too.
    Retrying { gathered: Gathered, pause: Duration, due: Instant },
    /// Everything is stored: it ends the run then, with so many tries.
    Finishing { tries: u32, due: Instant },
    /// Nothing more is stored, and all who wait were answered. It stays until the archive is closed: as long as the rooms are
    /// subscribed to, those that are a ring ahead take nothing more that would be lost.
    Stopped(StoreError),
    /// It has ended.
    Ended,
}

/// When a batch writer is to be stepped again.
#[derive(Debug)]
#[non_exhaustive]
pub enum Next {
    /// At once.
    Now,
    /// When it is woken ([`BatchWriter::is_woken`]), or at that time.
    Wait(Option<Instant>),
    /// Not again: everything is stored and the run is over, or why not. It is to be dropped.
    Ended(Result<(), StoreError>),
}

/// However it ends, nobody waits for it for ever.
impl<T> Drop for BatchWriter<T> {
    fn drop(&mut self) {
        self.answer_all();
    }
}

impl<T> BatchWriter<T> {
    /// Tells all who wait for a watermark that nothing more will be stored.
    fn answer_all(&self) {
        self.shared.incarnations.give_up();
        self.rooms.give_up();
    }
}

impl<T: Send + Sync + 'static> BatchWriter<T> {
    /// Starts a thread that steps it. It ends, and says how, when the broker is closed and everything is stored, or when it is
    /// given up.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(
        shared: Arc<Shared<T>>,
        pattern: PatternSubscription<T>,
    ) -> std::io::Result<(Post, thread::JoinHandle<Result<(), StoreError>>)> {
        let (hello, post) = mpsc::channel();
        let thread = thread::Builder::new().name("roomcast-storage".to_owned()).spawn(move || {
            let (mut writer, post) = Self::new(shared, pattern);
            let _ = hello.send(post);
            loop {
                match writer.step() {
                    Next::Now => {}
                    Next::Wait(until) => writer.alarm.wait(until, &*writer.shared.environment),
                    Next::Ended(how) => return how,
                }
            }
        })?;
        let post = post.recv().map_err(std::io::Error::other)?;
        Ok((post, thread))
    }

    /// One that this thread steps, and the way to it.
    pub(super) fn new(shared: Arc<Shared<T>>, pattern: PatternSubscription<T>) -> (Self, Post) {
        let alarm = Alarm::of_this_thread();
        let (post, requests) = Post::new(Arc::clone(&alarm), Arc::clone(&shared.environment));
        let now = shared.environment.now();
        let writer = Self {
            shared,
            rooms: RoomReader::new(pattern),
            flushes: Vec::new(),
            behind: None,
            requests,
            alarm,
            phase: Phase::Reading,
            gives_up: false,
            lag_due: now,
            confirm_due: now + CONFIRM_INTERVAL,
            sweep: Sweep::due(now),
        };
        (writer, post)
    }

    /// Does what there is to do, and says when to come again. It waits for the store, and for nothing else.
    pub fn step(&mut self) -> Next {
        // Before anything is looked at: what comes from here on wakes it again.
        self.alarm.take();
        // A codec may panic. What is half done is only held from then on.
        let next = guard(|| self.turn()).unwrap_or_else(|panicked| {
            let text = format!(
                "the storage thread panicked ({}); nothing more is stored; restart this process",
                panicked.text()
            );
            Err(StoreError::new(StoreErrorKind::Other, text))
        });
        match next {
            Ok(next) => next,
            Err(error) => {
                self.stop(error);
                self.while_stopped()
            }
        }
    }

    /// Whether something has come for it since its last step.
    pub fn is_woken(&self) -> bool {
        self.alarm.is_rung()
    }

    /// Answers all who wait.
    fn stop(&mut self, error: StoreError) {
        if !self.alarm.is_given_up() {
            tracing::error!(%error, "storage has stopped");
        }
        self.shared.status.stop(&error);
        self.answer_all();
        // Whoever waits for a flush learns that there is none, and so does who asks from now on.
        self.requests = mpsc::sync_channel(1).1;
        self.flushes.clear();
        self.behind = None;
        self.phase = Phase::Stopped(error);
    }

    fn while_stopped(&mut self) -> Next {
        if !self.alarm.is_closed() && !self.alarm.is_given_up() {
            return Next::Wait(None);
        }
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Stopped(error) => Next::Ended(Err(error)),
            _ => Next::Ended(Ok(())),
        }
    }

    /// Goes on, unless it must not.
    fn turn(&mut self) -> Result<Next, StoreError> {
        match self.phase {
            Phase::Reading => {
                // Before what it decides on is read: what was published, and the end, came before it was given up.
                self.gives_up = self.alarm.is_given_up();
                self.take_requests();
                let gathered = self.rooms.gather(&self.shared, &self.alarm);
                match gathered == Gathered::Last || self.is_due() {
                    true => self.commit(gathered),
                    false => self.go_on(gathered),
                }
            }
            // Whoever asks for something meanwhile does not hasten it.
            Phase::Retrying { due, .. } if self.now() < due && !self.alarm.is_given_up() => Ok(Next::Wait(Some(due))),
            Phase::Retrying { gathered, .. } => self.commit_again(gathered),
            Phase::Finishing { due, .. } if self.now() < due => Ok(Next::Wait(Some(due))),
            Phase::Finishing { tries, .. } => self.finish(tries),
            Phase::Stopped(_) | Phase::Ended => Ok(self.while_stopped()),
        }
    }

    fn take_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Flush(answer) => self.flushes.push(answer),
                Request::Know(watermark) => {
                    let now = self.now();
                    self.rooms.know(&watermark, now);
                }
            }
        }
    }

    fn now(&self) -> Instant {
        self.shared.environment.now()
    }

    /// Whether to commit now.
    fn is_due(&self) -> bool {
        let batch = self.rooms.batch();
        let is_awaited = batch.durability() == Durability::Stored && !batch.is_empty();
        let is_late = self.batch_due().is_some_and(|due| due <= self.now());
        let is_full = self.rooms.is_full(&self.shared.options);
        let is_asked_for = !self.flushes.is_empty() || self.behind.is_some();
        is_awaited || is_late || is_full || is_asked_for || self.rooms.has_ended()
    }

    fn batch_due(&self) -> Option<Instant> {
        self.rooms.since().map(|since| since + self.shared.options.batch_delay)
    }

    /// When something else than a batch is due.
    fn next_chore(&self) -> Instant {
        match self.shared.options.retains_all {
            true => self.lag_due,
            false => self.lag_due.min(self.sweep.due),
        }
        .min(self.confirm_due)
    }

    /// Commits the batch and says so to all who wait; comes again with the same where the store does not take it.
    ///
    /// # Errors
    /// When the archive gives up, what the store said last; [`StoreErrorKind::Overtaken`] at once.
    fn commit(&mut self, gathered: Gathered) -> Result<Next, StoreError> {
        match self.try_commit() {
            Ok(()) => self.go_on(gathered),
            Err(error) => self.come_again(gathered, error),
        }
    }

    /// The same after the store did not take it. What came meanwhile has woken it already, so it does not wait then.
    fn commit_again(&mut self, gathered: Gathered) -> Result<Next, StoreError> {
        let next = self.commit(gathered)?;
        Ok(match self.phase {
            Phase::Reading => Next::Now,
            _ => next,
        })
    }

    fn try_commit(&mut self) -> Result<(), StoreError> {
        if !self.rooms.batch().is_empty() {
            self.shared.store.commit(self.rooms.batch())?;
            self.committed();
        }
        self.rooms.complete_ended(&self.shared.incarnations);
        self.phase = Phase::Reading;
        Ok(())
    }

    fn come_again(&mut self, gathered: Gathered, error: StoreError) -> Result<Next, StoreError> {
        if error.kind() == StoreErrorKind::Overtaken {
            return Err(error);
        }
        if self.shared.status.note(Some(&error)) {
            tracing::error!(%error, messages = self.rooms.batch().len(), "the store does not take messages; trying again");
        }
        if self.alarm.is_given_up() {
            return Err(error);
        }
        self.sum_up_lag();
        let pause = match self.phase {
            Phase::Retrying { pause, .. } => (pause * 2).min(RETRY[1]),
            _ => RETRY[0],
        };
        let due = self.now() + pause;
        self.phase = Phase::Retrying { gathered, pause, due };
        Ok(Next::Wait(Some(due)))
    }

    /// Says what was committed, and empties the batch.
    fn committed(&mut self) {
        let status = &self.shared.status;
        if status.note(None) {
            tracing::info!("the store takes messages again");
        }
        // Relaxed: figures.
        status.stored.fetch_add(self.rooms.batch().len() as u64, Relaxed);
        status.batches.fetch_add(1, Relaxed);
        self.rooms.committed();
        self.confirm_due = self.now() + CONFIRM_INTERVAL;
    }

    /// After so much was gathered, and committed where that was due.
    fn go_on(&mut self, gathered: Gathered) -> Result<Next, StoreError> {
        match gathered {
            Gathered::Some => self.flush_behind(),
            Gathered::All => {
                let is_committed = self.rooms.batch().is_empty();
                self.all_flushes().filter(|_| is_committed).for_each(Answer::give);
            }
            Gathered::Last => {
                // Everything is committed, whoever asks.
                self.take_requests();
                self.all_flushes().for_each(Answer::give);
                self.phase = Phase::Finishing { tries: FINISH_TRIES, due: self.now() };
                return Ok(Next::Now);
            }
        }
        if self.gives_up {
            // The time is up, or nobody is there to ask for more and the broker runs on.
            return match self.try_commit() {
                Ok(()) => Err(StoreError::new(StoreErrorKind::Unavailable, "there was no time to store everything")),
                Err(error) => self.come_again(gathered, error),
            };
        }
        self.watch()?;
        Ok(match gathered {
            Gathered::All => {
                let chore = self.next_chore();
                Next::Wait(Some(self.batch_due().map_or(chore, |due| due.min(chore))))
            }
            _ => Next::Now,
        })
    }

    /// Answers flushes whose messages are committed, while others were published behind those.
    fn flush_behind(&mut self) {
        if let Some((flushes, mut unread)) = self.behind.take() {
            match self.rooms.has_read(&mut unread) && self.rooms.batch().is_empty() {
                true => flushes.into_iter().for_each(Answer::give),
                false => self.behind = Some((flushes, unread)),
            }
        } else if !self.flushes.is_empty() {
            self.behind = Some((std::mem::take(&mut self.flushes), self.rooms.unread()));
        }
    }

    fn all_flushes(&mut self) -> impl Iterator<Item = Answer> {
        let behind = self.behind.take().map(|(flushes, _)| flushes);
        behind.into_iter().flatten().chain(std::mem::take(&mut self.flushes))
    }

    /// Ends the run; tried again, since what broke while nothing was written shows now.
    fn finish(&mut self, tries: u32) -> Result<Next, StoreError> {
        match self.shared.store.finish() {
            Ok(()) => Ok(self.end()),
            Err(error) if error.kind() == StoreErrorKind::Overtaken || tries <= 1 => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the run could not be ended; trying again");
                let due = self.now() + RETRY[0];
                self.phase = Phase::Finishing { tries: tries - 1, due };
                Ok(Next::Wait(Some(due)))
            }
        }
    }

    fn end(&mut self) -> Next {
        self.phase = Phase::Ended;
        Next::Ended(Ok(()))
    }

    /// What is done now and then.
    ///
    /// # Errors
    /// [`StoreErrorKind::Overtaken`].
    fn watch(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        if self.lag_due <= now {
            self.sum_up_lag();
        }
        if self.confirm_due <= now {
            if let Err(error) = self.shared.store.confirm()
                && error.kind() == StoreErrorKind::Overtaken
            {
                return Err(error);
            }
            // What else is wrong shows where something is to be written.
            self.confirm_due = self.now() + CONFIRM_INTERVAL;
        }
        if !self.shared.options.retains_all && self.sweep.due <= now {
            self.sweep.step(&*self.shared.store, &self.shared.options, now)?;
        }
        Ok(())
    }

    fn sum_up_lag(&mut self) {
        let start = self.now();
        // Relaxed: a figure.
        self.shared.status.lag.store(self.rooms.lag(), Relaxed);
        let took = self.now().saturating_duration_since(start);
        self.lag_due = start + LAG_INTERVAL.max(took * 100);
    }
}

impl<T> fmt::Debug for BatchWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchWriter").field("phase", &self.phase).finish_non_exhaustive()
    }
}
