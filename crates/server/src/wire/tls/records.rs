//! One session of TLS without its socket: records in and out.

use rustls::Error;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};

/// What a session is to send behind what it has to say itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Say<'a> {
    Nothing,
    /// Bytes of the connection.
    Bytes(&'a [u8]),
    /// That nothing more will come.
    Goodbye,
}

/// Where decrypted bytes go: into the reader's buffer, and what does not fit into it behind that.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) filled: usize,
    pub(super) rest: &'a mut Vec<u8>,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8]) {
        let space = &mut self.buffer[self.filled..];
        let fits = bytes.len().min(space.len());
        space[..fits].copy_from_slice(&bytes[..fits]);
        self.filled += fits;
        self.rest.extend_from_slice(&bytes[fits..]);
    }
}

/// How far a session came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes of what came that it has used.
    pub(super) used: usize,
    /// What was to be said is said.
    pub(super) has_said: bool,
    /// The peer has said goodbye.
    pub(super) peer_closed: bool,
}

/// Gives a session what has come, all that it has not used before included, until it needs more; what it sends goes behind
/// `out`, and `say` behind that, once the handshake is done.
///
/// # Errors
/// What is wrong with what came. What the peer is to be told about it is in `out`.
pub(super) fn pump(
    session: &mut UnbufferedServerConnection,
    incoming: &mut [u8],
    sink: &mut Sink<'_>,
    out: &mut Outgoing,
    say: Say<'_>,
) -> Result<Progress, Error> {
    let mut progress = Progress::default();
    loop {
        let UnbufferedStatus { mut discard, state } = session.process_tls_records(&mut incoming[progress.used..]);
        match state {
            Err(error) => {
                progress.used += discard;
                // Its last word is the alert, behind what it had said before. What came is not to be looked at again.
                while session.wants_write() {
                    let UnbufferedStatus { state, .. } = session.process_tls_records(&mut incoming[progress.used..]);
                    let Ok(ConnectionState::EncodeTlsData(mut record)) = state else { break };
                    out.append(HANDSHAKE_BYTES, |space| record.encode(space).map_err(of_encoding))?;
                }
                return Err(error);
            }
            Ok(ConnectionState::EncodeTlsData(mut record)) => {
                out.append(HANDSHAKE_BYTES, |space| record.encode(space).map_err(of_encoding))?
            }
            Ok(ConnectionState::TransmitTlsData(transmitted)) => transmitted.done(),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    sink.take(record.payload);
                }
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                progress.used += discard;
                match say {
                    Say::Nothing => {}
                    Say::Bytes(bytes) => out.append(bytes.len() + RECORD_BYTES_MORE, |space| {
                        traffic.encrypt(bytes, space).map_err(of_encrypting)
                    })?,
                    Say::Goodbye => {
                        out.append(RECORD_BYTES_MORE, |space| traffic.queue_close_notify(space).map_err(of_encrypting))?
                    }
                }
                progress.has_said = true;
                return Ok(progress);
            }
            Ok(ConnectionState::PeerClosed) => progress.peer_closed = true,
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                progress.used += discard;
                return Ok(progress);
            }
            // Early data is not offered, and nothing else is known.
            Ok(_) => return Err(Error::General("a state of TLS that is not served".to_owned())),
        }
        progress.used += discard;
    }
}

/// What a record needs when there is no space for it, or that there is none.
type Unfit = Result<InsufficientSizeError, Error>;

fn of_encoding(error: EncodeError) -> Unfit {
    match error {
        EncodeError::InsufficientSize(needed) => Ok(needed),
        EncodeError::AlreadyEncoded => Err(Error::General("a record was encoded twice".to_owned())),
    }
}

fn of_encrypting(error: EncryptError) -> Unfit {
    match error {
        EncryptError::InsufficientSize(needed) => Ok(needed),
        EncryptError::EncryptExhausted => Err(Error::EncryptError),
    }
}

/// What a record is longer than what it says: its head, its kind and what proves it, and an initialization vector before TLS 1.3.
const RECORD_BYTES_MORE: usize = 64;

/// More than most messages of a handshake, certificates aside.
const HANDSHAKE_BYTES: usize = 1_024;

/// What goes to a socket, in a buffer that is used again. Its bytes are made nought once: to do so for each record would take as long as
/// to copy it.
#[derive(Debug)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), filled: 0 }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// What is to go.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Puts behind it what `write` writes into the space that it is given, of `needed` bytes at least; and of more where that is too
    /// small.
    fn append(
        &mut self,
        mut needed: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Unfit>,
    ) -> Result<(), Error> {
        for _ in 0..2 {
            let end = self.filled + needed;
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            match write(&mut self.bytes[self.filled..]) {
                Ok(written) => {
                    self.filled += written;
                    return Ok(());
                }
                Err(unfit) => needed = unfit?.required_size,
            }
        }
        Err(Error::EncryptError)
    }
}
