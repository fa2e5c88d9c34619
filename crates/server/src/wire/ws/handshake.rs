//! The opening handshake: which HTTP requests become WebSocket connections.

use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::deflate::Agreed;
use crate::config::Compression;
use crate::wire::framing::Framing;
use roomcast_protocol::Encoding;

/// The fixed text RFC 6455 appends to a client's key before hashing.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A key is sixteen random bytes.
const KEY_BYTES: usize = 16;

/// About the length of an answer.
const HEAD_BYTES: usize = 192;

/// A request that asks properly for a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The value of `Sec-WebSocket-Accept` in the answer; empty in a stream of HTTP/2, where nobody asks for it.
    pub(crate) accept: String,
    /// The value of `Sec-WebSocket-Protocol` in the answer, if it has one.
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) encoding: Encoding,
    /// How messages are compressed, if that is agreed on.
    pub(crate) compression: Option<Agreed>,
}

/// The subprotocols that are spoken, by name. A client that names none of them speaks JSON.
const SUBPROTOCOLS: [(&str, Encoding); 2] =
    [("centrifuge-protobuf", Encoding::Protobuf), ("centrifuge-json", Encoding::Json)];

/// What an address says after its `?` for Protobuf. Some SDKs name no subprotocol.
const PROTOBUF_QUERIES: [&str; 2] = ["format=protobuf", "cf_protocol=protobuf"];

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum HandshakeError {
    NotGet,
    NotAnUpgrade,
    NotExtendedConnect,
    Version,
    Key,
}

impl HandshakeError {
    /// The HTTP status that answers it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotGet | Self::NotExtendedConnect => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAnUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key => StatusCode::BAD_REQUEST,
        }
    }

    /// One line that says what to do.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::NotGet => "open this address with GET\n",
            Self::NotAnUpgrade => {
                "this address speaks WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`; \
                 behind a proxy, let it pass these headers on\n"
            }
            Self::NotExtendedConnect => {
                "this address speaks WebSocket: over HTTP/2, send CONNECT with `:protocol` websocket (RFC 8441)\n"
            }
            Self::Version => "use `Sec-WebSocket-Version: 13`\n",
            Self::Key => "`Sec-WebSocket-Key` must hold 16 bytes in base64\n",
        }
    }
}

impl Handshake {
    /// Checks a request by RFC 6455 section 4.2.1; whether its origin may connect is decided elsewhere.
    pub(crate) fn parse(method: &Method, query: Option<&str>, headers: &HeaderMap) -> Result<Self, HandshakeError> {
        if method != Method::GET {
            return Err(HandshakeError::NotGet);
        }
        if !lists(headers, &header::CONNECTION, "upgrade") || !lists(headers, &header::UPGRADE, "websocket") {
            return Err(HandshakeError::NotAnUpgrade);
        }
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|v| v.as_bytes() != b"13") {
            return Err(HandshakeError::Version);
        }
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(HandshakeError::Key);
        };
        match STANDARD.decode(key.as_bytes()) {
            Ok(bytes) if bytes.len() == KEY_BYTES => {}
            _ => return Err(HandshakeError::Key),
        }
        Ok(Self { accept: accept_key(key.as_bytes()), ..Self::spoken(query, headers) })
    }

    /// Checks a request by RFC 8441 section 5, for a WebSocket in a stream of HTTP/2; `protocol` is what its `:protocol` says.
    pub(crate) fn parse_stream(
        method: &Method,
        protocol: Option<&str>,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Self, HandshakeError> {
        if method != Method::CONNECT || protocol != Some("websocket") {
            return Err(HandshakeError::NotExtendedConnect);
        }
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|v| v.as_bytes() != b"13") {
            return Err(HandshakeError::Version);
        }
        Ok(Self::spoken(query, headers))
    }

    /// What is to be spoken.
    fn spoken(query: Option<&str>, headers: &HeaderMap) -> Self {
        let spoken = SUBPROTOCOLS.iter().find(|(name, _)| lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, name));
        Self {
            accept: String::new(),
            subprotocol: spoken.map(|(name, _)| *name),
            encoding: spoken.map_or_else(|| encoding_of(query), |(_, encoding)| *encoding),
            compression: None,
        }
    }

    /// Agrees to compress messages, if the request offers it and the options allow it.
    pub(crate) fn negotiate(&mut self, headers: &HeaderMap, options: &Compression) {
        self.compression = Agreed::on(headers, options);
    }

    /// How what this client is told is put on its socket.
    pub(crate) fn framing(&self) -> Framing {
        let frames = Framing::Frames(self.encoding);
        self.compression.map_or(frames, |agreed| Framing::Deflated(self.encoding, agreed.deflate))
    }

    /// The answer.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ",
        );
        head.extend_from_slice(self.accept.as_bytes());
        if let Some(subprotocol) = self.subprotocol {
            head.extend_from_slice(b"\r\nsec-websocket-protocol: ");
            head.extend_from_slice(subprotocol.as_bytes());
        }
        if let Some(agreed) = self.compression {
            head.extend_from_slice(b"\r\nsec-websocket-extensions: ");
            head.extend_from_slice(agreed.answer().as_bytes());
        }
        head.extend_from_slice(b"\r\n\r\n");
        head
    }
}

