//! The memory that the messages of all rooms take together.
//!
//! Whoever publishes counts what it adds, in blocks, so that publishers of different shards seldom meet. What rings let go by themselves
//! nobody counts: when nearly all of the share seems to be used, rooms are counted anew, one by one, and the coldest let go until a fifth
//! is free. That is done in the background; whoever publishes before it is done, and finds nothing left, does it itself. First they lose
//! what lies before their newest messages, then they end: a room whose messages are nowhere else is empty when it comes back, at the
//! same position, so that its clients are told that they have missed something; what is stored is read from the database.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use tokio::sync::Notify;

use crate::limits::memory::{Reservation, Share};
use crate::rooms::history;
use crate::rooms::local::LocalRooms;
use crate::util::panics::lock;
use roomcast::{Position, Room};
use roomcast_protocol::{ErrorCode, Publication};

/// Bytes that publishers count by themselves before they count together: for some hundred small messages, one large one.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Counters that threads count in; more threads than that share them.
const COUNTERS: usize = 64;

/// What a segment of a ring takes without its messages: 64 places with a time and a state each, and its head.
const SEGMENT_BYTES: u64 = 64 * (size_of::<Publication>() as u64 + 9) + 128;

/// When as little is left, as a part of all, rooms are let go in the background.
const LEFT_PART: u64 = 10;

/// What is to be free when rooms have been let go, as a part of all: so that it is not done again at once.
const FREED_PART: u64 = 5;

/// What the rings of a server hold.
pub(crate) struct RingMemory {
    held: Mutex<Held>,
    /// One at a time lets rooms go.
    letting_go: Mutex<()>,
    /// There is little left.
    is_tight: Notify,
    counters: Box<[Counter]>,
    /// Whether a room has messages that are to be stored and are not.
    has_unstored: OnceLock<Box<HasUnstored>>,
}

type HasUnstored = dyn Fn(&Room<Publication>) -> bool + Send + Sync;

/// What is counted, which is not less than what there is.
#[derive(Debug, Default)]
struct Held(Option<Reservation>);

/// In a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// A room, and what it holds.
struct Counted {
    room: Room<Publication>,
    bytes: u64,
    newest_ms: u64,
}

impl RingMemory {
    pub(crate) fn new() -> Self {
        let counters = (0..COUNTERS).map(|_| Counter::default()).collect();
        let (held, letting_go, is_tight) = (Mutex::default(), Mutex::default(), Notify::new());
        Self { held, letting_go, is_tight, counters, has_unstored: OnceLock::new() }
    }

    /// Says of which rooms nothing may be let go that is not stored yet.
    pub(crate) fn keep_unstored(&self, has_unstored: impl Fn(&Room<Publication>) -> bool + Send + Sync + 'static) {
        // Set once: there is one database.
        let _ = self.has_unstored.set(Box::new(has_unstored));
    }

    /// Counts a message that is about to be published into `room`, and lets others go for it if need be.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyRequests`] when nothing can be let go.
    #[inline]
    pub(crate) fn admit(
        &self,
        rooms: &LocalRooms,
        room: &Room<Publication>,
        publication: &Publication,
    ) -> Result<(), ErrorCode> {
        let bytes = publication.bytes_held() as u64;
        let counter = &self.counters[counter_of_this_thread()].0;
        // Relaxed: a sum.
        let before = counter.fetch_add(bytes, Relaxed);
        if before / BLOCK_BYTES == (before + bytes) / BLOCK_BYTES {
            return Ok(());
        }
        self.take_blocks(rooms, Some(room), bytes).inspect_err(|_| {
            // The next one comes here, too.
            counter.fetch_sub(bytes, Relaxed);
        })
    }

    /// Counts a room that is about to be opened.
    ///
    /// # Errors
    /// [`ErrorCode::LimitExceeded`] when there is no memory for its messages.
    pub(crate) fn has_place(&self, rooms: &LocalRooms) -> Result<(), ErrorCode> {
        if rooms.memory.rings.left() > 0 {
            return Ok(());
        }
        self.take_blocks(rooms, None, 1).map_err(|_| ErrorCode::LimitExceeded)
    }

