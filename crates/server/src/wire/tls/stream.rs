//! A socket that speaks TLS, read and written like one that does not.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::records::{Outgoing, Say, Sink, pump};

/// Bytes that are encrypted before the socket is asked to take them: one record. What it does not take of it is all that a
/// connection whose socket is full holds encrypted.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes that are read from the socket at once.
const READ_BYTES: usize = 32 * 1024;

/// Bytes of a record, or of a message of a handshake in several, whose end has not come. A handshake may bring a chain of
/// certificates.
const INCOMING_BYTES_MAX: usize = 80 * 1024;

/// Reads in which nothing was for the reader, before others have their turn: records may be empty, or about keys, without end.
const EMPTY_READS_MAX: usize = 4;

thread_local! {
    /// What comes from a socket, and what goes to it, for one call of one connection.
    static CIPHERTEXT: Cell<Option<Box<Ciphertext>>> = const { Cell::new(None) };
}

struct Ciphertext {
    incoming: Vec<u8>,
    outgoing: Outgoing,
}

/// What TLS is spoken over: a socket of the system, or what stands in its place.
pub(crate) trait Carrier {
    /// Reads what is there.
    ///
    /// # Errors
    /// What it says; [`ErrorKind::WouldBlock`] when there is nothing.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes what it takes at once.
    ///
    /// # Errors
    /// What it says; [`ErrorKind::WouldBlock`] when it is full.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl Carrier for TcpStream {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
}

/// A socket that speaks TLS.
pub(crate) struct TlsStream<S = TcpStream> {
    socket: S,
    state: RefCell<State>,
}

struct State {
    session: UnbufferedServerConnection,
    /// What has come and is not whole.
    incoming: Vec<u8>,
    /// What is decrypted and was not read yet, and how much of it was.
    plain: Vec<u8>,
    read: usize,
    /// What is encrypted and was not sent yet, and how much of it was.
    outgoing: Vec<u8>,
    sent: usize,
    /// Nothing more will come.
    has_ended: bool,
    is_broken: bool,
}

impl<S: Carrier> TlsStream<S> {
    /// A socket on which nothing has been said yet.
    ///
    /// # Errors
    /// When the configuration is none.
    pub(crate) fn new(socket: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let state = State {
            session,
            incoming: Vec::new(),
            plain: Vec::new(),
            read: 0,
            outgoing: Vec::new(),
            sent: 0,
            has_ended: false,
            is_broken: false,
        };
        Ok(Self { socket, state: RefCell::new(state) })
    }

    /// Does one step of the handshake with what has come; true when it is done and all of it is sent. It may take about a
    /// millisecond.
    ///
    /// # Errors
    /// What is wrong with what came, or with the socket. [`ErrorKind::WouldBlock`] when more has to come, or to be taken.
    pub(crate) fn try_handshake(&self) -> io::Result<bool> {
        let state = &mut *self.state.borrow_mut();
        state.send(&self.socket)?;
        let is_done = |state: &State| !state.session.is_handshaking();
        while !is_done(state) {
            let mut none = [];
            let mut rest = std::mem::take(&mut state.plain);
            let received = state.receive(&self.socket, &mut Sink { buffer: &mut none, filled: 0, rest: &mut rest });
            state.plain = rest;
            received?;
            if state.has_ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        state.send(&self.socket)?;
        Ok(state.held() == 0)
    }

    /// Whether that is what is spoken within, as far as both have said.
    pub(crate) fn protocol_is(&self, protocol: &[u8]) -> bool {
        self.state.borrow().session.alpn_protocol() == Some(protocol)
    }

    /// As [`Stream::try_read`](crate::wire::stream::Stream::try_read).
    ///
    /// # Errors
    /// What the socket says, and what is wrong with what came. [`ErrorKind::Interrupted`] when much has come in which there is nothing
    /// to read: others are to have their turn.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        for _ in 0..EMPTY_READS_MAX {
            if state.read < state.plain.len() {
                return Ok(state.take_plain(buffer));
            }
            if state.has_ended || buffer.is_empty() {
                return Ok(0);
            }
            let mut rest = std::mem::take(&mut state.plain);
            let mut sink = Sink { buffer: &mut *buffer, filled: 0, rest: &mut rest };
            let received = state.receive(&self.socket, &mut sink);
            let filled = sink.filled;
            state.plain = rest;
            match received {
                _ if filled > 0 => return Ok(filled),
                received => received?,
            }
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// As [`Stream::try_write`](crate::wire::stream::Stream::try_write): what is accepted is encrypted, and sent but for the
    /// [`held`](Self::held) bytes.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        let mut accepted = 0;
        while accepted < bytes.len() {
            match state.send(&self.socket) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && accepted > 0 => break,
                Err(error) => return Err(error),
            }
            let piece = &bytes[accepted..][..PIECE_BYTES.min(bytes.len() - accepted)];
            state.say(&self.socket, Say::Bytes(piece))?;
            accepted += piece.len();
        }
        Ok(accepted)
    }

    /// Bytes that are encrypted and wait for the socket.
    pub(crate) fn held(&self) -> usize {
        self.state.borrow().held()
    }

    /// Bytes of memory for what has come and is not whole or was not read, and for what is held.
    pub(crate) fn buffered(&self) -> usize {
        let state = self.state.borrow();
        state.incoming.capacity() + state.plain.capacity() + state.outgoing.capacity()
    }

    /// Sends what is held, as much as the socket takes.
    ///
    /// # Errors
    /// What the socket says; [`ErrorKind::WouldBlock`] when it does not take all.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        self.state.borrow_mut().send(&self.socket)
    }
}

