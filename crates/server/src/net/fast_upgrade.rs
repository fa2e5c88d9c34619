//! The way in: most who come ask for a WebSocket in one piece, and are let in at once; everybody else is HTTP's.
//!
//! HTTP buffers, parses, routes and spawns for every request. For a handshake that arrived whole that is most of what a
//! connection costs, and leaves holes in the heap where its buffers were.

use std::cell::Cell;
use std::future::Future as _;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Front;
use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::config::HTTP_2;
use crate::net::admission::Purpose;
use crate::net::answer_headers;
use crate::net::arrival::{Arrival, Peer};
use crate::net::http;
use crate::net::http::{GOES_ELSEWHERE, HEAD_TIMEOUT, HEADERS_MAX, WEBSOCKET_PATH};
use crate::net::{http2, proxy_protocol, refusal};
use crate::rooms::hub::Hub;
use crate::wire::stream::Stream;
use crate::wire::ws::Handshake;

/// Serves an accepted connection until it ends, or has become a WebSocket, which lives on by itself. Says when it is
/// no newcomer any more.
pub(crate) async fn serve(
    front: Rc<Front>,
    shard: Rc<Shard>,
    stream: Stream,
    mut arrival: Arrival,
    mut socket: SocketGuard,
    is_newcomer: &Cell<bool>,
) {
    let mut draining = shard.draining.clone();
    if arrival.way.expects_header {
        // In a box, as what follows: most who come by here need none of it.
        let named = Box::pin(named_client(&stream, &arrival));
        let named = tokio::select! {
            named = named => named,
            _ = draining.wait_for(|draining| *draining) => None,
        };
        let Some(peer) = named else { return };
        arrival.peer = peer;
        if let Some(Err(_)) = peer.ip().map(|address| socket.came_from(address)) {
            return;
        }
    }
    let stream = match (stream, &arrival.way.tls) {
        (Stream::Tcp(socket), Some(certificates)) => {
            let config = Arc::clone(&shard.hub.now().config);
            let address = shard.hub.connections.counted(arrival.connected_from());
            let shaken = front.handshakes.shake(socket, certificates.config(), address, &config.http_server);
            let shaken = Box::pin(shaken);
            let shaken = tokio::select! {
                shaken = shaken => shaken,
                _ = draining.wait_for(|draining| *draining) => None,
            };
            let Some(shaken) = shaken else { return };
            Stream::Tls(Box::new(shaken))
        }
        (stream, _) => stream,
    };
    // Over TLS it was agreed on; without it, whoever begins by it is taken at its word.
    let speaks_http2 = matches!(&stream, Stream::Tls(stream) if stream.protocol_is(HTTP_2));
    let may_begin_http2 = !matches!(stream, Stream::Tls(_))
        && arrival.way.role.serves_clients()
        && shard.hub.now().config.http_server.h2c_external;
    let take = |said: &[u8]| {
        if speaks_http2 || may_begin_http2 && http2::is_begun_by(said) {
            FirstRead::Http2(Bytes::copy_from_slice(said))
        } else if arrival.way.role.serves_clients() {
            hear(&front, &shard.hub, &arrival, said)
        } else {
            FirstRead::Other(Bytes::copy_from_slice(said))
        }
    };
    let said = tokio::select! {
        said = tokio::time::timeout(HEAD_TIMEOUT, first_read(&shard, &stream, take)) => said.ok().flatten(),
        _ = draining.wait_for(|draining| *draining) => None,
    };
    match said {
        None => {}
        // In a box: HTTP's state is large, and most who come never need it.
        Some(FirstRead::Other(said)) => {
            let opened = Opened::new(said, stream, shard.hub.now().config.client.write_timeout);
            Box::pin(http::serve(front, shard, opened, arrival, socket)).await;
        }
        Some(FirstRead::Http2(said)) => {
            let opened = Opened::new(said, stream, shard.hub.now().config.client.write_timeout);
            // Clients are in it.
            is_newcomer.set(false);
            Box::pin(http2::serve(front, shard, opened, arrival, socket)).await;
        }
        Some(FirstRead::WebSocket { .. }) if shard.hub.is_settled() => {
            // Whoever takes none of it learns by the end.
            let _ = stream.try_write(&answer_headers::refused(GOES_ELSEWHERE, &HeaderMap::new()));
        }
        Some(FirstRead::WebSocket { handshake, user, headers, address, behind }) => {
            if let Some(Err(excess)) = address.map(|address| socket.came_from(address)) {
                // Whoever takes none of it learns by the end.
                let _ = stream.try_write(&refusal::answer(excess));
                return;
            }
            let head = handshake.head();
            match stream.try_write(&head) {
                Ok(n) if n == head.len() => {
                    let framing = handshake.framing();
                    let head = Vec::new();
                    let takeover = Takeover { framing, head, unanswered: None, frame: None, behind, user, headers };
                    Connection::start(&shard, stream, takeover, socket);
                }
                // A socket that has no room for its first line is on its way out.
                _ => tracing::debug!("a client was gone before it was answered"),
            }
        }
    }
}

