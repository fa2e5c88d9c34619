//! The shadow model: what was published where, what of it was seen, and the invariants that hold of that.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::disk::Disk;
use super::handing_over::Given;
use super::heard::Moment;
pub(super) use super::kind::{Asks, Forbids, History, RoomKind};
use super::site::Said;
use super::terms::{Asked, AskedTerms};
use crate::config::Storage;

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
    /// Since when what is written shows it no more.
    pub(super) erased_since: Option<u64>,
    /// Since when it is no history any more.
    pub(super) removed_at: Option<u64>,
    pub(super) tag: Option<u64>,
    pub(super) asked: Option<Asked>,
    /// It is given to who is there, and kept nowhere.
    pub(super) is_quiet: bool,
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
    /// From here on they are of this run.
    pub(super) stays_from: usize,
    places: BTreeMap<(String, String, u64), Option<u64>>,
    times: BTreeMap<(String, String, u64), u64>,
    /// The newest offset that was seen in an epoch of a room.
    tops: BTreeMap<(String, String), u64>,
    /// Rooms whose histories were removed.
    removed: BTreeSet<String>,
    /// What the backend has answered.
    pub(super) site: Rc<RefCell<Said>>,
    /// What is asked of messages beyond.
    pub(super) terms: AskedTerms,
    /// What the configuration forbids at the moment, and has forbidden since the server began.
    pub(super) forbids: Forbids,
    /// How many erasures are under way in rooms.
    erasing: BTreeMap<String, u32>,
    disk: Arc<Disk>,
    now: u64,
    pub(super) run: u32,
    /// From which run on rooms are there that are in memory alone.
    in_memory_since: u32,
    /// Others have most of the memory.
    pub(super) is_scarce: bool,
    /// The system's clock has jumped since the server began.
    pub(super) has_jumped: bool,
    /// Rooms may lose what they have in memory.
    pub(super) are_rings_scarce: bool,
    /// There may be fewer rooms than there are names.
    pub(super) are_rooms_scarce: bool,
    broken: Option<Broken>,
}

/// Where something was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) room: &'a str,
    pub(super) epoch: &'a str,
    pub(super) when: Moment,
    /// When it was asked for, if it was.
    pub(super) asked_at: Option<u64>,
}

impl Model {
    pub(super) fn new(rooms: Vec<RoomKind>, disk: Arc<Disk>) -> Self {
        Self {
            rooms: rooms.into_iter().map(|kind| (kind.name.clone(), kind)).collect(),
            messages: BTreeMap::new(),
            stays: Vec::new(),
            stays_from: 0,
            places: BTreeMap::new(),
            times: BTreeMap::new(),
            tops: BTreeMap::new(),
            removed: BTreeSet::new(),
            site: Rc::default(),
            terms: AskedTerms::default(),
            forbids: Forbids::default(),
            erasing: BTreeMap::new(),
            disk,
            now: 0,
            run: 0,
            in_memory_since: 0,
            is_scarce: false,
            has_jumped: false,
            are_rings_scarce: false,
            are_rooms_scarce: false,
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
            erased_since: None,
            removed_at: None,
            tag: None,
            asked: None,
            is_quiet: false,
        };
        self.messages.insert(number, message);
        (number, format!("{{\"n\":{number},\"t\":\"{}\"}}", "x".repeat(padding)))
    }

