//! Why a configuration is refused, in words that say what to change.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A configuration that cannot be used. Each message names the place and what belongs there.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than a configuration can be.
    TooLarge {
        /// The file asked for.
        path: PathBuf,
        /// The most bytes that are read.
        bytes_max: u64,
    },
    /// The file's name does not say what it is written in.
    UnknownFormat {
        /// The file asked for.
        path: PathBuf,
    },
    /// The text is not TOML, YAML or JSON.
    Syntax {
        /// File and line, or the variable.
        place: String,
        /// What the parser found.
        message: String,
    },
    /// There is no such option.
    UnknownKey {
        /// File and line, or the variable.
        place: String,
        /// The key as written, with its section.
        key: String,
        /// The option that is probably meant.
        nearest: Option<String>,
    },
    /// The option exists in Centrifugo and not here, and without it something would be granted or lost.
    NotServed {
        /// File and line, or the variable.
        place: String,
        /// The key as written, with its section.
        key: String,
        /// What it means that it is missing.
        meaning: &'static str,
    },
    /// The value is of the wrong kind or out of bounds.
    Value {
        /// File and line, or the variable.
        place: String,
        /// The key as written, with its section.
        key: String,
        /// What was expected and what was found.
        message: String,
    },
    /// Two options contradict each other.
    Conflict(String),
    /// Development mode would be reachable from other machines.
    DevExposed {
        /// The address that is not loopback.
        address: std::net::SocketAddr,
    },
}

/// Writes a line: what stands in a file and would break it is written as in a program.
pub(super) struct Line<'a, W>(pub(super) &'a mut W);

impl<W: fmt::Write> fmt::Write for Line<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(char::is_control) {
            let (before, from) = rest.split_at(at);
            let mut signs = from.chars();
            self.0.write_str(before)?;
            signs.next().into_iter().flat_map(char::escape_default).try_for_each(|sign| self.0.write_char(sign))?;
            rest = signs.as_str();
        }
        self.0.write_str(rest)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let f = &mut Line(f);
        match self {
            Self::Read { path, source } if source.kind() == io::ErrorKind::InvalidData => {
                write!(f, "{} is no text in UTF-8; save it as such", path.display())
            }
            Self::Read { path, source } => {
                write!(f, "cannot read {}: {source}; give the path of an existing file to --config", path.display())
            }
            Self::TooLarge { path, bytes_max } => {
                write!(f, "{} is larger than {bytes_max} bytes; is it a configuration file?", path.display())
            }
            Self::UnknownFormat { path } if path.as_os_str().is_empty() => {
                f.write_str("--config names no file; give the path of one that ends in .toml, .yaml, .yml or .json, or leave it out")
            }
            Self::UnknownFormat { path } => {
                write!(f, "{} should end in .toml, .yaml, .yml or .json", path.display())
            }
            Self::Syntax { place, message } => write!(f, "{place}: {message}"),
            Self::UnknownKey { place, key, nearest: Some(nearest) } => {
                write!(f, "{place}: there is no option `{key}`; did you mean `{nearest}`?")
            }
            Self::UnknownKey { place, key, nearest: None } => {
                write!(f, "{place}: there is no option `{key}`; `roomcast config default` lists them all")
            }
            Self::NotServed { place, key, meaning } => write!(
                f,
                "{place}: `{key}` is not served: {meaning}; remove it, or go without it by --accept {key}"
            ),
            Self::Value { place, key, message } => write!(f, "{place}: `{key}`: {message}"),
            Self::Conflict(message) => f.write_str(message),
            Self::DevExposed { address } => write!(
                f,
                "--dev lets anybody do everything, and {address} may be reached from other machines; \
                 use 127.0.0.1, or add --dev-anywhere if that is what you want"
            ),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_file_says_an_error_is_a_line() {
        let (place, key) = ("roomcast.json:1".to_owned(), "a\nb\u{0}".to_owned());
        let error = ConfigError::UnknownKey { place, key, nearest: Some("ä".to_owned()) };
        assert_eq!(error.to_string(), r"roomcast.json:1: there is no option `a\nb\u{0}`; did you mean `ä`?");
    }
}
