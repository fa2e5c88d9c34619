//! Taking what another process gives, before anybody is served.
//!
//! A room is made when all of its messages are there, and not before: what is given in part goes on in nobody's epoch.

use std::collections::VecDeque;
use std::fmt;

use super::RecordError;
use super::record::{GivenMessage, PositionOf, Record, RingHead, RingPart, read};
use crate::config::NamespaceOptions;
use crate::rooms::hub::Hub;
use crate::rooms::local::LocalRooms;
use crate::rooms::memory::after;
use crate::util::panics::lock;
use roomcast::Position;
use roomcast_protocol::RoomName;

/// How far ahead of our clock a message may have been published, by theirs.
const AHEAD_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// What came of what was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) rings: u64,
    pub(super) positions: u64,
    /// Rooms with messages that there was no place for, or that came in part: they keep their position at most.
    pub(super) left_out: u64,
    pub(super) left_out_bytes: u64,
    /// Positions that there was no place for: those rooms begin new epochs.
    pub(super) forgotten: u64,
}

/// A room of which a part was taken.
pub(super) struct Unfinished {
    room: RoomName,
    head: RingHead,
    messages: VecDeque<GivenMessage>,
    bytes: u64,
    /// Those of all messages that came, in place or not.
    bytes_taken: u64,
    /// How much a ring may hold here.
    bytes_max: u64,
    messages_max: usize,
}

impl Hub {
    /// Takes a record of another process, before anybody is served.
    ///
    /// # Errors
    /// When it is no record of this version. The rooms it would have had begin new epochs.
    pub(crate) fn take_rooms(&self, record: &[u8]) -> Result<(), RecordError> {
        let rooms = &self.rooms;
        match read(record)? {
            Record::Ring(part) => return self.take_part(part),
            Record::Positions(positions) => {
                let all = positions.len() as u64;
                let kept = positions.into_iter().filter(|position| rooms.take_position(position)).count() as u64;
                let mut taken = lock(&self.handing_over.taken);
                taken.positions += kept;
                taken.forgotten += all - kept;
            }
            Record::Keys(keys) => keys.into_iter().for_each(|key| rooms.terms.remember_key(key)),
            Record::Versions(versions) => {
                versions.into_iter().for_each(|version| rooms.terms.remember_version(version));
            }
        }
        Ok(())
    }

    fn take_part(&self, RingPart { head, messages }: RingPart) -> Result<(), RecordError> {
        let mut unfinished = lock(&self.handing_over.unfinished);
        let mut ring = match unfinished.take() {
            Some(ring) if !head.begins && ring.is_continued_by(&head) => ring,
            // What was begun and is not gone on with is left out.
            before => {
                before.iter().for_each(|ring| self.leave_out(ring));
                if !head.begins {
                    return Err(RecordError::Malformed);
                }
                Unfinished::begin(&self.rooms, head)
            }
        };
        messages.into_iter().for_each(|message| ring.push(message));
        if ring.next() < ring.head.end {
            *unfinished = Some(ring);
        } else if self.rooms.take_ring(&mut ring) {
            lock(&self.handing_over.taken).rings += 1;
        } else {
            self.leave_out(&ring);
        }
        Ok(())
    }

    fn leave_out(&self, ring: &Unfinished) {
        let mut taken = lock(&self.handing_over.taken);
        taken.left_out += 1;
        taken.left_out_bytes += ring.bytes_taken;
    }

    /// Nothing more comes: says what came of it, and counts what was left out.
    pub(crate) fn taken_all(&self) {
        if let Some(ring) = lock(&self.handing_over.unfinished).take() {
            self.leave_out(&ring);
        }
        let taken = std::mem::take(&mut *lock(&self.handing_over.taken));
        let Taken { rings, positions, left_out, left_out_bytes, forgotten } = taken;
        tracing::info!(rings, positions, "rooms of the process before this one go on here");
        if left_out + forgotten > 0 {
            tracing::warn!(
                left_out,
                left_out_bytes,
                forgotten,
                "rooms of the process before this one have no place here: they have lost their messages, and some their position; see `memory.limit`"
            );
        }
        self.metrics.taken_rooms.count("with_messages", rings);
        self.metrics.taken_rooms.count("position_only", positions);
        self.metrics.taken_rooms.count("left_out", left_out + forgotten);
    }

