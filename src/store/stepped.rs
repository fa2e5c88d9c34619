//! An archive whose batch writer is stepped by hand, over a store in memory, with a clock that is moved.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::archive::Archive;
use super::backend::{Page, Record, RetentionCutoff, RoomEntry, Span, Store};
use super::batch::Batch;
use super::codec::{Codec, Undecodable};
use super::environment::Environment;
use super::error::{StoreError, StoreErrorKind};
use super::options::{Durability, Options, Retention};
use super::writer::{BatchWriter, Next};
use crate::message::Epoch;
use crate::{Broker, RoomOptions};

const MS: Duration = Duration::from_millis(1);

/// Texts as they are.
struct Text;

impl Codec<String> for Text {
    fn encode(&self, message: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(message.as_bytes());
    }

    fn decode(&self, stored: &[u8]) -> Result<String, Undecodable> {
        String::from_utf8(stored.to_vec()).map_err(|_| Undecodable)
    }
}

/// Remembers how many messages each commit had, and refuses as many commits as it is told to.
#[derive(Default)]
struct Memory {
    commits: Mutex<Vec<usize>>,
    refusals: AtomicU32,
    /// How often the run is not ended yet.
    unfinished: AtomicU32,
    /// Rooms of ten messages, in order; the messages of one with an exclamation mark cannot be read.
    rooms: Mutex<Vec<&'static str>>,
    removed: Mutex<Vec<String>>,
    is_finished: AtomicBool,
}

impl Memory {
    fn commits(&self) -> Vec<usize> {
        self.commits.lock().unwrap().clone()
    }
}

impl Store for Memory {
    fn begin(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let left = self.refusals.load(Relaxed);
        if left > 0 {
            self.refusals.store(left - 1, Relaxed);
            return Err(StoreError::new(StoreErrorKind::Full, "the disk is full"));
        }
        self.commits.lock().unwrap().push(batch.len());
        Ok(())
    }

    fn finish(&self) -> Result<(), StoreError> {
        let left = self.unfinished.load(Relaxed);
        if left > 0 {
            self.unfinished.store(left - 1, Relaxed);
            return Err(StoreError::new(StoreErrorKind::Full, "the disk is full"));
        }
        self.is_finished.store(true, Relaxed);
        Ok(())
    }

