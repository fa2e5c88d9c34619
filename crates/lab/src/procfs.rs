//! What the machine tells about processes: processor time, memory, context switches.
//!
//! All from `/proc`; where there is none, everything reads as nothing.

use std::fs;

use super::result::{ContextSwitches, Machine};

/// The processor time of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// Its number.
    pub(crate) id: u32,
    /// Its name, of which the system keeps 15 bytes.
    pub(crate) name: String,
    /// Nanoseconds it was running.
    pub(crate) nanos: u64,
}

/// What a process had used at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Its threads.
    pub(crate) threads: Vec<Thread>,
    /// Of all its threads.
    pub(crate) switches: ContextSwitches,
}

impl Usage {
    /// Of this process, or of another one.
    pub(crate) fn of(process: Option<u32>) -> Self {
        let folder = process.map_or_else(|| "/proc/self/task".to_owned(), |id| format!("/proc/{id}/task"));
        let mut usage = Self::default();
        for task in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = task.path();
            // A thread may end while it is looked at.
            let Ok(schedule) = fs::read_to_string(path.join("schedstat")) else { continue };
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned();
            let id = task.file_name().to_string_lossy().parse().unwrap_or_default();
            usage.threads.push(Thread { id, name, nanos: first_number(&schedule) });
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            usage.switches.voluntary += field(&status, "voluntary_ctxt_switches");
            usage.switches.involuntary += field(&status, "nonvoluntary_ctxt_switches");
        }
        usage
    }

    /// What each thread has used since `before`, in seconds, with its name.
    pub(crate) fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a str, f64)> {
        self.threads.iter().map(|thread| {
            let was = before.threads.iter().find(|was| was.id == thread.id).map_or(0, |was| was.nanos);
            (&*thread.name, thread.nanos.saturating_sub(was) as f64 / 1e9)
        })
    }

    /// Context switches since `before`.
    pub(crate) fn switches_since(&self, before: &Self) -> ContextSwitches {
        ContextSwitches {
            voluntary: self.switches.voluntary.saturating_sub(before.switches.voluntary),
            involuntary: self.switches.involuntary.saturating_sub(before.switches.involuntary),
        }
    }
}

/// Resident memory of this process, or of another one, in bytes.
pub(crate) fn resident(process: Option<u32>) -> u64 {
    let path = process.map_or_else(|| "/proc/self/statm".to_owned(), |id| format!("/proc/{id}/statm"));
    let pages = fs::read_to_string(path).unwrap_or_default();
    let pages: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as u64
}

/// Busy and all ticks of each core.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cores(Vec<(u64, u64)>);

impl Cores {
    /// Now.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
        Self(cores.map(ticks).collect())
    }

    /// The busy share of each since `before`.
    pub(crate) fn since(&self, before: &Self) -> Vec<f64> {
        let share = |(now, was): (&(u64, u64), &(u64, u64))| {
            let all = now.1.saturating_sub(was.1);
            if all == 0 { 0.0 } else { now.0.saturating_sub(was.0) as f64 / all as f64 }
        };
        self.0.iter().zip(&before.0).map(share).map(|share| (share * 1_000.0).round() / 1_000.0).collect()
    }
}

fn ticks(line: &str) -> (u64, u64) {
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    // The fourth and fifth are idle and waiting for disks.
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}

/// This machine.
pub(crate) fn machine() -> Machine {
    let text_field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value).trim().to_owned()
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cpu: text_field(&cpu, "model name"),
        cores: cores(),
        kernel: format!("Linux {}", release.trim()),
        memory: field(&memory, "MemTotal") * 1_024,
    }
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    line.and_then(|line| line.split_once(':')).map_or(0, |(_, value)| first_number(value))
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ticks_is_busy_and_all() {
        assert_eq!(ticks("cpu0 10 0 20 60 5 1 2 3 99 99"), (36, 101));
    }

    #[test]
    fn this_process_has_threads_and_memory() {
        let usage = Usage::of(None);
        assert!(!usage.threads.is_empty());
        assert!(resident(None) > 100_000);
        assert!(machine().cores >= 1);
    }
}
