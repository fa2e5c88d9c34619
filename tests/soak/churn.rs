//! Everything at once: publishers, readers of every policy, handlers, sets, patterns and removals, with messages that are
//! calm or hostile. In the end every message was dropped once and everybody has accounted for what they read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use roomcast::Broker;

use crate::dice::Dice;
use crate::guests;
use crate::message::{Message, ROOMS, Stage, bear, name};
use crate::pace::{Run, count};
use crate::watch::Watch;

/// How long what shards and other threads are still doing may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

const PUBLISHERS: u64 = 2;

#[test]
fn calm_messages_under_churn() {
    churn("churn with calm messages", false, count("CHURN_SECONDS", 2, 180));
}

#[test]
fn hostile_messages_under_churn() {
    churn("churn with hostile messages, handlers and wakers", true, count("HOSTILE_SECONDS", 3, 240));
}

fn churn(what: &'static str, hostile: bool, seconds: u64) {
    let run = Run::new(what);
    let seed = Dice::seed();
    let broker = Broker::<Message>::builder().capacity(64).shards(2).rooms_max(64).build();
    let stage = Stage::new(&broker);
    let stop = Arc::new(AtomicBool::new(false));
    let (published, received, removed) = (counter(), counter(), counter());
    let mut watch = Watch::default();
    for thread in 0..PUBLISHERS {
        let (broker, stage, stop, published) = (broker.clone(), stage.clone(), stop.clone(), published.clone());
        watch.spawn("publishing", move |steps| {
            let mut dice = Dice::new(seed, thread);
            while !stop.load(SeqCst) {
                let message = stage.message(&mut dice, hostile);
                // Refused because a reader blocks, it comes back and is dropped here.
                match bear(|| broker.publish(&name(dice.roll(ROOMS)), message).is_ok()) {
                    Some(true) => published.fetch_add(1, SeqCst),
                    _ => {
                        thread::yield_now();
                        0
                    }
                };
                steps.count();
            }
        });
    }
    for thread in 10..12 {
        let (broker, stop, received) = (broker.clone(), stop.clone(), received.clone());
        watch.spawn("reading", move |steps| {
            let mut dice = Dice::new(seed, thread);
            while !stop.load(SeqCst) {
                received.fetch_add(guests::reader(&broker, &mut dice, hostile), SeqCst);
                steps.count();
            }
        });
    }
    let (their_broker, their_stage, their_stop) = (broker.clone(), stage.clone(), stop.clone());
    watch.spawn("handling", move |steps| {
        let mut dice = Dice::new(seed, 20);
        while !their_stop.load(SeqCst) {
            guests::handler(&their_broker, &their_stage, &mut dice, hostile);
            guests::many(&their_broker, &mut dice, hostile);
            steps.count();
        }
    });
    let (their_broker, their_stage, their_stop, count) = (broker.clone(), stage.clone(), stop.clone(), removed.clone());
    watch.spawn("removing", move |steps| {
        let mut dice = Dice::new(seed, 30);
        while !their_stop.load(SeqCst) {
            thread::sleep(Duration::from_millis(1));
            count.fetch_add(u64::from(their_broker.remove(&name(dice.roll(ROOMS)))), SeqCst);
            exclusively(&their_broker, &their_stage, &mut dice, hostile);
            steps.count();
        }
    });
    while run.lasts(seconds) {
        thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, SeqCst);
    watch.join();
    settle(&broker, &stage);
    assert!(published.load(SeqCst) > 0 && received.load(SeqCst) > 0);
    drop(broker);
    let deadline = Instant::now() + PATIENCE;
    while stage.dropped.load(SeqCst) != stage.made.load(SeqCst) {
        let (made, dropped) = (stage.made.load(SeqCst), stage.dropped.load(SeqCst));
        assert!(Instant::now() < deadline, "{dropped} of {made} messages were dropped");
        thread::yield_now();
    }
    run.done(&format!(
        "{} published, {} received, {} rooms removed, {} handlers panicked, {} times a Drop came back; all {} dropped once",
        published.load(SeqCst),
        received.load(SeqCst),
        removed.load(SeqCst),
        stage.tantrums.load(SeqCst),
        stage.returns.load(SeqCst),
        stage.made.load(SeqCst),
    ));
}

fn counter() -> Arc<AtomicU64> {
    Arc::default()
}

/// An exclusive room for a moment: batches, and the end with its publisher.
fn exclusively(broker: &Broker<Message>, stage: &Arc<Stage>, dice: &mut Dice, hostile: bool) {
    let Ok(mut publisher) = broker.exclusive("alone") else { return };
    let mut reader = publisher.room().subscribe().now().expect("it is open");
    for _ in 0..dice.roll(8) {
        let batch: Vec<_> = (0..1 + dice.roll(40)).map(|_| stage.message(dice, hostile)).collect();
        // Refused when one of an earlier batch has panicked in its Drop.
        if bear(|| publisher.publish_all(batch).is_ok()) != Some(true) {
            break;
        }
    }
    drop(publisher);
    while let Ok(run) = reader.try_recv_batch(64) {
        run.iter().for_each(|(_, _, message)| message.check());
    }
}

/// Waits for what was left to shards, and looks whether every handler that panicked was counted.
fn settle(broker: &Broker<Message>, stage: &Arc<Stage>) {
    let deadline = Instant::now() + PATIENCE;
    let handlers = || broker.stats().shards.iter().map(|shard| shard.handlers).sum::<u32>();
    while handlers() > 0 {
        assert!(Instant::now() < deadline, "{} handlers were never removed", handlers());
        thread::yield_now();
    }
    for room in broker.rooms() {
        // For as long as a shard drops messages, one of them may come back as a subscriber for a moment.
        let left = || (room.stats().subscribers, room.stats().blocking, room.stats().shards);
        while left() != (0, 0, 0) {
            assert!(Instant::now() < deadline, "somebody was left in {}: {:?}", room.name(), left());
            thread::yield_now();
        }
    }
    let panics: u64 = broker.stats().shards.iter().map(|shard| shard.panics).sum();
    assert_eq!(panics, stage.tantrums.load(SeqCst), "a panic was not counted, or was not that of a handler");
    stage.close();
}
