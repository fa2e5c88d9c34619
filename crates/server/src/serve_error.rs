//! Why a server does not serve, in words.

use std::error::Error;
use std::fmt;
use std::io;

use crate::events::EventsError;
use crate::handover::new_process::NotTaken;
use crate::net::listeners::{ListenAt, NotBound};
use roomcast::store::StoreError;

/// Why a server does not serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// An address could not be taken.
    Bind {
        /// The place asked for.
        place: ListenAt,
        /// What the system said.
        source: io::Error,
    },
    /// TLS cannot be spoken with what is configured.
    Tls(String),
    /// The database could not be begun.
    Store(StoreError),
    /// The system allows so few open files that there would be none for a connection.
    NoDescriptors {
        /// How many it allows.
        descriptors: u64,
    },
    /// The log of room events could not be begun.
    Events(EventsError),
    /// The process that serves goes on: it does not hand over, for this reason.
    NotHandedOver(String),
    /// It has served and handed over, and not all of it is served now.
    Orphaned(&'static str),
    /// It has served, and at the end the database did not take everything that was published.
    Unstored(StoreError),
    /// The system refused threads or descriptors, or a thread of the server died.
    Start(io::Error),
}

impl From<NotBound> for ServeError {
    fn from(NotBound { place, source }: NotBound) -> Self {
        Self::Bind { place, source }
    }
}

impl From<NotTaken> for ServeError {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::Bind(not_bound) => not_bound.into(),
            error => Self::NotHandedOver(error.to_string()),
        }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { place: ListenAt::Unix(path), source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    write!(
                        f,
                        "somebody listens at {}: stop that program or choose another `unix_socket`",
                        path.display()
                    )
                }
                _ => write!(
                    f,
                    "cannot listen at {}: {source}; see `unix_socket` in section `[http_server]`",
                    path.display()
                ),
            },
            Self::Bind { place, source } => match source.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "{place} is in use: stop the program that listens there or choose another \
                     address with --listen"
                ),
                io::ErrorKind::AddrNotAvailable => {
                    write!(f, "{place} is not an address of this machine: choose one with --listen")
                }
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "listening on {place} is not permitted: choose a port from 1024 up with \
                     --listen"
                ),
                _ => write!(f, "cannot listen on {place}: {source}"),
            },
            Self::NoDescriptors { descriptors } => write!(
                f,
                "{descriptors} open files are allowed, which leaves none for a connection: raise the limit (`ulimit -n`, LimitNOFILE= of \
                 systemd) or have fewer shards with --shards"
            ),
            Self::Tls(error) => write!(f, "`http_server.tls`: {error}"),
            Self::Store(error) => error.fmt(f),
            Self::Events(error) => error.fmt(f),
            Self::NotHandedOver(reason) => f.write_str(reason),
            Self::Orphaned(what) => f.write_str(what),
            Self::Unstored(error) => write!(f, "not everything that was published is stored: {error}"),
            Self::Start(source) => write!(
                f,
                "the server cannot go on: {source}; see whether the system is short of threads \
                 or descriptors"
            ),
        }
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Start(source) => Some(source),
            Self::Store(error) | Self::Unstored(error) => Some(error),
            Self::Events(error) => Some(error),
            Self::NoDescriptors { .. } => None,
            Self::Tls(_) | Self::NotHandedOver(_) | Self::Orphaned(_) => None,
        }
    }
}
