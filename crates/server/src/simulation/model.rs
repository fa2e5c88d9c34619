//! The shadow model: what was published where, what of it was seen, and the invariants that hold of that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::disk::Disk;
use crate::config::{SlowConsumer, Storage};

/// What must hold whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Invariant {
    /// Everybody sees a room in the same order.
    OneOrder = 1,
    /// What is missing is never passed over in silence.
    NoGap,
    /// Nothing is given to a client twice.
    NoDuplicate,
    /// Who is in a room are the sockets that are.
    Presence,
    /// Who hears of joins and leaves knows who is there.
    Balance,
    /// Nothing of a stored room is seen that the disk does not have.
    Stored,
    /// What is held is counted, is within its bounds, and is given back.
    Memory,
    /// Everybody is answered, and nobody is closed for nothing.
    Alive,
}

/// How an invariant was found broken.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) invariant: Invariant,
    pub(super) how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} ({:?}): {}", self.invariant as u8, self.invariant, self.how)
    }
}

/// A room of the simulation, as far as its options matter to what must hold.
#[derive(Clone, Debug)]
pub(super) struct RoomKind {
    pub(super) name: String,
    pub(super) storage: Storage,
    pub(super) slow: SlowConsumer,
    /// How many messages its history has; so many that all are there, or few that do not last.
    pub(super) history: History,
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

/// A message that was published.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) room: String,
    pub(super) user: String,
    pub(super) sent_at: u64,
    /// When it was acknowledged.
    pub(super) acked_at: Option<u64>,
    pub(super) place: Option<(String, u64)>,
    /// In which run of the server it was published.
    pub(super) run: u32,
    /// Somebody wants it erased.
    pub(super) may_be_erased: bool,
    /// When it was erased.
    pub(super) erased_at: Option<u64>,
}

/// Somebody was in a room.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    pub(super) room: String,
    pub(super) client: String,
    /// When it asked to be, and when it knew that it was not any more.
    pub(super) asked_at: u64,
    pub(super) until: Option<u64>,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) rooms: BTreeMap<String, RoomKind>,
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) stays: Vec<Stay>,
    places: BTreeMap<(String, String, u64), Option<u64>>,
    times: BTreeMap<(String, String, u64), u64>,
    /// The newest offset that was seen in an epoch of a room.
    tops: BTreeMap<(String, String), u64>,
    /// Rooms whose histories were removed, and up to where that may reach.
    removed: BTreeSet<String>,
    /// How many erasures are under way in rooms.
    erasing: BTreeMap<String, u32>,
    disk: Arc<Disk>,
    now: u64,
    pub(super) run: u32,
    /// Others have most of the memory.
    pub(super) is_scarce: bool,
    broken: Option<Broken>,
}

/// Where something was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) room: &'a str,
    pub(super) epoch: &'a str,
    /// How often the disk had been synced when it was written.
    pub(super) written: u64,
    /// When it was asked for, if it was.
    pub(super) asked_at: Option<u64>,
}

impl Model {
    pub(super) fn new(rooms: Vec<RoomKind>, disk: Arc<Disk>) -> Self {
        Self {
            rooms: rooms.into_iter().map(|kind| (kind.name.clone(), kind)).collect(),
            messages: BTreeMap::new(),
            stays: Vec::new(),
            places: BTreeMap::new(),
            times: BTreeMap::new(),
            tops: BTreeMap::new(),
            removed: BTreeSet::new(),
            erasing: BTreeMap::new(),
            disk,
            now: 0,
            run: 0,
            is_scarce: false,
            broken: None,
        }
    }

    /// The time as the model has it: it moves with everything that happens.
    pub(super) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Notes the first thing that is wrong.
    pub(super) fn break_with(&mut self, invariant: Invariant, how: impl Into<String>) {
        self.broken.get_or_insert_with(|| Broken { invariant, how: how.into() });
    }

    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// A message that somebody is about to publish: its number, and what it says.
    pub(super) fn publish(&mut self, room: &str, user: &str, padding: usize) -> (u64, String) {
        let (number, sent_at) = (self.messages.len() as u64 + 1, self.tick());
        let message = Message {
            room: room.to_owned(),
            user: user.to_owned(),
            sent_at,
            acked_at: None,
            place: None,
            run: self.run,
            // An erasure that is under way may come behind it.
            may_be_erased: self.erasing.contains_key(room),
            erased_at: None,
        };
        self.messages.insert(number, message);
        (number, format!("{{\"n\":{number},\"t\":\"{}\"}}", "x".repeat(padding)))
    }

