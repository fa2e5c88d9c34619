//! What a client makes of being in a room: what it is given there, in which order, and what is missing of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::heard::Moment;
use super::model::{Invariant, Model, RoomKind, Sight};
use super::token::Term;
use crate::config::SlowConsumer;
use roomcast_protocol::apply_delta;

/// More than any payload of the simulation has.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// How a client wants to be given what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    All,
    /// As deltas, each of what it was given before.
    Deltas,
    /// What bears that tag alone.
    Tagged(u64),
}

/// What a client asks when it enters.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) room: String,
    /// Where it was, if it is to recover.
    pub(super) since: Option<(String, u64)>,
    pub(super) at: u64,
    pub(super) wish: Wish,
    /// How long the token that opens the room lets it stay there.
    pub(super) term: Option<Term>,
}

/// Being in a room.
#[derive(Debug)]
pub(super) struct InRoom {
    pub(super) epoch: String,
    /// The offset it has come to, where the room has any.
    pub(super) offset: Option<u64>,
    pub(super) since: u64,
    pub(super) wish: Wish,
    pub(super) term: Option<Term>,
    /// What it was given, in its order.
    pub(super) given: Vec<u64>,
    pub(super) given_set: BTreeSet<u64>,
    /// Who it was told of last: whether that one has come.
    pub(super) told: BTreeMap<String, bool>,
    /// The payload it was given last, of which the next one may be a delta.
    payload: Option<String>,
}

/// The wish as a filter of the protocol.
pub(super) fn filter(tag: u64) -> Value {
    json!({"key": "k", "cmp": "eq", "val": tag.to_string()})
}

impl InRoom {
    /// What the answer to entering makes of it.
    pub(super) fn enter(model: &mut Model, entry: Entry, result: &Value, client: &str, when: Moment) -> Self {
        let Entry { room, since: asked, at: asked_at, wish, term } = entry;
        let room = room.as_str();
        let has_history = model.rooms.get(room).is_some_and(RoomKind::has_history);
        let since = model.entered(room, client, asked_at);
        let epoch = result["epoch"].as_str().unwrap_or_default().to_owned();
        let mut offset = result["offset"].as_u64().unwrap_or(0);
        let mut stay = Self {
            epoch: epoch.clone(),
            offset: None,
            since,
            wish,
            term,
            given: Vec::new(),
            given_set: BTreeSet::new(),
            told: BTreeMap::new(),
            payload: None,
        };
        if (wish == Wish::Deltas) != result["delta"].as_bool().unwrap_or(false) {
            model.break_with(Invariant::Alive, format!("{client} asks in {room} for {wish:?}, and is given {result}"));
        }
        let publications = result["publications"].as_array().map_or(&[][..], |publications| publications);
        let has_recovered = result["recovered"].as_bool().unwrap_or(false);
        match asked {
            Some((asked_epoch, asked_offset)) if has_recovered => {
                if asked_epoch != epoch {
                    let how = format!("{client} has recovered in {room} from another epoch, {asked_epoch}, in {epoch}");
                    model.break_with(Invariant::NoGap, how);
                }
                let mut last = asked_offset;
                for publication in publications {
                    let next = publication["offset"].as_u64().unwrap_or(0);
                    if !stay.may_follow(model, room, last, next) {
                        let how = format!("{client} recovers {publication} in {room} behind {last}");
                        model.break_with(Invariant::NoGap, how);
                    }
                    let sight = Sight { room, epoch: &epoch, when, asked_at: Some(asked_at) };
                    stay.take(model, sight, publication);
                    last = next;
                }
                // What does not fit comes behind the reply, whose offset is then the one that was asked for.
                if offset != last && offset != asked_offset {
                    let how =
                        format!("{client} has recovered {asked_offset} to {last} in {room}, which is at {offset}");
                    model.break_with(Invariant::NoGap, how);
                }
                offset = last;
            }
            _ if !publications.is_empty() => {
                let how = format!("{client} has not recovered in {room}, and is given {publications:?}");
                model.break_with(Invariant::NoGap, how);
            }
            // Where all of it is there and there is memory, nobody is told to load the page anew.
            Some((asked_epoch, asked_offset))
                if asked_epoch == epoch && asked_offset <= offset && model.has_all(room) && !model.is_scarce =>
            {
                let how = format!("{client} has not recovered {asked_offset} to {offset} in {room}, which has them");
                model.break_with(Invariant::NoGap, how);
            }
            _ => {}
        }
        if has_history {
            model.note_top(room, &epoch, offset);
            stay.offset = Some(offset);
        }
        stay
    }

