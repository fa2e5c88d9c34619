//! What changes mean: which events they are, by who was in which room before. The time is passed in.
//!
//! Each write is one transaction: events, members and occupied rooms agree in the file whenever it is opened. What a crash takes is
//! what was not committed: who came then was never told of, who went then is told of by the next start.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Result, Transaction};

use super::error::EventsError;
use super::event::{Event, Reason, What};
use super::journal::{Change, Members, Moved, SERVER, Taken};
use super::log::{self, Log, Position, Row3};
use super::others::{Others, was_closed};
use crate::config::RoomEventsOptions;

/// Events that go at once where the log is too long: a transaction of some ten milliseconds.
const TRIMMED_AT_ONCE: usize = 10_000;

/// Rooms that are told to be vacated at once: after a start it may be all there were, and those who come then are not to wait.
const VACATED_AT_ONCE: usize = 10_000;

/// Members that the start tells of at once.
const RESTARTED_AT_ONCE: usize = 10_000;

/// Clients of the process before this one that are told to be gone at once.
const PARTED_AT_ONCE: usize = 10_000;

/// What became of the process that had the log before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// It is over, and so is every connection to it.
    Over,
    /// It has handed over, closes its clients one by one and tells us of them.
    Closes,
}

/// The log, and what is to be known to write it.
#[derive(Debug)]
pub(super) struct Ledger {
    log: Log,
    limits: Limits,
    position: Position,
    occupied: Occupied,
    others: Others,
    /// A write has failed: what is known here may not be in the file.
    is_stale: bool,
}

/// How much is kept, and how long a room may be empty.
#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes_max: u64,
    age_max_ms: u64,
    vacated_delay_ms: u64,
    /// Whether there is a backend: without one nothing is lost to it.
    is_delivered: bool,
}

impl Limits {
    fn new(options: &RoomEventsOptions) -> Self {
        Self {
            bytes_max: options.log_max_size as u64,
            age_max_ms: options.log_max_age.as_millis() as u64,
            vacated_delay_ms: options.vacated_delay.as_millis() as u64,
            is_delivered: options.endpoint.is_some(),
        }
    }
}

/// The rooms that the backend is told to be occupied.
#[derive(Debug, Default)]
struct Occupied {
    rooms: HashMap<Box<str>, Room>,
    /// Those that nobody is in, by since when.
    empty: BTreeSet<(u64, Box<str>)>,
}

#[derive(Debug)]
struct Room {
    members: u32,
    /// Since when there are none.
    empty_since: u64,
}

/// What a write has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrote {
    /// Events that were added.
    pub(super) events: u64,
    /// Events that the backend will not be told.
    pub(super) lost: u64,
    /// Whether there is more to do at once.
    pub(super) is_unfinished: bool,
}

/// Who of the clients of the process before is out.
#[derive(Clone, Copy, Debug)]
enum Parted {
    /// So many of those who were closed.
    Some(usize),
    /// All of them.
    All,
}

/// One transaction under way.
struct Writing<'a> {
    transaction: Transaction<'a>,
    occupied: &'a mut Occupied,
    head: u64,
    bytes: u64,
    wrote: Wrote,
}

impl Ledger {
    /// Takes a log over, and ends in it what the process before has left open, unless that one is still at it.
    pub(super) fn begin(
        log: Log,
        options: &RoomEventsOptions,
        now_ms: u64,
        before: Before,
    ) -> std::result::Result<Self, EventsError> {
        let mut this = Self {
            log,
            limits: Limits::new(options),
            position: Position::default(),
            occupied: Occupied::default(),
            others: Others::default(),
            is_stale: true,
        };
        let begun = match before {
            Before::Over => this.restart(now_ms),
            Before::Closes => this.adopt(),
        };
        begun.map_err(|error| EventsError::sqlite(this.log.path(), error))?;
        Ok(this)
    }

    /// Goes by other options from here on.
    pub(super) fn follow(&mut self, options: &RoomEventsOptions) {
        self.limits = Limits::new(options);
    }

    /// Whether there is a backend.
    pub(super) fn is_delivered(&self) -> bool {
        self.limits.is_delivered
    }

    /// The file that it is in, and whether that is still there.
    pub(super) fn file(&self) -> (&Path, bool) {
        (self.log.path(), self.log.is_there())
    }

    /// How far the log and its backend are.
    pub(super) fn position(&self) -> Position {
        self.position.clone()
    }

