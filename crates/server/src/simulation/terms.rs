//! What the backend asks beyond of its messages, by keys and by versions, and what must hold of that.

use std::collections::{BTreeMap, BTreeSet};

use super::dice::Dice;

/// So many keys are in use at a time: few, so that many are used again.
const KEYS: u64 = 4;

/// How many keys are remembered where there is little memory for them, and more.
const KEYS_KEPT: u64 = 40;

/// What a publisher asks beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// That it is there once, however often it is said.
    Key(u64),
    /// That nothing older comes behind it.
    Version(u64),
}

/// What is known of that.
#[derive(Debug, Default)]
pub(super) struct AskedTerms {
    keys: BTreeMap<(String, u64), Keyed>,
    versions: BTreeMap<String, Versions>,
    /// What has failed, and is said again.
    failed: BTreeSet<(String, u64)>,
    /// Keys of before are not used any more: they may be forgotten.
    generation: u64,
    /// The newest keys are remembered alone.
    pub(super) are_keys_scarce: bool,
    /// How many keys were said in this generation.
    said: u64,
}

/// The versions of a room.
#[derive(Debug, Default)]
struct Versions {
    /// The newest that was drawn.
    drawn: u64,
    /// The newest that was acknowledged.
    acked: u64,
    /// Up to there what had them may be gone, and they are remembered all the same.
    gone: u64,
}

/// The messages of one key.
#[derive(Debug, Default)]
struct Keyed {
    /// The one that is in the room.
    seen: Option<u64>,
    place: Option<(String, u64)>,
    numbers: Vec<u64>,
}

impl AskedTerms {
    /// What the next message of a room asks.
    pub(super) fn draw(&mut self, dice: &mut Dice, room: &str) -> Asked {
        if self.are_keys_scarce && self.said >= KEYS_KEPT / 2 {
            // Those of before are forgotten by and by.
            self.forget();
        }
        let failed: Vec<u64> = self.failed.iter().filter(|(of, _)| of == room).map(|(_, key)| *key).collect();
        if !failed.is_empty() && dice.percent(60) {
            return Asked::Key(*dice.pick(&failed));
        }
        if dice.percent(60) {
            return Asked::Key(self.generation * KEYS + dice.below(KEYS));
        }
        let Versions { drawn, .. } = self.versions.entry(room.to_owned()).or_default();
        let version = (*drawn + 1).saturating_sub(dice.below(3)).max(1);
        *drawn = version.max(*drawn);
        Asked::Version(version)
    }

    /// From here on nobody says anything again that was said before: what is remembered of it may be forgotten.
    pub(super) fn forget(&mut self) {
        (self.generation, self.said) = (self.generation + 1, 0);
        self.failed.clear();
    }

    /// A room has ended, and has lost what was published there.
    pub(super) fn has_ended(&mut self, room: &str) {
        if let Some(Versions { drawn, acked, gone }) = self.versions.get_mut(room) {
            (*acked, *gone) = (0, *drawn);
        }
    }

    /// The server has forgotten what was said.
    pub(super) fn begin_run(&mut self) {
        self.forget();
        self.versions.clear();
    }

    /// The server is another one, and may remember what was said, or does: what comes is newer.
    pub(super) fn go_on(&mut self, has_keys: bool) {
        if !has_keys {
            self.forget();
        }
        for versions in self.versions.values_mut() {
            *versions = Versions { drawn: versions.drawn + 10, acked: 0, gone: versions.drawn };
        }
    }

    pub(super) fn asked(&mut self, room: &str, number: u64, asked: Asked) {
        if let Asked::Key(key) = asked {
            self.said += 1;
            self.keys.entry((room.to_owned(), key)).or_default().numbers.push(number);
        }
    }

    /// All messages with that key.
    pub(super) fn with_key(&self, room: &str, key: u64) -> &[u64] {
        self.keys.get(&(room.to_owned(), key)).map_or(&[], |keyed| &keyed.numbers)
    }

    /// One of them is in the room.
    ///
    /// # Errors
    /// If another one is as well.
    pub(super) fn saw(&mut self, room: &str, number: u64, asked: Asked) -> Result<(), String> {
        let Asked::Key(key) = asked else { return Ok(()) };
        let keyed = self.keys.entry((room.to_owned(), key)).or_default();
        match *keyed.seen.get_or_insert(number) {
            seen if seen == number => Ok(()),
            seen => Err(format!("{seen} and {number} are in {room}, both with the key {key}")),
        }
    }

    /// One has failed, whether it is there or not.
    pub(super) fn failed(&mut self, room: &str, asked: Asked) {
        if let Asked::Key(key) = asked
            && key / KEYS == self.generation
        {
            self.failed.insert((room.to_owned(), key));
        }
    }

    /// One of them was acknowledged.
    ///
    /// # Errors
    /// If another one was told another place.
    pub(super) fn acknowledged(&mut self, room: &str, asked: Asked, place: &(String, u64)) -> Result<(), String> {
        match asked {
            Asked::Version(version) => {
                let Versions { acked, gone, .. } = self.versions.entry(room.to_owned()).or_default();
                if version > *gone {
                    *acked = version.max(*acked);
                }
                Ok(())
            }
            Asked::Key(key) => {
                let keyed = self.keys.entry((room.to_owned(), key)).or_default();
                let before = keyed.place.get_or_insert_with(|| place.clone());
                if before == place {
                    Ok(())
                } else {
                    Err(format!("the key {key} is at {before:?} and at {place:?} of {room}"))
                }
            }
        }
    }

    /// The messages of each key of a room that was acknowledged: one of each is there.
    pub(super) fn acknowledged_keys(&self, room: &str) -> impl Iterator<Item = (u64, &[u64])> {
        let keys = self.keys.iter().filter(move |((of, _), keyed)| of == room && keyed.place.is_some());
        keys.map(|((_, key), keyed)| (*key, &keyed.numbers[..]))
    }

    /// The newest version of a room that was acknowledged: it is there, or a newer one.
    pub(super) fn acknowledged_version(&self, room: &str) -> u64 {
        self.versions.get(room).map_or(0, |versions| versions.acked)
    }
}
