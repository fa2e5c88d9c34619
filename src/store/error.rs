//! What can go wrong with a store, by what can be done about it.

use std::error::Error;
use std::fmt;

use crate::error::RoomError;

/// What kind of trouble a store is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Somebody else holds it; passes by itself, or another process uses the same store.
    Locked,
    /// The disk is full, or a limit on the size of files is reached.
    Full,
    /// It cannot be written: permissions, or a file system mounted read-only.
    ReadOnly,
    /// It cannot be reached: a server that is down, a file that cannot be opened.
    Unavailable,
    /// What is there is damaged, or is not ours, or was written by a newer version.
    Damaged,
    /// Another process has used it since, or what it had confirmed is not there. This one does not pass: nothing more is written
    /// until the process is restarted.
    Overtaken,
    /// Anything else.
    Other,
}

/// A store did not do what it was asked; nothing of the request was kept.
///
/// Its text says what happened and what a person can do about it.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of that kind; `text` is a sentence for a person.
    pub fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    /// The same, with what led to it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// What kind of trouble it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A room was not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The broker refused it.
    Room(RoomError),
    /// The store does not say where the room stands, so no position could be given out that is not given out twice. Try
    /// again.
    Store(StoreError),
    /// An earlier incarnation of the room has ended and is not stored to its end yet. Try again.
    Ending,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(error) => error.fmt(f),
            Self::Store(error) => write!(f, "the room cannot be opened while its store does not answer: {error}"),
            Self::Ending => f.write_str("an earlier incarnation of the room is not stored to its end yet; try again"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Room(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Ending => None,
        }
    }
}
