//! One stream of HTTP/2: a request and its answer, or a client's connection.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::body::Body as _;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::message::{Chunks, Head, Incoming, drop_connection_headers, join_cookies};
use super::{Counted, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, Streams};
use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::limits::memory::{Grow as _, Reservation, Share};
use crate::net::Front;
use crate::net::answer_headers;
use crate::net::arrival::Arrival;
use crate::net::http;
use crate::net::refusal::refusal;
use crate::net::upgrade::UpgradeSlot;
use crate::wire::pipe::{PIPE_BYTES, PipeEnd, pipe};
use crate::wire::stream::Stream as Socket;

/// What is taken of a client's output at once.
const PIECE_BYTES: usize = SEND_BUFFER_BYTES;

/// How much longer a stream may take nothing than a client whose connection it is: that one is told why it goes.
const LINGER: Duration = Duration::from_secs(5);

/// What a stream takes while its request is answered: its head, and what is made of it.
const STREAM_BYTES: u64 = 32 * 1024;
/// What it takes from then on: the answer's head, and what is known of the stream. No more of the answer is handed on than the client has
/// a window for, and what most ask for is the page, which is in memory once.
const ANSWERED_STREAM_BYTES: u64 = 4 * 1024;

/// What waits at most for a client that takes nothing, or of one that is not heard: in the stream and in the pipe.
const OUTGOING_BYTES_MAX: u64 = (SEND_BUFFER_BYTES + PIPE_BYTES) as u64;
const INCOMING_BYTES_MAX: u64 = STREAM_WINDOW_BYTES as u64 + PIPE_BYTES as u64;

/// How long it may wait where there is no memory for it.
const PATIENCE_WITHOUT_MEMORY: Duration = Duration::from_secs(1);

/// What it takes to serve a stream.
pub(super) struct Stream {
    pub(super) front: Rc<Front>,
    pub(super) shard: Rc<Shard>,
    pub(super) arrival: Arrival,
    pub(super) streams: Rc<Streams>,
}

/// Why a stream is over before all was said on it.
#[derive(Debug)]
enum Over {
    /// The client has reset it, or the connection is gone.
    Reset,
    /// The client takes nothing.
    Stalled,
    /// What was to be said cannot be.
    Wrong(&'static str),
}

impl From<h2::Error> for Over {
    fn from(_: h2::Error) -> Self {
        Self::Reset
    }
}

enum Answer {
    Response(Response<Body>),
    /// By a client that comes from there.
    TakenOver(Takeover, Option<IpAddr>),
}

impl Stream {
    pub(super) async fn serve(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, _counted: Counted) {
        let address = self.arrival.client_address(request.headers());
        let serves_clients = self.arrival.way.role.serves_clients();
        let counted_for = address.filter(|_| serves_clients);
        let mut memory = self.shard.hub.request_memory(counted_for, self.shard.now_ms());
        // The operator is let in where nobody else reaches.
        if !memory.grow(STREAM_BYTES) && serves_clients {
            self.shard.hub.metrics.refused.inc();
            tracing::warn!("refused a request: memory for requests, in all or of its address, used up");
            self.refuse(respond);
            return;
        }
        let is_head = request.method() == Method::HEAD;
        let (mut parts, incoming) = request.into_parts();
        join_cookies(&mut parts.headers);
        // What follows a CONNECT is no body.
        let (body, incoming) = match parts.method == Method::CONNECT {
            true => (Body::empty(), Some(incoming)),
            false => (Body::new(Incoming(incoming)), None),
        };
        let answered = self.answer(Request::from_parts(parts, body), &mut respond).await;
        let over = match answered {
            Err(over) => Err(over),
            Ok(Answer::Response(response)) => {
                memory.shrink_to(ANSWERED_STREAM_BYTES);
                let is_one_too_many = response.status() == StatusCode::TOO_MANY_REQUESTS;
                let sent = self.send(response, is_head, &mut respond).await;
                // Each costs as much as one that is taken back; but in a proxy's connection there are others.
                match is_one_too_many && !self.arrival.way.proxies.are(self.arrival.peer) {
                    true => sent.and(Err(Over::Reset)),
                    false => sent,
                }
            }
            Ok(Answer::TakenOver(takeover, address)) => {
                // From here on it is a client's, and counted as such.
                drop(memory);
                self.bridge(takeover, address, incoming, &mut respond).await
            }
        };
        match over {
            Ok(()) => self.streams.note_answer(),
            Err(Over::Reset) => self.streams.note_reset(),
            Err(Over::Stalled) => respond.send_reset(Reason::CANCEL),
            Err(Over::Wrong(what)) => {
                tracing::error!(shard = self.shard.index, what, "a stream of HTTP/2 was given up");
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }

    /// Says that the request is to come later, for which no memory is taken. It costs as much as one that is taken back.
    fn refuse(&self, mut respond: SendResponse<Bytes>) {
        let (mut parts, _) = http::refuse(http::NO_MEMORY).into_parts();
        answer_headers::protect(&mut parts.headers, false);
        if !self.arrival.way.proxies.are(self.arrival.peer) {
            self.streams.note_reset();
        }
        // A client that has gone is told nothing.
        let _ = respond.send_response(Response::from_parts(parts, ()), true);
    }

    /// Has the request answered, unless it is taken back before.
    async fn answer(&self, request: Request<Body>, respond: &mut SendResponse<Bytes>) -> Result<Answer, Over> {
        let slot = UpgradeSlot::default();
        let address = self.arrival.client_address(request.headers());
        let (front, hub) = (Rc::clone(&self.front), Arc::clone(&self.shard.hub));
        let mut answer = Box::pin(http::answer(front, hub, self.arrival.clone(), request, slot.clone()));
        poll_fn(|cx| {
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Over::Reset));
            }
            let polled = answer.as_mut().poll(cx);
            match slot.take() {
                Some(takeover) => Poll::Ready(Ok(Answer::TakenOver(takeover, address))),
                None => polled.map(|Ok(response)| Ok(Answer::Response(response))),
            }
        })
        .await
    }