impl TlsStream {
    /// Returns when there may be something to read.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if self.state.borrow().has_something() { Ok(()) } else { self.socket.readable().await }
    }

    /// Returns when the socket may take something, and has been given what it did not take before.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.socket.poll_read_ready(cx))?,
                read => return Poll::Ready(read.map(|read| buffer.advance(read))),
            }
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.socket.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }

    /// Ready when nothing is held.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.socket.poll_write_ready(cx))?,
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    /// Says goodbye, behind what is held where the socket takes that, and shuts our side.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn shut(&self) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        if state.send(&self.socket).is_ok() && !state.session.is_handshaking() {
            // A peer that hears no goodbye sees the end of the socket.
            let _ = state.say(&self.socket, Say::Goodbye);
        }
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).map_err(io::Error::from)
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl State {
    fn held(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    fn has_something(&self) -> bool {
        self.read < self.plain.len() || self.has_ended
    }

    fn take_plain(&mut self, buffer: &mut [u8]) -> usize {
        let waiting = &self.plain[self.read..];
        let taken = waiting.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&waiting[..taken]);
        self.read += taken;
        if self.read == self.plain.len() {
            (self.plain, self.read) = (Vec::new(), 0);
        }
        taken
    }

    /// Reads once from the socket and decrypts what is whole.
    fn receive(&mut self, socket: &impl Carrier, sink: &mut Sink<'_>) -> io::Result<()> {
        if self.is_broken {
            return Err(ErrorKind::InvalidData.into());
        }
        with_buffers(|Ciphertext { incoming: ciphertext, outgoing }| {
            ciphertext.resize(READ_BYTES, 0);
            let read = socket.try_read(ciphertext)?;
            // An end without a goodbye is one, too: what is said over TLS here has ends of its own.
            if read == 0 {
                self.has_ended = true;
                return Ok(());
            }
            // What waits stays where it is: whoever sends a record byte by byte has one byte copied each time.
            let mut waited = std::mem::take(&mut self.incoming);
            let incoming = match waited.is_empty() {
                true => &mut ciphertext[..read],
                false => {
                    waited.extend_from_slice(&ciphertext[..read]);
                    &mut waited[..]
                }
            };
            let pumped = pump(&mut self.session, incoming, sink, outgoing, Say::Nothing);
            self.outgoing.extend_from_slice(outgoing.as_bytes());
            let sent = self.send(socket);
            let progress = pumped.map_err(|error| self.fail(error))?;
            self.has_ended |= progress.peer_closed;
            let rest = incoming.len() - progress.used;
            if rest > INCOMING_BYTES_MAX {
                return Err(self.fail(rustls::Error::General("a message without end".to_owned())));
            }
            self.incoming = match (rest, waited.is_empty()) {
                (0, _) => Vec::new(),
                (_, true) => ciphertext[progress.used..read].to_vec(),
                (_, false) => {
                    waited.drain(..progress.used);
                    waited
                }
            };
            match sent {
                // It goes with the next write.
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                sent => sent,
            }
        })
    }

    /// Encrypts, and sends what the socket takes. Nothing may be held.
    fn say(&mut self, socket: &impl Carrier, say: Say<'_>) -> io::Result<()> {
        if self.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        with_buffers(|Ciphertext { outgoing, .. }| {
            let mut sink = Sink { buffer: &mut [], filled: 0, rest: &mut self.plain };
            // What has come in part goes with it: the session knows how far it has looked at that.
            let pumped = pump(&mut self.session, &mut self.incoming, &mut sink, outgoing, say);
            let progress = pumped.map_err(|error| self.fail(error))?;
            self.incoming.drain(..progress.used);
            self.has_ended |= progress.peer_closed;
            if !progress.has_said {
                return Err(ErrorKind::NotConnected.into());
            }
            let out = outgoing.as_bytes();
            let sent = match socket.try_write(out) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if sent < out.len() {
                self.outgoing.extend_from_slice(&out[sent..]);
            }
            Ok(())
        })
    }

    /// Sends what is held.
    fn send(&mut self, socket: &impl Carrier) -> io::Result<()> {
        while self.held() > 0 {
            match socket.try_write(&self.outgoing[self.sent..])? {
                0 => return Err(ErrorKind::WriteZero.into()),
                sent => self.sent += sent,
            }
        }
        if !self.outgoing.is_empty() {
            (self.outgoing, self.sent) = (Vec::new(), 0);
        }
        Ok(())
    }

    fn fail(&mut self, error: rustls::Error) -> io::Error {
        self.is_broken = true;
        io::Error::new(ErrorKind::InvalidData, error)
    }
}

