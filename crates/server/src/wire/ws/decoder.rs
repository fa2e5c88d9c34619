//! Frames from a client, decoded incrementally and in place.

use std::borrow::Cow;
use std::fmt;

use super::close;
use super::deflate;
use super::mask::Mask;

/// What a complete message or control frame said.
///
/// Payloads that lay whole in the input are borrowed from it; only those that arrived in pieces were gathered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
    Ping(Cow<'a, [u8]>),
    Pong,
    /// The peer closes, with the code it gave, if any.
    Close(Option<u16>),
}

impl Event<'_> {
    /// How much there is to be read in it.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) => bytes.len(),
            Self::Pong | Self::Close(_) => 0,
        }
    }
}

/// Why a client's bytes are not WebSocket frames we accept. The connection cannot go on after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum FrameError {
    /// A rule of RFC 6455 was broken; the text names what was found.
    Protocol(&'static str),
    /// Text or a close reason that is not UTF-8.
    NotUtf8,
    /// A compressed message that is not what deflate makes, or not all of it.
    NotDeflated,
    /// A message longer than the limit; found before anything beyond it was stored.
    TooLarge,
}

impl FrameError {
    /// The WebSocket status code this error closes with.
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::NotUtf8 | Self::NotDeflated => 1007,
            Self::TooLarge => 1009,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(found) => write!(f, "not a valid WebSocket frame: {found}"),
            Self::NotUtf8 => f.write_str("text that is not UTF-8"),
            Self::NotDeflated => f.write_str("a compressed message that cannot be read"),
            Self::TooLarge => f.write_str("message larger than the limit"),
        }
    }
}

/// Decodes what one client sends, wherever the network cut it.
///
/// Between two messages it owns no heap memory. Within one that came in pieces it holds what has arrived so far, never more
/// than the limit given to [`Decoder::decode`].
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The start of a header that the last input cut short.
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The data message being gathered: set from its first frame to its last.
    message: Option<Kind>,
    /// What came in pieces so far; in a box, since most clients send whole frames.
    pieces: Option<Box<Pieces>>,
}

#[derive(Debug, Default)]
struct Pieces {
    data: Vec<u8>,
    /// A control frame may come between two fragments of a message.
    control: Vec<u8>,
}

impl Pieces {
    fn of(&mut self, role: Role) -> &mut Vec<u8> {
        match role {
            Role::Data { .. } => &mut self.data,
            Role::Control(_) => &mut self.control,
        }
    }
}

/// A longest header: two bytes, eight of extended length, four of key.
const HEADER_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: u64 = 125;

/// Bits of a header that no rule of RFC 6455 gives a meaning, and the one that says that a message is compressed.
const RESERVED: u8 = 0x70;
const RSV1: u8 = super::encoder::RSV1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    DeflatedText,
    DeflatedBinary,
}

impl Kind {
    fn is_deflated(self) -> bool {
        matches!(self, Self::DeflatedText | Self::DeflatedBinary)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Close,
    Ping,
    Pong,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    /// Part of the data message in `Decoder::message`; `fin` ends it.
    Data {
        fin: bool,
    },
    Control(Control),
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    role: Role,
    mask: Mask,
    remaining: usize,
}

impl Decoder {
    /// Reads on until one event is complete or `input` is used up; says how many bytes it used.
    ///
    /// `input` is unmasked in place. Call again with the rest for the next event. `limit_bytes` is the longest message
    /// accepted, over all its fragments, and when it is no longer compressed; with `takes_deflated`, messages may come so.
    ///
    /// # Errors
    /// As soon as a header shows it: a broken rule of the protocol or a message over the limit. What is compressed is read, and text
    /// checked, when it is complete.
    pub(crate) fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
        limit_bytes: usize,
        takes_deflated: bool,
    ) -> Result<(usize, Option<Event<'a>>), FrameError> {
        let mut used = 0;
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.read_header(&input[used..], limit_bytes, takes_deflated)? {
                    (read, Some(frame)) => {
                        used += read;
                        frame
                    }
                    (read, None) => return Ok((used + read, None)),
                },
            };
            let available = frame.remaining.min(input.len() - used);
            let (start, end) = (used, used + available);
            frame.mask.apply(&mut input[start..end]);
            frame.remaining -= available;
            used = end;

