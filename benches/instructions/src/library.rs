//! What is counted of the library: things done a number of times, in one thread that nobody disturbs.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use roomcast::{Broker, Room, Subscription};

/// Messages published before readers drain them.
const BURST: u64 = 64;

/// Messages of a batch.
const BATCH: u64 = 16;

/// Readers beside the first, whose cost is what more readers cost.
const READERS: usize = 100;

/// Something that is counted.
pub(crate) struct Row {
    /// Names it, in the report and for `count`.
    pub(crate) name: &'static str,
    /// Does it so many times.
    run: fn(u64),
    /// Does the same without what is counted, where something has to be taken off.
    without: Option<fn(u64)>,
    /// What is counted happens so many times each time.
    pub(crate) operations: u64,
}

/// The rows, in the order of the report.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "publish, one reader behind", run: publish, without: None, operations: BURST },
    Row { name: "publish exclusive, one reader behind", run: publish_exclusive, without: None, operations: BURST },
    Row { name: "publish exclusive, batches of 16", run: publish_batches, without: None, operations: BURST },
    Row { name: "receive by reference", run: receive, without: Some(publish_read), operations: EACH },
    Row { name: "receive a clone", run: receive_clones, without: Some(publish_read_clones), operations: EACH },
    Row { name: "receive slices", run: receive_slices, without: Some(publish_read_slices), operations: EACH },
    Row { name: "receive by reference, polled", run: receive_polled, without: Some(publish_polled), operations: EACH },
    Row { name: "find nothing", run: find_nothing, without: None, operations: BURST },
    Row { name: "subscribe and drop", run: subscribe, without: None, operations: BURST },
];

const EACH: u64 = READERS as u64 * BURST;

impl Row {
    /// Does it so many times, or the same without what is counted.
    pub(crate) fn run(&self, counted: bool, times: u64) -> Option<()> {
        let run = if counted { Some(self.run) } else { self.without };
        run.map(|run| run(times))
    }

    /// Whether something has to be taken off.
    pub(crate) fn has_more(&self) -> bool {
        self.without.is_some()
    }
}

fn open() -> (Broker<u64>, Room<u64>, Subscription<u64>) {
    let broker = Broker::new();
    let room = broker.room("counted").expect("a new broker has space");
    let reader = room.subscribe().now().expect("the room is open");
    (broker, room, reader)
}

fn publish(times: u64) {
    let (_broker, room, reader) = open();
    for message in 0..times * BURST {
        room.publish(black_box(message)).expect("the room is open");
    }
    drop(black_box(reader));
}

fn publish_exclusive(times: u64) {
    let broker = Broker::<u64>::new();
    let mut publisher = broker.exclusive("counted").expect("a new broker has space");
    let reader = publisher.room().subscribe().now().expect("the room is open");
    for message in 0..times * BURST {
        publisher.publish(black_box(message)).expect("the room is open");
    }
    drop(black_box(reader));
}

fn publish_batches(times: u64) {
    let broker = Broker::<u64>::new();
    let mut publisher = broker.exclusive("counted").expect("a new broker has space");
    let reader = publisher.room().subscribe().now().expect("the room is open");
    for batch in 0..times * BURST / BATCH {
        publisher.publish_all(black_box(batch)..batch + BATCH).expect("the room is open");
    }
    drop(black_box(reader));
}

fn bursts(times: u64, readers: usize, mut drain: impl FnMut(&mut Subscription<u64>)) {
    let (_broker, room, first) = open();
    let more = (1..readers).map(|_| room.subscribe().now().expect("the room is open"));
    let mut readers: Vec<_> = [first].into_iter().chain(more).collect();
    for _ in 0..times {
        for message in 0..BURST {
            room.publish(black_box(message)).expect("the room is open");
        }
        readers.iter_mut().for_each(&mut drain);
    }
    for reader in &readers {
        assert_eq!(reader.accounting().received, times * BURST, "everything was read");
    }
}

fn by_reference(reader: &mut Subscription<u64>) {
    while let Ok(message) = reader.try_recv_ref() {
        black_box(*message);
    }
}

fn by_clones(reader: &mut Subscription<u64>) {
    while let Ok(message) = reader.try_recv() {
        black_box(message);
    }
}

fn by_slices(reader: &mut Subscription<u64>) {
    while let Ok(batch) = reader.try_recv_batch(usize::MAX) {
        black_box(&batch[..]);
    }
}

/// The task of an executor, which polls again anyway.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// A burst is polled for, message by message; nothing is polled for when there is none, that would be a parking.
fn by_polls(reader: &mut Subscription<u64>) {
    // Not the one that wakes nobody: whoever polls with it is no task of an executor.
    let waker = Waker::from(Arc::new(Task));
    let mut context = Context::from_waker(&waker);
    for _ in 0..BURST {
        // Who has polled long enough is asked to come back.
        let mut poll =
            || pin!(reader.recv_ref()).poll(&mut context).map(|message| black_box(*message.expect("published")));
        while poll().is_pending() {}
    }
}

fn receive(times: u64) {
    bursts(times, 1 + READERS, by_reference);
}

fn publish_read(times: u64) {
    bursts(times, 1, by_reference);
}

fn receive_clones(times: u64) {
    bursts(times, 1 + READERS, by_clones);
}

fn publish_read_clones(times: u64) {
    bursts(times, 1, by_clones);
}

fn receive_slices(times: u64) {
    bursts(times, 1 + READERS, by_slices);
}

fn publish_read_slices(times: u64) {
    bursts(times, 1, by_slices);
}

fn receive_polled(times: u64) {
    bursts(times, 1 + READERS, by_polls);
}

fn publish_polled(times: u64) {
    bursts(times, 1, by_polls);
}

fn find_nothing(times: u64) {
    let (_broker, room, mut reader) = open();
    room.publish(1).expect("the room is open");
    by_reference(&mut reader);
    for _ in 0..times * BURST {
        assert!(black_box(reader.try_recv_ref()).is_err(), "there is nothing");
    }
}

fn subscribe(times: u64) {
    let (_broker, room, _reader) = open();
    for _ in 0..times * BURST {
        drop(black_box(room.subscribe().now().expect("the room is open")));
    }
}
