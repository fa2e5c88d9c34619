//! Opening the database that the process before has let go of. There is no way back by then, so what may pass by itself is waited for.

use std::thread;
use std::time::{Duration, Instant};

use roomcast::store::{StoreError, StoreErrorKind};

/// How long it is tried: a PostgreSQL server that lost the old process takes half a minute to notice. The old process waits for longer.
pub(crate) const OPEN_WITHIN: Duration = Duration::from_secs(45);
/// How long until it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Opens a database, for `within` that time again and again while somebody else still has it or it cannot be reached.
///
/// # Errors
/// The last one.
pub(crate) fn open(within: Duration, mut open: impl FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
    let (began, mut is_said) = (Instant::now(), false);
    loop {
        let error = match open() {
            Err(error) if may_pass(&error) && began.elapsed() < within => error,
            opened => return opened,
        };
        if !std::mem::replace(&mut is_said, true) {
            tracing::warn!(%error, "the database cannot be had yet; it is tried again, since nobody else serves");
        }
        thread::sleep(PAUSE);
    }
}

fn may_pass(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Locked | StoreErrorKind::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(kind: StoreErrorKind, within: Duration, failures: u32) -> (u32, bool) {
        let mut tries = 0;
        let opened = open(within, || {
            tries += 1;
            if tries <= failures { Err(StoreError::new(kind, "no")) } else { Ok(()) }
        });
        (tries, opened.is_ok())
    }

    #[test]
    fn what_passes_is_waited_for_and_nothing_else() {
        assert_eq!(tried(StoreErrorKind::Locked, OPEN_WITHIN, 2), (3, true));
        assert_eq!(tried(StoreErrorKind::Unavailable, OPEN_WITHIN, 1), (2, true));
        assert_eq!(tried(StoreErrorKind::Damaged, OPEN_WITHIN, 1), (1, false));
        assert_eq!(
            tried(StoreErrorKind::Locked, Duration::ZERO, 1),
            (1, false),
            "at a plain start somebody is to be told"
        );
    }
}
