//! A port that speaks TLS, and who comes to it: a stranger who says anything, however it is cut, and a client who shakes hands in
//! earnest while bytes on their way are held up, cut and damaged.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS12;
use rustls::{ClientConfig, ClientConnection, ServerConfig};

use super::source::Source;
use crate::config::{Pem, ServerTls, TlsOptions};
use crate::wire::tls::{Carrier, TlsStream};

const CERTIFICATE: &str = include_str!("../backend/tests/tls/server.pem");
const KEY: &str = include_str!("../backend/tests/tls/server.key");

/// What connections are accepted by, as a configured port has it.
static PORT: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let read = |pem: &str| Some(Pem::read(pem).expect("it is PEM"));
    let options = ServerTls { enabled: true, cert_pem: read(CERTIFICATE), key_pem: read(KEY), client_ca_pem: None };
    options.identity(None).expect("the key is the certificate's").config
});

/// One that speaks TLS 1.2 alone.
static OLDER_PORT: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let certificates: Result<_, _> = CertificateDer::pem_slice_iter(CERTIFICATE.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS12]).expect("it is spoken").with_no_client_auth();
    Arc::new(builder.with_single_cert(certificates.expect("certificates"), key).expect("its key"))
});

static CLIENT: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let options = TlsOptions { enabled: true, insecure_skip_verify: true, ..TlsOptions::default() };
    Arc::new(options.client().expect("it believes everybody"))
});

/// What one connection holds at most, whatever its client says: a message that is not whole, in a buffer that has grown by doubling, and
/// what came in one read.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// What a stranger is answered at most: our part of a handshake, and an alert.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What a stranger says at most.
const SAID_BYTES_MAX: usize = 72 * 1024;

/// Bytes up to which it is heard byte by byte as well.
const SINGLE_BYTES_MAX: usize = 1_024;

/// Steps of a client.
const STEPS_MAX: usize = 200;

/// More of them than there are of anything on the way.
const LAST_STEPS_MAX: usize = 4_000;

/// New keys for which a client asks: more than that without a word between would be refused.
const KEYS_MAX: usize = 16;

pub(super) fn check(input: &[u8]) {
    let mut source = Source::new(input);
    match source.byte() % 4 {
        0 => stranger(source.rest()),
        1 => stranger(&records(source)),
        2 => Visit::new(&PORT, source).run(),
        _ => Visit::new(&OLDER_PORT, source).run(),
    }
}

/// Records as the input describes them: what they are said to be, how long they are said to be, and how often.
fn records(mut source: Source<'_>) -> Vec<u8> {
    let mut said = Vec::new();
    while !source.is_empty() && said.len() < SAID_BYTES_MAX {
        let (kind, version) = (source.byte(), source.one_of(&[3, 1, 4, 2]));
        let (length, lie, times) = (source.byte(), source.byte(), source.byte());
        let payload = source.take(usize::from(length));
        let told = match lie {
            0..0xf0 => payload.len() as u16,
            _ => u16::from(lie) << 8 | u16::from(length),
        };
        for _ in 0..=times {
            said.push(if kind < 0x80 { 20 + kind % 5 } else { kind });
            said.extend_from_slice(&[3, version]);
            said.extend_from_slice(&told.to_be_bytes());
            said.extend_from_slice(payload);
        }
    }
    said.truncate(SAID_BYTES_MAX);
    said
}

/// Whatever is said, and however it is cut: it comes to the same end, within bounds.
fn stranger(said: &[u8]) {
    let whole = hear(&PORT, said, usize::MAX);
    assert_eq!(hear(&PORT, said, 1 + said.len() / 2), whole, "it matters that it is cut in two");
    if said.len() <= SINGLE_BYTES_MAX {
        assert_eq!(hear(&PORT, said, 1), whole, "it matters that it comes byte by byte");
    }
    hear(&OLDER_PORT, said, 1_000);
}

/// How a handshake ends of whose other side that is all, in such pieces, and the kinds of the records that were answered.
fn hear(port: &Arc<ServerConfig>, said: &[u8], piece: usize) -> (ErrorKind, Vec<u8>) {
    let line = Line::new(said, piece);
    let stream = TlsStream::new(&line, Arc::clone(port)).expect("a session");
    let end = loop {
        match stream.try_handshake() {
            Ok(is_done) => assert!(!is_done, "a stranger has shaken hands, who has no keys"),
            Err(error) if error.kind() != ErrorKind::WouldBlock => break error.kind(),
            // It has heard all, or looks again.
            Err(_) => {}
        }
        assert!(stream.buffered() <= HELD_BYTES_MAX, "it holds {} bytes", stream.buffered());
    };
    assert!(matches!(end, ErrorKind::InvalidData | ErrorKind::UnexpectedEof), "{end}");
    let again = stream.try_handshake().map_err(|error| error.kind());
    assert_eq!(again, Err(end), "it goes on behind its end");
    assert_eq!(stream.held(), 0, "who takes all is told all");
    assert!(stream.buffered() <= HELD_BYTES_MAX);
    let heard = line.heard.take();
    assert!(heard.len() <= ANSWER_BYTES_MAX, "{} bytes are answered to {}", heard.len(), said.len());
    (end, kinds(&heard))
}

