//! What every answer says to browsers: what a document of ours may do, and what others may do with it.

use axum::http::{HeaderMap, HeaderValue, header};

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
