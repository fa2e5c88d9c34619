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

/// A room of which a part was taken.
pub(super) struct Unfinished {
    room: RoomName,
    head: RingHead,
    messages: VecDeque<GivenMessage>,
    bytes: u64,
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
            Record::Positions(positions) => positions.into_iter().for_each(|position| rooms.take_position(position)),
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
            _ if head.begins => Unfinished::begin(&self.rooms, head),
            _ => return Err(RecordError::Malformed),
        };
        messages.into_iter().for_each(|message| ring.push(message));
        if ring.next() < ring.head.end {
            *unfinished = Some(ring);
        } else {
            self.rooms.take_ring(ring);
        }
        Ok(())
    }
}

impl Unfinished {
    fn begin(rooms: &LocalRooms, head: RingHead) -> Self {
        let (messages_max, bytes_max) = rooms.ring_bounds(head.room.as_str());
        Self { room: head.room.clone(), head, messages: VecDeque::new(), bytes: 0, bytes_max, messages_max }
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
        self.bytes += message.publication.bytes_held() as u64;
        self.messages.push_back(message);
        while self.messages.len() > self.messages_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.publication.bytes_held() as u64;
            self.head.first += 1;
        }
    }
}

impl LocalRooms {
    /// Makes the room again.
    fn take_ring(&self, ring: Unfinished) {
        let Unfinished { room: name, head: RingHead { epoch, first, end, .. }, messages, .. } = ring;
        let (text, now_ms) = (name.as_str(), (self.clock)());
        let now = self.now();
        let Some(options) = now.options(text).filter(|options| options.is_kept_in_memory()) else { return };
        let position = |sequence| Position { epoch, sequence };
        let made = self.dormant.wake(text, |_| {
            if self.running(&name).is_some() || self.has_place_for(&name).is_err() {
                return None;
            }
            self.broker.room_with(text, self.ring_options(text).starting_at(position(first))).ok()
        });
        let Some(room) = made else { return };
        self.tally.add(text);
        let mut erased = Vec::new();
        for (sequence, GivenMessage { time_ms, publication, is_erased }) in (first..).zip(messages) {
            // Of a time that is far ahead, nothing would ever be too old; the clock may have been set back a little.
            let time_ms = if time_ms <= now_ms.saturating_add(AHEAD_MAX_MS) { time_ms } else { now_ms };
            let is_taken = self.ring_memory.admit(self, &room, &publication).is_ok()
                && room.publish_at(publication, time_ms).is_ok();
            if !is_taken {
                // Its messages have no place here; it goes on where it stands.
                if self.end(text) {
                    self.dormant.lay(text, position(end), after(now_ms, options.history_meta_ttl));
                }
                return;
            }
            if is_erased {
                erased.push(sequence);
            }
        }
        if !erased.is_empty() {
            self.removed.erase(&room, erased);
        }
    }

    fn take_position(&self, PositionOf { room, position, until_ms }: PositionOf) {
        let now = self.now();
        // Where one stands that is stored is in the database, unless nothing was said in it.
        let is_kept =
            |options: &&NamespaceOptions| options.is_kept_in_memory() || options.is_stored() && position.sequence == 0;
        let options = now.options(room.as_str()).filter(is_kept);
        if let Some(options) = options.filter(|_| self.running(&room).is_none()) {
            let longest = after((self.clock)(), options.history_meta_ttl);
            self.dormant.lay(room.as_str(), position, until_ms.min(longest));
        }
    }
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unfinished").field("room", &self.room).finish_non_exhaustive()
    }
}
