//! Close frames: which status codes may travel, and what a close payload holds.

use super::decoder::FrameError;

/// Reads the payload of a close frame: no code at all, or a code that may be sent and a reason in UTF-8.
pub(super) fn parse(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    match payload {
        [] => Ok(None),
        [_] => Err(FrameError::Protocol("a close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_travel(code) {
                return Err(FrameError::Protocol("a close code that must not be sent"));
            }
            match std::str::from_utf8(reason) {
                Ok(_) => Ok(Some(code)),
                Err(_) => Err(FrameError::NotUtf8),
            }
        }
    }
}

/// RFC 6455 section 7.4: 1004–1006 and 1015 are reserved for local use, 1016–2999 unassigned, below 1000 never used.
fn may_travel(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_travel_are_read_and_others_refused() {
        for code in [1000u16, 1001, 1003, 1007, 1009, 1011, 1014, 3000, 3501, 4999] {
            assert_eq!(parse(&code.to_be_bytes()), Ok(Some(code)));
        }
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(matches!(parse(&code.to_be_bytes()), Err(FrameError::Protocol(_))), "{code} was accepted");
        }
    }

    #[test]
    fn a_close_payload_is_empty_or_a_code_with_a_utf8_reason() {
        assert_eq!(parse(b""), Ok(None));
        assert!(matches!(parse(b"\x03"), Err(FrameError::Protocol(_))));
        assert_eq!(parse(b"\x03\xe8bye"), Ok(Some(1000)));
        assert_eq!(parse(b"\x03\xe8\xff"), Err(FrameError::NotUtf8));
    }
}
