//! The decoder of WebSocket frames against a plain reading of the same bytes.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::source::Source;
use crate::wire::ws::{Decoder, Event};

/// Limits of a message, on both sides of where the form of a length changes.
const LIMITS: [usize; 8] = [0, 1, 16, 125, 126, 1_024, 65_535, 65_536];
/// Inputs longer than this are not also read byte by byte.
const SINGLE_BYTES_MAX: usize = 1_024;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    /// The connection ends with this code.
    Failed(u16),
}

/// What both readings go by.
#[derive(Clone, Copy, Debug)]
struct Rules {
    limit: usize,
    takes_deflated: bool,
}

impl Rules {
    /// The code of an end. Of what is compressed and is both, too long and no good, either may be seen first.
    fn failed(self, code: u16) -> Seen {
        Seen::Failed(if self.takes_deflated && code == TOO_LARGE { NOT_UTF8 } else { code })
    }
}

pub(super) fn check(input: &[u8]) {
    let mut source = Source::new(input);
    let limit = source.one_of(&LIMITS);
    let bits = source.byte();
    let cuts: Vec<usize> = (0..bits % 16).map(|_| usize::from(source.byte())).collect();
    let rules = Rules { limit, takes_deflated: bits >= 0x80 };
    let bytes = source.rest();
    let expected = read_whole(bytes, rules);
    assert_eq!(decode_in([bytes], rules), expected, "in one piece");
    let mut rest = bytes;
    let pieces = cuts.iter().copied().chain([bytes.len()]).map(|length| {
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        piece
    });
    assert_eq!(decode_in(pieces, rules), expected, "in pieces of {cuts:?} bytes");
    if bytes.len() <= SINGLE_BYTES_MAX {
        assert_eq!(decode_in(bytes.chunks(1), rules), expected, "byte by byte");
    }
}

/// Everything the decoder says about bytes that arrive in these pieces.
fn decode_in<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, rules: Rules) -> Vec<Seen> {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let (mut used, length) = (0, piece.len());
        while used < length {
            let (read, event) = match decoder.decode(&mut piece[used..], rules.limit, rules.takes_deflated) {
                Ok(decoded) => decoded,
                Err(error) => {
                    seen.push(rules.failed(error.close_code()));
                    return seen;
                }
            };
            assert!(read > 0, "the decoder uses none of the bytes it is given");
            used += read;
            assert!(event.is_some() || used == length, "the decoder stops before the end, with nothing to say");
            seen.extend(event.map(Seen::from));
        }
    }
    seen
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.into_owned().into_bytes()),
            Event::Binary(bytes) => Self::Binary(bytes.into_owned()),
            Event::Ping(payload) => Self::Ping(payload.into_owned()),
            Event::Pong => Self::Pong,
            Event::Close(code) => Self::Close(code),
        }
    }
}

/// The same by RFC 6455 section 5.2, in the simplest way there is: frame by frame over all the bytes.
fn read_whole(bytes: &[u8], rules: Rules) -> Vec<Seen> {
    let mut reading = Reading { rest: bytes, rules, message: None, is_deflated: false };
    let mut seen = Vec::new();
    loop {
        match reading.frame() {
            Ok(Some(event)) => seen.extend(event),
            Ok(None) => return seen,
            Err(code) => {
                seen.push(rules.failed(code));
                return seen;
            }
        }
    }
}

struct Reading<'a> {
    rest: &'a [u8],
    rules: Rules,
    /// Whether the message that has begun is text, and its bytes so far.
    message: Option<(bool, Vec<u8>)>,
    /// Whether it is compressed.
    is_deflated: bool,
}

/// The codes that connections end with.
const BROKEN_RULE: u16 = 1_002;
const NOT_UTF8: u16 = 1_007;
const TOO_LARGE: u16 = 1_009;

