//! What the fuzzer has found worth keeping, and random bytes, through the same assertions.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// Runs every file of the target's corpus, and says which one failed.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("a corpus") {
        let path = entry.expect("its files").path();
        let input = fs::read(&path).expect("a file of it");
        let outcome = std::panic::catch_unwind(|| check(&input));
        assert!(outcome.is_ok(), "{} does not pass, see above", path.display());
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
}

#[test]
fn the_corpus_of_frames_passes() {
    replay("frames", super::frames);
}

#[test]
fn the_corpus_of_requests_to_the_api_passes() {
    replay("api", super::api);
}

#[test]
fn the_corpus_of_configurations_passes() {
    replay("config", super::config);
}

#[test]
fn the_corpus_of_handovers_passes() {
    replay("handover", super::handover);
}

#[test]
fn the_corpus_of_emulated_clients_passes() {
    replay("emulation", super::emulation);
}

#[test]
fn the_corpus_of_handshakes_passes() {
    replay("handshake", super::handshake);
}

#[test]
fn the_corpus_of_http2_passes() {
    replay("http2", super::http2);
}

#[test]
fn the_corpus_of_json_passes() {
    replay("json", super::json);
}

#[test]
fn the_corpus_of_protobuf_passes() {
    replay("protobuf", super::protobuf);
}

#[test]
fn the_corpus_of_proxy_headers_passes() {
    replay("proxy", super::proxy);
}

#[test]
fn the_corpus_of_sessions_passes() {
    replay("session", super::session);
}

#[test]
fn the_corpus_of_tls_passes() {
    replay("tls", super::tls);
}

#[test]
fn the_corpus_of_tokens_passes() {
    replay("token", super::token);
}

proptest! {
    #[test]
    fn random_bytes_pass_as_well(input in prop::collection::vec(any::<u8>(), 0..300)) {
        super::api(&input);
        super::config(&input);
        super::emulation(&input);
        super::frames(&input);
        super::handover(&input);
        super::handshake(&input);
        super::http2(&input);
        super::json(&input);
        super::protobuf(&input);
        super::proxy(&input);
        super::session(&input);
        super::tls(&input);
        super::token(&input);
    }

    /// Bytes that are not wholly random: after connecting, whatever the steps say.
    #[test]
    fn random_courses_pass_as_well(bits: [u8; 2], steps in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let connect = [0, 2, 0, 19, 0, 1];
        super::session(&[&bits[..], &connect, &steps].concat());
    }

    /// Courses in which a backend is asked and keys are fetched, as the bits of their settings say.
    #[test]
    fn random_courses_with_a_backend_pass_as_well(
        bits: u8,
        more in 32_u8..,
        (who, top) in (0_u8..16, 0_u8..5),
        steps in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let (connect, answer) = ([0, 2, 0, 19, who, 1], [8, 0, top, 0]);
        super::session(&[&[bits, more][..], &connect, &answer, &steps].concat());
    }
}
