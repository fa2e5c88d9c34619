//! What HTTP/1 says in lines and chunks, as HTTP/2 has it; and bodies of requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::RecvStream;
use hyper::body::{Body, Frame, SizeHint};

use crate::net::http::{HEAD_BYTES_MAX, HEADERS_MAX};

/// The body of a request, whose sender may go on as it is read.
#[derive(Debug)]
pub(super) struct Incoming(pub(super) RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.0.poll_data(cx).map(|data| {
            data.map(|data| {
                let data = data?;
                self.0.flow_control().release_capacity(data.len())?;
                Ok(Frame::data(data))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Joins the parts that a browser cuts its cookies into: whoever is told of them knows one line.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Headers that are about a connection of HTTP/1, and have no place in a stream.
const OF_CONNECTIONS: [&str; 5] = ["connection", "keep-alive", "transfer-encoding", "upgrade", "sec-websocket-accept"];

pub(super) fn drop_connection_headers(headers: &mut HeaderMap) {
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
}

/// The head of an answer that was written for HTTP/1.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    /// What follows is in chunks.
    pub(super) is_chunked: bool,
    /// Its bytes.
    pub(super) length: usize,
}

impl Head {
    /// Reads it, once it is whole.
    ///
    /// # Errors
    /// When it is none, or longer than any that is written here.
    pub(super) fn parse(said: &[u8]) -> Result<Option<Self>, &'static str> {
        const WRONG: &str = "the head of an answer cannot be read";
        let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut lines);
        let length = match head.parse(said) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if said.len() < HEAD_BYTES_MAX => return Ok(None),
            _ => return Err(WRONG),
        };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(WRONG)?;
        let mut response = Response::new(());
        *response.status_mut() = match status {
            // What it has switched to goes without saying.
            StatusCode::SWITCHING_PROTOCOLS => StatusCode::OK,
            other => other,
        };
        for line in head.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| WRONG)?;
            response.headers_mut().append(name, HeaderValue::from_bytes(line.value).map_err(|_| WRONG)?);
        }
        let is_chunked = response.headers().contains_key(header::TRANSFER_ENCODING);
        drop_connection_headers(response.headers_mut());
        Ok(Some(Self { response, is_chunked, length }))
    }
}

/// Takes what is in chunks out of them.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    held: BytesMut,
    /// Bytes of the chunk that have not come yet, with the line's end behind it.
    left: usize,
    is_over: bool,
}

/// The end of a line.
const LINE: &[u8] = b"\r\n";
/// More digits than the length of a chunk has here.
const CHUNK_HEAD_BYTES_MAX: usize = 16;

impl Chunks {
    /// Takes what has come.
    pub(super) fn push(&mut self, said: &[u8]) {
        self.held.extend_from_slice(said);
    }

    /// The next piece of what is in them; nothing when more is to come.
    ///
    /// # Errors
    /// When these are no chunks.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, &'static str> {
        const WRONG: &str = "the chunks of an answer cannot be read";
        while !self.is_over {
            if self.left > LINE.len() {
                if self.held.is_empty() {
                    return Ok(None);
                }
                let piece = self.held.split_to(self.held.len().min(self.left - LINE.len()));
                self.left -= piece.len();
                return Ok(Some(piece.freeze()));
            }
            if self.left > 0 {
                if self.held.len() < self.left {
                    return Ok(None);
                }
                self.held.advance(std::mem::take(&mut self.left));
            }
            let Some(end) = self.held.windows(LINE.len()).position(|two| two == LINE) else {
                return if self.held.len() <= CHUNK_HEAD_BYTES_MAX { Ok(None) } else { Err(WRONG) };
            };
            let digits = str::from_utf8(&self.held[..end]).map_err(|_| WRONG)?;
            let length = usize::from_str_radix(digits, 16).map_err(|_| WRONG)?;
            self.held.advance(end + LINE.len());
            self.is_over = length == 0;
            self.left = length.saturating_add(LINE.len());
        }
        Ok(None)
    }

    /// Whether the last one has come.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::framing::Framing;
    use roomcast_protocol::Encoding;

    #[test]
    fn a_head_of_http_1_becomes_one_of_a_stream() {
        let said = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-accept: x\r\nsec-websocket-protocol: centrifuge-json\r\n\r\nmore";
        assert!((0..said.len() - 4).all(|cut| Head::parse(&said[..cut]).unwrap().is_none()));
        let head = Head::parse(said).unwrap().unwrap();
        assert_eq!((head.response.status(), head.is_chunked, head.length), (StatusCode::OK, false, said.len() - 4));
        let headers: Vec<_> = head.response.headers().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(headers, ["sec-websocket-protocol"]);
        let said = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\nvary: origin\r\n\r\n";
        let head = Head::parse(said).unwrap().unwrap();
        assert!(head.is_chunked && head.response.headers().len() == 1);
        assert!(Head::parse(b"not http\r\n\r\n").is_err() && Head::parse(&[b'a'; HEAD_BYTES_MAX]).is_err());
    }

    #[test]
    fn what_is_in_chunks_comes_out_wherever_they_are_cut() {
        let framing = Framing::Stream(Encoding::Json);
        let mut said = Vec::new();
        for part in ["one", "two and more", "three"] {
            let envelope = framing.open(&mut said);
            framing.message(&mut said, true, |out| out.extend_from_slice(part.as_bytes()));
            envelope.seal(&mut said);
        }
        framing.write_disconnect(3001, "shutdown", &mut said);
        for size in 1..said.len() {
            let (mut chunks, mut out) = (Chunks::default(), Vec::new());
            for piece in said.chunks(size) {
                chunks.push(piece);
                while let Some(piece) = chunks.next().unwrap() {
                    out.extend_from_slice(&piece);
                }
            }
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with("one\ntwo and more\nthree\n{") && text.ends_with("}\n"), "{text}");
            assert!(chunks.is_over());
        }
        let mut wrong = Chunks::default();
        wrong.push(b"what is no length at all");
        assert!(wrong.next().is_err());
    }

    #[test]
    fn cookies_in_parts_are_one_line() {
        let mut headers = HeaderMap::new();
        for part in ["a=1", "b=2"] {
            headers.append(header::COOKIE, HeaderValue::from_static(part));
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
