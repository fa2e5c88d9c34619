//! A backend that is none: who plays one on this thread is given the calls to it, and answers them.

use std::cell::RefCell;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::error::CallError;
use super::http::{Answer, Call};

/// A call, and where its answer goes.
pub(crate) type Asked = (Call, oneshot::Sender<Result<Answer, CallError>>);

thread_local! {
    static GIVEN: RefCell<Option<UnboundedSender<Asked>>> = const { RefCell::new(None) };
}

/// From here on this thread's calls go there.
pub(crate) fn give(calls: UnboundedSender<Asked>) {
    GIVEN.set(Some(calls));
}

/// From here on they go to where they say.
pub(crate) fn take_back() {
    GIVEN.take();
}

pub(super) fn given() -> Option<UnboundedSender<Asked>> {
    GIVEN.with_borrow(Clone::clone)
}

/// # Errors
/// What is answered, or that nobody does.
pub(super) async fn ask(calls: &UnboundedSender<Asked>, call: Call) -> Result<Answer, CallError> {
    let (sender, answer) = oneshot::channel();
    // Whoever plays it may have gone.
    let _ = calls.send((call, sender));
    answer.await.unwrap_or_else(|_| Err(CallError::Unreachable("nobody plays it".to_owned())))
}
