//! Why a call to the backend came to nothing.

use std::error::Error;
use std::fmt;

use axum::http::StatusCode;

/// Why a call came to nothing. What it says holds no header, no body and no address: they may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Not everything was there when its time was up.
    Timeout,
    /// Nobody was reached: no such name, nobody listens, or who does is not who it should be.
    Unreachable(String),
    /// It was answered that what is asked for is elsewhere, where we do not go.
    Redirected(StatusCode),
    /// It was answered with another status than 200.
    Status(StatusCode),
    /// The answer is larger than it may be, in bytes of its body.
    TooLarge { bytes_max: usize },
    /// There is no memory for the answer, or for the call.
    NoMemory,
    /// The connection ended within an answer, or what was answered is not HTTP.
    Broken(String),
}

impl CallError {
    /// One word for a label.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Redirected(_) => "redirected",
            Self::Status(_) => "status",
            Self::TooLarge { .. } => "too_large",
            Self::NoMemory => "busy",
            Self::Broken(_) => "broken",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("not answered in time"),
            Self::Unreachable(why) => write!(f, "not reached: {why}"),
            Self::Redirected(status) => {
                write!(
                    f,
                    "answered with {} and redirects are not followed; give the address it leads to",
                    status.as_u16()
                )
            }
            Self::Status(status) => write!(f, "answered with status {}", status.as_u16()),
            Self::TooLarge { bytes_max } => write!(f, "the answer is larger than {bytes_max} bytes"),
            Self::NoMemory => f.write_str("the memory for calls is used up"),
            Self::Broken(why) => write!(f, "the answer broke off or is not HTTP: {why}"),
        }
    }
}

impl Error for CallError {}

/// The texts of an error and of what it came from, innermost last, each once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}
