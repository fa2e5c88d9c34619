//! What SQLite says, in words that help.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::fence::Unwritten;

/// Puts an error of SQLite into words.
pub(super) trait Explain<R> {
    fn explain(self, path: &Path) -> Result<R, StoreError>;
}

impl<R> Explain<R> for rusqlite::Result<R> {
    fn explain(self, path: &Path) -> Result<R, StoreError> {
        self.map_err(|error| explained(error, path))
    }
}

impl<R> Explain<R> for Result<R, Unwritten<rusqlite::Error>> {
    fn explain(self, path: &Path) -> Result<R, StoreError> {
        self.map_err(|error| match error {
            Unwritten::Said(error) => explained(error, path),
            Unwritten::Foreign(foreign) => foreign.at(path.display()),
        })
    }
}

fn explained(error: rusqlite::Error, path: &Path) -> StoreError {
    use StoreErrorKind as Kind;
    let path = path.display();
    let (kind, text) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            (Kind::Locked, format!("another program has locked {path}; close it"))
        }
        Some(ErrorCode::DiskFull) => (Kind::Full, format!("the disk is full: {path} cannot grow; make space")),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (Kind::ReadOnly, format!("{path} cannot be written; see its permissions and those of its folder"))
        }
        Some(ErrorCode::CannotOpen) => {
            (Kind::Unavailable, format!("{path} cannot be opened; see whether its folder exists and may be read"))
        }
        Some(ErrorCode::SystemIoFailure) => (
            Kind::Unavailable,
            format!("reading or writing {path} failed: {error}; see the disk and the limits on files"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => return damaged(Path::new(&path.to_string()), &error.to_string()),
        Some(ErrorCode::NotADatabase) => (
            Kind::Damaged,
            format!("{path} is no database; move it away to begin a new one, or put a backup in its place"),
        ),
        _ => (Kind::Other, format!("{path}: {error}")),
    };
    StoreError::new(kind, text).caused_by(error)
}

/// The file is damaged: what is wrong, and the ways out.
pub(super) fn damaged(path: &Path, found: &str) -> StoreError {
    let (path, found) = (path.display(), found.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = format!(
        "{path} is damaged ({found}). Ways out: put a backup in its place (`roomcast backup` makes them); or save what can be \
         read with `roomcast export`, move {path} and the files beside it away, and `roomcast import` the rest into a new one"
    );
    StoreError::new(StoreErrorKind::Damaged, text)
}
