//! Running a scenario under many schedules, rooms of any shape with their shards, and readers that check what they read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

use super::ledger::{self, Message};
use crate::message::Epoch;
use crate::ring::{Budget, Geometry, Ring, Writer};
use crate::room::{RoomCore, RoomRef, ShardInbox, Shared};
use crate::shard::Shard;
use crate::sync::{AtomicU32, JoinHandle, spawn_named, spin_loop};
use crate::{Accounting, Batch, Policy, Publisher, RecvError, Room, Subscription, TryRecvError};

/// Schedules of each kind when the environment says nothing.
const SCHEDULES: usize = 500;

/// Switches away from a thread that could go on, in a schedule of the second kind.
const SWITCHES: usize = 3;

/// Steps after which a scenario counts as endless; the longest here takes a tenth.
const STEPS_MAX: usize = 500_000;

std::thread_local! {
    /// What has come about in some execution.
    static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Notes that an execution came to something that the scenario is about.
pub(crate) fn reached(what: &'static str) {
    REACHED.with_borrow_mut(|reached| reached.insert(what));
}

/// Runs a scenario under many schedules: `ROOMCAST_SHUTTLE_SCHEDULES` of each kind. With a schedule that a failure has
/// printed in `ROOMCAST_SHUTTLE_REPLAY`, under that one. Fails if no schedule came to one of the things `wanted`.
#[track_caller]
pub(crate) fn explore(name: &str, wanted: &[&str], scenario: fn()) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let run = move || {
        counted.fetch_add(1, Relaxed);
        ledger::open();
        scenario();
        ledger::settle();
    };
    if let Ok(schedule) = env::var("ROOMCAST_SHUTTLE_REPLAY") {
        return shuttle::replay(run, &schedule);
    }
    let schedules = env::var("ROOMCAST_SHUTTLE_SCHEDULES")
        .map_or(SCHEDULES, |schedules| schedules.parse().expect("ROOMCAST_SHUTTLE_SCHEDULES is a number"));
    Runner::new(RandomScheduler::new(schedules), config()).run(run.clone());
    Runner::new(PctScheduler::new(SWITCHES, schedules), config()).run(run);
    assert_eq!(executions.load(Relaxed), 2 * schedules);
    for what in wanted {
        assert!(REACHED.with_borrow(|reached| reached.contains(what)), "no schedule of {name} came to: {what}");
    }
    eprintln!("{name}: {} schedules", 2 * schedules);
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

/// A number drawn by the scheduler, so that a replay draws it again.
pub(crate) fn draw(range: std::ops::RangeInclusive<u32>) -> u32 {
    thread_rng().gen_range(range)
}

/// What a broker is to rooms: shards that run, and what rooms share. Unlike a broker's, its rooms have any shape, and its
/// shards are tasks, which sleep without looking around before.
pub(crate) struct Rig {
    shared: Arc<Shared<Message>>,
    threads: Vec<JoinHandle>,
}

impl Rig {
    pub(crate) fn new(shards: usize) -> Self {
        let shared = Arc::new(Shared {
            inboxes: (0..shards.max(1)).map(|_| ShardInbox::new()).collect(),
            start: None,
            clock: None,
            next_shard: AtomicU32::new(0),
            nobody: Default::default(),
        });
        let start = |inbox: &Arc<ShardInbox<Message>>| {
            let shard = Shard::new(inbox.clone(), Arc::as_ptr(&shared) as usize);
            spawn_named("shard".to_owned(), move || run_as_task(shard)).expect("a thread of shuttle's starts")
        };
        let threads = shared.inboxes.iter().take(shards).map(start).collect();
        Self { shared, threads }
    }

    fn room_ref(&self, ring: Ring<Message>) -> RoomRef<Message> {
        RoomRef(RoomCore::new("scenario", Epoch(1), 0, false, 0, ring, self.shared.clone()))
    }

    /// A room of so many segments with so many slots.
    pub(crate) fn room(&self, slots: u32, segments: u32) -> Room<Message> {
        Room::new(self.room_ref(Ring::new(shape(slots, segments), false, None)))
    }

    /// The same, with at most so many bytes; a message weighs its number plus one.
    pub(crate) fn room_of_bytes(&self, slots: u32, segments: u32, bytes: u64) -> Room<Message> {
        let budget = Budget::new(bytes, Arc::new(|message: &Message| message.read().1 as usize + 1));
        Room::new(self.room_ref(Ring::new(shape(slots, segments), false, Some(Arc::new(budget)))))
    }

    /// The one publisher of an exclusive room.
    pub(crate) fn exclusive(&self, slots: u32, segments: u32) -> Publisher<Message> {
        Publisher::new(Writer::new(self.room_ref(Ring::new_exclusive(shape(slots, segments), false, None))))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shared.inboxes.iter().for_each(|inbox| inbox.stop());
        self.threads.drain(..).for_each(|thread| thread.join().expect("a shard does not panic"));
        // A shard says this itself; without one, what was left for it would keep its room.
        self.shared.inboxes.iter().for_each(|inbox| inbox.finish());
    }
}

/// Polls a shard when it was woken, and lets the others go on before: a shard that has more to do wakes itself, and one of
/// the two strategies would let it do so for ever.
fn run_as_task(shard: Shard<Message>) {
    let mut shard = pin!(shard);
    crate::sync::block_on(std::future::poll_fn(|context| {
        spin_loop();
        shard.as_mut().poll(context)
    }));
}

fn shape(slots: u32, segments: u32) -> Geometry {
    Geometry::new(u64::from(slots), u64::from(segments))
}

/// Publishes so many, each of which must be taken.
pub(crate) fn publish(room: &Room<Message>, publisher: u32, count: u32) {
    for number in 0..count {
        room.publish(Message::new(publisher, number)).expect("nobody closes or blocks it");
    }
}

/// What a reader has seen.
#[derive(Default)]
pub(crate) struct Seen {
    last: Option<u64>,
    numbers: BTreeMap<u32, u32>,
    /// Which message was at each sequence.
    pub(crate) places: BTreeMap<u64, (u32, u32)>,
    /// How many of them were put in the place of another.
    pub(crate) others: u64,
    pub(crate) received: u64,
    pub(crate) lagged: u64,
}

impl Seen {
    /// Checks a run of messages: sequences rise, and so do the numbers of each publisher.
    pub(crate) fn take(&mut self, batch: &Batch<'_, Message>) {
        assert!(!batch.is_empty(), "a batch holds something");
        for (sequence, _, message) in batch.iter() {
            assert!(self.last < Some(sequence), "a sequence came twice or out of order");
            self.last = Some(sequence);
            let (publisher, number) = message.read();
            self.places.insert(sequence, (publisher, number));
            self.others += u64::from(message.is_other());
            let before = self.numbers.insert(publisher, number);
            assert!(before < Some(number), "the messages of one publisher came out of order");
            self.received += 1;
        }
    }

    /// Checks the accounting rule.
    pub(crate) fn check(&self, account: Accounting) {
        assert_eq!(
            (self.received, self.lagged),
            (account.received, account.lagged),
            "what was said is what is counted"
        );
        assert_eq!(
            account.received + account.lagged + account.conflated,
            account.end - account.start,
            "the accounting rule"
        );
    }
}

/// A subscription that is read to the end of its room.
pub(crate) struct Reader {
    pub(crate) subscription: Subscription<Message>,
    pub(crate) seen: Seen,
}

impl Reader {
    pub(crate) fn new(room: &Room<Message>, policy: Policy) -> Self {
        Self { subscription: room.subscribe().policy(policy).now().expect("the room is open"), seen: Seen::default() }
    }

    /// Reads what is there now, up to so many; false at the end.
    pub(crate) fn look(&mut self, max: usize) -> bool {
        match self.subscription.try_recv_batch(max) {
            Ok(batch) => self.seen.take(&batch),
            Err(TryRecvError::Lagged(missed)) => self.seen.lagged += missed,
            Err(TryRecvError::Empty) => shuttle::thread::yield_now(),
            Err(TryRecvError::Disconnected(missed)) => {
                self.seen.lagged += missed;
                return false;
            }
            Err(_) => return false,
        }
        true
    }

    /// Waits for the next messages, up to so many; false at the end.
    pub(crate) fn wait(&mut self, max: usize) -> bool {
        match block_on(self.subscription.recv_batch(max)) {
            Ok(batch) => self.seen.take(&batch),
            Err(RecvError::Lagged(missed)) => self.seen.lagged += missed,
            Err(RecvError::Disconnected(missed)) => {
                self.seen.lagged += missed;
                return false;
            }
            Err(_) => return false,
        }
        true
    }

    /// Waits for everything up to the end and checks it.
    pub(crate) fn wait_to_end(mut self, max: usize) -> Accounting {
        while self.wait(max) {}
        self.finish()
    }

    pub(crate) fn finish(self) -> Accounting {
        let account = self.subscription.accounting();
        self.seen.check(account);
        if account.lagged > 0 {
            reached("a reader lagged");
        }
        account
    }
}
