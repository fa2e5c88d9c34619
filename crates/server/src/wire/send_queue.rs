//! What could not be written to a socket yet.

use std::io;

use bytes::Bytes;

use crate::limits::memory::{Reservation, Share};
use crate::wire::stream::Stream;
use roomcast_protocol::RoomName;

/// Bytes of replies a connection may hold before its commands have to wait: beyond it nothing more is read from the client,
/// so a client that asks without reading costs this and one reply.
pub(crate) const REPLY_BYTES_HIGH: usize = 256 * 1024;

/// Bytes of replies for which memory is taken as for nothing else.
const LARGE_BYTES: usize = 32 * 1024;

/// Bytes of a batch that are copied behind replies, to be written with them.
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// The unsent rest of one connection's output, in order: the end of a batch that its room shares, then replies.
///
/// There is at most one batch: a member whose socket is full takes no further one until this is empty.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// In a box, since few sockets are full.
    rest: Option<Box<Rest>>,
    replies: Vec<u8>,
    /// How much of `replies` has been sent.
    sent: usize,
}

/// What a full socket has beside replies.
#[derive(Debug, Default)]
struct Rest {
    batch: Bytes,
    /// The rooms of which replies tell publications that have not all been written.
    told_of: Vec<RoomName>,
    /// What the connection holds of the memory for all.
    held: Option<Reservation>,
    /// Since when it has held some without a break.
    since_ms: u64,
}

impl SendQueue {
    /// Output that begins with `replies`.
    pub(crate) fn of(replies: Vec<u8>) -> Self {
        Self { replies, ..Self::default() }
    }

    /// Keeps the rest of a batch. Everything before it must have been sent.
    pub(crate) fn keep_batch(&mut self, rest: Bytes) {
        debug_assert!(self.is_empty(), "a run would overtake what waits");
        self.rest.get_or_insert_default().batch = rest;
    }

    /// Keeps replies, behind what waits already.
    pub(crate) fn keep_replies(&mut self, rest: &[u8]) {
        if rest.len() >= LARGE_BYTES {
            // What was sent is not kept for it, and no more is taken than is needed.
            self.replies.drain(..self.sent);
            self.sent = 0;
            self.replies.reserve_exact(rest.len());
        }
        self.replies.extend_from_slice(rest);
    }

    /// What waits tells of what those rooms have published.
    pub(crate) fn note_told_of(&mut self, rooms: Vec<RoomName>) {
        if self.is_empty() {
            return;
        }
        let told_of = &mut self.rest.get_or_insert_default().told_of;
        for room in rooms {
            if !told_of.contains(&room) {
                told_of.push(room);
            }
        }
    }

    /// Whether something waits that tells of what that room has published.
    pub(crate) fn tells_of(&self, room: &RoomName) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.told_of.contains(room))
    }

    /// All replies are written.
    fn has_told(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.told_of = Vec::new();
        }
    }

    /// Writes a batch behind the replies that wait, and as much of both as the socket takes; `None` when it did not take
    /// all replies, otherwise how much of the batch was taken. Nothing of an earlier batch must wait.
    ///
    /// # Errors
    /// What the socket says, other than that it is full.
    pub(crate) fn write_with_batch(&mut self, stream: &Stream, batch: &[u8]) -> io::Result<Option<usize>> {
        debug_assert!(self.batch_bytes() == 0, "two runs would wait");
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
        self.has_told();
        let of_run = written - waited;
        if of_run < joined.len() || of_run == batch.len() {
            return Ok(Some(of_run));
        }
        Ok(Some(of_run + write_some(stream, &batch[of_run..])?))
    }

    /// Writes as much as the socket takes; true when nothing is left, nor held by the stream.
    ///
    /// # Errors
    /// What the socket says, other than that it is full.
    pub(crate) fn flush(&mut self, stream: &Stream) -> io::Result<bool> {
        if !stream.try_flush()? {
            return Ok(false);
        }
        while let Some(Rest { batch, .. }) = self.rest.as_deref_mut().filter(|rest| !rest.batch.is_empty()) {
            match write_some(stream, batch)? {
                0 => return Ok(false),
                // The whole of it may be kept by what is left, if it were not given up.
                n if n == batch.len() => *batch = Bytes::new(),
                n => drop(batch.split_to(n)),
            }
        }
        while self.sent < self.replies.len() {
            match write_some(stream, &self.replies[self.sent..])? {
                0 => {
                    self.shed_sent();
                    return Ok(false);
                }
                n => self.sent += n,
            }
        }
        self.replies = Vec::new();
        self.sent = 0;
        let is_all = stream.held() == 0;
        if is_all {
            self.has_told();
        }
        Ok(is_all)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch_bytes() == 0 && self.replies.len() == self.sent
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.batch_bytes() + self.reply_bytes()
    }

    fn batch_bytes(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.batch.len())
    }

    /// Bytes that the connection has reserved.
    pub(crate) fn bytes_reserved(&self) -> u64 {
        self.rest.as_ref().and_then(|rest| rest.held.as_ref()).map_or(0, Reservation::bytes)
    }

    /// Gives back the memory of what was sent, where it is most of what there is.
    fn shed_sent(&mut self) {
        if self.sent >= LARGE_BYTES && self.sent * 2 >= self.replies.len() {
            self.replies = self.replies[self.sent..].to_vec();
            self.sent = 0;
        }
    }

    /// Since when it has reserved some.
    pub(crate) fn reserved_since_ms(&self) -> Option<u64> {
        self.rest.as_ref().filter(|rest| rest.held.is_some()).map(|rest| rest.since_ms)
    }

    /// Has as much of `share` as is held here and `beside`; false when it has no more, or more than before may not be taken.
    pub(crate) fn reserve(
        &mut self,
        share: &Share,
        beside: usize,
        may_grow: impl FnOnce() -> bool,
        now_ms: u64,
    ) -> bool {
        let needed = self.needed(beside);
        let has = self.bytes_reserved();
        if needed <= has {
            self.give_back(beside);
            return true;
        }
        let rest = self.rest.get_or_insert_default();
        let Some(more) = may_grow().then(|| share.try_reserve(needed - has)).flatten() else { return false };
        match &mut rest.held {
            Some(held) => held.join(more),
            none => {
                *none = Some(more);
                rest.since_ms = now_ms;
            }
        }
        true
    }

    /// The bytes that are held here and `beside`.
    fn needed(&self, beside: usize) -> u64 {
        let bytes = if self.is_empty() { beside } else { self.batch_bytes() + self.replies.capacity() + beside };
        bytes as u64
    }

    /// Gives back what is reserved beyond what is held here and `beside`.
    pub(crate) fn give_back(&mut self, beside: usize) {
        let needed = self.needed(beside);
        if needed == 0 {
            self.rest = None;
        } else if let Some(held) = self.rest.as_mut().and_then(|rest| rest.held.as_mut()) {
            held.shrink_to(needed);
        }
    }

    /// Gives up what waits, and what was reserved for it.
    pub(crate) fn give_up(&mut self) {
        *self = Self::default();
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
