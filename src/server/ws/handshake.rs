//! The opening handshake: which HTTP requests become WebSocket connections.

use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// The fixed text RFC 6455 appends to a client's key before hashing.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A key is sixteen random bytes.
const KEY_BYTES: usize = 16;

/// A request that asks properly for a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The value of `Sec-WebSocket-Accept` in the answer.
    pub(crate) accept: String,
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum HandshakeError {
    NotGet,
    NotAnUpgrade,
    Version,
    Key,
}

impl HandshakeError {
    /// The HTTP status that answers it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotGet => StatusCode::METHOD_NOT_ALLOWED,
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
            Self::Version => "use `Sec-WebSocket-Version: 13`\n",
            Self::Key => "`Sec-WebSocket-Key` must hold 16 bytes in base64\n",
        }
    }
}

impl Handshake {
    /// Checks a request by RFC 6455 section 4.2.1; whether its origin may connect is decided elsewhere.
    pub(crate) fn parse(method: &Method, headers: &HeaderMap) -> Result<Self, HandshakeError> {
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
            Ok(bytes) if bytes.len() == KEY_BYTES => Ok(Self { accept: accept_key(key.as_bytes()) }),
            _ => Err(HandshakeError::Key),
        }
    }
}

/// The answer to a client's key, which shows that the server understood the handshake.
pub(crate) fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(KEY_SUFFIX);
    STANDARD.encode(hash.finalize())
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
        let handshake = Handshake::parse(&Method::GET, &request(&[])).expect("a valid request");
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_missing_part_is_told() {
        use HandshakeError::{Key, NotAnUpgrade, NotGet, Version};
        assert_eq!(Handshake::parse(&Method::POST, &request(&[])), Err(NotGet));
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
            assert_eq!(Handshake::parse(&Method::GET, &request(&[change])), Err(expected), "{change:?}");
        }
    }
}
