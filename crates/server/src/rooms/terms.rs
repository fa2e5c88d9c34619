//! What a publisher asks beyond: that a repetition is no second message, and that nothing older comes after something newer.
//!
//! Both are remembered in memory, for as long and as much as the bounds here allow, and with it a publish finds out whether it is one.
//! Who publishes plainly does not come here.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, watch};

use crate::rooms::engine::Accepted;
use crate::util::panics::lock;
use roomcast_protocol::RoomName;

/// How long a key is remembered.
const KEY_TTL: Duration = Duration::from_secs(5 * 60);

/// Bytes of keys that are remembered, where the memory for them is enough: some hundred thousand, or a thousand a second for as long as each is. Beyond it the oldest is
/// forgotten before its time.
const KEYS_BYTES_MAX: usize = 64 << 20;

/// How long the version of a room is remembered after its last message of a version.
const VERSION_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Bytes of versions, of which the share of memory has half as many as of keys: of some hundred thousand rooms.
const VERSIONS_BYTES_MAX: usize = 32 << 20;

/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = 256;

/// What a publisher asks beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Another publish with this key, in the same room, is not published; empty for none.
    pub(crate) idempotency_key: String,
    /// Not published unless it is above the room's; 0 for none.
    pub(crate) version: u64,
    /// What the version counts in.
    pub(crate) version_epoch: String,
    /// It is given to who is there now, and kept nowhere.
    pub(crate) skip_history: bool,
}

/// The keys and versions of all rooms.
pub(crate) struct TermsBook {
    keys: Mutex<Recent<watch::Receiver<Option<Accepted>>>>,
    versions: Mutex<Recent<Arc<tokio::sync::Mutex<Version>>>>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// The newest version that a room has had.
#[derive(Debug, Default)]
struct Version {
    number: u64,
    epoch: String,
}

/// A key that was published, as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptKey {
    /// Of the room and the key.
    pub(crate) name: Box<str>,
    pub(crate) accepted: Accepted,
    pub(crate) since_ms: u64,
}

/// The newest version of a room, as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptVersion {
    pub(crate) room: Box<str>,
    pub(crate) number: u64,
    pub(crate) epoch: String,
    pub(crate) since_ms: u64,
}

/// How a publish on terms goes on.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is published, or tried once more: then it is answered as its first one was, there.
    Before(Accepted),
    /// Something as new is published: it is answered with where the room stands.
    Outdated(Reservation),
    /// It is to be published.
    New(Reservation),
}

/// The right to publish what nobody else publishes at this moment. Dropped without having been [done](Self::done), it leaves no trace:
/// another one with the key is tried.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    key: Option<watch::Sender<Option<Accepted>>>,
    version: Option<(OwnedMutexGuard<Version>, Version)>,
}

impl Reservation {
    /// It is in its room, or is answered as if it were.
    pub(crate) fn done(self, accepted: &Accepted) {
        if let Some(key) = self.key {
            key.send_replace(Some(accepted.clone()));
        }
        if let Some((mut newest, version)) = self.version {
            *newest = version;
        }
    }
}

impl TermsBook {
    /// A book that takes at most so many bytes.
    pub(crate) fn new(clock: Arc<dyn Fn() -> u64 + Send + Sync>, bytes_max: u64) -> Self {
        let third = usize::try_from(bytes_max / 3).unwrap_or(usize::MAX);
        Self {
            keys: Mutex::new(Recent::new(KEY_TTL, third.saturating_mul(2).min(KEYS_BYTES_MAX))),
            versions: Mutex::new(Recent::new(VERSION_TTL, third.min(VERSIONS_BYTES_MAX))),
            clock,
        }
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        (lock(&self.keys).bytes + lock(&self.versions).bytes) as u64
    }

    /// Takes out all keys that were published, the oldest first.
    pub(crate) fn take_keys(&self) -> impl DoubleEndedIterator<Item = KeptKey> + use<> {
        lock(&self.keys).take_all().into_iter().filter_map(|(name, since_ms, first)| {
            let accepted = first.borrow().clone()?;
            Some(KeptKey { name, accepted, since_ms })
        })
    }

    /// Takes out all versions, the oldest first.
    pub(crate) fn take_versions(&self) -> impl DoubleEndedIterator<Item = KeptVersion> + use<> {
        lock(&self.versions).take_all().into_iter().filter_map(|(room, since_ms, version)| {
            let Version { number, epoch } = &*version.try_lock().ok()?;
            (*number > 0).then(|| KeptVersion { room, number: *number, epoch: epoch.clone(), since_ms })
        })
    }

    /// Remembers a key of another process, which comes behind older ones.
    pub(crate) fn remember_key(&self, KeptKey { name, accepted, since_ms }: KeptKey) {
        let now_ms = (self.clock)();
        lock(&self.keys).put_since(&name, watch::channel(Some(accepted)).1, since_ms.min(now_ms), now_ms);
    }