            let complete = frame.remaining == 0 && !matches!(frame.role, Role::Data { fin: false });
            let has_begun = self.pieces.as_mut().is_some_and(|pieces| !pieces.of(frame.role).is_empty());
            if complete && !has_begun {
                let payload = Cow::Borrowed(&input[start..end]);
                return self.finish(frame.role, payload, limit_bytes).map(|e| (used, Some(e)));
            }
            if start < end {
                self.pieces.get_or_insert_default().of(frame.role).extend_from_slice(&input[start..end]);
            }
            if complete {
                let payload = Cow::Owned(self.take_pieces(frame.role));
                return self.finish(frame.role, payload, limit_bytes).map(|e| (used, Some(e)));
            }
            if frame.remaining > 0 {
                self.frame = Some(frame);
                return Ok((used, None));
            }
        }
    }

    fn gathered_bytes(&self) -> usize {
        self.pieces.as_ref().map_or(0, |pieces| pieces.data.len())
    }

    /// What the pieces take that have come so far.
    pub(crate) fn bytes_held(&self) -> usize {
        self.pieces.as_ref().map_or(0, |pieces| pieces.data.capacity())
    }

    fn take_pieces(&mut self, role: Role) -> Vec<u8> {
        let Some(pieces) = &mut self.pieces else { return Vec::new() };
        let taken = std::mem::take(pieces.of(role));
        if pieces.data.is_empty() && pieces.control.is_empty() {
            self.pieces = None;
        }
        taken
    }

    /// Whether a message or frame has begun and not ended.
    #[cfg(test)]
    fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Gathers a header; nothing of it is trusted before it is whole.
    fn read_header(
        &mut self,
        input: &[u8],
        limit_bytes: usize,
        takes_deflated: bool,
    ) -> Result<(usize, Option<Frame>), FrameError> {
        let mut read = 0;
        loop {
            let have = usize::from(self.header_len);
            let needed = match self.header[..have] {
                [_, second, ..] => header_bytes(second),
                _ => 2,
            };
            if have == needed {
                self.header_len = 0;
                let header = self.header;
                return Ok((read, Some(self.open_frame(&header[..needed], limit_bytes)?)));
            }
            let take = (needed - have).min(input.len() - read);
            if take == 0 {
                return Ok((read, None));
            }
            self.header[have..have + take].copy_from_slice(&input[read..read + take]);
            self.header_len += take as u8;
            read += take;
            if self.header_len == 2 {
                // Refuse at once what no further byte can mend, so that garbage does not wait for a length.
                check_start(self.header[0], self.header[1], takes_deflated)?;
            }
        }
    }

    fn open_frame(&mut self, header: &[u8], limit_bytes: usize) -> Result<Frame, FrameError> {
        let (fin, opcode) = (header[0] & 0x80 != 0, header[0] & 0x0f);
        let (length, key) = header[2..].split_at(header.len() - 2 - 4);
        let length = match *length {
            [] => u64::from(header[1] & 0x7f),
            [a, b] => u64::from(u16::from_be_bytes([a, b])),
            [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => return Err(FrameError::Protocol("a length of a strange size")),
        };
        match header[1] & 0x7f {
            126 if length < 126 => return Err(FrameError::Protocol("a length written too long")),
            127 if length <= 0xffff || length >> 63 == 1 => {
                return Err(FrameError::Protocol("a length written too long"));
            }
            _ => {}
        }
        let role = match opcode {
            0x0 => {
                if self.message.is_none() {
                    return Err(FrameError::Protocol("a continuation of nothing"));
                }
                Role::Data { fin }
            }
            0x1 | 0x2 => {
                if self.message.is_some() {
                    return Err(FrameError::Protocol("a message within a message"));
                }
                self.message = Some(match (opcode, header[0] & RSV1 != 0) {
                    (0x1, false) => Kind::Text,
                    (0x1, true) => Kind::DeflatedText,
                    (_, false) => Kind::Binary,
                    (_, true) => Kind::DeflatedBinary,
                });
                Role::Data { fin }
            }
            0x8 => Role::Control(Control::Close),
            0x9 => Role::Control(Control::Ping),
            _ => Role::Control(Control::Pong),
        };
        if matches!(role, Role::Data { .. }) {
            let bytes_max = if self.message.is_some_and(Kind::is_deflated) {
                deflate::packed_bytes_max(limit_bytes)
            } else {
                limit_bytes
            };
            if length > bytes_max.saturating_sub(self.gathered_bytes()) as u64 {
                return Err(FrameError::TooLarge);
            }
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(key);
        Ok(Frame {
            role,
            mask: Mask::new(mask),
            // Fits: data is within the limit, control frames within 125.
            remaining: length as usize,
        })
    }

    fn finish<'a>(
        &mut self,
        role: Role,
        mut payload: Cow<'a, [u8]>,
        limit_bytes: usize,
    ) -> Result<Event<'a>, FrameError> {
        match role {
            Role::Control(Control::Ping) => Ok(Event::Ping(payload)),
            Role::Control(Control::Pong) => Ok(Event::Pong),
            Role::Control(Control::Close) => close::parse(&payload).map(Event::Close),
            Role::Data { .. } => {
                let kind = self.message.take();
                if kind.is_some_and(Kind::is_deflated) {
                    payload = Cow::Owned(deflate::inflate(&payload, limit_bytes)?);
                }
                match kind {
                    Some(Kind::Binary | Kind::DeflatedBinary) | None => Ok(Event::Binary(payload)),
                    Some(Kind::Text | Kind::DeflatedText) => text(payload).map(Event::Text),
                }
            }
        }
    }
}

fn check_start(first: u8, second: u8, takes_deflated: bool) -> Result<(), FrameError> {
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
    let may_be_set = if takes_deflated && matches!(opcode, 0x1 | 0x2) { RSV1 } else { 0 };
    if first & RESERVED & !may_be_set != 0 {
        return Err(FrameError::Protocol("a reserved bit"));
    }
    if !matches!(opcode, 0x0..=0x2 | 0x8..=0xa) {
        return Err(FrameError::Protocol("a reserved opcode"));
    }
    if second & 0x80 == 0 {
        return Err(FrameError::Protocol("a frame without a mask"));
    }
    if opcode >= 0x8 {
        if !fin {
            return Err(FrameError::Protocol("a fragmented control frame"));
        }
        if u64::from(second & 0x7f) > CONTROL_BYTES_MAX {
            return Err(FrameError::Protocol("a control frame over 125 bytes"));
        }
    }
    Ok(())
}

fn text(payload: Cow<'_, [u8]>) -> Result<Cow<'_, str>, FrameError> {
    match payload {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| FrameError::NotUtf8),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| FrameError::NotUtf8),
    }
}

/// The whole length of a header by its second byte, with the key.
fn header_bytes(second: u8) -> usize {
    match second & 0x7f {
        126 => 2 + 2 + 4,
        127 => 2 + 8 + 4,
        _ => 2 + 4,
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
pub(super) mod tests;
