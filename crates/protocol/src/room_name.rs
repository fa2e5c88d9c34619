//! The name of a room, checked once.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A well-formed name of a room: not empty, not too long, no control characters. Cloning it copies a pointer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// Why a text is no name of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomNameError {
    /// The name has no characters.
    Empty,
    /// The name holds a control character, which would break logs and terminals.
    ControlCharacter,
    /// The name is longer than the limit, in bytes.
    TooLong {
        /// The longest name allowed, in bytes.
        bytes_max: usize,
    },
}

impl RoomName {
    /// Checks `name`, which may have `bytes_max` bytes at most.
    ///
    /// # Errors
    /// [`RoomNameError`] says which rule the name breaks.
    ///
    /// # Examples
    /// ```
    /// use roomcast_protocol::{RoomName, RoomNameError};
    /// assert_eq!(RoomName::parse("chat:1", 255)?.as_str(), "chat:1");
    /// assert_eq!(RoomName::parse("chat:1", 5), Err(RoomNameError::TooLong { bytes_max: 5 }));
    /// # Ok::<(), RoomNameError>(())
    /// ```
    pub fn parse(name: &str, bytes_max: usize) -> Result<Self, RoomNameError> {
        if name.is_empty() {
            return Err(RoomNameError::Empty);
        }
        if name.len() > bytes_max {
            return Err(RoomNameError::TooLong { bytes_max });
        }
        if name.chars().any(char::is_control) {
            return Err(RoomNameError::ControlCharacter);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RoomNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the room has no name; give it at least one character"),
            Self::ControlCharacter => {
                f.write_str("the room's name holds a control character; use printable characters")
            }
            Self::TooLong { bytes_max } => {
                write!(f, "the room's name is too long; use at most {bytes_max} bytes")
            }
        }
    }
}

impl std::error::Error for RoomNameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_fill_the_limit_but_not_pass_it() {
        assert!(RoomName::parse(&"x".repeat(255), 255).is_ok());
        assert_eq!(RoomName::parse(&"x".repeat(256), 255), Err(RoomNameError::TooLong { bytes_max: 255 }));
        // The limit counts bytes, not characters.
        assert!(RoomName::parse(&"é".repeat(128), 255).is_err());
    }

    #[test]
    fn empty_names_and_control_characters_are_refused() {
        assert_eq!(RoomName::parse("", 255), Err(RoomNameError::Empty));
        for name in ["a\nb", "\u{0}", "a\u{7f}", "\u{85}"] {
            assert_eq!(RoomName::parse(name, 255), Err(RoomNameError::ControlCharacter), "{name:?}");
        }
        assert!(RoomName::parse("ns:имя #42,43", 255).is_ok());
    }
}
