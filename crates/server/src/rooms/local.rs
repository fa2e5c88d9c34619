//! The rings of this node: opening them, going on where they ended, and what of them is history.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};

use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::NamespaceOptions;
use crate::limits::memory::Memory;
use crate::ops::metrics::Metrics;
use crate::rooms::cluster::ANSWER_WITHIN;
use crate::rooms::dormant::DormantRooms;
use crate::rooms::engine::{Accepted, EpochName};
use crate::rooms::erasing::Erasing;
use crate::rooms::for_all::{ForAll, Unannounced};
use crate::rooms::handing_over::UnderWay;
use crate::rooms::history;
use crate::rooms::join_leave::{Events, What};
use crate::rooms::parts::{Glance, Now};
use crate::rooms::removed::RemovedHistories;
use crate::rooms::ring_memory::RingMemory;
use crate::rooms::tally::{RoomBytes, Tally};
use crate::rooms::terms::{Reservation, Terms, TermsBook};
use crate::rooms::visible::{Edge, Visible};
#[cfg(test)]
use crate::util::stepped;
use roomcast::{Broker, Position, PublishError, Room, RoomError, RoomOptions};
use roomcast_protocol::{ErrorCode, Publication, RoomName};

/// Messages a room keeps at least, whatever its history: its ring is also what members that fall behind go on from. At a few
/// thousand messages a second this is a good part of a second for a socket to drain.
const ROOM_MESSAGES_MIN: usize = 1_024;

/// What all rooms have for messages, in rooms that have as many as they may: with less than so many, one room would drive the others
/// out.
const FULL_ROOMS_MIN: u64 = 4;

/// Answers like one that is about to be given, for which there is to be memory as well.
const ANSWERS_LEFT: usize = 8;

/// Parts of the memory for answers of the database, of which each read takes two: what is read, and what is made of it.
const DATABASE_PARTS: u64 = 16;

/// Messages of the largest size that a ring holds in any case: a message may weigh a part of its bytes.
const MESSAGES_MIN: u64 = 4;

/// Bytes of the largest message that the server API may publish: of a larger one no answer would have place.
const LARGE_BYTES: u64 = history::ANSWER_BYTES_MAX as u64;

/// What a message takes beside what a client may send: what it says of its author.
const MESSAGE_BESIDE_BYTES: usize = 4 * 1024;

/// Rooms that may exist at once. A room costs little until it is published into, but names come from the network and must not
/// fill the memory.
pub(crate) const ROOMS_MAX: u64 = 1_000_000;

/// From which part of them on those that nobody is in and nothing is left of do not wait for their time.
const CROWDED: (u64, u64) = (9, 10);

/// Times a room is looked up: one that ends twice in that moment is not bad luck but a server that is closing.
pub(crate) const TRIES: usize = 2;

/// The rooms of this node, which all engines share.
pub(crate) struct LocalRooms {
    /// The configuration of the moment.
    pub(crate) now: Arc<Now>,
    /// What the server may take.
    pub(crate) memory: Arc<Memory>,
    /// What their messages take of it.
    pub(crate) ring_memory: RingMemory,
    pub(crate) broker: Broker<Publication>,
    pub(crate) dormant: DormantRooms,
    /// What is not to be seen any more.
    pub(crate) removed: Arc<RemovedHistories>,
    /// Rooms whose rings have what was erased.
    pub(crate) erasing: Erasing,
    /// Keys and versions of what was published.
    pub(crate) terms: TermsBook,
    /// Who comes and goes, and what is kept nowhere, on the way to those who hear of it.
    pub(crate) events: Arc<Events>,
    /// The ways of messages that are kept nowhere.
    pub(crate) for_all: ForAll,
    /// The time on the wire; rooms have it, too.
    pub(crate) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// How many there are, and what they take.
    pub(crate) tally: Tally,
    /// How many there may be, however much memory there is.
    max: u64,
    /// Messages that each keeps at least.
    ring_messages_min: usize,
    /// Woken when few more may be made.
    pub(crate) crowded: Notify,
    /// What was asked for and is not answered yet, as far as that is not done in the turn that asks.
    pub(crate) under_way: UnderWay,
    /// Whether the rooms are another process's: none is made any more.
    is_released: AtomicBool,
}

/// What is bounded whatever the configuration says.
struct Bounds {
    ring_messages: usize,
    rooms: u64,
    key_bytes: u64,
}

