//! A client's connection: the protocol over WebSocket over TLS, as much of it as is needed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::chain::CERTIFICATES;

/// How long a handshake may take: those who come while nobody accepts wait for the next process.
const PATIENCE: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 4_096;
/// More than any message of the crowd, and all that it may have missed.
const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// Where clients connect.
pub(crate) struct Door {
    address: SocketAddr,
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Over {
    /// The server has closed it, with that code.
    Closed(u16),
    /// It was cut, or could not be had.
    Lost(String),
}

/// A connection.
pub(crate) struct Socket {
    stream: BufReader<TlsStream<TcpStream>>,
}

impl Door {
    pub(crate) fn to(address: SocketAddr) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(format!("{CERTIFICATES}/ca.pem"));
        roots
            .add(authority.map_err(|error| format!("ca.pem: {error}"))?)
            .map_err(|error| format!("ca.pem: {error}"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("backend.test").map_err(|error| error.to_string())?;
        Ok(Self { address, connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Connects, as far as the server lets clients in.
    pub(crate) async fn open(&self) -> Result<Socket, Over> {
        timeout(PATIENCE, self.try_open()).await.unwrap_or_else(|_| Err(Over::Lost("nobody answers".to_owned())))
    }

    async fn try_open(&self) -> Result<Socket, Over> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        let mut socket = Socket { stream: BufReader::with_capacity(BUFFER_BYTES, stream) };
        let handshake = "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.stream.write_all(handshake.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.stream.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(Over::Lost(String::from_utf8_lossy(&head[..head.len().min(40)]).into_owned()));
        }
        socket.send(r#"{"id":1,"connect":{}}"#).await?;
        let reply = socket.reply(1, &mut Vec::new()).await?;
        if reply.get("connect").is_some() { Ok(socket) } else { Err(Over::Lost(reply.to_string())) }
    }
}

impl Socket {
    /// Sends a command.
    pub(crate) async fn send(&mut self, command: &str) -> Result<(), Over> {
        self.write(TEXT, command.as_bytes()).await
    }

    async fn write(&mut self, first: u8, payload: &[u8]) -> Result<(), Over> {
        let mut frame = vec![first];
        match u16::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length as u8),
            Ok(length) => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => return Err(Over::Lost("a command is too long".to_owned())),
        }
        // A mask of zeros changes nothing.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        Ok(self.stream.write_all(&frame).await?)
    }

    /// Waits so long for something to be heard; whether there is anything.
    pub(crate) async fn speaks_within(&mut self, time: Duration) -> bool {
        timeout(time, self.stream.fill_buf()).await.is_ok()
    }

    /// The next messages, of which there may be none: pings are answered and not told.
    pub(crate) async fn hear(&mut self) -> Result<Vec<Value>, Over> {
        loop {
            let first = self.stream.read_u8().await?;
            let length = match self.stream.read_u8().await? {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                length => u64::from(length),
            };
            if length > FRAME_BYTES_MAX {
                return Err(Over::Lost("a frame is too long".to_owned()));
            }
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await?;
            match first {
                TEXT => {
                    let values = payload.split(|byte| *byte == b'\n').map(serde_json::from_slice);
                    let values: Result<Vec<Value>, _> = values.collect();
                    let mut values = values.map_err(|error| Over::Lost(error.to_string()))?;
                    let before = values.len();
                    values.retain(|value| value.as_object().is_none_or(|fields| !fields.is_empty()));
                    if values.len() < before {
                        self.send("{}").await?;
                    }
                    return Ok(values);
                }
                PING => self.write(0x8a, &payload).await?,
                CLOSE => {
                    let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                    let _ = self.write(CLOSE, &payload[..payload.len().min(2)]).await;
                    return Err(Over::Closed(code));
                }
                _ => return Err(Over::Lost(format!("a frame of kind {first:#x}"))),
            }
        }
    }

    /// The reply to a command; what comes with it and before it goes to `others`.
    pub(crate) async fn reply(&mut self, id: u64, others: &mut Vec<Value>) -> Result<Value, Over> {
        loop {
            let mut found = None;
            for value in self.hear().await? {
                if value["id"] == id { found = Some(value) } else { others.push(value) }
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code) => write!(f, "closed with {code}"),
            Self::Lost(why) => f.write_str(why),
        }
    }
}

impl From<std::io::Error> for Over {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}
