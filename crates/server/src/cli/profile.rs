//! Collects a profile of this very process while it works; `docs/profiling.md` tells how it is asked for.

use std::fs;
use std::path::PathBuf;

use roomcast_lab::profile::Stacks;

/// A folder for profiles; without it nothing is collected.
const VARIABLE: &str = "ROOMCAST_PROFILE";
/// Samples asked for each second of processor time, not a divisor of what timers of programs are set to. Many kernels look at
/// such timers at their own ticks only, and give a tenth of it.
const SAMPLES_PER_SECOND: i32 = 997;
/// Lines of a list.
const LINES: usize = 40;

/// Collects until it is dropped, then writes.
pub(super) struct Profile {
    folder: PathBuf,
    /// What files are called after: `serve`, `lab`.
    name: String,
    sampler: Sampler,
}

#[cfg(not(roomcast_profile_heap))]
type Sampler = Option<pprof::ProfilerGuard<'static>>;
#[cfg(roomcast_profile_heap)]
type Sampler = Option<dhat::Profiler>;

/// Begins to collect, where that is asked for.
pub(super) fn begin() -> Option<Profile> {
    let folder = PathBuf::from(std::env::var_os(VARIABLE)?);
    let name = std::env::args().nth(1).unwrap_or_else(|| "roomcast".to_owned());
    if let Err(error) = fs::create_dir_all(&folder) {
        super::complain(format_args!("{}: {error}", folder.display()));
        return None;
    }
    let mut profile = Profile { folder, name, sampler: None };
    profile.start();
    profile.sampler.is_some().then_some(profile)
}

impl Profile {
    fn write(&self, ending: &str, content: &str) {
        let path = self.folder.join(format!("{}{ending}", self.name));
        match fs::write(&path, content) {
            Ok(()) => super::complain(format_args!("wrote {}", path.display())),
            Err(error) => super::complain(format_args!("{} cannot be written: {error}", path.display())),
        }
    }
}

#[cfg(not(roomcast_profile_heap))]
impl Profile {
    fn start(&mut self) {
        // Unwinding out of these may stop for good: they hold locks that unwinding takes.
        let guard = pprof::ProfilerGuardBuilder::default()
            .frequency(SAMPLES_PER_SECOND)
            .blocklist(&["libc", "libgcc", "pthread", "vdso"])
            .build();
        match guard {
            Ok(guard) => self.sampler = Some(guard),
            Err(error) => super::complain(format_args!("no profile: {error}")),
        }
    }

    fn stacks(guard: &pprof::ProfilerGuard<'_>) -> Result<Stacks, pprof::Error> {
        let mut stacks = Stacks::default();
        for (frames, count) in guard.report().build()?.data {
            let thread = frames.thread_name_or_id();
            let thread = thread.trim_end_matches(|command: char| command.is_ascii_digit() || command == '-').to_owned();
            let names: Vec<String> = frames.frames.iter().flatten().map(pprof::Symbol::name).collect();
            // The handler and the frame that the system puts below it stand above what was interrupted.
            let handler = names.iter().position(|name| name.contains("perf_signal_handler"));
            let names = names.into_iter().skip(handler.map_or(0, |place| place + 2)).filter(|name| !is_plumbing(name));
            let mut stack: Vec<String> = names.collect();
            stack.push(thread);
            stack.reverse();
            // The report of a run is made after it, and is no part of what is looked for.
            if !stack.iter().any(|name| REPORTING.iter().any(|part| name.contains(part))) {
                stacks.add(stack, count.unsigned_abs() as u64);
            }
        }
        Ok(stacks)
    }
}

#[cfg(not(roomcast_profile_heap))]
impl Drop for Profile {
    fn drop(&mut self) {
        let Some(guard) = self.sampler.take() else { return };
        match Self::stacks(&guard) {
            Ok(stacks) => {
                let title = format!("roomcast {}: processor time", self.name);
                self.write(".cpu.svg", &stacks.flame(&title, "samples"));
                self.write(".cpu.folded", &stacks.folded());
                self.write(".cpu.txt", &stacks.list(LINES));
            }
            Err(error) => super::complain(format_args!("no profile: {error}")),
        }
    }
}

#[cfg(roomcast_profile_heap)]
impl Profile {
    fn json(&self) -> PathBuf {
        self.folder.join(format!("{}.heap.json", self.name))
    }

    fn start(&mut self) {
        self.sampler = Some(dhat::Profiler::builder().file_name(self.json()).trim_backtraces(Some(FRAMES)).build());
    }
}

#[cfg(roomcast_profile_heap)]
impl Drop for Profile {
    fn drop(&mut self) {
        // It writes its file when it goes.
        drop(self.sampler.take());
        let json = fs::read_to_string(self.json()).unwrap_or_default();
        let [blocks, bytes, live] = match roomcast_lab::profile::allocations(&json) {
            Ok(stacks) => stacks,
            Err(error) => return super::complain(error),
        };
        let title = |what: &str| format!("roomcast {}: {what}", self.name);
        self.write(".heap.svg", &bytes.flame(&title("allocated"), "bytes"));
        self.write(".heap-blocks.svg", &blocks.flame(&title("allocations"), "blocks"));
        self.write(".heap-live.svg", &live.flame(&title("live when most was"), "bytes"));
        let lists = [("blocks", blocks), ("bytes", bytes), ("bytes live when most were", live)];
        let lists: Vec<String> = lists
            .iter()
            .map(|(what, stacks)| format!("# {} {what}\n\n{}", stacks.total(), stacks.list(LINES)))
            .collect();
        self.write(".heap.txt", &lists.join("\n"));
    }
}

#[cfg(not(roomcast_profile_heap))]
const REPORTING: [&str; 3] = ["lab::report::", "lab::chart::", "cli::profile::"];
/// Frames of a stack that are kept.
#[cfg(roomcast_profile_heap)]
const FRAMES: usize = 32;

/// How a thread begins: the same in every stack.
#[cfg(not(roomcast_profile_heap))]
fn is_plumbing(name: &str) -> bool {
    let parts = [
        "__rust_begin_short_backtrace",
        "lang_start",
        "__rust_try",
        "catch_unwind",
        "std::panicking",
        "std::panic::",
        "FnOnce",
        "spawn_unchecked",
        "AssertUnwindSafe",
        "std::thread::",
        "std::sys::",
        "clone3",
        "start_thread",
        "__libc_start",
        "_start",
        "Unknown",
    ];
    // Types that a function is made for do not make it ours.
    let function = if name.starts_with('<') { name } else { name.split('<').next().unwrap_or(name) };
    parts.iter().any(|part| function.contains(part)) && !function.contains("roomcast")
}
