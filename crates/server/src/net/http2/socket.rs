//! The socket of a connection, as h2 reads and writes it: what comes has its turns, frames that ask for nothing are counted, and the
//! last word is heard.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::{PREFACE, Streams};
use crate::net::fast_upgrade::Opened;

/// Bytes that are read before others have their turn. h2 reads on as long as something comes.
const TURN_BYTES: usize = 64 * 1024;
/// Frames after which a turn ends as well, and bytes that are read at once: h2 keeps frames until their streams have their turn, and
/// ends the connection where these are many and small ([`SMALL_FRAMES_BUDGET`]).
const TURN_FRAMES: usize = 128;
const READ_BYTES: usize = 8 * 1024;
/// A frame of data counts as what it is shorter than this.
const SMALL_FRAME_BYTES: usize = 256;
/// Its head, and a byte.
const LEAST_FRAME_BYTES: usize = HEAD_BYTES + 1;
/// How much shorter frames of data may be, together, before their streams read them: as much as one turn may bring. So one stream ends
/// no others with what it is sent.
pub(super) const SMALL_FRAMES_BUDGET: usize = (TURN_FRAMES + READ_BYTES / LEAST_FRAME_BYTES) * SMALL_FRAME_BYTES;
/// Frames about the connection (pings, settings, windows, priorities, empty data) that may come at once, and so many a second from then
/// on; each frame of ours that carries something allows a few more, for the windows that it uses.
const IDLE_FRAMES_MAX: u64 = 1_000;
const IDLE_FRAMES_PER_S: u64 = 100;
const IDLE_FRAMES_PER_ANSWER: u64 = 4;
/// How long, and how much more, is read of who is told that the connection is over: closing earlier could destroy what it is told.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// The socket of one connection.
pub(super) struct Socket {
    stream: Opened,
    streams: Rc<Streams>,
    incoming: Frames,
    outgoing: Frames,
    idle_frames: IdleFrames,
    /// Bytes and frames of this turn.
    read: usize,
    frames: usize,
    /// Once our side is shut: until when the other's is read, and how much more of it.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Socket {
    pub(super) fn new(stream: Opened, streams: &Rc<Streams>) -> Self {
        Self {
            stream,
            streams: Rc::clone(streams),
            incoming: Frames::behind(PREFACE.len()),
            outgoing: Frames::behind(0),
            idle_frames: IdleFrames::new(Instant::now()),
            read: 0,
            frames: 0,
            linger: None,
        }
    }

