//! What may be seen of a room, whichever way it leaves.
//!
//! A message leaves a room in many ways: it is pushed, caught up with from the ring or from the database, recovered by who comes
//! back, read as history, given as the newest one of a cache, kept in memory after a restart. All of them ask [`Edge::range`],
//! the fast ones and the slow ones, so that none of them shows what another holds back: in a stored room nothing that the disk
//! does not have, and nowhere anything that was removed; what was erased is at its place and says nothing, of which [`Edge::erased`]
//! tells all of them. The positions that clients are told come from [`Visible::top`], which
//! asks the same.

use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::config::{NamespaceOptions, Storage};
use crate::rooms::engine::EpochName;
use crate::rooms::history;
use crate::rooms::removed::RemovedHistories;
use roomcast::store::{Archive, Durability, ErasedMessages, Retention, Watermark};
use roomcast::{Room, TryRecvError};
use roomcast_protocol::{ErrorCode, Payload, Placed, Publication, StreamPosition};

#[cfg(test)]
thread_local! {
    /// How often somebody has looked at an edge.
    pub(crate) static POLLS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// From where to where one incarnation of a room may be seen. Moves by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    /// How far the room is stored; none of a room that is not.
    mark: Option<Arc<Watermark>>,
    /// Whether what is not on the disk may not be seen.
    is_stored: bool,
    /// The first sequence that was not removed of a room that is not kept, when this was asked for.
    from: u64,
    /// What is erased of rooms that are not kept.
    removed: Option<Arc<RemovedHistories>>,
}

/// The messages of a room that were erased and are in its ring, or in the hands of who has read them, for a while yet. Whoever gives
/// messages away asks this, each time anew: of an erased one the place is left, as an empty publication. Nor is anything to be given
/// that was made from one, as a delta is from its base.
#[derive(Clone, Debug)]
pub(crate) struct Erased {
    /// From here on none is; nearly always nothing is, and then nobody looks further.
    end: u64,
    messages: Option<Arc<ErasedMessages>>,
}

/// What is given instead.
static EMPTY: LazyLock<Publication> = LazyLock::new(|| Publication::new(Payload::json("null".into()), None));

impl Erased {
    /// Where nothing is.
    pub(crate) const NOTHING: Self = Self { end: 0, messages: None };

    /// These.
    pub(crate) fn of(messages: &Arc<ErasedMessages>) -> Self {
        let end = messages.end();
        Self { end, messages: (end > 0).then(|| Arc::clone(messages)) }
    }

    /// What is given instead of an erased message.
    pub(crate) fn empty() -> Publication {
        EMPTY.clone()
    }

    /// Whether the message at `sequence` is erased: it is not to be shown, and is the base of no delta.
    #[inline]
    pub(crate) fn is_at(&self, sequence: u64) -> bool {
        sequence < self.end && self.messages.as_ref().is_some_and(|messages| messages.contains(sequence))
    }

    /// What lies before this is gone, since the history was removed and everybody had time to come past it: who has not is told.
    pub(crate) fn gone_before(&self) -> u64 {
        self.messages.as_ref().map_or(0, |messages| messages.all_before())
    }

    /// What is to be shown of a message.
    #[inline]
    pub(crate) fn shown<'a>(&self, sequence: u64, publication: &'a Publication) -> &'a Publication {
        if self.is_at(sequence) { &EMPTY } else { publication }
    }

    /// Takes out of the ring of `room` what is not to be shown; whether nothing has it there any more.
    pub(crate) fn take_out_of(&self, room: &Room<Publication>) -> bool {
        let other =
            |sequence, publication: &Publication| (self.is_at(sequence) && *publication != *EMPTY).then(Self::empty);
        room.rewrite(room.oldest()..self.end, other).is_some_and(|rewritten| rewritten.is_done)
    }

    /// Takes it away if that user has said it.
    pub(crate) fn hide_of(user: &str, placed: &mut Placed) {
        if placed.publication.info.as_ref().is_some_and(|info| info.user() == user) {
            placed.publication = EMPTY.clone();
        }
    }

    /// Takes away what is not to be shown.
    pub(crate) fn hide(&self, found: &mut [Placed]) {
        for placed in found {
            if self.is_at(placed.offset.saturating_sub(1)) {
                placed.publication = EMPTY.clone();
            }
        }
    }
}

