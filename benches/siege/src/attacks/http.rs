//! Attacks by HTTP/1.1.

use std::io::Write as _;

use super::Round;
use super::peer::{Held, Peer, read_head, skim};

/// Heads that never end, byte by byte.
pub(super) fn slow_heads(peer: Peer) -> Round {
    let mut held = Held::new(300);
    Box::new(move || {
        held.write(b"a");
        for _ in 0..20 {
            held.fill(|| {
                let mut stream = peer.connect()?;
                stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")?;
                Ok(stream)
            })?;
        }
        Ok(())
    })
}

/// Heads that never end, as fast as they are taken.
pub(super) fn endless_heads(peer: Peer) -> Round {
    let fields: String = (0..1_000).map(|nth| format!("X-{nth}: {:01000}\r\n", 0)).collect();
    Box::new(move || {
        let mut stream = peer.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n")?;
        stream.write_all(fields.as_bytes())?;
        stream.write_all(b"\r\n")?;
        skim(&mut stream, 1_024)
    })
}

/// Bodies that never end, byte by byte.
pub(super) fn slow_bodies(peer: Peer) -> Round {
    let mut held = Held::new(200);
    Box::new(move || {
        held.write(b"1\r\n \r\n");
        for _ in 0..10 {
            held.fill(|| {
                let mut stream = peer.connect()?;
                let head = "POST /emulation HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes())?;
                Ok(stream)
            })?;
        }
        Ok(())
    })
}

/// Requests whose answers nobody takes.
pub(super) fn unread_answers(peer: Peer) -> Round {
    let requests = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(300);
    let mut held = Held::new(50);
    Box::new(move || {
        held.sift();
        held.fill(|| {
            let mut stream = peer.connect_narrowly()?;
            // As many as the server reads.
            let _ = stream.write_all(requests.as_bytes());
            Ok(stream)
        })
    })
}

/// Handshakes that are refused, with much that could be logged of each.
pub(super) fn long_origins(peer: Peer) -> Round {
    let origin = format!("Origin: http://{}\r\n", "o".repeat(15_000));
    Box::new(move || {
        let _ = peer.handshake(peer.connect()?, &origin);
        Ok(())
    })
}

/// Commands of clients that are not there.
pub(super) fn invented_sessions(peer: Peer) -> Round {
    let mut number = 0_u64;
    Box::new(move || {
        let mut stream = peer.connect()?;
        for _ in 0..20 {
            number += 1;
            let body = format!("{{\"session\":\"{number:032x}\",\"node\":\"{number:x}\",\"data\":\"{{}}\"}}");
            let length = body.len();
            let head = format!("POST /emulation HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all((head + &body).as_bytes())?;
            read_head(&mut stream)?;
        }
        Ok(())
    })
}

/// Clients of HTTP streaming that ask for much and take nothing.
pub(super) fn unread_streams(peer: Peer) -> Round {
    let commands: String =
        std::iter::once("{\"id\":1,\"connect\":{}}".to_owned())
            .chain((0..20).map(|nth| format!("\n{{\"id\":{},\"subscribe\":{{\"channel\":\"plain:{nth}\"}}}}", nth + 2)))
            .chain((0..20).map(|nth| {
                format!("\n{{\"id\":{},\"history\":{{\"channel\":\"plain:{nth}\",\"limit\":1000}}}}", nth + 32)
            }))
            .collect();
    let mut held = Held::new(50);
    Box::new(move || {
        held.sift();
        held.fill(|| {
            let mut stream = peer.connect_narrowly()?;
            let length = commands.len();
            let head = format!(
                "POST /connection/http_stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{commands}"
            );
            stream.write_all(head.as_bytes())?;
            Ok(stream)
        })
    })
}

/// Guesses the key of the server API.
pub(super) fn wrong_keys(peer: Peer) -> Round {
    let body = format!("{{\"channel\":\"a\",\"data\":\"{}\"}}", "x".repeat(60_000));
    let mut number = 0_u64;
    Box::new(move || {
        number += 1;
        let mut stream = peer.connect()?;
        let length = body.len();
        let head = format!(
            "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {number:032x}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        skim(&mut stream, 1_024)
    })
}

/// Bytes without a meaning.
pub(super) fn noise(peer: Peer) -> Round {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    Box::new(move || {
        let mut bytes = Vec::with_capacity(1_024);
        while bytes.len() < 1_024 {
            // Xorshift, by Marsaglia.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        let mut stream = peer.connect()?;
        stream.write_all(&bytes)?;
        skim(&mut stream, 1_024)
    })
}

/// Connections that go as soon as they are there.
pub(super) fn comers(peer: Peer) -> Round {
    Box::new(move || peer.connect().map(drop))
}
