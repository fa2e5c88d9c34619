//! Compression against the examples of RFC 7692, and against itself.

use super::*;
use crate::wire::ws::decoder::tests::frame as masked;
use crate::wire::ws::{Decoder, Event, FrameWriter, Opcode};
use proptest::prelude::*;

const DEFLATE: Deflate = Deflate { bytes_min: [0; 2], level: 1 };

fn options() -> Compression {
    Compression { enabled: true, ..Compression::default() }
}

fn answer_to(offers: &[&'static str]) -> Option<&'static str> {
    let mut headers = HeaderMap::new();
    for offer in offers {
        headers.append(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
    }
    Agreed::on(&headers, &options()).map(Agreed::answer)
}

const USUAL: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn offers_that_can_be_kept_are_agreed_to() {
    for offer in [
        "permessage-deflate",
        "Permessage-Deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=\"15\"",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate ; Server_No_Context_Takeover",
        "x-webkit-deflate-frame, permessage-deflate",
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        "permessage-deflate; unknown, permessage-deflate",
    ] {
        assert_eq!(answer_to(&[offer]), Some(USUAL), "{offer}");
    }
    assert_eq!(answer_to(&["other", "permessage-deflate"]), Some(USUAL), "in a line of its own");
    let named = answer_to(&["permessage-deflate; server_max_window_bits=15"]);
    assert_eq!(named, Some(&*format!("{USUAL}; server_max_window_bits=15")), "what is asked for is answered");
}

#[test]
fn offers_that_cannot_be_kept_are_not() {
    for offer in [
        "",
        "deflate",
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=14",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; what_comes_next",
        "permessage-deflate;",
    ] {
        assert_eq!(answer_to(&[offer]), None, "{offer}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("permessage-deflate"));
    assert_eq!(Agreed::on(&headers, &Compression::default()), None, "it is off unless somebody says otherwise");
}

/// The examples of section 7.2.3 that stand alone: fixed and dynamic codes, stored, ended by a last block, in two blocks.
#[test]
fn the_examples_of_the_rfc_are_read() {
    for packed in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        assert_eq!(inflate(packed, 5).as_deref(), Ok(&b"Hello"[..]), "{packed:x?}");
        assert_eq!(inflate(packed, 4), Err(FrameError::TooLarge), "{packed:x?}");
    }
    assert_eq!(inflate(&[0x00], 0).as_deref(), Ok(&b""[..]), "an empty message");
    // The second message of an example with a context that is kept refers to the first.
    assert_eq!(inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 100), Err(FrameError::NotDeflated));
}

#[test]
fn what_was_cut_or_changed_is_told_from_a_whole_message() {
    let text = "a text with some redundance, a text with some more".repeat(20);
    let packed = packed(text.as_bytes());
    for cut in 0..packed.len() {
        let read = inflate(&packed[..cut], 10_000);
        assert_eq!(read, Err(FrameError::NotDeflated), "cut at {cut} of {}", packed.len());
    }
    assert_eq!(inflate(&[0xff; 10], 100), Err(FrameError::NotDeflated), "a block of no kind");
    let more = [&packed[..], &[0x07]].concat();
    assert_eq!(inflate(&more, 10_000), Err(FrameError::NotDeflated));
}

#[test]
fn last_blocks_without_end_are_not_read() {
    // An empty last block, again and again.
    let read = |blocks| inflate(&[&[0x03, 0x00].repeat(blocks)[..], &[0x00]].concat(), 100);
    assert_eq!(read(ENDS_MAX).as_deref(), Ok(&b""[..]));
    assert_eq!(read(ENDS_MAX + 1), Err(FrameError::NotDeflated));
}

#[test]
fn of_a_bomb_no_more_is_made_than_the_limit() {
    let bomb = packed(&vec![b' '; 16 * 1024 * 1024]);
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    for limit in [0, 1, 1_000, 65_536] {
        assert!(inflate(&bomb, limit) == Err(FrameError::TooLarge), "{limit}");
    }
    for limit in [1_023, 1_024, 1_025, 65_536, 100_000] {
        let whole = inflate(&packed(&vec![b' '; limit]), limit).expect("it is as long as it may be");
        assert_eq!(whole.len(), limit);
        assert!(whole.capacity() <= limit + 1, "{} bytes for {limit}", whole.capacity());
    }
}

fn packed(message: &[u8]) -> Vec<u8> {
    let mut buffer = message.to_vec();
    let (is_smaller, read) = DEFLATE.shrink(&mut buffer, 0);
    assert_eq!((is_smaller, read), (true, message.len()));
    buffer
}

#[test]
fn short_messages_and_those_that_do_not_become_smaller_go_as_they_are() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(10_000)
    .collect();
    let mut buffer = noise.clone();
    assert_eq!(DEFLATE.shrink(&mut buffer, 0), (false, noise.len()));
    assert!(buffer == noise);
    let short = Deflate { bytes_min: 20_u16.to_ne_bytes(), level: 1 };
    for (bytes, expected) in [(0, false), (19, false), (20, true)] {
        let mut buffer = [&b"head"[..], &vec![b'a'; bytes]].concat();
        assert_eq!(short.shrink(&mut buffer, 4).0, expected, "{bytes}");
        assert!(buffer.starts_with(b"head"));
    }
}

#[test]
fn the_same_message_becomes_the_same_bytes_whatever_came_before() {
    let message = "the same as for everybody else, the same as ever".repeat(3);
    let first = packed(message.as_bytes());
    for before in ["", "the same as for everybody else, the same as ever, and more"] {
        if !before.is_empty() {
            packed(before.repeat(2_000).as_bytes());
        }
        assert_eq!(packed(message.as_bytes()), first);
    }
}

fn decode_all(mut input: Vec<u8>, limit: usize) -> Result<Vec<Vec<u8>>, FrameError> {
    let (mut decoder, mut used, mut seen) = (Decoder::default(), 0, Vec::new());
    while used < input.len() {
        let (read, event) = decoder.decode(&mut input[used..], limit, true)?;
        used += read;
        match event {
            Some(Event::Text(text)) => seen.push(text.into_owned().into_bytes()),
            Some(Event::Binary(bytes)) => seen.push(bytes.into_owned()),
            Some(Event::Ping(_)) | None => {}
            other => panic!("{other:?}"),
        }
    }
    Ok(seen)
}

#[test]
fn the_bit_stands_on_the_first_frame_of_a_message_alone() {
    const SAID: FrameError = FrameError::Protocol("a reserved bit");
    let message = packed(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    let (head, tail) = message.split_at(2);
    let whole = [masked(0x41, head), masked(0x89, b""), masked(0x80, tail)].concat();
    assert_eq!(decode_all(whole, 40), Ok(vec![vec![b'a'; 40]]));
    let twice = [masked(0x41, head), masked(0xc0, tail)].concat();
    assert_eq!(decode_all(twice, 40), Err(SAID), "on a continuation");
    for control in [0x88, 0x89, 0x8a] {
        assert_eq!(decode_all(masked(control | 0x40, b""), 40), Err(SAID), "{control:x}");
    }
    for bit in [0x20, 0x10] {
        assert_eq!(decode_all(masked(0x81 | bit, b"a"), 40), Err(SAID), "{bit:x}");
    }
    let plain_after = [masked(0xc1, &message), masked(0x81, b"b")].concat();
    assert_eq!(decode_all(plain_after, 40), Ok(vec![vec![b'a'; 40], b"b".to_vec()]));
    let mut without = Decoder::default();
    assert_eq!(without.decode(&mut masked(0xc1, &message), 40, false), Err(SAID), "where it was not agreed on");
    assert_eq!(decode_all(masked(0xc1, &packed(&[0xff; 30])), 40), Err(FrameError::NotUtf8));
    let long = vec![0; packed_bytes_max(40) + 1];
    assert_eq!(decode_all(masked(0xc2, &long), 40), Err(FrameError::TooLarge), "before it is read");
}

proptest! {
    #[test]
    fn messages_in_frames_come_back(
        messages in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3_000), 1..5),
        cuts in prop::collection::vec(1_usize..200, 1..8),
        level in 1_u8..=9,
    ) {
        let deflate = Deflate { bytes_min: [0; 2], level };
        let mut input = Vec::new();
        for message in &messages {
            let mut buffer = Vec::new();
            let frame = FrameWriter::begin(&mut buffer);
            buffer.extend_from_slice(message);
            frame.end_deflated(&mut buffer, Opcode::Binary, deflate);
            if message.is_empty() {
                prop_assert!(buffer.is_empty());
                continue;
            }
            let header = match buffer[1] { 126 => 4, 127 => 10, _ => 2 };
            let (first, mut rest) = (buffer[0], &buffer[header..]);
            for (nth, cut) in cuts.iter().chain([&usize::MAX]).enumerate() {
                let (part, behind) = rest.split_at((*cut).min(rest.len()));
                let opcode = if nth == 0 { first & 0x7f } else { 0 };
                input.extend(masked(opcode | if nth == cuts.len() { 0x80 } else { 0 }, part));
                rest = behind;
            }
        }
        let sent: Vec<_> = messages.into_iter().filter(|message| !message.is_empty()).collect();
        prop_assert_eq!(decode_all(input, 3_000), Ok(sent));
    }

    #[test]
    fn whatever_comes_makes_no_more_than_the_limit(input in prop::collection::vec(any::<u8>(), 0..300), limit in 0_usize..500) {
        if let Ok(whole) = inflate(&input, limit) {
            prop_assert!(whole.len() <= limit);
        }
    }
}
