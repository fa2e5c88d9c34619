//! The Centrifugo client protocol in JSON, as far as a benchmark speaks it.
//!
//! A scanner for what the server writes, not a parser of JSON: pushes are told apart by their beginning, and data are
//! strings without escapes. Whatever it does not know is an error, so nothing is overlooked.

use std::io::Write as _;
use std::sync::LazyLock;

use memchr::{memchr, memmem};
use roomcast_lab::websocket;

use super::{Heard, Intent, number};
use crate::fault::Fault;

/// What comes before the server's number of a publication.
const OFFSET: &[u8] = b"\"offset\":";

/// Finds it; made once, because it is looked for in every message.
static OFFSET_FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(OFFSET));

const CONNECT_ID: u64 = 1;
const SUBSCRIBE_ID: u64 = 2;
/// The first publish has this id.
const PUBLISH_ID: u64 = 3;

/// Connects, and subscribes if the intent is to join.
pub(super) fn write_intent(intent: &Intent, mask: [u8; 4], out: &mut Vec<u8>) {
    websocket::write(websocket::TEXT, Some(mask), out, |out| write_commands(intent, out));
}

/// The same, in whatever it travels.
pub(super) fn write_commands(intent: &Intent, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"id":{CONNECT_ID},"connect":{{}}}}"#);
    if !intent.joins {
        return;
    }
    let _ = write!(out, "\n{{\"id\":{SUBSCRIBE_ID},\"subscribe\":{{\"channel\":\"{}\"", intent.room);
    if let Some((epoch, offset)) = &intent.since {
        let _ = write!(out, r#","recover":true,"epoch":"{epoch}","offset":{offset}"#);
    }
    out.extend_from_slice(b"}}");
}

/// Publishes, in a frame of its own.
pub(super) fn write_publish(
    room: &str,
    number: u32,
    mask: [u8; 4],
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let id = PUBLISH_ID + u64::from(number);
    websocket::write(websocket::TEXT, Some(mask), out, |out| {
        let _ = write!(out, r#"{{"id":{id},"publish":{{"channel":"{room}","data":"#);
        payload(out);
        out.extend_from_slice(b"}}");
    });
}

/// Makes something of one message: replies and pushes, a line each.
pub(super) fn hear(message: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut rest = message;
    loop {
        let end = memchr(b'\n', rest);
        hear_line(&rest[..end.unwrap_or(rest.len())], each)?;
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return Ok(()),
        }
    }
}

