//! The Centrifugo client protocol in Protobuf, as far as a benchmark speaks it: messages behind their lengths.

use super::{Heard, Intent};
use crate::fault::Fault;

/// Kinds of field that are sent here.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Fields of a reply.
const ID: u64 = 1;
const ERROR: u64 = 2;
const PUSH: u64 = 4;
const CONNECT: u64 = 5;
const SUBSCRIBE: u64 = 6;

/// Appends a connect command, and a subscribe if the intent is to join.
pub(super) fn write_intent(intent: &Intent, out: &mut Vec<u8>) {
    // Its id, and an empty request.
    write_message(out, &[8, 1, 4 << 3 | 2, 0]);
    if intent.joins {
        let room = field(1, intent.room.as_bytes());
        write_message(out, &[&[8, 2][..], &field(5, &room)].concat());
    }
}

fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    write_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

fn write_message(out: &mut Vec<u8>, message: &[u8]) {
    write_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Makes something of the whole messages at the beginning; how many bytes they were.
pub(super) fn hear(bytes: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<usize, Fault> {
    let mut rest = bytes;
    while let Some((length, after)) = varint(rest)? {
        let Some((message, behind)) = after.split_at_checked(length as usize) else { break };
        hear_message(message, each)?;
        rest = behind;
    }
    Ok(bytes.len() - rest.len())
}

fn hear_message(message: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    if message.is_empty() {
        return each(Heard::Ping);
    }
    let mut heard = Heard::Taken;
    for field in Fields(message) {
        match field? {
            (ID, _) => {}
            (PUSH, Value::Bytes(push)) => heard = publication(push)?,
            (CONNECT, _) => heard = Heard::Connected,
            (SUBSCRIBE, _) => heard = Heard::Ready { position: None, recovered: false },
            (ERROR, Value::Bytes(error)) => return Err(Fault::Refused(String::from_utf8_lossy(error).into_owned())),
            _ => {}
        }
    }
    each(heard)
}

fn publication(push: &[u8]) -> Result<Heard<'_>, Fault> {
    const PUBLICATION: u64 = 4;
    const DATA: u64 = 4;
    const OFFSET: u64 = 6;
    let found = Fields(push).find_map(|field| match field {
        Ok((PUBLICATION, Value::Bytes(publication))) => Some(publication),
        _ => None,
    });
    let (mut payload, mut offset) = (None, 0);
    for field in Fields(found.ok_or(Fault::Unexpected("a push that nobody asked for"))?) {
        match field? {
            (DATA, Value::Bytes(data)) => payload = Some(data),
            (OFFSET, Value::Number(number)) => offset = number,
            _ => {}
        }
    }
    let payload = payload.ok_or(Fault::Unexpected("a publication without data"))?;
    Ok(Heard::Message { payload, offset })
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, by number.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        Some(field.unwrap_or(Err(Fault::Unexpected("a field that is cut off"))))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<Result<(u64, Value<'a>), Fault>> {
        let (key, rest) = varint(std::mem::take(&mut self.0)).ok()??;
        let (number, rest) = varint(rest).ok()??;
        let (value, rest) = match key & 7 {
            VARINT => (Value::Number(number), rest),
            BYTES => rest.split_at_checked(number as usize).map(|(bytes, rest)| (Value::Bytes(bytes), rest))?,
            _ => return Some(Err(Fault::Unexpected("a field of an unknown kind"))),
        };
        self.0 = rest;
        Some(Ok((key >> 3, value)))
    }
}

/// The number at the beginning and what follows it; `None` while it is not complete.
fn varint(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, &bytes[at + 1..])));
        }
    }
    if bytes.len() < 10 { Ok(None) } else { Err(Fault::Unexpected("a number without end")) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use super::*;

    #[test]
    fn messages_are_told_apart_wherever_they_are_cut() {
        let publication = [&field(4, b"\"abc\"")[..], &[6 << 3, 0xac, 0x02]].concat();
        let push = field(4, &[field(2, b"r"), field(4, &publication)].concat());
        let mut bytes = Vec::new();
        for message in [&[8, 1, 5 << 3 | 2, 0][..], &[8, 2, 6 << 3 | 2, 0], &[], &push, &[8, 3, 8 << 3 | 2, 0]] {
            write_message(&mut bytes, message);
        }
        let mut all = Vec::new();
        let mut note = |heard: Heard<'_>| {
            all.push(told(&heard));
            Ok(())
        };
        let used = hear(&bytes[..bytes.len() - 1], &mut note).expect("sound");
        assert_eq!(hear(&bytes[used..], &mut note), Ok(bytes.len() - used));
        let ready = "Ready { position: None, recovered: false }";
        assert_eq!(all, ["Connected", ready, "Ping", "\"abc\" 300", "Taken"]);
    }

    #[test]
    fn errors_and_nonsense_are_refused() {
        let mut each = |_: Heard<'_>| Ok(());
        let mut refused = Vec::new();
        write_message(&mut refused, &field(2, b"why"));
        assert_eq!(hear(&refused, &mut each), Err(Fault::Refused("why".to_owned())));
        assert!(hear(&[2, 0x0a, 9], &mut each).is_err(), "a field that is cut off");
        assert!(hear(&[0xff; 11], &mut each).is_err());
    }
}
