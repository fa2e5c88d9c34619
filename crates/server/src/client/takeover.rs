//! A socket on its way from HTTP to a client's connection.

use axum::http::HeaderMap;
use bytes::Bytes;

use crate::wire::framing::Framing;
use crate::wire::unanswered::Unanswered;

/// A socket that has left HTTP, and how it goes on as a client's.
#[derive(Debug)]
pub(crate) struct Takeover {
    pub(crate) framing: Framing,
    /// The head of the answer; nothing when it has been written, or waits.
    pub(crate) head: Vec<u8>,
    /// The answer where it waits until the client is let in.
    pub(crate) unanswered: Option<Box<Unanswered>>,
    /// Commands that came with the request, where such a request brings some.
    pub(crate) frame: Option<Bytes>,
    /// What has come behind the request: the first of the client's own frames.
    pub(crate) behind: Bytes,
    /// Whose the client is, where a proxy has said so.
    pub(crate) user: Option<String>,
    /// Headers of the handshake that the backend is told.
    pub(crate) headers: Option<Box<HeaderMap>>,
}

#[cfg(test)]
impl Takeover {
    /// Of a client that has been answered, and brings these commands.
    pub(crate) fn of_commands(framing: Framing, user: Option<&str>, commands: Bytes) -> Self {
        Self {
            framing,
            head: Vec::new(),
            unanswered: None,
            frame: Some(commands),
            behind: Bytes::new(),
            user: user.map(str::to_owned),
            headers: None,
        }
    }
}