/// What somebody waits for who has seen everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// There is more to see.
    More,
    /// The archive has ended: there will never be more.
    Nothing,
}

impl Edge {
    /// Of a room that is not kept: everything.
    #[cfg(test)]
    pub(crate) fn published() -> Self {
        Self::default()
    }

    /// The same without what is removed.
    pub(crate) fn published_but(removed: &Arc<RemovedHistories>, room: &Room<Publication>) -> Self {
        Self { from: removed.floor(room), removed: Some(Arc::clone(removed)), ..Self::default() }
    }

    /// Of a room that `archive` may keep.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] when the room is stored and nobody says how far: rather nothing is seen of it than anything.
    pub(crate) fn archived(archive: &Archive<Publication>, room: &Room<Publication>) -> Result<Self, ErrorCode> {
        let mark = archive.watermark(room);
        let is_stored = durability(archive, room, mark.as_deref()) == Some(Durability::Stored);
        let edge = Self { mark, is_stored, ..Self::default() };
        // The mark of a room that has ended goes when all of it is stored.
        if is_stored && edge.mark.is_none() && room.is_running() {
            tracing::error!(room = room.name(), "a stored room was opened without its mark");
            return Err(ErrorCode::Internal);
        }
        Ok(edge)
    }

    /// The mark that a publisher into `room` waits for before its message is acknowledged; none where it need not wait.
    ///
    /// # Errors
    /// As [`Edge::archived`].
    pub(crate) fn awaited(
        archive: &Archive<Publication>,
        room: &Room<Publication>,
    ) -> Result<Option<Arc<Watermark>>, ErrorCode> {
        match durability(archive, room, archive.watermark(room).as_deref()) {
            // A publisher waits for what everybody waits for who wants to see it.
            Some(Durability::Stored) => Self::archived(archive, room).map(|edge| edge.mark),
            _ => Ok(None),
        }
    }

    /// The sequences that may be seen now, by anybody, in any way: none before the first was kept, none from the end on is sure
    /// to be there after a crash. The end of a room that need not be stored lies beyond everything.
    pub(crate) fn range(&self) -> Range<u64> {
        let Some(mark) = &self.mark else { return self.from..u64::MAX };
        // In this order: what is complete is stored to its end, and moves no more.
        let end = if self.is_stored && !mark.is_complete() { mark.stored() } else { u64::MAX };
        mark.floor()..end
    }

    /// What was erased of `room`, whose edge this is.
    pub(crate) fn erased(&self, room: &Room<Publication>) -> Erased {
        match (&self.mark, &self.removed) {
            (Some(mark), _) => mark.erased_if_any().map_or(Erased::NOTHING, Erased::of),
            (None, Some(removed)) => removed.erased(room).map_or(Erased::NOTHING, |messages| Erased::of(&messages)),
            (None, None) => Erased::NOTHING,
        }
    }

    /// From here on nobody is given what lies before `sequence` of `room`, whose edge this is, whenever it was published.
    pub(crate) fn erase_to(&self, room: &Room<Publication>, sequence: u64) {
        match (&self.mark, &self.removed) {
            (Some(mark), _) => mark.erased().extend_to(sequence),
            (None, Some(removed)) => removed.erase_to(room, sequence),
            (None, None) => {}
        }
    }

