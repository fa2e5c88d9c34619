//! The sockets that clients come by.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

#[cfg(test)]
use crate::wire::socket_double::ServerEnd;

#[cfg(target_os = "linux")]
use rustix::net::sockopt::set_tcp_user_timeout;

use crate::wire::pipe::PipeEnd;
use crate::wire::tls::TlsStream;

/// A client's socket. Each kind is a variant, so that reading and writing one is a branch at most.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// In a box: most of it is TLS's.
    Tls(Box<TlsStream>),
    /// Not one of its own: its bytes travel within another one.
    Piped(PipeEnd),
    #[cfg(test)]
    Double(ServerEnd),
}

/// A socket between two shards, watched by none.
#[derive(Debug)]
pub(crate) enum DetachedStream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    #[cfg(test)]
    Double(ServerEnd),
}

impl Stream {
    /// Returns when there is something to read, or nothing more will come.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            Self::Tls(stream) => stream.readable().await,
            Self::Piped(end) => {
                poll_fn(|cx| end.poll_read_ready(cx)).await;
                Ok(())
            }
            #[cfg(test)]
            Self::Double(socket) => socket.readable().await,
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// What the socket says; [`io::ErrorKind::WouldBlock`] when there is nothing.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tls(stream) => stream.try_read(buffer),
            Self::Piped(end) => end.try_read(buffer),
            #[cfg(test)]
            Self::Double(socket) => socket.try_read(buffer),
        }
    }

    /// Writes what the socket takes at once.
    ///
    /// # Errors
    /// What the socket says; [`io::ErrorKind::WouldBlock`] when it is full.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
            Self::Piped(end) => end.try_write(bytes),
            #[cfg(test)]
            Self::Double(socket) => socket.try_write(bytes),
        }
    }

    /// Bytes that were accepted and that the socket has not taken: TLS cannot take back what it has encrypted. While there are any,
    /// nothing more is accepted.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Piped(_) => 0,
            Self::Tls(stream) => stream.held(),
            #[cfg(test)]
            Self::Double(_) => 0,
        }
    }

    /// Bytes of memory that it has for what is not whole, was not read or was not sent.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Piped(_) => 0,
            Self::Tls(stream) => stream.buffered(),
            #[cfg(test)]
            Self::Double(_) => 0,
        }
    }

    /// Sends what is held, as much as the socket takes at once; true when nothing is held any more.
    ///
    /// # Errors
    /// What the socket says, other than that it is full.
    pub(crate) fn try_flush(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Piped(_) => Ok(true),
            Self::Tls(stream) => match stream.try_flush() {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            },
            #[cfg(test)]
            Self::Double(_) => Ok(true),
        }
    }

    /// Ready when the socket may take something.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Tls(stream) => stream.poll_write_ready(cx),
            Self::Piped(end) => end.poll_write_ready(cx).map(Ok),
            #[cfg(test)]
            Self::Double(socket) => socket.poll_write_ready(cx),
        }
    }

    /// Has it end when what was sent is not acknowledged for that long: of a client that says nothing there is no other sign. What
    /// the system cannot do, its own longer patience does.
    pub(crate) fn notice_silence(&self, within: Duration) {
        let ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        #[cfg(target_os = "linux")]
        {
            let socket = match self {
                Self::Tcp(stream) => stream,
                Self::Tls(stream) => stream.socket(),
                // A process of this machine that is gone has closed its end.
                Self::Unix(_) => return,
                // It is the other one that is watched.
                Self::Piped(_) => return,
                #[cfg(test)]
                Self::Double(_) => return,
            };
            if let Err(error) = set_tcp_user_timeout(socket, ms) {
                tracing::debug!(%error, "a socket is watched with the patience of the system");
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = ms;
    }

    /// Ends this shard's watch on it.
    ///
    /// # Errors
    /// When the system does not let it go.
    pub(crate) fn detach(self) -> io::Result<DetachedStream> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(DetachedStream::Tcp),
            Self::Unix(stream) => stream.into_std().map(DetachedStream::Unix),
            // A session stays on the thread that has shaken hands.
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
            // Both of its ends are on one shard.
            Self::Piped(_) => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(test)]
            Self::Double(socket) => Ok(DetachedStream::Double(socket)),
        }
    }
}

impl DetachedStream {
    /// Has the shard that calls this watch it.
    ///
    /// # Errors
    /// When the system does not watch it.
    pub(crate) fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
            #[cfg(test)]
            Self::Double(socket) => Ok(Stream::Double(socket)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => stream.poll_read(cx, buffer),
            Self::Piped(end) => end.poll_take(cx, buffer.remaining()).map(|taken| {
                buffer.put_slice(&taken);
                Ok(())
            }),
            #[cfg(test)]
            Self::Double(socket) => socket.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
            Self::Piped(end) => end.poll_write_ready(cx).map(|()| end.try_write(bytes)),
            #[cfg(test)]
            Self::Double(socket) => socket.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => stream.poll_flush(cx),
            Self::Piped(_) => Poll::Ready(Ok(())),
            #[cfg(test)]
            Self::Double(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Poll::Ready(stream.shut()),
            Self::Piped(end) => {
                end.shut();
                Poll::Ready(Ok(()))
            }
            #[cfg(test)]
            Self::Double(socket) => socket.poll_shutdown(),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::net::sockopt::tcp_user_timeout;

    #[tokio::test]
    async fn a_socket_of_a_client_that_says_nothing_ends_when_nothing_is_acknowledged() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Stream::Tcp(stream);
        stream.notice_silence(Duration::from_secs(33));
        let Stream::Tcp(socket) = &stream else { panic!("it is one") };
        assert_eq!(tcp_user_timeout(socket).unwrap(), 33_000);
    }
}