    fn span(&self, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>, StoreError> {
        if room.contains('!') {
            return Err(StoreError::new(StoreErrorKind::Damaged, "a page cannot be read"));
        }
        let is_known = self.rooms.lock().unwrap().contains(&room);
        let oldest = 10 - cutoff.messages_max.unwrap_or(10);
        let span = Span { epoch: Epoch(7), oldest, next: 10, is_whole: true, durability: Durability::Async };
        Ok(is_known.then_some(span))
    }

    fn read(&self, _: &str, _: Range<u64>, _: Page) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError> {
        let entry = |name: String| {
            let span = self.span(&name, RetentionCutoff::default()).transpose()?;
            Some(span.map(|span| RoomEntry { name, span }))
        };
        self.room_names(after, limit)?.into_iter().filter_map(entry).collect()
    }

    fn room_names(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let rooms = self.rooms.lock().unwrap();
        let later = rooms.iter().filter(|room| **room > after.unwrap_or_default());
        Ok(later.take(limit).map(|room| (*room).to_owned()).collect())
    }

    fn remove(&self, room: &str, before: u64, _: usize) -> Result<usize, StoreError> {
        self.removed.lock().unwrap().push(format!("{room} {before}"));
        Ok(before as usize)
    }

    fn erase(&self, _: &str, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

type Others = Box<dyn FnMut(Instant) -> Option<Instant> + Send>;

/// One thread, a clock that moves only while somebody waits, and numbers that are counted.
struct Simulation {
    start: Instant,
    elapsed: Mutex<Duration>,
    drawn: AtomicU64,
    /// Goes on with whoever else is due, and says when the next one is.
    others: Mutex<Option<Others>>,
}

impl Simulation {
    fn new() -> Arc<Self> {
        let (elapsed, others) = (Mutex::default(), Mutex::default());
        Arc::new(Self { start: Instant::now(), elapsed, drawn: AtomicU64::new(0), others })
    }

    fn advance(&self, by: Duration) {
        *self.elapsed.lock().unwrap() += by;
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().unwrap()
    }
}

impl Environment for Simulation {
    fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    fn park(&self, until: Option<Instant>) {
        let due = self.others.lock().unwrap().as_mut().and_then(|others| others(self.now()));
        let wake = due.into_iter().chain(until).min().expect("somebody is due");
        self.advance(wake.saturating_duration_since(self.now()));
    }

    fn sleep(&self, pause: Duration) {
        self.park(Some(self.now() + pause));
    }

    fn draw(&self) -> u64 {
        self.drawn.fetch_add(1, Relaxed) + 1
    }
}

struct World {
    simulation: Arc<Simulation>,
    store: Arc<Memory>,
    broker: Broker<String>,
    archive: Archive<String>,
}

fn world(options: Options) -> (World, BatchWriter<String>) {
    let (simulation, store) = (Simulation::new(), Arc::new(Memory::default()));
    let broker = Broker::builder().shards(1).capacity(64).build();
    let (kept, environment) = (Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&simulation) as Arc<dyn Environment>);
    let (archive, writer) = Archive::start_stepped(&broker, kept, Box::new(Text), options, environment).unwrap();
    (World { simulation, store, broker, archive }, writer)
}

/// Steps it until it waits; for how long from now on.
#[track_caller]
fn idle(world: &World, writer: &mut BatchWriter<String>) -> Duration {
    for _ in 0..1_000 {
        match writer.step() {
            Next::Now => {}
            Next::Wait(_) if writer.is_woken() => {}
            Next::Wait(until) => return until.unwrap().saturating_duration_since(world.simulation.now()),
            Next::Ended(how) => panic!("it ended: {how:?}"),
        }
    }
    panic!("it never waits");
}

#[test]
fn messages_gather_for_as_long_as_they_may_and_are_committed_together() {
    let (world, mut writer) = world(Options::all(Durability::Async).batch_delay(5 * MS));
    let room = world.archive.open("lobby", RoomOptions::new()).unwrap();
    assert_eq!(room.epoch(), Epoch(1), "chance is given");
    idle(&world, &mut writer);
    assert!(!writer.is_woken());
    room.publish("one".to_owned()).unwrap();
    assert!(writer.is_woken());
    assert_eq!(idle(&world, &mut writer), 5 * MS);
    world.simulation.advance(3 * MS);
    room.publish("two".to_owned()).unwrap();
    assert_eq!(idle(&world, &mut writer), 2 * MS, "the first one says when");
    world.simulation.advance(2 * MS);
    assert_eq!(world.store.commits(), [0; 0]);
    idle(&world, &mut writer);
    assert_eq!(world.store.commits(), [2]);
    assert_eq!(world.archive.watermark(&room).unwrap().stored(), 2);
}

#[test]
fn a_room_whose_name_is_kept_no_more_when_it_is_there_is_stored_as_it_was_opened() {
    let asked = AtomicU32::new(0);
    let once = move |_: &str| (asked.fetch_add(1, Relaxed) == 0).then_some(Durability::Stored);
    let (world, mut writer) = world(Options::by_room(once));
    let room = world.archive.open("hall", RoomOptions::new()).unwrap();
    assert_eq!(world.archive.durability("hall"), None);
    room.publish("one".to_owned()).unwrap();
    idle(&world, &mut writer);
    assert_eq!(world.store.commits(), [1]);
    let mark = world.archive.watermark(&room).unwrap();
    assert_eq!((mark.stored(), mark.durability()), (1, Durability::Stored));
}

#[test]
fn a_commit_that_fails_is_tried_again_after_ever_longer_pauses() {
    let (world, mut writer) = world(Options::all(Durability::Stored));
    let room = world.archive.open("ledger", RoomOptions::new()).unwrap();
    idle(&world, &mut writer);
    world.store.refusals.store(8, Relaxed);
    room.publish("a debt".to_owned()).unwrap();
    let mut pauses = Vec::new();
    while world.store.commits().is_empty() {
        let pause = idle(&world, &mut writer);
        assert_eq!(world.archive.is_in_trouble(), world.store.commits().is_empty());
        pauses.push(pause.as_millis());
        world.simulation.advance(pause);
    }
    assert_eq!(pauses[..8], [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
    assert_eq!((pauses.len(), world.store.commits()), (9, vec![1]));
}

#[test]
fn while_somebody_waits_the_others_go_on() {
    let (world, mut writer) = world(Options::all(Durability::Async).batch_delay(Duration::from_secs(3_600)));
    let room = world.archive.open("lobby", RoomOptions::new()).unwrap();
    let mut due = None;
    *world.simulation.others.lock().unwrap() = Some(Box::new(move |now| {
        while writer.is_woken() || due.is_none_or(|due| due <= now) {
            match writer.step() {
                Next::Now => {}
                Next::Wait(until) => due = until,
                Next::Ended(how) => panic!("it ended: {how:?}"),
            }
        }
        due
    }));
    room.publish("one".to_owned()).unwrap();
    world.archive.flush_within(5_000 * MS).unwrap();
    assert_eq!(world.store.commits(), [1]);
    world.store.refusals.store(u32::MAX, Relaxed);
    room.publish("two".to_owned()).unwrap();
    let before = world.simulation.elapsed();
    let error = world.archive.flush_within(5_000 * MS).unwrap_err();
    assert_eq!(error.to_string(), "the disk is full");
    assert_eq!(world.simulation.elapsed() - before, 5_000 * MS, "and no time has passed outside");
}

#[test]
fn it_ends_when_the_broker_is_closed_and_everything_is_stored() {
    let (world, mut writer) = world(Options::all(Durability::Async));
    let room = world.archive.open("lobby", RoomOptions::new()).unwrap();
    room.publish("one".to_owned()).unwrap();
    world.archive.close().unwrap();
    assert!(world.broker.is_closed() && world.store.commits().is_empty());
    for _ in 0..1_000 {
        if let Next::Ended(how) = writer.step() {
            how.unwrap();
            assert_eq!(world.store.commits(), [1]);
            assert!(world.store.is_finished.load(Relaxed));
            return;
        }
    }
    panic!("it never ends");
}

#[test]
fn what_was_published_while_the_store_refused_does_not_wait_once_it_takes_messages_again() {
    let (world, mut writer) = world(Options::all(Durability::Stored));
    let room = world.archive.open("ledger", RoomOptions::new()).unwrap();
    idle(&world, &mut writer);
    world.store.refusals.store(1, Relaxed);
    room.publish("one".to_owned()).unwrap();
    let pause = idle(&world, &mut writer);
    room.publish("two".to_owned()).unwrap();
    world.simulation.advance(pause);
    idle(&world, &mut writer);
    assert_eq!(world.store.commits(), [1, 1]);
}

#[test]
fn who_asks_for_something_does_not_hasten_the_next_try() {
    let (world, mut writer) = world(Options::all(Durability::Stored));
    let room = world.archive.open("ledger", RoomOptions::new()).unwrap();
    idle(&world, &mut writer);
    world.store.refusals.store(u32::MAX, Relaxed);
    room.publish("a debt".to_owned()).unwrap();
    assert_eq!(idle(&world, &mut writer), 50 * MS);
    for _ in 0..10 {
        assert!(world.archive.flush_within(Duration::ZERO).is_err());
        assert!(writer.is_woken());
        assert_eq!(idle(&world, &mut writer), 50 * MS);
    }
    assert_eq!(u32::MAX - world.store.refusals.load(Relaxed), 1, "tries");
    world.simulation.advance(50 * MS);
    assert_eq!(idle(&world, &mut writer), 100 * MS);
    world.store.refusals.store(0, Relaxed);
    drop(world.archive);
    assert!(matches!(writer.step(), Next::Now), "whoever gives up has it try once more at once");
    assert_eq!(*world.store.commits.lock().unwrap(), [1]);
}

#[test]
fn the_end_of_a_run_is_tried_again_after_pauses_whoever_wakes_it() {
    let (world, mut writer) = world(Options::all(Durability::Async));
    world.store.unfinished.store(2, Relaxed);
    world.archive.close().unwrap();
    for _ in 0..2 {
        let pause = idle(&world, &mut writer);
        assert_eq!(pause, 50 * MS);
        world.archive.close().unwrap();
        assert_eq!(idle(&world, &mut writer), 50 * MS);
        world.simulation.advance(pause);
    }
    assert!(matches!(writer.step(), Next::Ended(Ok(()))));
    assert!(world.store.is_finished.load(Relaxed));
}

#[test]
fn who_waits_for_a_flush_while_the_archive_closes_is_told_that_everything_is_stored() {
    for timeout in [5_000 * MS, Duration::MAX] {
        let (world, writer) = world(Options::all(Durability::Async));
        let room = world.archive.open("lobby", RoomOptions::new()).unwrap();
        room.publish("one".to_owned()).unwrap();
        let broker = world.broker.clone();
        let mut writer = Some(writer);
        *world.simulation.others.lock().unwrap() = Some(Box::new(move |now| {
            broker.close();
            while let Some(Next::Now | Next::Wait(_)) = writer.as_mut().map(BatchWriter::step) {}
            writer = None;
            Some(now + MS)
        }));
        world.archive.flush_within(timeout).unwrap();
        assert_eq!(world.store.commits(), [1]);
    }
}

#[test]
fn each_who_closes_is_told_how_it_ended_and_not_before() {
    for is_refused in [false, true] {
        let broker = Broker::<String>::builder().shards(1).capacity(64).build();
        let store = Arc::new(Memory::default());
        let kept = Arc::clone(&store) as Arc<dyn Store>;
        let archive = Archive::start_with(&broker, kept, Box::new(Text), Options::all(Durability::Stored)).unwrap();
        store.refusals.store(u32::MAX, Relaxed);
        archive.open("ledger", RoomOptions::new()).unwrap().publish("a debt".to_owned()).unwrap();
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..2).map(|_| scope.spawn(|| archive.close_within(Duration::MAX).is_ok())).collect();
            while !broker.is_closed() {
                std::thread::yield_now();
            }
            std::thread::sleep(20 * MS);
            assert!(others.iter().all(|other| !other.is_finished()), "nothing is stored");
            if !is_refused {
                store.refusals.store(0, Relaxed);
            }
            let timeout = if is_refused { MS } else { Duration::from_secs(60) };
            assert_eq!(archive.close_within(timeout).is_err(), is_refused);
            others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), !is_refused));
        });
        assert_eq!(archive.close().is_err(), is_refused, "whenever it is asked");
        assert_eq!(store.commits().is_empty(), is_refused);
    }
}

