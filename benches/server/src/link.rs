//! A connection of the load, over TLS or without.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use roomcast_lab::load::Connection;
use roomcast_lab::websocket;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

/// What is read of the socket at once.
const READ_BYTES: usize = 256 * 1024;

thread_local! {
    static CIPHERTEXT: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    static CONFIG: Arc<ClientConfig> = Arc::new(config());
}

/// A connection, and what is spoken on it.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    tls: Option<Box<Session>>,
}

#[derive(Debug)]
struct Session {
    session: ClientConnection,
    /// What is to be said, and not encrypted yet.
    out: Vec<u8>,
}

impl Link {
    /// Connects; the handshake of TLS goes on as what is read and flushed.
    pub(crate) fn open(address: SocketAddr, is_tls: bool) -> io::Result<Self> {
        let connection = Connection::open(address)?;
        let session = || {
            let name = ServerName::from(address.ip());
            let session = ClientConnection::new(CONFIG.with(Arc::clone), name).map_err(io::Error::other)?;
            Ok::<_, io::Error>(Box::new(Session { session, out: Vec::new() }))
        };
        Ok(Self { connection, tls: is_tls.then(session).transpose()? })
    }

    /// As [`Connection::read`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Self { connection, tls } = self;
        let Some(tls) = tls else { return connection.read(buffer) };
        let read = CIPHERTEXT.with_borrow_mut(|ciphertext| {
            let length = ciphertext.len().min(buffer.len());
            match connection.read(&mut ciphertext[..length])? {
                Some(read) if read > 0 => tls.decrypt(&ciphertext[..read], buffer),
                other => Ok(other),
            }
        })?;
        if tls.session.wants_write() {
            // Of the handshake: nobody is told of that, and so has it flushed.
            self.flush()?;
        }
        Ok(read)
    }

    /// As [`Connection::out`].
    pub(crate) fn out(&mut self) -> (&mut Vec<u8>, [u8; 4]) {
        let (out, mask) = self.connection.out();
        (self.tls.as_mut().map_or(out, |tls| &mut tls.out), mask)
    }

    /// As [`Connection::write_frame`].
    pub(crate) fn write_frame(&mut self, opcode: u8, payload: impl FnOnce(&mut Vec<u8>)) {
        let (out, mask) = self.out();
        websocket::write(opcode, Some(mask), out, payload);
    }

    /// As [`Connection::flush`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let (out, _) = self.connection.out();
            tls.encrypt(out)?;
        }
        self.connection.flush()
    }

    /// As [`Connection::is_blocked`].
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.is_blocked()
    }

    /// As [`Connection::finish`].
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.connection.finish()
    }
}

impl Session {
    /// Decrypts what has come, all of it: nobody would be told that some of it waits here.
    fn decrypt(&mut self, mut ciphertext: &[u8], buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while !ciphertext.is_empty() {
            self.session.read_tls(&mut ciphertext)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
            loop {
                match self.session.reader().read(&mut buffer[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((filled > 0).then_some(filled))
    }

    /// Encrypts what is to be said, behind what TLS has to say itself.
    fn encrypt(&mut self, ciphertext: &mut Vec<u8>) -> io::Result<()> {
        let Self { session, out } = self;
        // Before the handshake is done it is kept, up to a bound that the first lines of a client do not come to.
        session.writer().write_all(out)?;
        out.clear();
        while session.wants_write() {
            session.write_tls(ciphertext)?;
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// Of clients that have never been there before: each shakes hands in full. They ask for one cipher, so that all servers encrypt by
/// the same: the first that browsers ask for.
fn config() -> ClientConfig {
    let cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() });
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13]);
    let mut config = config
        .expect("TLS 1.3 has that cipher")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// Takes the server at its word: who signed its certificate is no part of what is measured; its own signature is.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
