//! Publishers that stop between their claim and their commit, or between the two exchanges of an installation, while others
//! lap the ring a thousand times. A unit test of the library, because only there can a publisher be stopped
//! (`sync/stage.rs`).

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::sync::{Stage, stop_at};
use crate::{Accounting, Broker, Policy, PublishError, Room, Subscription, TryRecvError};

/// How long something that must happen may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

const LAPS: usize = 1_000;

/// Threads that lap the ring.
const LAPPERS: usize = 2;

/// A ring of 16: segments of 4, and 5 of them.
const CAPACITY: usize = 16;
const SLOTS: usize = 4;
const SEGMENTS: usize = 5;

/// Evicted segments that may wait for a shard.
const EVICTED_MAX: usize = 4;

/// How often each message was dropped.
struct Ledger {
    drops: Vec<AtomicU8>,
    made: AtomicUsize,
}

impl Ledger {
    fn new(messages: usize) -> Arc<Self> {
        Arc::new(Self { drops: (0..messages).map(|_| AtomicU8::new(0)).collect(), made: AtomicUsize::new(0) })
    }

    fn message(self: &Arc<Self>) -> Message {
        Message { id: self.made.fetch_add(1, SeqCst), ledger: self.clone() }
    }

    fn drops(&self, id: usize) -> u8 {
        self.drops[id].load(SeqCst)
    }

    /// Every message made was dropped, once.
    fn settle(&self) {
        let made = self.made.load(SeqCst);
        eventually("every message is dropped", || (0..made).all(|id| self.drops(id) == 1));
    }
}

struct Message {
    id: usize,
    ledger: Arc<Ledger>,
}

/// Another message: who replaces others makes clones of those beside them.
impl Clone for Message {
    fn clone(&self) -> Self {
        self.ledger.message()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        assert_eq!(self.ledger.drops[self.id].fetch_add(1, SeqCst), 0, "message {} was dropped twice", self.id);
    }
}

#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::yield_now();
    }
}