#[test]
fn a_room_that_cannot_be_read_keeps_no_other_from_its_retention() {
    let retention = |room: &str| Retention { messages_max: (room != "all").then_some(3), ..Retention::default() };
    let (world, mut writer) = world(Options::all(Durability::Async).retention(retention, || 0));
    *world.store.rooms.lock().unwrap() = vec!["a", "all", "b!", "c"];
    idle(&world, &mut writer);
    assert_eq!(*world.store.removed.lock().unwrap(), ["a 7", "c 7"]);
}

#[test]
fn a_flush_is_answered_however_much_is_published_meanwhile() {
    let (world, mut writer) = world(Options::all(Durability::Async).batch_messages_max(2));
    let rooms = ["lobby", "hall"].map(|room| world.archive.open(room, RoomOptions::new()).unwrap());
    for room in &rooms {
        (0..4).for_each(|n| assert_eq!(room.publish("before".to_owned()).unwrap(), n));
    }
    let busy = rooms[0].clone();
    *world.simulation.others.lock().unwrap() = Some(Box::new(move |now| {
        (0..2).for_each(|_| assert!(busy.publish("meanwhile".to_owned()).is_ok()));
        assert!(matches!(writer.step(), Next::Now), "it is behind");
        Some(now + MS)
    }));
    world.archive.flush_within(5_000 * MS).unwrap();
    assert!(
        rooms.iter().all(|room| world.archive.watermark(room).unwrap().stored() >= 4),
        "what came before is stored"
    );
}

