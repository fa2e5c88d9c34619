//! What comes in requests of emulated clients: bodies that name a session, and addresses with commands in them.

use axum::http::Uri;
use bytes::Bytes;

use crate::net::http_stream::{Envelope, commands_in};
use roomcast_protocol::{Command, Encoding, Limits, Request};

pub(super) fn check(input: &[u8]) {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        body(encoding, input);
    }
    address(input);
}

/// It says no more than it is long, and written down again the same.
fn body(encoding: Encoding, input: &[u8]) {
    let Some(envelope) = Envelope::read(encoding, Bytes::copy_from_slice(input)) else { return };
    assert!(envelope.data.len() <= input.len() && envelope.session.len() <= input.len(), "it has grown");
    let again = Envelope::read(encoding, envelope.write(encoding));
    assert_eq!(again.as_ref(), Some(&envelope), "it says something else when it is written down");
}

/// What an address asks for changes nothing.
fn address(input: &[u8]) {
    let limits = Limits::default();
    let Ok(uri) = Uri::try_from([b"/connection/sse?", input].concat()) else { return };
    let Ok(frame) = commands_in(&uri, &limits) else { return };
    assert!(frame.len() <= input.len(), "it has grown");
    let Ok(commands) = Encoding::Json.commands(&frame, &limits) else { return };
    for command in commands.map_while(Result::ok) {
        let Command { request, .. } = command;
        assert!(matches!(request, Request::Connect(_) | Request::Subscribe(_)), "{request:?}");
    }
}