    /// From which sequence on the ring shows what may be seen; of what lies before, messages may have been erased since, and the
    /// database is to be asked.
    pub(crate) fn ring_from(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.ring_from())
    }

    /// Whether what members were given from there may be what a delta is made of: never where messages are `erased`, or may have been
    /// since, which who goes on by itself was given without their payload.
    pub(crate) fn may_be_base(&self, sequence: u64, erased: &Erased) -> bool {
        sequence >= self.ring_from() && !erased.is_at(sequence)
    }

    /// Ready once more than what lies before `seen` may be seen, or never will be; the one who polls is woken for it.
    pub(crate) fn poll_beyond(&self, seen: u64, context: &mut Context<'_>) -> Poll<Beyond> {
        #[cfg(test)]
        POLLS.set(POLLS.get() + 1);
        match &self.mark {
            Some(mark) if self.is_stored => mark.poll_reached(seen + 1, context).map(|reached| match reached {
                Ok(()) => Beyond::More,
                Err(_) => Beyond::Nothing,
            }),
            _ => Poll::Ready(Beyond::More),
        }
    }

    /// Takes back what [`Edge::poll_beyond`] was asked with that waker, which is kept no longer.
    pub(crate) fn forget(&self, waker: &Waker) {
        if let Some(mark) = &self.mark {
            mark.forget(waker);
        }
    }

    /// The end of the room, if there will never be more than there is because the archive has ended; else beyond everything.
    pub(crate) fn last(&self) -> u64 {
        let is_final =
            self.is_stored && self.mark.as_ref().is_some_and(|mark| mark.is_given_up() && !mark.is_complete());
        if is_final { self.range().end } else { u64::MAX }
    }
}

/// What of a room is its history: what may be seen, as far as its options promise it. The ring may hold more, for members that
/// are behind.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    /// The room's epoch as clients are told it.
    pub(crate) epoch: EpochName,
    pub(crate) edge: Edge,
    pub(crate) messages: usize,
    /// Messages published before this time have expired.
    pub(crate) since_ms: u64,
    /// How many are in memory at least.
    pub(crate) in_memory: usize,
    /// Bytes of them that one answer may hold.
    pub(crate) answer_bytes_max: usize,
}

impl Visible {
    /// The history that `options` promise, at `now_ms` since 1970.
    pub(crate) fn new(options: &NamespaceOptions, epoch: EpochName, edge: Edge, now_ms: u64) -> Self {
        let before = |ttl: Duration| now_ms.saturating_sub(ttl.as_millis() as u64);
        let (mut messages, mut since_ms) = (options.history_size, before(options.history_ttl));
        if options.storage != Storage::Off {
            let Retention { ttl, messages_max } = options.retention();
            if options.history_ttl.is_zero() {
                since_ms = 0;
            }
            since_ms = since_ms.max(ttl.map_or(0, before));
            messages = messages.min(messages_max.map_or(usize::MAX, |most| most as usize));
        }
        Self {
            epoch,
            edge,
            messages,
            since_ms,
            in_memory: options.ring_messages(),
            answer_bytes_max: history::ANSWER_BYTES_MAX,
        }
    }

    /// A position as clients are told it.
    pub(crate) fn position(&self, offset: u64) -> StreamPosition {
        StreamPosition { offset, epoch: self.epoch.to_string() }
    }

    /// The sequence after the newest message that may be seen: the position a client may be told. All before it are in the room,
    /// none of them is being written at this moment.
    pub(crate) fn top(&self, room: &Room<Publication>) -> u64 {
        let (tail, end) = (room.tail(), self.edge.range().end);
        if end <= tail {
            return end;
        }
        let mut top = tail;
        // As often as there are publishers in the midst of it.
        while top > 0 && is_being_written(room, top - 1) {
            top -= 1;
        }
        top
    }

    /// The first sequence of the history in a room that stands at `top`.
    pub(crate) fn oldest(&self, room: &Room<Publication>, top: u64) -> u64 {
        let floor = self.edge.range().start.max(top.saturating_sub(self.messages as u64));
        let oldest = room.oldest().max(floor).min(top);
        // Times never decrease within a room, so what has expired is a front part: halve until its end is found.
        let (mut expired, mut kept) = (oldest, top);
        while expired < kept {
            let middle = expired + (kept - expired) / 2;
            match history::time_ms(room, middle) {
                Some(time_ms) if time_ms < self.since_ms => expired = middle + 1,
                _ => kept = middle,
            }
        }
        kept
    }
}