impl Bounds {
    fn new(memory: &Memory) -> Self {
        let all = Self { ring_messages: ROOM_MESSAGES_MIN, rooms: ROOMS_MAX, key_bytes: memory.keys.limit() };
        #[cfg(test)]
        let all = {
            let lower = stepped::bounds();
            Self {
                ring_messages: lower.ring_messages.unwrap_or(all.ring_messages),
                rooms: lower.rooms.unwrap_or(all.rooms),
                key_bytes: lower.key_bytes.unwrap_or(all.key_bytes),
            }
        };
        all
    }
}

impl LocalRooms {
    /// Rooms that live on the runtimes of the shards. `clock` is the time on the wire, in milliseconds since 1970; it never falls.
    pub(crate) fn new(
        now: Arc<Now>,
        memory: Arc<Memory>,
        clock: impl Fn() -> u64 + Clone + Send + Sync + 'static,
        shards: Vec<Handle>,
        count: Gauge,
    ) -> Self {
        let broker = Broker::builder().capacity(ROOM_MESSAGES_MIN).clock(clock.clone()).shards(shards.len());
        let broker = broker.weigh(Publication::bytes_held);
        let ring_memory = RingMemory::new();
        let (events, for_all) = {
            let bytes_max = memory.events.limit();
            (Arc::new(Events::within(shards.len(), bytes_max)), ForAll::new(shards.len(), bytes_max))
        };
        let clock = Arc::new(clock);
        #[cfg(test)]
        let broker = match stepped::epochs() {
            Some(first) => broker.epochs_from(first),
            None => broker,
        };
        let broker = broker.on_tokio(shards).build();
        let time = Arc::clone(&clock) as Arc<dyn Fn() -> u64 + Send + Sync>;
        let bounds = Bounds::new(&memory);
        let terms = TermsBook::new(time, bounds.key_bytes);
        let (dormant, removed) = (DormantRooms::new(memory.rooms.limit() / 4), Arc::default());
        let erasing = Erasing::default();
        let crowded = Notify::new();
        Self {
            now,
            memory,
            ring_memory,
            broker,
            dormant,
            removed,
            erasing,
            terms,
            events,
            for_all,
            clock,
            tally: Tally::new(count),
            max: bounds.rooms,
            ring_messages_min: bounds.ring_messages,
            crowded,
            under_way: UnderWay::default(),
            is_released: AtomicBool::new(false),
        }
    }

    /// Makes no room any more: who makes one at this moment has done so when this returns.
    pub(crate) fn make_none(&self) {
        // Relaxed: the locks say who comes before and who behind.
        self.is_released.store(true, Relaxed);
        // SeqCst: the mark before the look at what is to be given. Pairs with the fence in `unless_too_late`.
        fence(SeqCst);
        self.dormant.wait_for_all();
    }

    /// What was done, unless what was changed by it may have come too late for the process that has the rooms now.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyRequests`]: it is to be said again, to that process.
    pub(crate) fn unless_too_late<T>(&self, done: T) -> Result<T, ErrorCode> {
        // SeqCst: the change before the look at the mark. Pairs with the fence in `make_none`.
        fence(SeqCst);
        if self.is_released() { Err(ErrorCode::TooManyRequests) } else { Ok(done) }
    }

    pub(crate) fn is_released(&self) -> bool {
        self.is_released.load(Relaxed)
    }

    /// A room that runs.
    pub(crate) fn running(&self, name: &RoomName) -> Option<Room<Publication>> {
        self.broker.get(name.as_str()).filter(Room::is_running)
    }

    /// Gives a message to who is in the room now, behind all that has been published there.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyRequests`] when a shard or its members have too many before it; then nobody is given it.
    /// [`ErrorCode::Internal`] when a shard has not taken it in time; then everybody will be.
    pub(crate) async fn announce(&self, name: &RoomName, publication: Publication) -> Result<(), ErrorCode> {
        // Into a room that does not run nobody is.
        let Some(room) = self.running(name) else { return Ok(()) };
        let after = Position { epoch: room.epoch(), sequence: room.tail() };
        let message = What::Message(publication, (self.clock)());
        self.for_all.announce(name, message, after, ANSWER_WITHIN).await.map_err(|untold| match untold {
            Unannounced::Full => ErrorCode::TooManyRequests,
            Unannounced::InTime => ErrorCode::Internal,
        })
    }

