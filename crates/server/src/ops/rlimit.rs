//! File descriptors: one per connection, and the usual soft limit of 1,024 is far too few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for what comes and goes beside connections: files being read, calls to the backend, those who are told that there
/// are too many.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Descriptors that a server has open before anybody has come, where the system does not say.
const DESCRIPTORS_OPEN: u64 = 256;

/// Raises the soft limit of open files to the hard one, and returns it; `None` where there is no limit. A system that refuses leaves
/// the soft limit as it was.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: maximum, maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "could not raise the limit of open files");
            current
        }
    }
}

/// How many connections that limit leaves, beside what is open now: to be asked when all is open that a server always has.
pub(crate) fn connections_left(descriptors: u64) -> u64 {
    let open = std::fs::read_dir("/dev/fd").map_or(DESCRIPTORS_OPEN, |open| open.count() as u64);
    descriptors.saturating_sub(open + DESCRIPTORS_RESERVED)
}
