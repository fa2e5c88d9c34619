//! What could not be written to a socket yet.

use std::io;

use bytes::Bytes;

use crate::wire::stream::Stream;

/// Bytes of replies a connection may hold before its commands have to wait: beyond it nothing more is read from the client,
/// so a client that asks without reading costs this and one reply.
pub(crate) const REPLY_BYTES_HIGH: usize = 256 * 1024;

/// Bytes of a batch that are copied behind replies, to be written with them.
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// The unsent rest of one connection's output, in order: the end of a batch that its room shares, then replies.
///
/// There is at most one batch: a member whose socket is full takes no further one until this is empty.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// In a box, since few sockets are full.
    batch: Option<Box<Bytes>>,
    replies: Vec<u8>,
    /// How much of `replies` has been sent.
    sent: usize,
}

impl SendQueue {
    /// Output that begins with `replies`.
    pub(crate) fn of(replies: Vec<u8>) -> Self {
        Self { replies, ..Self::default() }
    }

    /// Keeps the rest of a batch. Everything before it must have been sent.
    pub(crate) fn keep_batch(&mut self, rest: Bytes) {
        debug_assert!(self.is_empty(), "a run would overtake what waits");
        self.batch = Some(Box::new(rest));
    }

    /// Keeps replies, behind what waits already.
    pub(crate) fn keep_replies(&mut self, rest: &[u8]) {
        self.replies.extend_from_slice(rest);
    }

    /// Writes a batch behind the replies that wait, and as much of both as the socket takes; `None` when it did not take
    /// all replies, otherwise how much of the batch was taken. Nothing of an earlier batch must wait.
    ///
    /// # Errors
    /// What the socket says, other than that it is full.
    pub(crate) fn write_with_batch(&mut self, stream: &Stream, batch: &[u8]) -> io::Result<Option<usize>> {
        debug_assert!(self.batch.is_none(), "two runs would wait");
        let end = self.replies.len();
        // One buffer: a vectored write takes a longer way through the system, which costs more than copying a short batch.
        let joined = &batch[..batch.len().min(JOINED_BYTES_MAX)];
        self.replies.extend_from_slice(joined);
        let written = write_some(stream, &self.replies[self.sent..]);
        self.replies.truncate(end);
        let (written, waited) = (written?, end - self.sent);
        if written < waited {
            self.sent += written;
            return Ok(None);
        }
        self.replies = Vec::new();
        self.sent = 0;
        let of_run = written - waited;
        if of_run < joined.len() || of_run == batch.len() {
            return Ok(Some(of_run));
        }
        Ok(Some(of_run + write_some(stream, &batch[of_run..])?))
    }

    /// Writes as much as the socket takes; true when nothing is left.
    ///
    /// # Errors
    /// What the socket says, other than that it is full.
    pub(crate) fn flush(&mut self, stream: &Stream) -> io::Result<bool> {
        while let Some(batch) = &mut self.batch {
            match write_some(stream, batch)? {
                0 => return Ok(false),
                n if n == batch.len() => self.batch = None,
                n => drop(batch.split_to(n)),
            }
        }
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
        self.batch.is_none() && self.replies.len() == self.sent
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.len()) + self.reply_bytes()
    }

    /// Bytes of replies that wait.
    pub(crate) fn reply_bytes(&self) -> usize {
        self.replies.len() - self.sent
    }
}

/// Writes what the socket takes at once; 0 when it is full.
///
/// # Errors
/// What the socket says, other than that it is full.
#[inline]
pub(crate) fn write_some(stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
    match stream.try_write(bytes) {
        Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
