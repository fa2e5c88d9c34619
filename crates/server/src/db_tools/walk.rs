//! The walk: every room of a database, and every message of a room, a page at a time.

use std::iter;

use super::PAGE;
use roomcast::store::{Record, RoomEntry, Store, StoreError};

/// Rooms listed at once: those are held in memory.
const ROOMS_AT_ONCE: usize = 1_000;

/// All rooms, in the order of their names. An error is the last that comes.
pub(super) fn rooms(store: &dyn Store) -> impl Iterator<Item = Result<RoomEntry, StoreError>> {
    let mut after = Some(None::<String>);
    iter::from_fn(move || {
        let listed = store.rooms(after.take()?.as_deref(), ROOMS_AT_ONCE);
        if let Ok(Some(last)) = listed.as_ref().map(|rooms| rooms.last()) {
            after = Some(Some(last.name.clone()));
        }
        Some(listed)
    })
    .flat_map(|listed| match listed {
        Ok(rooms) => rooms.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}

/// All messages of a room, the oldest first. An error is the last that comes.
pub(super) fn pages(store: &dyn Store, room: &RoomEntry) -> impl Iterator<Item = Result<Vec<Record>, StoreError>> {
    let end = room.span.next;
    let mut at = room.span.oldest;
    iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let page = store.read(&room.name, at..end, PAGE);
        // Where nothing is left, or nothing can be read, nothing more comes.
        at = page.as_ref().ok().and_then(|page| page.last()).map_or(end, |last| last.sequence + 1);
        Some(page)
    })
}