    /// Remembers a version of another process, which comes behind older ones.
    pub(crate) fn remember_version(&self, KeptVersion { room, number, epoch, since_ms }: KeptVersion) {
        let (now_ms, version) = ((self.clock)(), Version { number, epoch });
        let version = Arc::new(tokio::sync::Mutex::new(version));
        lock(&self.versions).put_since(&room, version, since_ms.min(now_ms), now_ms);
    }

    /// Begins a publish; those with the same key, or with versions into the same room, wait for each other.
    pub(crate) async fn begin(&self, room: &RoomName, terms: &Terms) -> Begun {
        let mut reservation = Reservation::default();
        if !terms.idempotency_key.is_empty() {
            // No name of a room holds such a character.
            let key = format!("{room}\0{}", terms.idempotency_key);
            loop {
                let mut first = match self.reserve(&key) {
                    Ok(sender) => {
                        reservation.key = Some(sender);
                        break;
                    }
                    Err(first) => first,
                };
                // Nothing where the first one has failed.
                if let Ok(accepted) = first.wait_for(Option::is_some).await
                    && let Some(accepted) = &*accepted
                {
                    return Begun::Before(accepted.clone());
                }
            }
        }
        if terms.version > 0 {
            let newest = self.version_of(room).lock_owned().await;
            let is_comparable = terms.version_epoch.is_empty() || terms.version_epoch == newest.epoch;
            if is_comparable && terms.version <= newest.number {
                return Begun::Outdated(reservation);
            }
            let version = Version { number: terms.version, epoch: terms.version_epoch.clone() };
            reservation.version = Some((newest, version));
        }
        Begun::New(reservation)
    }

    /// The key, or whoever has it.
    fn reserve(&self, key: &str) -> Result<watch::Sender<Option<Accepted>>, watch::Receiver<Option<Accepted>>> {
        let (now_ms, mut keys) = ((self.clock)(), lock(&self.keys));
        if let Some(first) = keys.get(key, now_ms)
            && (first.borrow().is_some() || first.has_changed().is_ok())
        {
            return Err(first.clone());
        }
        let (sender, receiver) = watch::channel(None);
        keys.put(key, receiver, now_ms);
        Ok(sender)
    }

    fn version_of(&self, room: &RoomName) -> Arc<tokio::sync::Mutex<Version>> {
        let (now_ms, mut versions) = ((self.clock)(), lock(&self.versions));
        let found = versions.get(room.as_str(), now_ms).cloned();
        let version = found.unwrap_or_default();
        if versions.is_to_be_put(room.as_str(), now_ms) {
            versions.put(room.as_str(), Arc::clone(&version), now_ms);
        }
        version
    }
}

/// What was put in lately, by name; bounded in bytes and in time.
#[derive(Debug)]
struct Recent<V> {
    entries: HashMap<Box<str>, Entry<V>>,
    /// In the order in which they were put in; an entry whose number is another one was put in again.
    order: VecDeque<(u64, Box<str>)>,
    numbers: u64,
    bytes: usize,
    bytes_max: usize,
    ttl_ms: u64,
}

#[derive(Debug)]
struct Entry<V> {
    number: u64,
    since_ms: u64,
    value: V,
}

impl<V> Recent<V> {
    fn new(ttl: Duration, bytes_max: usize) -> Self {
        let (entries, order) = (HashMap::new(), VecDeque::new());
        Self { entries, order, numbers: 0, bytes: 0, bytes_max, ttl_ms: ttl.as_millis() as u64 }
    }

    fn get(&mut self, name: &str, now_ms: u64) -> Option<&V> {
        self.forget(now_ms);
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// Whether it is not there, or has been for so long that it is to be put in again if it is to stay. What is put in each time it
    /// is used would drive the others out.
    fn is_to_be_put(&self, name: &str, now_ms: u64) -> bool {
        let entry = self.entries.get(name);
        entry.is_none_or(|entry| now_ms.saturating_sub(entry.since_ms) >= self.ttl_ms / 16)
    }

    fn put(&mut self, name: &str, value: V, now_ms: u64) {
        self.put_since(name, value, now_ms, now_ms);
    }

    /// The same with what was put in before, elsewhere.
    fn put_since(&mut self, name: &str, value: V, since_ms: u64, now_ms: u64) {
        self.numbers += 1;
        let number = self.numbers;
        self.entries.insert(name.into(), Entry { number, since_ms, value });
        self.order.push_back((number, name.into()));
        self.bytes += weight(name);
        self.forget(now_ms);
    }

    /// Takes out everything, in the order in which it was put in, with since when it was there.
    fn take_all(&mut self) -> Vec<(Box<str>, u64, V)> {
        let (mut entries, order) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.order));
        self.bytes = 0;
        let taken = order.into_iter().filter_map(|(number, name)| {
            entries.get(&name).filter(|entry| entry.number == number)?;
            let Entry { since_ms, value, .. } = entries.remove(&name)?;
            Some((name, since_ms, value))
        });
        taken.collect()
    }

    /// Forgets what is too old, and the oldest where there is too much.
    fn forget(&mut self, now_ms: u64) {
        while let Some((number, name)) = self.order.front() {
            let current = self.entries.get(name).filter(|entry| entry.number == *number);
            let is_old = current.is_none_or(|entry| now_ms.saturating_sub(entry.since_ms) >= self.ttl_ms);
            if !is_old && self.bytes <= self.bytes_max {
                return;
            }
            let is_current = current.is_some();
            let Some((_, name)) = self.order.pop_front() else { return };
            self.bytes -= weight(&name);
            if is_current {
                self.entries.remove(&name);
            }
        }
    }
}

