//! What a simulation on this thread gives in place of the system's: threads that may wait, and what is drawn at random beyond the
//! seeds that are passed in.

use std::cell::RefCell;

use tokio::sync::mpsc::UnboundedSender;

/// Something to be done on a thread that may wait.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    static GIVEN: RefCell<Given> = RefCell::default();
}

#[derive(Default)]
struct Given {
    threads: Option<UnboundedSender<Work>>,
    epochs: Option<u64>,
}

/// From here on this thread's work that may wait goes there, and epochs of rooms begin with that number.
pub(crate) fn give(threads: UnboundedSender<Work>, epochs: u64) {
    GIVEN.with_borrow_mut(|given| *given = Given { threads: Some(threads), epochs: Some(epochs) });
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
