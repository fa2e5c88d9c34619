//! Writes one JSON object, field by field, leaving out what is zero.

/// An object under construction. Names are ours and need no escapes; closing is explicit, since an object nested in
/// another one borrows the same buffer.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// Whether a field stands already, so that the next needs a comma.
    started: bool,
}

impl<'a> Object<'a> {
    pub(super) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, started: false }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    /// Begins a field of ours and lends the buffer for its value.
    pub(super) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        let out = self.key();
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
        self.value()
    }

    /// Begins a field and lends the buffer for its name, a whole JSON string; [`Self::value`] must follow.
    pub(super) fn key(&mut self) -> &mut Vec<u8> {
        if self.started {
            self.out.push(b',');
        }
        self.started = true;
        self.out
    }

    /// Lends the buffer for the value of the field whose name was just written.
    pub(super) fn value(&mut self) -> &mut Vec<u8> {
        self.out.push(b':');
        self.out
    }

    /// A nested object, filled by `fill`.
    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::open(self.field(name));
        fill(&mut object);
        object.close();
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        if value != 0 {
            number(value, self.field(name));
        }
    }

    /// A number that is written even when it is zero: clients read it without asking whether it is there.
    pub(super) fn always_number(&mut self, name: &str, value: u64) {
        number(value, self.field(name));
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.field(name).extend_from_slice(b"true");
        }
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            text(value, self.field(name));
        }
    }

    /// A text that is written even when it is empty.
    pub(super) fn always_text(&mut self, name: &str, value: &str) {
        text(value, self.field(name));
    }

    /// A payload, which is JSON already.
    pub(super) fn raw(&mut self, name: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.field(name).extend_from_slice(value);
        }
    }
}

/// Appends a decimal number.
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    // The largest number has 20 digits.
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a JSON string.
pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    text_of(value.as_bytes(), out);
}

/// The same of bytes that are known to be a text.
pub(super) fn text_of(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x00..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_texts_read_back(value: u64, string: String) {
            let mut out = Vec::new();
            number(value, &mut out);
            prop_assert_eq!(str::from_utf8(&out).unwrap(), value.to_string());
            out.clear();
            text(&string, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), string);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        text("\u{0}\u{1f}\n\"\\é\u{7f}", &mut out);
        assert_eq!(out, "\"\\u0000\\u001f\\n\\\"\\\\é\u{7f}\"".as_bytes());
    }

    #[test]
    fn zero_values_are_left_out() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.number("n", 0);
        object.flag("f", false);
        object.text("t", "");
        object.raw("r", None);
        object.close();
        assert_eq!(out, b"{}");
    }
}
