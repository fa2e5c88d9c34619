//! The ring of a room: write-once segments, claimed with one `fetch_add`.
//!
//! A ring is a small directory of words, each naming a [`segment`] of K slots. A slot is written once per generation of
//! its segment and never overwritten in place: when the ring is full the oldest *segment* is replaced whole. A slow
//! reader thus pins the segment it stands in, never the publisher. The whole argument is in `docs/design.md`.

mod budget;
mod claim;
mod cursor;
mod directory;
mod exclusive;
mod geometry;
mod limbo;
mod rewrite;
mod rotate;
mod segment;
mod table;
mod words;

pub(crate) use self::budget::Budget;
pub(crate) use self::claim::{Refusal, Ring};
pub(crate) use self::cursor::{Cursor, Nothing, Rest, Run};
pub(crate) use self::exclusive::Writer;
pub(crate) use self::geometry::Geometry;
#[cfg(all(test, roomcast_loom))]
pub(crate) use self::{limbo::Limbo, segment::Segment, table::Table};

/// What a ring asks of the room around it. Called between the ring's own steps, never between a claim and its commit.
pub(crate) trait Bell {
    /// `count` messages from `first` on are committed, and a `fence(SeqCst)` passed since: whoever parked for one of them
    /// is to be woken.
    fn committed(&self, first: u64, count: u64);

    /// A segment was evicted or the ring was closed, and a fence passed since, or the writer of an exclusive ring has
    /// taken the call with its commit: everybody parked is to look again.
    fn disturbed(&self);

    /// Whether everything below `sequence` may be evicted; a fence passed since the ring was seen to be that far.
    fn may_evict(&self, sequence: u64) -> bool;

    /// An evicted segment waits for its messages to be dropped.
    fn retired(&self);

    /// The `Drop` of a message panicked.
    fn drop_panicked(&self);
}
