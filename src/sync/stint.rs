//! A stretch of time that somebody is willing to work for others.

use std::time::{Duration, Instant};

/// It measures effort and decides nothing else. In a model it is over at once.
pub(crate) struct Stint {
    end: Option<Instant>,
}

impl Stint {
    pub(crate) fn begin(length: Duration) -> Self {
        let is_modelled = cfg!(any(roomcast_loom, roomcast_shuttle));
        Self { end: (!is_modelled).then(|| Instant::now() + length) }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.end.is_none_or(|end| Instant::now() >= end)
    }
}
