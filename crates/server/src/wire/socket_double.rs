//! A socket that is no socket: what stands between a server and a client that a simulation plays.
//!
//! It takes as many bytes as its buffer holds and the client has not taken yet, and then none, like a socket of the system whose
//! peer does not read.

use crate::util::panics::lock;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::ReadBuf;

/// One socket; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct SocketDouble {
    ends: Arc<Mutex<Ends>>,
    /// Counts what there is to count; each byte that is written bears it.
    now: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Ends {
    /// How many bytes lie in it at most on their way to the client.
    buffer_max: usize,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// How many bytes of that, from its beginning on, were written when.
    written: VecDeque<(usize, u64)>,
    /// The client will say nothing more.
    has_left: bool,
    /// The server will say nothing more.
    is_shut: bool,
    /// Nothing passes any more, either way.
    is_cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl SocketDouble {
    pub(crate) fn new(buffer_max: usize, now: Arc<AtomicU64>) -> Self {
        Self { ends: Arc::new(Mutex::new(Ends { buffer_max, ..Ends::default() })), now }
    }

    /// Its server's end, of which there is to be one.
    pub(crate) fn server_end(&self) -> ServerEnd {
        ServerEnd(self.clone())
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        lock(&self.ends)
    }
}

/// The client's end.
impl SocketDouble {
    /// Says something.
    pub(crate) fn say(&self, bytes: &[u8]) {
        let mut ends = self.ends();
        ends.to_server.extend(bytes);
        let reader = ends.reader.take();
        drop(ends);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Takes up to that many bytes of what the server has said, those that were written together; and what was counted then.
    pub(crate) fn take(&self, most: usize) -> Option<(Vec<u8>, u64)> {
        let mut ends = self.ends();
        let (together, written) = ends.written.front_mut()?;
        let (count, written) = (most.min(*together), *written);
        *together -= count;
        if *together == 0 {
            ends.written.pop_front();
        }
        let taken = ends.to_client.drain(..count).collect();
        let writer = (count > 0).then(|| ends.writer.take()).flatten();
        drop(ends);
        writer.into_iter().for_each(Waker::wake);
        Some((taken, written))
    }

    /// Has it hold so many bytes from here on. Who waits to write is woken, and nobody else: a connection that has forgotten to wait
    /// for its full socket is not to be helped by that.
    pub(crate) fn widen(&self, buffer_max: usize) {
        let mut ends = self.ends();
        ends.buffer_max = buffer_max;
        let writer = ends.writer.take();
        drop(ends);
        writer.into_iter().for_each(Waker::wake);
    }

    /// How much of what the server has said has not been taken.
    pub(crate) fn untaken(&self) -> usize {
        self.ends().to_client.len()
    }

    /// Whether the server has ended it.
    pub(crate) fn is_over(&self) -> bool {
        let ends = self.ends();
        ends.is_shut || ends.is_cut
    }

    /// Leaves: the server reads what was said to the end.
    pub(crate) fn leave(&self) {
        self.change(|ends| ends.has_left = true);
    }

    /// Nothing passes any more.
    pub(crate) fn cut(&self) {
        self.change(|ends| ends.is_cut = true);
    }

    /// Changes something that both who reads and who writes are to see.
    fn change(&self, how: impl FnOnce(&mut Ends)) {
        let mut ends = self.ends();
        how(&mut ends);
        let woken = [ends.reader.take(), ends.writer.take()];
        drop(ends);
        woken.into_iter().flatten().for_each(Waker::wake);
    }
}

/// The server's end; dropped, the server has closed it.
#[derive(Debug)]
pub(crate) struct ServerEnd(SocketDouble);

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.0.ends().is_shut = true;
    }
}

impl ServerEnd {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.ends()
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut ends = self.ends();
            if ends.is_cut || ends.has_left || !ends.to_server.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ends.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.ends();
        if ends.is_cut {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let count = buffer.len().min(ends.to_server.len());
        if count == 0 && !ends.has_left {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, byte) in buffer.iter_mut().zip(ends.to_server.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.ends();
        if ends.is_cut || ends.is_shut || ends.has_left {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(ends.buffer_max - ends.to_client.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        ends.to_client.extend(&bytes[..count]);
        // Relaxed: one thread runs at a time.
        ends.written.push_back((count, self.0.now.load(Relaxed)));
        Ok(count)
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.ends();
        if ends.is_cut || ends.has_left || ends.to_client.len() < ends.buffer_max {
            return Poll::Ready(Ok(()));
        }
        ends.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = match self.try_read(buffer.initialize_unfilled()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ends().reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            read => read?,
        };
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_ready(cx))?;
        Poll::Ready(self.try_write(bytes))
    }

    pub(super) fn poll_shutdown(&self) -> Poll<io::Result<()>> {
        self.ends().is_shut = true;
        Poll::Ready(Ok(()))
    }
}
