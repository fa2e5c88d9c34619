//! One connection of a load: a socket that does not block, and what waits to be written.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::websocket;

/// How long the system may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Memory kept by a connection that has nothing to say.
const KEPT: usize = 4_096;
/// What may wait for a server that does not read; far more than a load says in any of its windows.
pub const OUT_BYTES_MAX: usize = 64 << 20;

/// A connection: what is said is gathered and written with one call, what the system does not take waits.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    mask: u32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the system says, and when it has said nothing for ten seconds.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, out: Vec::new(), mask: 0x1234_5678 })
    }

    /// Reads once, at most what the buffer takes: 0 at the end, `None` while there is nothing.
    ///
    /// # Errors
    /// What the system says. A connection that was reset has come to its end.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.read(buffer) {
            Ok(read) => Ok(Some(read)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) if is_end(&error) => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// What is to be written, to append to, and a mask unlike the one before, so that unmasking is real work for the server.
    #[inline]
    pub fn out(&mut self) -> (&mut Vec<u8>, [u8; 4]) {
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        (&mut self.out, self.mask.to_ne_bytes())
    }

    /// Appends a frame to what is to be written; `payload` writes what is in it.
    #[inline]
    pub fn write_frame(&mut self, opcode: u8, payload: impl FnOnce(&mut Vec<u8>)) {
        let (out, mask) = self.out();
        websocket::write(opcode, Some(mask), out, payload);
    }

    /// Writes what the system takes.
    ///
    /// # Errors
    /// What the system says, and when more than [`OUT_BYTES_MAX`] waits. That the server has closed is no error here: what it
    /// had to say is still to be read.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_end(&error) => sent = self.out.len(),
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..sent);
        if self.out.is_empty() && self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        if self.out.len() > OUT_BYTES_MAX {
            return Err(io::Error::other(format!("the server does not read: {} MiB wait for it", OUT_BYTES_MAX >> 20)));
        }
        Ok(())
    }

    /// Whether something waits to be written.
    #[inline]
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Breaks it, without a word.
    pub fn cut(&mut self) {
        self.out = Vec::new();
        // It may be broken already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whoever is cut off may find a reset instead of an end.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Instant;

    use super::*;
    use crate::websocket::TEXT;

    #[test]
    fn what_the_system_does_not_take_waits_and_arrives_later() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut connection = Connection::open(listener.local_addr().expect("an address")).expect("a connection");
        let (mut peer, _) = listener.accept().expect("a connection");
        assert_eq!(connection.read(&mut [0; 8]).expect("it is open"), None);
        let mut said = 0;
        while !connection.is_blocked() && said < 1_000 {
            connection.write_frame(TEXT, |out| out.extend(vec![b'a'; 60_000]));
            connection.flush().expect("somebody reads");
            said += 1;
        }
        assert!(connection.is_blocked(), "the system took all");
        let (mut left, mut buffer, begin) = (said * (60_000 + 8), vec![0; 1 << 20], Instant::now());
        while left > 0 && begin.elapsed() < CONNECT_LIMIT {
            left -= peer.read(&mut buffer).expect("it is open");
            connection.flush().expect("somebody reads");
        }
        assert_eq!((left, connection.is_blocked()), (0, false));
        drop(peer);
        let begin = Instant::now();
        while connection.read(&mut buffer).expect("an end is no error").is_none() && begin.elapsed() < CONNECT_LIMIT {}
        assert_eq!(connection.read(&mut buffer).expect("an end is no error"), Some(0));
    }
}
