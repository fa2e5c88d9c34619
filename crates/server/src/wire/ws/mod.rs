//! WebSocket frames (RFC 6455) over byte slices: an incremental decoder, an encoder and the opening handshake.
//!
//! Nothing here does I/O or knows what a message means. The decoder works in the buffer the socket was read into, so that
//! a connection between two messages holds no bytes of its own.

mod close;
mod decoder;
mod deflate;
mod encoder;
mod handshake;
mod mask;

pub(crate) use decoder::{Decoder, Event, FrameError};
pub(crate) use deflate::Deflate;
#[cfg(test)]
pub(crate) use deflate::inflate;
pub(crate) use encoder::{FrameWriter, Opcode, write_close, write_frame};
pub(crate) use handshake::Handshake;
