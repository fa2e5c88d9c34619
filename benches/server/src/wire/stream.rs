//! Answers without end: chunks of HTTP, and in them messages of the Centrifugo client protocol.

use roomcast_lab::protocol::Encoding;

use super::{Heard, Intent, Wire, centrifugo};
use crate::fault::Fault;

/// Appends the request that opens one, with everything that is to be said in it.
pub(super) fn write_opening(wire: Wire, intent: &Intent, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let (path, content_type) = match wire {
        Wire::ProtobufStream => ("http_stream", "application/octet-stream"),
        Wire::Events => ("sse", "application/json"),
        _ => ("http_stream", "application/json"),
    };
    match wire {
        Wire::ProtobufStream => centrifugo::write_commands(Encoding::Protobuf, intent, &mut body),
        _ => centrifugo::write_commands(Encoding::Json, intent, &mut body),
    }
    let length = body.len();
    let head = format!(
        "POST /connection/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&body);
}

/// Hands the payload of each whole chunk on; how many bytes they were.
pub(super) fn hear_chunks(bytes: &[u8], mut payload: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<usize, Fault> {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &bytes[at..]) {
        let digits = bytes[at..at + end].strip_suffix(b"\r").and_then(|digits| str::from_utf8(digits).ok());
        let length = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.ok_or(Fault::Unexpected("a chunk without a length"))?;
        let start = at + end + 1;
        let Some(chunk) = bytes.get(start..start + length + 2) else { break };
        payload(&chunk[..length])?;
        at = start + length + 2;
    }
    Ok(at)
}

/// Makes something of the whole messages at the beginning of what chunks hold; how many bytes they were.
pub(super) fn hear(
    wire: Wire,
    bytes: &[u8],
    each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    if wire == Wire::ProtobufStream {
        return centrifugo::hear_whole(Encoding::Protobuf, bytes, each);
    }
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &bytes[at..]) {
        let line = &bytes[at..at + end];
        at += end + 1;
        match wire {
            // An event ends with an empty line.
            Wire::Events if line.is_empty() => {}
            Wire::Events => {
                let data = line.strip_prefix(b"data: ").ok_or(Fault::Unexpected("an event without data"))?;
                centrifugo::hear(Encoding::Json, data, each)?;
            }
            _ => centrifugo::hear(Encoding::Json, line, each)?,
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::super::Wire;
    use super::super::tests::heard;

    const PUSH: &str = r#"{"push":{"channel":"r","pub":{"data":"abc","offset":7}}}"#;

    #[test]
    fn messages_are_found_in_chunks_however_both_are_cut() {
        for (wire, text) in [
            (Wire::Stream, format!("{{\"id\":1,\"connect\":{{}}}}\n{PUSH}\n{PUSH}\n")),
            (Wire::Events, format!("data: {{\"id\":1,\"connect\":{{}}}}\n\ndata: {PUSH}\n\ndata: {PUSH}\n\n")),
        ] {
            for chunk in [1, 20, 1_000] {
                let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
                for part in text.as_bytes().chunks(chunk) {
                    bytes.extend_from_slice(format!("{:08x}\r\n", part.len()).as_bytes());
                    bytes.extend_from_slice(part);
                    bytes.extend_from_slice(b"\r\n");
                }
                for piece in [1, 7, 10_000] {
                    let all = heard(wire, &bytes, piece).expect("sound");
                    assert_eq!(all, ["Connected", "\"abc\" 7", "\"abc\" 7"], "{wire:?}, {chunk}, {piece}");
                }
            }
        }
        assert!(heard(Wire::Stream, b"HTTP/1.1 404 Not Found\r\n\r\n", 100).is_err());
    }
}
