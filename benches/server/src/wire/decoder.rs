//! From bytes to what they say, wherever reads and frames begin and end.

use roomcast_lab::protocol::Encoding;
use roomcast_lab::websocket::{self, Event, Partial, Reader};

use super::{Heard, Wire, centrifugo, nats, plain, redis, stream};
use crate::fault::Fault;

/// What one connection has heard and not yet understood.
#[derive(Debug)]
pub struct Decoder {
    wire: Wire,
    /// Of what travels in frames.
    reader: Reader,
    /// The head of an answer without end is behind us.
    is_open: bool,
    /// The beginning of a value of a stream without frames, or of a chunk.
    partial: Partial,
    /// The beginning of a value of a stream in frames, or in chunks.
    nested: Partial,
}

impl Decoder {
    /// Of a new connection.
    pub fn new(wire: Wire) -> Self {
        Self { wire, reader: Reader::new(), is_open: false, partial: Partial::new(), nested: Partial::new() }
    }

    /// Makes something of the next bytes.
    ///
    /// # Errors
    /// [`Fault`] when they are not in the protocol, and whatever `each` says.
    pub fn hear(&mut self, bytes: &[u8], mut each: impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let Self { wire, reader, is_open, partial, nested } = self;
        match wire {
            Wire::Redis => partial.feed(bytes, |bytes| redis::hear(bytes, &mut each)),
            Wire::Nats => partial.feed(bytes, |bytes| nats::hear(bytes, &mut each)),
            wire if wire.is_streamed() => {
                partial.feed(bytes, |bytes| hear_answer(*wire, is_open, nested, bytes, &mut each))
            }
            wire => reader.read(bytes, |event| hear_event(*wire, nested, event, &mut each)),
        }
    }
}

fn hear_event(
    wire: Wire,
    nested: &mut Partial,
    event: Event<'_>,
    each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match (event, wire) {
        (Event::Message(message), Wire::Centrifugo) => centrifugo::hear(Encoding::Json, message, each),
        (Event::Message(message), Wire::Protobuf) => centrifugo::hear(Encoding::Protobuf, message, each),
        (Event::Message(message), Wire::NatsOverWebSocket) => nested.feed(message, |bytes| nats::hear(bytes, each)),
        (Event::Message(message), _) => plain::hear(message, each),
        // The path has said everything.
        (Event::Open, Wire::Plain) => each(Heard::Ready { position: None, recovered: false }),
        // NATS says its own welcome within.
        (Event::Open, Wire::NatsOverWebSocket) => each(Heard::Taken),
        (Event::Open, _) => each(Heard::Welcome),
        (Event::Ping(_), _) => each(Heard::FramePing),
        (Event::Close(code), _) => each(Heard::Close(code)),
        _ => Err(Fault::Unexpected("something unknown")),
    }
}

fn hear_answer(
    wire: Wire,
    is_open: &mut bool,
    nested: &mut Partial,
    bytes: &[u8],
    each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    let mut at = 0;
    if !*is_open {
        let Some((head, length)) = websocket::head(bytes)? else { return Ok(0) };
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(Fault::Refused(head.lines().next().unwrap_or_default().to_owned()));
        }
        (*is_open, at) = (true, length);
    }
    let used =
        stream::hear_chunks(&bytes[at..], |payload| nested.feed(payload, |bytes| stream::hear(wire, bytes, each)))?;
    Ok(at + used)
}
