//! TLS over a socket: what a connection writes is encrypted and sent at once, what comes is decrypted into the reader's buffer.
//!
//! rustls keeps no bytes here; they are in buffers that all connections of a thread share, and what does not fit anywhere yet is
//! kept beside the session until it does: the beginning of a record, and at most one record that the socket has not taken. A
//! connection that is idle has neither.

mod records;
mod stream;

#[cfg(any(test, roomcast_fuzz))]
pub(crate) use self::stream::Carrier;
pub(crate) use self::stream::TlsStream;
