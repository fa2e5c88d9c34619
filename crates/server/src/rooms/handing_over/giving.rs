//! What is given of the rooms: the hottest first, as far as bytes and time allow, and let go of when it has been given.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::record::{Kind, RingHead, Writer};
use super::{GiveWithin, RECORD_BYTES_MAX};
use crate::config::NamespaceOptions;
use crate::rooms::engine::{Engine as _, EpochName};
use crate::rooms::history;
use crate::rooms::hub::Hub;
use crate::rooms::local::LocalRooms;
use crate::rooms::memory::after;
use crate::rooms::terms::{KeptKey, KeptVersion};
use crate::rooms::visible::Edge;
use roomcast::store::ErasedMessages;
use roomcast::{Position, Room, Subscription, TryRecvError};
use roomcast_protocol::{Publication, RoomName};

/// Which part of the bytes and of the time keys and versions may take: without them a repetition is published twice, so they go first.
const TERMS_PART: u32 = 4;

/// Which part is kept for positions at the end.
const POSITIONS_PART: u32 = 4;

/// What the position of a room takes in a record, with a name of usual length.
const POSITION_BYTES: u64 = 64;

/// What a key or a version takes in a record beside its texts.
const TERM_BYTES: u64 = 40;

/// Times that the beginning of a ring is looked for that is published into at this moment.
const TRIES: usize = 3;

/// Rooms that are looked at before others have their turn, and before the time is looked at: some milliseconds.
const LOOKED_AT_ONCE: usize = 1_024;

/// How long a publisher may take between its claim and its commit, a few instructions, before its room is left out.
const COMMITTED_WITHIN: Duration = Duration::from_millis(100);

/// The rooms as they were when they were closed.
#[derive(Default)]
pub(super) struct Given {
    /// The hottest first.
    rooms: VecDeque<GivenRoom>,
    /// Those with a database of which it has nothing, and that somebody is in.
    unsaid: Vec<Room<Publication>>,
    /// How many were not looked at in time; they begin new epochs.
    unseen: u64,
}

impl Given {
    /// Leaves those out of which the database may not have what it should.
    pub(super) fn leave_unsaid_out(&mut self) {
        self.unsaid.clear();
    }
}

/// A room that is kept in memory.
struct GivenRoom {
    room: Room<Publication>,
    /// Stands at the first message of its history. A room that has ended lets nobody begin to read.
    ring: Option<Subscription<Publication>>,
    /// What was erased of it: of rooms that are closed, others forget that.
    erased: Option<Arc<ErasedMessages>>,
    /// Whether somebody is in it, who will come back.
    is_joined: bool,
    newest_ms: u64,
    /// Until when its position counts.
    until_ms: u64,
}

