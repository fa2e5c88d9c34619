//! How much a visit of a room may write.

#[cfg(test)]
use crate::util::stepped;

/// Members a batch is written to before other rooms have their turn: about a millisecond of system calls.
const ROOM_WRITES_PER_VISIT: usize = 512;

/// How many members a feed that is made on this thread writes a batch to before other rooms have their turn.
pub(super) fn writes_per_visit() -> usize {
    #[cfg(test)]
    if let Some(writes) = stepped::bounds().writes {
        return writes;
    }
    ROOM_WRITES_PER_VISIT
}
