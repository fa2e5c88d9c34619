//! A batch: consecutive messages of a room, encoded once as frames or chunks for everybody who takes them in that framing.

use bytes::Bytes;

use crate::wire::framing::{Envelope, Framing};
use crate::wire::ws::{Opcode, write_frame};

/// Bytes after which a batch is sent before more is encoded: what a member whose socket is full may share with the others.
pub(crate) const RUN_BYTES_FULL: usize = 256 * 1024;

/// Capacity kept for the next batch.
const BYTES_KEPT: usize = RUN_BYTES_FULL;

/// Frames being built, then sent, in one contiguous buffer.
///
/// The buffer belongs to one thread until a socket takes only part of it; then it becomes shared and a new one is begun.
#[derive(Debug, Default)]
pub(crate) struct EncodedBatch {
    framing: Framing,
    bytes: Vec<u8>,
    envelope: Option<Envelope>,
    messages: u64,
    /// Bytes that were read to compress them.
    compressed: usize,
    shared: Option<Bytes>,
}

impl EncodedBatch {
    /// Appends a message; `encode` writes it.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let Self { framing, bytes, envelope, compressed, .. } = self;
        let bytes_full = framing.payload_bytes_full();
        if let Some(full) = envelope.take_if(|envelope| envelope.payload_bytes(bytes) >= bytes_full) {
            *compressed += full.seal(bytes);
        }
        let is_first = envelope.is_none();
        if is_first {
            *envelope = Some(framing.open(bytes));
        }
        framing.message(bytes, is_first, encode);
        self.messages += 1;
    }

    /// Appends a control frame of WebSocket, behind the messages.
    pub(crate) fn push_control(&mut self, opcode: Opcode, payload: &[u8]) {
        self.finish();
        write_frame(&mut self.bytes, opcode, payload);
    }

    /// Ends the last frame: from here on the batch can be sent.
    pub(crate) fn finish(&mut self) {
        if let Some(envelope) = self.envelope.take() {
            self.compressed += envelope.seal(&mut self.bytes);
        }
    }

    /// Whether it should be sent before more is added: what it was made from counts as well, however small it has become.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() + self.compressed >= RUN_BYTES_FULL
    }

    /// Bytes that were read to compress it; none of one that is not.
    pub(crate) fn compressed_bytes(&self) -> usize {
        self.compressed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_none()
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.shared.as_ref().map_or(self.bytes.len(), Bytes::len)
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// The frames of a finished batch.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        debug_assert!(self.envelope.is_none(), "the last frame has no header yet");
        self.shared.as_deref().unwrap_or(&self.bytes)
    }

    /// The frames from byte `from` on, for somebody who sends them later. All who ask share one buffer.
    pub(crate) fn share(&mut self, from: usize) -> Bytes {
        let bytes = &mut self.bytes;
        self.shared.get_or_insert_with(|| Bytes::from(std::mem::take(bytes))).slice(from..)
    }

    /// Begins anew in that framing, in the same buffer unless somebody still sends it.
    pub(crate) fn begin(&mut self, framing: Framing) {
        self.clear();
        self.framing = framing;
    }

    /// Begins anew in the same framing.
    pub(crate) fn clear(&mut self) {
        self.shared = None;
        self.envelope = None;
        self.messages = 0;
        self.compressed = 0;
        self.bytes.clear();
        if self.bytes.capacity() > 2 * BYTES_KEPT {
            self.bytes.shrink_to(BYTES_KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(payloads: &[&str]) -> EncodedBatch {
        let mut batch = EncodedBatch::default();
        for payload in payloads {
            batch.push(|out| out.extend_from_slice(payload.as_bytes()));
        }
        batch.finish();
        batch
    }

    #[test]
    fn messages_share_a_frame_until_it_is_full() {
        assert_eq!(run_of(&["1", "2"]).as_bytes(), b"\x81\x031\n2");
        let large = "x".repeat(Framing::default().payload_bytes_full());
        let batch = run_of(&[&large, "2"]);
        assert_eq!(batch.as_bytes()[..2], [0x81, 126]);
        assert_eq!(batch.as_bytes()[4 + large.len()..], *b"\x81\x012");
        assert_eq!(batch.messages(), 2);
    }

    #[test]
    fn a_push_may_have_a_frame_of_its_own() {
        let mut batch = EncodedBatch::default();
        batch.begin(Framing::PushFrames);
        batch.push(|out| out.push(b'1'));
        batch.push(|out| out.push(b'2'));
        batch.finish();
        assert_eq!(batch.as_bytes(), b"\x81\x011\x81\x012");
    }

    #[test]
    fn a_shared_rest_outlives_the_run() {
        let mut batch = run_of(&["abc"]);
        let rest = batch.share(3);
        assert_eq!(batch.as_bytes(), b"\x81\x03abc");
        batch.clear();
        batch.push(|out| out.push(b'z'));
        batch.finish();
        assert_eq!(rest, "bc");
        assert_eq!(batch.as_bytes(), b"\x81\x01z");
    }
}
