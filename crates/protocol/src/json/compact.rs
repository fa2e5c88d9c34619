//! Takes the white space out of JSON.

use bytes::Bytes;
use memchr::memchr2;

/// Copies `json`, which must be valid, without the white space between its tokens.
///
/// Frames are split at newlines, and valid JSON can hold a raw newline between tokens only (in a string it must be
/// escaped), so the copy can be embedded in a frame as it is.
pub fn compact(json: &str) -> Bytes {
    if is_compact(json) {
        return Bytes::copy_from_slice(json.as_bytes());
    }
    let mut out = Vec::with_capacity(json.len());
    compact_into(json, &mut out);
    out.into()
}

/// Whether valid `json` holds no white space between its tokens.
pub(crate) fn is_compact(json: &str) -> bool {
    first_space(json.as_bytes()).is_none()
}

/// Appends what [`compact`] copies.
pub(crate) fn compact_into(json: &str, out: &mut Vec<u8>) {
    let mut rest = json.as_bytes();
    loop {
        let run = first_space(rest).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..run]);
        match rest.get(run + 1..) {
            Some(after) => rest = after,
            None => return,
        }
    }
}

/// The index of the first white space outside a string; `bytes` must start outside one.
fn first_space(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at + 1),
            b' ' | b'\n' | b'\r' | b'\t' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Where the string ends in which `at` lies: most of what people send is in strings.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        match bytes[at - 1] {
            b'"' => return at,
            // What is escaped ends nothing.
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_between_tokens_and_stays_in_strings() {
        for (loose, tight) in [
            ("1", "1"),
            (" \r\n\t{ } ", "{}"),
            ("{\"a b\" :\n [1 ,\t2 , \"c d\"]}", "{\"a b\":[1,2,\"c d\"]}"),
            (r#"{"a":" \" \\" , "b\\": "\\\" x"}"#, r#"{"a":" \" \\","b\\":"\\\" x"}"#),
            ("\"é \u{2028} x\" ", "\"é \u{2028} x\""),
        ] {
            assert_eq!(compact(loose), tight.as_bytes(), "{loose:?}");
        }
    }
}