    /// The same on terms.
    ///
    /// # Errors
    /// As [`LocalRooms::announce`].
    pub(crate) async fn announce_on(
        &self,
        reservation: Reservation,
        name: &RoomName,
        publication: Publication,
    ) -> Result<Accepted, ErrorCode> {
        let announced = self.announce(name, publication).await;
        // Who has not been given it will be: a repetition would be a second one.
        if announced != Err(ErrorCode::TooManyRequests) {
            reservation.done(&Accepted::UNPLACED);
        }
        announced.map(|()| Accepted::UNPLACED)
    }

    /// Whether a message without history is to be one: in a room that has some.
    pub(crate) fn skips_history(&self, name: &RoomName, terms: &Terms) -> bool {
        terms.skip_history && self.now().options(name.as_str()).is_some_and(|options| options.history_size > 0)
    }

    /// Opens a room that is nowhere else, creating it if need be; it goes on where it ended as long as its position counts.
    ///
    /// # Errors
    /// [`ErrorCode::LimitExceeded`] when there are too many rooms already, or the room is being removed; as
    /// [`LocalRooms::is_declared`].
    pub(crate) fn open(&self, name: &RoomName) -> Result<Room<Publication>, ErrorCode> {
        // One that has ended may be there until all that end with it have.
        if let Some(room) = self.running(name) {
            return Ok(room);
        }
        let text = name.as_str();
        self.is_declared(name)?;
        self.has_place_for(name)?;
        let options = self.ring_options(text);
        let make = |rest: Option<Position>| {
            // Another shard has made it since we looked: it is counted.
            if let Some(room) = self.running(name) {
                return Ok(room);
            }
            if self.is_released() {
                return Err(ErrorCode::TooManyRequests);
            }
            let options = rest.map_or(options, |position| options.starting_at(position));
            let room = self.broker.room_with(text, options).map_err(not_opened)?;
            self.tally.add(text);
            Ok(room)
        };
        self.dormant.wake(text, make)
    }

    /// Whether there is to be a room of that name: its namespace may be declared no more since somebody was let in.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRoom`].
    pub(crate) fn is_declared(&self, name: &RoomName) -> Result<(), ErrorCode> {
        if self.now().options(name.as_str()).is_some() { Ok(()) } else { Err(ErrorCode::UnknownRoom) }
    }

    /// Ends a room, whatever it has, and takes it out; false if there is none, or if somebody else does it.
    pub(crate) fn end(&self, name: &str) -> bool {
        let is_ended = self.broker.remove(name);
        if is_ended {
            self.tally.take_off(name);
        }
        is_ended
    }

    /// Whether one more room may be made, of that name.
    ///
    /// # Errors
    /// [`ErrorCode::LimitExceeded`]. Two shards may pass at once; the bound is against floods, a few more do no harm.
    pub(crate) fn has_place_for(&self, name: &RoomName) -> Result<(), ErrorCode> {
        let each = self.room_bytes();
        let (rooms, bytes) = (self.tally.rooms(), self.tally.bytes(each));
        let bytes_max = self.memory.rooms.limit() / 4 * 3;
        if is_crowded(rooms, self.max) || is_crowded(bytes, bytes_max) {
            // Those that nobody uses go before anybody is refused.
            self.crowded.notify_one();
        }
        if rooms >= self.max || bytes + each.one(name.as_str()) > bytes_max {
            return Err(ErrorCode::LimitExceeded);
        }
        self.ring_memory.has_place(self)
    }

    /// What rooms take without their messages.
    fn room_bytes(&self) -> RoomBytes {
        RoomBytes::of(self.now().config.stores())
    }

    pub(crate) fn ring_options(&self, name: &str) -> RoomOptions {
        let (messages, bytes) = self.ring_bounds(name);
        let large = LARGE_BYTES.min(bytes / MESSAGES_MIN);
        let options = RoomOptions::new().capacity(messages).bytes_max(bytes);
        options.message_bytes_max(self.message_bytes_max()).large_message_bytes_max(large)
    }

    /// How many messages the ring of a room keeps at least, and how many bytes at most.
    pub(crate) fn ring_bounds(&self, name: &str) -> (usize, u64) {
        let now = self.now();
        let options = now.options(name);
        let messages = options.map_or(0, NamespaceOptions::ring_messages).max(self.ring_messages_min);
        let bytes = options.map_or(u64::MAX, |options| options.ring_size_bytes as u64);
        (messages, bytes.min(self.memory.rings.limit() / FULL_ROOMS_MIN).max(MESSAGES_MIN * self.message_bytes_max()))
    }

