//! Writes one Protobuf message, field by field, leaving out what is zero.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// A message under construction, at the end of a buffer.
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
}

impl Fields<'_> {
    pub(super) fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            encode_key(tag, WireType::Varint, self.out);
            encode_varint(value, self.out);
        }
    }

    pub(super) fn flag(&mut self, tag: u32, value: bool) {
        self.number(tag, u64::from(value));
    }

    pub(super) fn text(&mut self, tag: u32, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    pub(super) fn bytes(&mut self, tag: u32, value: &[u8]) {
        if !value.is_empty() {
            encode_key(tag, WireType::LengthDelimited, self.out);
            encode_varint(value.len() as u64, self.out);
            self.out.extend_from_slice(value);
        }
    }

    /// A nested message, filled by `fill`; it is there even when it holds nothing.
    pub(super) fn message(&mut self, tag: u32, fill: impl FnOnce(&mut Fields<'_>)) {
        encode_key(tag, WireType::LengthDelimited, self.out);
        delimited(self.out, fill);
    }
}

/// Appends a message behind its length.
pub(super) fn delimited(out: &mut Vec<u8>, fill: impl FnOnce(&mut Fields<'_>)) {
    // The length is known at the end: one byte is kept free for it, and a longer message moves aside.
    let start = out.len();
    out.push(0);
    fill(&mut Fields { out });
    let body = start + 1;
    let length = out.len() - body;
    let prefix = encoded_len_varint(length as u64);
    if prefix > 1 {
        out.resize(out.len() + prefix - 1, 0);
        out.copy_within(body..body + length, start + prefix);
    }
    let mut place = &mut out[start..start + prefix];
    encode_varint(length as u64, &mut place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stands_behind_its_length_whatever_it_is() {
        for length in [0_usize, 1, 127, 128, 16_383, 16_384, 2_100_000] {
            let mut out = b"before".to_vec();
            delimited(&mut out, |fields| fields.out.resize(fields.out.len() + length, b'x'));
            let mut rest = &out[6..];
            assert_eq!(prost::decode_length_delimiter(&mut rest), Ok(length));
            assert_eq!(rest.len(), length);
            assert!(out.starts_with(b"before") && rest.iter().all(|byte| *byte == b'x'));
        }
    }

    #[test]
    fn zero_values_are_left_out_and_messages_are_not() {
        let mut out = Vec::new();
        delimited(&mut out, |fields| {
            fields.number(1, 0);
            fields.flag(2, false);
            fields.text(3, "");
            fields.bytes(4, b"");
            fields.message(5, |_| {});
            fields.number(300, 300);
        });
        assert_eq!(out, [6, 5 << 3 | 2, 0, 0xe0, 0x12, 0xac, 0x02]);
    }
}