    /// When the next room is vacated, unless somebody comes, or the next client of the process before is out.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let delay_ms = self.limits.vacated_delay_ms;
        let vacated = self.occupied.empty.first().map(|(since, _)| since + delay_ms);
        vacated.into_iter().chain(self.others.due_ms(delay_ms)).min()
    }

    /// Tells of everybody who was there that they are gone: no connection outlives a server. Rooms stay occupied for as long as
    /// they may be empty, since those who were there come back.
    fn restart(&mut self, now_ms: u64) -> Result<()> {
        loop {
            let transaction = self.log.begin()?;
            let position = log::position(&transaction)?;
            let mut nobody = Occupied::default();
            let mut writing = Writing::new(transaction, &mut nobody, &position);
            let gone = log::some_members(&writing.transaction, RESTARTED_AT_ONCE)?;
            for Row3 { room, client, user } in &gone {
                log::leave(&writing.transaction, room, client)?;
                writing.gone(room, client, user, Reason::RESTART, now_ms)?;
            }
            // Once, however many there are: it is a write for each room. A start that does not come so far begins anew.
            let is_last = gone.len() < RESTARTED_AT_ONCE;
            if is_last {
                log::empty_all(&writing.transaction, now_ms)?;
            }
            writing.commit(position.cursor)?;
            if is_last {
                break;
            }
        }
        self.load()
    }

    /// Leaves everybody where they are: those who were there are still connected to the process before, and rooms are as occupied as
    /// they were.
    fn adopt(&mut self) -> Result<()> {
        self.load()?;
        self.others = Others::new(log::clients(self.log.connection())?);
        Ok(())
    }

    /// Reads what is in the file.
    fn load(&mut self) -> Result<()> {
        let transaction = self.log.begin()?;
        self.position = log::position(&transaction)?;
        self.occupied = Occupied::default();
        for (room, members, empty_since) in log::rooms(&transaction)? {
            let empty_since = empty_since.unwrap_or(0);
            if members == 0 {
                self.occupied.empty.insert((empty_since, room.clone()));
            }
            self.occupied.rooms.insert(room, Room { members, empty_since });
        }
        self.is_stale = false;
        Ok(())
    }

    /// Writes what was taken, and what time has brought; the backend has taken all up to `cursor`. What has not failed is on the
    /// disk. `part_of` says in which part of the journal a room is.
    ///
    /// # Errors
    /// As the file has it. Nothing is written then, and it may be tried again.
    pub(super) fn write(
        &mut self,
        taken: &Taken,
        cursor: u64,
        now_ms: u64,
        part_of: impl Fn(&str) -> usize,
    ) -> Result<Wrote> {
        if self.is_stale {
            self.load()?;
        }
        let cursor = cursor.max(self.position.cursor);
        self.others.set_back(now_ms);
        let is_due = self.due_ms().is_some_and(|due_ms| due_ms <= now_ms) || self.occupied.is_ahead_of(now_ms);
        // What is too old is looked for in any case: it costs one read.
        if taken.is_empty() && !is_due && cursor == self.position.cursor && !self.is_too_long(now_ms)? {
            return Ok(Wrote::default());
        }
        self.is_stale = true;
        let delay_ms = self.limits.vacated_delay_ms;
        let transaction = self.log.begin()?;
        let mut writing = Writing::new(transaction, &mut self.occupied, &self.position);
        for change in &taken.changes {
            writing.apply(change)?;
        }
        if taken.lost > 0 {
            writing.lose(taken.lost, now_ms)?;
            writing.reconcile(&taken.there, &self.others, part_of, now_ms)?;
        }
        let parted = writing.part(&self.others, now_ms, delay_ms)?;
        writing.set_back(now_ms)?;
        writing.vacate(now_ms, delay_ms)?;
        writing.trim(&self.limits, cursor, now_ms)?;
        let (position, wrote) = writing.commit(cursor)?;
        (self.position.cursor, self.position.head, self.position.bytes) = position;
        match parted {
            Parted::All => self.others = Others::default(),
            Parted::Some(count) => {
                self.others.have_left(count);
                self.others.note(taken, now_ms);
            }
        }
        self.is_stale = false;
        Ok(wrote)
    }

    fn is_too_long(&self, now_ms: u64) -> Result<bool> {
        if self.position.bytes > self.limits.bytes_max {
            return Ok(true);
        }
        let oldest = log::time_after(self.log.connection(), 0)?;
        Ok(oldest.is_some_and(|oldest| oldest < self.limits.before_ms(now_ms)))
    }
}

impl Occupied {
    /// Whether a room is empty since a time that is still to come: the clock was put back.
    fn is_ahead_of(&self, now_ms: u64) -> bool {
        self.empty.last().is_some_and(|(since, _)| *since > now_ms)
    }
}

