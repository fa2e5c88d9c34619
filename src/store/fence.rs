//! Whether a store is still ours to write: asked inside every transaction that changes it.
//!
//! A lock says who may begin. It is not part of the transaction, and can be lost without anybody noticing: a lock file is
//! deleted, a pooler hands a session to somebody else. The number of the run is in the database itself: whoever begins a run
//! writes a higher one, and from then on nobody else commits.

use std::fmt::Display;
use std::path::PathBuf;

use super::error::{StoreError, StoreErrorKind};

/// What shows that a store is no longer ours alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Another run is the newest one, or ours is not there.
    Run { ours: i64, newest: Option<i64> },
    /// Another message stands in the place of ours.
    Message { room: String, sequence: u64 },
    /// Messages that were confirmed before are not there: the room ends at `next`.
    Gap { room: String, next: u64, sequence: u64 },
    /// A file of the store is no longer where it was opened.
    Moved(PathBuf),
}

/// Why something was not written.
#[derive(Debug)]
pub(super) enum Unwritten<E> {
    /// The database says so.
    Said(E),
    /// We must not.
    Foreign(Foreign),
}

impl<E> From<E> for Unwritten<E> {
    fn from(error: E) -> Self {
        Self::Said(error)
    }
}

/// Whether another run has begun since ours, for who only reads: what it finds may be behind, and says nothing about a store
/// that went back.
pub(super) fn confirm<E>(ours: i64, newest: Option<i64>) -> Result<(), Unwritten<E>> {
    match newest {
        Some(newest) if newest > ours => admit(ours, Some(newest)),
        _ => Ok(()),
    }
}

/// Refuses to write unless our run is the newest.
pub(super) fn admit<E>(ours: i64, newest: Option<i64>) -> Result<(), Unwritten<E>> {
    match newest == Some(ours) {
        true => Ok(()),
        false => Err(Unwritten::Foreign(Foreign::Run { ours, newest })),
    }
}

impl Foreign {
    /// Whether the store has forgotten what it had confirmed, and nobody else is its owner: then the places behind its end were
    /// handed out, and none of its incarnations may go on.
    pub(super) fn is_of_an_earlier_state(&self) -> bool {
        match self {
            Self::Run { ours, newest } => newest.is_none_or(|newest| newest < *ours),
            Self::Message { .. } | Self::Gap { .. } => true,
            Self::Moved(_) => false,
        }
    }

    /// For whoever runs the process: what was found at `place`, and what to do.
    pub(super) fn at(&self, place: impl Display) -> StoreError {
        let found = match self {
            Self::Run { ours, newest: Some(newest) } if newest > ours => {
                format!("another process has used {place} since (run {newest}, and ours is {ours})")
            }
            Self::Run { ours, .. } => {
                format!(
                    "{place} went back to an earlier state: our run {ours} is not in it (a failover to a server that had not followed, or a restored backup)"
                )
            }
            Self::Message { room, sequence } => {
                format!("another process has used {place}: offset {} of {room:?} is another message", sequence + 1)
            }
            Self::Gap { room, next, sequence } => format!(
                "{place} went back to an earlier state: {room:?} ends at offset {next}, and {sequence} were confirmed (a failover to a server that had not followed, or a restored backup)"
            ),
            Self::Moved(file) => {
                format!("{} was moved, replaced or deleted while {place} was written", file.display())
            }
        };
        let text = format!(
            "{found}. Nothing more is stored, so that nothing is overwritten. See that one process alone uses it, then restart this one"
        );
        StoreError::new(StoreErrorKind::Overtaken, text)
    }
}
