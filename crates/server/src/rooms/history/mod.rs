//! Reading a room's past from its ring, always a bounded part of it.

use std::ops::Range;

use crate::config::RecoveryMode;
use crate::rooms::engine::Entered;
use crate::rooms::visible::{Erased, Visible};
use crate::session::{Recover, Subscribed};
use roomcast::{Position, Room, Start, Subscription, TryRecvError};
use roomcast_protocol::{ErrorCode, HistoryQuery, HistoryResult, Placed, Publication, StreamPosition};

/// Bytes of publications in one answer: what a client that takes none of it can make the server hold by asking. Who reads history
/// goes on behind it; who recovers is given the rest as it takes it.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Where an answer could hold no more than this, a history is not read: a client that takes its answers leaves more to the next one.
pub(crate) const ANSWER_BYTES_MIN: usize = 16 * 1024;

/// Messages read at once where their bytes are counted.
const COUNTED: usize = 16;

/// Times that reading is tried when the ring moves past where it was to begin.
const TRIES: usize = 3;

/// Enters a room: a subscription that goes on exactly after what the reply will hold.
///
/// # Errors
/// [`ErrorCode::Internal`] when the room has just ended.
pub(crate) fn enter(
    room: &Room<Publication>,
    recover: Option<&Recover>,
    visible: &Visible,
    publications_max: usize,
) -> Result<Entered, ErrorCode> {
    let wanted = recover.and_then(|recover| match recover.mode {
        RecoveryMode::Stream => missed(room, &recover.position, visible, publications_max),
        RecoveryMode::Cache => newest(room, visible, recover.newest_max(publications_max)),
    });
    // Whoever wants the newest message is given one of those that are looked at.
    let bytes_max = match recover.map(|recover| recover.mode) {
        Some(RecoveryMode::Cache) => usize::MAX,
        _ => visible.answer_bytes_max.min(recover.map_or(0, |recover| recover.bytes_max)),
    };
    if let Some(wanted) = wanted
        && let Some((subscription, found)) = read(room, wanted, bytes_max, &visible.edge.erased(room))
    {
        let top = visible.position(subscription.position().sequence);
        return Ok(Entered { subscription, subscribed: Subscribed { top, found } });
    }
    // In a ring that is overrun as fast as it is looked at, the next message is as good a place as any.
    let subscription =
        from(room, visible.top(room)).or_else(|| room.subscribe().now().ok()).ok_or(ErrorCode::Internal)?;
    let top = visible.position(subscription.position().sequence);
    Ok(Entered { subscription, subscribed: Subscribed { top, found: Vec::new() } })
}

/// Answers a history command.
///
/// # Errors
/// [`ErrorCode::UnrecoverablePosition`] when the command names another incarnation of the room, [`ErrorCode::TooManyRequests`] when so
/// much waits for others that there is no memory for an answer, [`ErrorCode::Internal`] when the ring is overrun as fast as it is read.
pub(crate) fn history(
    room: &Room<Publication>,
    query: &HistoryQuery,
    visible: &Visible,
) -> Result<HistoryResult, ErrorCode> {
    if let Some(since) = &query.since
        && !visible.epoch.is_meant_by(&since.epoch)
    {
        return Err(ErrorCode::UnrecoverablePosition);
    }
    if visible.answer_bytes_max < ANSWER_BYTES_MIN {
        return Err(ErrorCode::TooManyRequests);
    }
    for _ in 0..TRIES {
        let top = visible.top(room);
        let window = query.window(visible.oldest(room, top) + 1, top);
        let sequences = window.start.saturating_sub(1)..window.end.saturating_sub(1);
        if sequences.is_empty() {
            return Ok(HistoryResult::new(Vec::new(), visible.position(top)));
        }
        if let Some((ring, mut found)) = read(room, sequences.clone(), usize::MAX, &visible.edge.erased(room)) {
            if query.reverse {
                found.reverse();
            }
            limit_bytes(&mut found, visible.answer_bytes_max);
            return Ok(HistoryResult::new(found, visible.position(told(&ring, sequences.end, top))));
        }
    }
    Err(ErrorCode::Internal)
}

/// Leaves what one answer may hold: the first of it, and one in any case.
pub(crate) fn limit_bytes(found: &mut Vec<Placed>, bytes_max: usize) {
    let mut bytes = 0;
    let fits = |placed: &&Placed| {
        let fits = bytes == 0 || bytes < bytes_max;
        bytes += placed.bytes_held();
        fits
    };
    let count = found.iter().take_while(fits).count();
    found.truncate(count);
}

