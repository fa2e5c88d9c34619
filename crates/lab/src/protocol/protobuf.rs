//! The protocol in Protobuf: messages behind their lengths, written and read by hand, because that is cheap.

use super::{CONNECT_ID, Heard, Malformed, Position, SUBSCRIBE_ID, UNSUBSCRIBE_ID};

/// Kinds of field.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Fields of a command.
mod command {
    pub(super) const ID: u8 = 1;
    pub(super) const CONNECT: u8 = 4;
    pub(super) const SUBSCRIBE: u8 = 5;
    pub(super) const UNSUBSCRIBE: u8 = 6;
    pub(super) const PUBLISH: u8 = 7;
}

/// Fields of a reply.
mod reply {
    pub(super) const ID: u64 = 1;
    pub(super) const ERROR: u64 = 2;
    pub(super) const PUSH: u64 = 4;
    pub(super) const SUBSCRIBE: u64 = 6;
}

pub(super) fn connect(out: &mut Vec<u8>) {
    command(CONNECT_ID, command::CONNECT, out, |_| {});
}

pub(super) fn subscribe(room: &str, since: Option<&Position>, out: &mut Vec<u8>) {
    command(SUBSCRIBE_ID, command::SUBSCRIBE, out, |out| {
        bytes(1, room.as_bytes(), out);
        if let Some(Position { epoch, offset }) = since {
            number(3, 1, out);
            bytes(6, epoch.as_bytes(), out);
            number(7, *offset, out);
        }
    });
}

pub(super) fn unsubscribe(room: &str, out: &mut Vec<u8>) {
    command(UNSUBSCRIBE_ID, command::UNSUBSCRIBE, out, |out| bytes(1, room.as_bytes(), out));
}

pub(super) fn publish(room: &str, id: u32, message: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    command(id, command::PUBLISH, out, |out| {
        bytes(1, room.as_bytes(), out);
        nested(2, out, message);
    });
}

fn command(id: u32, field: u8, out: &mut Vec<u8>, request: impl FnOnce(&mut Vec<u8>)) {
    with_length(out, |out| {
        number(command::ID, u64::from(id), out);
        nested(field, out, request);
    });
}

fn number(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | VARINT as u8);
    write_varint(value, out);
}

fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    nested(field, out, |out| out.extend_from_slice(value));
}

fn nested(field: u8, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(field << 3 | BYTES as u8);
    with_length(out, value);
}

/// Writes a length of three bytes, whatever it is: a varint may have zeros in front, and nothing has to be moved.
fn with_length(out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 3]);
    value(out);
    let length = out.len() - start - 3;
    out[start..start + 3].copy_from_slice(&[
        (length & 0x7f | 0x80) as u8,
        (length >> 7 & 0x7f | 0x80) as u8,
        (length >> 14 & 0x7f) as u8,
    ]);
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Makes something of the whole replies at the beginning; how many bytes they were.
pub(super) fn hear<E: From<Malformed>>(
    bytes: &[u8],
    each: &mut impl FnMut(Heard<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut rest = bytes;
    while let Some((length, after)) = varint(rest)? {
        let Some((reply, behind)) = after.split_at_checked(length as usize) else { break };
        hear_reply(reply, each)?;
        rest = behind;
    }
    Ok(bytes.len() - rest.len())
}

fn hear_reply<E: From<Malformed>>(reply: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), E>) -> Result<(), E> {
    if reply.is_empty() {
        return each(Heard::Ping);
    }
    let mut id = 0;
    for field in Fields(reply) {
        match field? {
            (reply::ID, Value::Number(value)) => id = value as u32,
            (reply::ERROR, Value::Bytes(error)) => {
                return each(Heard::Refused(String::from_utf8_lossy(error).into_owned()));
            }
            (reply::PUSH, Value::Bytes(push)) => return hear_push(push, each),
            (reply::SUBSCRIBE, Value::Bytes(joined)) => return hear_joined(joined, each),
            _ => {}
        }
    }
    each(match id {
        CONNECT_ID => Heard::Connected,
        SUBSCRIBE_ID => Heard::Joined { position: None, recovered: None },
        UNSUBSCRIBE_ID => Heard::Left,
        _ => Heard::Taken,
    })
}

fn hear_push<E: From<Malformed>>(push: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), E>) -> Result<(), E> {
    const PUBLICATION: u64 = 4;
    const UNSUBSCRIBE: u64 = 7;
    for field in Fields(push) {
        match field? {
            (PUBLICATION, Value::Bytes(bytes)) => {
                let (payload, offset) = publication(bytes)?;
                return each(Heard::Message(payload, offset));
            }
            (UNSUBSCRIBE, _) => {
                return each(Heard::PutOut);
            }
            _ => {}
        }
    }
    each(Heard::Other)
}

fn publication(publication: &[u8]) -> Result<(&[u8], u64), Malformed> {
    const DATA: u64 = 4;
    const OFFSET: u64 = 6;
    let (mut payload, mut offset) = (&[][..], 0);
    for field in Fields(publication) {
        match field? {
            (DATA, Value::Bytes(data)) => payload = data,
            (OFFSET, Value::Number(number)) => offset = number,
            _ => {}
        }
    }
    Ok((payload, offset))
}

