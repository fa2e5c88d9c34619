//! The protocol of NATS.

use std::io::Write as _;

use memchr::memchr;

use super::{Heard, Intent, number};
use crate::fault::Fault;

/// The answer to a ping.
pub(super) const PONG: &[u8] = b"PONG\r\n";

/// Connects, subscribes if the intent is to join, and asks for a sign of life.
pub(super) fn write_intent(intent: &Intent, out: &mut Vec<u8>) {
    out.extend_from_slice(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1}\r\n");
    if intent.joins {
        let _ = write!(out, "SUB {} 1\r\n", intent.room);
    }
    out.extend_from_slice(b"PING\r\n");
}

/// Publishes.
pub(super) fn write_publish(room: &str, bytes: usize, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let _ = write!(out, "PUB {room} {bytes}\r\n");
    payload(out);
    out.extend_from_slice(b"\r\n");
}

/// Makes something of what is complete and returns how much that was.
pub(super) fn hear(bytes: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<usize, Fault> {
    let mut rest = bytes;
    while let Some(end) = memchr(b'\n', rest) {
        let (line, after) = (rest[..end].trim_ascii_end(), &rest[end + 1..]);
        let mut next = after;
        if let Some(head) = line.strip_prefix(b"MSG ") {
            // Room, number of the subscription, length.
            let length = head.rsplit(|byte| *byte == b' ').next().and_then(number);
            let Some((length, b"")) = length else { return Err(Fault::Unexpected("a message without a length")) };
            let length = length as usize;
            let Some(behind) = after.get(length.saturating_add(2)..) else { break };
            each(Heard::Message { payload: &after[..length], offset: 0 })?;
            next = behind;
        } else {
            match line {
                b"PING" => each(Heard::Ping)?,
                b"PONG" => each(Heard::Ready { position: None, recovered: false })?,
                b"+OK" => {}
                line if line.starts_with(b"INFO ") => each(Heard::Welcome)?,
                line => return Err(Fault::Refused(String::from_utf8_lossy(line).into_owned())),
            }
        }
        rest = next;
    }
    Ok(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::super::Wire;
    use super::super::tests::heard;
    use super::*;
    use roomcast_lab::websocket;

    const STREAM: &[u8] = b"INFO {}\r\nPONG\r\nMSG a 1 5\r\n\"b\nc\"\r\nPING\r\nMSG a 1 2\r\n\"\"\r\n";

    #[test]
    fn lines_and_messages_are_heard_however_they_arrive() {
        for piece in [1, 2, 5, 1_000] {
            let all = heard(Wire::Nats, STREAM, piece).expect("sound");
            assert!(all[1].starts_with("Ready"));
            assert_eq!((&*all[0], &all[2..]), ("Welcome", &["\"b\nc\" 0", "Ping", "\"\" 0"].map(String::from)[..]));
        }
    }

    #[test]
    fn frames_may_end_within_a_message() {
        for size in [1, 7, 20, 100] {
            let mut bytes = Vec::new();
            websocket::write_response(websocket::KEY, &mut bytes);
            for part in STREAM.chunks(size) {
                websocket::write(websocket::BINARY, None, &mut bytes, |out| out.extend_from_slice(part));
            }
            for piece in [1, 1_000] {
                let all = heard(Wire::NatsOverWebSocket, &bytes, piece).expect("sound");
                assert_eq!(all[3..], ["\"b\nc\" 0", "Ping", "\"\" 0"], "frames of {size}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn errors_are_refused() {
        assert_eq!(heard(Wire::Nats, b"-ERR 'Slow'\r\n", 100), Err(Fault::Refused("-ERR 'Slow'".to_owned())));
        assert!(heard(Wire::Nats, b"MSG a 1 x\r\n", 100).is_err());
    }
}
