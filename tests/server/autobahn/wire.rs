//! What goes over the wire: frames as a client makes them, and commands to fill them with, in both encodings.

use std::fmt::Write as _;

use serde_json::Value;

use crate::frames::frame;

pub(super) const FIN: u8 = 0x80;
pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;

/// The three reserved bits, as a number, in a frame's first byte.
pub(super) const fn reserved(bits: u8) -> u8 {
    bits << 4
}

/// A message of `parts` as a frame each: the first is `opcode`'s, the others continue it.
pub(super) fn fragments<'a>(opcode: u8, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut parts = parts.into_iter().peekable();
    let mut frames = Vec::new();
    while let Some(part) = parts.next() {
        let fin = if parts.peek().is_none() { FIN } else { 0 };
        let opcode = if frames.is_empty() { opcode } else { CONTINUATION };
        frames.push(frame(fin | opcode, part));
    }
    frames
}

/// The room of all cases.
const ROOM: &str = "r";
/// The id of every command that publishes, so that all commands are equally long.
const ID: u8 = 3;

/// How commands and messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// In text frames.
    Json,
    /// In binary frames.
    Protobuf,
}

/// What the server said in the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What somebody published.
    Publication(Vec<u8>),
    /// The answer to a command.
    Answer,
    /// An error in answer to a command, by its number.
    Refusal(u64),
    /// Something no case leads to.
    Strange(String),
}

impl Encoding {
    /// The opcode of its messages.
    pub(super) fn opcode(self) -> u8 {
        match self {
            Self::Json => TEXT,
            Self::Protobuf => BINARY,
        }
    }

    /// The header line by which a client asks for it.
    pub(super) fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Protobuf => "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n",
        }
    }

    /// The commands of a client that connects and enters the room.
    pub(super) fn entrance(self) -> Vec<u8> {
        match self {
            Self::Json => {
                format!("{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{ROOM}\"}}}}").into()
            }
            Self::Protobuf => {
                let connect = [number(1, 1), bytes(4, &[])].concat();
                let subscribe = [number(1, 2), bytes(5, &bytes(1, ROOM.as_bytes()))].concat();
                [prefixed(&connect), prefixed(&subscribe)].concat()
            }
        }
    }

    /// The command that publishes `parts` as one payload, cut where they are cut.
    pub(super) fn publish(self, parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut cut: Vec<Vec<u8>> = match self {
            Self::Json => parts.iter().map(|part| escaped(part)).collect(),
            Self::Protobuf => parts.iter().map(|part| part.to_vec()).collect(),
        };
        let payload_bytes = cut.iter().map(Vec::len).sum();
        if let Some(first) = cut.first_mut() {
            first.splice(..0, self.head(payload_bytes));
        }
        if let (Self::Json, Some(last)) = (self, cut.last_mut()) {
            last.extend_from_slice(JSON_TAIL);
        }
        cut
    }

    /// How long a payload must be for its command to be `command_bytes` long.
    pub(super) fn payload_bytes(self, command_bytes: usize) -> usize {
        let tail = if self == Self::Json { JSON_TAIL.len() } else { 0 };
        let overhead = |payload_bytes| self.head(payload_bytes).len() + tail;
        let most = command_bytes.saturating_sub(overhead(0));
        let fitting = (0..=most).rev().take(PROTOBUF_LENGTHS_MAX).find(|n| n + overhead(*n) == command_bytes);
        fitting.unwrap_or_else(|| panic!("no command is {command_bytes} bytes long"))
    }

    /// What precedes a payload in its command.
    fn head(self, payload_bytes: usize) -> Vec<u8> {
        match self {
            Self::Json => format!(r#"{{"id":{ID},"publish":{{"channel":"{ROOM}","data":""#).into(),
            Self::Protobuf => {
                let data = [tag(2, LENGTH_DELIMITED), varint(payload_bytes)].concat();
                let channel = bytes(1, ROOM.as_bytes());
                let publish_bytes = channel.len() + data.len() + payload_bytes;
                let publish = [tag(7, LENGTH_DELIMITED), varint(publish_bytes)].concat();
                let id = number(1, ID);
                let command_bytes = id.len() + publish.len() + publish_bytes;
                [varint(command_bytes), id, publish, channel, data].concat()
            }
        }
    }

    /// Reads a message of the server's.
    pub(super) fn read(self, message: &[u8]) -> Vec<Said> {
        match self {
            Self::Json => message.split(|byte| *byte == b'\n').map(said_in_json).collect(),
            Self::Protobuf => said_in_protobuf(message),
        }
    }
}

const JSON_TAIL: &[u8] = br#""}}"#;

