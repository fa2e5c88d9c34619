//! The decoder against hand-made frames: every rule it enforces, and the promise that cuts do not matter.

use super::*;
use proptest::prelude::*;

const LIMIT: usize = 1024;
const KEY: [u8; 4] = [0xa1, 0x02, 0x33, 0x7c];

/// A masked client frame with the shortest length.
pub(in crate::wire::ws) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..=125 => bytes.push(0x80 | n as u8),
        n => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(n as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(b, k)| b ^ k));
    bytes
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Failed(FrameError),
}

/// Everything the decoder says about `bytes` when they arrive in the given pieces.
fn decode_in<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Decoder) {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut used = 0;
        while used < piece.len() {
            match decoder.decode(&mut piece[used..], LIMIT, false) {
                Ok((read, event)) => {
                    assert!(read > 0 || event.is_some(), "no progress");
                    used += read;
                    seen.extend(event.map(|event| match event {
                        Event::Text(text) => Seen::Text(text.into_owned()),
                        Event::Binary(bytes) => Seen::Binary(bytes.into_owned()),
                        Event::Ping(bytes) => Seen::Ping(bytes.into_owned()),
                        Event::Pong => Seen::Pong,
                        Event::Close(code) => Seen::Close(code),
                    }));
                }
                Err(error) => {
                    seen.push(Seen::Failed(error));
                    return (seen, decoder);
                }
            }
        }
    }
    (seen, decoder)
}

fn decode(bytes: &[u8]) -> Vec<Seen> {
    decode_in([bytes]).0
}

fn assert_refused(bytes: &[u8], expected: &str) {
    match &decode(bytes)[..] {
        [Seen::Failed(FrameError::Protocol(found))] => assert_eq!(*found, expected),
        other => panic!("expected {expected:?}, saw {other:?}"),
    }
}

#[test]
fn control_frames_may_come_between_the_fragments_of_a_message() {
    let bytes = [
        frame(0x01, "grü".as_bytes()),
        frame(0x89, b"are you there"),
        frame(0x00, b""),
        frame(0x8a, b""),
        frame(0x80, b"n"),
        frame(0x82, b"\x00\xff"),
    ]
    .concat();
    assert_eq!(
        decode(&bytes),
        [
            Seen::Ping(b"are you there".to_vec()),
            Seen::Pong,
            Seen::Text("grün".into()),
            Seen::Binary(b"\x00\xff".to_vec()),
        ]
    );
}

#[test]
fn a_character_may_be_cut_by_fragments_but_must_be_whole_in_the_end() {
    let (head, tail) = "ü".as_bytes().split_at(1);
    assert_eq!(decode(&[frame(0x01, head), frame(0x80, tail)].concat()), [Seen::Text("ü".into())]);
    assert_eq!(decode(&[frame(0x01, head), frame(0x80, b"x")].concat()), [Seen::Failed(FrameError::NotUtf8)]);
    assert_eq!(decode(&frame(0x81, head)), [Seen::Failed(FrameError::NotUtf8)]);
}

#[test]
fn each_broken_rule_is_named() {
    assert_refused(&frame(0xc1, b""), "a reserved bit");
    assert_refused(&frame(0x83, b""), "a reserved opcode");
    assert_refused(&frame(0x8b, b""), "a reserved opcode");
    assert_refused(&[0x81, 0x01, b'x'], "a frame without a mask");
    assert_refused(&frame(0x09, b""), "a fragmented control frame");
    assert_refused(&frame(0x89, &[0; 126]), "a control frame over 125 bytes");
    assert_refused(&frame(0x80, b"x"), "a continuation of nothing");
    assert_refused(&[frame(0x01, b"a"), frame(0x81, b"b")].concat(), "a message within a message");
    assert_refused(&frame(0x88, b"\x03"), "a close frame of one byte");
    assert_refused(&frame(0x88, b"\x03\xee"), "a close code that must not be sent");
    assert_refused(&[0x81, 0xfe, 0, 5, 0, 0, 0, 0], "a length written too long");
    assert_refused(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], "a length written too long");
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header_alone() {
    assert_eq!(decode(&frame(0x81, &[b'x'; LIMIT])).len(), 1);
    let too_large = [Seen::Failed(FrameError::TooLarge)];
    assert_eq!(decode(&frame(0x81, &[b'x'; LIMIT + 1])[..8]), too_large);
    assert_eq!(decode(&[0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), too_large);
    // Also over its fragments, none of which is too large alone.
    let fragments = [frame(0x01, &[b'x'; LIMIT]), frame(0x80, b"y")].concat();
    assert_eq!(decode(&fragments), too_large);
}

#[test]
fn half_a_message_holds_what_arrived_and_no_more() {
    let bytes = frame(0x81, &[b'x'; LIMIT]);
    let (seen, decoder) = decode_in([&bytes[..20]]);
    assert_eq!(seen, []);
    assert!(!decoder.is_between_messages());
    assert!(decoder.pieces.as_ref().is_some_and(|pieces| pieces.data.capacity() <= 64));
    let (_, decoder) = decode_in([&bytes[..20], &bytes[20..]]);
    assert!(decoder.is_between_messages());
    assert!(decoder.pieces.is_none());
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => Just(0x81u8), 3 => Just(0x01), 3 => Just(0x80), 2 => Just(0x00), 2 => Just(0x82),
        2 => Just(0x89), 1 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        "[a-zü]{0,40}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
        (100usize..300).prop_map(|n| vec![b'x'; n]),
    ];
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        frames in prop::collection::vec(any_frame(), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = frames.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(decode_in(pieces).0, decode(&bytes));
        prop_assert_eq!(decode_in(bytes.chunks(1)).0, decode(&bytes));
    }

    #[test]
    fn no_bytes_make_it_panic_or_stall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes);
    }
}
