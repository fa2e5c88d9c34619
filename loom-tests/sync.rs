//! The pieces under everything else: values made on first use, threads woken.

use std::task::Waker;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::support::{Counted, model};
use crate::sync::{Lazy, Signal};

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
