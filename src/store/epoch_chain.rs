//! The incarnations of a room that go on from each other, and how far they reach: what every database makes of its rows.

use std::ops::Range;

use super::backend::{RetentionCutoff, Span};
use super::options::Durability;
use crate::message::Epoch;

/// Incarnations of a room that are looked at, the newest first: one more for each time it may have lost messages.
pub(super) const INCARNATIONS_MAX: i64 = 1_000;

/// An incarnation, as far as it can be seen from those after it.
pub(super) struct Seen {
    /// Its row.
    pub(super) row: i64,
    pub(super) epoch: Epoch,
    /// The sequences that are read from it.
    pub(super) range: Range<u64>,
    pub(super) is_whole: bool,
    pub(super) durability: Durability,
}

/// What is asked of the messages of an incarnation.
pub(super) trait Messages {
    type Error;

    /// The first one before `end` that is kept.
    fn least(&mut self, row: i64, end: u64) -> Result<Option<u64>, Self::Error>;

    /// When one was published.
    fn time(&mut self, row: i64, sequence: u64) -> Result<Option<u64>, Self::Error>;
}

/// Of all incarnations of a room, the newest first, those that go on from each other.
pub(super) fn chain<E>(incarnations: impl IntoIterator<Item = Result<Seen, E>>) -> Result<Vec<Seen>, E> {
    let mut seen: Vec<Seen> = Vec::new();
    for incarnation in incarnations {
        let mut incarnation = incarnation?;
        if let Some(after) = seen.last() {
            let upper = after.range.start;
            if incarnation.range.end < upper || incarnation.range.start > upper {
                break;
            }
            if incarnation.range.start == upper {
                // Nothing of it was stored before the next one began; those before it go on from each other nevertheless.
                continue;
            }
            incarnation.range.end = upper;
        }
        seen.push(incarnation);
    }
    Ok(seen)
}

/// How far such incarnations reach, what `cutoff` lets fall left out; `None` where there is none.
pub(super) fn span<M: Messages>(
    incarnations: &[Seen],
    messages: &mut M,
    cutoff: RetentionCutoff,
) -> Result<Option<Span>, M::Error> {
    let Some(&Seen { epoch, is_whole, durability, ref range, .. }) = incarnations.first() else { return Ok(None) };
    let next = range.end;
    let mut oldest = next;
    for Seen { row, range, .. } in incarnations {
        match messages.least(*row, range.end)? {
            Some(first) => oldest = first,
            None if range.is_empty() => {}
            None => break,
        }
        if oldest > range.start {
            break;
        }
    }
    oldest = oldest.max(next.saturating_sub(cutoff.messages_max.unwrap_or(u64::MAX)));
    if cutoff.before_time > 0 {
        // Times never fall along the sequences: halve until the first that is young enough is found.
        let (mut old, mut young) = (oldest, next);
        while old < young {
            let middle = old + (young - old) / 2;
            let incarnation = incarnations.iter().find(|seen| seen.range.contains(&middle));
            match incarnation.map_or(Ok(None), |seen| messages.time(seen.row, middle))? {
                Some(time) if time < cutoff.before_time => old = middle + 1,
                _ => young = middle,
            }
        }
        oldest = young;
    }
    Ok(Some(Span { epoch, oldest, next, is_whole, durability }))
}
