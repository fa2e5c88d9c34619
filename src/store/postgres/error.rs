//! What PostgreSQL says, in words that help.

use std::error::Error as _;

use postgres::error::SqlState;

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::fence::Unwritten;

/// Puts an error of PostgreSQL into words.
pub(super) trait Explain<R> {
    /// `place` says where it happened.
    fn explain(self, place: &str) -> Result<R, StoreError>;
}

impl<R> Explain<R> for Result<R, postgres::Error> {
    fn explain(self, place: &str) -> Result<R, StoreError> {
        self.map_err(|error| explained(error, place))
    }
}

impl<R> Explain<R> for Result<R, Unwritten<postgres::Error>> {
    fn explain(self, place: &str) -> Result<R, StoreError> {
        self.map_err(|error| match error {
            Unwritten::Said(error) => explained(error, place),
            Unwritten::Foreign(foreign) => foreign.at(place),
        })
    }
}

/// Whether the error means that this connection is the wrong one, and another may lead to the right server: that one became a
/// standby, ends, starts, or was lost behind a proxy.
pub(super) fn is_of_the_connection(error: &postgres::Error) -> bool {
    if error.is_closed() {
        return true;
    }
    let Some(state) = error.code() else { return false };
    state.code().starts_with("08")
        || [
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::DATABASE_DROPPED,
            SqlState::IDLE_SESSION_TIMEOUT,
        ]
        .contains(state)
}

fn explained(error: postgres::Error, place: &str) -> StoreError {
    use StoreErrorKind as Kind;
    let said = said(&error);
    let Some(state) = error.code().cloned() else {
        // Not the server's words. Either it was not reached, or went away; or it is a mistake of ours.
        if error.source().is_some_and(is_refused_to_write) {
            return StoreError::new(Kind::ReadOnly, standby(place, "it takes no writes")).caused_by(error);
        }
        let is_away = error.is_closed() || error.source().is_none_or(|source| source.is::<std::io::Error>());
        if !is_away {
            return StoreError::new(Kind::Other, format!("{place}: {said}")).caused_by(error);
        }
        let text = format!("{place} cannot be reached ({said}); see whether the server runs and listens there");
        return StoreError::new(Kind::Unavailable, text).caused_by(error);
    };
    let (kind, text) = match state {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => (
            Kind::Unavailable,
            format!("{place} refuses the user ({said}); see user and password in the URL, and pg_hba.conf"),
        ),
        SqlState::INVALID_CATALOG_NAME => {
            (Kind::Unavailable, format!("{place} does not exist ({said}); create it with `createdb`"))
        }
        SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::CANNOT_CONNECT_NOW
        | SqlState::TOO_MANY_CONNECTIONS
        | SqlState::QUERY_CANCELED => (Kind::Unavailable, format!("{place} does not serve at the moment: {said}")),
        SqlState::DISK_FULL => (Kind::Full, format!("the disk of {place} is full; make space there")),
        SqlState::READ_ONLY_SQL_TRANSACTION => (Kind::ReadOnly, standby(place, &said)),
        SqlState::INSUFFICIENT_PRIVILEGE => (
            Kind::ReadOnly,
            format!("the user may not write {place} ({said}); grant it CREATE on the database, or make it the owner"),
        ),
        SqlState::LOCK_NOT_AVAILABLE | SqlState::T_R_DEADLOCK_DETECTED | SqlState::OBJECT_IN_USE => {
            (Kind::Locked, format!("somebody else has locked tables of {place}: {said}"))
        }
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
            (Kind::Damaged, format!("{place} is damaged ({said}); restore a backup of it"))
        }
        _ => (Kind::Other, format!("{place}: {said}")),
    };
    StoreError::new(kind, text).caused_by(error)
}

fn standby(place: &str, said: &str) -> String {
    format!("{place} cannot be written ({said}); is it a standby? Name the primary server")
}

/// What a connection that is to write says of a server that does not let it.
fn is_refused_to_write(source: &(dyn std::error::Error + 'static)) -> bool {
    let error = source.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied && error.raw_os_error().is_none())
}

/// The innermost reason, which the outer ones only announce.
fn said(error: &postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return error.message().to_owned();
    }
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}