fn weight(name: &str) -> usize {
    2 * name.len() + ENTRY_BYTES
}

impl fmt::Debug for TermsBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TermsBook").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::rooms::engine::EpochName;
    use roomcast::Epoch;

    fn book() -> (TermsBook, Arc<AtomicU64>) {
        let now_ms = Arc::new(AtomicU64::new(1_000_000));
        let clock = Arc::clone(&now_ms);
        (TermsBook::new(Arc::new(move || clock.load(Relaxed)), u64::MAX), now_ms)
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name, 255).unwrap()
    }

    fn key(key: &str) -> Terms {
        Terms { idempotency_key: key.to_owned(), ..Terms::default() }
    }

    fn version(version: u64, epoch: &str) -> Terms {
        Terms { version, version_epoch: epoch.to_owned(), ..Terms::default() }
    }

    fn at(offset: u64) -> Accepted {
        Accepted { offset, epoch: EpochName::Ring(Epoch::from(7)) }
    }

    /// Polled once.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn reservation(begun: Option<Begun>) -> Reservation {
        match begun {
            Some(Begun::New(reservation)) => reservation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_published_once_in_each_room_until_its_time_is_over() {
        let (book, now_ms) = book();
        let begin = |name: &str| now(book.begin(&room(name), &key("k")));
        reservation(begin("hall")).done(&at(3));
        assert!(matches!(begin("hall"), Some(Begun::Before(accepted)) if accepted == at(3)));
        reservation(begin("yard")).done(&at(1));
        now_ms.fetch_add(KEY_TTL.as_millis() as u64 - 1, Relaxed);
        assert!(matches!(begin("hall"), Some(Begun::Before(_))));
        now_ms.fetch_add(1, Relaxed);
        reservation(begin("hall"));
    }

    #[test]
    fn a_repetition_waits_for_the_first_one_and_is_tried_where_that_fails() {
        let (book, _) = book();
        let (hall, terms) = (room("hall"), key("k"));
        let first = reservation(now(book.begin(&hall, &terms)));
        assert!(now(book.begin(&hall, &terms)).is_none(), "it is not known yet");
        {
            let mut second = pin!(book.begin(&hall, &terms));
            let mut poll = || second.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(poll().is_pending());
            drop(first);
            let Poll::Ready(Begun::New(second)) = poll() else { panic!("it is tried") };
            second.done(&at(1));
        }
        assert!(matches!(now(book.begin(&hall, &terms)), Some(Begun::Before(_))));
    }

    #[test]
    fn a_version_is_published_after_older_ones_only() {
        let (book, _) = book();
        let hall = room("hall");
        let begin = |terms: &Terms| now(book.begin(&hall, terms));
        reservation(begin(&version(5, "a"))).done(&at(1));
        for outdated in [version(5, "a"), version(4, "a"), version(5, "")] {
            assert!(matches!(begin(&outdated), Some(Begun::Outdated(_))), "{outdated:?}");
        }
        let newer = reservation(begin(&version(6, "a")));
        assert!(begin(&version(7, "a")).is_none(), "it is not known yet which is first");
        drop(newer);
        reservation(begin(&version(6, "a"))).done(&at(2));
        reservation(begin(&version(1, "b"))).done(&at(3));
        assert!(matches!(begin(&version(1, "b")), Some(Begun::Outdated(_))));
        reservation(begin(&version(2, "a"))).done(&at(4));
        reservation(now(book.begin(&room("yard"), &version(1, "a"))));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut recent = Recent::new(Duration::from_secs(60), 10 * weight("name-000"));
        for number in 0..100_u64 {
            recent.put(&format!("name-{number:03}"), number, 0);
            recent.put("name-again", number, 0);
        }
        assert!(recent.bytes <= recent.bytes_max && recent.order.len() <= 10 && recent.entries.len() <= 10);
        assert_eq!(recent.get("name-099", 0), Some(&99));
        assert_eq!(recent.get("name-000", 0), None);
        assert_eq!(recent.get("name-099", 60_000), None);
        assert!(recent.entries.is_empty() && recent.order.is_empty() && recent.bytes == 0);
    }
}