fn hear_line(line: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    if let Some(push) = line.strip_prefix(br#"{"push":{"channel":""#) {
        let publication = memchr(b'"', push).and_then(|end| push[end..].strip_prefix(br#"","pub":{"#));
        let publication = publication.ok_or(Fault::Unexpected("a push that nobody asked for"))?;
        let (payload, rest) = data(publication).ok_or(Fault::Unexpected("a publication without data"))?;
        let offset = OFFSET_FINDER.find(rest).and_then(|at| number(&rest[at + OFFSET.len()..]));
        let (offset, _) = offset.ok_or(Fault::Unexpected("a publication without an offset"))?;
        return each(Heard::Message { payload, offset });
    }
    if line == b"{}" {
        return each(Heard::Ping);
    }
    let reply = line.strip_prefix(br#"{"id":"#).and_then(number);
    let (id, body) = reply.ok_or(Fault::Unexpected("a line that is neither reply nor push"))?;
    if body.starts_with(br#","error":"#) {
        return Err(Fault::Refused(String::from_utf8_lossy(line).into_owned()));
    }
    match id {
        CONNECT_ID => each(Heard::Connected),
        SUBSCRIBE_ID => hear_subscribed(body, each),
        _ => each(Heard::Taken),
    }
}

/// The reply to a subscribe: what is recovered comes as messages, then the position.
fn hear_subscribed(mut body: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    let value = |name: &[u8]| memmem::find(body, name).map(|at| &body[at + name.len()..]);
    let epoch = value(br#""epoch":""#).and_then(|rest| str::from_utf8(&rest[..memchr(b'"', rest)?]).ok());
    // Publications have offsets too, so the room's own is the one before them.
    let offset = value(OFFSET).and_then(number).map_or(0, |(offset, _)| offset);
    let recovered = value(br#""recovered":true"#).is_some();
    let position = epoch.map(|epoch| (epoch, offset));
    while let Some(at) = memmem::find(body, br#"{"data":"#) {
        let (payload, rest) = data(&body[at + 1..]).ok_or(Fault::Unexpected("a publication without data"))?;
        let offset = OFFSET_FINDER.find(rest).and_then(|at| number(&rest[at + OFFSET.len()..]));
        each(Heard::Message { payload, offset: offset.map_or(0, |(offset, _)| offset) })?;
        body = rest;
    }
    each(Heard::Ready { position, recovered })
}

/// The string that `"data":` introduces, with its quotes, and what follows it.
fn data(publication: &[u8]) -> Option<(&[u8], &[u8])> {
    let data = publication.strip_prefix(br#""data":""#)?;
    let end = memchr(b'"', data)?;
    let from = publication.len() - data.len() - 1;
    Some((&publication[from..from + end + 2], &data[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::heard;
    use super::super::{Heard, Wire};
    use super::*;

    fn heard_lines(lines: &str) -> Result<Vec<String>, Fault> {
        let mut all = Vec::new();
        hear(lines.as_bytes(), &mut |heard: Heard<'_>| {
            all.push(super::super::tests::told(&heard));
            Ok(())
        })?;
        Ok(all)
    }

    const PUSH: &str =
        r#"{"push":{"channel":"r-1","pub":{"data":"abc","info":{"user":"","client":"c"},"offset":7,"time":1}}}"#;

    #[test]
    fn a_frame_may_mix_replies_pushes_and_pings() {
        let frame = format!("{{\"id\":9,\"publish\":{{}}}}\n{PUSH}\n{{}}\n{PUSH}");
        assert_eq!(heard_lines(&frame).expect("sound"), ["Taken", "\"abc\" 7", "Ping", "\"abc\" 7"]);
    }

    #[test]
    fn lines_are_found_in_frames_that_are_split_over_reads() {
        let mut bytes = Vec::new();
        websocket::write_response(websocket::KEY, &mut bytes);
        for count in [1, 2, 40] {
            let frame = vec![PUSH; count].join("\n");
            websocket::write(websocket::TEXT, None, &mut bytes, |out| out.extend_from_slice(frame.as_bytes()));
        }
        websocket::write(websocket::CLOSE, None, &mut bytes, |out| out.extend_from_slice(&3008_u16.to_be_bytes()));
        for piece in [1, 13, 500, 100_000] {
            let all = heard(Wire::Centrifugo, &bytes, piece).expect("sound");
            assert_eq!((all.len(), &*all[0], &*all[44]), (45, "Welcome", "Close(Some(3008))"), "pieces of {piece}");
            assert!(all[1..44].iter().all(|message| message == "\"abc\" 7"));
        }
    }

    #[test]
    fn a_subscription_tells_its_position_and_what_it_recovered() {
        let plain = r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"qF","offset":43}}"#;
        assert_eq!(heard_lines(plain).expect("sound"), [r#"Ready { position: Some(("qF", 43)), recovered: false }"#]);
        let recovered = r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"qF","offset":43,"publications":[{"data":"a","offset":42},{"data":"b","info":{},"offset":43}],"was_recovering":true,"recovered":true}}"#;
        let last = r#"Ready { position: Some(("qF", 43)), recovered: true }"#;
        assert_eq!(heard_lines(recovered).expect("sound"), ["\"a\" 42", "\"b\" 43", last]);
    }

    #[test]
    fn errors_and_what_is_unknown_are_refused() {
        let error = r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#;
        assert_eq!(heard_lines(error), Err(Fault::Refused(error.to_owned())));
        for line in
            ["", "[]", r#"{"push":{"channel":"a","join":{}}}"#, r#"{"push":{"channel":"a","pub":{"offset":1}}}"#]
        {
            assert!(heard_lines(line).is_err(), "{line}");
        }
        let without = PUSH.replace("offset", "off");
        assert!(heard_lines(&without).is_err());
    }

    #[test]
    fn commands_are_lines_of_one_masked_frame() {
        let mut out = Vec::new();
        let since = Some(("qF".to_owned(), 5));
        write_intent(&Intent { room: "a".to_owned(), joins: true, since }, [0; 4], &mut out);
        let text = String::from_utf8_lossy(&out[6..]).into_owned();
        assert_eq!(
            text,
            "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"recover\":true,\"epoch\":\"qF\",\"offset\":5}}"
        );
    }
}