    /// Sends an answer, as the client takes it.
    async fn send(
        &self,
        response: Response<Body>,
        is_head: bool,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Over> {
        let (mut parts, mut body) = response.into_parts();
        drop_connection_headers(&mut parts.headers);
        let has_body = !is_head && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let Some(bytes) = body.size_hint().exact().filter(|_| has_body) {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        let is_empty = !has_body || body.is_end_stream();
        let mut out = respond.send_response(Response::from_parts(parts, ()), is_empty)?;
        if is_empty {
            return Ok(());
        }
        let hub = &self.shard.hub;
        let memory = Waits::Reserved(&hub.rooms.memory.requests);
        let patience = Patience { time: hub.now().config.client.write_timeout, memory };
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(|_| Over::Wrong("a body ended early"))?;
            if let Ok(data) = frame.into_data() {
                send_all(&mut out, data, patience).await?;
            }
        }
        out.send_data(Bytes::new(), true)?;
        Ok(())
    }

    /// Lets the stream go on as a client's connection: what it writes for HTTP/1 is said here as HTTP/2 has it.
    async fn bridge(
        &self,
        takeover: Takeover,
        address: Option<IpAddr>,
        incoming: Option<RecvStream>,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Over> {
        // Beside the connection that it is in, it is one of its own.
        let place = match self.shard.hub.connections.admit(address, self.shard.now_ms()) {
            Ok(place) => place,
            Err(excess) => {
                let mut refused = http::refuse(refusal(excess));
                answer_headers::protect(refused.headers_mut(), false);
                return self.send(refused, false, respond).await;
            }
        };
        let (ours, clients) = pipe();
        let socket = SocketGuard::new(&self.shard, place);
        Connection::start(&self.shard, Socket::Piped(clients), takeover, socket);
        let (head, rest) = poll_until_reset(respond, read_head(&ours)).await??;
        let mut out = respond.send_response(head.response, false)?;
        let replies = &self.shard.hub.rooms.memory.replies;
        let time = self.shard.hub.now().config.client.write_timeout + LINGER;
        let patience = Patience { time, memory: Waits::Unreserved(replies) };
        let outgoing = write_out(&ours, &mut out, rest, head.is_chunked, patience);
        let ended = match incoming {
            None => outgoing.await,
            Some(mut incoming) => {
                let mut outgoing = std::pin::pin!(outgoing);
                tokio::select! {
                    biased;
                    ended = &mut outgoing => ended,
                    read = read_in(&ours, &mut incoming, replies) => match read {
                        // It has said all, and is still to be told the rest.
                        Ok(()) => outgoing.await,
                        Err(over) => Err(over),
                    },
                }
            }
        };
        match ended {
            // It was answered, and has gone as clients go.
            Err(Over::Reset) => Ok(()),
            ended => ended,
        }
    }
}

async fn poll_until_reset<T>(respond: &mut SendResponse<Bytes>, work: impl Future<Output = T>) -> Result<T, Over> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| match respond.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(Err(Over::Reset)),
        Poll::Pending => work.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// The head that a client is answered with, and what came behind it.
async fn read_head(ours: &PipeEnd) -> Result<(Head, Bytes), Over> {
    let mut said = Vec::new();
    loop {
        let more = poll_fn(|cx| ours.poll_take(cx, PIECE_BYTES)).await;
        if more.is_empty() {
            return Err(Over::Wrong("an answer has no head"));
        }
        said.extend_from_slice(&more);
        if let Some(head) = Head::parse(&said).map_err(Over::Wrong)? {
            let rest = Bytes::copy_from_slice(&said[head.length..]);
            return Ok((head, rest));
        }
    }
}

/// Sends what the connection writes, until it ends.
async fn write_out(
    ours: &PipeEnd,
    out: &mut SendStream<Bytes>,
    mut said: Bytes,
    is_chunked: bool,
    patience: Patience<'_>,
) -> Result<(), Over> {
    let mut chunks = Chunks::default();
    loop {
        if !is_chunked {
            send_all(out, said, patience).await?;
        } else {
            chunks.push(&said);
            while let Some(piece) = chunks.next().map_err(Over::Wrong)? {
                send_all(out, piece, patience).await?;
            }
            if chunks.is_over() {
                break;
            }
        }
        said = poll_fn(|cx| match out.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Over::Reset)),
            Poll::Pending => ours.poll_take(cx, PIECE_BYTES).map(Ok),
        })
        .await?;
        if said.is_empty() {
            break;
        }
    }
    out.send_data(Bytes::new(), true)?;
    Ok(())
}