/// The answer to a client's key, which shows that the server understood the handshake.
pub(crate) fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(KEY_SUFFIX);
    STANDARD.encode(hash.finalize())
}

/// What is spoken when no subprotocol says it.
fn encoding_of(query: Option<&str>) -> Encoding {
    let is_protobuf = query.is_some_and(|query| query.split('&').any(|pair| PROTOBUF_QUERIES.contains(&pair)));
    if is_protobuf { Encoding::Protobuf } else { Encoding::Json }
}

/// Whether a comma-separated header names `token`, in any case.
fn lists(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn request(changes: &[(&'static str, Option<&'static str>)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in changes {
            match value {
                Some(value) => headers.insert(*name, HeaderValue::from_static(value)),
                None => headers.remove(*name),
            };
        }
        headers
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let handshake = Handshake::parse(&Method::GET, None, &request(&[])).expect("a valid request");
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((handshake.subprotocol, handshake.encoding), (None, Encoding::Json));
    }

    #[test]
    fn a_subprotocol_is_chosen_among_those_offered() {
        for (offered, name, encoding) in [
            ("centrifuge-protobuf", Some("centrifuge-protobuf"), Encoding::Protobuf),
            ("chat, Centrifuge-Protobuf", Some("centrifuge-protobuf"), Encoding::Protobuf),
            ("centrifuge-json", Some("centrifuge-json"), Encoding::Json),
            ("chat", None, Encoding::Json),
        ] {
            let headers = request(&[("sec-websocket-protocol", Some(offered))]);
            let handshake = Handshake::parse(&Method::GET, None, &headers).expect("a valid request");
            assert_eq!((handshake.subprotocol, handshake.encoding), (name, encoding), "{offered}");
            let head = String::from_utf8(handshake.head()).unwrap();
            let line = name.map(|name| format!("\r\nsec-websocket-protocol: {name}\r\n"));
            assert!(line.is_none_or(|line| head.contains(&line)), "{head}");
            assert_eq!(head.contains("sec-websocket-protocol"), name.is_some(), "{head}");
        }
    }

    #[test]
    fn the_address_may_ask_for_protobuf_where_no_subprotocol_says_otherwise() {
        for (query, subprotocol, encoding) in [
            (Some("format=protobuf"), None, Encoding::Protobuf),
            (Some("a=b&cf_protocol=protobuf"), None, Encoding::Protobuf),
            (Some("format=json"), None, Encoding::Json),
            (Some("format=protobufs&protobuf"), None, Encoding::Json),
            (Some("format=protobuf"), Some("centrifuge-json"), Encoding::Json),
        ] {
            let headers = request(&[("sec-websocket-protocol", subprotocol)]);
            let handshake = Handshake::parse(&Method::GET, query, &headers).expect("a valid request");
            assert_eq!((handshake.subprotocol, handshake.encoding), (subprotocol, encoding), "{query:?}");
        }
    }

    #[test]
    fn each_missing_part_is_told() {
        use HandshakeError::{Key, NotAnUpgrade, NotGet, Version};
        assert_eq!(Handshake::parse(&Method::POST, None, &request(&[])), Err(NotGet));
        for (change, expected) in [
            (("connection", None), NotAnUpgrade),
            (("connection", Some("close")), NotAnUpgrade),
            (("upgrade", None), NotAnUpgrade),
            (("upgrade", Some("h2c")), NotAnUpgrade),
            (("sec-websocket-version", None), Version),
            (("sec-websocket-version", Some("8")), Version),
            (("sec-websocket-key", None), Key),
            (("sec-websocket-key", Some("c2hvcnQ=")), Key),
            (("sec-websocket-key", Some("not base64 at all!!!")), Key),
        ] {
            assert_eq!(Handshake::parse(&Method::GET, None, &request(&[change])), Err(expected), "{change:?}");
        }
    }
}
