//! What a client makes of the bytes it takes from its socket: messages, each with when the first byte of it was written.

use std::collections::VecDeque;
use std::ops::Range;

use serde_json::Value;

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message of the protocol, and when it was written.
    Message(Value, Moment),
    /// The code that the socket was closed with.
    Closed(u16),
}

/// When the first byte of a frame was written, and when the last: how often the disk had been synced by then, or something was erased.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// How the bytes are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Frames,
    Chunks,
    Events,
}

/// Bytes that are no whole message yet.
#[derive(Debug)]
pub(super) struct Ear {
    form: Form,
    bytes: Vec<u8>,
    /// How many bytes, from the beginning of `bytes` on, were written when.
    written: VecDeque<(usize, u64)>,
}

/// A frame or chunk that is whole.
struct Whole {
    payload: Range<usize>,
    end: usize,
    /// That of a WebSocket frame; text where there are no frames.
    opcode: u8,
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

impl Ear {
    pub(super) fn new(form: Form) -> Self {
        Self { form, bytes: Vec::new(), written: VecDeque::new() }
    }

    /// Takes bytes in that were written then.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn take(&mut self, bytes: &[u8], written: u64, heard: &mut Vec<Heard>) -> Result<(), String> {
        self.bytes.extend_from_slice(bytes);
        self.written.push_back((bytes.len(), written));
        loop {
            let whole = match self.form {
                Form::Frames => frame(&self.bytes),
                Form::Chunks | Form::Events => chunk(&self.bytes)?,
            };
            let Some(Whole { payload, end, opcode }) = whole else { return Ok(()) };
            let when = Moment { first: self.written_at(0), last: self.written_at(end - 1) };
            let payload = self.bytes[payload].to_vec();
            self.bytes.drain(..end);
            self.forget(end);
            match opcode {
                TEXT => self.read(&payload, when, heard)?,
                CLOSE => heard
                    .push(Heard::Closed(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]])))),
                _ => {}
            }
        }
    }

    fn read(&self, text: &[u8], when: Moment, heard: &mut Vec<Heard>) -> Result<(), String> {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let line = if self.form == Form::Events { line.strip_prefix("data: ").unwrap_or(line) } else { line };
            let message = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
            heard.push(Heard::Message(message, when));
        }
        Ok(())
    }

    fn written_at(&self, mut byte: usize) -> u64 {
        for (count, written) in &self.written {
            match byte.checked_sub(*count) {
                None => return *written,
                Some(left) => byte = left,
            }
        }
        0
    }

    fn forget(&mut self, mut bytes: usize) {
        while let Some((count, _)) = self.written.front_mut() {
            if *count > bytes {
                *count -= bytes;
                return;
            }
            bytes -= *count;
            self.written.pop_front();
        }
    }
}

/// The frame that the bytes begin with, if it is whole. A server does not mask.
fn frame(bytes: &[u8]) -> Option<Whole> {
    let (opcode, length) = (bytes.first()? & 0x0f, *bytes.get(1)?);
    let (start, length) = match length {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, usize::from(length)),
    };
    let end = start + length;
    (bytes.len() >= end).then_some(Whole { payload: start..end, end, opcode })
}

/// The chunk that the bytes begin with, if it is whole.
fn chunk(bytes: &[u8]) -> Result<Option<Whole>, String> {
    let Some(line) = bytes.windows(2).position(|end| end == b"\r\n") else { return Ok(None) };
    let digits = std::str::from_utf8(&bytes[..line]).map_err(|error| error.to_string())?;
    let length = usize::from_str_radix(digits, 16).map_err(|error| format!("{error}: a chunk of {digits:?}"))?;
    let start = line + 2;
    let end = start + length + 2;
    Ok((bytes.len() >= end).then_some(Whole { payload: start..start + length, end, opcode: TEXT }))
}
