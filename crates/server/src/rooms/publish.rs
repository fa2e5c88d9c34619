//! Publishing for a client.

use std::sync::Arc;

use crate::config::{Overload, Storage};
use crate::rooms::hub::Hub;
use crate::rooms::visible::Edge;
use roomcast::PublishError;
use roomcast::store::Watermark;
use roomcast_protocol::{ErrorCode, Publication, RoomName};

/// Times a room is looked up: one that ends twice in that moment is not bad luck but a server that is closing.
pub(crate) const TRIES: usize = 2;

/// How publishing went.
pub(crate) enum Published {
    Done(Result<(), ErrorCode>),
    /// It is in the ring, and the sequences before this one must reach the disk.
    AwaitsDisk(Arc<Watermark>, u64),
    /// The room must be opened, or have space, first.
    Awaits(Publication),
}

/// Publishes, as far as that can be done at once.
pub(crate) fn publish(hub: &Hub, name: &RoomName, publication: Publication) -> Published {
    let Some((stored_rooms, storage)) = hub.storing(name) else {
        return Published::Done(publish_in_memory(hub, name, publication));
    };
    let is_refused =
        stored_rooms.archive.is_stopped() || storage == Storage::Stored && stored_rooms.archive.is_in_trouble();
    if is_refused {
        return Published::Done(Err(ErrorCode::TooManyRequests));
    }
    let Some(room) = hub.running(name) else { return Published::Awaits(publication) };
    match room.publish(publication) {
        Ok(sequence) => match Edge::awaited(&stored_rooms.archive, &room) {
            Ok(Some(mark)) => Published::AwaitsDisk(mark, sequence + 1),
            Ok(None) => Published::Done(Ok(())),
            Err(code) => Published::Done(Err(code)),
        },
        Err(PublishError::Closed(back) | PublishError::Crashed(back)) => Published::Awaits(back),
        Err(PublishError::Full(back)) if stored_rooms.overload == Overload::Wait => Published::Awaits(back),
        Err(refused) => Published::Done(Err(refusal(&refused))),
    }
}

fn publish_in_memory(hub: &Hub, name: &RoomName, mut publication: Publication) -> Result<(), ErrorCode> {
    for _ in 0..TRIES {
        match hub.open(name)?.publish(publication) {
            Ok(_) => return Ok(()),
            // Removed between the look-up and the publish: the next look-up opens a fresh one.
            Err(PublishError::Closed(back) | PublishError::Crashed(back)) => publication = back,
            Err(refused) => return Err(refusal(&refused)),
        }
    }
    Err(ErrorCode::Internal)
}

/// The answer to a publisher whom a room has refused.
pub(crate) fn refusal(refused: &PublishError<Publication>) -> ErrorCode {
    match refused {
        PublishError::Full(_) | PublishError::Pinned(_) => ErrorCode::TooManyRequests,
        PublishError::TooLarge(_) => ErrorCode::LimitExceeded,
        _ => ErrorCode::Internal,
    }
}