    /// Another process is to have so much of the memory that both have: messages have less here meanwhile, and the coldest go where there
    /// are more already.
    pub(crate) fn leave_to_another(&self, bytes: u64) {
        let memory = &self.rooms.memory;
        if !memory.leave_to_another(bytes) {
            self.rooms.ring_memory.make_room(&self.rooms);
            memory.leave_to_another(bytes);
        }
    }
}

impl Unfinished {
    fn begin(rooms: &LocalRooms, head: RingHead) -> Self {
        let (messages_max, bytes_max) = rooms.ring_bounds(head.room.as_str());
        Self {
            room: head.room.clone(),
            head,
            messages: VecDeque::new(),
            bytes: 0,
            bytes_taken: 0,
            bytes_max,
            messages_max,
        }
    }

    /// The sequence of the message that comes next.
    fn next(&self) -> u64 {
        self.head.first + self.messages.len() as u64
    }

    fn is_continued_by(&self, head: &RingHead) -> bool {
        let of = |head: &RingHead| (head.room.clone(), head.epoch, head.end);
        of(&self.head) == of(head) && self.next() == head.first
    }

    /// Takes the next message; the oldest go where there are more than a ring holds.
    fn push(&mut self, message: GivenMessage) {
        let bytes = message.publication.bytes_held() as u64;
        (self.bytes, self.bytes_taken) = (self.bytes + bytes, self.bytes_taken + bytes);
        self.messages.push_back(message);
        while self.messages.len() > self.messages_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.publication.bytes_held() as u64;
            self.head.first += 1;
        }
    }
}

impl LocalRooms {
    /// Makes the room again; false where it is left out, and keeps its position at most.
    fn take_ring(&self, ring: &mut Unfinished) -> bool {
        let (name, RingHead { epoch, first, end, .. }) = (ring.room.clone(), ring.head.clone());
        let (text, now_ms) = (name.as_str(), (self.clock)());
        let now = self.now();
        let Some(options) = now.options(text).filter(|options| options.is_kept_in_memory()) else { return false };
        let position = |sequence| Position { epoch, sequence };
        let rest = || self.dormant.lay(text, position(end), after(now_ms, options.history_meta_ttl));
        if self.running(&name).is_some() {
            return false;
        }
        // Nobody goes for it: those who came before are hotter.
        if self.memory.rings.left() < ring.bytes {
            rest();
            return false;
        }
        let made = self.dormant.wake(text, |_| {
            if self.running(&name).is_some() || self.has_place_for(&name).is_err() {
                return None;
            }
            self.broker.room_with(text, self.ring_options(text).starting_at(position(first))).ok()
        });
        let Some(room) = made else {
            rest();
            return false;
        };
        self.tally.add(text);
        let mut erased = Vec::new();
        for (sequence, GivenMessage { time_ms, publication, is_erased }) in (first..).zip(ring.messages.drain(..)) {
            // Of a time that is far ahead, nothing would ever be too old; the clock may have been set back a little.
            let time_ms = if time_ms <= now_ms.saturating_add(AHEAD_MAX_MS) { time_ms } else { now_ms };
            let is_taken = self.ring_memory.admit(self, &room, &publication).is_ok()
                && room.publish_at(publication, time_ms).is_ok();
            if !is_taken {
                // Its messages have no place here; it goes on where it stands.
                if self.end(text) {
                    rest();
                }
                return false;
            }
            if is_erased {
                erased.push(sequence);
            }
        }
        if !erased.is_empty() {
            self.removed.erase(&room, erased);
        }
        true
    }

    /// Whether it is kept.
    fn take_position(&self, PositionOf { room, position, until_ms }: &PositionOf) -> bool {
        let now = self.now();
        // Where one stands that is stored is in the database, unless nothing was said in it.
        let is_kept =
            |options: &&NamespaceOptions| options.is_kept_in_memory() || options.is_stored() && position.sequence == 0;
        let options = now.options(room.as_str()).filter(is_kept);
        options.filter(|_| self.running(room).is_none()).is_some_and(|options| {
            let longest = after((self.clock)(), options.history_meta_ttl);
            self.dormant.lay(room.as_str(), *position, (*until_ms).min(longest))
        })
    }
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unfinished").field("room", &self.room).finish_non_exhaustive()
    }
}
