//! What a simulation on this thread gives in place of the system's: threads that may wait, what is drawn at random beyond the
//! seeds that are passed in, and bounds that are met in a short life.

use std::cell::RefCell;

use tokio::sync::mpsc::UnboundedSender;

/// Something to be done on a thread that may wait.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Bounds that are lower than a server has them; where nothing is said, they are the server's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// Messages that a ring keeps at least.
    pub(crate) ring_messages: Option<usize>,
    /// Members that a batch is written to before others have their turn.
    pub(crate) writes: Option<usize>,
    /// Rooms that there may be.
    pub(crate) rooms: Option<u64>,
    /// Bytes of keys and versions that are remembered.
    pub(crate) key_bytes: Option<u64>,
}

thread_local! {
    static GIVEN: RefCell<Given> = RefCell::default();
}

#[derive(Default)]
struct Given {
    threads: Option<UnboundedSender<Work>>,
    epochs: Option<u64>,
    bounds: Bounds,
}

/// From here on this thread's work that may wait goes there, epochs of rooms begin with that number, and servers that are made have
/// these bounds.
pub(crate) fn give(threads: UnboundedSender<Work>, epochs: u64, bounds: Bounds) {
    GIVEN.with_borrow_mut(|given| *given = Given { threads: Some(threads), epochs: Some(epochs), bounds });
}

/// From here on they are the system's.
pub(crate) fn take_back() {
    GIVEN.take();
}

pub(super) fn threads() -> Option<UnboundedSender<Work>> {
    GIVEN.with_borrow(|given| given.threads.clone())
}

/// What the epochs of rooms begin with, if that is given.
pub(crate) fn epochs() -> Option<u64> {
    GIVEN.with_borrow(|given| given.epochs)
}

/// The bounds of a server that is made on this thread.
pub(crate) fn bounds() -> Bounds {
    GIVEN.with_borrow(|given| given.bounds)
}