    /// Whether a publication at `next` may come behind one at `last`: nothing in between is for this one.
    fn may_follow(&self, model: &Model, room: &str, last: u64, next: u64) -> bool {
        match self.wish {
            Wish::Tagged(tag) => next > last && !model.has_tagged(room, &self.epoch, last + 1..next, tag),
            _ => next == last + 1,
        }
    }

    /// Takes a publication that it is given.
    fn take(&mut self, model: &mut Model, sight: Sight<'_>, publication: &Value) -> Option<u64> {
        let mut publication = publication.clone();
        if self.wish == Wish::Deltas {
            match self.whole(&publication) {
                Ok(data) => publication["data"] = data,
                Err(error) => {
                    let how = format!("{publication} in {} is no delta of what was given last: {error}", sight.room);
                    model.break_with(Invariant::OneOrder, how);
                    return None;
                }
            }
        }
        let number = model.saw(sight, &publication)?;
        if let Wish::Tagged(tag) = self.wish
            && model.tag(number) != Some(tag)
        {
            let how = format!("{number} is given in {} to who wants {tag} alone", sight.room);
            model.break_with(Invariant::Presence, how);
        }
        self.given.push(number);
        if !self.given_set.insert(number) {
            model.break_with(Invariant::NoDuplicate, format!("{number} is given twice in {}", sight.room));
        }
        Some(number)
    }

    /// The payload of a publication in a chain of deltas, where each is a text.
    fn whole(&mut self, publication: &Value) -> Result<Value, String> {
        let text = publication["data"].as_str().ok_or("no text")?;
        let whole = match publication["delta"].as_bool() {
            Some(true) => {
                let base = self.payload.as_deref().ok_or("there is none")?;
                let whole = apply_delta(base.as_bytes(), text.as_bytes(), PAYLOAD_BYTES_MAX);
                String::from_utf8(whole.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?
            }
            _ => text.to_owned(),
        };
        let data = serde_json::from_str(&whole).map_err(|error| error.to_string())?;
        self.payload = Some(whole);
        Ok(data)
    }

    /// Hears a push.
    pub(super) fn hear(&mut self, model: &mut Model, room: &str, publication: &Value, when: Moment) {
        let slow = model.rooms.get(room).map(|kind| kind.slow);
        let epoch = self.epoch.clone();
        self.take(model, Sight { room, epoch: &epoch, when, asked_at: None }, publication);
        let (Some(before), Some(offset)) = (self.offset, publication["offset"].as_u64()) else { return };
        if offset == 0 {
            // It has no place.
        } else if offset <= before {
            model.break_with(Invariant::NoDuplicate, format!("{offset} comes behind {before} in {room}"));
        } else if slow != Some(SlowConsumer::Latest) && !self.may_follow(model, room, before, offset) {
            model.break_with(Invariant::NoGap, format!("{offset} comes behind {before} in {room}"));
        }
        self.offset = Some(offset.max(before));
    }
}

/// Hears the answer to a question for the history.
pub(super) fn hear_history(model: &mut Model, room: &str, at: u64, result: &Value, when: Moment) -> BTreeSet<u64> {
    let epoch = result["epoch"].as_str().unwrap_or_default();
    let publications = result["publications"].as_array().map_or(&[][..], |publications| publications);
    let mut numbers = BTreeSet::new();
    let mut before: Option<u64> = None;
    for publication in publications {
        let offset = publication["offset"].as_u64();
        if before.is_some_and(|before| offset != Some(before + 1)) {
            let how = format!("{publication} comes behind {before:?} in the history of {room}");
            model.break_with(Invariant::NoGap, how);
        }
        before = offset;
        numbers.extend(model.saw(Sight { room, epoch, when, asked_at: Some(at) }, publication));
    }
    let top = result["offset"].as_u64().unwrap_or(0);
    if before.is_some_and(|before| before > top) {
        model.break_with(Invariant::NoGap, format!("the history of {room} ends at {before:?}, and the room at {top}"));
    }
    numbers
}
