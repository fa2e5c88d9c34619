//! Tests of the log and of its delivery: who comes and goes, crashes, too much, too long, and what a backend does with it.

mod crashes;
mod delivery;
mod hand_over;
mod journal;
mod ledger;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::event::{Event, What};
use super::journal::{Journal, Taken};
use super::leavers::{self, Leavers};
use super::ledger::{Before, Ledger, Wrote};
use super::log::{self, Log};
use super::relay::batch;
use crate::config::{Endpoint, RoomEventsOptions};

/// A server with a log, which crashes when it is told to; its backend reads the log.
struct World {
    folder: Folder,
    options: RoomEventsOptions,
    waiting_max: usize,
    now_ms: Arc<AtomicU64>,
    journal: Arc<Journal>,
    ledger: Option<Ledger>,
    taken: Taken,
    backend: Told,
}

/// A folder of its own, gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = PathBuf::from("/dev/shm");
        let above = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = above.join(format!("roomcast-events-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed)));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("events.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const START_MS: u64 = 1_800_000_000_000;

impl World {
    fn new() -> Self {
        Self::with(RoomEventsOptions::default(), usize::MAX)
    }

    fn with(options: RoomEventsOptions, waiting_max: usize) -> Self {
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let clock = Arc::clone(&now_ms);
        let journal = Arc::new(Journal::with_bound(move || clock.load(Relaxed), waiting_max));
        let options = RoomEventsOptions { endpoint: Endpoint::new("http://backend/").ok(), ..options };
        let mut this = Self {
            folder: Folder::new(),
            options,
            waiting_max,
            now_ms,
            journal,
            ledger: None,
            taken: Taken::default(),
            backend: Told::default(),
        };
        this.start();
        this
    }

    /// One whose log holds several times what one writing cuts, and may hold 10,000 bytes.
    fn far_too_long() -> Self {
        let mut this = Self::new();
        for at in 0..25_000 {
            this.journal.enter("hall", &at.to_string(), "");
        }
        this.write();
        this.options.log_max_size = 10_000;
        this.crash();
        this
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    fn pass(&self, time: Duration) {
        self.now_ms.fetch_add(time.as_millis() as u64, Relaxed);
    }

    fn start(&mut self) {
        self.start_after(Before::Over);
    }

    fn start_after(&mut self, before: Before) {
        let log = Log::open(&self.folder.log(), "log").expect("a log");
        self.ledger = Some(Ledger::begin(log, &self.options, self.now_ms(), before).expect("a ledger"));
    }

    /// Ends at once, with what is written and nothing else.
    fn crash(&mut self) {
        self.next_journal();
        self.start();
    }

    /// Hands the log over to another process; the journal of this one, which still has its clients.
    fn hand_over(&mut self) -> Arc<Journal> {
        self.write();
        self.journal.close();
        let before = self.next_journal();
        self.start_after(Before::Closes);
        before
    }

    /// Has the new process hear who has gone from the one before.
    fn hear_of_leavers(&self, before: &Journal) {
        let mut leavers = Leavers::of(before);
        while let Some(record) = leavers.next_record() {
            leavers::note(&record, &self.journal).expect("a record");
        }
    }

    /// Begins another journal; the one before.
    fn next_journal(&mut self) -> Arc<Journal> {
        self.ledger = None;
        self.taken = Taken::default();
        let clock = Arc::clone(&self.now_ms);
        let next = Journal::with_bound(move || clock.load(Relaxed), self.waiting_max);
        std::mem::replace(&mut self.journal, Arc::new(next))
    }

    /// Writes what has changed.
    fn write(&mut self) -> Wrote {
        let ledger = self.ledger.as_mut().expect("it runs");
        if self.taken.is_empty() {
            self.journal.take(&mut self.taken);
        }
        let (cursor, now_ms) = (self.journal.delivered(), self.now_ms.load(Relaxed));
        let wrote = ledger.write(&self.taken, cursor, now_ms, |name| self.journal.part_of(name)).expect("a disk");
        self.journal.written(&mut self.taken);
        wrote
    }

    /// Whether the writer would write again at once.
    fn is_due(&self) -> bool {
        self.ledger.as_ref().and_then(Ledger::due_ms).is_some_and(|due_ms| due_ms <= self.now_ms())
    }

    /// The events behind that one.
    fn read(&self, after: u64) -> Vec<Event> {
        let connection = log::open_to_read(&self.folder.log()).expect("a log");
        let (mut all, mut after) = (Vec::<Event>::new(), after);
        loop {
            let (events, head) = log::read(&connection, after, 7, self.now_ms()).expect("a log");
            let Some(last) = events.last() else {
                assert_eq!(head.max(after), after, "all of it was read");
                return all;
            };
            after = last.offset;
            all.extend(events);
        }
    }

    /// Has the backend take what there is, and what it then knows.
    fn tell(&mut self) -> &Told {
        for event in self.read(self.backend.cursor) {
            self.backend.take(&event);
        }
        self.journal.deliver(self.backend.cursor);
        &self.backend
    }

    /// What there is, in words.
    fn words(&self) -> Vec<String> {
        self.read(0).iter().map(words).collect()
    }
}

/// An event as tests name it.
fn words(event: &Event) -> String {
    match &event.what {
        What::Join { room, client, .. } => format!("join {room} {client}"),
        What::Leave { room, client, reason, .. } => format!("leave {room} {client} {}", reason.text),
        What::Occupied { room } => format!("occupied {room}"),
        What::Vacated { room } => format!("vacated {room}"),
        What::Connect { client, user } => format!("connect {client} {user}"),
        What::Disconnect { client, reason, .. } => format!("disconnect {client} {} {}", reason.code, reason.text),
        What::Gap { from } => format!("gap {from} {}", event.offset),
    }
}

/// What a backend knows that believes every event, and that no event contradicts what it was told before.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    cursor: u64,
    members: BTreeSet<(String, String)>,
    connected: BTreeMap<String, String>,
    occupied: BTreeSet<String>,
    gaps: u64,
}

impl Told {
    fn take(&mut self, event: &Event) {
        assert_eq!(event.first(), self.cursor + 1, "{event:?}");
        self.cursor = event.offset;
        let anybody = |members: &BTreeSet<(String, String)>, room: &str| members.iter().any(|(of, _)| of == room);
        match &event.what {
            What::Join { room, client, .. } => {
                assert!(self.occupied.contains(&**room), "{event:?}");
                assert!(self.members.insert((room.to_string(), client.to_string())), "{event:?}");
            }
            What::Leave { room, client, .. } => {
                assert!(self.members.remove(&(room.to_string(), client.to_string())), "{event:?}");
            }
            What::Occupied { room } => assert!(self.occupied.insert(room.to_string()), "{event:?}"),
            What::Vacated { room } => {
                assert!(self.occupied.remove(&**room), "{event:?}");
                assert!(!anybody(&self.members, room), "{event:?}");
            }
            What::Connect { client, user } => {
                assert_eq!(self.connected.insert(client.to_string(), user.to_string()), None, "{event:?}");
            }
            What::Disconnect { client, user, .. } => {
                assert_eq!(self.connected.remove(&**client).as_deref(), Some(&**user), "{event:?}");
            }
            What::Gap { .. } => self.gaps += 1,
        }
    }
}

fn body(events: &[Event]) -> String {
    String::from_utf8(batch("log", events).0.body).expect("text")
}