/// The kinds of records, all of which are whole.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some((&[kind, major, _, high, low], rest)) = bytes.split_first_chunk() {
        assert!((20..=23).contains(&kind) && major == 3, "no record: {kind} {major}");
        let length = usize::from(u16::from_be_bytes([high, low]));
        kinds.push(kind);
        bytes = rest.get(length..).expect("a record is cut");
    }
    assert!(bytes.is_empty(), "a head is cut");
    kinds
}

/// What lies between the two, as a server sees it.
struct Line {
    said: RefCell<VecDeque<u8>>,
    heard: RefCell<Vec<u8>>,
    /// What is given in one read at most; between two there is nothing.
    piece: usize,
    has_given: Cell<bool>,
    /// Nothing more will be said.
    is_over: Cell<bool>,
    /// So many bytes are taken before it is full.
    takes: Cell<usize>,
}

impl Line {
    /// A line on which that is all that is said, and everything is taken.
    fn new(said: &[u8], piece: usize) -> Self {
        Self {
            said: RefCell::new(said.iter().copied().collect()),
            heard: RefCell::default(),
            piece,
            has_given: Cell::new(false),
            is_over: Cell::new(true),
            takes: Cell::new(usize::MAX),
        }
    }
}

impl Carrier for &Line {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut said = self.said.borrow_mut();
        if said.is_empty() && self.is_over.get() {
            return Ok(0);
        }
        if said.is_empty() || self.has_given.replace(!self.has_given.get()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = buffer.len().min(self.piece);
        said.read(&mut buffer[..length])
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.takes.get());
        if taken == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.takes.set(self.takes.get() - taken);
        self.heard.borrow_mut().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
}

/// A client that shakes hands in earnest, and what its input does to what is on the way.
struct Visit<'a> {
    port: &'a Arc<ServerConfig>,
    source: Source<'a>,
    client: ClientConnection,
    /// What the client has sent, and has not come.
    on_the_way: Vec<u8>,
    is_damaged: bool,
    /// Who asks for new keys.
    keys: usize,
    said: Counted,
    answered: Counted,
}

/// Bytes of one direction, of which each tells its place.
#[derive(Default)]
struct Counted {
    said: usize,
    heard: usize,
}

impl Counted {
    fn say(&self, count: usize) -> Vec<u8> {
        (self.said..self.said + count).map(byte_at).collect()
    }

    fn hear(&mut self, bytes: &[u8]) {
        let is_next = bytes.iter().zip(self.heard..).all(|(byte, place)| *byte == byte_at(place));
        self.heard += bytes.len();
        assert!(is_next && self.heard <= self.said, "what was heard was not said");
    }
}

fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}

impl<'a> Visit<'a> {
    fn new(port: &'a Arc<ServerConfig>, source: Source<'a>) -> Self {
        let name = ServerName::try_from("chat.example").expect("a name");
        Self {
            port,
            source,
            client: ClientConnection::new(Arc::clone(&CLIENT), name).expect("a client"),
            on_the_way: Vec::new(),
            is_damaged: false,
            keys: 0,
            said: Counted::default(),
            answered: Counted::default(),
        }
    }

    fn run(mut self) {
        let line = Line::new(&[], usize::MAX);
        line.is_over.set(false);
        line.takes.set(0);
        let stream = TlsStream::new(&line, Arc::clone(self.port)).expect("a session");
        for _ in 0..STEPS_MAX {
            if self.source.is_empty() || self.step(&line, &stream).is_err() {
                break;
            }
        }
        if !self.is_damaged {
            self.come_to_rest(&line, &stream);
        }
        line.is_over.set(true);
        self.end(&line, &stream);
    }

