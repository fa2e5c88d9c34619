//! A server in this process and raw clients of it, with only what the tests need.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use roomcast_server::config::{Config, Storage};
use roomcast_server::{Commands, ServeError, Server, Shutdown};
use serde_json::Value;

use crate::frames::{Received, frame, read_frame};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; dropping it drains it, and removes its data directory unless that was given.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// Where its operator and its backend reach it, if that is another port.
    pub(crate) internal: SocketAddr,
    /// What commands its connections.
    pub(crate) commands: Commands,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    _data_dir: Folder,
}

/// A folder of its own, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("roomcast-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        // In memory where there is such a place: a test that commits a thousand times need not wait for a disk.
        let memory = PathBuf::from("/dev/shm");
        let path = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::dev();
        config.http_server.port = 0;
        config.shards = std::num::NonZeroUsize::new(2);
        // A client that a busy machine keeps from answering is not gone; tests of pings set their own times.
        config.client.pong_timeout = Duration::from_secs(24);
        // Clients here give any name; tests of names set their own rule.
        config.http_server.allowed_hosts = vec!["*".to_owned()];
        let data_dir = Folder::new();
        config.data_dir = data_dir.0.clone();
        change(&mut config);
        let server = Server::bind(config).expect("a free port");
        Self {
            address: server.local_addr(),
            internal: server.internal_addr().unwrap_or_else(|| server.local_addr()),
            commands: server.commands(),
            shutdown: server.shutdown(),
            thread: Some(std::thread::spawn(|| server.run())),
            _data_dir: data_dir,
        }
    }

    /// Begins to drain without waiting for the end.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.begin();
    }

    pub(crate) fn stop(mut self) -> Result<(), ServeError> {
        self.join()
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(self.address)
    }

    /// A client that has connected under a name.
    pub(crate) fn connected(&self, name: &str) -> Client {
        let mut client = self.client();
        client.send(&format!(r#"{{"id":1,"connect":{{"data":{{"name":"{name}"}}}}}}"#));
        let reply = client.reply(1);
        client.id = text(&reply["connect"]["client"]).to_owned();
        client
    }

    /// A client that is in a room.
    pub(crate) fn member(&self, name: &str, room: &str) -> Client {
        let mut client = self.connected(name);
        client.subscribe(2, room);
        client
    }

    /// The answer to a plain HTTP request: its head and its body.
    pub(crate) fn get(&self, path: &str, headers: &str) -> (String, String) {
        get(self.internal, path, headers)
    }

    /// The sum of a metric over all shards.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(self.internal, name)
    }

    fn join(&mut self) -> Result<(), ServeError> {
        self.shutdown.begin();
        match self.thread.take() {
            Some(thread) => thread.join().expect("the server does not panic"),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.join();
        if !std::thread::panicking() {
            ended.expect("a clean end");
        }
    }
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// One JSON object.
    Object(Value),
    /// A pong frame with its payload.
    Pong(Vec<u8>),
    /// A close frame: code and reason.
    Close(u16, String),
    /// The end of the stream.
    End,
}

/// A WebSocket client that says exactly what it is told to.
pub(crate) struct Client<Socket = TcpStream> {
    pub(crate) id: String,
    pub(crate) stream: Socket,
    input: Vec<u8>,
    heard: VecDeque<Heard>,
    /// Pushes that came while a reply was awaited.
    pub(crate) pushes: VecDeque<Value>,
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::over(dial(address))
    }
}

impl<Socket: Read + Write> Client<Socket> {
    /// The handshake over a stream of the caller's making.
    pub(crate) fn over(stream: Socket) -> Self {
        Self::over_with(stream, "")
    }

