//! L7: coming and going, with and without a publisher at full speed.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::machine::{nanos, pin};
use harness::measure::{Cases, Effort, Figure, figure, grouped};

use super::each;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::registry::{DashMapOfMpsc, MutexOfCrossbeam};
use crate::contenders::roomcast::Shared;
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Joins, finish};
use crate::tally::Tally;

const TABLE: &str = "L7";

pub fn add(cases: &mut Cases) {
    each!(cases, TABLE, "full speed beside come and go";
        "roomcast" => Shared, "tokio" => Tokio, "async-broadcast" => AsyncBroadcast,
        "crossbeam in a Mutex" => MutexOfCrossbeam, "DashMap of mpsc" => DashMapOfMpsc;
        |effort, C| beside_a_publisher::<C>(effort));
    for members in [1, 100_000] {
        each!(cases, TABLE, format!("come and go, members: {}", grouped(members));
            "roomcast" => Shared, "tokio" => Tokio, "async-broadcast" => AsyncBroadcast;
            |effort, C| come_and_go::<C>(members, effort));
    }
    each!(cases, TABLE, "come and go, members: 1";
        "crossbeam in a Mutex" => MutexOfCrossbeam, "DashMap of mpsc" => DashMapOfMpsc;
        |effort, C| come_and_go::<C>(1, effort));
    cases.lack(TABLE, "bus, ringcast", "only who publishes can subscribe somebody, on the publisher's thread");
    cases.lack(TABLE, "disruptor", "its readers are fixed when it is built");
}

/// Publishes for a while; messages a second.
fn publish<C: Joins<u64>>(publisher: &mut C::Publisher, next: &mut u64, time: Duration) -> f64 {
    const STEP: u64 = 256;
    let (begin, first) = (Instant::now(), *next);
    while begin.elapsed() < time {
        for number in *next..*next + STEP {
            C::publish(publisher, number);
        }
        *next += STEP;
    }
    (*next - first) as f64 / begin.elapsed().as_secs_f64()
}

/// What is shared with the thread that comes and goes, on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Turnstile {
    is_on: AtomicBool,
    is_over: AtomicBool,
    rounds: AtomicU64,
}

/// The publisher has one core for itself and one subscriber that does not read; somebody else comes and goes on the
/// other core.
fn beside_a_publisher<C: Joins<u64>>(effort: Effort) -> Vec<Figure> {
    let (mut publisher, readers) = C::open(1);
    let turnstile = Arc::new(Turnstile::default());
    let churning = thread::spawn({
        let (door, turnstile) = (C::door(&publisher), turnstile.clone());
        move || {
            pin(1);
            while !turnstile.is_over.load(Relaxed) {
                if !turnstile.is_on.load(Relaxed) {
                    thread::sleep(Duration::from_micros(200));
                    continue;
                }
                drop(black_box(C::join(&door)));
                // Nobody else counts.
                turnstile.rounds.store(turnstile.rounds.load(Relaxed) + 1, Relaxed);
            }
        }
    });
    pin(0);
    let mut next = 0;
    publish::<C>(&mut publisher, &mut next, effort.time() / 4);
    // Before and after, so that a machine that gets slower meanwhile is not taken for the churn.
    let before = publish::<C>(&mut publisher, &mut next, effort.time() / 2);
    turnstile.is_on.store(true, Relaxed);
    let (begin, first) = (Instant::now(), turnstile.rounds.load(Relaxed));
    let beside = publish::<C>(&mut publisher, &mut next, effort.time());
    let churn = (turnstile.rounds.load(Relaxed) - first) as f64 / begin.elapsed().as_secs_f64();
    turnstile.is_on.store(false, Relaxed);
    thread::sleep(Duration::from_millis(1));
    let after = publish::<C>(&mut publisher, &mut next, effort.time() / 2);
    turnstile.is_over.store(true, Relaxed);
    churning.join().expect("it only comes and goes");
    finish::<u64, C>(readers, vec![Tally::from(0)], next);
    vec![
        figure("rate kept", "%", 200.0 * beside / (before + after)),
        figure("publishes", "M/s", beside / 1e6),
        figure("come and go", "M/s", churn / 1e6),
    ]
}

fn come_and_go<C: Joins<u64>>(members: usize, effort: Effort) -> Vec<Figure> {
    const ROUNDS: u32 = 1_000;
    let (mut publisher, readers) = C::open(members);
    let door = C::door(&publisher);
    let cost = effort.median(|| {
        let begin = Instant::now();
        (0..ROUNDS).for_each(|_| drop(black_box(C::join(&door))));
        nanos(begin.elapsed()) / f64::from(ROUNDS)
    });
    // Those who stayed are still served.
    C::publish(&mut publisher, 0);
    finish::<u64, C>(readers, vec![Tally::from(0); members], 1);
    vec![figure("subscribe and drop", "ns", cost)]
}
