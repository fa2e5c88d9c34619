//! The machine: cores, clocks, and waiting without sleeping.

use std::fs;
use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::measure::median;

/// Keeps this thread on the n-th of the cores the process may use. Threads it starts from now on stay there as well, so
/// brokers and runtimes are to be made before.
pub fn pin(nth: usize) {
    let cores = cores();
    pin_to(cores[nth % cores.len()]);
}

/// Keeps this thread on that core, one of those that the process had when it began.
pub fn pin_to(core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).expect("a thread may choose among the cores of its process");
}

/// The cores this thread may use: after it was pinned, one.
pub fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("the system tells a thread's cores");
    (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
}

/// Processor time this process has used, all threads together.
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Processor time this thread has used.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What reading the clock adds to a single call that is timed, in nanoseconds; to be taken off.
pub fn clock_cost() -> f64 {
    let mut samples: Vec<f64> = (0..1_001)
        .map(|_| {
            let begin = Instant::now();
            nanos(begin.elapsed())
        })
        .collect();
    median(&mut samples)
}

/// Nanoseconds as a figure.
pub fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// Pauses as a waiting thread does between two looks.
#[inline]
pub fn back_off() {
    (0..32).for_each(|_| spin_loop());
}

/// Looks until it is so, giving up the core now and then.
///
/// # Panics
/// When it takes longer than any of our workloads may.
pub fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    for look in 1_u64.. {
        if is_so() {
            return;
        }
        back_off();
        if look % 64 == 0 {
            assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain");
            thread::yield_now();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// What the report says about the machine.
pub fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split(':').nth(1).unwrap_or("unknown").trim().to_owned()
    };
    let model = field(&read("/proc/cpuinfo"), "model name");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {} cores, {memory}, Linux {}", cores().len(), kernel.trim())
}
