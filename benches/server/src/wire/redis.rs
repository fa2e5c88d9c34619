//! The protocol of Redis, version 3: pushes and replies in one stream.

use std::io::Write as _;

use memchr::memchr;

use super::{Heard, Intent, number};
use crate::fault::Fault;

/// Values within values; what is asked for here has two levels.
const DEPTH_MAX: usize = 8;

/// Subscribes, or asks for a sign of life.
pub(super) fn write_intent(intent: &Intent, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HELLO 3\r\n");
    match intent.joins {
        true => {
            let _ = write!(out, "SUBSCRIBE {}\r\n", intent.room);
        }
        false => out.extend_from_slice(b"PING\r\n"),
    }
}

/// Publishes.
pub(super) fn write_publish(room: &str, bytes: usize, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let _ = write!(out, "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{room}\r\n${bytes}\r\n", room.len());
    payload(out);
    out.extend_from_slice(b"\r\n");
}

/// Makes something of what is complete and returns how much that was.
pub(super) fn hear(bytes: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<usize, Fault> {
    let mut rest = bytes;
    while let Some(after) = skip(rest, 0)? {
        let value = &rest[..rest.len() - after.len()];
        match value[0] {
            b'-' => return Err(Fault::Refused(String::from_utf8_lossy(value).trim_end().to_owned())),
            b':' => each(Heard::Taken)?,
            b'+' => each(Heard::Ready { position: None, recovered: false })?,
            b'>' => hear_push(value, each)?,
            // The answer to the greeting.
            b'%' => {}
            _ => return Err(Fault::Unexpected("a reply of a kind that nobody asked for")),
        }
        rest = after;
    }
    Ok(bytes.len() - rest.len())
}

/// `>3`, then a kind, the room, and a payload or a count.
fn hear_push(push: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    let odd = Fault::Unexpected("a push that nobody asked for");
    let Some(rest) = push.strip_prefix(b">3\r\n") else { return Err(odd) };
    if rest.starts_with(b"$9\r\nsubscribe\r\n") {
        return each(Heard::Ready { position: None, recovered: false });
    }
    let room = rest.strip_prefix(b"$7\r\nmessage\r\n").map(|rest| skip(rest, 0));
    let Some(payload) = room.transpose()?.flatten() else { return Err(odd) };
    match memchr(b'\n', payload) {
        Some(end) => each(Heard::Message { payload: &payload[end + 1..payload.len() - 2], offset: 0 }),
        None => Err(odd),
    }
}

/// What follows the value at the beginning; `None` while that is not complete.
fn skip(bytes: &[u8], depth: usize) -> Result<Option<&[u8]>, Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault::Unexpected("values within values"));
    }
    let Some(end) = memchr(b'\n', bytes) else { return Ok(None) };
    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
    let length = || match number(line.get(1..).unwrap_or_default()) {
        Some((length, b"\r")) => Ok(length as usize),
        _ => Err(Fault::Unexpected("a value without a length")),
    };
    let values = match line.first() {
        Some(b'+' | b'-' | b':' | b'_' | b'#' | b',') => return Ok(Some(rest)),
        Some(b'$' | b'=') => return Ok(rest.get(length()?.saturating_add(2)..)),
        Some(b'*' | b'>' | b'~') => length()?,
        Some(b'%') => 2 * length()?,
        _ => return Err(Fault::Unexpected("something that is no value")),
    };
    let mut rest = rest;
    for _ in 0..values {
        match skip(rest, depth + 1)? {
            Some(after) => rest = after,
            None => return Ok(None),
        }
    }
    Ok(Some(rest))
}

#[cfg(test)]
mod tests {
    use super::super::Wire;
    use super::super::tests::heard;
    use super::*;

    #[test]
    fn replies_and_pushes_are_heard_however_they_arrive() {
        let stream = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*0\r\n+PONG\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n\
            >3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\n\"b\nc\"\r\n:1\r\n";
        for piece in [1, 2, 5, 1_000] {
            let all = heard(Wire::Redis, stream, piece).expect("sound");
            assert!(all[0].starts_with("Ready") && all[1].starts_with("Ready"), "{all:?}");
            assert_eq!(all[2..], ["\"b\nc\" 0", "Taken"], "pieces of {piece}");
        }
    }

    #[test]
    fn errors_and_what_is_unknown_are_refused() {
        assert_eq!(heard(Wire::Redis, b"-ERR no\r\n", 100), Err(Fault::Refused("-ERR no".to_owned())));
        for stream in [&b"?\r\n"[..], b"$x\r\n", b">2\r\n:1\r\n:2\r\n", b"$1\r\na\r\n"] {
            assert!(heard(Wire::Redis, stream, 100).is_err());
        }
    }

    #[test]
    fn a_publish_is_an_array_of_three() {
        let mut out = Vec::new();
        write_publish("ab", 3, &mut out, |out| out.extend_from_slice(b"\"x\""));
        assert_eq!(out, b"*3\r\n$7\r\nPUBLISH\r\n$2\r\nab\r\n$3\r\n\"x\"\r\n");
    }
}
