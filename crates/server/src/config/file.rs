//! A configuration file, read whole and within bounds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::ConfigError;
use super::parse::Format;
use super::tree::{Node, Value};

/// Reads a file by the notation that its name promises.
pub(super) fn read(path: &Path) -> Result<Node, ConfigError> {
    let format = format_of(path)?;
    parse(format, path, &text_of(path)?)
}

/// The notation that a file's name promises.
fn format_of(path: &Path) -> Result<Format, ConfigError> {
    Format::of(path).ok_or_else(|| ConfigError::UnknownFormat { path: path.to_owned() })
}

/// Reads the text of a file of that name as if it had been read.
#[cfg(any(test, roomcast_fuzz))]
pub(super) fn read_text(path: &Path, text: &str) -> Result<Node, ConfigError> {
    parse(format_of(path)?, path, text)
}

fn parse(format: Format, path: &Path, text: &str) -> Result<Node, ConfigError> {
    // Editors of some systems put it before a text; it says nothing.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    format.parse(&path.display().to_string(), text)
}

/// The text of a file.
pub(super) fn text_of(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes_max: FILE_BYTES_MAX });
    }
    Ok(text)
}

/// A file that says nothing.
pub(super) fn nothing() -> Node {
    Node { place: String::new(), value: Value::Table(Vec::new()) }
}

/// Far more than a thousand namespaces need.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
