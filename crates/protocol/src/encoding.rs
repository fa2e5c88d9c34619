//! How the protocol is written as bytes: one door for every encoding.

use super::{Command, Limits, Link, Publication, Push, Reply, json, protobuf};
use std::fmt;

/// A way to write the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Objects joined by newlines, in text frames.
    #[default]
    Json,
    /// Messages behind their lengths, in binary frames.
    Protobuf,
    /// Objects for clients that only listen: what such a client says is one connect request, without a command around it, and what
    /// it hears are pushes without an envelope, its connect result first.
    JsonPushes,
}

impl Encoding {
    /// Reads the commands of one frame, one by one.
    ///
    /// Fields we do not know are skipped. Nothing is allocated beyond a small multiple of the frame's size.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame as a whole is no frame of commands. A frame can also turn bad in the middle:
    /// then the iterator yields the commands before, the error, and nothing after it. Either way the connection is
    /// beyond repair and should be closed with [`super::CloseCode::BadRequest`].
    pub fn commands<'a>(self, frame: &'a [u8], limits: &Limits) -> Result<Commands<'a>, DecodeError> {
        match self {
            Self::Json => Ok(Commands(Reader::Json(json::Commands::new(frame, limits)?))),
            Self::Protobuf => Ok(Commands(Reader::Protobuf(protobuf::Commands::new(frame, limits)?))),
            Self::JsonPushes => Ok(Commands(Reader::Connect(Some(Box::new(json::connect_alone(frame, limits)?))))),
        }
    }

    /// Appends `reply`.
    pub fn encode_reply(self, reply: &Reply, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_reply(reply, out),
            Self::Protobuf => protobuf::encode_reply(reply, out),
            Self::JsonPushes => json::encode_result(reply, out),
        }
    }

    /// Appends `push`.
    pub fn encode_push(self, push: &Push, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_push(push, out),
            Self::Protobuf => protobuf::encode_push(push, out),
            Self::JsonPushes => json::encode_bare_push(push, out),
        }
    }

    /// Appends the server's ping.
    pub fn encode_ping(self, out: &mut Vec<u8>) {
        match self {
            Self::Json | Self::JsonPushes => out.extend_from_slice(b"{}"),
            // A message of length nought.
            Self::Protobuf => out.push(0),
        }
    }

    /// Appends what must stand between two messages of one frame.
    pub fn separate(self, out: &mut Vec<u8>) {
        match self {
            Self::Json | Self::JsonPushes => out.push(b'\n'),
            Self::Protobuf => {}
        }
    }

    /// An encoder for the publications of `room`.
    pub fn publications(self, room: &str) -> PublicationEncoder {
        match self {
            Self::Json => PublicationEncoder(Writer::Json(json::PublicationEncoder::new(room))),
            Self::JsonPushes => PublicationEncoder(Writer::Json(json::PublicationEncoder::bare(room))),
            Self::Protobuf => PublicationEncoder(Writer::Protobuf(protobuf::PublicationEncoder::new(room))),
        }
    }
}

/// The commands of a frame, read one by one; made by [`Encoding::commands`].
#[derive(Debug)]
pub struct Commands<'a>(Reader<'a>);

#[derive(Debug)]
enum Reader<'a> {
    Json(json::Commands<'a>),
    Protobuf(protobuf::Commands<'a>),
    Connect(Option<Box<Command>>),
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Reader::Json(commands) => commands.next(),
            Reader::Protobuf(commands) => commands.next(),
            Reader::Connect(command) => command.take().map(|command| Ok(*command)),
        }
    }
}

/// Writes the publications of one room as pushes, for everybody in the room at once.
///
/// What all pushes of the room have in common is written once, and payloads are copied as they are.
///
/// # Examples
/// ```
/// use roomcast_protocol::{Encoding, Payload, Publication};
///
/// let mut frame = Vec::new();
/// let encoder = Encoding::Json.publications("chat");
/// encoder.encode(&Publication::new(Payload::json("1".into()), None), 41, 0, &mut frame);
/// Encoding::Json.separate(&mut frame);
/// encoder.encode(&Publication::new(Payload::json("2".into()), None), 42, 0, &mut frame);
/// assert_eq!(
///     str::from_utf8(&frame)?,
///     "{\"push\":{\"channel\":\"chat\",\"pub\":{\"data\":1,\"offset\":41}}}\n\
///      {\"push\":{\"channel\":\"chat\",\"pub\":{\"data\":2,\"offset\":42}}}"
/// );
/// # Ok::<(), std::str::Utf8Error>(())
/// ```
#[derive(Debug)]
pub struct PublicationEncoder(Writer);

#[derive(Debug)]
enum Writer {
    Json(json::PublicationEncoder),
    Protobuf(protobuf::PublicationEncoder),
}

impl PublicationEncoder {
    /// Appends the push of `publication` with its `offset` (from 1; 0 leaves it out) and the time it was published
    /// (milliseconds since 1970; 0 leaves it out).
    pub fn encode(&self, publication: &Publication, offset: u64, time_ms: u64, out: &mut Vec<u8>) {
        match &self.0 {
            Writer::Json(encoder) => encoder.encode(publication, offset, time_ms, out),
            Writer::Protobuf(encoder) => encoder.encode(publication, offset, time_ms, out),
        }
    }

    /// The same for readers of a chain of deltas, in which its payload is `link`; they are told no time.
    pub fn encode_link(&self, publication: &Publication, link: &Link, offset: u64, out: &mut Vec<u8>) {
        match &self.0 {
            Writer::Json(encoder) => encoder.encode_link(publication, link, offset, out),
            Writer::Protobuf(encoder) => encoder.encode_link(publication, link, offset, out),
        }
    }
}

/// Why a frame is not one of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The frame holds nothing.
    Empty,
    /// The frame is not what the protocol says at this byte.
    Malformed {
        /// How many bytes of the frame were good, roughly.
        at: usize,
    },
    /// The frame is longer than allowed.
    TooLarge {
        /// The longest frame allowed.
        bytes_max: usize,
    },
    /// The frame holds more commands than allowed.
    TooManyCommands {
        /// The most commands allowed.
        commands_max: usize,
    },
    /// The frame is binary on a connection of text, or the other way round.
    WrongFrameKind,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the frame is empty; send at least one command"),
            Self::Malformed { at } => {
                write!(
                    f,
                    "the frame is not a command near byte {at}; send one JSON object a line, or in Protobuf one message \
                           behind its length"
                )
            }
            Self::TooLarge { bytes_max } => {
                write!(f, "the frame is too long; send at most {bytes_max} bytes at once")
            }
            Self::TooManyCommands { commands_max } => {
                write!(f, "the frame holds too many commands; send at most {commands_max} at once")
            }
            Self::WrongFrameKind => f.write_str(
                "the frame is binary on a text connection, or the other way round; ask for the subprotocol \
                             centrifuge-protobuf to speak Protobuf, and for none to speak JSON",
            ),
        }
    }
}

impl std::error::Error for DecodeError {}