    /// What its publisher asks beyond, and what it bears.
    pub(super) fn publish_on(&mut self, number: u64, tag: Option<u64>, asked: Option<Asked>) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        (message.tag, message.asked) = (tag, asked);
        if let Some(asked) = asked {
            self.terms.asked(&message.room, number, asked);
        }
    }

    /// It is kept nowhere, and bears that.
    pub(super) fn publish_quietly(&mut self, number: u64, tag: Option<u64>) {
        if let Some(message) = self.messages.get_mut(&number) {
            (message.tag, message.is_quiet) = (tag, true);
        }
    }

    pub(super) fn is_quiet(&self, number: u64) -> bool {
        self.messages.get(&number).is_some_and(|message| message.is_quiet)
    }

    pub(super) fn tag(&self, number: u64) -> Option<u64> {
        self.messages.get(&number)?.tag
    }

    /// Whether one that bears that tag is known to be at one of these offsets.
    pub(super) fn has_tagged(&self, room: &str, epoch: &str, offsets: Range<u64>, tag: u64) -> bool {
        let key = |offset| (room.to_owned(), epoch.to_owned(), offset);
        let known = self.places.range(key(offsets.start)..key(offsets.end)).filter_map(|(_, number)| *number);
        let mut messages = known.filter_map(|number| self.messages.get(&number));
        messages.any(|message| message.tag == Some(tag) && !message.may_be_erased)
    }

    /// It was acknowledged.
    pub(super) fn acknowledged(&mut self, number: u64, written: u64) {
        let now = self.tick();
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.acked_at = Some(now);
        let room = message.room.clone();
        self.must_be_stored(&room, number, written, "acknowledged");
    }

    /// One with which more was asked was acknowledged: it is there, or another one in its place.
    pub(super) fn acknowledged_on(&mut self, number: u64, asked: Asked, written: u64, place: &(String, u64)) {
        self.tick();
        let Some(room) = self.messages.get(&number).map(|message| message.room.clone()) else { return };
        if !self.rooms.get(&room).is_some_and(RoomKind::has_history) {
            return;
        }
        if let Err(how) = self.terms.acknowledged(&room, asked, place) {
            self.break_with(Invariant::NoDuplicate, how);
        }
        if let Asked::Key(key) = asked {
            let is_stored = |number: &u64| self.disk.durable_since(*number).is_some_and(|since| since <= written);
            let is_kept = self.rooms[&room].storage == Storage::Stored;
            if is_kept && !self.terms.with_key(&room, key).iter().any(is_stored) {
                let how = format!("the key {key} was acknowledged in {room} before the disk had a message of it");
                self.break_with(Invariant::Stored, how);
            }
        }
    }

    /// Whoever has published it was told where it is.
    pub(super) fn placed(&mut self, number: u64, (epoch, offset): (String, u64)) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        if message.is_quiet || !self.rooms.get(&message.room).is_some_and(RoomKind::has_history) {
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
        if is_stored && !self.is_quiet(number) && self.disk.durable_since(number).is_none_or(|since| since > written) {
            self.break_with(Invariant::Stored, format!("{number} was {what} in {room} before the disk had it"));
        }
    }

    /// A publication was seen; its number, unless it is erased.
    pub(super) fn saw(&mut self, sight: Sight<'_>, publication: &Value) -> Option<u64> {
        let now = self.tick();
        let Sight { room, epoch, when, asked_at } = sight;
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
        let is_quiet = number.is_some_and(|number| self.is_quiet(number));
        if is_quiet && (offset > 0 || asked_at.is_some()) {
            self.break_with(
                Invariant::OneOrder,
                format!("{publication} is kept nowhere, and is in the past of {room}"),
            );
        }
        if kind.has_history() && offset == 0 && !is_quiet {
            self.break_with(Invariant::OneOrder, format!("{publication} has no place in {room}"));
        }
        match number {
            Some(number) => {
                self.must_be_stored(room, number, when.first, "seen");
                let Some(message) = self.messages.get_mut(&number).filter(|message| message.room == room) else {
                    self.break_with(Invariant::OneOrder, format!("{publication} was never published in {room}"));
                    return None;
                };
                if message.erased_since.is_some_and(|since| since <= when.last) {
                    let how = format!("{number} was erased from {room}, and is shown later");
                    self.break_with(Invariant::Stored, how);
                    return Some(number);
                }
                if asked_at.is_some_and(|asked_at| message.removed_at.is_some_and(|removed_at| removed_at < asked_at)) {
                    let how = format!("{number} was removed from {room}, and is shown to who asked later");
                    self.break_with(Invariant::Stored, how);
                    return Some(number);
                }
                if kind.asks.publishing && !message.user.is_empty() && !self.site.borrow().allows_message(number) {
                    let how = format!("{number} is in {room}, and the backend has not allowed it");
                    self.break_with(Invariant::Alive, how);
                    return Some(number);
                }
                if let Some(asked) = message.asked
                    && let Err(how) = self.terms.saw(room, number, asked)
                {
                    self.break_with(Invariant::NoDuplicate, how);
                    return Some(number);
                }
                let message = self.messages.get_mut(&number)?;
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
        let is_whole = |kind: &RoomKind| {
            kind.history == History::Whole && !(self.are_rings_scarce && kind.storage == Storage::Off)
        };
        self.rooms.get(room).is_some_and(is_whole) && !self.removed.contains(room)
    }

    /// Somebody wants a room's history removed: when.
    pub(super) fn will_remove(&mut self, room: &str) -> u64 {
        self.removed.insert(room.to_owned());
        self.times.retain(|(of, ..), _| of != room);
        self.tick()
    }

    /// It is, of what was acknowledged before it was asked for.
    pub(super) fn has_removed(&mut self, room: &str, asked_at: u64) {
        let now = self.tick();
        let is_old = |message: &&mut Message| {
            message.room == room && message.acked_at.is_some_and(|acked_at| acked_at < asked_at) && !message.is_quiet
        };
        for message in self.messages.values_mut().filter(is_old) {
            message.removed_at.get_or_insert(now);
        }
    }

    /// A room has ended without being laid to rest: what was in memory alone is gone.
    pub(super) fn has_ended(&mut self, room: &str) {
        if self.rooms.get(room).is_some_and(|kind| kind.storage != Storage::Stored) {
            for message in self.messages.values_mut().filter(|message| message.room == room) {
                message.run = 0;
            }
            self.times.retain(|(of, ..), _| of != room);
            self.terms.has_ended(room);
        }
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

    /// Another run of the server begins, in which nothing is under way; what the one before has given to it, all of its rooms or some.
    pub(super) fn begin_run(&mut self, run: u32, handed_over: Option<(Given, bool)>) {
        let given = handed_over.map(|(given, _)| given);
        self.run = run;
        self.stays_from = self.stays.len();
        if given != Some(Given::All) {
            self.in_memory_since = run;
        }
        self.erasing.clear();
        // By another clock they may be too old.
        let has_jumped = std::mem::take(&mut self.has_jumped);
        match handed_over {
            None => self.terms.begin_run(),
            Some((_, has_settled)) => self.terms.go_on(has_settled && !has_jumped),
        }
        self.forbids = Forbids::default();
        let mut times = std::mem::take(&mut self.times);
        times.retain(|(room, ..), _| self.has_all(room));
        self.times = times;
    }

    /// They are, or as far as that could be done, of what is written from that moment on.
    pub(super) fn has_erased(&mut self, room: &str, numbers: &[u64], since: u64) {
        self.tick();
        if let Some(count) = self.erasing.get_mut(room) {
            *count -= 1;
            if *count == 0 {
                self.erasing.remove(room);
            }
        }
        for number in numbers {
            if let Some(message) = self.messages.get_mut(number) {
                message.erased_since.get_or_insert(since);
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
        let since = if kind.storage == Storage::Off { self.in_memory_since } else { self.run };
        let is_missing = |(number, message): &(&u64, &Message)| {
            let is_meant = message.room == room && (stays || message.run >= since);
            is_meant
                && message.acked_at.is_some()
                && !message.may_be_erased
                && !message.is_quiet
                && !found.contains(number)
        };
        let missing: Vec<u64> = self.messages.iter().filter(is_missing).map(|(number, _)| *number).collect();
        if !missing.is_empty() {
            let invariant = if stays { Invariant::Stored } else { Invariant::NoGap };
            self.break_with(invariant, format!("acknowledged in {room}, and not in its history: {missing:?}"));
        }
        self.check_terms(room, found, stays);
    }

    /// One message of each key that was acknowledged is there, and versions come in their order.
    fn check_terms(&mut self, room: &str, found: &BTreeSet<u64>, stays: bool) {
        let may_be_gone = |number: &u64| {
            let message = &self.messages[number];
            message.may_be_erased || !stays && message.run != self.run
        };
        let is_lost = |numbers: &[u64]| !numbers.iter().any(|number| found.contains(number) || may_be_gone(number));
        let lost = self.terms.acknowledged_keys(room).find(|(_, numbers)| is_lost(numbers)).map(|(key, _)| key);
        let mut versions: Vec<(u64, u64)> = Vec::new();
        let mut is_any_gone = false;
        for (number, message) in self.messages.iter().filter(|(_, message)| message.room == room) {
            if let (Some(Asked::Version(version)), true) = (message.asked, message.run == self.run) {
                is_any_gone |= message.may_be_erased;
                if let (true, Some((_, offset))) = (found.contains(number), &message.place) {
                    versions.push((*offset, version));
                }
            }
        }
        versions.sort_unstable();
        let acknowledged = self.terms.acknowledged_version(room);
        if let Some(key) = lost {
            let how = format!("the key {key} was acknowledged in {room}, and no message of it is there");
            self.break_with(Invariant::NoGap, how);
        }
        if !versions.is_sorted_by(|(_, one), (_, next)| one < next) {
            self.break_with(Invariant::OneOrder, format!("versions of {room} by their offsets: {versions:?}"));
        }
        let is_there = |(_, version): &(u64, u64)| *version >= acknowledged;
        if acknowledged > 0 && !is_any_gone && !versions.last().is_some_and(is_there) {
            let how = format!("version {acknowledged} was acknowledged in {room}, where there are {versions:?}");
            self.break_with(Invariant::NoGap, how);
        }
    }
}
