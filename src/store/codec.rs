//! How messages become bytes and come back.

use std::error::Error;
use std::fmt;

/// Turns messages into what a store keeps, and back.
///
/// What was encoded once must decode for as long as it is kept: put a version into it.
///
/// # Examples
/// ```
/// use roomcast::store::{Codec, Undecodable};
///
/// struct Text;
/// impl Codec<String> for Text {
///     fn encode(&self, message: &String, out: &mut Vec<u8>) {
///         out.extend_from_slice(message.as_bytes());
///     }
///     fn decode(&self, stored: &[u8]) -> Result<String, Undecodable> {
///         String::from_utf8(stored.to_vec()).map_err(|_| Undecodable)
///     }
/// }
/// let mut stored = Vec::new();
/// Text.encode(&"hello".to_owned(), &mut stored);
/// assert_eq!(Text.decode(&stored)?, "hello");
/// # Ok::<(), Undecodable>(())
/// ```
pub trait Codec<T>: Send + Sync + 'static {
    /// Appends the message to `out`.
    fn encode(&self, message: &T, out: &mut Vec<u8>);

    /// The message again.
    ///
    /// # Errors
    /// [`Undecodable`] when the bytes are none; the message is then left out of what is read, and reported.
    fn decode(&self, stored: &[u8]) -> Result<T, Undecodable>;

    /// Who wrote the message, where somebody may ask that all of theirs be erased ([`Archive::erase`](super::Archive::erase)).
    fn author<'a>(&self, _message: &'a T) -> Option<&'a str> {
        None
    }
}

/// What is stored is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is stored is not a message; it was written by another program or another version")
    }
}

impl Error for Undecodable {}
