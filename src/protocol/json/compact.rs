//! Takes the white space out of JSON.

use bytes::Bytes;

/// Copies `json`, which must be valid, without the white space between its tokens.
///
/// Frames are split at newlines, and valid JSON can hold a raw newline between tokens only (in a string it must be
/// escaped), so the copy can be embedded in a frame as it is.
pub(super) fn compact(json: &str) -> Bytes {
    let bytes = json.as_bytes();
    let Some(first) = first_space(bytes) else {
        return Bytes::copy_from_slice(bytes);
    };
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((_space, after)) = rest.split_first() {
        let run = first_space(after).unwrap_or(after.len());
        out.extend_from_slice(&after[..run]);
        rest = &after[run..];
    }
    out.into()
}

/// The index of the first white space outside a string; `bytes` must start outside one.
fn first_space(bytes: &[u8]) -> Option<usize> {
    let mut in_string = false;
    let mut escaped = false;
    bytes.iter().position(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\n' | b'\r' | b'\t' => return !in_string,
            _ => {}
        }
        false
    })
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
