//! What could not be written to a socket yet.

use std::io::{self, IoSlice};

use bytes::Bytes;
use tokio::net::TcpStream;

/// Bytes of replies a connection may hold before its commands have to wait: beyond it nothing more is read from the client,
/// so a client that asks without reading costs this and one reply.
pub(crate) const REPLY_BYTES_HIGH: usize = 256 * 1024;

/// The unsent rest of one connection's output, in order: the end of a run that its room shares, then replies.
///
/// There is at most one run: a member whose socket is full takes no further one until this is empty.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    run: Bytes,
    replies: Vec<u8>,
    /// How much of `replies` has been sent.
    sent: usize,
}

impl Outgoing {
    /// Keeps the rest of a run. Everything before it must have been sent.
    pub(crate) fn keep_run(&mut self, rest: Bytes) {
        debug_assert!(self.is_empty(), "a run would overtake what waits");
        self.run = rest;
    }

    /// Keeps replies, behind what waits already.
    pub(crate) fn keep_replies(&mut self, rest: &[u8]) {
        self.replies.extend_from_slice(rest);
    }

    /// Writes a run behind the replies that wait, and as much of both as the socket takes; `None` when it did not take
    /// all replies, otherwise how much of the run was taken. Nothing of an earlier run must wait.
    ///
    /// # Errors
    /// What the socket says, other than that it is full.
    pub(crate) fn write_with_run(&mut self, stream: &TcpStream, run: &[u8]) -> io::Result<Option<usize>> {
        debug_assert!(self.run.is_empty(), "two runs would wait");
        let replies = &self.replies[self.sent..];
        let written = write_both(stream, replies, run)?;
        if written < replies.len() {
            self.sent += written;
            return Ok(None);
        }
        let of_run = written - replies.len();
        self.replies = Vec::new();
        self.sent = 0;
        Ok(Some(of_run))
    }

    /// Writes as much as the socket takes; true when nothing is left.
    ///
    /// # Errors
    /// What the socket says, other than that it is full.
    pub(crate) fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while !self.run.is_empty() {
            match write_some(stream, &self.run)? {
                0 => return Ok(false),
                n => drop(self.run.split_to(n)),
            }
        }
        self.run = Bytes::new();
        while self.sent < self.replies.len() {
            match write_some(stream, &self.replies[self.sent..])? {
                0 => return Ok(false),
                n => self.sent += n,
            }
        }
        self.replies = Vec::new();
        self.sent = 0;
        Ok(true)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_empty() && self.replies.len() == self.sent
    }

    /// Bytes of replies that wait.
    pub(crate) fn reply_bytes(&self) -> usize {
        self.replies.len() - self.sent
    }
}

/// Writes two pieces, one behind the other, with one system call; otherwise as [`write_some`].
///
/// # Errors
/// As [`write_some`].
fn write_both(stream: &TcpStream, first: &[u8], second: &[u8]) -> io::Result<usize> {
    match stream.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Writes what the socket takes at once; 0 when it is full.
///
/// # Errors
/// What the socket says, other than that it is full.
pub(crate) fn write_some(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.try_write(bytes) {
        Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
