//! The handle on permanent storage.

use std::fmt;
use std::mem;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backend::{self, Erasure, Page, RetentionCutoff, Span, Store};
use super::batch::Incarnation;
use super::codec::Codec;
use super::environment::{Environment, System};
use super::error::{OpenError, StoreError, StoreErrorKind};
use super::incarnations::Incarnations;
use super::options::{Durability, Options};
use super::post::{Answer, Post, Request, Unsent};
use super::status::{Status, StatusCell};
use super::watermark::Watermark;
use super::writer::{BatchWriter, Shared};
use crate::broker::Broker;
use crate::config::{Policy, RoomOptions};
use crate::error;
use crate::message::{Epoch, Position, Start};
use crate::room::{PatternSubscription, Room};
use crate::striped::Striped;
use crate::sync::Panicked;

/// How long opening a room, or reading, waits for what is published to be stored, where it must be.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a store may take to answer at least what it was asked when the archive is given up.
const ANSWER_MIN: Duration = Duration::from_secs(5);

/// Between two looks at whether the batch writer has ended.
const END_LOOK: Duration = Duration::from_millis(1);

/// Messages removed or erased before others have their turn at the store.
const REMOVED_AT_ONCE: usize = 4_096;

/// Keeps what the rooms of a broker publish, and knows where they stood.
///
/// # Guarantees
/// - Every message of a kept room that was published is stored once, in order, under its sequence, while the process lives and
///   the store takes messages. While it does not, rooms fill up to their capacity and then refuse
///   ([`PublishError::Full`](crate::PublishError::Full)): nothing is lost silently, and memory is bounded by the rings and one
///   batch.
/// - Nothing is written beside another process: each commit sees first that no other has begun to use the store, and a message
///   that stands in the place of another is no repeat. Where it is so the archive stops for good ([`Archive::is_stopped`]).
/// - No sequence is handed out twice under one epoch, in rooms opened with [`Archive::open`]. A room goes on in its epoch when
///   nothing of it can be missing: it is [`Durability::Stored`], or every run since ended with [`Archive::close`]. (For
///   `Stored` that needs publishers and readers who wait for the [`Watermark`].) Otherwise it goes on at the stored sequence
///   under a new epoch, so that those who saw more learn of it.
/// - Publishing costs what it costs with one more subscriber that keeps up.
///
/// What it does, it does on one thread; calls that read or wait for the store block, so call them off your runtime's threads.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use roomcast::store::{Archive, Codec, Durability, Options, SqliteStore, Undecodable};
/// use roomcast::{Broker, RoomOptions};
///
/// struct Text;
/// impl Codec<String> for Text {
///     fn encode(&self, message: &String, out: &mut Vec<u8>) {
///         out.extend_from_slice(message.as_bytes());
///     }
///     fn decode(&self, stored: &[u8]) -> Result<String, Undecodable> {
///         String::from_utf8(stored.to_vec()).map_err(|_| Undecodable)
///     }
/// }
///
/// # let file = std::env::temp_dir().join(format!("roomcast-doc-archive-{}.db", std::process::id()));
/// for day in ["yesterday", "today"] {
///     let broker = Broker::<String>::new();
///     let archive = Archive::start(&broker, SqliteStore::open(&file)?, Text, Options::all(Durability::Async))?;
///     let lobby = archive.open("lobby", RoomOptions::new())?;
///     lobby.publish(day.to_owned())?;
///     let history = archive.history(&lobby, 0..lobby.tail(), 100)?;
///     assert_eq!(history.last().and_then(|message| message.message.as_deref()), Some(day));
///     assert_eq!(history.len(), if day == "today" { 2 } else { 1 });
///     archive.close()?;
/// }
/// # for end in ["", "-wal", "-shm", ".lock"] { let _ = std::fs::remove_file(format!("{}{end}", file.display())); }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Archive<T> {
    pub(super) broker: Broker<T>,
    pub(super) shared: Arc<Shared<T>>,
    post: Post,
    writer: Mutex<WriterState>,
    /// One at a time opens the rooms of a stripe.
    opening: Striped<()>,
}

