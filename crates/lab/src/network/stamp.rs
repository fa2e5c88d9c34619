//! What a message over the network says about itself: text, so that both encodings carry the same bytes.
//!
//! A JSON string without escapes: a quote, sixteen letters to a digit: four for the publisher, nine for the sequence,
//! eleven for the time it was due; filler; a quote.

/// Whose message it is, which one of theirs, and when it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) source: usize,
    pub(super) sequence: u64,
    /// Nanoseconds of the run's clock; 0 when it is not timed.
    pub(super) due: u64,
}

const SOURCE: std::ops::Range<usize> = 1..5;
const SEQUENCE: std::ops::Range<usize> = 5..14;
const DUE: std::ops::Range<usize> = 14..25;

/// Appends the message of `stamp`, `bytes` long.
pub(super) fn write(stamp: Stamp, bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.max(DUE.end + 1), b'z');
    let message = &mut out[start..];
    message[0] = b'"';
    letters(stamp.source as u64, &mut message[SOURCE]);
    letters(stamp.sequence, &mut message[SEQUENCE]);
    letters(stamp.due, &mut message[DUE]);
    if let Some(last) = message.last_mut() {
        *last = b'"';
    }
}

/// Reads a message back; nothing when it is none.
#[inline]
pub(super) fn read(message: &[u8]) -> Option<Stamp> {
    if message.len() <= DUE.end || message[0] != b'"' {
        return None;
    }
    let source = number(&message[SOURCE])? as usize;
    Some(Stamp { source, sequence: number(&message[SEQUENCE])?, due: number(&message[DUE])? })
}

fn letters(number: u64, out: &mut [u8]) {
    let digits = out.len();
    for (place, letter) in out.iter_mut().enumerate() {
        *letter = b'a' + (number >> (4 * (digits - 1 - place)) & 15) as u8;
    }
}

#[inline]
fn number(letters: &[u8]) -> Option<u64> {
    let (mut number, mut wrong) = (0, 0);
    for letter in letters {
        let digit = letter.wrapping_sub(b'a');
        wrong |= digit & 0xf0;
        number = number << 4 | u64::from(digit & 15);
    }
    (wrong == 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for bytes in [0, 32, 33, 500] {
            for stamp in [
                Stamp { source: 0, sequence: 0, due: 0 },
                Stamp { source: 9_999, sequence: 1 << 35, due: 86_400 * 200_000_000 },
            ] {
                let mut out = b"before".to_vec();
                write(stamp, bytes, &mut out);
                assert_eq!(out.len(), 6 + bytes.max(26));
                assert_eq!(read(&out[6..]), Some(stamp));
                assert!(out.ends_with(b"\"") && !out.contains(&b'\\'));
            }
        }
        assert_eq!(read(b"\"hello\""), None);
        assert_eq!(read(&[b'A'; 64]), None);
    }
}
