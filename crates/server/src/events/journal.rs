//! Where shards say who comes and goes: in memory, without waiting for a disk or a backend.
//!
//! It is striped by room, so that shards whose members move in different rooms do not meet. Each part has who is there at this
//! moment, and what has changed and is not written yet. Where more has changed than memory is given for, changes are counted
//! instead of kept, and when the log can be written again, it is told of who is there then.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use roomcast::internal::Striped;

use super::event::Reason;

/// Bytes of changes that may wait to be written: some hundred thousand, which a disk takes in a second.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a change weighs beside its names.
const CHANGE_BYTES: usize = size_of::<Change>();

/// The name of the server itself among those of rooms: in it are clients of users, as long as they are connected.
pub(super) const SERVER: &str = "";

/// Who comes and goes, on its way to the log.
pub(crate) struct Journal {
    parts: Striped<Part>,
    /// What the next change is numbered.
    order: AtomicU64,
    /// What waits to be written.
    waiting: AtomicUsize,
    waiting_max: usize,
    /// Changes are counted rather than kept, in all parts: whoever has lost one keeps none behind it, wherever that is noted.
    is_overflowing: AtomicBool,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Whether the writer has been called and has not looked since.
    is_rung: AtomicBool,
    writer: OnceLock<Thread>,
    is_closed: AtomicBool,
    /// The process before this one has closed its clients, and the writer has not been told.
    are_others_gone: AtomicBool,
    /// The newest event that the backend has taken.
    delivered: AtomicU64,
}

/// Rooms with their members, and clients with their users.
pub(super) type Members = HashMap<Box<str>, HashMap<Box<str>, Box<str>>>;

#[derive(Debug, Default)]
struct Part {
    /// Copied by who changes it next, where the writer looks at it as it was.
    members: Arc<Members>,
    changes: Vec<Change>,
    /// Changes that are not kept.
    lost: u64,
}

/// One client has come or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    order: u64,
    pub(super) time_ms: u64,
    /// Or [`SERVER`].
    pub(super) room: Box<str>,
    pub(super) client: Box<str>,
    pub(super) what: Moved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    In {
        user: Box<str>,
    },
    Out {
        reason: Reason,
    },
    /// Out of the process before this one, which has told us; the log knows the client from there, or does not.
    OutOfOther {
        reason: Reason,
    },
}

/// What the writer has taken and is to write, in this order.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) changes: Vec<Change>,
    /// Changes that were counted.
    pub(super) lost: u64,
    /// Who is there, of the parts where some were.
    pub(super) there: Vec<(usize, Arc<Members>)>,
    /// The process before this one has no clients any more.
    pub(super) are_others_gone: bool,
    /// What waits no longer when it is written.
    bytes: usize,
    /// Changes beyond those, which came while these were taken.
    held: Vec<Change>,
}

