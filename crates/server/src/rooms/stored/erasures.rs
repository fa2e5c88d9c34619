//! Rooms of which messages were erased lately, until nobody can have one of them any more.

use crate::util::panics::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use roomcast::Room;
use roomcast::store::Watermark;
use roomcast_protocol::Publication;

/// How long what was read of the database before may be on its way to somebody: longer than any command waits for its answer.
const READ_BEFORE: Duration = Duration::from_secs(60);

/// The rooms.
#[derive(Debug, Default)]
pub(super) struct Erasures(Mutex<ByName>);

/// A room, and since when its watermark has not forgotten anything.
type ByName = HashMap<Box<str>, (Room<Publication>, u64)>;

impl Erasures {
    /// Messages of a room were erased.
    pub(super) fn note(&self, room: &Room<Publication>, now_ms: u64) {
        let mut rooms = self.rooms();
        let known = rooms.entry(room.name().into()).or_insert_with(|| (room.clone(), now_ms));
        if known.0.epoch() != room.epoch() {
            *known = (room.clone(), now_ms);
        }
    }

    /// Lets watermarks forget what neither a ring nor anybody who has read it can have.
    pub(super) fn forget(&self, now_ms: u64, watermark: impl Fn(&Room<Publication>) -> Option<Arc<Watermark>>) {
        self.rooms().retain(|_, (room, since_ms)| {
            if now_ms.saturating_sub(*since_ms) < READ_BEFORE.as_millis() as u64 {
                return true;
            }
            *since_ms = now_ms;
            let is_left = |mark: Arc<Watermark>| !mark.erased().forget_before(room.oldest());
            room.is_running() && watermark(room).is_some_and(is_left)
        });
    }

    fn rooms(&self) -> MutexGuard<'_, ByName> {
        lock(&self.0)
    }
}