impl Reading<'_> {
    /// Reads a frame; `None` when it is not all there, `Some(None)` when it completes nothing.
    fn frame(&mut self) -> Result<Option<Option<Seen>>, u16> {
        let &[first, second, ref rest @ ..] = self.rest else { return Ok(None) };
        let (fin, opcode, short) = (first & 0x80 != 0, first & 0x0f, second & 0x7f);
        let is_control = opcode >= 8;
        let may_be_deflated = self.rules.takes_deflated && [1, 2].contains(&opcode);
        let is_good = first & if may_be_deflated { 0x30 } else { 0x70 } == 0
            && [0, 1, 2, 8, 9, 10].contains(&opcode)
            && second & 0x80 != 0
            && !(is_control && (!fin || short > 125));
        if !is_good {
            return Err(BROKEN_RULE);
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((head, payload)) = rest.split_at_checked(extended + 4) else { return Ok(None) };
        let (length, key) = head.split_at(extended);
        let length = match extended {
            0 => u64::from(short),
            _ => length.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let least = [0, 126, 65_536][[0, 2, 8].iter().position(|&it| it == extended).unwrap_or_default()];
        let has_message = self.message.is_some();
        if length < least
            || length >> 63 == 1
            || (opcode == 0 && !has_message)
            || ([1, 2].contains(&opcode) && has_message)
        {
            return Err(BROKEN_RULE);
        }
        let gathered = self.message.as_ref().map_or(0, |(_, data)| data.len());
        if [1, 2].contains(&opcode) {
            self.is_deflated = first & 0x40 != 0;
        }
        let Rules { limit, .. } = self.rules;
        let limit = if self.is_deflated { limit + limit / 256 + 64 } else { limit };
        if !is_control && length > (limit - gathered) as u64 {
            return Err(TOO_LARGE);
        }
        let Some((payload, rest)) = payload.split_at_checked(length as usize) else { return Ok(None) };
        self.rest = rest;
        let payload: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        match opcode {
            8 => closed(&payload).map(|code| Some(Some(Seen::Close(code)))),
            9 => Ok(Some(Some(Seen::Ping(payload)))),
            10 => Ok(Some(Some(Seen::Pong))),
            _ => self.data(opcode, fin, &payload).map(Some),
        }
    }

    fn data(&mut self, opcode: u8, fin: bool, payload: &[u8]) -> Result<Option<Seen>, u16> {
        let (_, data) = self.message.get_or_insert_with(|| (opcode == 1, Vec::new()));
        data.extend_from_slice(payload);
        if !fin {
            return Ok(None);
        }
        if self.is_deflated
            && let Some((_, data)) = &mut self.message
        {
            *data = inflated(data, self.rules.limit)?;
        }
        match self.message.take() {
            Some((true, text)) if str::from_utf8(&text).is_err() => Err(NOT_UTF8),
            Some((true, text)) => Ok(Some(Seen::Text(text))),
            Some((false, bytes)) => Ok(Some(Seen::Binary(bytes))),
            None => Ok(None),
        }
    }
}

/// The message as it was before it was compressed, by RFC 7692 section 7.2.2; an empty last block behind it shows that it is whole.
fn inflated(packed: &[u8], limit: usize) -> Result<Vec<u8>, u16> {
    let input = [packed, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    let (mut rest, mut whole, mut made) = (&input[..], vec![0; limit + 1], 0);
    // So many last blocks may stand in a message, and there is the one behind it.
    for _ in 0..=64 {
        let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, read, more) = decompress(&mut DecompressorOxide::new(), rest, &mut whole, made, flags);
        made += more;
        rest = &rest[read..];
        if made > limit {
            return Err(TOO_LARGE);
        }
        match status {
            TINFLStatus::Done if rest.is_empty() => {
                whole.truncate(made);
                return Ok(whole);
            }
            TINFLStatus::Done => {}
            _ => break,
        }
    }
    Err(NOT_UTF8)
}

/// The code of a close frame.
fn closed(payload: &[u8]) -> Result<Option<u16>, u16> {
    let &[high, low, ref reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(BROKEN_RULE) };
    };
    let code = u16::from_be_bytes([high, low]);
    let may_travel =
        (1_000..=4_999).contains(&code) && ![1_004, 1_005, 1_006].contains(&code) && !(1_015..3_000).contains(&code);
    match (may_travel, str::from_utf8(reason)) {
        (false, _) => Err(BROKEN_RULE),
        (true, Err(_)) => Err(NOT_UTF8),
        (true, Ok(_)) => Ok(Some(code)),
    }
}