impl Journal {
    pub(super) fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self::with_bound(clock, WAITING_BYTES_MAX)
    }

    pub(super) fn with_bound(clock: impl Fn() -> u64 + Send + Sync + 'static, waiting_max: usize) -> Self {
        Self {
            parts: Striped::default(),
            order: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            waiting_max,
            is_overflowing: AtomicBool::new(false),
            clock: Box::new(clock),
            is_rung: AtomicBool::new(false),
            writer: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            are_others_gone: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
        }
    }

    /// A client is in a room.
    pub(crate) fn enter(&self, room: &str, client: &str, user: &str) {
        self.note(room, room, client, Moved::In { user: user.into() });
    }

    /// It is no longer.
    pub(crate) fn leave(&self, room: &str, client: &str, reason: Reason) {
        self.note(room, room, client, Moved::Out { reason });
    }

    /// A client of a user has connected.
    pub(crate) fn connect(&self, client: &str, user: &str) {
        self.note(client, SERVER, client, Moved::In { user: user.into() });
    }

    /// It is gone.
    pub(crate) fn disconnect(&self, client: &str, reason: Reason) {
        self.note(client, SERVER, client, Moved::Out { reason });
    }

    /// A client of the process before this one is out of a room, or, of the server, gone.
    pub(super) fn leave_other(&self, room: &str, client: &str, reason: Reason) {
        let striped_by = if room == SERVER { client } else { room };
        self.note(striped_by, room, client, Moved::OutOfOther { reason });
    }

    /// The process before this one has no clients any more, whatever it has told us of them.
    pub(super) fn others_are_gone(&self) {
        // Release: with the exchange in `take`; what it has told us is taken before.
        self.are_others_gone.store(true, Release);
        self.ring();
    }

    fn note(&self, striped_by: &str, room: &str, client: &str, what: Moved) {
        let mut part = self.parts.of(striped_by);
        match &what {
            // With the part locked: the writer has looked there for the last time before, or does so behind this.
            Moved::In { .. } if self.is_closed() => return,
            Moved::In { user } => {
                let members = Arc::make_mut(&mut part.members);
                let clients = match members.get_mut(room) {
                    Some(clients) => clients,
                    None => members.entry(room.into()).or_default(),
                };
                clients.insert(client.into(), user.clone());
            }
            Moved::Out { .. } => {
                if !part.members.get(room).is_some_and(|clients| clients.contains_key(client)) {
                    return;
                }
                let members = Arc::make_mut(&mut part.members);
                let Some(clients) = members.get_mut(room) else { return };
                clients.remove(client);
                if clients.is_empty() {
                    members.remove(room);
                }
            }
            Moved::OutOfOther { .. } => {}
        }
        let bytes = bytes_of(room, client, &what);
        // Relaxed, here and where it falls: a bound, which changes at once may pass by one each.
        // That it overflows is said and seen with the part locked, so before `take` has them all or behind it.
        if self.is_overflowing.load(Relaxed) || self.waiting.load(Relaxed) + bytes > self.waiting_max {
            self.is_overflowing.store(true, Relaxed);
            part.lost += 1;
        } else {
            self.waiting.fetch_add(bytes, Relaxed);
            // Relaxed: the lock of the part says to the writer which changes it must find, see `take`.
            let order = self.order.fetch_add(1, Relaxed);
            let (room, client) = (room.into(), client.into());
            part.changes.push(Change { order, time_ms: (self.clock)(), room, client, what });
        }
        drop(part);
        self.ring();
    }

    /// Calls the writer.
    fn ring(&self) {
        // AcqRel: with the store in `answer`. Who finds it rung has changed something before the writer looks for changes.
        if !self.is_rung.swap(true, AcqRel)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    /// The backend has taken all events up to that one.
    pub(super) fn deliver(&self, to: u64) {
        // Release: with the load in `delivered`; nothing hangs on it.
        self.delivered.fetch_max(to, AcqRel);
        self.ring();
    }

    /// Whether the writer is called and has not looked since.
    #[cfg(test)]
    pub(super) fn is_rung(&self) -> bool {
        self.is_rung.load(Acquire)
    }

    /// The newest event that the backend has taken.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Acquire)
    }

    /// Nobody comes any more. Who goes from here on is not written, but may be [taken](Journal::take) for the process that has the log
    /// then.
    pub(super) fn close(&self) {
        // Release: with the load in `is_closed`; the writer takes what came before.
        self.is_closed.store(true, Release);
        self.ring();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Acquire)
    }

    /// From here on this thread is called when something changes.
    pub(super) fn listen(&self) {
        let _ = self.writer.set(std::thread::current());
    }

    /// Hears what it was called for; to be called before [`Journal::take`].
    pub(super) fn answer(&self) {
        // AcqRel by exchange: with the swap in `ring`.
        self.is_rung.swap(false, AcqRel);
    }

    /// In which part a room is, or, of those connected, a client.
    pub(super) fn part_of(&self, name: &str) -> usize {
        self.parts.part_of(name)
    }

    /// Takes what has changed. `taken` is to have been written.
    ///
    /// What one client does is taken in its order, whichever parts it is in: changes numbered at or above `end` came while the
    /// parts were walked, perhaps behind others in parts that had been walked before, and are held for the next time. Whoever was
    /// given a number below it had the lock of its part before we had it, so its change is found.
    ///
    /// Where changes were lost, all parts are looked at in one moment: what is kept of a client is all that it did before it lost
    /// one, and who is there is so everywhere at once. Nothing is copied for that: whoever next comes or goes in one of these parts
    /// before that is written copies the part, some ten milliseconds for 100,000 members divided by the parts.
    pub(super) fn take(&self, taken: &mut Taken) {
        // AcqRel by exchange: with the store in `others_are_gone`; what came before it is numbered below `end`.
        taken.are_others_gone |= self.are_others_gone.swap(false, AcqRel);
        let mut end = self.order.load(Relaxed);
        let mut changes = std::mem::take(&mut taken.held);
        if self.is_overflowing.load(Relaxed) {
            let mut parts: Vec<_> = self.parts.parts().collect();
            self.is_overflowing.store(false, Relaxed);
            // What is held would be told again behind this.
            end = u64::MAX;
            for (index, part) in parts.iter_mut().enumerate() {
                part.hand_over(&mut changes);
                if part.lost > 0 {
                    taken.lost += std::mem::take(&mut part.lost);
                    taken.there.push((index, Arc::clone(&part.members)));
                }
            }
        } else {
            self.parts.parts().for_each(|mut part| part.hand_over(&mut changes));
        }
        changes.sort_unstable_by_key(|change| change.order);
        let held = changes.partition_point(|change| change.order < end);
        taken.held = changes.split_off(held);
        taken.bytes = changes.iter().map(Change::bytes).sum();
        taken.changes = changes;
    }

    /// What was taken is written.
    pub(super) fn written(&self, taken: &mut Taken) {
        self.waiting.fetch_sub(taken.bytes, Relaxed);
        taken.changes = Vec::new();
        taken.there = Vec::new();
        (taken.lost, taken.bytes, taken.are_others_gone) = (0, 0, false);
    }
}

/// Room for changes that a part keeps.
const CHANGES_KEPT: usize = 64;

impl Part {
    fn hand_over(&mut self, changes: &mut Vec<Change>) {
        changes.append(&mut self.changes);
        if self.changes.capacity() > CHANGES_KEPT {
            self.changes = Vec::new();
        }
    }
}

impl Change {
    fn bytes(&self) -> usize {
        bytes_of(&self.room, &self.client, &self.what)
    }
}

/// What a change weighs while it waits.
fn bytes_of(room: &str, client: &str, what: &Moved) -> usize {
    let words = match what {
        Moved::In { user } => user.len(),
        Moved::Out { reason } | Moved::OutOfOther { reason } => reason.text.len(),
    };
    CHANGE_BYTES + room.len() + client.len() + words
}

impl Taken {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.lost == 0 && !self.are_others_gone
    }

    /// Whether something came while it was taken.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.held.is_empty()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
