//! The head of a request for a WebSocket.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| roomcast_server::fuzzing::handshake(input));
