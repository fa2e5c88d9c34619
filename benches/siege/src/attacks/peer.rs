//! The sockets of an attacker, or of an honest client that comes by the same ways.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use roomcast_lab::websocket;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::target::Target;

/// How long an attacker waits for its server. What it waits for longer it takes for an end.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long an honest client does.
const HONEST_PATIENCE: Duration = Duration::from_secs(20);

/// Where an attacker comes from, and whom it attacks.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) source: Ipv4Addr,
    pub(crate) target: Target,
}

/// Sockets that are held, to cost something.
#[derive(Debug)]
pub(crate) struct Held {
    streams: Vec<TcpStream>,
    max: usize,
}

impl Peer {
    /// A connection to where clients come.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        self.open(self.target.address, None)
    }

    /// The same, of which the system takes next to nothing that is not read.
    pub(crate) fn connect_narrowly(&self) -> io::Result<TcpStream> {
        self.open(self.target.address, Some(2_048))
    }

    /// A connection to where clients of TLS come.
    pub(crate) fn connect_to_tls(&self) -> io::Result<TcpStream> {
        self.open(self.target.tls_address, None)
    }

    fn open(&self, address: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TcpStream> {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let patience = if self.source == Ipv4Addr::LOCALHOST { HONEST_PATIENCE } else { PATIENCE };
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
        if let Some(bytes) = receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        rustix::net::bind(&socket, &SocketAddr::new(self.source.into(), 0))?;
        rustix::net::connect(&socket, &address)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A WebSocket, of a client that has said nothing.
    pub(crate) fn websocket(&self) -> io::Result<TcpStream> {
        self.handshake(self.connect()?, "")
    }

    /// The same, of which the system takes next to nothing that is not read.
    pub(crate) fn narrow_websocket(&self) -> io::Result<TcpStream> {
        self.handshake(self.connect_narrowly()?, "")
    }

    /// Makes a WebSocket of a connection, with further header fields.
    pub(crate) fn handshake(&self, mut stream: TcpStream, fields: &str) -> io::Result<TcpStream> {
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n{fields}\r\n",
            websocket::KEY
        );
        stream.write_all(request.as_bytes())?;
        let head = read_head(&mut stream)?;
        if head.starts_with(b"HTTP/1.1 101") { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    /// A client that has connected and entered a room.
    pub(crate) fn member(&self, stream: TcpStream, room: &str) -> io::Result<TcpStream> {
        let mut stream = stream;
        let commands = format!(
            "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{room}\",\"recoverable\":true}}}}"
        );
        send(&mut stream, &commands)?;
        Ok(stream)
    }
}

impl Held {
    /// None yet, and never more than that.
    pub(crate) fn new(max: usize) -> Self {
        Self { streams: Vec::new(), max }
    }

    /// Lets `open` bring one more, if there is room.
    pub(crate) fn fill(&mut self, open: impl FnOnce() -> io::Result<TcpStream>) -> io::Result<()> {
        if self.streams.len() < self.max {
            self.streams.push(open()?);
        }
        Ok(())
    }

    /// Writes into each, and lets go of those that are over.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.streams.retain_mut(|stream| stream.write_all(bytes).is_ok());
    }

    /// Lets go of those that the server has closed, without reading from the others.
    pub(crate) fn sift(&mut self) {
        let is_open = |stream: &TcpStream| {
            let mut byte = [0];
            let _ = stream.set_nonblocking(true);
            let peeked = stream.peek(&mut byte);
            let _ = stream.set_nonblocking(false);
            !matches!(peeked, Ok(0)) && !peeked.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
        };
        self.streams.retain(is_open);
    }
}

/// Reads up to the end of an HTTP head.
pub(crate) fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut buffer) = (Vec::new(), [0; 2_048]);
    loop {
        let n = stream.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..n]);
        if n == 0 || head.len() > websocket::HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(head);
        }
    }
}

/// Sends text in a frame of a client.
pub(crate) fn send(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(&frame(websocket::TEXT, text.as_bytes()))
}

/// A frame of a client.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    websocket::write(opcode, Some([1, 2, 3, 4]), &mut bytes, |out| out.extend_from_slice(payload));
    bytes
}

/// Reads what is there, at most that much, and forgets it.
pub(crate) fn skim(stream: &mut TcpStream, bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; bytes];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// The value of a text field in what a server says next, where it has one.
pub(crate) fn hear_field(stream: &mut TcpStream, name: &str) -> io::Result<Option<String>> {
    let mut buffer = vec![0; 16 * 1024];
    let n = stream.read(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..n]);
    let mark = format!("\"{name}\":\"");
    Ok(text.split_once(&mark).and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned))
}