    /// It was acknowledged.
    pub(super) fn acknowledged(&mut self, number: u64, written: u64) {
        let now = self.tick();
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.acked_at = Some(now);
        let room = message.room.clone();
        self.must_be_stored(&room, number, written, "acknowledged");
    }

    /// Whoever has published it was told where it is.
    pub(super) fn placed(&mut self, number: u64, (epoch, offset): (String, u64)) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        if !self.rooms.get(&message.room).is_some_and(RoomKind::has_history) {
            return;
        }
        let (room, before) = (message.room.clone(), message.place.replace((epoch.clone(), offset)));
        let known = *self.places.entry((room.clone(), epoch.clone(), offset)).or_insert(Some(number));
        if before.as_ref().is_some_and(|(_, before)| *before != offset) || known.is_some_and(|known| known != number) {
            let how =
                format!("{number} is told to be at {offset} of {room}, where {known:?} is, and was at {before:?}");
            self.break_with(Invariant::NoDuplicate, how);
        }
        self.note_top(&room, &epoch, offset);
    }

    fn must_be_stored(&mut self, room: &str, number: u64, written: u64, what: &str) {
        let is_stored = self.rooms.get(room).is_some_and(|kind| kind.storage == Storage::Stored);
        if is_stored && self.disk.durable_since(number).is_none_or(|since| since > written) {
            self.break_with(Invariant::Stored, format!("{number} was {what} in {room} before the disk had it"));
        }
    }

    /// A publication was seen; its number, unless it is erased.
    pub(super) fn saw(&mut self, sight: Sight<'_>, publication: &Value) -> Option<u64> {
        let now = self.tick();
        let Sight { room, epoch, written, asked_at } = sight;
        let mut offset = publication["offset"].as_u64().unwrap_or(0);
        let number = publication["data"]["n"].as_u64();
        let Some(kind) = self.rooms.get(room).cloned() else {
            self.break_with(Invariant::Alive, format!("a publication of {room}, which nobody knows"));
            return None;
        };
        if !kind.has_history() {
            // Its members are not told in which epoch that counts.
            offset = 0;
        }
        let key = (room.to_owned(), epoch.to_owned(), offset);
        if kind.has_history() && offset == 0 {
            self.break_with(Invariant::OneOrder, format!("{publication} has no place in {room}"));
        }
        match number {
            Some(number) => {
                self.must_be_stored(room, number, written, "seen");
                let Some(message) = self.messages.get_mut(&number).filter(|message| message.room == room) else {
                    self.break_with(Invariant::OneOrder, format!("{publication} was never published in {room}"));
                    return None;
                };
                if asked_at.is_some_and(|asked_at| message.erased_at.is_some_and(|erased_at| erased_at < asked_at)) {
                    let how = format!("{number} was erased from {room}, and is shown to who asked later");
                    self.break_with(Invariant::Stored, how);
                    return Some(number);
                }
                if offset > 0 {
                    let place = (epoch.to_owned(), offset);
                    match message.place.replace(place.clone()) {
                        // A room that goes on in another epoch keeps its offsets.
                        Some((_, before)) if before != offset => {
                            let how = format!("{number} is at {before} and at {offset} of {room}");
                            self.break_with(Invariant::NoDuplicate, how);
                        }
                        _ => {}
                    }
                }
            }
            None => {
                let known = self.places.get(&key).copied().flatten();
                let may_be = known.is_none_or(|known| self.messages[&known].may_be_erased);
                if !may_be || !publication["data"].is_null() {
                    self.break_with(Invariant::OneOrder, format!("{publication} at {key:?}, where {known:?} was"));
                }
            }
        }
        if offset > 0 {
            match self.places.get(&key).copied().flatten() {
                Some(known) if number.is_some_and(|number| number != known) => {
                    let how = format!("{key:?} is {known} for one and {number:?} for another");
                    self.break_with(Invariant::OneOrder, how);
                }
                _ => {}
            }
            let place = self.places.entry(key.clone()).or_insert(number);
            *place = place.or(number);
            let is_of_now = |number| self.messages.get(&number).is_some_and(|message| message.run == self.run);
            if self.has_all(room) || number.is_some_and(is_of_now) {
                self.note_time(&key, publication["time"].as_u64());
            }
            self.note_top(room, epoch, offset);
        }
        let _ = now;
        number
    }

    /// Whether everything is there that was stored of a room.
    pub(super) fn has_all(&self, room: &str) -> bool {
        self.rooms.get(room).is_some_and(|kind| kind.history == History::Whole) && !self.removed.contains(room)
    }

    /// Somebody wants a room's history removed.
    pub(super) fn will_remove(&mut self, room: &str) {
        self.removed.insert(room.to_owned());
        self.times.retain(|(of, ..), _| of != room);
    }

    /// Times of a room never fall along its offsets, within a run of the server; over restarts neither, whatever the system's clock says,
    /// as long as something of it is there.
    fn note_time(&mut self, key: &(String, String, u64), time: Option<u64>) {
        let Some(time) = time else { return };
        let is_same_room = |other: &(String, String, u64)| (&other.0, &other.1) == (&key.0, &key.1);
        let before = self.times.range(..key.clone()).next_back().filter(|(other, _)| is_same_room(other));
        let after =
            self.times.range(key.clone()..).find(|(other, _)| *other != key).filter(|(other, _)| is_same_room(other));
        if before.is_some_and(|(_, before)| *before > time) || after.is_some_and(|(_, after)| *after < time) {
            let how = format!("{key:?} has the time {time}, between {before:?} and {after:?}");
            return self.break_with(Invariant::OneOrder, how);
        }
        if self.times.insert(key.clone(), time).is_some_and(|known| known != time) {
            self.break_with(Invariant::OneOrder, format!("{key:?} has two times"));
        }
    }

    /// That offset has been seen or named in that epoch.
    pub(super) fn note_top(&mut self, room: &str, epoch: &str, offset: u64) {
        let top = self.tops.entry((room.to_owned(), epoch.to_owned())).or_default();
        *top = offset.max(*top);
    }

    pub(super) fn top(&self, room: &str, epoch: &str) -> u64 {
        self.tops.get(&(room.to_owned(), epoch.to_owned())).copied().unwrap_or(0)
    }

    /// Somebody knows that it is in a room.
    pub(super) fn entered(&mut self, room: &str, client: &str, asked_at: u64) -> u64 {
        let since = self.tick();
        let stay = Stay { room: room.to_owned(), client: client.to_owned(), asked_at, until: None };
        self.stays.push(stay);
        since
    }

    /// Somebody knows that it is not any more.
    pub(super) fn left(&mut self, room: &str, client: &str) {
        let until = self.tick();
        let stays = self.stays.iter_mut().rev();
        for stay in stays.filter(|stay| stay.client == client && stay.room == room && stay.until.is_none()) {
            stay.until = Some(until);
        }
    }

    /// Somebody wants these erased.
    pub(super) fn will_erase(&mut self, room: &str, is_meant: impl Fn(u64, &Message) -> bool) -> Vec<u64> {
        let mut meant = Vec::new();
        *self.erasing.entry(room.to_owned()).or_default() += 1;
        for (number, message) in self.messages.iter_mut().filter(|(_, message)| message.room == room) {
            if is_meant(*number, message) {
                message.may_be_erased = true;
                if message.acked_at.is_some() {
                    meant.push(*number);
                }
            }
        }
        self.tick();
        meant
    }

    /// Another run of the server begins, in which nothing is under way.
    pub(super) fn begin_run(&mut self, run: u32) {
        self.run = run;
        self.erasing.clear();
        let mut times = std::mem::take(&mut self.times);
        times.retain(|(room, ..), _| self.has_all(room));
        self.times = times;
    }

    /// They are, or as far as that could be done.
    pub(super) fn has_erased(&mut self, room: &str, numbers: &[u64]) {
        let now = self.tick();
        if let Some(count) = self.erasing.get_mut(room) {
            *count -= 1;
            if *count == 0 {
                self.erasing.remove(room);
            }
        }
        for number in numbers {
            if let Some(message) = self.messages.get_mut(number) {
                message.erased_at.get_or_insert(now);
            }
        }
    }

    /// What the store complains of.
    pub(super) fn hear_complaints(&mut self) {
        for complaint in self.disk.take_complaints() {
            self.break_with(Invariant::OneOrder, complaint);
        }
    }

    /// The history of a room that has all of it, read at rest: whether everything acknowledged is there.
    pub(super) fn check_history(&mut self, room: &str, found: &BTreeSet<u64>) {
        let Some(kind) = self.rooms.get(room).filter(|_| self.has_all(room)) else { return };
        let stays = kind.storage == Storage::Stored;
        let is_missing = |(number, message): &(&u64, &Message)| {
            let is_meant = message.room == room && (stays || message.run == self.run);
            is_meant && message.acked_at.is_some() && !message.may_be_erased && !found.contains(number)
        };
        let missing: Vec<u64> = self.messages.iter().filter(is_missing).map(|(number, _)| *number).collect();
        if !missing.is_empty() {
            let invariant = if stays { Invariant::Stored } else { Invariant::NoGap };
            self.break_with(invariant, format!("acknowledged in {room}, and not in its history: {missing:?}"));
        }
    }
}