    #[cold]
    #[inline(never)]
    fn take_blocks(&self, rooms: &LocalRooms, room: Option<&Room<Publication>>, bytes: u64) -> Result<(), ErrorCode> {
        let share = &rooms.memory.rings;
        let bytes = bytes.max(BLOCK_BYTES);
        let take = || share.try_reserve(bytes).map(|block| lock(&self.held).take(block));
        if take().is_some() {
            if share.left() < share.limit_now() / LEFT_PART {
                self.is_tight.notify_one();
            }
            return Ok(());
        }
        // Whoever comes meanwhile waits for what is done here: else it would be refused while colder rooms are there.
        let _one_at_a_time = lock(&self.letting_go);
        if take().is_some() {
            return Ok(());
        }
        self.count(share, || self.let_go(rooms, room, share));
        if take().is_some() {
            return Ok(());
        }
        // The newest messages of this very room are all there is: it goes on without them rather than never.
        let is_much = |room: &&Room<Publication>| bytes_of(room) >= share.limit_now() / FREED_PART;
        let Some(room) = room.filter(is_much).filter(|room| self.end(rooms, room)) else {
            return Err(ErrorCode::TooManyRequests);
        };
        tracing::warn!(room = room.name(), "memory for messages used up by one room, which begins anew");
        self.count(share, || rooms.broker.rooms().iter().map(bytes_of).sum());
        take().ok_or(ErrorCode::TooManyRequests)
    }

    /// Ready when there is little left, and [`RingMemory::make_room`] is to be called.
    pub(crate) async fn is_tight(&self) {
        self.is_tight.notified().await;
    }

    /// Lets rooms go before anybody has to wait for it.
    pub(crate) fn make_room(&self, rooms: &LocalRooms) {
        let share = &rooms.memory.rings;
        let _one_at_a_time = lock(&self.letting_go);
        if share.left() < share.limit_now() / LEFT_PART {
            self.count(share, || self.let_go(rooms, None, share));
        }
    }

    /// Counts what rings hold, without letting any go.
    pub(crate) fn count_anew(&self, rooms: &LocalRooms) {
        let _one_at_a_time = lock(&self.letting_go);
        self.count(&rooms.memory.rings, || rooms.broker.rooms().iter().map(bytes_of).sum());
    }

    /// Takes over what `count` finds, with what was published meanwhile.
    fn count(&self, share: &Share, count: impl FnOnce() -> u64) {
        let before = lock(&self.held).bytes();
        let counted = count();
        let mut held = lock(&self.held);
        let meanwhile = held.bytes().saturating_sub(before);
        held.count_anew(share, counted + meanwhile);
    }

    /// Lets rooms go, the coldest first, until there is something free; what is held then.
    fn let_go(&self, rooms: &LocalRooms, used: Option<&Room<Publication>>, share: &Share) -> u64 {
        let allowed = share.limit_now() / FREED_PART * (FREED_PART - 1);
        let mut all: Vec<Counted> = rooms.broker.rooms().into_iter().map(Counted::new).collect();
        let mut held: u64 = all.iter().map(|counted| counted.bytes).sum();
        if held <= allowed {
            return held;
        }
        all.sort_by_key(|counted| counted.newest_ms);
        let (mut shortened, mut ended) = (0, 0);
        for counted in &mut all {
            if held <= allowed {
                break;
            }
            counted.room.trim(0);
            let left = bytes_of(&counted.room).min(counted.bytes);
            held -= counted.bytes - left;
            shortened += usize::from(left < counted.bytes);
            counted.bytes = left;
        }
        // Who is in a room has to come back to it.
        all.sort_by_key(|counted| (counted.room.subscribers() > 0, counted.newest_ms));
        for counted in &all {
            if held <= allowed {
                break;
            }
            if counted.bytes > 0 && used != Some(&counted.room) && self.end(rooms, &counted.room) {
                held -= counted.bytes;
                ended += 1;
            }
        }
        tracing::warn!(
            held,
            limit = share.limit_now(),
            shortened,
            ended,
            "memory for messages used up, coldest rooms let go"
        );
        held
    }

    /// Ends a room as it is ended when there is no memory.
    #[cfg(test)]
    pub(crate) fn end_now(&self, rooms: &LocalRooms, room: &Room<Publication>) -> bool {
        self.end(rooms, room)
    }

