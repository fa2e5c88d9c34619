//! What of a configuration matters to what must hold: the options of rooms, and what it forbids at the moment.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::config::{SlowConsumer, Storage};

/// A room of the simulation, as far as its options matter to what must hold.
#[derive(Clone, Debug)]
pub(super) struct RoomKind {
    pub(super) name: String,
    pub(super) storage: Storage,
    pub(super) slow: SlowConsumer,
    /// How many messages its history has; so many that all are there, or few that do not last.
    pub(super) history: History,
    pub(super) asks: Asks,
    /// Its members hear who comes and goes.
    pub(super) hears: bool,
    /// The backend is told who is there.
    pub(super) has_events: bool,
}

/// What the backend is asked about a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    /// Who may enter.
    pub(super) subscribing: bool,
    /// What clients may publish.
    pub(super) publishing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    None,
    Short,
    Whole,
}

impl RoomKind {
    pub(super) fn has_history(&self) -> bool {
        self.history != History::None
    }
}

/// What the configuration forbids.
#[derive(Debug, Default)]
pub(super) struct Forbids {
    /// How often it has changed, and when it did last, by both clocks.
    pub(super) changes: u64,
    pub(super) at: u64,
    pub(super) since: Option<Instant>,
    /// Rooms that clients may not publish into at the moment, and all that they might not.
    pub(super) publishing: BTreeSet<String>,
    pub(super) has_publishing: BTreeSet<String>,
    /// Rooms that are not declared, and all that were not.
    pub(super) rooms: BTreeSet<String>,
    pub(super) has_rooms: BTreeSet<String>,
}

impl Forbids {
    /// Another configuration holds, which forbids nothing yet.
    pub(super) fn begin(&mut self, at: u64) {
        self.changes += 1;
        (self.at, self.since) = (at, Some(Instant::now()));
        self.publishing.clear();
        self.rooms.clear();
    }

    /// By which change clients may not publish there at the moment.
    pub(super) fn forbidden_by(&self, room: &str) -> Option<u64> {
        (self.publishing.contains(room) || self.rooms.contains(room)).then_some(self.changes)
    }
}
