//! A connection of HTTP/2: whatever its frames say, it ends, and nothing grows beyond what was said and what one may say.

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::source::Source;
use crate::net::http::HEAD_BYTES_MAX;
use crate::net::http2::{PREFACE, rehearsal};

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// How a header counts, beside its name and value (RFC 9113, section 6.5.2).
const HEADER_BYTES_MORE: usize = 32;

pub(super) fn check(input: &[u8]) {
    let mut source = Source::new(input);
    let said = match source.byte() % 2 {
        0 => source.rest().to_vec(),
        _ => frames(source),
    };
    let said = [PREFACE, &said].concat();
    let heard = RUNTIME.with(|runtime| LocalSet::new().block_on(runtime, rehearsal::hear(&said)));
    assert!(heard.body_bytes <= said.len(), "bodies are longer than all that was said");
    for headers in &heard.requests {
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES_MORE).sum();
        assert!(bytes <= HEAD_BYTES_MAX, "{bytes} bytes of headers");
    }
}

/// Frames as the input describes them, each with the length that it has: kind, flags, stream, length, and so many bytes.
fn frames(mut source: Source<'_>) -> Vec<u8> {
    let mut said = Vec::new();
    while !source.is_empty() {
        let [kind, flags, stream, length] = [0; 4].map(|_| source.byte());
        let payload = source.take(usize::from(length));
        said.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        said.extend_from_slice(&[kind % 12, flags]);
        said.extend_from_slice(&u32::from(stream).to_be_bytes());
        said.extend_from_slice(payload);
    }
    said
}