    /// The same with more headers.
    pub(crate) fn over_with(mut stream: Socket, headers: &str) -> Self {
        let handshake = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(handshake.as_bytes()).expect("a handshake");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "wrong key: {head}");
        Self::upgraded(stream)
    }

    /// Over a stream on which the handshake is done.
    pub(crate) fn upgraded(stream: Socket) -> Self {
        Self { id: String::new(), stream, input: Vec::new(), heard: VecDeque::new(), pushes: VecDeque::new() }
    }

    /// Sends one text frame.
    pub(crate) fn send(&mut self, text: &str) {
        self.send_raw(&frame(0x81, text.as_bytes()));
    }

    /// Sends bytes as they are; a server that has closed already is no error here.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn subscribe(&mut self, id: u32, room: &str) -> Value {
        self.send(&format!(r#"{{"id":{id},"subscribe":{{"channel":"{room}"}}}}"#));
        self.reply(id)["subscribe"].clone()
    }

    /// Publishes and waits for the reply.
    pub(crate) fn publish(&mut self, id: u32, room: &str, data: &str) {
        self.send(&publish(id, room, data));
        let reply = self.reply(id);
        assert!(reply.get("publish").is_some(), "{reply}");
    }

    /// The next thing the server says; pings are answered and not told.
    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                match &heard {
                    Heard::Object(Value::Object(fields)) if fields.is_empty() => self.send("{}"),
                    _ => return heard,
                }
            } else if !self.parse() && !self.fill() {
                return Heard::End;
            }
        }
    }

    pub(crate) fn object(&mut self) -> Value {
        match self.hear() {
            Heard::Object(value) => value,
            other => panic!("expected an object, heard {other:?}"),
        }
    }

    /// The reply to a command; pushes before it are kept.
    pub(crate) fn reply(&mut self, id: u32) -> Value {
        loop {
            let value = self.object();
            match value.get("push") {
                Some(push) => self.pushes.push_back(push.clone()),
                None => {
                    assert_eq!(value["id"], id, "{value}");
                    return value;
                }
            }
        }
    }

    /// The next push.
    pub(crate) fn push(&mut self) -> Value {
        if let Some(push) = self.pushes.pop_front() {
            return push;
        }
        let mut value = self.object();
        match value.get_mut("push") {
            Some(push) => push.take(),
            None => panic!("expected a push, heard {value}"),
        }
    }

    /// The next publication, with who comes and goes passed over.
    pub(crate) fn publication(&mut self) -> Value {
        loop {
            let mut push = self.push();
            if let Some(publication) = push.get_mut("pub") {
                return publication.take();
            }
        }
    }

    /// Everything until the close frame, which it returns.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        loop {
            match self.hear() {
                Heard::Close(code, reason) => return (code, reason),
                Heard::End => panic!("the stream ended without a close frame"),
                _ => {}
            }
        }
    }

    /// The same for a client that does not answer pings.
    pub(crate) fn closed_in_silence(&mut self) -> (u16, String) {
        loop {
            match self.heard.pop_front() {
                Some(Heard::Close(code, reason)) => return (code, reason),
                Some(_) => {}
                None => assert!(self.parse() || self.fill(), "no close frame"),
            }
        }
    }

    /// The next thing the server says, pings among it, which are not answered.
    pub(crate) fn hear_in_silence(&mut self) -> Heard {
        loop {
            match self.heard.pop_front() {
                Some(heard) => return heard,
                None if self.parse() || self.fill() => {}
                None => return Heard::End,
            }
        }
    }

    /// Takes one frame out of the input.
    fn parse(&mut self) -> bool {
        let Some(Received { first, payload, length }) = read_frame(&self.input).expect("a frame of a server") else {
            return false;
        };
        match first {
            0x81 => {
                let text = std::str::from_utf8(payload).expect("UTF-8");
                let objects = text.split('\n').map(serde_json::from_str);
                self.heard.extend(objects.map(|object| Heard::Object(object.expect("JSON"))));
            }
            0x8a => self.heard.push_back(Heard::Pong(payload.to_vec())),
            0x88 => {
                let (code, reason) = payload.split_at(2);
                let reason = String::from_utf8(reason.to_vec()).expect("UTF-8");
                let code = u16::from_be_bytes([code[0], code[1]]);
                self.heard.push_back(Heard::Close(code, reason));
            }
            other => panic!("an unexpected frame {other:#x}"),
        }
        self.input.drain(..length);
        true
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("waited in vain: {error}"),
        }
    }
}

pub(crate) fn publish(id: u32, room: &str, data: &str) -> String {
    format!(r#"{{"id":{id},"publish":{{"channel":"{room}","data":{data}}}}}"#)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}"))
}

/// Where a client stands when it has handled a subscribe reply.
pub(crate) fn newest(reply: &Value) -> u64 {
    let last = reply["publications"].as_array().and_then(|publications| publications.last());
    number(&last.unwrap_or(reply)["offset"])
}

pub(crate) fn number(value: &Value) -> u64 {
    // The encoding leaves zeros out.
    value.as_u64().unwrap_or(0)
}

/// Rooms of each kind: `off:`, `async:` and `stored:`.
pub(crate) fn of_each_storage(config: &mut Config) {
    for (name, storage) in [("off", Storage::Off), ("async", Storage::Async), ("stored", Storage::Stored)] {
        let mut options = config.channel.without_namespace.clone();
        options.storage = storage;
        options.history_size = 100_000;
        config.channel.namespaces.insert(name.to_owned(), options);
    }
}

/// Tries until it holds; for what the server does in its own time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The answer to a plain HTTP request: its head and its body.
fn get(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let mut stream = dial(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// The sum of a metric over all shards.
pub(crate) fn metric(address: SocketAddr, name: &str) -> u64 {
    let (_, body) = get(address, "/metrics", "");
    let lines = body.lines().filter(|line| line.starts_with(name));
    let values = lines.map(|line| line.rsplit(' ').next().expect("a value"));
    values.map(|value| value.parse::<u64>().expect("a number")).sum()
}

/// The head of an answer, byte by byte: what follows it is left to be read.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    with_patience(TcpStream::connect(address).expect("a connection"))
}

/// The same from another address of this machine.
pub(crate) fn dial_from(from: &str, address: SocketAddr) -> TcpStream {
    use socket2::{Domain, SockAddr, Socket, Type};
    let from: std::net::IpAddr = from.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0))).expect("an address of this machine");
    socket.connect(&address.into()).expect("a connection");
    with_patience(socket.into())
}

fn with_patience(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
    stream
}
