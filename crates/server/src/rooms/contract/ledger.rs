//! One account of everything that anybody was told of rooms.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::world::Asked;

/// A room in one of its incarnations.
type Incarnation = (usize, String);

/// What was told, by whomever and to whomever. Messages have numbers, each published once.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The message at each offset.
    told: HashMap<Incarnation, BTreeMap<u64, u64>>,
    /// Where each message is.
    places: HashMap<u64, (Incarnation, u64)>,
    /// The room of each message that was sent, and what was asked beyond.
    sent: HashMap<u64, (usize, Asked)>,
    /// Where the message of each key is.
    keys: HashMap<(Incarnation, u64), u64>,
    /// The epoch that each room is in.
    current: HashMap<usize, String>,
    ended: HashSet<Incarnation>,
}

impl Ledger {
    /// A message is sent: from here on it may be told of.
    pub(super) fn sent(&mut self, number: u64, room: usize, asked: Asked) {
        self.sent.insert(number, (room, asked));
    }

    /// A message was accepted, at this place. Whether it is there itself: a repetition is answered with the place of the first one,
    /// one that is outdated with where the room stands, and a message without history has none.
    pub(super) fn accepted(&mut self, room: usize, epoch: &str, offset: u64, number: u64) -> bool {
        match self.sent[&number].1 {
            Asked::Nothing => self.told(room, epoch, offset, number),
            Asked::Key(key) => self.has_key(&(room, epoch.to_owned()), key, offset),
            Asked::Version(_) => {}
            Asked::SkipHistory => assert_eq!((offset, epoch), (0, "")),
        }
        self.sent[&number].1 == Asked::Nothing
    }

    fn has_key(&mut self, incarnation: &Incarnation, key: u64, offset: u64) {
        assert!(offset > 0, "offsets count from 1");
        let known = *self.keys.entry((incarnation.clone(), key)).or_insert(offset);
        assert_eq!(known, offset, "the key {key} is at two places of {incarnation:?}");
    }

    /// Somebody was told that a message has this place.
    pub(super) fn told(&mut self, room: usize, epoch: &str, offset: u64, number: u64) {
        let incarnation = (room, epoch.to_owned());
        assert!(offset > 0, "offsets count from 1");
        let (into, asked) = *self.sent.get(&number).expect("the message was sent");
        assert_eq!(into, room, "message {number} was sent into another room");
        match asked {
            Asked::Nothing | Asked::Version(_) => {}
            Asked::Key(key) => self.has_key(&incarnation, key, offset),
            Asked::SkipHistory => panic!("message {number} is in no past"),
        }
        let known = *self.told.entry(incarnation.clone()).or_default().entry(offset).or_insert(number);
        assert_eq!(known, number, "two messages at offset {offset} of room {room}, epoch {epoch}");
        let place = self.places.entry(number).or_insert_with(|| (incarnation.clone(), offset));
        assert_eq!(*place, (incarnation, offset), "message {number} is there twice");
    }

    /// Somebody was told where a room stands, by a question asked after `known` was told. Whether it is in the epoch that
    /// it was in, if it was in any and there are messages in it.
    pub(super) fn stands(&mut self, room: usize, epoch: &str, top: u64, known: Option<(String, u64)>) -> bool {
        let incarnation = (room, epoch.to_owned());
        assert!(!self.ended.contains(&incarnation), "epoch {epoch} of room {room} came back");
        let before = self.current.insert(room, epoch.to_owned()).filter(|before| before != epoch);
        let is_empty = |before: &String| !self.told.contains_key(&(room, before.clone()));
        let goes_on = before.as_ref().is_none_or(is_empty);
        self.ended.extend(before.map(|before| (room, before)));
        if let Some((of, offset)) = known
            && of == epoch
        {
            assert!(offset <= top, "offset {offset} was told of before the room {room} was told to stand at {top}");
        }
        goes_on
    }

    /// Up to where anybody was told of the room, in the epoch that it was told to be in last.
    pub(super) fn known(&self, room: usize) -> Option<(String, u64)> {
        let incarnation = (room, self.current.get(&room)?.clone());
        let (offset, _) = self.told.get(&incarnation)?.last_key_value()?;
        Some((incarnation.1, *offset))
    }

    fn version(&self, number: u64) -> Option<u64> {
        match self.sent[&number].1 {
            Asked::Version(version) => Some(version),
            _ => None,
        }
    }

    /// The whole of a room was read that was not removed: everything that anybody was told of this epoch is in it, without a gap.
    pub(super) fn assert_whole(&self, room: usize, epoch: &str, floor: u64, offsets: &[u64]) {
        assert!(offsets.iter().copied().eq((floor + 1..).take(offsets.len())), "room {room} has gaps: {offsets:?}");
        let told = self.told.get(&(room, epoch.to_owned()));
        let versions: Vec<u64> = told.into_iter().flatten().filter_map(|(_, number)| self.version(*number)).collect();
        assert!(versions.is_sorted_by(|one, next| one < next), "versions come in their order: {versions:?}");
        let last = self.told.get(&(room, epoch.to_owned())).and_then(|told| told.keys().next_back().copied());
        assert!(
            last.unwrap_or(0) <= floor + offsets.len() as u64,
            "room {room} lost what was told: {last:?} of {offsets:?}"
        );
    }
}
