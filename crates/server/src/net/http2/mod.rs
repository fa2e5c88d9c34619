//! HTTP/2: one connection with many requests, each a stream; of what a stranger may have held or done for it all has a bound.
//!
//! h2 is spoken without hyper around it, so that each stream has its own deadline, can be given up alone, and can become a client's
//! connection (`stream`).

mod message;
#[cfg(any(test, roomcast_fuzz))]
pub(crate) mod rehearsal;
mod socket;
mod stream;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use self::socket::{SMALL_FRAMES_BUDGET, Socket};
use super::Front;
use crate::client::shard::{Shard, SocketGuard};
use crate::limits::memory::Grow as _;
use crate::net::arrival::Arrival;
use crate::net::fast_upgrade::Opened;
use crate::net::http::{DRAIN_TIMEOUT, HEAD_BYTES_MAX, HEAD_TIMEOUT};

/// What everybody says first who speaks HTTP/2 without having been asked.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of it that tell it from a request of HTTP/1.
const PREFACE_BYTES_LEAST: usize = 4;

/// Streams of one connection that may be open at once; others are refused, to be tried again.
const STREAMS_MAX: u32 = 100;
/// Streams that were reset before they were looked at.
const RESETS_UNSEEN_MAX: usize = 20;
/// Requests that a client may take back before they were answered, or that are too many of its address, more than it has let be answered.
const RESETS_MAX: u32 = 100;
/// Streams that were reset by us for what was wrong with them, in the life of a connection.
const WRONG_STREAMS_MAX: usize = 100;
/// Bytes of a frame; one is held whole. Headers in more frames than these fill count as too many.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that a client may send on a stream before they are read there, and on all together.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of a stream that wait for the socket.
const SEND_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of headers that are remembered to be named shortly.
const HEADER_TABLE_BYTES: u32 = 4 * 1024;
/// What a connection takes beside its streams: a frame each way, and names of headers.
const CONNECTION_BYTES: u64 = 32 * 1024;
/// How long a connection may have no stream: as long as one of HTTP/1 waits for the next request, since browsers come by it as well.
const IDLE_TIMEOUT: Duration = HEAD_TIMEOUT;

fn limits(takes_websockets: bool) -> Builder {
    let mut limits = Builder::new();
    limits
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_UNSEEN_MAX)
        .max_concurrent_reset_streams(RESETS_UNSEEN_MAX)
        .max_local_error_reset_streams(Some(WRONG_STREAMS_MAX))
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .header_table_size(HEADER_TABLE_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .data_frame_budget(SMALL_FRAMES_BUDGET);
    if takes_websockets {
        limits.enable_connect_protocol();
    }
    limits
}

/// Whether somebody has begun to speak HTTP/2.
pub(crate) fn is_begun_by(said: &[u8]) -> bool {
    said.len() >= PREFACE_BYTES_LEAST && (said.starts_with(PREFACE) || PREFACE.starts_with(said))
}

/// What the streams of a connection have in common.
#[derive(Debug)]
struct Streams {
    open: Cell<usize>,
    /// Since when none is open.
    idle_since: Cell<Instant>,
    /// How many more requests may be taken back.
    resets_left: Cell<u32>,
    /// More frames about the connection have come than anybody needs.
    is_flooded: Cell<bool>,
    changed: Notify,
}

/// Counts one stream, as long as it is there.
#[derive(Debug)]
struct Counted(Rc<Streams>);