fn hear_joined<E: From<Malformed>>(joined: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), E>) -> Result<(), E> {
    const EPOCH: u64 = 6;
    const PUBLICATIONS: u64 = 7;
    const RECOVERED: u64 = 8;
    const OFFSET: u64 = 9;
    const WAS_RECOVERING: u64 = 12;
    let (mut epoch, mut offset, mut recovered, mut was_recovering) = (String::new(), 0, false, false);
    for field in Fields(joined) {
        match field? {
            (EPOCH, Value::Bytes(text)) => epoch = String::from_utf8_lossy(text).into_owned(),
            (OFFSET, Value::Number(number)) => offset = number,
            (RECOVERED, Value::Number(number)) => recovered = number != 0,
            (WAS_RECOVERING, Value::Number(number)) => was_recovering = number != 0,
            (PUBLICATIONS, Value::Bytes(bytes)) => {
                let (payload, offset) = publication(bytes)?;
                each(Heard::Message(payload, offset))?;
            }
            _ => {}
        }
    }
    let position = (!epoch.is_empty()).then_some(Position { epoch, offset });
    each(Heard::Joined { position, recovered: (was_recovering || recovered).then_some(recovered) })
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, by number.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let cut_off = || Malformed::new("a field that is cut off");
        let (tag, rest) = varint(self.0)?.ok_or_else(cut_off)?;
        let (number, rest) = varint(rest)?.ok_or_else(cut_off)?;
        let (value, rest) = match tag & 7 {
            VARINT => (Value::Number(number), rest),
            BYTES => {
                let (bytes, rest) = rest.split_at_checked(number as usize).ok_or_else(cut_off)?;
                (Value::Bytes(bytes), rest)
            }
            kind => return Err(Malformed(format!("a field of kind {kind}"))),
        };
        self.0 = rest;
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The number at the beginning and what follows it; `None` while it is not complete.
#[inline]
fn varint(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Malformed> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, &bytes[at + 1..])));
        }
    }
    if bytes.len() < 10 { Ok(None) } else { Err(Malformed::new("a number without end")) }
}

#[cfg(test)]
mod tests {
    use super::super::Encoding;
    use super::*;

    fn told(message: &[u8]) -> Vec<String> {
        let mut told = Vec::new();
        Encoding::Protobuf
            .hear(message, &mut |heard| {
                told.push(match heard {
                    Heard::Message(payload, offset) => format!("{} {offset}", String::from_utf8_lossy(payload)),
                    other => format!("{other:?}"),
                });
                Ok::<(), Malformed>(())
            })
            .expect("sound");
        told
    }

    fn reply(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        with_length(&mut out, write);
        out
    }

    #[test]
    fn replies_and_pushes_are_heard() {
        let mut message = reply(|out| {
            nested(4, out, |out| {
                bytes(2, b"room", out);
                nested(4, out, |out| {
                    bytes(4, b"abc", out);
                    number(6, 700, out);
                });
            })
        });
        message.push(0);
        message.extend(reply(|out| number(1, 9, out)));
        message.extend(reply(|out| nested(4, out, |out| nested(7, out, |_| {}))));
        message.extend(reply(|out| {
            number(1, 2, out);
            nested(6, out, |out| {
                bytes(6, b"qF", out);
                number(9, 43, out);
            });
        }));
        let joined = r#"Joined { position: Some(Position { epoch: "qF", offset: 43 }), recovered: None }"#;
        assert_eq!(told(&message), ["abc 700", "Ping", "Taken", "PutOut", joined]);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let message = reply(|out| bytes(2, b"error", out));
        for cut in 1..message.len() {
            assert!(Encoding::Protobuf.hear(&message[..cut], &mut |_| Ok::<(), Malformed>(())).is_err(), "{cut}");
        }
        assert!(told(&message)[0].contains("error"));
    }

    #[test]
    fn replies_of_a_stream_are_told_apart_wherever_they_are_cut() {
        let publication = |out: &mut Vec<u8>| {
            nested(4, out, |out| {
                bytes(4, b"\"abc\"", out);
                number(6, 300, out);
            });
        };
        let mut all_bytes = reply(|out| number(1, 1, out));
        all_bytes.extend(reply(|out| nested(6, out, |_| {})));
        all_bytes.push(0);
        all_bytes.extend(reply(|out| nested(4, out, publication)));
        all_bytes.extend(reply(|out| number(1, 3, out)));
        let whole = told(&all_bytes);
        let joined = "Joined { position: None, recovered: None }";
        assert_eq!(whole, ["Connected", joined, "Ping", "\"abc\" 300", "Left"]);
        for cut in 0..all_bytes.len() {
            let mut count = 0;
            let mut note = |_: Heard<'_>| {
                count += 1;
                Ok::<(), Malformed>(())
            };
            let used = Encoding::Protobuf.hear_whole(&all_bytes[..cut], &mut note).expect("sound");
            assert!(used <= cut);
            assert_eq!(Encoding::Protobuf.hear_whole(&all_bytes[used..], &mut note), Ok(all_bytes.len() - used));
            assert_eq!(count, whole.len(), "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut each = |_: Heard<'_>| Ok::<(), Malformed>(());
        assert!(hear(&[2, 0x0a, 9], &mut each).is_err(), "a field that is cut off");
        assert!(hear(&[2, 0x0d, 9], &mut each).is_err(), "a field of an unknown kind");
        assert!(hear(&[0xff; 11], &mut each).is_err());
    }
}
