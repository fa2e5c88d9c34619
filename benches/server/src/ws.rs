//! WebSocket frames of both sides, as far as a load and a bare server need them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::fault::Fault;

/// The key of every handshake here; only its answer matters.
pub const KEY: &str = "cm9vbWNhc3QgYmVuY2g+Pg==";

/// Payload bytes beyond which a frame is a mistake. NATS puts all it holds for a slow member into one.
const FRAME_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes of an HTTP head beyond which it is a mistake.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A continuation of the message before.
pub const CONTINUATION: u8 = 0x0;
/// A text message.
pub const TEXT: u8 = 0x1;
/// A binary message.
pub const BINARY: u8 = 0x2;
/// Goodbye.
pub const CLOSE: u8 = 0x8;
/// A ping.
pub const PING: u8 = 0x9;
/// Its answer.
pub const PONG: u8 = 0xa;

/// Where a whole frame lies in the bytes it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether its message ends with it.
    pub is_last: bool,
    /// What it is.
    pub opcode: u8,
    /// The client's mask.
    pub mask: Option<[u8; 4]>,
    /// Where its payload begins.
    pub start: usize,
    /// Where its payload and the frame end.
    pub end: usize,
}

/// The frame that begins with the first byte; `None` while it is not complete.
///
/// # Errors
/// [`Fault::Unexpected`] when it is larger than anything that is sent here.
pub fn frame(bytes: &[u8]) -> Result<Option<Frame>, Fault> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (length, header) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    if length > FRAME_BYTES_MAX {
        return Err(Fault::Unexpected("a huge frame"));
    }
    let is_masked = second & 0x80 != 0;
    let start = header + if is_masked { 4 } else { 0 };
    let end = start + length;
    if bytes.len() < end {
        return Ok(None);
    }
    let mask = if is_masked { bytes[header..start].first_chunk().copied() } else { None };
    Ok(Some(Frame { is_last: first & 0x80 != 0, opcode: first & 0x0f, mask, start, end }))
}

/// Appends a frame of a server, or with a mask of a client; `payload` writes what is in it.
pub fn write(opcode: u8, mask: Option<[u8; 4]>, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let bit = if mask.is_some() { 0x80 } else { 0 };
    // Most frames need the header of middle size; a shorter one moves the payload.
    out.extend_from_slice(&[0x80 | opcode, bit | 126, 0, 0]);
    out.extend(mask.iter().flatten());
    let from = out.len();
    payload(out);
    let length = out.len() - from;
    assert!(length <= usize::from(u16::MAX), "nothing that large is sent here");
    if let Some(mask) = mask {
        apply_mask(&mut out[from..], mask);
    }
    if length < 126 {
        out[start + 1] = bit | length as u8;
        out.copy_within(start + 4.., start + 2);
        out.truncate(out.len() - 2);
    } else {
        out[start + 2..start + 4].copy_from_slice(&(length as u16).to_be_bytes());
    }
}

/// Masks a payload, or takes its mask off.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(mask));
    let word = word << 32 | word;
    let (words, rest) = payload.as_chunks_mut::<8>();
    words.iter_mut().for_each(|bytes| *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes());
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Appends the request of a client.
pub fn write_request(path: &str, out: &mut Vec<u8>) {
    write_request_for(path, None, out);
}

/// The same, for that subprotocol.
pub fn write_request_for(path: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    let subprotocol = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
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
pub fn accept(key: &str) -> String {
    const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(SUFFIX).finalize())
}

/// The HTTP head at the beginning and its length; `None` while it is not complete.
///
/// # Errors
/// [`Fault::Unexpected`] when it is no text or far too long.
pub fn head(bytes: &[u8]) -> Result<Option<(&str, usize)>, Fault> {
    match memchr::memmem::find(bytes, b"\r\n\r\n") {
        Some(end) => {
            let head = str::from_utf8(&bytes[..end]).map_err(|_| Fault::Unexpected("a head that is no text"))?;
            Ok(Some((head, end + 4)))
        }
        None if bytes.len() > HEAD_BYTES_MAX => Err(Fault::Unexpected("a long head")),
        None => Ok(None),
    }
}

/// A field of a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

    fn written(length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = b"before".to_vec();
        write(TEXT, mask, &mut bytes, |out| out.extend((0..length).map(|at| at as u8)));
        bytes.split_off(6)
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for length in [0, 1, 125, 126, 4_000, 65_535] {
            for mask in [None, MASK] {
                let mut bytes = written(length, mask);
                let found = frame(&bytes).expect("sound").expect("complete");
                assert_eq!((found.is_last, found.opcode, found.mask, found.end), (true, TEXT, mask, bytes.len()));
                let payload = &mut bytes[found.start..];
                apply_mask(payload, mask.unwrap_or_default());
                assert!(payload.iter().enumerate().all(|(at, byte)| at as u8 == *byte), "{length}");
            }
        }
    }

    #[test]
    fn a_frame_that_is_not_complete_is_not_there_yet() {
        let bytes = written(300, MASK);
        for length in 0..bytes.len() {
            assert_eq!(frame(&bytes[..length]), Ok(None));
        }
        assert!(frame(&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err(), "nobody sends that much");
    }

    #[test]
    fn heads_are_found_and_answered() {
        let mut bytes = Vec::new();
        write_request("/join/a", &mut bytes);
        assert_eq!(head(&bytes[..bytes.len() - 1]), Ok(None));
        let (found, length) = head(&bytes).expect("sound").expect("complete");
        assert_eq!(length, bytes.len());
        assert!(found.starts_with("GET /join/a "));
        assert_eq!(field(found, "sec-websocket-key"), Some(KEY));
        // The example of RFC 6455.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
