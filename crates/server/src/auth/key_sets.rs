//! Keys that issuers publish, kept for a while, and when it is time to fetch them again.
//!
//! Whoever brings a token decides by it which address and which key are asked for, so all of it is bounded: how many sets are
//! kept, how often one is fetched, how many are fetched at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::jwk::{Jwks, KEY_ID_BYTES_MAX};
use super::key_fetch::{Fetched, KeysUnavailable};
use crate::util::panics::lock;
use crate::util::signature::Algorithm;

/// How long fetched keys are believed, as at Centrifugo: one that an issuer takes back is good for no longer, where it can be asked. And
/// how long an issuer may go on publishing keys after it signs by others: caches before it have no more.
const KEYS_MS: u64 = 60 * 60 * 1_000;
/// How long they are where it cannot: an issuer that is down for an hour or two locks nobody out whose token is good, and whoever keeps
/// us from it keeps a key that it has taken back no longer than that.
const KEYS_UNCONFIRMED_MS: u64 = 4 * KEYS_MS;
/// How long a set is not fetched again for a key that it has not: long enough that tokens of invented keys cost the issuer
/// nothing, short enough that a key that is new is known before its clients give up.
const UNKNOWN_MS: u64 = 10_000;
/// How long a set is not fetched again after that came to nothing.
const FAILED_MS: u64 = 1_000;
/// The same while its keys are believed all the same: in each of these times one client waits for the fetch, and the others for nothing.
const FAILED_UNCONFIRMED_MS: u64 = 10_000;
/// Sets that are kept: as many tenants as one server has issuers for.
const SETS_MAX: usize = 64;
/// Sets that are fetched at once.
const FETCHES_MAX: usize = 8;

/// The sets of keys of all issuers, by address.
#[derive(Debug, Default)]
pub(crate) struct KeySets(Mutex<HashMap<Arc<str>, KeySet>>);

#[derive(Debug, Default)]
struct KeySet {
    keys: Arc<Jwks>,
    /// When they were fetched, if they were.
    fetched_ms: Option<u64>,
    /// Whether that came to nothing the last time.
    has_failed: bool,
    /// Until when they are not fetched again.
    rests_until_ms: u64,
    /// When somebody has asked for one of them last.
    asked_ms: u64,
    /// That they are being fetched; whoever waits is told when that ends.
    fetching: Option<watch::Receiver<Outcome>>,
}

/// What a fetch has come to.
pub(super) type Outcome = Result<Fetched, KeysUnavailable>;

/// Keys that are to be fetched before a token can be verified.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WantedKeys {
    pub(super) url: Arc<str>,
}

/// What there is of a key.
pub(super) enum Found {
    /// The set that has it.
    Keys(Arc<Jwks>),
    /// It is to be fetched.
    Wanted(WantedKeys),
    /// It is not known, and cannot be asked for now.
    NotNow,
    /// There can be no such key.
    Nothing,
}

/// What is to be done to have a set.
pub(super) enum Fetch {
    /// To fetch it, and say so to [`KeySets::fetched`].
    Begin(watch::Sender<Outcome>),
    /// To wait for somebody who does.
    Wait(watch::Receiver<Outcome>),
    /// Nothing, for now.
    NotNow,
    /// Nothing: it was done a moment ago, or what was done before has to do.
    Done,
}

impl KeySets {
    /// Looks for a key of that name for that algorithm in the set at `url`.
    pub(super) fn find(&self, url: &str, key_id: &str, algorithm: Algorithm, now_ms: u64) -> Found {
        if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX {
            return Found::Nothing;
        }
        let mut sets = self.lock();
        let Some((known, set)) = sets.get_key_value(url).map(|(known, _)| Arc::clone(known)).and_then(|known| {
            let set = sets.get_mut(&known)?;
            Some((known, set))
        }) else {
            return Found::Wanted(WantedKeys { url: url.into() });
        };
        set.asked_ms = now_ms;
        let is_fresh = set.is_younger(KEYS_MS, now_ms);
        let rests = set.fetching().is_none() && now_ms < set.rests_until_ms;
        // Beyond their hour one client has them fetched, and waits; the others go by those that are there until it is known.
        let is_good = is_fresh || (set.is_younger(KEYS_UNCONFIRMED_MS, now_ms) && (rests || set.fetching().is_some()));
        if is_good && set.keys.find(key_id, algorithm).is_some() {
            return Found::Keys(Arc::clone(&set.keys));
        }
        if is_fresh && set.keys.has(key_id) {
            // It is of another kind: no set has two meanings for it.
            return Found::Nothing;
        }
        if rests { Found::NotNow } else { Found::Wanted(WantedKeys { url: known }) }
    }