/// Lends the buffers of this thread, the second of them empty.
fn with_buffers<T>(run: impl FnOnce(&mut Ciphertext) -> T) -> T {
    let none = || Box::new(Ciphertext { incoming: Vec::new(), outgoing: Outgoing::new() });
    let mut buffers = CIPHERTEXT.take().unwrap_or_else(none);
    buffers.outgoing.clear();
    let done = run(&mut buffers);
    CIPHERTEXT.set(Some(buffers));
    done
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    use super::*;
    use crate::wire::stream::Stream;

    /// A server and a client that believes it.
    fn both() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let certificate = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    async fn shaken(socket: TcpStream, config: Arc<ServerConfig>) -> TlsStream {
        let stream = TlsStream::new(socket, config).unwrap();
        loop {
            match stream.try_handshake() {
                Ok(true) => return stream,
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                _ if stream.held() > 0 => stream.writable().await.unwrap(),
                _ => stream.readable().await.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn an_idle_connection_keeps_no_buffers() {
        let (server, client) = both();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        const ROUNDS: usize = 20;
        let asking = std::thread::spawn(move || {
            let name = ServerName::try_from("chat.example").unwrap();
            let socket = std::net::TcpStream::connect(address).unwrap();
            let mut stream = StreamOwned::new(ClientConnection::new(client, name).unwrap(), socket);
            for round in 0..ROUNDS {
                // Records that the reader's buffer does not hold, and some that it does.
                let said = vec![round as u8; 1 + round * 4_000];
                stream.write_all(&said).unwrap();
                let mut heard = vec![0; said.len()];
                stream.read_exact(&mut heard).unwrap();
                assert!(said == heard, "round {round}");
            }
            stream
        });
        let (socket, _) = listener.accept().await.unwrap();
        let stream = shaken(socket, server).await;
        for round in 0..ROUNDS {
            let mut said = Vec::new();
            while said.len() < 1 + round * 4_000 {
                stream.readable().await.unwrap();
                let mut buffer = [0; 3_000];
                match stream.try_read(&mut buffer) {
                    Ok(read) => said.extend_from_slice(&buffer[..read]),
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted), "{error}")
                    }
                }
            }
            let mut written = 0;
            while written < said.len() || stream.held() > 0 {
                match stream.try_write(&said[written..]) {
                    Ok(accepted) => written += accepted,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
                if stream.held() > 0 || written < said.len() {
                    stream.writable().await.unwrap();
                    let _ = stream.try_flush();
                }
            }
        }
        let asking = asking.join().unwrap();
        {
            let state = stream.state.borrow();
            assert_eq!([&state.incoming, &state.plain, &state.outgoing].map(Vec::capacity), [0; 3]);
        }
        assert!(size_of::<TlsStream>() <= 2_048, "{}", size_of::<TlsStream>());
        assert!(size_of::<Stream>() <= size_of::<TcpStream>() + size_of::<usize>(), "who is plain pays for it");
        drop(asking);
        stream.readable().await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(stream.try_read(&mut buffer).unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn what_comes_byte_by_byte_is_not_copied_as_often() {
        let (server, _) = both();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nodelay(true).unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let stream = TlsStream::new(socket, server).unwrap();
        // The beginning of a hello in one record, which does not end.
        const BYTES: usize = 4_000;
        let said = [&[22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3][..], &[7; BYTES]].concat();
        let mut capacities = std::collections::BTreeSet::new();
        for (nth, byte) in said.iter().enumerate() {
            peer.write_all(&[*byte]).unwrap();
            while stream.state.borrow().incoming.len() <= nth {
                stream.readable().await.unwrap();
                let step = stream.try_handshake();
                assert_eq!(step.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "byte {nth}");
            }
            capacities.insert(stream.buffered());
        }
        assert!(capacities.len() < 32, "room was made anew {} times for {BYTES} bytes", capacities.len());
    }
}