/// A publisher that is stopped at a stage.
struct Suspended {
    id: usize,
    resume: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Suspended {
    /// Publishes on a thread of its own; returns when that has stopped.
    fn at(stage: Stage, room: &Room<Message>, ledger: &Arc<Ledger>) -> Self {
        let (stopped, has_stopped) = mpsc::channel();
        let (resume, resumed) = mpsc::channel();
        let (room, message) = (room.clone(), ledger.message());
        let id = message.id;
        let thread = thread::spawn(move || {
            stop_at(stage, move || {
                stopped.send(()).expect("the test waits");
                resumed.recv().expect("the test resumes it");
            });
            room.publish(message).map_err(|refused| refused.to_string()).expect("its room is open")
        });
        has_stopped.recv_timeout(PATIENCE).expect("it comes to its stage");
        Self { id, resume, thread }
    }

    /// Lets it go on; returns its sequence.
    fn resume(self) -> u64 {
        self.resume.send(()).expect("it waits");
        self.thread.join().expect("it publishes")
    }
}

fn room() -> (Broker<Message>, Room<Message>) {
    let broker = Broker::builder().capacity(CAPACITY).shards(1).build();
    let room = broker.room("lobby").expect("a name");
    assert_eq!(
        (room.room_ref.ring().shape().slots(), room.room_ref.ring().shape().segments()),
        (SLOTS as u64, SEGMENTS as u64)
    );
    (broker, room)
}

fn publish(room: &Room<Message>, ledger: &Arc<Ledger>, count: usize) {
    for _ in 0..count {
        assert!(room.publish(ledger.message()).is_ok());
    }
}

/// Some threads lap the ring between them, and are done.
fn lap(room: &Room<Message>, ledger: &Arc<Ledger>, laps: usize) {
    thread::scope(|scope| {
        for _ in 0..LAPPERS {
            scope.spawn(|| publish(room, ledger, laps * SLOTS * SEGMENTS / LAPPERS));
        }
    });
}

/// Fills the newest segment to its end.
fn fill(room: &Room<Message>, ledger: &Arc<Ledger>) {
    while !room.tail().is_multiple_of(SLOTS as u64) {
        publish(room, ledger, 1);
    }
}

/// Reads until the end, or until it is disconnected, and checks what it was given.
fn read(mut subscription: Subscription<Message>) -> Accounting {
    let (mut received, mut lagged, mut last) = (0, 0, None);
    loop {
        match subscription.try_recv_batch(3) {
            Ok(batch) => {
                for (sequence, _, message) in batch.iter() {
                    assert!(last < Some(sequence), "a sequence came twice or out of order");
                    assert_eq!(message.ledger.drops(message.id), 0, "it was read after its drop");
                    last = Some(sequence);
                    received += 1;
                }
            }
            Err(TryRecvError::Lagged(missed)) => lagged += missed,
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(TryRecvError::Disconnected(missed)) => {
                lagged += missed;
                break;
            }
            Err(TryRecvError::Closed(_)) => break,
        }
    }
    let account = subscription.accounting();
    assert_eq!((account.received, account.lagged), (received, lagged));
    assert_eq!(account.received + account.lagged + account.conflated, account.end - account.start, "the rule");
    account
}

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicU32);

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), Waker::from(wakes))
    }

    fn count(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn is_asleep(subscription: &mut Subscription<Message>, waker: &Waker) -> bool {
    subscription.poll_readable(&mut Context::from_waker(waker)).is_pending()
}

/// Stops several publishers, has the others lap the ring, resumes the stopped ones in the order given, and laps once more.
fn laps_around(stage: Stage, stopped: usize, resume_last_first: bool) {
    let ledger = Ledger::new(2 * LAPS * SLOTS * SEGMENTS);
    let (broker, room) = room();
    let policies = [Policy::Lag, Policy::Latest, Policy::Disconnect];
    let readers: Vec<_> = policies
        .map(|policy| room.subscribe().policy(policy).now().expect("it is open"))
        .map(|subscription| thread::spawn(move || read(subscription)))
        .into();
    let mut suspended = Vec::new();
    for _ in 0..stopped {
        // Each in a segment of its own, at the first slot; or where the next segment is due.
        fill(&room, &ledger);
        suspended.push(Suspended::at(stage, &room, &ledger));
        publish(&room, &ledger, SLOTS);
    }
    lap(&room, &ledger, LAPS);
    assert!(suspended.iter().all(|suspended| !suspended.thread.is_finished()), "the others did not wait for them");
    let dropped = suspended.iter().map(|suspended| ledger.drops(suspended.id)).max();
    assert_eq!(dropped, Some(0), "what is not committed is not dropped");
    // One segment for each publisher that is stopped, and otherwise what a ring needs: what is in the directory and in limbo,
    // two for each who publishes (where it was interrupted, and what it is about to install), two for each reader (where it
    // stands, and where it came too late), one for the shard.
    let stats = room.stats();
    let bound = SEGMENTS + EVICTED_MAX + stopped + 2 * LAPPERS + 2 * readers.len() + 1;
    assert!(stats.segments <= bound, "{stats:?}, {stopped} publishers are stopped");
    let ids: Vec<_> = suspended.iter().map(|suspended| suspended.id).collect();
    if resume_last_first {
        suspended.reverse();
    }
    let mut sequences: Vec<_> = suspended.into_iter().map(Suspended::resume).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), stopped, "each has a sequence of its own");
    lap(&room, &ledger, 20);
    assert!(room.stats().segments <= bound, "{:?}", room.stats());
    room.close();
    let tail = room.tail();
    assert_eq!(tail, ledger.made.load(SeqCst) as u64, "every claim is a message");
    for (policy, reader) in policies.into_iter().zip(readers) {
        let account = reader.join().expect("it reads to its end");
        assert!(account.end == tail || policy == Policy::Disconnect, "{policy:?}: {account:?} of {tail}");
    }
    eventually("what was committed late is dropped in time", || {
        // The last lap has evicted it; the shard, or who rotates, drops it.
        ids.iter().all(|id| ledger.drops(*id) == 1) || stage == Stage::Installed
    });
    drop((room, broker));
    ledger.settle();
}

#[test]
fn a_publisher_stopped_before_its_commit_costs_nobody_anything() {
    laps_around(Stage::Claimed, 1, false);
}