/// Who steps the batch writer.
enum WriterState {
    /// Somebody else, who sees how it ends.
    Stepped,
    /// A thread, which ends with what [`Archive::close`] says.
    Running(JoinHandle<Result<(), StoreError>>),
    /// Nobody any more; why not everything was stored, where it was not.
    Ended(Option<(StoreErrorKind, String)>),
}

impl<T: Send + Sync + 'static> Archive<T> {
    /// Begins to keep the rooms of `broker` that `options` name: those that exist from now on, others from their first message.
    /// Open rooms that are to go on where they ended through [`Archive::open`].
    ///
    /// # Errors
    /// When the store cannot be begun, or the system refuses a thread.
    pub fn start(
        broker: &Broker<T>,
        store: impl Store,
        codec: impl Codec<T>,
        options: Options,
    ) -> Result<Self, StoreError> {
        Self::start_with(broker, Arc::new(store), Box::new(codec), options)
    }

    /// [`Archive::start`] with a store that is chosen at run time.
    ///
    /// # Errors
    /// As [`Archive::start`].
    pub fn start_with(
        broker: &Broker<T>,
        store: Arc<dyn Store>,
        codec: Box<dyn Codec<T>>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let (shared, pattern) = Self::begin(broker, store, codec, options, Arc::new(System))?;
        let (post, thread) = BatchWriter::start(Arc::clone(&shared), pattern).map_err(|error| {
            StoreError::new(StoreErrorKind::Other, "the storage thread could not be started").caused_by(error)
        })?;
        Ok(Self::with(broker, shared, post, WriterState::Running(thread)))
    }

    /// An archive without a thread, for simulations: this thread steps its batch writer, and the time, waiting and chance are
    /// those of `environment`. Its [`Archive::close`] returns before everything is stored: step on until the writer has ended.
    ///
    /// # Errors
    /// As [`Archive::start`].
    #[doc(hidden)]
    pub fn start_stepped(
        broker: &Broker<T>,
        store: Arc<dyn Store>,
        codec: Box<dyn Codec<T>>,
        options: Options,
        environment: Arc<dyn Environment>,
    ) -> Result<(Self, BatchWriter<T>), StoreError> {
        let (shared, pattern) = Self::begin(broker, store, codec, options, environment)?;
        let (writer, post) = BatchWriter::new(Arc::clone(&shared), pattern);
        Ok((Self::with(broker, shared, post, WriterState::Stepped), writer))
    }

    fn begin(
        broker: &Broker<T>,
        store: Arc<dyn Store>,
        codec: Box<dyn Codec<T>>,
        options: Options,
        environment: Arc<dyn Environment>,
    ) -> Result<(Arc<Shared<T>>, PatternSubscription<T>), StoreError> {
        store.begin()?;
        let durability = Arc::clone(&options.durability);
        let (incarnations, status) = (Incarnations::new(), StatusCell::default());
        let shared = Arc::new(Shared { store, codec, options, environment, incarnations, status });
        // One that was being opened when its name was kept is, whatever is said of the name by the time it is there.
        let opened = Arc::downgrade(&shared);
        let is_opened =
            move |room: &str| opened.upgrade().is_some_and(|shared| shared.incarnations.newest(room).is_some());
        let is_kept = move |room: &str| durability(room).is_some() || is_opened(room);
        Ok((shared, broker.subscribe_where(is_kept, Policy::Block)))
    }

    fn with(broker: &Broker<T>, shared: Arc<Shared<T>>, post: Post, writer: WriterState) -> Self {
        Self { broker: broker.clone(), shared, post, writer: Mutex::new(writer), opening: Striped::default() }
    }

    /// The room of that name: the one that runs, or one that goes on where it ended. Rooms that are not kept are opened as the
    /// broker does it.
    ///
    /// Reads the store when the room does not run. `options` count when it is created. A start in them counts where the store has nothing
    /// of the room, and gives the epoch: of a room in which nothing was ever said another process may know that.
    ///
    /// # Errors
    /// As [`Broker::room`]; and when the store does not say where it ended.
    pub fn open(&self, name: &str, options: RoomOptions) -> Result<Room<T>, OpenError> {
        self.open_or_create(name, options).map(|(room, _)| room)
    }

    /// The same, with whether the room was created in this process: it did not run.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_or_create(&self, name: &str, options: RoomOptions) -> Result<(Room<T>, bool), OpenError> {
        let running = || self.broker.get(name).filter(Room::is_running);
        if let Some(room) = running() {
            return Ok((room, false));
        }
        let Some(durability) = (self.shared.options.durability)(name) else {
            return self.broker.room_with(name, options).map(|room| (room, true)).map_err(OpenError::Room);
        };
        let _opening = self.opening.of(name);
        if let Some(room) = running() {
            return Ok((room, false));
        }
        if let Some(error) = self.stopped() {
            return Err(OpenError::Store(error));
        }
        let environment = &self.shared.environment;
        self.end_earlier_incarnation(name)?;
        let span = self.shared.store.span(name, RetentionCutoff::default()).map_err(OpenError::Store)?;
        let time_floor = self.newest_time(name, span)?;
        // What was read may be another process's by now, in whose epoch nothing may be published here.
        self.shared.store.confirm().map_err(OpenError::Store)?;
        let start = options.start.filter(|start| span.is_none() && start.sequence == 0);
        let epoch = || start.map_or_else(|| Epoch(environment.draw()), |start| start.epoch);
        let incarnation = Incarnation::going_on_in(name, span, durability, epoch);
        let position = Position { epoch: incarnation.epoch, sequence: incarnation.first };
        let watermark = Arc::new(Watermark::new(incarnation));
        if span.is_some_and(|span| span.epoch != position.epoch) {
            // A room that was published into keeps its epoch even when nothing more is; others leave nothing behind.
            let until = environment.now() + FLUSH_TIMEOUT;
            let sent = self.post.send_until(Request::Know(Arc::clone(&watermark)), Some(until));
            sent.map_err(|unsent| OpenError::Store(self.unsent(unsent)))?;
        }
        self.shared.incarnations.put(&watermark);
        if let Some(error) = self.stopped() {
            self.shared.incarnations.forget(&watermark);
            return Err(OpenError::Store(error));
        }
        let options = options.starting_at(position).no_earlier_than(time_floor);
        let room = self.broker.room_with(name, options).map_err(|error| {
            self.shared.incarnations.forget(&watermark);
            OpenError::Room(error)
        })?;
        Ok((room, true))
    }

    /// When the last message was published that a room goes on from. The clock may have been set back since, and retention relies on times
    /// that do not fall along the sequences.
    fn newest_time(&self, name: &str, span: Option<Span>) -> Result<u64, OpenError> {
        let Some(span) = span.filter(|span| span.oldest < span.next) else { return Ok(0) };
        let page = Page { limit: 1, newest_first: true, bytes_max: 0 };
        let newest = self.shared.store.read(name, span.next - 1..span.next, page).map_err(OpenError::Store)?;
        Ok(newest.first().map_or(0, |record| record.time))
    }

    /// Waits until the incarnation before is stored to its end: the next one goes on there.
    fn end_earlier_incarnation(&self, name: &str) -> Result<(), OpenError> {
        let Some(watermark) = self.shared.incarnations.newest(name) else { return Ok(()) };
        let environment = &self.shared.environment;
        let until = environment.now() + FLUSH_TIMEOUT;
        while !watermark.is_complete() {
            let left = until.saturating_duration_since(environment.now());
            if left.is_zero() {
                return Err(OpenError::Ending);
            }
            // Under load a flush is over when what was published before is stored; that the room has ended may be read after that.
            self.flush_within(left).map_err(OpenError::Store)?;
        }
        Ok(())
    }

    /// How far a room is stored, and waiting for it; `None` when it is not kept, or was not opened with [`Archive::open`] and
    /// has not published yet.
    pub fn watermark(&self, room: &Room<T>) -> Option<Arc<Watermark>> {
        self.shared.incarnations.of(room.name(), room.epoch())
    }

    /// The same for whoever has no handle on that incarnation of a room, which may have ended; `None` when all of it is stored as well.
    pub fn watermark_of(&self, name: &str, epoch: Epoch) -> Option<Arc<Watermark>> {
        self.shared.incarnations.of(name, epoch)
    }

    /// Whether a room of that name is kept, and how safely.
    pub fn durability(&self, name: &str) -> Option<Durability> {
        (self.shared.options.durability)(name)
    }

    /// How far a room is stored, its retention regarded; `None` when the store does not know it.
    ///
    /// # Errors
    /// As the store has it.
    pub fn span(&self, name: &str) -> Result<Option<Span>, StoreError> {
        self.span_since(name, 0)
    }

    /// The same, what was published before `time`, on the broker's clock, left out as well.
    ///
    /// # Errors
    /// As [`Archive::span`].
    pub fn span_since(&self, name: &str, time: u64) -> Result<Option<Span>, StoreError> {
        let mut cutoff = self.cutoff(name);
        cutoff.before_time = cutoff.before_time.max(time);
        let mut span = self.shared.store.span(name, cutoff)?;
        if let Some(span) = &mut span
            && let Some(watermark) = self.shared.incarnations.newest(name)
        {
            span.oldest = span.oldest.max(watermark.floor()).min(span.next);
        }
        Ok(span)
    }

    pub(super) fn cutoff(&self, name: &str) -> RetentionCutoff {
        let options = &self.shared.options;
        let now = options.clock.as_ref().map_or(0, |clock| clock(name));
        RetentionCutoff::at((options.retention)(name), now)
    }

    /// Removes the messages of a room that were published so far, for good. Its position stays: new ones get new sequences. Whoever is
    /// subscribed goes on from the ring, and is given what it has not been given.
    ///
    /// # Errors
    /// As the store has it; some may have been removed.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let room = self.broker.get(name).filter(Room::is_running);
        // Of a room that has ended, nothing is published any more: all that will be stored of it goes.
        let watermark = room.and_then(|room| Some((self.watermark(&room)?, room.tail())));
        if let Some((watermark, tail)) = &watermark {
            watermark.raise_floor(*tail);
        }
        self.flush_within(FLUSH_TIMEOUT)?;
        let Some(span) = self.shared.store.span(name, RetentionCutoff::default())? else { return Ok(()) };
        let before = watermark.map_or(span.next, |(_, tail)| tail.min(span.next));
        while self.shared.store.remove(name, before, REMOVED_AT_ONCE)? == REMOVED_AT_ONCE {}
        self.shared.store.scrub()
    }

    /// Erases what `author` has said so far, in all rooms, for good; how many messages. Their places stay taken, so that who
    /// recovers does not take them for lost. Rings keep theirs until they are evicted, but [`Archive::history`] no longer
    /// shows them, and [`Watermark::ring_from`] says so to who reads rings: also to who still reads that of a room which has ended, and
    /// has kept its watermark.
    ///
    /// # Errors
    /// As the store has it; some may have been erased.
    pub fn erase(&self, author: &str) -> Result<u64, StoreError> {
        // Everything published before has a watermark then.
        self.flush_within(FLUSH_TIMEOUT)?;
        for watermark in self.shared.incarnations.all() {
            let room =
                self.broker.get(&watermark.incarnation.room).filter(|room| room.epoch() == watermark.incarnation.epoch);
            // Of one that has ended all is stored.
            watermark.distrust_ring(room.map_or(0, |room| room.tail()).max(watermark.stored()));
        }
        let mut erased = 0;
        loop {
            let more = self.shared.store.erase(author, REMOVED_AT_ONCE)?;
            erased += more as u64;
            if more < REMOVED_AT_ONCE {
                self.shared.store.scrub()?;
                return Ok(erased);
            }
        }
    }

    /// Erases messages of one room that were published so far, for good; how many. Their places stay taken, and from here on
    /// [`Archive::history`] shows none of them. The ring keeps its own until they are evicted: [`Watermark::erased`] says which those
    /// are to whoever reads rings, and is to be told when they are evicted. Who still reads the ring of an incarnation that has ended,
    /// and has kept its watermark, is told so by that one; of an author, also that nothing is to be read there any more
    /// ([`Watermark::ring_from`]).
    ///
    /// # Errors
    /// As the store has it; some may have been erased.
    pub fn erase_in(&self, name: &str, erasure: Erasure<'_>) -> Result<u64, StoreError> {
        let running = || self.broker.get(name).filter(Room::is_running);
        let tail = running().map(|room| room.tail());
        self.flush_within(FLUSH_TIMEOUT)?;
        // Whichever room runs by then: one that is opened meanwhile goes on from what is meant, and others may have read that for it.
        let watermark = || running().and_then(|room| Some((self.watermark(&room)?, room)));
        let before = match (tail, watermark()) {
            (Some(tail), _) => tail,
            (None, Some((watermark, _))) => watermark.first(),
            (None, None) => match self.shared.store.span(name, RetentionCutoff::default())? {
                Some(span) => span.next,
                None => return Ok(0),
            },
        };
        let is_running = |mark: &Arc<Watermark>| watermark().is_some_and(|(running, _)| Arc::ptr_eq(&running, mark));
        let hide = |sequences: &[u64]| {
            let meant = sequences.iter().copied().filter(|sequence| *sequence < before);
            let mut end = before;
            for mark in self.shared.incarnations.all_of(name) {
                // In the one that runs also what came before it, which somebody may have read there. Of the others each has its own.
                let own = if is_running(&mark) { 0..before } else { mark.first()..mark.stored().min(end) };
                mark.erased().extend(meant.clone().filter(|sequence| own.contains(sequence)));
                end = end.min(mark.first());
            }
        };
        let erase = |erasure, limit| {
            let erased = self.shared.store.erase_in(name, erasure, before, limit)?;
            hide(&erased);
            Ok(erased.len())
        };
        let mut erased = 0;
        match erasure {
            Erasure::Author(author) => {
                // First what the ring has: the store may have erased it before and not have come to say so.
                if let Some((_, room)) = watermark() {
                    hide(&self.said_by(&room, author, before));
                }
                // One that has ended lets nobody look.
                let marks = self.shared.incarnations.all_of(name);
                marks.iter().filter(|mark| !is_running(mark)).for_each(|mark| mark.distrust_ring(mark.stored()));
                loop {
                    let more = erase(erasure, REMOVED_AT_ONCE)?;
                    erased += more as u64;
                    if more < REMOVED_AT_ONCE {
                        break;
                    }
                }
            }
            Erasure::Sequences(sequences) => {
                hide(sequences);
                for sequences in sequences.chunks(REMOVED_AT_ONCE) {
                    // Each is fewer than that, and leaves nothing of them in the store's files.
                    erased += erase(Erasure::Sequences(sequences), sequences.len() + 1)? as u64;
                }
                hide(sequences);
            }
        }
        Ok(erased)
    }

    /// The messages of an author that a room's ring has, before that sequence.
    fn said_by(&self, room: &Room<T>, author: &str, before: u64) -> Vec<u64> {
        let start = Start::Resume(Position { epoch: room.epoch(), sequence: room.oldest() });
        let Ok(mut ring) = room.subscribe_from(start).now() else { return Vec::new() };
        let mut said = Vec::new();
        while ring.position().sequence < before {
            match ring.try_recv_ref() {
                Ok(message) if message.sequence() < before => {
                    if self.shared.codec.author(&message) == Some(author) {
                        said.push(message.sequence());
                    }
                }
                // The ring has moved on: what it lost nobody can have of it.
                Err(error::TryRecvError::Lagged(_)) => {}
                _ => break,
            }
        }
        said
    }

    /// Whether the store does not do what it is asked at the moment.
    pub fn is_in_trouble(&self) -> bool {
        self.shared.status.is_in_trouble()
    }

    /// Whether it has stopped for good: another process uses the store, or the store went back to an earlier state. Rooms then
    /// fill up and refuse, whoever waits for a [`Watermark`] is answered, and [`Archive::status`] says why.
    pub fn is_stopped(&self) -> bool {
        self.shared.status.is_stopped()
    }

    fn stopped(&self) -> Option<StoreError> {
        self.is_stopped().then(|| self.unsent(Unsent::Ended))
    }

    /// Waits until everything published before the call is committed.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unavailable`] when that takes longer than `timeout`.
    pub fn flush_within(&self, timeout: Duration) -> Result<(), StoreError> {
        let environment = &self.shared.environment;
        let (done, answer) = Answer::to_this_thread();
        // One that cannot be reckoned never comes.
        let until = environment.now().checked_add(timeout);
        self.post.send_until(Request::Flush(done), until).map_err(|unsent| self.unsent(unsent))?;
        loop {
            match answer.try_recv() {
                Ok(()) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(self.unsent(Unsent::Ended)),
                Err(TryRecvError::Empty) if until.is_some_and(|until| environment.now() >= until) => {
                    return Err(self.unsent(Unsent::Busy));
                }
                Err(TryRecvError::Empty) => environment.park(until),
            }
        }
    }

    fn unsent(&self, unsent: Unsent) -> StoreError {
        self.trouble(match unsent {
            Unsent::Busy => "the store does not keep up; try again",
            Unsent::Ended => "storage has ended",
        })
    }

    pub(super) fn trouble(&self, otherwise: &str) -> StoreError {
        let (kind, text) = self.status().trouble.unwrap_or_else(|| (StoreErrorKind::Unavailable, otherwise.to_owned()));
        StoreError::new(kind, text)
    }

    /// How storage is doing.
    pub fn status(&self) -> Status {
        self.shared.status.read()
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    /// Closes the broker, stores everything that was published, and ends the run: the next one goes on in the same incarnations.
    /// Blocks meanwhile, without a bound where the store does not take messages. Others may close it at the same time, or again:
    /// each is told how it ended.
    ///
    /// # Errors
    /// When the store could not note that; the next run then begins new incarnations where messages may be missing.
    pub fn close(&self) -> Result<(), StoreError> {
        self.end(None)
    }

    /// [`Archive::close`], but gives up after `timeout`, and after as long again where the store does not even answer: what it is about to
    /// take then it may take later.
    ///
    /// # Errors
    /// As [`Archive::close`], and what the store said last when it does not take messages.
    pub fn close_within(&self, timeout: Duration) -> Result<(), StoreError> {
        self.end(Some(timeout))
    }

    /// Lets another process have the store, after [`Archive::close`]: nothing is removed or erased there any more, either.
    pub fn let_go(&self) {
        self.shared.store.let_go();
    }

    /// [`Archive::let_go`], but waits no longer than `timeout` for a store that does not answer: false then, and it is let go of as soon as
    /// it does.
    #[must_use]
    pub fn let_go_within(&self, timeout: Duration) -> bool {
        let is_stepped = matches!(&*self.writer.lock().unwrap_or_else(PoisonError::into_inner), WriterState::Stepped);
        backend::let_go_within(&self.shared.store, (!is_stepped).then_some(timeout))
    }

    fn end(&self, timeout: Option<Duration>) -> Result<(), StoreError> {
        self.broker.close();
        self.post.close();
        let environment = &self.shared.environment;
        // One that cannot be reckoned never comes.
        let until = timeout.and_then(|timeout| environment.now().checked_add(timeout));
        let last = timeout.and_then(|timeout| until?.checked_add(timeout.max(ANSWER_MIN)));
        let mut is_given_up = false;
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            if last.is_some_and(|last| environment.now() >= last) {
                return Err(self.trouble("the store does not answer"));
            }
            if !is_given_up && until.is_some_and(|until| environment.now() >= until) {
                is_given_up = true;
                self.post.give_up();
            }
            environment.sleep(END_LOOK);
        }
    }

    /// How the batch writer has ended, for each who asks; nothing while it runs.
    fn ended(&self) -> Option<Result<(), StoreError>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*writer, WriterState::Running(thread) if !thread.is_finished()) {
            return None;
        }
        let (state, how) = match mem::replace(&mut *writer, WriterState::Ended(None)) {
            WriterState::Stepped => (WriterState::Stepped, Ok(())),
            WriterState::Running(thread) => {
                let how = thread.join().unwrap_or_else(|payload| {
                    drop(Panicked::from_join(payload));
                    Err(self.trouble("the storage thread panicked"))
                });
                let why = how.as_ref().err().map(|error| (error.kind(), error.to_string()));
                (WriterState::Ended(why), how)
            }
            WriterState::Ended(why) => {
                let how = why.clone().map_or(Ok(()), |(kind, text)| Err(StoreError::new(kind, text)));
                (WriterState::Ended(why), how)
            }
        };
        *writer = state;
        Some(how)
    }
}

impl<T> Drop for Archive<T> {
    fn drop(&mut self) {
        self.post.give_up();
    }
}

impl<T> fmt::Debug for Archive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("options", &self.shared.options).finish_non_exhaustive()
    }
}