    /// Ends a room, of which nothing is lost but its messages, where they are nowhere else.
    fn end(&self, rooms: &LocalRooms, room: &Room<Publication>) -> bool {
        if self.has_unstored.get().is_some_and(|has_unstored| has_unstored(room)) {
            return false;
        }
        let now = rooms.now();
        let Some(options) = now.options(room.name()) else { return false };
        if !room.is_running() || !rooms.end(room.name()) {
            return false;
        }
        if options.is_kept_in_memory() && room.ended().is_some() {
            let position = Position { epoch: room.epoch(), sequence: room.tail() };
            let until_ms = (rooms.clock)().saturating_add(options.history_meta_ttl.as_millis() as u64);
            rooms.dormant.lay(room.name(), position, until_ms);
        }
        true
    }
}

impl Held {
    fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, Reservation::bytes)
    }

    fn take(&mut self, block: Reservation) {
        Reservation::add(&mut self.0, block);
    }

    /// `bytes` is what there is.
    fn count_anew(&mut self, share: &Share, bytes: u64) {
        let Some(held) = &mut self.0 else { return };
        held.shrink_to(bytes);
        // It was counted for less, by threads that have not come to the end of their blocks.
        if let Some(more) = bytes.checked_sub(held.bytes()).and_then(|more| share.try_reserve(more)) {
            held.join(more);
        }
    }
}

impl Counted {
    fn new(room: Room<Publication>) -> Self {
        Self { bytes: bytes_of(&room), newest_ms: history::newest_ms(&room).unwrap_or(0), room }
    }
}

fn bytes_of(room: &Room<Publication>) -> u64 {
    let stats = room.stats();
    stats.bytes_held + stats.segments as u64 * SEGMENT_BYTES
}

