//! What nobody can do without: the cost of single steps on this machine, which every other figure is to be held against.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::machine::{nanos, pin};
use harness::measure::{Cases, Effort, Figure, figure, median};

use crate::tally::Payload;

const TABLE: &str = "basics";

pub fn add(cases: &mut Cases) {
    let mut step = |name: &'static str, run: fn(Effort) -> f64| {
        cases.add(TABLE, name, "this machine", move |effort| vec![figure("cost", "ns", run(effort))]);
    };
    step("one fetch_add on a line of its own", fetch_add);
    step("one compare-exchange", compare_exchange);
    step("store and fence(SeqCst)", store_and_fence);
    step("lock and unlock a std Mutex, uncontended", lock);
    step("Bytes clone and drop", clone_bytes);
    step("allocate and free 128 B", allocate);
    step("a cache line to the other core, one way", cross);
    step("fetch_add contended by two cores", contended);
    cases.add(TABLE, "unpark of a sleeping thread", "this machine", unpark);
}

fn repeated(effort: Effort, mut step: impl FnMut()) -> f64 {
    const STEPS: u32 = 10_000;
    effort.median(|| {
        let begin = Instant::now();
        (0..STEPS).for_each(|_| step());
        nanos(begin.elapsed()) / f64::from(STEPS)
    })
}

fn fetch_add(effort: Effort) -> f64 {
    let word = AtomicU64::new(0);
    repeated(effort, || {
        black_box(word.fetch_add(1, Relaxed));
    })
}

fn compare_exchange(effort: Effort) -> f64 {
    let word = AtomicU64::new(0);
    repeated(effort, || {
        let seen = word.load(Relaxed);
        let _ = black_box(word.compare_exchange(seen, seen + 1, Relaxed, Relaxed));
    })
}

fn store_and_fence(effort: Effort) -> f64 {
    let word = AtomicU64::new(0);
    repeated(effort, || {
        word.store(black_box(1), Relaxed);
        fence(SeqCst);
    })
}

fn lock(effort: Effort) -> f64 {
    let word = Mutex::new(0_u64);
    repeated(effort, || {
        if let Ok(mut word) = word.lock() {
            *word = black_box(1);
        }
    })
}

fn clone_bytes(effort: Effort) -> f64 {
    let bytes = Bytes::make(1);
    let _shared_from_now_on = bytes.clone();
    repeated(effort, || drop(black_box(bytes.clone())))
}

fn allocate(effort: Effort) -> f64 {
    repeated(effort, || drop(black_box(Box::new([0_u8; 128]))))
}

/// Two threads hand a number to and fro; half a round trip.
fn cross(effort: Effort) -> f64 {
    let (word, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let partner = thread::spawn({
        let (word, stop) = (word.clone(), stop.clone());
        move || {
            pin(1);
            while !stop.load(Relaxed) {
                let seen = word.load(Acquire);
                if seen % 2 == 1 {
                    word.store(seen + 1, Release);
                }
            }
        }
    });
    pin(0);
    let took = repeated(effort, || {
        let seen = word.load(Relaxed);
        word.store(seen + 1, Release);
        while word.load(Acquire) == seen + 1 {
            spin_loop();
        }
    });
    stop.store(true, Relaxed);
    partner.join().expect("it only counts");
    took / 2.0
}

fn contended(effort: Effort) -> f64 {
    let (word, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let partner = thread::spawn({
        let (word, stop) = (word.clone(), stop.clone());
        move || {
            pin(1);
            while !stop.load(Relaxed) {
                word.fetch_add(1, Relaxed);
            }
        }
    });
    pin(0);
    let took = repeated(effort, || {
        black_box(word.fetch_add(1, Relaxed));
    });
    stop.store(true, Relaxed);
    partner.join().expect("it only counts");
    took
}

/// The call itself, and the time until the sleeper runs.
fn unpark(effort: Effort) -> Vec<Figure> {
    let begin = Instant::now();
    let now = move || nanos(begin.elapsed()) as u64;
    let (woken_at, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sleeper = thread::spawn({
        let (woken_at, stop) = (woken_at.clone(), stop.clone());
        move || {
            pin(1);
            while !stop.load(Relaxed) {
                thread::park();
                woken_at.store(now(), Release);
            }
        }
    });
    pin(0);
    let (mut calls, mut wakes) = (Vec::new(), Vec::new());
    while calls.is_empty() || begin.elapsed() < effort.time() {
        thread::sleep(Duration::from_millis(1));
        woken_at.store(0, Relaxed);
        let called_at = now();
        sleeper.thread().unpark();
        calls.push((now() - called_at) as f64);
        let woken = loop {
            match woken_at.load(Acquire) {
                0 => spin_loop(),
                woken => break woken,
            }
        };
        wakes.push(woken.saturating_sub(called_at) as f64);
    }
    stop.store(true, Relaxed);
    sleeper.thread().unpark();
    sleeper.join().expect("it only sleeps");
    vec![figure("cost", "ns", median(&mut calls)), figure("until it runs", "ns", median(&mut wakes))]
}
