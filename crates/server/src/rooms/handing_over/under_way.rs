//! What was asked for and is not answered yet, as far as that is not done in the turn that asks.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};

use tokio::sync::Notify;

/// Counts it.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<Counted>);

#[derive(Default)]
struct Counted {
    asked: AtomicUsize,
    none: Notify,
}

/// Something that was asked for; when the last one of them is dropped, it is done.
pub(crate) struct Asked(UnderWay);

impl UnderWay {
    /// Something is asked for.
    pub(crate) fn begin(&self) -> Asked {
        self.0.asked.fetch_add(1, AcqRel);
        Asked(self.clone())
    }

    /// Ready when nothing is under way.
    pub(crate) async fn finished(&self) {
        loop {
            let mut none = pin!(self.0.none.notified());
            // Before it is looked.
            none.as_mut().enable();
            if self.0.asked.load(Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Asked {
    /// Does `work`, and is done with it.
    pub(crate) async fn until<T>(self, work: impl Future<Output = T>) -> T {
        let _until_it_is_done = self;
        work.await
    }
}

impl Clone for Asked {
    fn clone(&self) -> Self {
        self.0.begin()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // AcqRel: who finds none finds all done. Pairs with the load in `finished`.
        if self.0.0.asked.fetch_sub(1, AcqRel) == 1 {
            self.0.0.none.notify_waiters();
        }
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderWay").field("asked", &self.0.asked).finish_non_exhaustive()
    }
}
