//! Attacks by the frames of WebSocket.

use std::io::{self, Write as _};
use std::net::TcpStream;

use roomcast_lab::websocket::{CONTINUATION, PING, TEXT};

use super::Round;
use super::peer::{Held, Peer, frame, send, skim};

/// Keeps one client and does it to that; when it is closed there is another.
fn to_one(peer: Peer, mut attack: impl FnMut(&mut TcpStream) -> io::Result<()> + 'static) -> Round {
    let mut current: Option<TcpStream> = None;
    Box::new(move || {
        let mut stream = match current.take() {
            Some(stream) => stream,
            None => {
                let mut stream = peer.websocket()?;
                send(&mut stream, "{\"id\":1,\"connect\":{}}")?;
                stream
            }
        };
        attack(&mut stream)?;
        current = Some(stream);
        Ok(())
    })
}

/// Pings, which have to be answered.
pub(super) fn pings(peer: Peer) -> Round {
    let bytes = frame(PING, &[b'p'; 125]).repeat(1_000);
    to_one(peer, move |stream| {
        stream.write_all(&bytes)?;
        skim(stream, 64 * 1024)
    })
}

/// A message that has no end, and no bytes.
pub(super) fn empty_fragments(peer: Peer) -> Round {
    let mut begin = frame(TEXT, b"");
    begin[0] &= 0x7f;
    let mut next = frame(CONTINUATION, b"");
    next[0] &= 0x7f;
    let next = next.repeat(5_000);
    let mut is_begun = false;
    to_one(peer, move |stream| {
        if !std::mem::replace(&mut is_begun, true) {
            stream.write_all(&begin)?;
        }
        let written = stream.write_all(&next);
        is_begun = written.is_ok();
        written
    })
}

/// Frames that say how much there will be, and of which little comes.
pub(super) fn huge_frames(peer: Peer) -> Round {
    let mut held = Held::new(100);
    Box::new(move || {
        held.write(&[0; 16]);
        held.fill(|| {
            let mut stream = peer.websocket()?;
            stream.write_all(&[0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])?;
            Ok(stream)
        })
    })
}

/// Frames that no client may send, one after another.
pub(super) fn broken_frames(peer: Peer) -> Round {
    let kinds: [&[u8]; 5] = [
        &[0xf1, 0x81, 1, 2, 3, 4, 5],
        &[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'],
        &[0x89, 0xfe, 0x01, 0x00, 1, 2, 3, 4],
        &[0x80, 0x81, 1, 2, 3, 4, 5],
        &[0x83, 0x80, 1, 2, 3, 4],
    ];
    let mut nth = 0;
    Box::new(move || {
        nth += 1;
        let mut stream = peer.websocket()?;
        stream.write_all(kinds[nth % kinds.len()])?;
        skim(&mut stream, 1_024)
    })
}