impl Limits {
    /// What is older is too old.
    fn before_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.age_max_ms)
    }
}

impl<'a> Writing<'a> {
    fn new(transaction: Transaction<'a>, occupied: &'a mut Occupied, from: &Position) -> Self {
        Self { transaction, occupied, head: from.head, bytes: from.bytes, wrote: Wrote::default() }
    }

    fn append(&mut self, what: What, time_ms: u64) -> Result<()> {
        self.head += 1;
        self.wrote.events += 1;
        self.bytes += log::append(&self.transaction, &Event { offset: self.head, time_ms, what })?;
        Ok(())
    }

    fn apply(&mut self, change: &Change) -> Result<()> {
        let Change { room, client, time_ms, what, .. } = change;
        match what {
            Moved::In { user } => self.enter(room, client, user, *time_ms),
            // They may be back in a moment.
            Moved::OutOfOther { .. } if was_closed(change) => Ok(()),
            Moved::Out { reason } | Moved::OutOfOther { reason } => self.leave(room, client, reason.clone(), *time_ms),
        }
    }

    fn enter(&mut self, room: &str, client: &str, user: &str, time_ms: u64) -> Result<()> {
        if !log::enter(&self.transaction, room, client, user)? {
            return Ok(());
        }
        let (client, user) = (client.into(), user.into());
        if room == SERVER {
            return self.append(What::Connect { client, user }, time_ms);
        }
        match self.occupied.rooms.get_mut(room) {
            Some(known) => {
                known.members += 1;
                if known.members == 1 {
                    self.occupied.empty.remove(&(known.empty_since, room.into()));
                    log::occupy(&self.transaction, room, None)?;
                }
            }
            None => {
                self.occupied.rooms.insert(room.into(), Room { members: 1, empty_since: 0 });
                log::occupy(&self.transaction, room, None)?;
                self.append(What::Occupied { room: room.into() }, time_ms)?;
            }
        }
        self.append(What::Join { room: room.into(), client, user }, time_ms)
    }

    fn leave(&mut self, room: &str, client: &str, reason: Reason, time_ms: u64) -> Result<()> {
        let Some(user) = log::leave(&self.transaction, room, client)? else { return Ok(()) };
        self.gone(room, client, &user, reason, time_ms)?;
        if let Some(known) = self.occupied.rooms.get_mut(room) {
            known.members = known.members.saturating_sub(1);
            if known.members == 0 {
                known.empty_since = time_ms;
                self.occupied.empty.insert((time_ms, room.into()));
                log::occupy(&self.transaction, room, Some(time_ms))?;
            }
        }
        Ok(())
    }

    fn gone(&mut self, room: &str, client: &str, user: &str, reason: Reason, time_ms: u64) -> Result<()> {
        let (client, user) = (client.into(), user.into());
        let what = match room {
            SERVER => What::Disconnect { client, user, reason },
            room => What::Leave { room: room.into(), client, user, reason },
        };
        self.append(what, time_ms)
    }

    /// Tells of so many changes that they are missing.
    fn lose(&mut self, changes: u64, now_ms: u64) -> Result<()> {
        let from = self.head + 1;
        self.head += changes - 1;
        self.wrote.lost += changes;
        self.append(What::Gap { from }, now_ms)
    }

    /// Makes the log agree with who is there, of the parts that are given. Clients go from rooms before they are gone, and are
    /// connected before they come into rooms. The `others` are somewhere else.
    fn reconcile(
        &mut self,
        parts: &[(usize, Arc<Members>)],
        others: &Others,
        part_of: impl Fn(&str) -> usize,
        now_ms: u64,
    ) -> Result<()> {
        let there_of = |name: &str| {
            let part = part_of(name);
            parts.iter().find(|(given, _)| *given == part).map(|(_, there)| there)
        };
        let is_in =
            |there: &Members, room: &str, client: &str| there.get(room).is_some_and(|it| it.contains_key(client));
        let known: Vec<Box<str>> = {
            let known =
                self.occupied.rooms.iter().filter(|(room, known)| known.members > 0 && there_of(room).is_some());
            known.map(|(room, _)| room.clone()).collect()
        };
        for room in known.iter().map(|room| &**room).chain([SERVER]) {
            for client in log::members_of(&self.transaction, room)? {
                let there = there_of(if room == SERVER { &client } else { room });
                if !others.clients().contains(&client) && there.is_some_and(|there| !is_in(there, room, &client)) {
                    self.leave(room, &client, Reason::OVERFLOW, now_ms)?;
                }
            }
        }
        for of_server in [true, false] {
            let rooms =
                parts.iter().flat_map(|(_, there)| there.iter()).filter(|(room, _)| (***room == *SERVER) == of_server);
            for (room, clients) in rooms {
                for (client, user) in clients {
                    self.enter(room, client, user, now_ms)?;
                }
            }
        }
        Ok(())
    }

