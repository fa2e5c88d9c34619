//! WebSocket as a load speaks it: frames of both sides, the handshake, and a reader for what a server sends.
//!
//! It is the one client of the lab and of the benches: it trusts its own server with everything but sizes, and copies no payload
//! that comes in one frame and one read.
//!
//! ```
//! use roomcast_lab::websocket::{self, Error, Event, Reader, TEXT};
//!
//! let mut sent = Vec::new();
//! websocket::write_response(websocket::KEY, &mut sent);
//! websocket::write(TEXT, None, &mut sent, |out| out.extend_from_slice(b"hello"));
//! let (mut reader, mut heard) = (Reader::new(), Vec::new());
//! // However the bytes arrive.
//! for byte in sent {
//!     reader.read(&[byte], |event| {
//!         if let Event::Message(message) = event {
//!             heard.extend_from_slice(message);
//!         }
//!         Ok::<(), Error>(())
//!     })?;
//! }
//! assert_eq!(heard, b"hello");
//! # Ok::<(), Error>(())
//! ```

mod frame;
mod handshake;
mod reader;

use std::fmt;

pub use self::frame::{
    BINARY, CLOSE, CONTINUATION, FRAME_BYTES_MAX, Frame, PING, PONG, TEXT, apply_mask, parse, write,
};
pub use self::handshake::{HEAD_BYTES_MAX, KEY, accept, field, head, write_request, write_response};
pub use self::reader::{Event, Partial, Reader};

/// Why bytes are not what the other side may send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the handshake; the first line of its answer.
    Refused(String),
    /// Something that does not belong there.
    Unexpected(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(line) => write!(f, "{line:?} instead of a WebSocket"),
            Self::Unexpected(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.to_string()
    }
}