/// Which of the counters this thread counts in.
fn counter_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Relaxed: any will do.
        static OWN: usize = NEXT.fetch_add(1, Relaxed) % COUNTERS;
    }
    OWN.with(|own| *own)
}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").field("held", &self.held).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use smallvec::smallvec;

    use super::*;
    use crate::config::{Config, RecoveryMode, Storage};
    use crate::rooms::engine::{Accepted, Answer, Publish};
    use crate::rooms::hub::Hub;
    use crate::session::Recover;
    use roomcast_protocol::{HistoryQuery, HistoryRequest, Payload, RoomName, StreamPosition};

    /// A hub with some 36 MB for messages.
    fn hub(storage: Storage) -> Hub {
        let mut config = Config::dev();
        config.memory.limit = NonZeroUsize::new(128 << 20);
        config.channel.without_namespace.storage = storage;
        config.data_dir = std::env::temp_dir().join(format!("roomcast-rings-{storage:?}-{}", std::process::id()));
        let hub = Hub::alone(config);
        hub.start_storing().expect("a database");
        hub
    }

    fn name(room: &str) -> RoomName {
        RoomName::parse(room, 255).expect("a name")
    }

    async fn publish(hub: &Hub, room: &str, bytes: usize) -> Result<Accepted, ErrorCode> {
        let data = Payload::json(format!("\"{}\"", "x".repeat(bytes)).into());
        let publish = Publish::new(name(room), Publication::new(data, None));
        let mut answers = hub.engine(&name(room)).expect("an engine").publish(smallvec![publish]);
        answers.pop().expect("an answer").wait().await
    }

    fn held(hub: &Hub) -> u64 {
        hub.rooms.broker.rooms().iter().map(bytes_of).sum()
    }

    #[tokio::test]
    async fn many_rooms_with_a_few_large_messages_stay_within_the_share() {
        let hub = hub(Storage::Off);
        let limit = hub.rooms.memory.rings.limit();
        for room in 0..2_000 {
            publish(&hub, &format!("room{room}"), 60_000).await.expect("colder ones are let go");
            assert!(held(&hub) <= limit + BLOCK_BYTES * COUNTERS as u64, "{} of {limit} after {room}", held(&hub));
        }
        assert!(hub.rooms.broker.get("room0").is_none() && hub.rooms.broker.get("room1999").is_some());
        assert_eq!(hub.metrics.rooms.get(), hub.rooms.broker.rooms().len() as i64);
    }

    #[tokio::test]
    async fn what_is_left_to_another_process_is_left_and_the_coldest_go_for_it() {
        let hub = hub(Storage::Off);
        let limit = hub.rooms.memory.rings.limit();
        let slack = BLOCK_BYTES * COUNTERS as u64;
        let fill = async |from: usize| {
            for room in from..from + 600 {
                publish(&hub, &format!("room{room}"), 60_000).await.expect("colder ones are let go");
            }
        };
        fill(0).await;
        hub.leave_to_another(u64::MAX);
        let now = hub.rooms.memory.rings.limit_now();
        assert!(now < limit / 2 && held(&hub) <= now, "{} of {now}", held(&hub));
        assert!(hub.rooms.broker.get("room599").is_some(), "the newest one stays");
        fill(600).await;
        assert!(held(&hub) <= now + slack, "{} of {now}", held(&hub));
        hub.leave_to_another(0);
        fill(1_200).await;
        assert!(held(&hub) > now + slack && held(&hub) <= limit + slack, "it has all of it again");
    }

    #[tokio::test]
    async fn a_room_that_was_let_go_goes_on_at_its_position_and_has_lost_what_it_had() {
        let hub = hub(Storage::Off);
        let first = publish(&hub, "cold", 10).await.expect("there is space");
        for room in 0..1_000 {
            publish(&hub, &format!("room{room}"), 60_000).await.expect("colder ones are let go");
        }
        assert!(hub.rooms.broker.get("cold").is_none());
        let again = publish(&hub, "cold", 10).await.expect("there is space");
        assert_eq!((again.epoch.clone(), again.offset), (first.epoch.clone(), 2));
        let Answer::Now(entered) = hub.engine(&name("cold")).expect("an engine").enter(
            &name("cold"),
            Some(&Recover::new(StreamPosition { offset: 0, epoch: first.epoch.to_string() }, RecoveryMode::Stream)),
            100,
        ) else {
            panic!("memory answers at once")
        };
        let entered = entered.expect("it is entered");
        assert_eq!(
            (entered.subscribed.found.len(), entered.subscribed.top.offset),
            (0, 2),
            "nothing is told as recovered"
        );
    }

    #[tokio::test]
    async fn one_room_is_shortened_and_not_ended() {
        let hub = hub(Storage::Off);
        for _ in 0..3_000 {
            publish(&hub, "hall", 60_000).await.expect("its older messages are let go");
        }
        let room = hub.rooms.broker.get("hall").expect("it is there");
        assert_eq!(room.tail(), 3_000);
        assert!(room.oldest() > 2_000 && bytes_of(&room) <= hub.rooms.memory.rings.limit());
    }

    #[tokio::test]
    async fn large_messages_of_a_backend_are_taken_as_long_as_they_come() {
        let hub = hub(Storage::Off);
        let limit = hub.rooms.memory.rings.limit();
        for offset in 1..=300 {
            let accepted =
                publish(&hub, "hall", if offset % 3 == 0 { 1 << 20 } else { 2 << 20 }).await.expect("it is taken");
            assert_eq!(accepted.offset, offset, "also where the room had to begin anew");
            assert!(held(&hub) <= limit + BLOCK_BYTES * COUNTERS as u64, "{} of {limit} after {offset}", held(&hub));
        }
        publish(&hub, "other", 1 << 20).await.expect("it is taken");
        assert_eq!(publish(&hub, "other", 4 << 20).await.map(drop), Err(ErrorCode::LimitExceeded));
    }

    #[tokio::test]
    async fn stored_rooms_lose_their_rings_and_none_of_their_messages() {
        let hub = hub(Storage::Stored);
        let first = publish(&hub, "cold", 10).await.expect("it is stored");
        for room in 0..1_000 {
            publish(&hub, &format!("room{room}"), 60_000).await.expect("colder ones are let go");
        }
        assert!(hub.rooms.broker.get("cold").is_none());
        let again = publish(&hub, "cold", 10).await.expect("it is stored");
        assert_eq!((again.epoch, again.offset), (first.epoch, 2));
        let request = HistoryRequest { room: "cold".to_owned(), limit: 10, since: None, reverse: false };
        let query = HistoryQuery::new(&request, 10);
        let told = hub.engine(&name("cold")).expect("an engine").history(&name("cold"), &query).wait().await;
        assert_eq!(told.expect("a history").publications.len(), 2);
        hub.stored_rooms().expect("a database").archive.close().expect("all is stored");
        let _ = std::fs::remove_dir_all(&hub.now().config.data_dir);
    }
}
