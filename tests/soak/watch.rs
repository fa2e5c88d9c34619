//! A watch over threads that must not stop: no progress for a minute is a wake-up lost.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long nothing may happen at all. Far beyond what a loaded machine needs between two steps.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the watch looks.
const LOOK: Duration = Duration::from_millis(20);

/// What one thread counts of its steps, apart from the others' so that counting costs nothing.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Steps(AtomicU64);

impl Steps {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn so_far(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Threads that are watched.
#[derive(Default)]
pub(crate) struct Watch {
    threads: Vec<(&'static str, Arc<Steps>, JoinHandle<()>)>,
    stalled: Arc<AtomicBool>,
}

impl Watch {
    /// Set when nothing went on for too long: threads that spin then give up.
    pub(crate) fn stalled(&self) -> Arc<AtomicBool> {
        self.stalled.clone()
    }

    /// Starts a thread, which counts its steps; returns them.
    pub(crate) fn spawn(&mut self, name: &'static str, run: impl FnOnce(&Steps) + Send + 'static) -> Arc<Steps> {
        let steps = Arc::new(Steps::default());
        let counted = steps.clone();
        self.threads.push((name, steps.clone(), thread::spawn(move || run(&counted))));
        steps
    }

    /// Waits for all threads; returns the sum of their steps.
    ///
    /// # Panics
    /// When one panicked, and when none made a step for a minute.
    pub(crate) fn join(self) -> u64 {
        let sum = || self.threads.iter().map(|(_, steps, _)| steps.so_far()).sum::<u64>();
        let (mut last, mut since) = (sum(), Instant::now());
        while self.threads.iter().any(|(_, _, thread)| !thread.is_finished()) {
            thread::sleep(LOOK);
            let now = sum();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                self.stalled.store(true, Relaxed);
                let steps = self.threads.iter().map(|(name, steps, _)| format!("{name}: {}", steps.so_far()));
                panic!("nothing goes on any more: {}", steps.collect::<Vec<_>>().join(", "));
            }
        }
        let mut all = 0;
        for (_, steps, thread) in self.threads {
            thread.join().unwrap_or_else(|panic: Box<dyn Any + Send>| std::panic::resume_unwind(panic));
            all += steps.so_far();
        }
        all
    }
}
