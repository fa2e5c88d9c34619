//! Two ends in memory that are to each other as sockets are: for clients whose bytes travel within something else, such as a stream of
//! HTTP/2.
//!
//! Both ends are on one thread. Each way holds so many bytes at most, and no memory while there are none.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

/// Bytes that are under way in each direction.
pub(crate) const PIPE_BYTES: usize = 16 * 1024;

/// One way of a pipe.
#[derive(Debug, Default)]
struct Way {
    bytes: RefCell<BytesMut>,
    /// Whoever writes has said all.
    is_ended: Cell<bool>,
    /// Nobody reads any more.
    is_unread: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

/// One end of a pipe.
#[derive(Debug)]
pub(crate) struct PipeEnd {
    incoming: Rc<Way>,
    outgoing: Rc<Way>,
}

/// The two ends of a new pipe.
pub(crate) fn pipe() -> (PipeEnd, PipeEnd) {
    let ways = [Rc::<Way>::default(), Rc::default()];
    let [one, other] = ways.clone();
    let [incoming, outgoing] = ways;
    (PipeEnd { incoming: one, outgoing: other }, PipeEnd { incoming: outgoing, outgoing: incoming })
}

impl Way {
    fn space(&self) -> usize {
        PIPE_BYTES.saturating_sub(self.bytes.borrow().len())
    }

    /// Takes up to so many bytes out; `None` when none are there yet. Nothing behind the end.
    fn take(&self, bytes_max: usize) -> Option<Bytes> {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() {
            return self.is_ended.get().then(Bytes::new);
        }
        let taken = if bytes.len() <= bytes_max { std::mem::take(&mut *bytes) } else { bytes.split_to(bytes_max) };
        wake(&self.writer);
        Some(taken.freeze())
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn sleep(waker: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut waker = waker.borrow_mut();
    match &mut *waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

impl PipeEnd {
    /// Takes up to so many bytes out, when there are some; nothing at the end.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, bytes_max: usize) -> Poll<Bytes> {
        match self.incoming.take(bytes_max) {
            Some(taken) => Poll::Ready(taken),
            None => {
                sleep(&self.incoming.reader, cx);
                Poll::Pending
            }
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing yet.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.incoming.take(buffer.len()).ok_or(io::ErrorKind::WouldBlock)?;
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }

    /// Ready when there is something to read, or nothing more will come.
    pub(crate) fn poll_read_ready(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.incoming.bytes.borrow().is_empty() || self.incoming.is_ended.get() {
            return Poll::Ready(());
        }
        sleep(&self.incoming.reader, cx);
        Poll::Pending
    }

    /// Writes what there is space for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it is full, [`io::ErrorKind::BrokenPipe`] when nobody reads it.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Way { is_unread, is_ended, bytes: held, reader, .. } = &*self.outgoing;
        if is_unread.get() || is_ended.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = bytes.len().min(self.outgoing.space());
        if written == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        held.borrow_mut().extend_from_slice(&bytes[..written]);
        wake(reader);
        Ok(written)
    }

    /// Ready when it takes something, or nobody reads it.
    pub(crate) fn poll_write_ready(&self, cx: &Context<'_>) -> Poll<()> {
        if self.outgoing.space() > 0 || self.outgoing.is_unread.get() {
            return Poll::Ready(());
        }
        sleep(&self.outgoing.writer, cx);
        Poll::Pending
    }

    /// Says that nothing more will be written.
    pub(crate) fn shut(&self) {
        self.outgoing.is_ended.set(true);
        wake(&self.outgoing.reader);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.shut();
        self.incoming.is_unread.set(true);
        wake(&self.incoming.writer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[tokio::test]
    async fn bytes_come_out_in_order_and_each_way_is_bounded() {
        let (one, other) = pipe();
        let mut buffer = [0; 5];
        assert_eq!(kind(one.try_read(&mut buffer)), Some(io::ErrorKind::WouldBlock));
        assert_eq!(one.try_write(b"hello, world").unwrap(), 12);
        assert_eq!((other.try_read(&mut buffer).unwrap(), &buffer), (5, b"hello"));
        assert_eq!(poll_fn(|cx| other.poll_take(cx, 100)).await, ", world");
        assert!(other.incoming.bytes.borrow().capacity() == 0, "nothing is kept for nothing");
        let much = vec![1; 2 * PIPE_BYTES];
        assert_eq!(one.try_write(&much).unwrap(), PIPE_BYTES);
        assert_eq!(kind(one.try_write(&much)), Some(io::ErrorKind::WouldBlock));
        assert_eq!(other.try_write(b"back").unwrap(), 4, "the other way is another one");
        let writes = poll_fn(|cx| one.poll_write_ready(cx));
        let reads = async {
            tokio::task::yield_now().await;
            assert_eq!(other.try_read(&mut buffer).unwrap(), 5);
        };
        tokio::join!(writes, reads);
        assert_eq!(one.try_write(&much).unwrap(), 5);
    }

    #[tokio::test]
    async fn an_end_is_read_behind_what_was_written_and_nobody_writes_to_one_that_is_gone() {
        let (one, other) = pipe();
        one.try_write(b"last").unwrap();
        one.shut();
        assert_eq!(kind(one.try_write(b"more")), Some(io::ErrorKind::BrokenPipe));
        assert_eq!(poll_fn(|cx| other.poll_take(cx, 100)).await, "last");
        assert_eq!(poll_fn(|cx| other.poll_take(cx, 100)).await, "", "the end");
        assert_eq!(other.try_write(b"still").unwrap(), 5, "one side only has ended");
        let waits = poll_fn(|cx| other.poll_read_ready(cx));
        waits.await;
        drop(one);
        assert_eq!(kind(other.try_write(b"nobody")), Some(io::ErrorKind::BrokenPipe));
        poll_fn(|cx| other.poll_write_ready(cx)).await;
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_what_comes_and_by_the_end() {
        let (one, other) = pipe();
        let comes = async {
            tokio::task::yield_now().await;
            one.try_write(b"a").unwrap();
            tokio::task::yield_now().await;
            drop(one);
        };
        let reads = async {
            poll_fn(|cx| other.poll_read_ready(cx)).await;
            assert_eq!(other.try_read(&mut [0; 9]).unwrap(), 1);
            assert_eq!(poll_fn(|cx| other.poll_take(cx, 9)).await, "");
        };
        tokio::join!(comes, reads);
    }
}