impl Streams {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            resets_left: Cell::new(RESETS_MAX),
            is_flooded: Cell::new(false),
            changed: Notify::new(),
        })
    }

    fn count(self: &Rc<Self>) -> Counted {
        self.open.set(self.open.get() + 1);
        Counted(Rc::clone(self))
    }

    /// A request was taken back before it was answered.
    fn note_reset(&self) {
        self.resets_left.set(self.resets_left.get().saturating_sub(1));
        self.changed.notify_one();
    }

    fn note_flood(&self) {
        self.is_flooded.set(true);
        self.changed.notify_one();
    }

    /// Why the connection is to be closed, if it is.
    fn excess(&self) -> Option<&'static str> {
        match (self.is_flooded.get(), self.resets_left.get()) {
            (true, _) => Some("frames that ask for nothing come again and again"),
            (false, 0) => Some("requests are taken back, or are too many, again and again"),
            (false, _) => None,
        }
    }

    /// One was answered.
    fn note_answer(&self) {
        self.resets_left.set((self.resets_left.get() + 1).min(RESETS_MAX));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self(streams) = self;
        streams.open.set(streams.open.get() - 1);
        if streams.open.get() == 0 {
            streams.idle_since.set(Instant::now());
            streams.changed.notify_one();
        }
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(front: Rc<Front>, shard: Rc<Shard>, opened: Opened, arrival: Arrival, _socket: SocketGuard) {
    let mut memory = shard.hub.request_memory(arrival.connected_from(), shard.now_ms());
    // The operator is let in where nobody else reaches.
    if !memory.grow(CONNECTION_BYTES) && arrival.way.role.serves_clients() {
        shard.hub.metrics.refused.inc();
        tracing::warn!("refused a connection of HTTP/2: memory for requests, in all or of its address, used up");
        return;
    }
    let [ping_interval, pong_timeout] = {
        let client = &shard.hub.now().config.client;
        [client.ping_interval, client.pong_timeout]
    };
    if !ping_interval.is_zero() && !pong_timeout.is_zero() {
        // Of streams whose clients say nothing there is no other sign.
        opened.notice_silence(ping_interval + pong_timeout);
    }
    let takes_websockets = arrival.way.tls.is_none() || shard.hub.now().config.http_server.h2_websocket;
    let streams = Streams::new();
    let opening = limits(takes_websockets).handshake::<_, Bytes>(Socket::new(opened, &streams));
    match timeout(HEAD_TIMEOUT, opening).await {
        Ok(Ok(connection)) => keep(connection, streams, front, shard, arrival).await,
        Ok(Err(error)) => tracing::debug!(%error, "not HTTP/2"),
        Err(_) => {}
    }
}

async fn keep(
    mut connection: Connection<Socket, Bytes>,
    streams: Rc<Streams>,
    front: Rc<Front>,
    shard: Rc<Shard>,
    arrival: Arrival,
) {
    let mut draining = shard.draining.clone();
    let mut is_ending = false;
    loop {
        let is_idle = streams.open.get() == 0;
        // Who was told to go, and has nothing left, goes; who has nothing for long is told.
        let patience = if is_ending { DRAIN_TIMEOUT } else { IDLE_TIMEOUT };
        let idle_until = streams.idle_since.get() + patience;
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    if !is_ending && shard.hub.is_settled() {
                        // Those that come behind it are the other process's.
                        is_ending = true;
                        connection.graceful_shutdown();
                    }
                    let stream = stream::Stream {
                        front: Rc::clone(&front),
                        shard: Rc::clone(&shard),
                        arrival: arrival.clone(),
                        streams: Rc::clone(&streams),
                    };
                    let counted = streams.count();
                    tokio::task::spawn_local(stream.serve(request, respond, counted));
                }
                // It would be said again and again.
                Some(Err(error)) => {
                    tracing::debug!(%error, "an HTTP/2 connection ended early");
                    return;
                }
                None => return,
            },
            () = streams.changed.notified() => {
                if let Some(excess) = streams.excess() {
                    shard.metrics.bad_input.inc();
                    tracing::warn!(shard = shard.index, "{excess}: the connection is closed");
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    // Requests that had come before are let go.
                    let told = async { while let Some(Ok(_)) = connection.accept().await {} };
                    let _ = timeout(DRAIN_TIMEOUT, told).await;
                    return;
                }
            }
            _ = draining.wait_for(|draining| *draining), if !is_ending => {
                is_ending = true;
                streams.idle_since.set(Instant::now());
                connection.graceful_shutdown();
            }
            () = sleep_until(idle_until), if is_idle => {
                if is_ending {
                    return;
                }
                is_ending = true;
                streams.idle_since.set(Instant::now());
                connection.graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_told_from_requests() {
        assert!(is_begun_by(PREFACE) && is_begun_by(&[PREFACE, b"and more"].concat()) && is_begun_by(&PREFACE[..4]));
        for other in [&b""[..], b"P", b"PRI", b"POST / HTTP/1.1\r\n", b"PRI * HTTP/1.1\r\n\r\n", b"PRIVATE"] {
            assert!(!is_begun_by(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn answers_make_up_for_requests_that_are_taken_back() {
        let streams = Streams::new();
        for _ in 0..10 * RESETS_MAX {
            streams.note_reset();
            streams.note_answer();
        }
        assert!(streams.resets_left.get() > 0);
        (0..RESETS_MAX).for_each(|_| streams.note_reset());
        assert_eq!(streams.resets_left.get(), 0);
    }
}
