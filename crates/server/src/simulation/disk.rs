//! A disk that is none: what was written and not yet synced may be lost with the power, and it is slow or fails as it is told.

use crate::util::panics::lock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use roomcast::Epoch;
use roomcast::store::{Durability, Incarnation, Record, StoreError, StoreErrorKind};

use super::dice::Dice;
use super::threads::{Pause, pause};

/// How a database does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    /// How long a step of it takes at most.
    pub(super) slow: Duration,
    /// How many of a hundred writes fail before they have taken effect.
    pub(super) refused: u64,
    /// How many fail although they have.
    pub(super) unanswered: u64,
    /// How many of a hundred reads fail.
    pub(super) unread: u64,
}

impl Health {
    pub(super) const GOOD: Self = Self { slow: Duration::from_millis(2), refused: 0, unanswered: 0, unread: 0 };
}

/// One thing that was written, whole: of half of it nothing is read, as its checksum is wrong.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A run has begun, and has ended well.
    Begin,
    End,
    Batch(Vec<Incarnation>, Vec<(String, Epoch, Record)>),
    Removed(String, u64),
    Erased(String, Vec<u64>),
}

/// The file of a database.
#[derive(Debug)]
pub(super) struct Disk {
    inner: Mutex<Inner>,
    /// How often something was synced.
    syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Inner {
    entries: Vec<Entry>,
    /// So many survive a loss of power.
    synced: usize,
    /// The messages that do, by their numbers, and since which sync.
    durable: BTreeMap<u64, u64>,
    health: Health,
    dice: Dice,
    complaints: Vec<String>,
}

/// The number that a message of the simulation bears, somewhere in these bytes.
pub(super) fn number_in(bytes: &[u8]) -> Option<u64> {
    const BEFORE: &[u8] = b"\"n\":";
    let at = bytes.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

impl Disk {
    pub(super) fn new(dice: Dice) -> Arc<Self> {
        let inner = Inner {
            entries: Vec::new(),
            synced: 0,
            durable: BTreeMap::new(),
            health: Health::GOOD,
            dice,
            complaints: Vec::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner), syncs: Arc::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// How often something was synced.
    pub(super) fn syncs(&self) -> &Arc<AtomicU64> {
        &self.syncs
    }

    /// Since which sync a message survives a loss of power.
    pub(super) fn durable_since(&self, number: u64) -> Option<u64> {
        self.inner().durable.get(&number).copied()
    }

    pub(super) fn set_health(&self, health: Health) {
        self.inner().health = health;
    }

    /// Says that the store was given what it must never be given.
    pub(super) fn complain(&self, what: String) {
        self.inner().complaints.push(what);
    }

    pub(super) fn take_complaints(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().complaints)
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.inner().entries.clone()
    }

    /// Takes as long as the disk takes at the moment.
    pub(super) fn wait(&self) {
        let time = {
            let Inner { dice, health, .. } = &mut *self.inner();
            Duration::from_micros(dice.below(health.slow.as_micros() as u64 + 1))
        };
        pause(Pause::For(time));
    }

    /// # Errors
    /// As often as it is to fail.
    pub(super) fn read(&self) -> Result<(), StoreError> {
        self.wait();
        let Inner { dice, health, .. } = &mut *self.inner();
        if dice.percent(health.unread) { Err(refusal()) } else { Ok(()) }
    }

    /// Writes an entry; `is_synced` when it is there, and on the disk with everything before it.
    ///
    /// # Errors
    /// As often as it is to fail: of some of these the entry is there all the same, for which `apply` is called in any case.
    pub(super) fn write(&self, entry: Entry, is_synced: bool, apply: impl FnOnce()) -> Result<(), StoreError> {
        self.wait();
        let (is_refused, is_unanswered) = {
            let Inner { dice, health, entries, .. } = &mut *self.inner();
            entries.push(entry);
            (dice.percent(health.refused), dice.percent(health.unanswered))
        };
        // What is lost or torn now was written and not synced.
        self.wait();
        if is_refused {
            self.inner().entries.pop();
            return Err(refusal());
        }
        if is_synced {
            self.sync();
        }
        apply();
        self.wait();
        if is_unanswered { Err(refusal()) } else { Ok(()) }
    }

    fn sync(&self) {
        // Relaxed: one thread runs at a time.
        let sync = self.syncs.fetch_add(1, Relaxed) + 1;
        let Inner { entries, synced, durable, .. } = &mut *self.inner();
        for entry in &entries[*synced..] {
            let Entry::Batch(_, messages) = entry else { continue };
            for number in messages.iter().filter_map(|(.., record)| number_in(record.body.as_deref()?)) {
                durable.entry(number).or_insert(sync);
            }
        }
        *synced = entries.len();
    }

    /// The process is gone, and the system has what was written.
    pub(super) fn process_gone(&self) {
        self.inner().health = Health::GOOD;
    }

    /// The power is gone: of what was not synced a part is there, and one entry perhaps by half, which is as good as none. How many
    /// are gone.
    pub(super) fn power_gone(&self) -> usize {
        let Inner { entries, synced, dice, health, .. } = &mut *self.inner();
        let before = entries.len();
        let left = dice.below((before - *synced) as u64 + 1) as usize;
        entries.truncate(*synced + left);
        *health = Health::GOOD;
        before - entries.len()
    }
}

fn refusal() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the disk of the simulation fails")
}

/// Of what level a batch is that holds these.
pub(super) fn is_stored(durability: Durability) -> bool {
    durability == Durability::Stored
}
