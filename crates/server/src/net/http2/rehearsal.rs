//! A connection on which nothing is served, for the fuzz target: what a stranger says is heard within the limits of every connection, and
//! each request is answered with next to nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http_body_util::BodyExt as _;

use super::message::{Incoming, drop_connection_headers, join_cookies};
use super::socket::Socket;
use super::{Streams, limits};
use crate::net::fast_upgrade::Opened;
use crate::wire::pipe::{PipeEnd, pipe};
use crate::wire::stream::Stream;

/// What was heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The headers of each request, in their order.
    pub(crate) requests: Vec<HeaderMap>,
    /// Bytes of all bodies.
    pub(crate) body_bytes: usize,
}

/// What is answered.
const ANSWER: &[u8] = &[b'a'; 2_000];

/// Hears all of it, to the end; the preface is part of it.
pub(crate) async fn hear(said: &[u8]) -> Heard {
    let heard = Rc::new(RefCell::new(Heard::default()));
    let (ours, theirs) = pipe();
    let opened = Opened::new(Bytes::new(), Stream::Piped(theirs), Duration::from_secs(1));
    // Who has said all takes all that is answered.
    let ours = Rc::new(ours);
    let taking = tokio::task::spawn_local({
        let ours = Rc::clone(&ours);
        async move { while !poll_fn(|cx| ours.poll_take(cx, usize::MAX)).await.is_empty() {} }
    });
    tokio::select! {
        () = serve(opened, &heard) => {}
        () = say(&ours, said) => {}
    }
    taking.abort();
    heard.take()
}

async fn say(ours: &PipeEnd, mut said: &[u8]) {
    while !said.is_empty() {
        poll_fn(|cx| ours.poll_write_ready(cx)).await;
        match ours.try_write(said) {
            Ok(written) => said = &said[written..],
            Err(_) => return,
        }
    }
    ours.shut();
    // The other side ends it.
    std::future::pending().await
}

async fn serve(opened: Opened, heard: &Rc<RefCell<Heard>>) {
    let streams = Streams::new();
    let opening = limits(true).handshake::<_, Bytes>(Socket::new(opened, &streams));
    let Ok(mut connection) = opening.await else { return };
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                tokio::task::spawn_local(answer(request, respond, Rc::clone(heard)));
            }
            () = streams.changed.notified() => {
                if streams.excess().is_some() {
                    return;
                }
            }
        }
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, heard: Rc<RefCell<Heard>>) {
    let (mut parts, incoming) = request.into_parts();
    heard.borrow_mut().requests.push(parts.headers.clone());
    join_cookies(&mut parts.headers);
    drop_connection_headers(&mut parts.headers);
    let mut body = Body::new(Incoming(incoming));
    while let Some(Ok(frame)) = body.frame().await {
        heard.borrow_mut().body_bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
    out.reserve_capacity(ANSWER.len());
    if let Some(Ok(bytes)) = poll_fn(|cx| out.poll_capacity(cx)).await {
        let _ = out.send_data(Bytes::from_static(&ANSWER[..bytes.min(ANSWER.len())]), true);
    }
}
