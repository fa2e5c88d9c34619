//! Clients of the process before this one, which has handed its log over and closes them one by one: they stay in their rooms until
//! they had time to come back. It is told here what to write and when, and writes nothing itself.

use std::collections::{HashSet, VecDeque};

use super::event::Reason;
use super::journal::{Change, Moved, Taken};

/// Those who are still in the log, and what is known of their going.
#[derive(Debug, Default)]
pub(super) struct Others {
    clients: HashSet<Box<str>>,
    /// Those who were closed to come back, in this order.
    leaving: VecDeque<Leaving>,
    /// Since when there are none any more, wherever it was not told.
    gone_since: Option<u64>,
}

/// A client that was closed to come back.
#[derive(Debug)]
pub(super) struct Leaving {
    since_ms: u64,
    pub(super) room: Box<str>,
    pub(super) client: Box<str>,
}

impl Others {
    /// All of these.
    pub(super) fn new(clients: HashSet<Box<str>>) -> Self {
        Self { clients, ..Self::default() }
    }

    /// Those of them that may be in the log.
    pub(super) fn clients(&self) -> &HashSet<Box<str>> {
        &self.clients
    }

    /// Remembers what was written: who was closed waits here, and whether nobody is left.
    pub(super) fn note(&mut self, taken: &Taken, now_ms: u64) {
        let closed = taken.changes.iter().filter(|change| was_closed(change));
        self.leaving.extend(closed.map(|change| Leaving {
            since_ms: change.time_ms,
            room: change.room.clone(),
            client: change.client.clone(),
        }));
        if taken.are_others_gone && !self.clients.is_empty() {
            self.gone_since.get_or_insert(now_ms);
        }
    }

    /// Has those be closed now who are closed at a time that is still to come: the clock was put back.
    pub(super) fn set_back(&mut self, now_ms: u64) {
        self.gone_since = self.gone_since.map(|since| since.min(now_ms));
        let ends = [self.leaving.front(), self.leaving.back()];
        if ends.into_iter().flatten().any(|leaving| leaving.since_ms > now_ms) {
            self.leaving.iter_mut().for_each(|leaving| leaving.since_ms = leaving.since_ms.min(now_ms));
        }
    }

    /// When the next of them is out for longer than anybody who comes back.
    pub(super) fn due_ms(&self, delay_ms: u64) -> Option<u64> {
        let closed = self.leaving.front().map(|leaving| leaving.since_ms);
        closed.into_iter().chain(self.gone_since).min().map(|since| since.saturating_add(delay_ms))
    }

    /// Those who are by now, in the order in which they were closed.
    pub(super) fn due(&self, now_ms: u64, delay_ms: u64) -> impl Iterator<Item = &Leaving> {
        self.leaving.iter().take_while(move |leaving| leaving.since_ms.saturating_add(delay_ms) <= now_ms)
    }

    /// Whether all who are left are.
    pub(super) fn are_over(&self, now_ms: u64, delay_ms: u64) -> bool {
        self.gone_since.is_some_and(|since| since.saturating_add(delay_ms) <= now_ms)
    }

    /// The first `count` of those who were closed are out.
    pub(super) fn have_left(&mut self, count: usize) {
        self.leaving.drain(..count);
    }
}

/// Whether that is somebody who was closed to come back, and has time for it.
pub(super) fn was_closed(change: &Change) -> bool {
    matches!(&change.what, Moved::OutOfOther { reason } if *reason == Reason::HAND_OVER)
}
