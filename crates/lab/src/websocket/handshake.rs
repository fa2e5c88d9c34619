//! The handshake of both sides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::Error;

/// The key of every handshake here. Any sixteen bytes will do: a load has nothing to hide from a proxy.
pub const KEY: &str = "cm9vbWNhc3QtdGhlLWxhYg==";

/// Bytes of an HTTP head beyond which it is a mistake.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Appends the request of a client, with [`KEY`].
pub fn write_request(host: &str, path: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    let subprotocol = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{subprotocol}\r\n"
    );
    out.extend_from_slice(request.as_bytes());
}

/// Appends the answer of a server to a client's key.
pub fn write_response(key: &str, out: &mut Vec<u8>) {
    let accept = accept(key);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    out.extend_from_slice(response.as_bytes());
}

/// The answer to a key.
#[must_use]
pub fn accept(key: &str) -> String {
    const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(SUFFIX).finalize())
}

/// The HTTP head at the beginning and its length; `None` while it is not complete.
///
/// # Errors
/// [`Error::Unexpected`] when it is no text, or longer than [`HEAD_BYTES_MAX`] and has no end.
pub fn head(bytes: &[u8]) -> Result<Option<(&str, usize)>, Error> {
    match memchr::memmem::find(bytes, b"\r\n\r\n") {
        Some(end) => {
            let head = str::from_utf8(&bytes[..end]).map_err(|_| Error::Unexpected("a head that is no text"))?;
            Ok(Some((head, end + 4)))
        }
        None if bytes.len() > HEAD_BYTES_MAX => Err(Error::Unexpected("a head without end")),
        None => Ok(None),
    }
}

/// A field of a head.
#[must_use]
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The length of a server's answer to [`KEY`], when it is complete and agrees.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some((head, length)) = head(bytes)? else { return Ok(None) };
    if !head.starts_with("HTTP/1.1 101") {
        return Err(Error::Refused(head.lines().next().unwrap_or_default().to_owned()));
    }
    match field(head, "sec-websocket-accept") {
        Some(found) if found == accept(KEY) => Ok(Some(length)),
        _ => Err(Error::Unexpected("a handshake with a wrong answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_and_answered() {
        let mut bytes = Vec::new();
        write_request("127.0.0.1", "/join/a", None, &mut bytes);
        assert_eq!(head(&bytes[..bytes.len() - 1]), Ok(None));
        let (found, length) = head(&bytes).expect("sound").expect("complete");
        assert_eq!(length, bytes.len());
        assert!(found.starts_with("GET /join/a "));
        assert_eq!(field(found, "sec-websocket-key"), Some(KEY));
        // The example of RFC 6455.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_answer_must_be_the_one_to_our_key() {
        let mut bytes = Vec::new();
        write_response(KEY, &mut bytes);
        assert_eq!(answer(&bytes), Ok(Some(bytes.len())));
        assert_eq!(answer(&bytes[..20]), Ok(None));
        assert!(answer(b"HTTP/1.1 403 Forbidden\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 101 Sure\r\nSec-WebSocket-Accept: no\r\n\r\n").is_err());
        assert!(answer(&[b'a'; HEAD_BYTES_MAX + 1]).is_err(), "an answer without end");
    }
}
