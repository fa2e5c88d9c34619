//! The header by which a proxy says for whom it has connected.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| roomcast_server::fuzzing::proxy(input));