    /// Reads, as long as the turn lasts.
    fn poll_turn(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read >= TURN_BYTES || self.frames >= TURN_FRAMES {
            (self.read, self.frames) = (0, 0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = buffer.remaining().min(READ_BYTES);
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(length));
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        let read = piece.filled().len();
        buffer.advance(read);
        if polled.is_pending() {
            (self.read, self.frames) = (0, 0);
        } else {
            self.read += read;
        }
        polled
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.streams.is_flooded.get() {
            // Nobody hears it any more.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(this.poll_turn(cx, buffer))?;
        let Self { incoming, idle_frames, frames, .. } = this;
        let mut idle = 0;
        incoming.pass(&buffer.filled()[before..], |frame| {
            *frames += 1;
            idle += u64::from(frame.is_idle());
        });
        if !idle_frames.take(idle, Instant::now()) {
            this.streams.note_flood();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        let Self { outgoing, idle_frames, .. } = &mut *self;
        outgoing.pass(&bytes[..written], |frame| {
            if frame.carries_something() {
                idle_frames.allow(IDLE_FRAMES_PER_ANSWER);
            }
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        loop {
            let (until, left) = this.linger.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
            if *left == 0 || until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; 4_096];
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(this.poll_turn(cx, &mut buffer)).map_or(0, |()| buffer.filled().len());
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some((_, left)) = &mut this.linger {
                *left = left.saturating_sub(read);
            }
        }
    }
}

/// The heads of the frames in what passes.
#[derive(Debug)]
struct Frames {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// What is left of what has no head to be looked at.
    left: usize,
}

const HEAD_BYTES: usize = 9;

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameHead {
    bytes: usize,
    kind: u8,
    flags: u8,
}

impl FrameHead {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const CONTINUATION: u8 = 9;
    const END_STREAM: u8 = 1;

    /// Whether it is about the connection, and neither asks for something nor brings any. Streams that are reset are counted as such,
    /// headers have bounds of their own.
    fn is_idle(self) -> bool {
        match self.kind {
            Self::DATA => self.bytes == 0 && self.flags & Self::END_STREAM == 0,
            Self::HEADERS | Self::RST_STREAM | Self::CONTINUATION => false,
            _ => true,
        }
    }

    fn carries_something(self) -> bool {
        matches!(self.kind, Self::DATA | Self::HEADERS)
    }
}

impl Frames {
    /// Those behind so many bytes of something else.
    fn behind(bytes: usize) -> Self {
        Self { head: [0; HEAD_BYTES], head_bytes: 0, left: bytes }
    }

    fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            (self.left, bytes) = (self.left - skipped, &bytes[skipped..]);
            let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..][..taken].copy_from_slice(&bytes[..taken]);
            (self.head_bytes, bytes) = (self.head_bytes + taken, &bytes[taken..]);
            if self.head_bytes == HEAD_BYTES {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                (self.head_bytes, self.left) = (0, length);
                each(FrameHead { bytes: length, kind, flags });
            }
        }
    }
}

/// How many frames about the connection may come.
#[derive(Debug)]
struct IdleFrames {
    left: Cell<u64>,
    since: Instant,
}

impl IdleFrames {
    fn new(now: Instant) -> Self {
        Self { left: Cell::new(IDLE_FRAMES_MAX), since: now }
    }

    /// Takes so many; false when there are no more.
    fn take(&mut self, frames: u64, now: Instant) -> bool {
        if frames == 0 {
            return true;
        }
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            self.since += Duration::from_secs(seconds);
            self.allow(seconds.saturating_mul(IDLE_FRAMES_PER_S));
        }
        let left = self.left.get().checked_sub(frames);
        self.left.set(left.unwrap_or_default());
        left.is_some()
    }

    fn allow(&self, frames: u64) {
        self.left.set(self.left.get().saturating_add(frames).min(IDLE_FRAMES_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn heads_are_found_wherever_the_frames_are_cut() {
        let data = [&[0, 0, 3, 0, 0, 0, 0, 0, 1][..], b"abc"].concat();
        let empty = [0, 0, 0, 0, 0, 0, 0, 0, 1];
        let said = [PREFACE, &PING, &data, &empty, &PING].concat();
        for size in 1..said.len() {
            let (mut frames, mut heads) = (Frames::behind(PREFACE.len()), Vec::new());
            said.chunks(size).for_each(|piece| frames.pass(piece, |head| heads.push(head)));
            let found: Vec<_> = heads.iter().map(|head| (head.kind, head.bytes, head.is_idle())).collect();
            assert_eq!(found, [(6, 8, true), (0, 3, false), (0, 0, true), (6, 8, true)], "{size}");
        }
    }

    #[test]
    fn frames_about_the_connection_may_come_as_often_as_it_carries_something_and_some_more() {
        let begin = Instant::now();
        let mut frames = IdleFrames::new(begin);
        assert!(frames.take(IDLE_FRAMES_MAX, begin) && !frames.take(1, begin));
        let later = begin + Duration::from_millis(1_500);
        assert!(frames.take(IDLE_FRAMES_PER_S, later) && !frames.take(1, later));
        assert!(frames.take(IDLE_FRAMES_PER_S, begin + Duration::from_secs(2)), "the half second is not lost");
        for _ in 0..100_000 {
            frames.allow(IDLE_FRAMES_PER_ANSWER);
            assert!(frames.take(2, later), "windows of streams in use");
        }
    }
}