/// How safely a room is kept: as this incarnation of it was opened, whatever the configuration says of its name since.
fn durability(
    archive: &Archive<Publication>,
    room: &Room<Publication>,
    mark: Option<&Watermark>,
) -> Option<Durability> {
    mark.map(Watermark::durability).max(archive.durability(room.name()))
}

/// Whether a sequence that was handed out is not in the room yet.
fn is_being_written(room: &Room<Publication>, sequence: u64) -> bool {
    history::from(room, sequence).is_some_and(|mut ring| matches!(ring.try_recv_ref(), Err(TryRecvError::Empty)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::time::Instant;

    use super::*;
    use crate::config::Config;
    use crate::rooms::hub::Hub;
    use crate::rooms::stored::ReadFrom;
    use roomcast::internal::{Stage, stop_at};
    use roomcast_protocol::{HistoryQuery, HistoryRequest, Payload, RoomName};

    fn publication(user: &str) -> Publication {
        let info = roomcast_protocol::ClientInfo::new(user.to_owned(), "c".to_owned(), None, None);
        Publication::new(Payload::json("1".into()), Some(info))
    }

    fn folder(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("roomcast-visible-{name}-{}", std::process::id()))
    }

    /// A server with a stored room, and the room.
    fn stored(folder: &std::path::Path) -> (Hub, Room<Publication>) {
        let mut config = Config::dev();
        config.data_dir = folder.to_owned();
        config.channel.without_namespace.storage = Storage::Stored;
        let hub = Hub::alone(config);
        hub.start_storing().unwrap();
        let room = hub.stored_rooms().unwrap().open(&RoomName::parse("hall", 255).unwrap()).unwrap();
        (hub, room)
    }

    /// Until the mark says so; in vain for ever is a hang, which the test runner ends.
    async fn stored_to(hub: &Hub, room: &Room<Publication>, end: u64) {
        let mark = Edge::awaited(&hub.stored_rooms().unwrap().archive, room).unwrap();
        mark.expect("a stored room has a mark").reached(end).await.unwrap();
    }

    #[tokio::test]
    async fn a_position_that_is_told_is_that_of_a_message_that_is_there() {
        let broker = roomcast::Broker::<Publication>::new();
        let room = broker.room("hall").unwrap();
        room.publish(publication("")).unwrap();
        let options = NamespaceOptions { history_size: 10, history_ttl: Duration::MAX, ..NamespaceOptions::default() };
        let visible = Visible::new(&options, EpochName::Ring(room.epoch()), Edge::published(), 0);
        let looked = Arc::new(AtomicBool::new(false));
        stop_at(Stage::Claimed, {
            let (room, visible, looked) = (room.clone(), visible.clone(), Arc::clone(&looked));
            move || {
                assert_eq!((room.tail(), visible.top(&room)), (2, 1), "the second is being written");
                let request = HistoryRequest { room: "hall".to_owned(), limit: 10, since: None, reverse: true };
                let told = history::history(&room, &HistoryQuery::new(&request, 10), &visible).unwrap();
                let newest = told.publications.first().map(|placed| placed.offset);
                assert_eq!((told.position.offset, newest), (1, Some(1)));
                let entered = history::enter(&room, None, &visible, 10).unwrap();
                let (told, pushed) = (entered.subscribed.top.offset, entered.subscription.position().sequence);
                assert_eq!((told, pushed), (1, 1), "it is pushed when it is there");
                looked.store(true, SeqCst);
            }
        });
        room.publish(publication("")).unwrap();
        assert!(looked.load(SeqCst) && visible.top(&room) == 2);
    }

    #[tokio::test]
    async fn who_goes_on_from_what_history_tells_misses_nothing() {
        let folder = folder("hole");
        let mut config = Config::dev();
        config.data_dir = folder.clone();
        config.channel.without_namespace.history_size = 100;
        let hub = Arc::new(Hub::alone(config));
        hub.start_storing().unwrap();
        let stored = hub.stored_rooms().unwrap().open(&RoomName::parse("hall", 255).unwrap()).unwrap();
        let broker = roomcast::Broker::<Publication>::new();
        let room = broker.room("hall").unwrap();
        let options = NamespaceOptions { history_size: 10, history_ttl: Duration::MAX, ..NamespaceOptions::default() };
        let visible = Visible::new(&options, EpochName::Ring(room.epoch()), Edge::published(), 0);
        let asked = |reverse| {
            let request = HistoryRequest { room: "hall".to_owned(), limit: 10, since: None, reverse };
            HistoryQuery::new(&request, 10)
        };
        let offsets = |told: &roomcast_protocol::HistoryResult| -> (Vec<u64>, u64) {
            (told.publications.iter().map(|placed| placed.offset).collect(), told.position.offset)
        };
        for (room, has_database) in [(&room, false), (&stored, true)] {
            room.publish(publication("")).unwrap();
            let looked = Arc::new(AtomicBool::new(false));
            stop_at(Stage::Claimed, {
                let (room, visible, looked) = (room.clone(), visible.clone(), Arc::clone(&looked));
                let of_kept =
                    has_database.then(|| (Arc::clone(&hub), hub.stored_rooms().unwrap().visible(&room).unwrap()));
                move || {
                    // Another publisher overtakes it.
                    room.publish(publication("")).unwrap();
                    for reverse in [false, true] {
                        let told = match &of_kept {
                            Some((hub, visible)) => {
                                let stored = hub.stored_rooms().unwrap();
                                stored.history(&room, &asked(reverse), visible, ReadFrom::Memory)
                            }
                            None => history::history(&room, &asked(reverse), &visible).map_err(Into::into),
                        };
                        assert_eq!(offsets(&told.unwrap()), (vec![1], 1), "kept: {has_database}, reverse: {reverse}");
                    }
                    looked.store(true, SeqCst);
                }
            });
            room.publish(publication("")).unwrap();
            assert!(looked.load(SeqCst));
            let told = history::history(room, &asked(true), &visible).unwrap();
            assert_eq!(offsets(&told), (vec![3, 2, 1], 3));
        }
        hub.stored_rooms().unwrap().archive.close().unwrap();
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[tokio::test]
    async fn a_stored_room_is_seen_up_to_its_mark_and_not_at_all_without_one() {
        let folder = folder("mark");
        let (hub, room) = stored(&folder);
        room.publish(publication("")).unwrap();
        stored_to(&hub, &room, 1).await;
        let edge = hub.engine_of(room.name()).edge(&room).unwrap();
        assert_eq!((edge.range(), hub.stored_rooms().unwrap().visible(&room).unwrap().top(&room)), (0..1, 1));
        let stranger = hub.rooms.broker.room("made-by-nobody-who-knows").unwrap();
        assert_eq!(hub.engine_of(stranger.name()).edge(&stranger).map(|edge| edge.range()), Err(ErrorCode::Internal));
        // Its end: everything, and then nothing more.
        hub.stored_rooms().unwrap().archive.close().unwrap();
        assert_eq!(edge.range(), 0..u64::MAX);
        assert_eq!(hub.stored_rooms().unwrap().visible(&room).unwrap().top(&room), 1);
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[tokio::test]
    async fn a_stored_room_that_is_declared_no_more_is_seen_as_far_as_it_is_stored() {
        let folder = folder("undeclared");
        let mut config = Config::dev();
        config.data_dir = folder.clone();
        let before = config.clone();
        let options = NamespaceOptions { storage: Storage::Stored, ..NamespaceOptions::dev() };
        config.channel.namespaces.insert("chat".to_owned(), options);
        let hub = Hub::alone(config);
        hub.start_storing().unwrap();
        let name = RoomName::parse("chat:hall", 255).unwrap();
        let stored_rooms = hub.stored_rooms().unwrap();
        let room = stored_rooms.open(&name).unwrap();
        let mark = stored_rooms.archive.watermark(&room);
        hub.take_over(before, crate::util::rng::Rng::from_seed([1; 32])).unwrap();
        assert_eq!(stored_rooms.archive.durability(room.name()), None, "its namespace is gone");
        assert_eq!(durability(&stored_rooms.archive, &room, mark.as_deref()), Some(Durability::Stored));
        assert_eq!(stored_rooms.open(&name).map(drop), Err(ErrorCode::UnknownRoom), "nor is another one made");
        assert_eq!(hub.rooms.open(&name).map(drop), Err(ErrorCode::UnknownRoom));
        stored_rooms.archive.close().unwrap();
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[tokio::test]
    async fn who_waits_at_the_edge_is_told_when_there_will_be_nothing_more() {
        let folder = folder("given-up");
        let (hub, room) = stored(&folder);
        room.publish(publication("")).unwrap();
        stored_to(&hub, &room, 1).await;
        let edge = hub.engine_of(room.name()).edge(&room).unwrap();
        let thief = rusqlite::Connection::open(hub.now().config.database()).unwrap();
        thief.busy_timeout(Duration::from_secs(10)).unwrap();
        thief.execute_batch("BEGIN IMMEDIATE").unwrap();
        room.publish(publication("")).unwrap();
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(edge.poll_beyond(1, &mut context), Poll::Pending);
        assert!(hub.stored_rooms().unwrap().archive.close_within(Duration::ZERO).is_err());
        let (until, mut beyond) = (Instant::now() + Duration::from_secs(60), Poll::Pending);
        while beyond.is_pending() && Instant::now() < until {
            beyond = edge.poll_beyond(1, &mut context);
        }
        assert_eq!((beyond, edge.range()), (Poll::Ready(Beyond::Nothing), 0..1));
        drop(thief);
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[tokio::test]
    async fn what_was_erased_is_given_to_nobody_by_ring_or_memory() {
        let folder = folder("erased");
        let (hub, room) = stored(&folder);
        for user in ["ann", "eve", "ann"] {
            room.publish(publication(user)).unwrap();
        }
        stored_to(&hub, &room, 3).await;
        let stored = hub.stored_rooms().unwrap();
        assert_eq!(stored.archive.erase("eve").unwrap(), 1);
        let edge = hub.engine_of(room.name()).edge(&room).unwrap();
        assert_eq!((edge.range(), edge.ring_from()), (0..3, 3), "the places stay, the ring is not asked");
        let request = HistoryRequest { room: "hall".to_owned(), limit: 10, since: None, reverse: false };
        let query = HistoryQuery::new(&request, 10);
        let visible = hub.stored_rooms().unwrap().visible(&room).unwrap();
        assert!(stored.history(&room, &query, &visible, ReadFrom::Memory).is_err());
        let told = stored.history(&room, &query, &visible, ReadFrom::MemoryOrDatabase).unwrap();
        let authors = |placed: &[roomcast_protocol::Placed]| -> Vec<Option<String>> {
            placed.iter().map(|it| it.publication.info.as_ref().map(|info| info.user().to_owned())).collect()
        };
        let expected = [Some("ann".to_owned()), None, Some("ann".to_owned())];
        assert_eq!(authors(&told.publications), expected);
        let fetched = stored.fetch(&room, 0, 10).unwrap();
        assert_eq!((fetched.len(), fetched[1].publication.info.is_none()), (3, true), "a member that is behind, too");
        room.publish(publication("eve")).unwrap();
        stored_to(&hub, &room, 4).await;
        assert_eq!(visible.top(&room), 4, "what comes later is another matter");
        stored.archive.close().unwrap();
        let _ = std::fs::remove_dir_all(&folder);
    }
}
