//! How what a client is told is put on its socket: one framing for each transport and encoding.

use crate::wire::ws::{Deflate, FrameWriter, Opcode};
use roomcast_protocol::{Encoding, Push};

/// The framing of a connection's output. Members of a room that share a framing share its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Framing {
    /// WebSocket: text frames of JSON, or binary frames of Protobuf.
    Frames(Encoding),
    /// WebSocket for those who only listen: a text frame for each push.
    PushFrames,
    /// The same two for clients that take messages compressed. What is for one alone goes as it is, see [`Framing::for_one`].
    Deflated(Encoding, Deflate),
    DeflatedPushes(Deflate),
    /// An HTTP response without end, in chunks: JSON line by line, or Protobuf.
    Stream(Encoding),
    /// The same as server-sent events, an event for each message; JSON.
    Events(Encoding),
}

impl Default for Framing {
    fn default() -> Self {
        Self::Frames(Encoding::default())
    }
}

/// A frame or chunk under construction, at the end of a buffer.
#[derive(Debug)]
#[must_use = "an envelope that is not sealed has no length"]
pub(crate) enum Envelope {
    Frame(FrameWriter, Opcode),
    Deflated(FrameWriter, Opcode, Deflate),
    Chunk(ChunkWriter),
}

impl Framing {
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::Frames(encoding) | Self::Deflated(encoding, _) | Self::Stream(encoding) | Self::Events(encoding) => {
                encoding
            }
            Self::PushFrames | Self::DeflatedPushes(_) => Encoding::JsonPushes,
        }
    }

    /// How what is for one client alone is put on its socket: not compressed. What a room's members share is compressed once for
    /// all of them; this would be once for each, at the wish of whoever asks.
    pub(crate) fn for_one(self) -> Self {
        match self {
            Self::Deflated(encoding, _) => Self::Frames(encoding),
            Self::DeflatedPushes(_) => Self::PushFrames,
            Self::Frames(_) | Self::PushFrames | Self::Stream(_) | Self::Events(_) => self,
        }
    }

    /// Whether messages may be compressed, both ways.
    pub(crate) fn is_deflated(self) -> bool {
        self != self.for_one()
    }

    /// Whether its client says who it is and nothing else.
    pub(crate) fn only_listens(self) -> bool {
        self.encoding() == Encoding::JsonPushes
    }

    /// What the field calls the transport.
    pub(crate) fn transport(self) -> &'static str {
        match (self, self.only_listens()) {
            (Self::Stream(_), true) => "uni_http_stream",
            (Self::Stream(_), false) => "http_stream",
            (Self::Events(_), true) => "uni_sse",
            (Self::Events(_), false) => "sse",
            (_, true) => "uni_websocket",
            (_, false) => "websocket",
        }
    }

    /// Whether it is WebSocket, of which the client's end brings frames as well.
    pub(crate) fn is_websocket(self) -> bool {
        !matches!(self, Self::Stream(_) | Self::Events(_))
    }

    /// Whether commands come in requests of their own.
    pub(crate) fn is_emulated(self) -> bool {
        !self.is_websocket() && !self.only_listens()
    }

    /// Bytes of payload after which a frame or chunk takes no further message.
    pub(crate) fn payload_bytes_full(self) -> usize {
        match self {
            Self::PushFrames | Self::DeflatedPushes(_) => 1,
            Self::Frames(_) | Self::Deflated(..) | Self::Stream(_) | Self::Events(_) => PAYLOAD_BYTES_FULL,
        }
    }

    /// Begins a frame or chunk.
    pub(crate) fn open(self, buffer: &mut Vec<u8>) -> Envelope {
        match self {
            Self::Frames(encoding) => Envelope::Frame(FrameWriter::begin(buffer), opcode(encoding)),
            Self::PushFrames => Envelope::Frame(FrameWriter::begin(buffer), Opcode::Text),
            Self::Deflated(encoding, deflate) => {
                Envelope::Deflated(FrameWriter::begin(buffer), opcode(encoding), deflate)
            }
            Self::DeflatedPushes(deflate) => Envelope::Deflated(FrameWriter::begin(buffer), Opcode::Text, deflate),
            Self::Stream(_) | Self::Events(_) => Envelope::Chunk(ChunkWriter::begin(buffer)),
        }
    }

    /// Appends a message, the `first` of its frame or chunk or a further one.
    pub(crate) fn message(self, buffer: &mut Vec<u8>, first: bool, encode: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Self::PushFrames | Self::DeflatedPushes(_) => encode(buffer),
            Self::Frames(encoding) | Self::Deflated(encoding, _) => {
                if !first {
                    encoding.separate(buffer);
                }
                encode(buffer);
            }
            Self::Stream(encoding) => {
                encode(buffer);
                // A reader of lines knows a message by its end.
                encoding.separate(buffer);
            }
            Self::Events(_) => {
                buffer.extend_from_slice(b"data: ");
                encode(buffer);
                buffer.extend_from_slice(b"\n\n");
            }
        }
    }

    /// Appends the disconnect push, which says in words how a connection ends.
    pub(crate) fn push_disconnect(self, code: u16, reason: &str, buffer: &mut Vec<u8>) {
        let envelope = self.open(buffer);
        let push = Push::Disconnect { code, reason: reason.to_owned().into() };
        self.message(buffer, true, |out| self.encoding().encode_push(&push, out));
        envelope.seal(buffer);
    }

    /// Appends it for a connection that cannot carry a close code, and the end of the response.
    pub(crate) fn write_disconnect(self, code: u16, reason: &str, buffer: &mut Vec<u8>) {
        self.push_disconnect(code, reason, buffer);
        buffer.extend_from_slice(LAST_CHUNK);
    }
}

