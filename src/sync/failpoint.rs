//! Places where a test may stop a publisher. In a shipped build there are none: passing one is no code at all.

/// Where a publisher stands between two steps that others may come between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// It has claimed a slot and not committed it.
    Claimed,
    /// It has put a segment into the directory, and neither retired the one before nor moved the claim word on.
    Installed,
    /// It has moved the claim word to a copy of the newest segment, and not put that into the directory.
    Copied,
}

/// Says that this thread is at a stage.
#[cfg(not(all(any(test, feature = "failpoint"), not(any(roomcast_loom, roomcast_shuttle)))))]
#[inline(always)]
pub(crate) fn failpoint(_: Stage) {}

#[cfg(all(any(test, feature = "failpoint"), not(any(roomcast_loom, roomcast_shuttle))))]
pub(crate) use self::stopping::failpoint;
#[cfg(all(any(test, feature = "failpoint"), not(any(roomcast_loom, roomcast_shuttle))))]
pub use self::stopping::stop_at;

#[cfg(all(any(test, feature = "failpoint"), not(any(roomcast_loom, roomcast_shuttle))))]
mod stopping {
    use std::cell::RefCell;

    use super::Stage;

    type Stop = Box<dyn FnOnce()>;

    std::thread_local! {
        static STOP: RefCell<Option<(Stage, Stop)>> = const { RefCell::new(None) };
    }

    /// Runs `stop` when this thread next comes to that stage, once.
    pub fn stop_at(stage: Stage, stop: impl FnOnce() + 'static) {
        STOP.with_borrow_mut(|place| *place = Some((stage, Box::new(stop))));
    }

    /// Says that this thread is at a stage.
    pub(crate) fn failpoint(stage: Stage) {
        let stop = STOP.with_borrow_mut(|place| place.take_if(|(wanted, _)| *wanted == stage));
        if let Some((_, stop)) = stop {
            stop();
        }
    }
}
