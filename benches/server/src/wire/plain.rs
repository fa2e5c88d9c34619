//! A WebSocket per room: for servers that do nothing but fan out.

use roomcast_lab::protocol::Encoding;

use super::{Heard, Intent, centrifugo, number};
use crate::fault::Fault;

/// The path of a connection: `/join/ROOM` receives and may publish, `/publish/ROOM` publishes.
pub(super) fn path(intent: &Intent) -> String {
    let verb = if intent.joins { "join" } else { "publish" };
    format!("/{verb}/{}", intent.room)
}

/// Makes something of one message: a payload, `-N` for N messages that are gone, or a push that has an envelope.
pub(super) fn hear(message: &[u8], each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    match message.first() {
        Some(b'"') => each(Heard::Message { payload: message, offset: 0 }),
        Some(b'-') => match number(&message[1..]) {
            Some((missed, b"")) => each(Heard::Missed(missed)),
            _ => Err(Fault::Unexpected("a loss without a number")),
        },
        Some(b'{') => centrifugo::hear(Encoding::Json, message, each),
        _ => Err(Fault::Unexpected("a message that is no payload")),
    }
}

#[cfg(test)]
mod tests {
    use roomcast_lab::websocket;

    use super::super::Wire;
    use super::super::tests::heard;

    fn session(messages: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        websocket::write_response(websocket::KEY, &mut bytes);
        for message in messages {
            websocket::write(websocket::TEXT, None, &mut bytes, |out| out.extend_from_slice(message.as_bytes()));
        }
        bytes
    }

    #[test]
    fn payloads_and_losses_are_heard_however_they_arrive() {
        let bytes = session(&["\"abc\"", "-17", "\"d\""]);
        for piece in [1, 2, 3, 7, 1_000] {
            let all = heard(Wire::Plain, &bytes, piece).expect("sound");
            assert_eq!(all[1..], ["\"abc\" 0", "Missed(17)", "\"d\" 0"], "pieces of {piece}");
            assert!(all[0].starts_with("Ready"));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for message in ["-", "-1x", "abc"] {
            assert!(heard(Wire::Plain, &session(&[message]), 100).is_err(), "{message}");
        }
    }

    #[test]
    fn a_message_in_fragments_is_one() {
        let mut bytes = session(&[]);
        bytes.extend_from_slice(b"\x01\x03\"ab\x89\x00\x00\x01c\x80\x01\"");
        for piece in [1, 1_000] {
            let all = heard(Wire::Plain, &bytes, piece).expect("sound");
            assert_eq!(all[1..], ["FramePing", "\"abc\" 0"]);
        }
    }

    #[test]
    fn a_wrong_handshake_is_refused() {
        let mut bytes = Vec::new();
        websocket::write_response("another key", &mut bytes);
        assert!(heard(Wire::Plain, &bytes, 100).is_err());
        assert!(heard(Wire::Plain, b"HTTP/1.1 404 Not Found\r\n\r\n", 100).is_err());
    }
}
