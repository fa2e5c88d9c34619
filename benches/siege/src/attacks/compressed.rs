//! Messages that are small on the way and large at the server.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use roomcast_lab::websocket::TEXT;

use super::Round;
use super::peer::{Peer, frame, skim};

/// What a bomb becomes.
const INFLATED_BYTES: u64 = 64 * 1024 * 1024;

/// Sends one after another, whether the server has agreed to compression or not.
pub(super) fn bombs(peer: Peer) -> Round {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let copied = std::io::copy(&mut std::io::repeat(b' ').take(INFLATED_BYTES), &mut encoder);
    let compressed = copied.and_then(|_| encoder.flush()).map(|()| encoder.get_ref().clone()).unwrap_or_default();
    // In messages that are within the limit as they come.
    let mut message = frame(TEXT, &compressed[..compressed.len().min(60_000)]);
    // RSV1: it is compressed.
    message[0] |= 0x40;
    Box::new(move || {
        let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let mut stream = peer.handshake(peer.connect()?, extension)?;
        stream.write_all(&message)?;
        skim(&mut stream, 1_024)
    })
}
