//! WebSocket frames from a client.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| roomcast_server::fuzzing::frames(input));
