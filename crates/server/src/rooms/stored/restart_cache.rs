//! What rings do not have after a restart: the newest messages of rooms that go on, read from the database once.
//!
//! When a server is back, everybody comes at once and asks for about the same. The first one who asks has it read; what is read is
//! kept beside the ring until the ring itself is full, and counts as if it were in it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use crate::limits::memory::Reservation;
use roomcast::internal::Striped;
use roomcast::{Epoch, Room};
use roomcast_protocol::{Placed, Publication};

/// The newest messages before the rings of rooms that go on.
#[derive(Debug)]
pub(super) struct RestartCache {
    parts: Striped<HashMap<Box<str>, Arc<Part>>>,
    filling: Striped<()>,
}

/// The messages of one room, without a gap, up to where its ring begins.
#[derive(Debug)]
pub(super) struct Part {
    epoch: Epoch,
    first: u64,
    messages: Vec<Placed>,
    /// What they take.
    _reservation: Reservation,
}

impl Part {
    pub(super) fn new(room: &Room<Publication>, first: u64, messages: Vec<Placed>, reservation: Reservation) -> Self {
        Self { epoch: room.epoch(), first, messages, _reservation: reservation }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// The first sequence that was published at `since_ms` or later.
    pub(super) fn first_since(&self, since_ms: u64) -> u64 {
        // Times never fall along the sequences.
        self.first + self.messages.partition_point(|message| message.time_ms < since_ms) as u64
    }

    /// What of `range` it has; all of it, if the range begins and ends in it.
    pub(super) fn slice(&self, range: Range<u64>) -> &[Placed] {
        let at = |sequence: u64| sequence.clamp(self.first, self.end()).saturating_sub(self.first) as usize;
        &self.messages[at(range.start)..at(range.end)]
    }
}

impl RestartCache {
    pub(super) fn new() -> Self {
        Self { parts: Striped::default(), filling: Striped::default() }
    }

    /// The part that reaches up to `border`, where the room's ring begins.
    pub(super) fn part(&self, room: &Room<Publication>, border: u64) -> Option<Arc<Part>> {
        let mut parts = self.parts.of(room.name());
        let part = parts.get(room.name())?;
        if part.epoch == room.epoch() && part.end() == border {
            return Some(Arc::clone(part));
        }
        // The ring has moved on, or it is another room.
        parts.remove(room.name());
        None
    }

    /// Lets one at a time fill the part of a room.
    pub(super) fn fill(&self, room: &str) -> MutexGuard<'_, ()> {
        self.filling.of(room)
    }

    pub(super) fn put(&self, room: &str, part: Part) -> Arc<Part> {
        let part = Arc::new(part);
        self.parts.of(room).insert(room.into(), Arc::clone(&part));
        part
    }

    /// Forgets the part of a room.
    pub(super) fn remove(&self, room: &str) {
        self.parts.of(room).remove(room);
    }

    /// Forgets the parts of rooms that are over.
    pub(super) fn forget(&self, is_over: impl Fn(&str) -> bool) {
        for mut parts in self.parts.parts() {
            parts.retain(|room, _| !is_over(room));
        }
    }
}
