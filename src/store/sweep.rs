//! The sweep: takes out of the store what has outlived its retention, a few rooms at a time.

use std::time::{Duration, Instant};

use super::backend::{RetentionCutoff, Store};
use super::error::{StoreError, StoreErrorKind};
use super::options::Options;

/// How often what has outlived its retention is taken out.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// Rooms whose retention is looked after, and messages that are removed, between two batches.
const RETENTION_ROOMS: usize = 64;
const RETENTION_MESSAGES: usize = 4_096;

/// Where a sweep is.
#[derive(Debug)]
pub(super) struct Sweep {
    /// When it goes on.
    pub(super) due: Instant,
    /// The room after which it goes on; from the first one without.
    after: Option<String>,
}

impl Sweep {
    pub(super) fn due(now: Instant) -> Self {
        Self { due: now, after: None }
    }

    /// Looks after some rooms.
    ///
    /// # Errors
    /// [`StoreErrorKind::Overtaken`]; after anything else it begins again in a minute.
    pub(super) fn step(&mut self, store: &dyn Store, options: &Options, now: Instant) -> Result<(), StoreError> {
        let after = self.after.take();
        let more = match let_go(store, options, after.as_deref()) {
            Ok(more) => more,
            Err(error) if error.kind() == StoreErrorKind::Overtaken => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "old messages could not be taken out; trying again in a minute");
                None
            }
        };
        self.due = if more.is_some() { now } else { now + RETENTION_INTERVAL };
        self.after = more;
        Ok(())
    }
}

/// Takes out what has outlived its retention in some rooms; after which one to go on, if there are more.
fn let_go(store: &dyn Store, options: &Options, after: Option<&str>) -> Result<Option<String>, StoreError> {
    let rooms = store.room_names(after, RETENTION_ROOMS)?;
    let mut left = RETENTION_MESSAGES;
    let mut done = None;
    for room in &rooms {
        match let_go_of(store, options, room, left) {
            Ok(removed) => left -= removed.min(left),
            // What is damaged stays so, and must not keep what is old in all rooms behind it.
            Err(error) if error.kind() == StoreErrorKind::Damaged => {
                tracing::warn!(room, %error, "old messages of a room could not be taken out");
            }
            Err(error) => return Err(error),
        }
        if left == 0 {
            // The same room again, until nothing is left of what goes.
            return Ok(Some(done.unwrap_or_default()));
        }
        done = Some(room.clone());
    }
    Ok(done.filter(|_| rooms.len() == RETENTION_ROOMS))
}

/// Takes out up to `limit` messages of a room; how many it was.
fn let_go_of(store: &dyn Store, options: &Options, room: &str, limit: usize) -> Result<usize, StoreError> {
    let retention = (options.retention)(room);
    if !retention.is_bounded() {
        return Ok(0);
    }
    let now = options.clock.as_ref().map_or(0, |clock| clock(room));
    let span = |cutoff| store.span(room, cutoff);
    let (Some(all), Some(kept)) = (span(RetentionCutoff::default())?, span(RetentionCutoff::at(retention, now))?)
    else {
        return Ok(0);
    };
    if kept.oldest > all.oldest { store.remove(room, kept.oldest, limit) } else { Ok(0) }
}