/// A flush is over when what was published before it is stored, though the end of a room behind that is not read yet.
#[test]
fn a_room_that_has_just_ended_is_opened_again_however_much_is_published_meanwhile() {
    let (world, mut writer) = world(Options::all(Durability::Async).batch_messages_max(2));
    let rooms = ["lobby", "hall"].map(|room| world.archive.open(room, RoomOptions::new()).unwrap());
    for room in &rooms {
        (0..2).for_each(|n| assert_eq!(room.publish("before".to_owned()).unwrap(), n));
    }
    let [ended, busy] = rooms;
    let first = world.archive.watermark(&ended).unwrap();
    ended.close();
    let (watermark, is_ended) = (Arc::clone(&first), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&is_ended);
    *world.simulation.others.lock().unwrap() = Some(Box::new(move |now| {
        let mut seen = seen.lock().unwrap();
        // The first batch is what the lobby has, the second what the hall had when the first one was stored.
        let meanwhile = if seen.is_empty() { 0 } else { 2 };
        (0..meanwhile).for_each(|_| assert!(busy.publish("meanwhile".to_owned()).is_ok()));
        assert!(matches!(writer.step(), Next::Now), "it is behind");
        seen.push(watermark.is_complete());
        Some(now + MS)
    }));
    let again = world.archive.open("lobby", RoomOptions::new()).unwrap();
    assert!(first.is_complete() && again.is_running());
    assert_eq!(is_ended.lock().unwrap()[..3], [false, false, true], "the flush was over after the second");
}