#[test]
fn several_stopped_before_their_commit_resume_in_any_order() {
    laps_around(Stage::Claimed, 4, false);
    laps_around(Stage::Claimed, 4, true);
}

#[test]
fn what_a_stopped_installer_began_others_finish() {
    laps_around(Stage::Installed, 1, false);
}

#[test]
fn several_stopped_installers_resume_in_any_order() {
    laps_around(Stage::Installed, 4, false);
    laps_around(Stage::Installed, 4, true);
}

/// As many as there are slots in a segment, all in the same one: it cannot be reused before the last has committed.
#[test]
fn a_segment_waits_for_the_last_of_its_publishers() {
    let ledger = Ledger::new(20 * SLOTS * SEGMENTS);
    let (broker, room) = room();
    let mut suspended: Vec<_> = (0..SLOTS).map(|_| Suspended::at(Stage::Claimed, &room, &ledger)).collect();
    let ids: Vec<_> = suspended.iter().map(|suspended| suspended.id).collect();
    lap(&room, &ledger, 4);
    while let Some(one) = suspended.pop() {
        let dropped: u8 = ids.iter().map(|id| ledger.drops(*id)).sum();
        assert_eq!(dropped, 0, "dropped although {} are not committed", suspended.len() + 1);
        assert!(one.resume() < SLOTS as u64);
        lap(&room, &ledger, 2);
    }
    eventually("all are dropped", || {
        publish(&room, &ledger, 1);
        thread::sleep(Duration::from_millis(1));
        ids.iter().all(|id| ledger.drops(*id) == 1) || ledger.made.load(SeqCst) + 1 >= ledger.drops.len()
    });
    assert!(ids.iter().all(|id| ledger.drops(*id) == 1));
    assert_eq!(room.stats().segments_pinned, 0);
    drop((room, broker));
    ledger.settle();
}

/// A rewriter stops between the two exchanges of a copy while others publish, or lap the ring, in a segment that was full when it was
/// copied, or was not. What it has put there is read, or evicted, as all else; and each message is dropped, once.
#[test]
fn a_rewriter_that_is_stopped_costs_nobody_anything() {
    for (published, laps) in [(1, 0), (1, 1), (1, 20), (SLOTS, 0), (SLOTS, 1), (SLOTS, 20)] {
        let ledger = Ledger::new(1_000);
        let (broker, room) = room();
        let reader = room.subscribe().now().expect("it is open");
        publish(&room, &ledger, published);
        let (of, others) = (room.clone(), ledger.clone());
        stop_at(Stage::Copied, move || {
            publish(&of, &others, 1);
            publish(&of, &others, laps * SLOTS * SEGMENTS);
        });
        let rewritten = room.rewrite(0..1, |_, message| Some(message.clone())).expect("it is shared");
        assert_eq!(rewritten.messages, u64::from(laps == 0), "{published} messages, lapped {laps} times");
        publish(&room, &ledger, 2 * SLOTS * SEGMENTS);
        eventually("the old message is dropped", || {
            room.rewrite(0..1, |_, _| None).is_some_and(|rewritten| rewritten.is_done) && ledger.drops(0) == 1
        });
        // Of one publisher at a time; several would each have a segment of their own on the way in, and on the way out.
        assert!(room.stats().segments <= SEGMENTS + EVICTED_MAX + 3, "{:?}", room.stats());
        room.close();
        assert_eq!(read(reader).end, room.tail(), "{published} messages, lapped {laps} times");
        drop((room, broker));
        ledger.settle();
    }
}

/// Some replace messages while others publish and read: every reader is given each message that was not evicted, once.
#[test]
fn messages_are_replaced_under_publishers_and_readers() {
    let ledger = Ledger::new(100_000);
    let (broker, room) = room();
    let readers: Vec<_> = [Policy::Lag, Policy::Block, Policy::Latest]
        .map(|policy| room.subscribe().policy(policy).now().expect("it is open"))
        .into_iter()
        .map(|subscription| thread::spawn(move || read(subscription)))
        .collect();
    thread::scope(|scope| {
        for _ in 0..LAPPERS {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let refused = |refused: PublishError<Message>| refused.to_string();
                    room.publish_blocking(ledger.message()).map_err(refused).expect("it is open");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while room.tail() < 4_000 && ledger.made.load(SeqCst) < 90_000 {
                    let tail = room.tail();
                    room.rewrite(tail.saturating_sub(8)..tail, |sequence, message| {
                        sequence.is_multiple_of(3).then(|| message.clone())
                    });
                    thread::yield_now();
                }
            });
        }
    });
    room.close();
    for reader in readers {
        assert_eq!(reader.join().expect("it reads to its end").end, 4_000);
    }
    assert_eq!(room.tail(), 4_000);
    drop((room, broker));
    ledger.settle();
}

