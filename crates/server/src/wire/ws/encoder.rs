//! Frames to a client: headers written into a growing buffer, next to payloads that are written in place.

use super::deflate::Deflate;
use roomcast_protocol::CLOSE_REASON_BYTES_MAX;

/// The kinds of frame the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

const FIN: u8 = 0x80;
/// Says that a message is compressed.
pub(super) const RSV1: u8 = 0x40;
/// The header of a payload of 126 to 65,535 bytes, the usual one for a run of messages.
const HEADER_BYTES_USUAL: usize = 4;

/// One frame whose payload is written straight into the buffer, its length filled in at the end.
///
/// The payload is everything appended to the buffer between [`FrameWriter::begin`] and [`FrameWriter::end`].
#[derive(Debug)]
#[must_use = "a frame that is not ended has no header"]
pub(crate) struct FrameWriter {
    start: usize,
}

impl FrameWriter {
    /// Leaves room for a header at the end of `buffer`.
    pub(crate) fn begin(buffer: &mut Vec<u8>) -> Self {
        let start = buffer.len();
        buffer.resize(start + HEADER_BYTES_USUAL, 0);
        Self { start }
    }

    /// Bytes of payload so far.
    pub(crate) fn payload_bytes(&self, buffer: &[u8]) -> usize {
        buffer.len() - self.start - HEADER_BYTES_USUAL
    }

    /// Writes the header; a frame without payload is taken back.
    pub(crate) fn end(self, buffer: &mut Vec<u8>, opcode: Opcode) {
        self.end_as(buffer, FIN | opcode as u8);
    }

    /// The same of a payload that is made smaller before, if it becomes so. How many bytes were read for that.
    pub(crate) fn end_deflated(self, buffer: &mut Vec<u8>, opcode: Opcode, deflate: Deflate) -> usize {
        let (is_deflated, read) = deflate.shrink(buffer, self.start + HEADER_BYTES_USUAL);
        self.end_as(buffer, FIN | opcode as u8 | if is_deflated { RSV1 } else { 0 });
        read
    }

    fn end_as(self, buffer: &mut Vec<u8>, first: u8) {
        let Self { start } = self;
        let body = start + HEADER_BYTES_USUAL;
        let length = buffer.len() - body;
        // The shortest form of the length is the only valid one, so a short payload moves left and a huge one right.
        match length {
            0 => buffer.truncate(start),
            1..=125 => {
                buffer.copy_within(body.., start + 2);
                buffer.truncate(start + 2 + length);
                buffer[start..start + 2].copy_from_slice(&[first, length as u8]);
            }
            126..=0xffff => {
                let [a, b] = (length as u16).to_be_bytes();
                buffer[start..body].copy_from_slice(&[first, 126, a, b]);
            }
            _ => {
                buffer.resize(start + 10 + length, 0);
                buffer.copy_within(body..body + length, start + 10);
                buffer[start..start + 2].copy_from_slice(&[first, 127]);
                buffer[start + 2..start + 10].copy_from_slice(&(length as u64).to_be_bytes());
            }
        }
    }
}

/// Appends a whole frame. An empty payload makes an empty frame.
pub(crate) fn write_frame(buffer: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    if payload.is_empty() {
        buffer.extend_from_slice(&[FIN | opcode as u8, 0]);
        return;
    }
    let frame = FrameWriter::begin(buffer);
    buffer.extend_from_slice(payload);
    frame.end(buffer, opcode);
}

/// Appends a close frame; a reason longer than [`CLOSE_REASON_BYTES_MAX`] is cut at a character.
pub(crate) fn write_close(buffer: &mut Vec<u8>, code: u16, reason: &str) {
    let cut = (0..=reason.len().min(CLOSE_REASON_BYTES_MAX)).rev().find(|&at| reason.is_char_boundary(at));
    let reason = &reason[..cut.unwrap_or(0)];
    let frame = FrameWriter::begin(buffer);
    buffer.extend_from_slice(&code.to_be_bytes());
    buffer.extend_from_slice(reason.as_bytes());
    frame.end(buffer, Opcode::Close);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(length: usize) -> Vec<u8> {
        let mut buffer = b"before".to_vec();
        write_frame(&mut buffer, Opcode::Text, &vec![b'x'; length]);
        buffer
    }

    #[test]
    fn the_length_takes_its_shortest_form() {
        for (length, header) in [
            (0usize, &[0x81u8, 0][..]),
            (1, &[0x81, 1]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let buffer = frame_of(length);
            let (before, frame) = buffer.split_at(6);
            assert_eq!(before, b"before");
            assert_eq!(&frame[..header.len()], header, "length {length}");
            assert_eq!(frame.len(), header.len() + length);
            assert!(frame[header.len()..].iter().all(|b| *b == b'x'));
        }
    }

    #[test]
    fn a_frame_nothing_was_written_to_leaves_no_trace() {
        let mut buffer = b"a".to_vec();
        let frame = FrameWriter::begin(&mut buffer);
        assert_eq!(frame.payload_bytes(&buffer), 0);
        frame.end(&mut buffer, Opcode::Text);
        assert_eq!(&buffer[..], b"a");
    }

    #[test]
    fn a_long_close_reason_is_cut_at_a_character() {
        let mut buffer = Vec::new();
        write_close(&mut buffer, 3001, &"ü".repeat(100));
        assert_eq!(buffer[..2], [0x88, 2 + 122]);
        assert_eq!(buffer[2..4], 3001u16.to_be_bytes());
        assert_eq!(std::str::from_utf8(&buffer[4..]), Ok(&*"ü".repeat(61)));
    }
}
