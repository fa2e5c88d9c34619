//! The answer to a request whose client only listens, until it is known which: an answer without end, or why there is none.

use std::sync::Arc;

use axum::http::StatusCode;

use crate::config::{CodeTransforms, HttpAnswer};
use crate::wire::disconnect::Disconnect;

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// The head of the answer without end.
    pub(crate) head: Vec<u8>,
    /// The lines of the other's head that every answer to this client has.
    pub(crate) lines: Vec<u8>,
    /// What the codes become with which it is refused.
    pub(crate) answers: CodeTransforms<HttpAnswer>,
    /// The error that its `connect` has come to, and what that is called.
    pub(crate) refused: Option<(u32, Arc<str>)>,
}

const INTERNAL_SERVER_ERROR: u16 = 500;

impl Unanswered {
    /// Appends the answer to a client that is not let in.
    pub(crate) fn write_refusal(&self, disconnect: &Disconnect, out: &mut Vec<u8>) {
        let of_disconnect = (u32::from(disconnect.code()), disconnect.reason());
        let (code, called) = self.refused.as_ref().map_or(of_disconnect, |(code, called)| (*code, called));
        let (status, body) = match self.answers.find(code) {
            Some(answer) if answer.body.is_empty() => (answer.status_code, called),
            Some(answer) => (answer.status_code, &*answer.body),
            None => (INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        // Of these nobody reads a body.
        let body = if matches!(status, 204 | 304) { "" } else { body };
        let called = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
        out.extend_from_slice(format!("HTTP/1.1 {status} {called}\r\nconnection: close\r\n").as_bytes());
        if status != 204 {
            out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        out.extend_from_slice(b"content-type: text/plain; charset=utf-8\r\n");
        out.extend_from_slice(&self.lines);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transform;
    use roomcast_protocol::CloseCode;

    fn refusal(refused: Option<(u32, Arc<str>)>, disconnect: CloseCode) -> String {
        let transforms = Arc::from([
            Transform::new(109, HttpAnswer::new(401, "fetch another")),
            Transform::new(3500, HttpAnswer::new(403, "")),
            Transform::new(3507, HttpAnswer::new(204, "nothing")),
        ]);
        let answers = CodeTransforms { enabled: true, transforms };
        let unanswered = Unanswered { head: Vec::new(), lines: b"vary: origin\r\n".to_vec(), answers, refused };
        let mut out = Vec::new();
        unanswered.write_refusal(&disconnect.into(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_code_has_its_answer_and_all_others_are_internal() {
        let expired = refusal(Some((109, "token expired".into())), CloseCode::Expired);
        assert!(
            expired.starts_with("HTTP/1.1 401 Unauthorized\r\n") && expired.contains("\r\nvary: origin\r\n"),
            "{expired}"
        );
        assert!(expired.contains("content-length: 13\r\n") && expired.ends_with("\r\n\r\nfetch another"), "{expired}");
        let invalid = refusal(None, CloseCode::InvalidToken);
        assert!(invalid.starts_with("HTTP/1.1 403 ") && invalid.ends_with("\r\n\r\ninvalid token"), "{invalid}");
        let empty = refusal(None, CloseCode::PermissionDenied);
        assert!(empty.starts_with("HTTP/1.1 204 ") && empty.ends_with("\r\n\r\n"), "{empty}");
        assert!(!empty.contains("content-length"), "{empty}");
        let other = refusal(Some((3500, "an error of that number".into())), CloseCode::Shutdown);
        assert!(other.starts_with("HTTP/1.1 403 "), "the error counts: {other}");
        assert!(refusal(None, CloseCode::Shutdown).starts_with("HTTP/1.1 500 "));
    }
}
