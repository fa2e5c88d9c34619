//! The resident memory of the process, at the quarters of long runs.
#![cfg(target_os = "linux")]

use std::fs;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use roomcast::{Broker, Ref, Start};

use crate::dice::Dice;
use crate::pace::{Run, count};
use crate::watch::Watch;

/// What the process may grow by from the first quarter of a run to the last: arenas of the allocator, nothing that
/// comes with every message.
const GROWTH_MAX_KIB: u64 = 16 << 10;

/// Messages after which every room is full, and how long they may take.
const WARM: u64 = 20_000;
const WARM_WITHIN: Duration = Duration::from_secs(60);

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the system tells about this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it tells of resident memory");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number of KiB")
}

/// Checks what was measured at the quarters; returns it for the results.
#[track_caller]
fn is_flat(quarters: &[u64]) -> String {
    let (first, last) = (quarters[0], quarters[quarters.len() - 1]);
    assert!(last <= first + GROWTH_MAX_KIB, "resident memory grew, by quarters: {quarters:?} KiB");
    let quarters: Vec<_> = quarters.iter().map(|kib| kib.to_string()).collect();
    format!("resident KiB by quarters {}", quarters.join(", "))
}

#[test]
fn parking_and_dropping_without_a_publish() {
    let rounds = count("ABANDONED", 40_000, 1_000_000);
    let run = Run::new("subscribed, parked and dropped, without a publish");
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut stays = room.subscribe().now().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert!(stays.poll_readable(&mut context).is_pending());
    let quarters: Vec<_> = (0..4)
        .map(|_| {
            for _ in 0..rounds.div_ceil(4) {
                let mut subscription = room.subscribe().now().unwrap();
                assert!(pin!(subscription.recv()).poll(&mut context).is_pending());
            }
            resident()
        })
        .collect();
    assert_eq!((room.tail(), room.stats().subscribers), (0, 1));
    run.done(&format!("{} rounds, {}", 4 * rounds.div_ceil(4), is_flat(&quarters)));
}

#[test]
fn publishing_reading_and_churn() {
    let seconds = count("MEMORY_SECONDS", 3, 240);
    let run = Run::new("messages of up to 4 KiB under churn");
    let seed = Dice::seed();
    let broker = Broker::<Vec<u8>>::builder().capacity(256).shards(2).build();
    let stop = Arc::new(AtomicBool::new(false));
    let mut watch = Watch::default();
    let (their_broker, their_stop) = (broker.clone(), stop.clone());
    let published = watch.spawn("publishing", move |steps| {
        let mut dice = Dice::new(seed, 0);
        while !their_stop.load(SeqCst) {
            let name = format!("room {}", dice.roll(8));
            their_broker.publish(&name, vec![7; dice.roll(4_096) as usize]).expect("nobody blocks");
            if dice.once_in(10_000) {
                their_broker.remove(&name);
            }
            steps.count();
        }
    });
    let (their_broker, their_stop) = (broker.clone(), stop.clone());
    watch.spawn("coming and going", move |steps| {
        let mut dice = Dice::new(seed, 1);
        while !their_stop.load(SeqCst) {
            let room = their_broker.room(&format!("room {}", dice.roll(8))).expect("the broker is open");
            let Ok(served) = block_on(room.subscribe_with(|message: Ref<'_, Vec<u8>>| assert!(message.len() < 4_096)))
            else {
                continue;
            };
            let Ok(mut subscription) = room.subscribe_from(Start::Oldest).now() else { continue };
            for _ in 0..dice.roll(1_000) {
                let _ =
                    subscription.try_recv_batch(64).map(|run| assert!(run.iter().all(|(_, _, it)| it.len() < 4_096)));
            }
            drop(served);
            steps.count();
        }
    });
    // Every room is there and full before the first look, also where these threads get few turns.
    let deadline = Instant::now() + WARM_WITHIN;
    while published.so_far() < WARM {
        assert!(Instant::now() < deadline, "only {} messages in {WARM_WITHIN:?}", published.so_far());
        thread::sleep(Duration::from_millis(20));
    }
    let quarters: Vec<_> = (0..4)
        .map(|_| {
            thread::sleep(Duration::from_secs(seconds) / 4);
            resident()
        })
        .collect();
    stop.store(true, SeqCst);
    watch.join();
    run.done(&format!("{} messages, {}", published.so_far(), is_flat(&quarters)));
}
