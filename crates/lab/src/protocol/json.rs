//! The protocol in JSON: a line each.
//!
//! Publications are found by what they begin with; everything else, which is rare, is parsed.

use std::io::Write as _;
use std::sync::LazyLock;

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CONNECT_ID, Heard, Malformed, Position, SUBSCRIBE_ID, UNSUBSCRIBE_ID};

const OFFSET: &[u8] = b"\"offset\":";

static OFFSET_FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(OFFSET));

pub(super) fn connect(out: &mut Vec<u8>) {
    // Writing into memory does not fail, here and below.
    let _ = write!(out, r#"{{"id":{CONNECT_ID},"connect":{{}}}}"#);
}

pub(super) fn subscribe(room: &str, since: Option<&Position>, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"id":{SUBSCRIBE_ID},"subscribe":{{"channel":"{room}""#);
    if let Some(Position { epoch, offset }) = since {
        let _ = write!(out, r#","recover":true,"epoch":"{epoch}","offset":{offset}"#);
    }
    out.extend_from_slice(b"}}");
}

pub(super) fn unsubscribe(room: &str, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"id":{UNSUBSCRIBE_ID},"unsubscribe":{{"channel":"{room}"}}}}"#);
}

pub(super) fn publish(room: &str, id: u32, message: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"id":{id},"publish":{{"channel":"{room}","data":"#);
    message(out);
    out.extend_from_slice(b"}}");
}

#[inline]
pub(super) fn hear<E: From<Malformed>>(
    message: &[u8],
    each: &mut impl FnMut(Heard<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = message;
    loop {
        rest = match publication(rest) {
            Some((payload, offset, behind)) => {
                each(Heard::Message(payload, offset))?;
                behind
            }
            None => {
                let end = memchr(b'\n', rest).unwrap_or(rest.len());
                hear_line(&rest[..end], each)?;
                &rest[end..]
            }
        };
        match rest {
            [] => return Ok(()),
            [b'\n', behind @ ..] => rest = behind,
            _ => return Err(Malformed::new("a line that goes on behind its end").into()),
        }
    }
}

/// A publication at the beginning: what was published, its offset, and what comes behind its line.
#[inline]
fn publication(line: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let push = line.strip_prefix(br#"{"push":{"channel":""#)?;
    let data = push[memchr(b'"', push)?..].strip_prefix(br#"","pub":{"data":"#)?;
    if data.first() != Some(&b'"') {
        return None;
    }
    let end = memchr(b'"', &data[1..])? + 2;
    let rest = &data[end..];
    let line_end = memchr(b'\n', rest).unwrap_or(rest.len());
    let offset = OFFSET_FINDER.find(&rest[..line_end]).map_or(0, |at| number(&rest[at + OFFSET.len()..]));
    Some((&data[..end], offset, &rest[line_end..]))
}

fn number(digits: &[u8]) -> u64 {
    let digits = digits.iter().take_while(|digit| digit.is_ascii_digit());
    digits.fold(0, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(default)]
    id: u32,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
    #[serde(borrow)]
    subscribe: Option<Joined<'a>>,
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    unsubscribe: Option<&'a RawValue>,
    #[serde(borrow)]
    disconnect: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Joined<'a> {
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    recovered: bool,
    #[serde(default)]
    was_recovering: bool,
    #[serde(borrow, default)]
    publications: Vec<Publication<'a>>,
}

#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    offset: u64,
}

fn hear_line<E: From<Malformed>>(line: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), E>) -> Result<(), E> {
    if line == b"{}" {
        return each(Heard::Ping);
    }
    let said = || String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
    let reply: Reply<'_> =
        serde_json::from_slice(line).map_err(|error| Malformed(format!("{error} in {:?}", said())))?;
    if reply.error.is_some() {
        each(Heard::Refused(said()))
    } else if let Some(push) = reply.push {
        each(match push {
            Push { unsubscribe: Some(_), .. } => Heard::PutOut,
            Push { disconnect: Some(_), .. } => Heard::Refused(said()),
            _ => Heard::Other,
        })
    } else if let Some(joined) = reply.subscribe {
        for publication in &joined.publications {
            each(Heard::Message(publication.data.get().as_bytes(), publication.offset))?;
        }
        let position = (!joined.epoch.is_empty()).then_some(Position { epoch: joined.epoch, offset: joined.offset });
        let recovered = (joined.was_recovering || joined.recovered).then_some(joined.recovered);
        each(Heard::Joined { position, recovered })
    } else {
        each(match reply.id {
            CONNECT_ID => Heard::Connected,
            UNSUBSCRIBE_ID => Heard::Left,
            _ => Heard::Taken,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str) -> Vec<String> {
        let mut told = Vec::new();
        hear(message.as_bytes(), &mut |heard| {
            told.push(match heard {
                Heard::Message(payload, offset) => format!("{} {offset}", String::from_utf8_lossy(payload)),
                other => format!("{other:?}"),
            });
            Ok::<(), Malformed>(())
        })
        .expect("sound");
        told
    }

    #[test]
    fn lines_of_all_kinds_are_heard() {
        let push = r#"{"push":{"channel":"r","pub":{"data":"abc","info":{"client":"c"},"offset":7,"time":1}}}"#;
        let left = r#"{"id":3,"unsubscribe":{}}"#;
        let out = r#"{"push":{"channel":"r","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#;
        let message = [push, "{}", r#"{"id":9,"publish":{}}"#, left, push, out].join("\n");
        assert_eq!(told(&message), ["\"abc\" 7", "Ping", "Taken", "Left", "\"abc\" 7", "PutOut"]);
        assert_eq!(told(r#"{"push":{"channel":"r","pub":{"data":"abc"}}}"#), ["\"abc\" 0"]);
        assert_eq!(told(r#"{"push":{"channel":"r","join":{"info":{}}}}"#), ["Other"]);
    }

    #[test]
    fn joining_tells_the_position_wherever_it_stands() {
        let reply = r#"{"id":2,"subscribe":{"publications":[{"data":"a","offset":42},{"offset":43,"data":"b"}],"epoch":"qF","was_recovering":true,"recovered":true,"offset":43}}"#;
        let joined = r#"Joined { position: Some(Position { epoch: "qF", offset: 43 }), recovered: Some(true) }"#;
        assert_eq!(told(reply), ["\"a\" 42", "\"b\" 43", joined]);
        assert_eq!(told(r#"{"id":2,"subscribe":{}}"#), ["Joined { position: None, recovered: None }"]);
    }

    #[test]
    fn errors_are_told_as_the_server_said_them() {
        assert!(
            told(r#"{"id":4,"error":{"code":103,"message":"permission denied"}}"#)[0].contains("permission denied")
        );
        assert!(hear(b"what", &mut |_| Ok::<(), Malformed>(())).is_err());
    }
}
