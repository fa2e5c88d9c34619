//! What a process is given by the one that it replaces.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| roomcast_server::fuzzing::handover(input));
