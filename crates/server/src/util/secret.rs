//! Comparing secrets.

use std::hint::black_box;

/// Whether both are the same, in a time that says nothing of where they differ; of their lengths it does.
pub(crate) fn same_secret(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let pairs = one.iter().zip(other);
    pairs.fold(0_u8, |difference, (one, other)| black_box(difference | (one ^ other))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_when_every_byte_is() {
        assert!(same_secret(b"", b"") && same_secret(b"abc", b"abc"));
        for other in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!same_secret(b"abc", other));
        }
    }
}