/// The kind of frame that carries messages of that encoding.
fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Json | Encoding::JsonPushes => Opcode::Text,
        Encoding::Protobuf => Opcode::Binary,
    }
}

/// The usual bytes of a full payload. Under 64 KiB, so that usual frames have a short header and clients that parse a frame at a
/// time start early.
const PAYLOAD_BYTES_FULL: usize = 32 * 1024;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Envelope {
    /// Bytes of payload so far.
    pub(crate) fn payload_bytes(&self, buffer: &[u8]) -> usize {
        match self {
            Self::Frame(frame, _) | Self::Deflated(frame, ..) => frame.payload_bytes(buffer),
            Self::Chunk(chunk) => chunk.payload_bytes(buffer),
        }
    }

    /// Writes the length; one without payload is taken back. How many bytes were read to compress it.
    pub(crate) fn seal(self, buffer: &mut Vec<u8>) -> usize {
        match self {
            Self::Frame(frame, opcode) => frame.end(buffer, opcode),
            Self::Deflated(frame, opcode, deflate) => return frame.end_deflated(buffer, opcode, deflate),
            Self::Chunk(chunk) => chunk.end(buffer),
        }
        0
    }
}

/// A chunk of RFC 9112 section 7.1 whose payload is written straight into the buffer, its length filled in at the end.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    start: usize,
}

/// Digits of a chunk's length: leading zeros are allowed, and a length of fixed width can be filled in.
const CHUNK_DIGITS: usize = 8;
const CHUNK_HEAD_BYTES: usize = CHUNK_DIGITS + 2;

impl ChunkWriter {
    fn begin(buffer: &mut Vec<u8>) -> Self {
        let start = buffer.len();
        buffer.resize(start + CHUNK_HEAD_BYTES, 0);
        Self { start }
    }

    fn payload_bytes(&self, buffer: &[u8]) -> usize {
        buffer.len() - self.start - CHUNK_HEAD_BYTES
    }

    fn end(self, buffer: &mut Vec<u8>) {
        let bytes = self.payload_bytes(buffer);
        if bytes == 0 {
            // An empty chunk would end the response.
            return buffer.truncate(self.start);
        }
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let head = &mut buffer[self.start..self.start + CHUNK_HEAD_BYTES];
        for (at, digit) in head[..CHUNK_DIGITS].iter_mut().enumerate() {
            *digit = HEX[bytes >> (4 * (CHUNK_DIGITS - 1 - at)) & 0xf];
        }
        head[CHUNK_DIGITS..].copy_from_slice(b"\r\n");
        buffer.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(framing: Framing, messages: &[&str]) -> String {
        let mut out = Vec::new();
        let envelope = framing.open(&mut out);
        for (index, message) in messages.iter().enumerate() {
            framing.message(&mut out, index == 0, |out| out.extend_from_slice(message.as_bytes()));
        }
        envelope.seal(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn messages_are_put_into_each_form() {
        let messages = ["{\"a\":1}", "{}"];
        assert_eq!(said(Framing::Stream(Encoding::Json), &messages), "0000000b\r\n{\"a\":1}\n{}\n\r\n");
        assert_eq!(said(Framing::Stream(Encoding::Protobuf), &["\u{1}a", "\u{0}"]), "00000003\r\n\u{1}a\u{0}\r\n");
        assert_eq!(said(Framing::Events(Encoding::Json), &messages), "00000019\r\ndata: {\"a\":1}\n\ndata: {}\n\n\r\n");
        assert_eq!(said(Framing::Stream(Encoding::Json), &[]), "", "an empty chunk would be the last");
        let frames = |encoding| said(Framing::Frames(encoding), &["a", "b"]).into_bytes();
        assert_eq!(frames(Encoding::Json)[frames(Encoding::Json).len() - 4..], *b"\x03a\nb");
        assert_eq!(frames(Encoding::Protobuf)[frames(Encoding::Protobuf).len() - 3..], *b"\x02ab");
    }

    #[test]
    fn who_only_listens_hears_pushes_without_an_envelope() {
        for (framing, expected) in [
            (
                Framing::Stream(Encoding::JsonPushes),
                "{\"disconnect\":{\"code\":3001,\"reason\":\"shutdown\",\"reconnect\":true}}\n\r\n0\r\n\r\n",
            ),
            (
                Framing::Events(Encoding::JsonPushes),
                "data: {\"disconnect\":{\"code\":3001,\"reason\":\"shutdown\",\"reconnect\":true}}\n\n\r\n0\r\n\r\n",
            ),
        ] {
            let mut out = Vec::new();
            framing.write_disconnect(3001, "shutdown", &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.ends_with(expected), "{text}");
            assert!(framing.only_listens() && !framing.is_emulated() && !framing.is_websocket());
        }
        assert!(Framing::PushFrames.only_listens() && Framing::PushFrames.is_websocket());
        assert!(!Framing::Stream(Encoding::Json).only_listens());
    }

    #[test]
    fn a_goodbye_is_the_last_chunk_but_one() {
        let mut out = Vec::new();
        Framing::Events(Encoding::Json).write_disconnect(3001, "shutdown", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("data: {\"push\":{\"disconnect\":{\"code\":3001,"), "{text}");
        assert!(text.ends_with("\n\n\r\n0\r\n\r\n"), "{text}");
    }
}
