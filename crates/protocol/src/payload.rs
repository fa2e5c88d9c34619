//! What applications say to each other: bytes that are JSON for some clients and just bytes for others.

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::io::Write as _;

use super::json;

/// The payload of a publication.
///
/// Clients that speak JSON send JSON; clients that speak Protobuf may send any bytes, and get back exactly what was sent. Where
/// both meet in a room, JSON clients are given payloads that are not JSON as a string of base64.
///
/// # Examples
/// ```
/// use roomcast_protocol::Payload;
///
/// let shown = |payload: Payload| {
///     let mut out = Vec::new();
///     payload.write_json(&mut out);
///     String::from_utf8(out)
/// };
/// assert_eq!(shown(Payload::json("{\"t\":1}".into()))?, "{\"t\":1}");
/// assert_eq!(shown(Payload::opaque("{ \"t\": 1 }".into()))?, "{\"t\":1}");
/// assert_eq!(shown(Payload::opaque((&[0, 255]).as_slice().into()))?, "\"AP8=\"");
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Bytes,
    form: Form,
    /// See [`Publication::is_delta`](crate::Publication::is_delta); it stands here, where it takes no space.
    pub(crate) is_delta: bool,
}

/// What the bytes are to a client that speaks JSON; found out once, when they come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON that can stand in a frame as it is.
    Compact,
    /// JSON with white space between its tokens, which might end a frame in the middle.
    Loose,
    /// No JSON.
    Binary,
}

impl Payload {
    /// A payload that is compact JSON, without a raw newline.
    pub fn json(bytes: Bytes) -> Self {
        debug_assert!(!bytes.contains(&b'\n'), "a raw newline would end the frame in the middle of the payload");
        Self { bytes, form: Form::Compact, is_delta: false }
    }

    /// A payload that may be anything: looks whether it is JSON.
    pub fn opaque(bytes: Bytes) -> Self {
        let form = match str::from_utf8(&bytes) {
            Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => match json::is_compact(text) {
                true => Form::Compact,
                false => Form::Loose,
            },
            _ => Form::Binary,
        };
        Self { bytes, form, is_delta: false }
    }

    /// The bytes as they were sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it is JSON.
    pub fn is_json(&self) -> bool {
        self.form != Form::Binary
    }

    /// Whether it is a JSON object.
    pub fn is_json_object(&self) -> bool {
        self.is_json() && self.bytes.trim_ascii_start().starts_with(b"{")
    }

    /// What a client that speaks JSON is given.
    pub(crate) fn to_json(&self) -> Bytes {
        if self.form == Form::Compact {
            return self.to_bytes();
        }
        let mut out = Vec::new();
        self.write_json(&mut out);
        out.into()
    }

    /// Appends what a client that speaks JSON is given.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match (self.form, str::from_utf8(&self.bytes)) {
            (Form::Compact, _) => out.extend_from_slice(&self.bytes),
            (Form::Loose, Ok(text)) => json::compact_into(text, out),
            (Form::Binary, _) | (Form::Loose, Err(_)) => {
                out.push(b'"');
                let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
                // Into a vector: cannot fail.
                let written = encoder.write_all(&self.bytes).and_then(|()| encoder.finish().map(drop));
                debug_assert!(written.is_ok(), "{written:?}");
                drop(encoder);
                out.push(b'"');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        Payload::opaque(Bytes::copy_from_slice(bytes)).write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_stays_json_and_everything_else_becomes_a_string() {
        assert_eq!(shown(b"[1,\"a b\"]"), "[1,\"a b\"]");
        assert_eq!(shown(b" {\n\"a\" : 1 }\r\n"), "{\"a\":1}");
        assert_eq!(shown(b"1 2"), "\"MSAy\"");
        assert_eq!(shown(b"{\"a\":"), "\"eyJhIjo=\"");
        assert_eq!(shown(b"\xff"), "\"/w==\"");
        assert_eq!(shown(b""), "\"\"");
    }

    proptest! {
        #[test]
        fn whatever_is_sent_keeps_its_bytes_and_shows_as_one_line_of_json(bytes: Vec<u8>) {
            let payload = Payload::opaque(bytes.clone().into());
            prop_assert_eq!(payload.as_bytes(), &bytes[..]);
            let shown = shown(&bytes);
            prop_assert!(!shown.contains('\n'));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{}", shown);
        }
    }
}
