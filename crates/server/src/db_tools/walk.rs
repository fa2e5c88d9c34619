//! The walk: every room of a database, and every message of a room, a page at a time.

use std::iter;

use super::PAGE;
use roomcast::store::{Record, RetentionCutoff, RoomEntry, Store, StoreError};

/// Rooms listed at once: their names are held in memory.
const ROOMS_AT_ONCE: usize = 1_000;

/// The name of a room, and how far it is stored, unless that cannot be read.
type Listed = (String, Result<RoomEntry, StoreError>);

/// All rooms, in the order of their names. An error of the list itself is the last that comes.
pub(super) fn rooms(store: &dyn Store) -> impl Iterator<Item = Result<Listed, StoreError>> {
    let mut after = Some(None::<String>);
    let names = iter::from_fn(move || {
        let names = store.room_names(after.take()?.as_deref(), ROOMS_AT_ONCE);
        if let Ok(Some(last)) = names.as_ref().map(|names| names.last()) {
            after = Some(Some(last.clone()));
        }
        Some(names)
    });
    let names = names.flat_map(|names| match names {
        Ok(names) => names.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    });
    names.filter_map(|name| match name {
        Ok(name) => {
            let span = store.span(&name, RetentionCutoff::default()).transpose()?;
            Some(Ok((name.clone(), span.map(|span| RoomEntry { name, span }))))
        }
        Err(error) => Some(Err(error)),
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
