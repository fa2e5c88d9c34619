//! What every answer says to browsers: what a document of ours may do, and what others may do with it.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::net::http::Refusal;

/// What the page may do: load and connect to what comes from here, nothing else. Styles and scripts are files, never inline.
const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; \
     object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Any other answer is no document: should a browser take it for one, it does nothing.
const NO_PAGE_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// On every answer, whatever it is.
const ON_ALL: [(&str, &str); 6] = [
    // It is what it says it is.
    ("x-content-type-options", "nosniff"),
    // Addresses here may name rooms and hold keys.
    ("referrer-policy", "no-referrer"),
    // Browsers that do not know `frame-ancestors`.
    ("x-frame-options", "DENY"),
    // No window of another page has a handle on one of ours.
    ("cross-origin-opener-policy", "same-origin"),
    // No other page loads it as a picture or script. Pages that may connect ask with CORS, which this does not concern.
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Puts them on an answer; `is_page` where it is part of the chat page.
pub(crate) fn protect(headers: &mut HeaderMap, is_page: bool) {
    for (name, value) in ON_ALL {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = if is_page { PAGE_POLICY } else { NO_PAGE_POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
}

/// A whole answer without the HTTP library, behind which the connection is closed; with other headers than those that it has anyway.
pub(crate) fn refused((status, advice): Refusal, others: &HeaderMap) -> Vec<u8> {
    let length = advice.len();
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n"
    )
    .into_bytes();
    answer.extend(lines(others));
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(advice.as_bytes());
    answer
}

/// The same for an answer that is written line by line, with other headers that it has.
pub(crate) fn lines(others: &HeaderMap) -> Vec<u8> {
    let mut all = HeaderMap::with_capacity(ON_ALL.len() + 1);
    protect(&mut all, false);
    let mut lines = Vec::new();
    for (name, value) in all.iter().chain(others) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[test]
    fn what_is_refused_without_the_http_library_says_as_much_as_any_answer() {
        let later = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("1"))]);
        let answer = refused((StatusCode::SERVICE_UNAVAILABLE, "come later\n"), &later);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert_eq!(body, "come later\n");
        let mut expected = HeaderMap::new();
        protect(&mut expected, false);
        for (name, value) in expected.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).chain([
            ("content-length", "11"),
            ("content-type", "text/plain; charset=utf-8"),
            ("connection", "close"),
            ("retry-after", "1"),
        ]) {
            assert!(head.lines().any(|line| line == format!("{name}: {value}")), "{name} {head}");
        }
    }
}
