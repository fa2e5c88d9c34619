//! Deltas in the format of Fossil: what makes one payload of another, as copies of pieces of it and what is new.
//!
//! A delta is text but for the new bytes in it: the length of what it makes, a line break, then for each piece either
//! `COUNT@OFFSET,` (that many bytes of the old one, from there) or `COUNT:` and as many bytes that follow, and at the end `SUM;`, a
//! checksum of the whole. Numbers are written in base 64.

mod apply;
mod create;

pub use apply::{DeltaError, apply_delta};
pub(crate) use create::Differ;

/// The digits of numbers, in their order.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// The sum of the bytes as 32-bit numbers, the highest byte first, the last one filled up with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.chunks(4).fold(0, |sum: u32, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES_MAX: usize = 1 << 20;

    fn delta(old: &[u8], new: &[u8], is_text: bool) -> Vec<u8> {
        Differ::default().delta(old, new, is_text)
    }

    /// What the reference makes of an old and a new payload.
    fn vectors() -> Vec<(Vec<u8>, Vec<u8>, &'static [u8])> {
        let board =
            |moves: &str| format!("{{\"board\":[\"x\",\"o\",{moves},\"players\":[\"ann\",\"bob\"]}}").into_bytes();
        let note =
            |title: &str| format!("{{\"42182fb2426340ac5fad4e511d8a2dc4\":{{\"title\":\"{title}\"}}}}\n").into_bytes();
        let (small, rest) = ("abcdefghijklmnopqrstuvwxyz", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        let bytes = |last: u8| (0..20).chain([last, 0xfe]).collect::<Vec<u8>>();
        vec![
            (b"".to_vec(), b"".to_vec(), b"0\n0:0;"),
            (b"".to_vec(), b"abc".to_vec(), b"3\n3:abc1XObC0;"),
            (b"line".to_vec(), b"little".to_vec(), b"6\n6:little3OocHp;"),
            (note("New note"), note("First note"), b"x\nj@0,E:First note\"}}\n5NpHA;"),
            (
                board("\"-\",\"-\",\"x\",\"o\"],\"turn\":\"x\",\"clock\":1200"),
                board("\"x\",\"-\",\"x\",\"o\"],\"turn\":\"o\",\"clock\":1193"),
                b"1J\nJ@0,P:x\",\"-\",\"x\",\"o\"],\"turn\":\"oB@h,3:193P@v,dIZvj;",
            ),
            ([small, rest].concat().into(), [rest, small].concat().into(), b"z\n_@Q,Q@0,1fUXOW;"),
            (vec![b'0'; 100], vec![b'0'; 120], b"1t\n1_@0,K@1G,2aeQMW;"),
            (bytes(0xff), bytes(0xfd), b"M\nK@0,2:\xfd\xfebAo8s;"),
        ]
    }

    #[test]
    fn what_the_reference_writes_is_understood_and_what_is_written_here_is_hardly_longer() {
        for (old, new, vector) in vectors() {
            assert_eq!(apply_delta(&old, vector, BYTES_MAX).as_ref(), Ok(&new), "{}", vector.escape_ascii());
            for is_text in [false, true] {
                let ours = delta(&old, &new, is_text);
                assert_eq!(apply_delta(&old, &ours, BYTES_MAX).as_ref(), Ok(&new), "{}", ours.escape_ascii());
                assert!(ours.len() <= vector.len() + 12, "{} beside {}", ours.escape_ascii(), vector.escape_ascii());
            }
        }
    }

    #[test]
    fn a_delta_of_another_payload_is_told_from_a_good_one() {
        let (old, new, vector) = vectors().swap_remove(3);
        let mut other = old.clone();
        other[5] ^= 1;
        assert_eq!(apply_delta(&other, vector, BYTES_MAX), Err(DeltaError::OtherBase));
        assert_eq!(apply_delta(&old[..20], vector, BYTES_MAX), Err(DeltaError::OtherBase));
        assert_eq!(apply_delta(&old, vector, new.len() - 1), Err(DeltaError::TooLarge));
        for end in 0..vector.len() {
            assert_eq!(apply_delta(&old, &vector[..end], BYTES_MAX), Err(DeltaError::Malformed), "{end}");
        }
        let loud = |delta: &[u8]| apply_delta(b"line", delta, BYTES_MAX);
        assert_eq!(loud(b"6\n6:little3OocHq;"), Err(DeltaError::OtherBase), "the sum is another");
        assert_eq!(loud(b"6\n6:little3OocHp;;"), Err(DeltaError::Malformed));
        assert_eq!(loud(b"2\n4@0,4@0,0;"), Err(DeltaError::Malformed), "more than it has announced");
        assert_eq!(loud(b"~~~~~~\n4@0,0;"), Err(DeltaError::Malformed), "no number of 32 bits");
        assert_eq!(loud(b"4\n4@3~~~~~,0;"), Err(DeltaError::OtherBase));
    }

    /// A text, and the same after some of it has been changed.
    fn edited() -> impl Strategy<Value = (String, String)> {
        let word =
            || prop_oneof!["[a-c]{1,4}", "[é-ê€]{1,3}", "[ \n\"]{1,2}", Just("the same again and again, ".to_owned())];
        let text = prop::collection::vec(word(), 0..60);
        (text.clone(), text, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
            |(old, other, from, to)| {
                let (from, to) = (from.index(old.len() + 1), to.index(old.len() + 1));
                let (from, to) = (from.min(to), from.max(to));
                let new = [&old[..from], &other[..other.len() / 8], &old[to..]].concat();
                (old.concat(), new.concat())
            },
        )
    }

    proptest! {
        #[test]
        fn a_delta_makes_the_new_payload_of_the_old_one(old: Vec<u8>, new: Vec<u8>, is_text: bool) {
            prop_assert_eq!(apply_delta(&old, &delta(&old, &new, is_text), BYTES_MAX), Ok(new));
        }

        #[test]
        fn the_delta_of_a_text_is_a_text((old, new) in edited(), is_text: bool) {
            let delta = delta(old.as_bytes(), new.as_bytes(), is_text);
            prop_assert_eq!(apply_delta(old.as_bytes(), &delta, BYTES_MAX), Ok(new.clone().into_bytes()));
            prop_assert!(!is_text || str::from_utf8(&delta).is_ok(), "{}", delta.escape_ascii());
            // Never much longer than the payload itself.
            prop_assert!(delta.len() <= new.len() + 30);
        }

        #[test]
        fn nothing_that_comes_as_a_delta_panics(old: Vec<u8>, delta in "[0-9A-Za-z_~@,:;\n]{0,40}", noise: Vec<u8>) {
            for delta in [delta.as_bytes(), &noise] {
                if let Ok(new) = apply_delta(&old, delta, 1_000) {
                    prop_assert!(new.len() <= 1_000);
                }
            }
        }

        #[test]
        fn what_is_half_a_delta_does_not_panic_either((old, new) in edited(), at: prop::sample::Index, byte: u8) {
            let mut delta = delta(old.as_bytes(), new.as_bytes(), true);
            let at = at.index(delta.len());
            delta[at] = byte;
            // It is refused, or the byte was that one before.
            if let Ok(made) = apply_delta(old.as_bytes(), &delta, BYTES_MAX) {
                prop_assert!(made.len() <= BYTES_MAX);
            }
        }
    }

    /// Payloads in which everything is alike, or nearly: what is compared is counted, not timed.
    #[test]
    fn the_work_is_bounded_by_the_length() {
        const BYTES: usize = 1 << 20;
        let pattern = |period: usize, mark: usize| -> Vec<u8> {
            (0..BYTES).map(|at| if at % mark == 0 { b'!' } else { b'a' + (at % period) as u8 }).collect()
        };
        for (old, new) in [
            (vec![b'a'; BYTES], vec![b'a'; BYTES - 1]),
            (pattern(1, 17), pattern(1, 19)),
            (pattern(3, 1_001), pattern(3, 997)),
            (pattern(16, 4_099), pattern(16, 4_091)),
        ] {
            let delta = delta(&old, &new, true);
            assert_eq!(apply_delta(&old, &delta, BYTES).as_ref(), Ok(&new));
        }
    }
}