/// Takes what the client sends, as the connection reads it.
///
/// What the connection does not read yet is kept here in one piece, of which there is no more than the window of the stream allows. h2
/// would keep it frame by frame, and end all streams of the connection for the small frames of one that is not read.
async fn read_in(ours: &PipeEnd, incoming: &mut RecvStream, replies: &Share) -> Result<(), Over> {
    let mut waiting = Waiting::default();
    poll_fn(|cx| {
        loop {
            waiting.take_all(incoming, cx)?;
            if waiting.bytes.is_empty() {
                if !waiting.is_all {
                    return Poll::Pending;
                }
                ours.shut();
                return Poll::Ready(Ok(()));
            }
            match ours.try_write(&waiting.bytes) {
                Ok(written) => {
                    waiting.has_passed(written);
                    incoming.flow_control().release_capacity(written)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    // It sends more than is heard of it.
                    if waiting.is_too_long(replies, cx) {
                        return Poll::Ready(Err(Over::Stalled));
                    }
                    ready!(ours.poll_write_ready(cx));
                }
                // The connection is over; what it has said last is still on its way.
                Err(_) => return Poll::Ready(Ok(())),
            }
        }
    })
    .await
}

/// What a client has sent and is not heard yet.
#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// Nothing more will come.
    is_all: bool,
    /// While it waits: memory for it, or until when it may do without.
    held: Option<Reservation>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    /// Takes what has come on the stream.
    fn take_all(&mut self, incoming: &mut RecvStream, cx: &mut Context<'_>) -> Result<(), Over> {
        while !self.is_all
            && let Poll::Ready(data) = incoming.poll_data(cx)
        {
            match data {
                Some(data) => self.bytes.extend_from_slice(&data?),
                None => self.is_all = true,
            }
        }
        Ok(())
    }

    /// So many bytes are heard. Where that is all, nothing is kept.
    fn has_passed(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        if self.bytes.is_empty() {
            *self = Self { is_all: self.is_all, ..Self::default() };
        }
    }

    /// Whether it has waited for as long as it may without memory.
    fn is_too_long(&mut self, replies: &Share, cx: &mut Context<'_>) -> bool {
        if self.held.is_none() && self.patience.is_none() {
            self.held = replies.try_reserve(INCOMING_BYTES_MAX);
        }
        if self.held.is_some() {
            return false;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE_WITHOUT_MEMORY)));
        patience.as_mut().poll(cx).is_ready()
    }
}

/// Sends all of it, as the client takes it.
async fn send_all(out: &mut SendStream<Bytes>, mut data: Bytes, patience: Patience<'_>) -> Result<(), Over> {
    let mut held = None;
    while !data.is_empty() {
        out.reserve_capacity(data.len().min(SEND_BUFFER_BYTES));
        let capacity = match out.capacity() {
            0 => patience.wait(out, &mut held).await?,
            capacity => capacity,
        };
        let piece = data.split_to(capacity.min(data.len()));
        out.send_data(piece, false)?;
    }
    Ok(())
}

/// How long it is waited for who takes nothing.
#[derive(Clone, Copy, Debug)]
struct Patience<'a> {
    time: Duration,
    memory: Waits<'a>,
}

/// Of which memory that is which waits meanwhile.
#[derive(Clone, Copy, Debug)]
enum Waits<'a> {
    /// Of this, of which it has what a stream has; where that is short, others have it sooner.
    Reserved(&'a Share),
    /// Of this, as far as there is some.
    Unreserved(&'a Share),
}

impl Patience<'_> {
    /// Waits until the client takes something.
    async fn wait(self, out: &mut SendStream<Bytes>, held: &mut Option<Reservation>) -> Result<usize, Over> {
        let begin = Instant::now();
        if let Waits::Unreserved(share) = self.memory
            && held.is_none()
        {
            *held = share.try_reserve(OUTGOING_BYTES_MAX);
        }
        loop {
            let step = PATIENCE_WITHOUT_MEMORY.min(self.time.saturating_sub(begin.elapsed()));
            match timeout(step, poll_fn(|cx| out.poll_capacity(cx))).await {
                // A window that has become smaller.
                Ok(Some(Ok(0))) => {}
                Ok(Some(capacity)) => return Ok(capacity?),
                Ok(None) => return Err(Over::Reset),
                Err(_) if self.gives_way(held.is_some()) => return Err(Over::Stalled),
                Err(_) => {}
            }
            if begin.elapsed() >= self.time {
                return Err(Over::Stalled);
            }
        }
    }

    fn gives_way(self, is_held: bool) -> bool {
        match self.memory {
            Waits::Reserved(share) => share.is_short(),
            Waits::Unreserved(_) => !is_held,
        }
    }
}
