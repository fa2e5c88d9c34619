//! From bytes to what they say, wherever reads and frames begin and end.

use std::mem;

use super::{Heard, Wire, centrifugo, nats, plain, protobuf, redis, stream};
use crate::fault::Fault;
use crate::ws;

/// What one connection has heard and not yet understood. Holds no memory while nothing is left over.
#[derive(Debug)]
pub struct Ear {
    wire: Wire,
    /// The handshake is behind us.
    is_open: bool,
    /// The beginning of a frame, or of a value of a stream without frames.
    partial: Vec<u8>,
    /// The beginning of a message in fragments, or of a value of a stream in frames.
    message: Vec<u8>,
}

impl Ear {
    /// Of a new connection.
    pub fn new(wire: Wire) -> Self {
        Self { wire, is_open: !wire.is_framed() && !wire.is_streamed(), partial: Vec::new(), message: Vec::new() }
    }

    /// Makes something of the next bytes.
    ///
    /// # Errors
    /// [`Fault`] when they are not in the protocol, and whatever `each` says.
    pub fn hear(&mut self, bytes: &[u8], mut each: impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut partial = mem::take(&mut self.partial);
        carry(&mut partial, bytes, |bytes| match self.wire {
            Wire::Redis => redis::hear(bytes, &mut each),
            Wire::Nats => nats::hear(bytes, &mut each),
            wire if wire.is_streamed() => self.hear_answer(bytes, &mut each),
            _ => self.hear_frames(bytes, &mut each),
        })?;
        self.partial = partial;
        Ok(())
    }

    fn hear_frames(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        let mut at = 0;
        if !self.is_open {
            let Some((head, length)) = ws::head(bytes)? else { return Ok(0) };
            check_response(head)?;
            self.is_open = true;
            at = length;
            each(match self.wire {
                // The path has said everything.
                Wire::Plain => Heard::Ready { position: None, recovered: false },
                // NATS says its own welcome within.
                Wire::NatsOverWebSocket => Heard::Taken,
                _ => Heard::Welcome,
            })?;
        }
        while let Some(frame) = ws::frame(&bytes[at..])? {
            let payload = &bytes[at + frame.start..at + frame.end];
            at += frame.end;
            match frame.opcode {
                ws::PING => each(Heard::FramePing)?,
                ws::PONG => {}
                ws::CLOSE => each(Heard::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))))?,
                ws::CONTINUATION | ws::TEXT | ws::BINARY => {
                    self.hear_payload(payload, frame.is_last, each)?;
                }
                _ => return Err(Fault::Unexpected("a frame of an unknown kind")),
            }
        }
        Ok(at)
    }

    fn hear_answer(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        let mut at = 0;
        if !self.is_open {
            let Some((head, length)) = ws::head(bytes)? else { return Ok(0) };
            if !head.starts_with("HTTP/1.1 200 ") {
                return Err(Fault::Refused(head.lines().next().unwrap_or_default().to_owned()));
            }
            self.is_open = true;
            at = length;
        }
        let (wire, message) = (self.wire, &mut self.message);
        let used = stream::hear_chunks(&bytes[at..], |payload| {
            carry(message, payload, |bytes| stream::hear(wire, bytes, each))
        })?;
        Ok(at + used)
    }

    fn hear_payload(
        &mut self,
        payload: &[u8],
        is_last: bool,
        each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let wire = self.wire;
        if wire == Wire::NatsOverWebSocket {
            return carry(&mut self.message, payload, |bytes| nats::hear(bytes, each));
        }
        let mut hear = |message: &[u8]| match wire {
            Wire::Centrifugo => centrifugo::hear(message, each),
            Wire::Protobuf => match protobuf::hear(message, each)? {
                used if used == message.len() => Ok(()),
                _ => Err(Fault::Unexpected("a message that is cut off")),
            },
            _ => plain::hear(message, each),
        };
        if is_last && self.message.is_empty() {
            return hear(payload);
        }
        self.message.extend_from_slice(payload);
        if is_last { hear(&mem::take(&mut self.message)) } else { Ok(()) }
    }
}

/// Hands what was left over and the next bytes to `hear`, which tells how much it made something of, and keeps the rest.
fn carry(partial: &mut Vec<u8>, bytes: &[u8], hear: impl FnOnce(&[u8]) -> Result<usize, Fault>) -> Result<(), Fault> {
    if partial.is_empty() {
        let used = hear(bytes)?;
        partial.extend_from_slice(&bytes[used..]);
    } else {
        partial.extend_from_slice(bytes);
        let used = hear(partial)?;
        partial.drain(..used);
    }
    if partial.is_empty() && partial.capacity() > 0 {
        *partial = Vec::new();
    }
    Ok(())
}

fn check_response(head: &str) -> Result<(), Fault> {
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(Fault::Refused(head.lines().next().unwrap_or_default().to_owned()));
    }
    match ws::field(head, "sec-websocket-accept") {
        Some(accept) if accept == ws::accept(ws::KEY) => Ok(()),
        _ => Err(Fault::Unexpected("a handshake with a wrong answer")),
    }
}
