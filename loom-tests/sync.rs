//! The pieces under everything else: values made on first use, threads woken.

use std::task::Waker;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::{Counted, model};
use crate::sync::{Lazy, Signal, Snapshot};

/// Two first users of a value share one, which both see whole; the other is dropped.
#[test]
fn make_make() {
    model(3..=4, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let lazy = Arc::new(Lazy::new());
        let make = |name: usize, lazy: &Lazy<(AtomicUsize, Counted)>, alive: &Arc<AtomicUsize>| {
            lazy.force(|| (AtomicUsize::new(name), Counted::new(alive))).0.load(Relaxed)
        };
        let other = {
            let (lazy, alive) = (lazy.clone(), alive.clone());
            thread::spawn(move || make(1, &lazy, &alive))
        };
        let mine = make(2, &lazy, &alive);
        assert_eq!(other.join().unwrap(), mine, "two values were used");
        assert_eq!(alive.load(Relaxed), 1);
        drop(lazy);
        assert_eq!(alive.load(Relaxed), 0);
    });
}

/// Of two who replace a value at once, the one who comes too late makes the next value again, from what the other has put
/// there; what it made first is dropped.
#[test]
fn replace_replace() {
    model(2..=3, || {
        let alive = Arc::new(AtomicUsize::new(0));
        let numbers = Arc::new(Snapshot::new(std::sync::Arc::default()));
        let replace = |number: usize, numbers: &Snapshot<Vec<std::sync::Arc<(usize, Counted)>>>, alive: &Arc<_>| {
            let mut made = 0;
            assert!(numbers.update(|seen| {
                made += 1;
                let number = std::sync::Arc::new((number, Counted::new(alive)));
                Some(seen.iter().cloned().chain([number]).collect())
            }));
            made
        };
        let other = {
            let (numbers, alive) = (numbers.clone(), alive.clone());
            thread::spawn(move || replace(1, &numbers, &alive))
        };
        let made = replace(2, &numbers, &alive) + other.join().unwrap();
        assert!((2..=3).contains(&made), "{made}: one of two comes too late, once");
        let sum = numbers.read(|numbers| numbers.iter().map(|number| number.0).sum::<usize>());
        assert_eq!((sum, alive.load(Relaxed)), (3, 2), "a value was lost, or one that was not put there lives on");
    });
}

/// A thread that two others wake sees what both did before, however few wakes it notices.
#[test]
fn wake_wait() {
    model(3..=4, || {
        let signal = Signal::for_this_thread();
        let done = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        for mine in [0, 1] {
            let (waker, done) = (Waker::from(signal.clone()), done.clone());
            // Not joined: loom takes an unpark that comes late for the end of the join.
            thread::spawn(move || {
                done[mine].store(true, Relaxed);
                waker.wake();
            });
        }
        while !done.iter().all(|done| done.load(Relaxed)) {
            signal.wait();
        }
    });
}