/// For whom a proxy has connected; nobody where it is no proxy that is believed, or does not say so in time.
async fn named_client(stream: &Stream, arrival: &Arrival) -> Option<Peer> {
    let peer = arrival.peer;
    if !arrival.way.proxies.are(peer) {
        tracing::warn!(?peer, "refused a connection: it comes from none of `http_server.trusted_proxies`");
        return None;
    }
    match tokio::time::timeout(HEAD_TIMEOUT, proxy_protocol::take(stream)).await {
        Ok(Ok(client)) => Some(client.map_or(peer, Peer::Tcp)),
        Ok(Err(error)) => {
            tracing::warn!(?peer, %error, "refused a connection: it does not begin with a PROXY header");
            None
        }
        Err(_) => None,
    }
}

/// What is said first, as `take` takes it; nothing when the socket has ended.
async fn first_read(shard: &Shard, stream: &Stream, take: impl Fn(&[u8]) -> FirstRead) -> Option<FirstRead> {
    loop {
        stream.readable().await.ok()?;
        let mut buffer = shard.scratch.take_read_buffer();
        let read = stream.try_read(&mut buffer);
        let said = read.as_ref().ok().filter(|n| **n > 0).map(|n| take(&buffer[..*n]));
        shard.scratch.return_read_buffer(buffer);
        match read {
            // A socket may be called readable that is not; and what has come over TLS may be nothing to read.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                tokio::task::yield_now().await;
            }
            _ => return said,
        }
    }
}

/// What somebody said first.
enum FirstRead {
    /// A handshake, and what came behind it.
    WebSocket {
        handshake: Handshake,
        user: Option<String>,
        headers: Option<Box<HeaderMap>>,
        /// Where a proxy says that it comes from.
        address: Option<IpAddr>,
        behind: Bytes,
    },
    /// Something else, or a part of something.
    Other(Bytes),
    /// HTTP/2, or the beginning of it.
    Http2(Bytes),
}

fn hear(front: &Front, hub: &Hub, arrival: &Arrival, said: &[u8]) -> FirstRead {
    let websocket = handshake_of(said).and_then(|(headers, bytes)| {
        let mut handshake = Handshake::parse(&Method::GET, None, &headers).ok()?;
        let admission = front.admission(hub);
        admission.admit(Purpose::Connect, Version::HTTP_11, None, &headers).ok()?;
        let user = admission.user(&headers);
        let address = arrival.forwarded_address(&headers);
        let now = hub.now();
        handshake.negotiate(&headers, &now.config.websocket.compression);
        let headers = now.callbacks.keep_headers(&headers);
        let behind = Bytes::copy_from_slice(&said[bytes..]);
        Some(FirstRead::WebSocket { handshake, user, headers, address, behind })
    });
    websocket.unwrap_or_else(|| FirstRead::Other(Bytes::copy_from_slice(said)))
}

/// The headers of a request for a WebSocket that is there in one piece, and how long its head is.
pub(crate) fn handshake_of(said: &[u8]) -> Option<(HeaderMap, usize)> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let httparse::Status::Complete(bytes) = request.parse(said).ok()? else { return None };
    if request.method != Some("GET") || request.path != Some(WEBSOCKET_PATH) || request.version != Some(1) {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some((headers, bytes))
}

/// A connection of which something has been read already, and that is not held for somebody who takes nothing of it.
#[derive(Debug)]
pub(crate) struct Opened {
    said: Bytes,
    stream: Stream,
    /// How long it may be full without taking anything.
    write_timeout: Duration,
    /// Runs while it is full.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Opened {
    pub(crate) fn new(said: Bytes, stream: Stream, write_timeout: Duration) -> Self {
        Self { said, stream, write_timeout, stalled: None }
    }

    /// What the socket did, or that it was full for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let write_timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_timeout)));
        stalled.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
    }

    /// See [`Stream::notice_silence`].
    pub(crate) fn notice_silence(&self, within: Duration) {
        self.stream.notice_silence(within);
    }

    /// The bare socket, and what is to be read before it.
    pub(crate) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.said)
    }
}

impl AsyncRead for Opened {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let taken = self.said.len().min(buffer.remaining());
        buffer.put_slice(&self.said[..taken]);
        self.said.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Opened {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /connection/websocket HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn only_a_whole_request_for_a_websocket_is_one() {
        let (headers, bytes) = handshake_of(format!("{REQUEST}more").as_bytes()).expect("it is whole");
        assert_eq!((headers["upgrade"].as_bytes(), bytes), (&b"websocket"[..], REQUEST.len()));
        assert!(handshake_of(&REQUEST.as_bytes()[..REQUEST.len() - 1]).is_none(), "the end may come later");
        for other in [
            REQUEST.replace("GET", "POST"),
            REQUEST.replace("/connection/websocket", "/"),
            REQUEST.replace("HTTP/1.1", "HTTP/1.0"),
            "\u{1}\u{2}".to_owned(),
            format!("GET /connection/websocket HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1)),
        ] {
            assert!(handshake_of(other.as_bytes()).is_none(), "{other}");
        }
    }
}