    /// One step; nothing follows once one side has given up.
    fn step(&mut self, line: &Line, stream: &TlsStream<&Line>) -> Result<(), ErrorKind> {
        let (what, count) = (self.source.byte(), usize::from(self.source.byte()));
        match what % 8 {
            // Both: a few bytes, or more than a record.
            0 => self.say(count * if what < 0x80 { 1 } else { 100 }),
            1 => self.answer(stream, count * if what < 0x80 { 1 } else { 100 })?,
            2 => self.carry(line, if what < 0x80 { count } else { usize::MAX }),
            3 => self.listen(stream, 1 + count * 64)?,
            4 => line.takes.set(count * if what < 0x80 { 1 } else { 100 }),
            5 => stream.try_flush().or_else(only_full)?,
            6 => self.hear(line)?,
            _ => match what < 0x80 {
                true => self.ask_for_keys(),
                false => self.damage(count),
            },
        }
        assert!(stream.buffered() <= HELD_BYTES_MAX, "it holds {} bytes", stream.buffered());
        Ok(())
    }

    fn say(&mut self, count: usize) {
        let said = self.said.say(count);
        // Before hands are shaken it is kept, up to a bound.
        self.said.said += self.client.writer().write(&said).unwrap_or(0);
    }

    fn answer(&mut self, stream: &TlsStream<&Line>, count: usize) -> Result<(), ErrorKind> {
        let answer = self.answered.say(count);
        match stream.try_write(&answer) {
            Ok(accepted) => {
                assert!(accepted <= answer.len());
                self.answered.said += accepted;
                Ok(())
            }
            // Hands are not shaken yet.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            Err(error) => only_full(error).or_else(|kind| self.may_fail(kind)),
        }
    }

    /// Brings so many bytes to the server.
    fn carry(&mut self, line: &Line, count: usize) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.on_the_way).expect("there is space");
        }
        let count = count.min(self.on_the_way.len());
        line.said.borrow_mut().extend(self.on_the_way.drain(..count));
    }

    /// The server goes on with what has come.
    fn listen(&mut self, stream: &TlsStream<&Line>, space: usize) -> Result<(), ErrorKind> {
        let handshaken = stream.try_handshake().map(|_| ()).or_else(only_full);
        handshaken.or_else(|kind| self.may_fail(kind))?;
        let mut buffer = vec![0; space];
        match stream.try_read(&mut buffer) {
            Ok(read) => {
                self.said.hear(&buffer[..read]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => only_full(error).or_else(|kind| self.may_fail(kind)),
        }
    }

    /// The client takes what was sent to it. What it is told when it was damaged is nothing that was not said.
    fn hear(&mut self, line: &Line) -> Result<(), ErrorKind> {
        let sent = line.heard.take();
        let mut sent = &sent[..];
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).map_err(|error| error.kind())?;
            if let Err(error) = self.client.process_new_packets() {
                assert!(self.is_damaged, "the client refuses what it is sent: {error}");
                return Err(ErrorKind::InvalidData);
            }
            let mut plain = Vec::new();
            match self.client.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.kind()),
                _ => self.answered.hear(&plain),
            }
        }
        Ok(())
    }

    fn ask_for_keys(&mut self) {
        if self.keys < KEYS_MAX && !self.client.is_handshaking() {
            self.keys += 1;
            // TLS 1.2 knows of none.
            let _ = self.client.refresh_traffic_keys();
        }
    }

    fn damage(&mut self, at: usize) {
        if let Some(byte) = self.on_the_way.get_mut(at) {
            *byte ^= 1 << (at % 8);
            self.is_damaged = true;
        }
    }

    /// What was not damaged is taken.
    fn may_fail(&self, kind: ErrorKind) -> Result<(), ErrorKind> {
        assert!(self.is_damaged, "{kind} of a client that says nothing wrong");
        Err(kind)
    }

    /// Everything that was said comes, and is what was said.
    fn come_to_rest(&mut self, line: &Line, stream: &TlsStream<&Line>) {
        for _ in 0..LAST_STEPS_MAX {
            line.takes.set(usize::MAX);
            self.carry(line, usize::MAX);
            self.listen(stream, 20_000).expect("nothing is wrong");
            stream.try_flush().expect("all is taken");
            self.hear(line).expect("nothing is wrong");
            let is_all = |counted: &Counted| counted.heard == counted.said;
            if !self.client.is_handshaking() && is_all(&self.said) && is_all(&self.answered) {
                return;
            }
        }
        panic!("it does not come to rest: {} of {} bytes", self.said.heard, self.said.said);
    }

    /// Its client leaves, and nothing more is heard of it than was said.
    fn end(&mut self, line: &Line, stream: &TlsStream<&Line>) {
        line.takes.set(usize::MAX);
        for _ in 0..LAST_STEPS_MAX {
            let mut buffer = [0; 4_096];
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => self.said.hear(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return assert!(self.is_damaged || stream.held() == 0),
            }
        }
        panic!("it does not end");
    }
}

/// That there is nothing, or no place, is no failure.
fn only_full(error: io::Error) -> Result<(), ErrorKind> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(()),
        kind => Err(kind),
    }
}
