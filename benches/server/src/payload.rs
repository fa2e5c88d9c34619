//! What is published: text that proves whose it is, which one it is, and that it is whole.
//!
//! A payload is a JSON string without escapes, so that every contender carries the same bytes: a quote, a letter for the
//! publisher, seven hexadecimal digits of sequence, six of checksum, filler, a quote.

use std::fmt;

/// The smallest payload: one without filler.
pub const BYTES_MIN: usize = 16;

/// Publishers in one room that can be told apart.
pub const PUBLISHERS_MAX: usize = 26;

/// Sequences that seven digits can tell apart.
const SEQUENCES: u32 = 1 << 28;

const SEQUENCE_AT: usize = 2;
const CHECKSUM_AT: usize = 9;
const FILLER_AT: usize = 15;

/// Whose payload it is, and which one of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Publisher within its room.
    pub publisher: usize,
    /// Counted from 0 for each publisher.
    pub sequence: u32,
}

/// Why bytes are not a payload of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Too short, not quoted, or digits that are none.
    Shape,
    /// The checksum is of something else.
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "a message without the shape of a payload",
            Self::Checksum => "a message with a wrong checksum",
        })
    }
}

/// Appends the payload of `stamp`, `bytes` long.
///
/// # Panics
/// When there are no such payloads: too short, too many publishers, too many messages.
pub fn write(stamp: Stamp, bytes: usize, out: &mut Vec<u8>) {
    assert!(bytes >= BYTES_MIN && stamp.publisher < PUBLISHERS_MAX && stamp.sequence < SEQUENCES);
    let start = out.len();
    out.extend_from_slice(&[b'"', b'A' + stamp.publisher as u8]);
    write_hex(stamp.sequence, CHECKSUM_AT - SEQUENCE_AT, out);
    write_hex(0, FILLER_AT - CHECKSUM_AT, out);
    // The filler moves with the sequence, so that parts of two messages do not make up a third.
    let filler = bytes - BYTES_MIN;
    let from = stamp.sequence as usize % FILLER.len();
    out.extend(FILLER.iter().cycle().skip(from).take(filler));
    out.push(b'"');
    let sum = checksum(&out[start..]);
    for (digit, place) in out[start + CHECKSUM_AT..start + FILLER_AT].iter_mut().zip((0..6).rev()) {
        *digit = DIGITS[(sum >> (4 * place)) as usize & 15];
    }
}

/// Reads a payload and checks that it is whole.
///
/// # Errors
/// [`Damage`] when it is not.
pub fn read(payload: &[u8]) -> Result<Stamp, Damage> {
    let shaped = payload.len() >= BYTES_MIN && payload[0] == b'"' && payload[payload.len() - 1] == b'"';
    let publisher = payload.get(1).copied().unwrap_or_default().wrapping_sub(b'A');
    if !shaped || usize::from(publisher) >= PUBLISHERS_MAX {
        return Err(Damage::Shape);
    }
    let sequence = read_hex(&payload[SEQUENCE_AT..CHECKSUM_AT]).ok_or(Damage::Shape)?;
    let told = read_hex(&payload[CHECKSUM_AT..FILLER_AT]).ok_or(Damage::Shape)?;
    if told != checksum(payload) {
        return Err(Damage::Checksum);
    }
    Ok(Stamp { publisher: usize::from(publisher), sequence })
}

/// Over everything but the digits of the checksum, eight bytes at a time.
fn checksum(payload: &[u8]) -> u32 {
    let mut sum = SEED;
    let mut fold = |word: [u8; 8]| sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR).rotate_left(29);
    let (head, filler) = (&payload[..CHECKSUM_AT], &payload[FILLER_AT..]);
    let head = head.last_chunk().copied().unwrap_or_default();
    fold(head);
    let (words, rest) = filler.as_chunks::<8>();
    words.iter().for_each(|word| fold(*word));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(last);
    (sum >> 40) as u32
}

fn write_hex(number: u32, digits: usize, out: &mut Vec<u8>) {
    out.extend((0..digits).rev().map(|place| DIGITS[(number >> (4 * place)) as usize & 15]));
}

fn read_hex(digits: &[u8]) -> Option<u32> {
    let mut number = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u32::from(value);
    }
    Some(number)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const FILLER: &[u8; 64] = b"the quick brown fox jumps over the lazy dog and over the old cat";
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn made(sequence: u32, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        write(Stamp { publisher: 4, sequence }, bytes, &mut payload);
        payload
    }

    #[test]
    fn what_was_written_is_read_at_its_length() {
        for bytes in [16, 17, 128, 1_024] {
            for sequence in [0, 1, 63, 64, SEQUENCES - 1] {
                let payload = made(sequence, bytes);
                assert_eq!(payload.len(), bytes);
                assert_eq!(read(&payload), Ok(Stamp { publisher: 4, sequence }));
                assert!(payload[1..bytes - 1].iter().all(|byte| byte.is_ascii() && *byte != b'"' && *byte != b'\\'));
            }
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let payload = made(77, 128);
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn parts_of_two_messages_make_no_third() {
        let (mut one, other) = (made(1, 128), made(2, 128));
        one[64..].copy_from_slice(&other[64..]);
        assert_eq!(read(&one), Err(Damage::Checksum));
        assert_eq!(read(&other[..100]), Err(Damage::Shape));
        assert_eq!(read(b""), Err(Damage::Shape));
    }
}