/// A reader asleep at a hole is not woken by what is committed beyond it, and is told when the hole is evicted.
#[test]
fn a_reader_asleep_at_a_hole_is_told_when_it_is_evicted() {
    let ledger = Ledger::new(100);
    let (broker, room) = room();
    let mut reader = room.subscribe().now().expect("it is open");
    let suspended = Suspended::at(Stage::Claimed, &room, &ledger);
    let (wakes, waker) = Wakes::new();
    assert!(is_asleep(&mut reader, &waker));
    publish(&room, &ledger, SLOTS * SEGMENTS - 1);
    assert_eq!(wakes.count(), 0, "nobody has come to the hole's segment yet");
    publish(&room, &ledger, 1);
    assert_eq!(wakes.count(), 1, "its segment was replaced");
    assert_eq!(reader.try_recv_ref().err(), Some(TryRecvError::Lagged(SLOTS as u64)));
    assert_eq!(reader.try_recv_ref().map(|message| message.sequence()).ok(), Some(SLOTS as u64));
    assert_eq!(suspended.resume(), 0);
    drop((reader, room, broker));
    ledger.settle();
}

/// A handler that begins at the hole waits for it, and its shard sleeps meanwhile.
#[test]
fn a_handler_that_begins_at_a_hole_lets_its_shard_sleep() {
    a_handler_waits_at_a_hole(|_| ());
}

/// Nor does the end of the room wake the shard again and again: the end is said behind what was claimed before it.
#[test]
fn a_handler_at_a_hole_of_a_closed_room_lets_its_shard_sleep() {
    a_handler_waits_at_a_hole(|room| assert!(room.close()));
}

fn a_handler_waits_at_a_hole(meanwhile: impl Fn(&Room<Message>)) {
    let ledger = Ledger::new(100);
    let (broker, room) = room();
    let suspended = Suspended::at(Stage::Claimed, &room, &ledger);
    publish(&room, &ledger, 2);
    let (seen, handled) = mpsc::channel();
    let handler = move |message: crate::Ref<'_, Message>| {
        let _ = seen.send(message.sequence());
    };
    let served = futures::executor::block_on(room.subscribe_with_from(crate::Start::Oldest, handler));
    let served = served.expect("the room is open");
    meanwhile(&room);
    let runs = || broker.stats().shards[0].handler_runs;
    // What is under way is served first.
    thread::sleep(Duration::from_millis(20));
    let before = runs();
    thread::sleep(Duration::from_millis(50));
    assert!(runs() <= before + 10, "it ran {} times for nothing", runs() - before);
    assert!(served.is_running(), "it has not seen the end yet");
    assert_eq!(suspended.resume(), 0);
    let sequences: Vec<_> = (0..3).map(|_| handled.recv_timeout(PATIENCE).expect("it is called")).collect();
    assert_eq!(sequences, [0, 1, 2]);
    if room.ended().is_some() {
        eventually("the handler goes with its room", || !served.is_running());
    }
    drop((served, room, broker));
    ledger.settle();
}

/// The installer who would have told it is stopped as well: whoever installs the next segment tells it.
#[test]
fn a_reader_asleep_at_a_hole_is_told_although_the_installer_is_stopped() {
    let ledger = Ledger::new(100);
    let (broker, room) = room();
    let mut reader = room.subscribe().now().expect("it is open");
    let holder = Suspended::at(Stage::Claimed, &room, &ledger);
    let (wakes, waker) = Wakes::new();
    assert!(is_asleep(&mut reader, &waker));
    publish(&room, &ledger, SLOTS * SEGMENTS - 1);
    let installer = Suspended::at(Stage::Installed, &room, &ledger);
    publish(&room, &ledger, SLOTS);
    assert_eq!(wakes.count(), 0, "the others have adopted the segment, and rung for nobody");
    publish(&room, &ledger, 1);
    assert_eq!(wakes.count(), 1);
    assert!(matches!(reader.try_recv_ref(), Err(TryRecvError::Lagged(missed)) if missed >= SLOTS as u64));
    assert!(installer.resume() > 0);
    assert_eq!(holder.resume(), 0);
    let account = reader.accounting();
    assert_eq!(account.received + account.lagged, account.end - account.start);
    drop((reader, room, broker));
    ledger.settle();
}

