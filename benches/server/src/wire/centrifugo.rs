//! The Centrifugo client protocol, as far as a benchmark speaks it: what it expects to hear, and nothing else.
//!
//! Whatever a room of a benchmark has no use for is an error, so nothing is overlooked.

use roomcast_lab::protocol::{Encoding, Heard as Said, PUBLISH_ID, Position};

use super::{Heard, Intent};
use crate::fault::Fault;

/// Connects, and subscribes if the intent is to join.
pub(super) fn write_commands(encoding: Encoding, intent: &Intent, out: &mut Vec<u8>) {
    encoding.connect(out);
    if !intent.joins {
        return;
    }
    if encoding == Encoding::Json {
        out.push(b'\n');
    }
    let since = intent.since.as_ref().map(|(epoch, offset)| Position { epoch: epoch.clone(), offset: *offset });
    encoding.subscribe(&intent.room, since.as_ref(), out);
}

/// Publishes; `number` counts what the connection publishes.
pub(super) fn write_publish(room: &str, number: u32, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    Encoding::Json.publish(room, PUBLISH_ID + number, payload, out);
}

/// Makes something of one message.
pub(super) fn hear(
    encoding: Encoding,
    message: &[u8],
    each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    encoding.hear(message, &mut |said| understand(said, each))
}

/// Makes something of what is whole at the beginning of a stream; how many bytes that was.
pub(super) fn hear_whole(
    encoding: Encoding,
    bytes: &[u8],
    each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    encoding.hear_whole(bytes, &mut |said| understand(said, each))
}

#[inline]
fn understand(said: Said<'_>, each: &mut impl FnMut(Heard<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    match said {
        Said::Message(_, 0) => Err(Fault::Unexpected("a publication without an offset")),
        Said::Message(payload, offset) => each(Heard::Message { payload, offset }),
        Said::Taken | Said::Left => each(Heard::Taken),
        Said::Ping => each(Heard::Ping),
        Said::Connected => each(Heard::Connected),
        Said::Joined { position, recovered } => {
            let position = position.as_ref().map(|position| (&*position.epoch, position.offset));
            each(Heard::Ready { position, recovered: recovered == Some(true) })
        }
        Said::Refused(why) => Err(Fault::Refused(why)),
        _ => Err(Fault::Unexpected("a push that nobody asked for")),
    }
}

#[cfg(test)]
mod tests {
    use roomcast_lab::websocket;

    use super::super::tests::heard;
    use super::super::{Heard, Wire};
    use super::*;

    fn heard_lines(lines: &str) -> Result<Vec<String>, Fault> {
        let mut all = Vec::new();
        hear(Encoding::Json, lines.as_bytes(), &mut |heard: Heard<'_>| {
            all.push(super::super::tests::told(&heard));
            Ok(())
        })?;
        Ok(all)
    }

    const PUSH: &str =
        r#"{"push":{"channel":"r-1","pub":{"data":"abc","info":{"user":"","client":"c"},"offset":7,"time":1}}}"#;

    #[test]
    fn a_frame_may_mix_replies_pushes_and_pings() {
        let frame = format!("{{\"id\":9,\"publish\":{{}}}}\n{PUSH}\n{{}}\n{PUSH}");
        assert_eq!(heard_lines(&frame).expect("sound"), ["Taken", "\"abc\" 7", "Ping", "\"abc\" 7"]);
    }

    #[test]
    fn lines_are_found_in_frames_that_are_split_over_reads() {
        let mut bytes = Vec::new();
        websocket::write_response(websocket::KEY, &mut bytes);
        for count in [1, 2, 40] {
            let frame = vec![PUSH; count].join("\n");
            websocket::write(websocket::TEXT, None, &mut bytes, |out| out.extend_from_slice(frame.as_bytes()));
        }
        websocket::write(websocket::CLOSE, None, &mut bytes, |out| out.extend_from_slice(&3008_u16.to_be_bytes()));
        for piece in [1, 13, 500, 100_000] {
            let all = heard(Wire::Centrifugo, &bytes, piece).expect("sound");
            assert_eq!((all.len(), &*all[0], &*all[44]), (45, "Welcome", "Close(Some(3008))"), "pieces of {piece}");
            assert!(all[1..44].iter().all(|message| message == "\"abc\" 7"));
        }
    }

    #[test]
    fn a_subscription_tells_its_position_and_what_it_recovered() {
        let plain = r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"qF","offset":43}}"#;
        assert_eq!(heard_lines(plain).expect("sound"), [r#"Ready { position: Some(("qF", 43)), recovered: false }"#]);
        let recovered = r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"qF","offset":43,"publications":[{"data":"a","offset":42},{"data":"b","info":{},"offset":43}],"was_recovering":true,"recovered":true}}"#;
        let last = r#"Ready { position: Some(("qF", 43)), recovered: true }"#;
        assert_eq!(heard_lines(recovered).expect("sound"), ["\"a\" 42", "\"b\" 43", last]);
    }

    #[test]
    fn errors_and_what_is_unknown_are_refused() {
        let error = r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#;
        assert_eq!(heard_lines(error), Err(Fault::Refused(error.to_owned())));
        for line in
            ["", "[]", r#"{"push":{"channel":"a","join":{}}}"#, r#"{"push":{"channel":"a","pub":{"offset":1}}}"#]
        {
            assert!(heard_lines(line).is_err(), "{line}");
        }
        let without = PUSH.replace("offset", "off");
        assert!(heard_lines(&without).is_err());
    }

    #[test]
    fn commands_are_lines_of_one_masked_frame() {
        let mut out = Vec::new();
        let since = Some(("qF".to_owned(), 5));
        let intent = Intent { room: "a".to_owned(), joins: true, since };
        Wire::Centrifugo.write_intent(&intent, [0; 4], &mut out);
        let text = String::from_utf8_lossy(&out[6..]).into_owned();
        assert_eq!(
            text,
            "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\",\"recover\":true,\"epoch\":\"qF\",\"offset\":5}}"
        );
    }
}