    /// Tells of those of the `others` who had time to come back: who did is there under another name.
    fn part(&mut self, others: &Others, now_ms: u64, delay_ms: u64) -> Result<Parted> {
        let mut count = 0;
        for leaving in others.due(now_ms, delay_ms).take(PARTED_AT_ONCE) {
            self.leave(&leaving.room, &leaving.client, Reason::HAND_OVER, now_ms)?;
            count += 1;
        }
        if count == PARTED_AT_ONCE {
            self.wrote.is_unfinished = true;
            return Ok(Parted::Some(count));
        }
        if !others.are_over(now_ms, delay_ms) {
            return Ok(Parted::Some(count));
        }
        // Of these it was not told.
        let left = log::some_of(&self.transaction, others.clients(), PARTED_AT_ONCE)?;
        for Row3 { room, client, .. } in &left {
            self.leave(room, client, Reason::HAND_OVER, now_ms)?;
        }
        if left.len() == PARTED_AT_ONCE {
            self.wrote.is_unfinished = true;
            return Ok(Parted::Some(count));
        }
        Ok(Parted::All)
    }

    /// Has rooms be empty since now that are by a clock that was put back since then.
    fn set_back(&mut self, now_ms: u64) -> Result<()> {
        while self.occupied.is_ahead_of(now_ms)
            && let Some((_, room)) = self.occupied.empty.pop_last()
        {
            log::occupy(&self.transaction, &room, Some(now_ms))?;
            if let Some(known) = self.occupied.rooms.get_mut(&room) {
                known.empty_since = now_ms;
            }
            self.occupied.empty.insert((now_ms, room));
        }
        Ok(())
    }

    /// Tells of the rooms that nobody has come back to.
    fn vacate(&mut self, now_ms: u64, delay_ms: u64) -> Result<()> {
        let mut vacated = 0;
        while let Some((since, room)) = self.occupied.empty.first().cloned()
            && since + delay_ms <= now_ms
        {
            if vacated == VACATED_AT_ONCE {
                self.wrote.is_unfinished = true;
                break;
            }
            vacated += 1;
            self.occupied.empty.pop_first();
            self.occupied.rooms.remove(&room);
            log::vacate(&self.transaction, &room)?;
            self.append(What::Vacated { room }, now_ms)?;
        }
        Ok(())
    }

    /// Removes what is too old or too much.
    fn trim(&mut self, limits: &Limits, cursor: u64, now_ms: u64) -> Result<()> {
        let excess = self.bytes.saturating_sub(limits.bytes_max);
        let oldest = log::first(&self.transaction)?.unwrap_or(self.head + 1);
        let Some(trimmed) = log::trim(&self.transaction, limits.before_ms(now_ms), excess, cursor, TRIMMED_AT_ONCE)?
        else {
            return Ok(());
        };
        self.bytes = self.bytes.saturating_sub(trimmed.bytes);
        self.wrote.is_unfinished |= trimmed.is_unfinished;
        let from = oldest.max(cursor + 1);
        if limits.is_delivered && trimmed.to >= from {
            // What a gap said is missing was counted when it was.
            self.wrote.lost += (trimmed.to + 1 - from).saturating_sub(trimmed.known_lost);
            tracing::warn!(from, to = trimmed.to, "room events are gone before the backend has taken them");
        }
        Ok(())
    }

    fn commit(self, cursor: u64) -> Result<((u64, u64, u64), Wrote)> {
        let Self { transaction, head, bytes, wrote, .. } = self;
        log::save(&transaction, cursor, bytes)?;
        transaction.commit()?;
        Ok(((cursor, head, bytes), wrote))
    }
}

/// Puts the backend behind that event; where it was before.
pub(super) fn skip(log: &Log, offset: u64) -> std::result::Result<u64, EventsError> {
    let set = || -> Result<std::result::Result<u64, u64>> {
        let transaction = log.begin()?;
        let Position { cursor, head, bytes, .. } = log::position(&transaction)?;
        if offset > head {
            return Ok(Err(head));
        }
        log::save(&transaction, offset, bytes)?;
        transaction.commit()?;
        Ok(Ok(cursor))
    };
    match set().map_err(|error| EventsError::sqlite(log.path(), error))? {
        Ok(before) => Ok(before),
        Err(head) => Err(EventsError::new(format!("the newest event is {head}: there is none at {offset}"))),
    }
}
