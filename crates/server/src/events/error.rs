//! Why the log of room events is not to be had, in words.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

/// Why the log of room events cannot be used.
#[derive(Debug)]
pub struct EventsError {
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EventsError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }

    pub(super) fn io(text: impl fmt::Display, error: io::Error) -> Self {
        Self { text: format!("{text}: {error}"), source: Some(error.into()) }
    }

    pub(super) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.display();
        let text = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => format!("no room on the disk of {path}"),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                format!("the log of room events {path} is damaged; move it away to begin a new one")
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                format!("the log of room events {path} cannot be written: {error}")
            }
            _ => format!("the log of room events {path} does not work: {error}"),
        };
        Self { text, source: Some(error.into()) }
    }
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for EventsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}
