//! What the server's rooms carry: publications, and who comes and goes.

use crate::protocol::{ClientInfo, Encoding, Publication, PublicationEncoder, Push, RoomName};

/// Something a room delivers to its members as pushes.
pub(crate) trait Message: Send + Sync + 'static {
    /// What the pushes of one room have in common.
    type Encoder;

    fn encoder(room: &RoomName, encoding: Encoding) -> Self::Encoder;

    /// Appends the push of the message numbered `sequence` (from 0), published at `time_ms`.
    fn encode(&self, encoder: &Self::Encoder, sequence: u64, time_ms: u64, out: &mut Vec<u8>);

    /// Whether a member that missed some must not go on as if nothing had happened.
    const LOSS_MATTERS: bool;
}

impl Message for Publication {
    type Encoder = PublicationEncoder;

    fn encoder(room: &RoomName, encoding: Encoding) -> Self::Encoder {
        encoding.publications(room.as_str())
    }

    fn encode(&self, encoder: &Self::Encoder, sequence: u64, time_ms: u64, out: &mut Vec<u8>) {
        // The wire counts from 1.
        encoder.encode(self, sequence + 1, time_ms, out);
    }

    const LOSS_MATTERS: bool = true;
}

/// Somebody came into a room or left it.
///
/// Events have rooms of their own, beside those of the publications, so that they take no offsets.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Join(ClientInfo),
    Leave(ClientInfo),
}

impl Message for Event {
    type Encoder = (RoomName, Encoding);

    fn encoder(room: &RoomName, encoding: Encoding) -> Self::Encoder {
        (room.clone(), encoding)
    }

    fn encode(&self, encoder: &Self::Encoder, _sequence: u64, _time_ms: u64, out: &mut Vec<u8>) {
        let (room, encoding) = encoder.clone();
        let push = match self.clone() {
            Self::Join(info) => Push::Join { room, info },
            Self::Leave(info) => Push::Leave { room, info },
        };
        encoding.encode_push(&push, out);
    }

    // The protocol recovers no events: whoever must know who is there asks for presence.
    const LOSS_MATTERS: bool = false;
}
