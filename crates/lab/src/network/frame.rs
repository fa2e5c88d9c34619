//! WebSocket frames from a client's side, and the handshake.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;

/// Any sixteen bytes will do: a load has nothing to hide from a proxy.
const KEY: &str = "cm9vbWNhc3QtdGhlLWxhYg==";
/// What RFC 6455 puts behind a key.
const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Larger frames are a mistake.
const FRAME_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A longer head is a mistake.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A whole frame of a server, which has no mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) is_last: bool,
    pub(super) opcode: u8,
    /// Where its payload begins.
    pub(super) start: usize,
    /// Where its payload and the frame end.
    pub(super) end: usize,
}

/// The frame that begins with the first byte; `None` while it is not complete.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Frame>, String> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (length, start) = match second {
        0x80.. => return Err("a masked frame, which servers do not send".to_owned()),
        126 => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        short => (u64::from(*short), 2),
    };
    if length > FRAME_BYTES_MAX {
        return Err(format!("a frame of {length} bytes"));
    }
    let end = start + length as usize;
    Ok((end <= bytes.len()).then_some(Frame { is_last: first & 0x80 != 0, opcode: first & 0x0f, start, end }))
}

/// Appends a frame with a mask; `payload` writes what is in it, 65,535 bytes at most.
pub(super) fn write(opcode: u8, mask: u32, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | opcode, 0x80 | 126, 0, 0]);
    out.extend_from_slice(&mask.to_ne_bytes());
    let from = out.len();
    payload(out);
    let length = out.len() - from;
    let word = u64::from(mask) << 32 | u64::from(mask);
    let (words, rest) = out[from..].as_chunks_mut::<8>();
    words.iter_mut().for_each(|bytes| *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes());
    rest.iter_mut().zip(mask.to_ne_bytes().iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    if length < 126 {
        out[start + 1] = 0x80 | length as u8;
        out.copy_within(start + 4.., start + 2);
        out.truncate(out.len() - 2);
    } else {
        // The largest message of a scenario and what is around it stay below.
        out[start + 2..start + 4].copy_from_slice(&(length.min(65_535) as u16).to_be_bytes());
    }
}

/// Appends the request of a handshake.
pub(super) fn write_request(host: &str, path: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    let subprotocol = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{subprotocol}\r\n"
    );
    out.extend_from_slice(request.as_bytes());
}

/// The length of the answer, when it is complete and agrees.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err("an answer without end".to_owned()) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let first = head.lines().next().unwrap_or_default();
    if !first.starts_with("HTTP/1.1 101") {
        return Err(format!("{first:?} instead of a WebSocket"));
    }
    let accept = head.lines().filter_map(|line| line.split_once(':'));
    let accept = accept.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"));
    let expected = STANDARD.encode(Sha1::new().chain_update(KEY).chain_update(SUFFIX).finalize());
    match accept {
        Some((_, accept)) if accept.trim() == expected => Ok(Some(end + 4)),
        _ => Err("a handshake with a wrong answer".to_owned()),
    }
}

/// Appends the answer of a server to [`write_request`].
pub(super) fn write_answer(out: &mut Vec<u8>) {
    let accept = STANDARD.encode(Sha1::new().chain_update(KEY).chain_update(SUFFIX).finalize());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    out.extend_from_slice(answer.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_when_they_are_complete() {
        for length in [0_usize, 1, 125, 126, 65_535, 70_000] {
            let mut bytes = vec![0x81];
            match length {
                0..126 => bytes.push(length as u8),
                126..65_536 => bytes.extend([126, (length >> 8) as u8, length as u8]),
                _ => bytes.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
            }
            let start = bytes.len();
            bytes.extend(vec![b'x'; length]);
            for cut in [0, 1, start - 1, bytes.len() - 1] {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} of {length}");
            }
            let frame = parse(&bytes).expect("sound").expect("complete");
            assert_eq!((frame.is_last, frame.opcode, frame.start, frame.end), (true, TEXT, start, bytes.len()));
        }
        assert!(parse(&[0x81, 0x80, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_written_frame_has_its_length_and_its_mask() {
        for length in [0_usize, 5, 125, 126, 60_000] {
            let mut out = Vec::new();
            write(BINARY, 0x0403_0201, &mut out, |out| out.extend(vec![7; length]));
            let header = if length < 126 { 6 } else { 8 };
            assert_eq!((out.len(), out[0]), (header + length, 0x82));
            let mask = 0x0403_0201_u32.to_ne_bytes();
            assert!(out[header..].iter().zip(mask.iter().cycle()).all(|(byte, mask)| byte ^ mask == 7), "{length}");
        }
    }

    #[test]
    fn an_answer_must_be_the_one_to_our_key() {
        let mut bytes = Vec::new();
        write_answer(&mut bytes);
        assert_eq!(answer(&bytes), Ok(Some(bytes.len())));
        assert_eq!(answer(&bytes[..20]), Ok(None));
        assert!(answer(b"HTTP/1.1 403 Forbidden\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 101 Sure\r\nSec-WebSocket-Accept: no\r\n\r\n").is_err());
    }
}
