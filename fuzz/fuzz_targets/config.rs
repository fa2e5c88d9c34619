//! Configuration files.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| roomcast_server::fuzzing::config(input));