    /// A key of the set at `url` has not signed a token that says so, and was issued then as far as it says: its issuer may have
    /// another key of that name by now. What is to be fetched to know.
    pub(super) fn doubt(&self, url: &str, issued_ms: Option<u64>, now_ms: u64) -> Found {
        let sets = self.lock();
        let Some((known, set)) = sets.get_key_value(url) else { return Found::NotNow };
        if issued_ms
            .zip(set.fetched_ms)
            .is_some_and(|(issued_ms, fetched_ms)| fetched_ms.saturating_sub(KEYS_MS) >= issued_ms)
        {
            return Found::Nothing;
        }
        let is_old = set.fetching().is_some() || now_ms >= set.rests_until_ms;
        if is_old { Found::Wanted(WantedKeys { url: Arc::clone(known) }) } else { Found::NotNow }
    }

    /// Begins to fetch a set, unless somebody does.
    pub(super) fn begin(&self, wanted: &WantedKeys, now_ms: u64) -> Fetch {
        let mut sets = self.lock();
        if let Some(set) = sets.get(&wanted.url) {
            if let Some(fetching) = set.fetching() {
                return Fetch::Wait(fetching.clone());
            }
            if now_ms < set.rests_until_ms {
                let is_there = !set.has_failed || set.is_younger(KEYS_UNCONFIRMED_MS, now_ms);
                return if is_there { Fetch::Done } else { Fetch::NotNow };
            }
        }
        if sets.values().filter(|set| set.fetching().is_some()).count() >= FETCHES_MAX {
            let believed = sets.get_mut(&wanted.url).filter(|set| set.is_younger(KEYS_UNCONFIRMED_MS, now_ms));
            return believed.map_or(Fetch::NotNow, |set| {
                set.rests_until_ms = now_ms.saturating_add(FAILED_MS);
                Fetch::Done
            });
        }
        if sets.len() >= SETS_MAX && !sets.contains_key(&wanted.url) {
            // Those first that never were there: where tokens make up addresses, they push out no issuer that is one.
            let idle = sets.iter().filter(|(_, set)| set.fetching().is_none());
            let idle = idle.min_by_key(|(_, set)| (set.fetched_ms.is_some(), set.asked_ms));
            let Some(idle) = idle.map(|(url, _)| Arc::clone(url)) else { return Fetch::NotNow };
            sets.remove(&idle);
        }
        let (sender, receiver) = watch::channel(Err(KeysUnavailable));
        let set = sets.entry(Arc::clone(&wanted.url)).or_default();
        set.asked_ms = now_ms;
        set.fetching = Some(receiver);
        Fetch::Begin(sender)
    }

    /// A set was fetched, or that came to nothing. Whether there are keys that may be gone by, then.
    pub(super) fn fetched(&self, wanted: &WantedKeys, keys: Option<Jwks>, now_ms: u64) -> bool {
        let mut sets = self.lock();
        let Some(set) = sets.get_mut(&wanted.url) else { return false };
        set.fetching = None;
        set.has_failed = keys.is_none();
        match keys {
            Some(keys) => {
                set.keys = Arc::new(keys);
                set.fetched_ms = Some(now_ms);
                set.rests_until_ms = now_ms.saturating_add(UNKNOWN_MS);
            }
            // What was fetched before is good as long as it was to be, and somewhat longer.
            None => {
                let is_unconfirmed = !set.is_younger(KEYS_MS, now_ms) && set.is_younger(KEYS_UNCONFIRMED_MS, now_ms);
                let rest_ms = if is_unconfirmed { FAILED_UNCONFIRMED_MS } else { FAILED_MS };
                set.rests_until_ms = now_ms.saturating_add(rest_ms);
            }
        }
        set.is_younger(KEYS_UNCONFIRMED_MS, now_ms)
    }

    /// Has these be the keys that were fetched.
    #[cfg(test)]
    pub(crate) fn put(&self, wanted: &WantedKeys, json: &str, now_ms: u64) {
        if let Fetch::Begin(_) = self.begin(wanted, now_ms) {
            self.fetched(wanted, Some(Jwks::parse(json.as_bytes()).expect("a set")), now_ms);
        }
    }

    /// Nothing has been fetched.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, KeySet>> {
        lock(&self.0)
    }
}

impl KeySet {
    /// Whether it was fetched less than that long ago.
    fn is_younger(&self, age_ms: u64, now_ms: u64) -> bool {
        self.fetched_ms.is_some_and(|fetched_ms| now_ms < fetched_ms.saturating_add(age_ms))
    }

    /// Who fetches it, unless nobody does or that one has gone.
    fn fetching(&self) -> Option<&watch::Receiver<Outcome>> {
        self.fetching.as_ref().filter(|fetching| fetching.has_changed().is_ok())
    }
}

#[cfg(any(test, roomcast_fuzz))]
impl WantedKeys {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for WantedKeys {
    /// Without the address, of which a part is a token's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WantedKeys")
    }
}