    fn message_bytes_max(&self) -> u64 {
        (self.now().config.message_bytes_max() + MESSAGE_BESIDE_BYTES) as u64
    }

    /// Bytes of publications that one answer may hold at this moment: the less, the more others wait for their clients to take them.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        let left = usize::try_from(self.memory.replies.left()).unwrap_or(usize::MAX);
        (left / ANSWERS_LEFT).min(history::ANSWER_BYTES_MAX)
    }

    /// Bytes that one answer of the database may hold.
    pub(crate) fn database_bytes_max(&self) -> usize {
        let part = usize::try_from(self.memory.database.limit() / DATABASE_PARTS).unwrap_or(usize::MAX);
        part.min(history::ANSWER_BYTES_MAX)
    }

    /// Says what is used of the memory, also of what is counted elsewhere.
    pub(crate) fn show_memory(&self, metrics: &Metrics) {
        self.memory.rooms.note(self.tally.bytes(self.room_bytes()) + self.dormant.bytes());
        self.memory.keys.note(self.terms.bytes());
        self.memory.show(metrics);
    }

    /// The configuration of this moment, for one decision that waits for nothing.
    #[inline]
    pub(crate) fn now(&self) -> Glance {
        self.now.load()
    }

    /// What of a room is its history at this moment.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRoom`].
    pub(crate) fn visible(&self, room: &Room<Publication>, epoch: EpochName, edge: Edge) -> Result<Visible, ErrorCode> {
        let now = self.now();
        let options = now.options(room.name()).ok_or(ErrorCode::UnknownRoom)?;
        let answer_bytes_max = self.answer_bytes_max();
        Ok(Visible { answer_bytes_max, ..Visible::new(options, epoch, edge, (self.clock)()) })
    }
}

/// Whether so much is nearly as much as may be.
fn is_crowded(much: u64, max: u64) -> bool {
    much >= max / CROWDED.1 * CROWDED.0
}

/// The answer to whoever wanted a room that was not opened.
pub(crate) fn not_opened(error: RoomError) -> ErrorCode {
    match error {
        RoomError::NameEmpty | RoomError::NameTooLong => ErrorCode::BadRequest,
        RoomError::TooManyRooms => ErrorCode::LimitExceeded,
        // Another process has them, or will.
        RoomError::Closed => ErrorCode::TooManyRequests,
        _ => ErrorCode::Internal,
    }
}

/// The answer to a publisher whom a room has refused.
pub(crate) fn not_published(refused: &PublishError<Publication>) -> ErrorCode {
    match refused {
        PublishError::Full(_) | PublishError::Pinned(_) => ErrorCode::TooManyRequests,
        PublishError::TooLarge(_) => ErrorCode::LimitExceeded,
        _ => ErrorCode::Internal,
    }
}

impl fmt::Debug for LocalRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRooms").field("broker", &self.broker).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::Config;
    use crate::rooms::hub::Hub;

    #[tokio::test]
    async fn when_few_more_may_be_made_it_is_said_and_one_too_many_is_refused() {
        let mut rooms = Hub::alone(Config::dev()).rooms;
        Arc::get_mut(&mut rooms).expect("the hub is gone").max = 10;
        let open = |n: usize| rooms.open(&RoomName::parse(&format!("room {n}"), 255).expect("a name"));
        let is_crowded = || tokio::time::timeout(Duration::ZERO, rooms.crowded.notified());
        assert!((0..9).all(|n| open(n).is_ok()));
        assert!(is_crowded().await.is_err());
        assert!(open(9).is_ok());
        assert!(is_crowded().await.is_ok());
        assert_eq!(open(10).map(drop), Err(ErrorCode::LimitExceeded));
        assert!(open(3).is_ok(), "it is there");
    }

    #[tokio::test]
    async fn a_room_that_two_shards_open_at_once_is_counted_once() {
        let rooms = Hub::alone(Config::dev()).rooms;
        let name = RoomName::parse("hall", 255).expect("a name");
        let open = || rooms.open(&name).expect("there is space");
        thread::scope(|scope| {
            // Both have looked, and found nothing, when the first is let make it.
            let both = rooms.dormant.wake(name.as_str(), |_| {
                let both = [0, 1].map(|_| scope.spawn(open));
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(100) {
                    thread::yield_now();
                }
                both
            });
            let [one, other] = both.map(|open| open.join().expect("it is opened"));
            assert_eq!(one, other);
        });
        assert_eq!(rooms.tally.rooms(), 1);
    }
}