impl GivenRoom {
    /// About what its history takes.
    fn bytes(&self) -> u64 {
        let Some(ring) = &self.ring else { return 0 };
        let stats = self.room.stats();
        let (all, history) =
            (stats.published.saturating_sub(stats.oldest), stats.published.saturating_sub(ring.position().sequence));
        let bytes = u128::from(stats.bytes) * u128::from(history) / u128::from(all.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Hub {
    /// Looks at the rooms that are kept in memory, before they are closed, for so long: first at those that somebody is in. What was
    /// not looked at is not given.
    pub(super) fn look_at_rooms(&self, within: Duration) -> Given {
        let until = Instant::now() + within;
        let (mut all, others): (Vec<_>, Vec<_>) =
            self.rooms.broker.rooms().into_iter().partition(|room| room.subscribers() > 0);
        all.extend(others);
        let (mut given, mut left) = (Given::default(), all.into_iter());
        while left.len() > 0 && Instant::now() < until {
            for room in left.by_ref().take(LOOKED_AT_ONCE) {
                if self.is_unsaid(&room) {
                    given.unsaid.push(room.clone());
                }
                given.rooms.extend(self.look_at(room));
            }
            thread::yield_now();
        }
        // Stored rooms are in the database.
        let in_memory =
            |room: &Room<Publication>| self.now().options(room.name()).is_some_and(NamespaceOptions::is_kept_in_memory);
        given.unseen = left.filter(in_memory).count() as u64;
        // The hottest first.
        given.rooms.make_contiguous().sort_by_key(|given| std::cmp::Reverse((given.is_joined, given.newest_ms)));
        given
    }

    /// Whether somebody is in a stored room in which nothing was ever said: no database knows its epoch.
    fn is_unsaid(&self, room: &Room<Publication>) -> bool {
        let is_stored = || self.now().options(room.name()).is_some_and(NamespaceOptions::is_stored);
        room.tail() == 0 && room.subscribers() > 0 && is_stored()
    }

    fn look_at(&self, room: Room<Publication>) -> Option<GivenRoom> {
        let now = self.now();
        let options = now.options(room.name()).filter(|options| options.is_kept_in_memory())?;
        let is_joined = room.subscribers() > 0;
        let mut until_ms = self.memory.remains(&room).until_ms;
        if is_joined {
            // It does not end as long as they are there.
            until_ms = until_ms.max(after((self.rooms.clock)(), options.history_meta_ttl));
        }
        let edge = Edge::published_but(&self.rooms.removed, &room);
        let visible = self.rooms.visible(&room, EpochName::Ring(room.epoch()), edge).ok()?;
        let begin = || history::from(&room, visible.oldest(&room, visible.top(&room)));
        let ring = (0..TRIES).find_map(|_| begin());
        let newest_ms = history::newest_ms(&room).unwrap_or(0);
        let erased = self.rooms.removed.erased(&room);
        Some(GivenRoom { room, ring, erased, is_joined, newest_ms, until_ms })
    }
}

/// What is being given.
pub(super) struct Giving<'a> {
    rooms: &'a LocalRooms,
    phase: Phase,
    versions: VecDeque<KeptVersion>,
    keys: VecDeque<KeptKey>,
    given: Given,
    /// A ring of which a part has been given.
    begun: Option<GivenRoom>,
    /// Where rooms stand that had no place, the hottest first.
    left_out: VecDeque<StandsAt>,
    /// Where those stand that nobody is in.
    positions: VecDeque<StandsAt>,
    bytes: Bytes,
    until: Until,
    count: Count,
}

/// A room, where it stands, and until when that counts.
type StandsAt = (Box<str>, Position, u64);

#[derive(Clone, Copy, Debug)]
enum Phase {
    Versions,
    Keys,
    Rings,
    Positions,
    Over,
}

/// How many bytes may be given.
#[derive(Debug)]
struct Bytes {
    left: u64,
    /// Of those, how many are for positions alone.
    for_positions: u64,
}

/// Until when what is given.
#[derive(Debug)]
struct Until {
    terms: Instant,
    rings: Instant,
    positions: Instant,
}

/// What came of it, for the log.
#[derive(Debug, Default)]
struct Count {
    rings: u64,
    left_out: u64,
    left_out_bytes: u64,
    positions: u64,
    bytes: u64,
}

impl<'a> Giving<'a> {
    pub(super) fn new(rooms: &'a LocalRooms, mut given: Given, within: GiveWithin) -> Self {
        let begin = Instant::now();
        let for_terms = within.bytes / u64::from(TERMS_PART);
        let (mut versions, mut keys) = (rooms.terms.take_versions().collect(), rooms.terms.take_keys().collect());
        let of_versions = leave_newest(&mut versions, for_terms / 2, |it| it.room.len() + it.epoch.len());
        leave_newest(&mut keys, for_terms - of_versions, |it| it.name.len());
        let now_ms = (rooms.clock)();
        let now = rooms.now();
        let unsaid = std::mem::take(&mut given.unsaid).into_iter().filter_map(|room| {
            let until_ms = after(now_ms, now.options(room.name())?.history_meta_ttl);
            // They are closed by now: in none of them anything will be said.
            (room.tail() == 0).then(|| (room.name().into(), Position { epoch: room.epoch(), sequence: 0 }, until_ms))
        });
        let at_rest = rooms.dormant.take_all().filter(|(.., until_ms)| *until_ms > now_ms);
        let positions: VecDeque<StandsAt> = unsaid.chain(at_rest).collect();
        let of_positions = (positions.len() + given.rooms.len()) as u64 * POSITION_BYTES;
        let bytes =
            Bytes { left: within.bytes, for_positions: of_positions.min(within.bytes / u64::from(POSITIONS_PART)) };
        let until = Until {
            terms: begin + within.time / TERMS_PART,
            rings: begin + within.time / POSITIONS_PART * (POSITIONS_PART - 1),
            positions: begin + within.time,
        };
        let (phase, count) = (Phase::Versions, Count { left_out: given.unseen, ..Count::default() });
        let (begun, left_out) = (None, VecDeque::new());
        let mut this = Self { rooms, phase, versions, keys, given, begun, left_out, positions, bytes, until, count };
        this.leave_coldest_out();
        this
    }

    /// Lets go of the rooms that will have no place, before the other process takes anything: so that both together have less at any time.
    fn leave_coldest_out(&mut self) {
        let mut left = self.bytes.left.saturating_sub(self.bytes.for_positions);
        for given in std::mem::take(&mut self.given.rooms) {
            match left.checked_sub(given.bytes()) {
                Some(rest) => {
                    left = rest;
                    self.given.rooms.push_back(given);
                }
                None => self.leave_out(&given, true),
            }
        }
    }

    /// The next of `entries`. The oldest come first: whoever takes them forgets what came first.
    fn terms<T>(
        &mut self,
        kind: Kind,
        entries: fn(&mut Self) -> &mut VecDeque<T>,
        write: fn(&mut Writer, &T),
    ) -> Option<Vec<u8>> {
        let mut writer = Writer::new(kind);
        while !writer.is_full() && Instant::now() < self.until.terms {
            let Some(entry) = entries(self).pop_front() else { break };
            write(&mut writer, &entry);
        }
        (!writer.is_empty()).then(|| writer.end())
    }

    /// The next part of a ring.
    fn ring(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut given = match self.begun.take() {
                Some(begun) => begun,
                None => self.begin_ring()?,
            };
            match self.part(&mut given) {
                Part::Record(record, is_last) => {
                    match is_last {
                        true => {
                            self.count.rings += 1;
                            given.room.trim(0);
                        }
                        false => self.begun = Some(given),
                    }
                    return Some(record);
                }
                Part::Nothing => self.leave_out(&given, false),
                Part::Broken => self.leave_out(&given, true),
            }
        }
    }

    /// The next room whose messages have place.
    fn begin_ring(&mut self) -> Option<GivenRoom> {
        while let Some(given) = self.given.rooms.pop_front() {
            let left = self.bytes.left.saturating_sub(self.bytes.for_positions);
            if given.bytes() <= left && Instant::now() < self.until.rings {
                return Some(given);
            }
            self.leave_out(&given, true);
        }
        None
    }

    /// Gives its position alone.
    fn leave_out(&mut self, given: &GivenRoom, has_messages: bool) {
        if has_messages {
            self.count.left_out += 1;
            self.count.left_out_bytes += given.bytes();
        }
        if given.until_ms > (self.rooms.clock)() {
            let position = Position { epoch: given.room.epoch(), sequence: given.room.tail() };
            self.left_out.push_back((given.room.name().into(), position, given.until_ms));
        }
        given.room.trim(0);
    }

    fn part(&self, given: &mut GivenRoom) -> Part {
        let GivenRoom { room, ring: Some(ring), erased, .. } = given else { return Part::Broken };
        let (first, end) = (ring.position().sequence, room.tail());
        if first >= end {
            return Part::Nothing;
        }
        let Ok(name) = RoomName::parse(room.name(), roomcast::NAME_BYTES_MAX) else { return Part::Broken };
        let begins = ring.accounting().received == 0;
        let mut writer = Writer::ring(&RingHead { room: name, epoch: room.epoch(), first, end, begins });
        let is_erased = |sequence| erased.as_ref().is_some_and(|erased| erased.contains(sequence));
        let mut interrupted = None;
        while ring.position().sequence < end && !writer.is_full() {
            match ring.try_recv_ref() {
                Ok(message) => {
                    let (sequence, time_ms) = (message.sequence(), message.time().unwrap_or(0));
                    writer.message(time_ms, &message, is_erased(sequence));
                }
                // A publisher is in the midst of it.
                Err(TryRecvError::Empty) if since(&mut interrupted) < COMMITTED_WITHIN => thread::yield_now(),
                Err(_) => return Part::Broken,
            }
        }
        ring.release();
        match writer.bytes() {
            0..=RECORD_BYTES_MAX => Part::Record(writer.end(), ring.position().sequence >= end),
            _ => Part::Broken,
        }
    }

    /// Where rooms stand.
    fn positions(&mut self) -> Option<Vec<u8>> {
        let mut writer = Writer::new(Kind::Positions);
        while !writer.is_full() && (writer.bytes() as u64) < self.bytes.left && Instant::now() < self.until.positions {
            let next = self.left_out.pop_front().or_else(|| self.positions.pop_front());
            let Some((room, position, until_ms)) = next else { break };
            writer.position(&room, position, until_ms);
            self.count.positions += 1;
        }
        (!writer.is_empty()).then(|| writer.end())
    }

    fn record(&mut self) -> Option<Vec<u8>> {
        loop {
            let (record, next) = match self.phase {
                Phase::Versions => {
                    (self.terms(Kind::Versions, |this| &mut this.versions, Writer::version), Phase::Keys)
                }
                Phase::Keys => (self.terms(Kind::Keys, |this| &mut this.keys, Writer::key), Phase::Rings),
                Phase::Rings => (self.ring(), Phase::Positions),
                Phase::Positions => (self.positions(), Phase::Over),
                Phase::Over => return None,
            };
            if record.is_some() {
                return record;
            }
            self.phase = next;
        }
    }
}

/// Leaves of `entries`, the oldest of which come first, as many as have place in so many bytes; what they take.
fn leave_newest<T>(entries: &mut VecDeque<T>, bytes_max: u64, texts: impl Fn(&T) -> usize) -> u64 {
    let weight = |entry: &T| texts(entry) as u64 + TERM_BYTES;
    let mut bytes = entries.iter().map(weight).sum();
    while bytes > bytes_max
        && let Some(oldest) = entries.pop_front()
    {
        bytes -= weight(&oldest);
    }
    bytes
}

/// How reading a part of a ring has ended.
enum Part {
    /// With a record, and whether it is the last one.
    Record(Vec<u8>, bool),
    /// There is none: its history is empty.
    Nothing,
    /// Not all of it can be had.
    Broken,
}

/// How long it has been since this was asked first.
fn since(begin: &mut Option<std::time::Instant>) -> Duration {
    begin.get_or_insert_with(std::time::Instant::now).elapsed()
}

impl Iterator for Giving<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let record = self.record();
        let bytes = record.as_ref().map_or(0, Vec::len) as u64;
        self.bytes.left = self.bytes.left.saturating_sub(bytes);
        self.count.bytes += bytes;
        record
    }
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        let Count { rings, left_out, left_out_bytes, positions, bytes } = self.count;
        if left_out > 0 {
            tracing::warn!(
                left_out,
                left_out_bytes,
                "rooms had no place or no time, and keep their position at most: see `handover.bytes` and `handover.aim`"
            );
        }
        tracing::info!(rings, positions, bytes, "rooms were given to another process");
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}
