//! File descriptors: one per connection, and the usual soft limit of 1,024 is far too few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for what is not a connection: listeners, logs, the runtimes, files being read.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Raises the soft limit of open files to the hard one and returns how many connections that allows.
///
/// `None` where there is no limit. A system that refuses leaves the soft limit as it was.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: maximum, maximum };
    let soft = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "could not raise the limit of open files");
            current
        }
    };
    soft.map(|descriptors| descriptors.saturating_sub(DESCRIPTORS_RESERVED))
}