/// A reader that blocks cannot pass the hole: publishers are refused at once, and go on when it is filled.
#[test]
fn a_blocking_reader_at_a_hole() {
    let ledger = Ledger::new(200);
    let (broker, room) = room();
    let mut reader = room.subscribe().policy(Policy::Block).now().expect("it is open");
    let suspended = Suspended::at(Stage::Claimed, &room, &ledger);
    let mut taken = 1;
    let back = loop {
        match room.publish(ledger.message()) {
            Ok(_) => taken += 1,
            Err(PublishError::Full(back)) => break back,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(taken, SLOTS * SEGMENTS);
    assert_eq!(reader.try_recv_ref().err(), Some(TryRecvError::Empty));
    let (wakes, waker) = Wakes::new();
    let mut waiting = Box::pin(room.publish_wait(back));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    suspended.resume();
    for sequence in 0..=SLOTS as u64 {
        assert_eq!(reader.try_recv_ref().map(|message| message.sequence()).ok(), Some(sequence));
    }
    assert_eq!(wakes.count(), 1, "the first segment was read");
    let Poll::Ready(Ok(sequence)) = waiting.as_mut().poll(&mut Context::from_waker(&waker)) else {
        panic!("there is room")
    };
    assert_eq!(sequence, taken as u64);
    drop((waiting, reader));
    drop((room, broker));
    ledger.settle();
}

/// The end is said when what was claimed before it is committed, not earlier.
#[test]
fn a_close_while_one_is_stopped() {
    let ledger = Ledger::new(10);
    let (broker, room) = room();
    let mut reader = room.subscribe().now().expect("it is open");
    let suspended = Suspended::at(Stage::Claimed, &room, &ledger);
    publish(&room, &ledger, 1);
    room.close();
    assert_eq!((room.tail(), reader.try_recv_ref().err()), (2, Some(TryRecvError::Empty)));
    let (wakes, waker) = Wakes::new();
    assert!(is_asleep(&mut reader, &waker));
    assert_eq!(suspended.resume(), 0);
    assert_eq!(wakes.count(), 1);
    assert!(reader.try_recv_ref().is_ok() && reader.try_recv_ref().is_ok());
    assert!(matches!(reader.try_recv_ref(), Err(TryRecvError::Closed(_))));
    drop((reader, room, broker));
    ledger.settle();
}

/// Times never fall along the sequences, although a publisher sleeps with the oldest time of all.
#[test]
fn times_do_not_fall_behind_a_stopped_publisher() {
    let ledger = Ledger::new(20 * SLOTS * SEGMENTS);
    let now = Arc::new(AtomicU32::new(0));
    let clock = move || u64::from(now.fetch_add(1, SeqCst));
    let broker = Broker::<Message>::builder().capacity(CAPACITY).shards(1).clock(clock).build();
    let room = broker.room("lobby").expect("a name");
    let mut reader = room.subscribe().now().expect("it is open");
    let begin = Barrier::new(3);
    for _ in 0..5 {
        let suspended = Suspended::at(Stage::Claimed, &room, &ledger);
        publish(&room, &ledger, 3);
        suspended.resume();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    begin.wait();
                    publish(&room, &ledger, 4);
                });
            }
            begin.wait();
        });
        let mut last = 0;
        let mut received = 0;
        while let Ok(message) = reader.try_recv_ref() {
            let time = message.time().expect("the room has a clock");
            assert!(time >= last, "time {time} after {last} at {}", message.sequence());
            last = time;
            received += 1;
        }
        assert_eq!(received, 12);
    }
    drop((reader, room, broker));
    ledger.settle();
}
