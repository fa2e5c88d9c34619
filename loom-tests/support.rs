//! Small rings, a bell that only counts, and the accounting rule.

use std::ops::RangeInclusive;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::message::Epoch;
use crate::ring::{Bell, Budget, Cursor, Geometry, Nothing, Refusal, Ring};
use crate::room::{Room, RoomCore, RoomRef, ShardInbox, Shared};

/// A bell that nobody waits at.
#[derive(Default)]
pub(crate) struct Silent;

impl Bell for Silent {
    fn committed(&self, _: u64, _: u64) {}
    fn disturbed(&self) {}
    fn may_evict(&self, _: u64) -> bool {
        true
    }
    fn retired(&self) {}
    fn drop_panicked(&self) {
        unreachable!("no message of the models panics");
    }
}

pub(crate) type TestRing<T> = Arc<Ring<T>>;

/// A ring of 2 segments with `slots` slots each.
pub(crate) fn ring<T>(slots: u64) -> TestRing<T> {
    Arc::new(Ring::new(Geometry::new(slots, 2), false, None))
}

pub(crate) fn publish<T>(ring: &Ring<T>, message: T) -> Result<u64, Refusal> {
    ring.publish(message, 0, &Silent).map_err(|(refusal, _)| refusal)
}

/// What rooms share when no shard is running: inboxes that only collect.
pub(crate) fn shared() -> Arc<Shared<u64>> {
    Arc::new(Shared {
        inboxes: [ShardInbox::new()].into(),
        start: None,
        clock: None,
        next_shard: crate::sync::AtomicU32::new(0),
        nobody: Default::default(),
    })
}

/// The inside of a room around a ring.
pub(crate) fn room_ref(name: &str, epoch: u64, ring: Ring<u64>, shared: Arc<Shared<u64>>) -> RoomRef<u64> {
    RoomRef(RoomCore::new(name, Epoch(epoch), 0, false, 0, ring, shared))
}

/// A room of 2 segments with `slots` slots each.
pub(crate) fn room(slots: u64) -> Room<u64> {
    Room::new(room_ref("model", 1, Ring::new(Geometry::new(slots, 2), false, None), shared()))
}

/// A budget of so many bytes, where a message weighs as many as it says.
pub(crate) fn budget(bytes_max: u64) -> std::sync::Arc<Budget<u64>> {
    std::sync::Arc::new(Budget::new(bytes_max, std::sync::Arc::new(|bytes: &u64| *bytes as usize)))
}

/// Runs a model with switches away from a thread that could go on: at most as many as the range begins with, and under
/// `make loom-full`, which sets `ROOMCAST_LOOM_MORE`, so many more, up to the range's end. That is what comes to an end
/// within minutes.
pub(crate) fn model(preemptions: RangeInclusive<usize>, run: impl Fn() + Sync + Send + 'static) {
    let preemptions = (preemptions.start() + more()).min(*preemptions.end());
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = executions.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        run();
    });
    let executions = executions.load(std::sync::atomic::Ordering::Relaxed);
    let name = std::thread::current().name().map_or("", |name| name.rsplit(':').next().unwrap_or(name)).to_string();
    println!("{name}: {executions} executions with up to {preemptions} preemptions");
    assert!(executions > 1, "the model has no race to explore");
}

/// By how much `make loom-full` goes beyond `make loom`: in preemptions, and in models that say so in size.
pub(crate) fn more() -> usize {
    std::env::var("ROOMCAST_LOOM_MORE").map_or(0, |more| more.parse().expect("a number"))
}

/// A reader that keeps the accounting rule.
pub(crate) struct Reader<T> {
    pub(crate) cursor: Cursor<T, TestRing<T>>,
    start: u64,
    pub(crate) received: u64,
    pub(crate) lagged: u64,
    last: Option<u64>,
}

impl<T: Copy + Into<u64>> Reader<T> {
    pub(crate) fn new(ring: &TestRing<T>, start: u64) -> Self {
        Self { cursor: Cursor::new(ring.clone(), start), start, received: 0, lagged: 0, last: None }
    }

    /// Reads one message; `None` when there is none now, `Err` when there will be none. Values equal their sequences
    /// where `ordered` models publish from one thread; in all models they come in sequence order, each once.
    pub(crate) fn read(&mut self) -> Result<Option<(u64, T)>, ()> {
        match self.cursor.look(1) {
            Ok(run) => {
                let run = self.cursor.take(run);
                let (sequence, message) = (run.first, run.messages[0]);
                self.received += 1;
                assert!(self.last.is_none_or(|last| last < sequence), "a sequence came twice or out of order");
                self.last = Some(sequence);
                self.account();
                Ok(Some((sequence, message)))
            }
            Err(Nothing::Lagged(missed)) => {
                assert!(missed > 0);
                self.lagged += missed;
                self.account();
                self.read()
            }
            Err(Nothing::Empty) => Ok(None),
            Err(Nothing::Closed) => Err(()),
        }
    }

    fn account(&self) {
        assert_eq!(self.received + self.lagged, self.cursor.next() - self.start, "the accounting rule");
    }
}

/// Counts how many of its kind are alive.
pub(crate) struct Counted(pub(crate) Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Relaxed);
        Self(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