/// The payload as it stands between the quotes of a JSON string.
fn escaped(payload: &[u8]) -> Vec<u8> {
    let payload = std::str::from_utf8(payload).expect("what is published is valid");
    let quoted = serde_json::to_string(payload).expect("text is JSON");
    quoted[1..quoted.len() - 1].into()
}

fn said_in_json(object: &[u8]) -> Said {
    let value: Value = serde_json::from_slice(object).unwrap_or_default();
    let (data, error) = (&value["push"]["pub"]["data"], &value["error"]["code"]);
    match (data.as_str(), error.as_u64()) {
        (Some(data), _) => Said::Publication(data.into()),
        (_, Some(error)) => Said::Refusal(error),
        _ if value["id"].is_u64() => Said::Answer,
        _ => Said::Strange(String::from_utf8_lossy(object).into_owned()),
    }
}

fn said_in_protobuf(mut message: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    while !message.is_empty() {
        let reply = take_varint(&mut message).and_then(|length| message.split_off(..length));
        said.push(reply.and_then(said_in_reply).unwrap_or_else(|| {
            let strange = reply.unwrap_or_else(|| std::mem::take(&mut message));
            Said::Strange(format!("the reply {}", hex(strange)))
        }));
    }
    said
}

fn said_in_reply(reply: &[u8]) -> Option<Said> {
    let reply = fields(reply)?;
    let [id, error, push] = [1, 2, 4].map(|field| find(&reply, field));
    if let Some(push) = push {
        let publication = fields(find(&fields(push)?, 4)?)?;
        return Some(Said::Publication(find(&publication, 4).unwrap_or_default().to_vec()));
    }
    id?;
    let Some(error) = error else { return Some(Said::Answer) };
    let mut code = find(&fields(error)?, 1)?;
    Some(Said::Refusal(take_varint(&mut code)? as u64))
}

/// More than the bytes by which the lengths in a command's head can differ.
const PROTOBUF_LENGTHS_MAX: usize = 16;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn tag(field: u8, kind: u8) -> Vec<u8> {
    vec![field << 3 | kind]
}

fn number(field: u8, value: u8) -> Vec<u8> {
    [tag(field, VARINT), varint(value.into())].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&tag(field, LENGTH_DELIMITED), &varint(value.len()), value].concat()
}

fn prefixed(message: &[u8]) -> Vec<u8> {
    [&varint(message.len()), message].concat()
}

fn take_varint(input: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = input.split_off_first()?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message by number, each with the bytes of its value.
fn fields(mut message: &[u8]) -> Option<Vec<(usize, &[u8])>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let length = match (tag & 7) as u8 {
            VARINT => message.iter().position(|byte| byte & 0x80 == 0)? + 1,
            FIXED64 => 8,
            LENGTH_DELIMITED => take_varint(&mut message)?,
            FIXED32 => 4,
            _ => return None,
        };
        found.push((tag >> 3, message.split_off(..length)?));
    }
    Some(found)
}

fn find<'a>(fields: &[(usize, &'a [u8])], name: usize) -> Option<&'a [u8]> {
    fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
}

/// Bytes as people read them.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[test]
fn a_command_is_as_long_as_it_is_asked_to_be_and_reads_back() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        for length in [125, 126, 127, 128, 65_535, 65_536, 1 << 20, 4 << 20] {
            let payload = vec![b'*'; encoding.payload_bytes(length)];
            let (head, tail) = payload.split_at(payload.len() / 2);
            assert_eq!(encoding.publish(&[head, tail]).concat().len(), length, "{encoding:?}");
        }
    }
    let publication = bytes(4, &[bytes(4, b"data"), number(6, 9)].concat());
    let push = bytes(4, &[bytes(2, b"r"), publication].concat());
    let refusal = [number(1, 3), bytes(2, &number(1, 107))].concat();
    let replies = [push, number(1, 3), refusal, bytes(7, b"")].map(|reply| prefixed(&reply)).concat();
    let said = Encoding::Protobuf.read(&[replies, vec![0x80]].concat());
    let known = [Said::Publication(b"data".to_vec()), Said::Answer, Said::Refusal(107)];
    assert_eq!(said[..3], known);
    assert!(matches!(said[3..], [Said::Strange(_), Said::Strange(_)]), "{said:?}");
    let push = r#"{"push":{"channel":"r","pub":{"data":"data","offset":9}}}"#;
    let replies = format!("{push}\n{{\"id\":3,\"publish\":{{}}}}\n{{\"id\":3,\"error\":{{\"code\":107}}}}\n{{}}");
    let said = Encoding::Json.read(replies.as_bytes());
    assert_eq!(said[..3], known);
    assert_eq!(said[3..], [Said::Strange("{}".to_owned())]);
}