/// Where a room stands for who has been given what `ring` has gone through of the sequences up to `end`. Before one that is being
/// written at this moment, where it did not come to the end: who goes on there is given what has come behind it already, too.
pub(crate) fn told(ring: &Subscription<Publication>, end: u64, top: u64) -> u64 {
    let reached = ring.position().sequence;
    if reached < end { reached } else { top }
}

/// The sequences a client that saw `asked` has missed, if they are all still there and not too many.
fn missed(
    room: &Room<Publication>,
    asked: &StreamPosition,
    visible: &Visible,
    publications_max: usize,
) -> Option<Range<u64>> {
    let top = visible.top(room);
    let known = visible.epoch.is_meant_by(&asked.epoch);
    let missed = top.checked_sub(asked.offset)?;
    // An offset counts from 1, so it is also the sequence that comes next.
    let all_there = missed == 0 || visible.oldest(room, top) <= asked.offset;
    (known && all_there && missed <= publications_max as u64).then_some(asked.offset..top)
}

/// The newest sequences, if the newest one is in the history.
fn newest(room: &Room<Publication>, visible: &Visible, newest_max: usize) -> Option<Range<u64>> {
    let top = visible.top(room);
    let newest = top.saturating_sub(newest_max as u64).max(visible.oldest(room, top));
    (newest < top).then_some(newest..top)
}

/// When the newest message was published, as far as it is still there.
pub(crate) fn newest_ms(room: &Room<Publication>) -> Option<u64> {
    time_ms(room, room.tail().checked_sub(1)?)
}

/// Reads these sequences, or the first of them, about as many bytes as are allowed, empty where they are `erased`; the subscription
/// then stands behind the last one found. `None` when the first is gone.
pub(crate) fn read(
    room: &Room<Publication>,
    range: Range<u64>,
    bytes_max: usize,
    erased: &Erased,
) -> Option<(Subscription<Publication>, Vec<Placed>)> {
    let mut ring = from(room, range.start)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while ring.position().sequence < range.end && bytes < bytes_max {
        let left = (range.end - ring.position().sequence) as usize;
        match ring.try_recv_batch(left.min(COUNTED)) {
            Ok(batch) => found.extend(batch.iter().map(|(sequence, time_ms, publication)| {
                let (offset, time_ms) = (sequence + 1, time_ms.unwrap_or(0));
                let publication = erased.shown(sequence, publication).clone();
                let placed = Placed { offset, time_ms, publication };
                bytes += placed.bytes_held();
                placed
            })),
            // The last ones are being written this moment: they will come as pushes.
            Err(TryRecvError::Empty) => break,
            Err(_) => return None,
        }
    }
    // Who reads on may take long to begin.
    ring.release();
    Some((ring, found))
}

/// The sequences of what `user` has published of what a room holds.
pub(crate) fn sequences_of(room: &Room<Publication>, user: &str) -> Vec<u64> {
    let mut found = Vec::new();
    let Some(mut ring) = (0..TRIES).find_map(|_| from(room, room.oldest())) else { return found };
    let end = room.tail();
    while ring.position().sequence < end {
        match ring.try_recv_batch(COUNTED) {
            Ok(batch) => {
                let is_by_user =
                    |publication: &Publication| publication.info.as_ref().is_some_and(|info| info.user() == user);
                found.extend(
                    batch.iter().filter(|(.., publication)| is_by_user(publication)).map(|(sequence, ..)| sequence),
                );
            }
            // What it has lost is in it no more.
            Err(TryRecvError::Lagged(_) | TryRecvError::Disconnected(_)) => {}
            // The last ones are being written at this moment: nobody was told that they are there.
            Err(_) => break,
        }
    }
    found
}

/// A subscription that stands exactly at `sequence`.
pub(crate) fn from(room: &Room<Publication>, sequence: u64) -> Option<Subscription<Publication>> {
    let epoch = room.epoch();
    let start = Start::Resume(Position { epoch, sequence });
    let ring = room.subscribe_from(start).now().ok()?;
    (ring.position().sequence == sequence).then_some(ring)
}

pub(crate) fn time_ms(room: &Room<Publication>, sequence: u64) -> Option<u64> {
    from(room, sequence)?.try_recv_ref().ok()?.time()
}

#[cfg(test)]
mod tests;
