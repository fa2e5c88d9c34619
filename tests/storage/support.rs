//! Brokers that are kept, and places to keep them in.

use std::env;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use roomcast::store::{
    Archive, Codec, Options, Page, Record, SqliteStore, Store, StoreError, StoreErrorKind, Undecodable,
};
use roomcast::{Broker, Room, RoomOptions};

pub(crate) use crate::dice::Dice;

/// How long something that must happen may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Texts; who wrote one stands before a colon.
pub(crate) struct Text;

impl Codec<String> for Text {
    fn encode(&self, message: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(message.as_bytes());
    }

    fn decode(&self, stored: &[u8]) -> Result<String, Undecodable> {
        String::from_utf8(stored.to_vec()).map_err(|_| Undecodable)
    }

    fn author<'a>(&self, message: &'a String) -> Option<&'a str> {
        message.split_once(':').map(|(author, _)| author)
    }
}

/// Where a store is kept from run to run.
pub(crate) trait Place {
    /// The store, as a process finds it that has just started.
    fn open(&self) -> Arc<dyn Store>;

    /// Takes away what keeps a second process out.
    fn unlock(&self);
}

/// A folder that is gone with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("roomcast-storage-{}-{:x}", std::process::id(), RandomState::new().hash_one(0));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("rooms.db")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place for Folder {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.file()).expect("the store opens"))
    }

    fn unlock(&self) {
        let _ = fs::remove_file(format!("{}.lock", self.file().display()));
    }
}

/// One run of a process that keeps its rooms: a broker, and its archive.
pub(crate) struct Run {
    pub(crate) broker: Broker<String>,
    pub(crate) archive: Archive<String>,
}

impl Run {
    /// Rooms hold 64 messages, so that rings are overrun soon.
    #[track_caller]
    pub(crate) fn start(store: Arc<dyn Store>, options: Options) -> Self {
        Self::with(Broker::builder().shards(1).capacity(64).build(), store, options)
    }

    #[track_caller]
    pub(crate) fn with(broker: Broker<String>, store: Arc<dyn Store>, options: Options) -> Self {
        let archive = begun(|| Archive::start_with(&broker, Arc::clone(&store), Box::new(Text), options.clone()));
        Self { broker, archive }
    }

    /// Begins though another run has the store: its lock is taken from it, again where it was quicker to take it back.
    #[track_caller]
    pub(crate) fn overtaking(place: &dyn Place, options: Options) -> Self {
        let broker = Broker::builder().shards(1).capacity(64).build();
        let deadline = Instant::now() + PATIENCE;
        loop {
            place.unlock();
            match Archive::start_with(&broker, place.open(), Box::new(Text), options.clone()) {
                Ok(archive) => return Self { broker, archive },
                Err(error) if error.kind() == StoreErrorKind::Locked && Instant::now() < deadline => {}
                Err(error) => panic!("the store begins: {error}"),
            }
        }
    }

    #[track_caller]
    pub(crate) fn open(&self, room: &str) -> Room<String> {
        self.archive.open(room, RoomOptions::new()).expect("the room opens")
    }

    #[track_caller]
    pub(crate) fn flush(&self) {
        self.archive.flush_within(PATIENCE).expect("everything is committed");
    }

    #[track_caller]
    pub(crate) fn close(&self) {
        self.archive.close_within(PATIENCE).expect("everything is stored");
    }

    /// Closes, and lets the store go.
    #[track_caller]
    pub(crate) fn end(self) {
        self.close();
    }

    /// Ends as a crash does: uncleanly. The broker is to be held until the test is over, since one that ends with everything
    /// stored would be a clean end.
    #[must_use]
    pub(crate) fn crash(self) -> Broker<String> {
        self.broker
    }

    /// What the store has of a room.
    #[track_caller]
    pub(crate) fn stored(&self, room: &str) -> Vec<Record> {
        stored(self.archive.store(), room)
    }

    /// What the store has said of a room's messages, erased ones as nothing.
    #[track_caller]
    pub(crate) fn texts(&self, room: &str) -> Vec<(u64, String)> {
        self.stored(room).into_iter().map(|record| (record.sequence, text(record.body))).collect()
    }
}

/// A run that was dropped may hold its store for a moment still; nothing else is waited for.
#[track_caller]
fn begun(start: impl Fn() -> Result<Archive<String>, StoreError>) -> Archive<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match start() {
            Ok(archive) => return archive,
            Err(error) if error.kind() == StoreErrorKind::Locked && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("the store begins: {error}"),
        }
    }
}

pub(crate) fn text(body: Option<Vec<u8>>) -> String {
    body.map_or(String::new(), |body| String::from_utf8(body).expect("a text"))
}

/// All that a store has of a room, read in pages.
#[track_caller]
pub(crate) fn stored(store: &dyn Store, room: &str) -> Vec<Record> {
    let page = Page { limit: 100, bytes_max: 1 << 20, newest_first: false };
    let (mut records, mut at) = (Vec::new(), 0);
    loop {
        let more = store.read(room, at..u64::MAX, page).expect("the store is read");
        let Some(last) = more.last() else { return records };
        at = last.sequence + 1;
        records.extend(more);
    }
}

/// Waits for what must come.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
