//! TLS handshakes: bounded in number and time, and never two in one turn of a shard.
//!
//! One costs a millisecond or more, and everybody may ask for it. So a shard does one step of one handshake, and then looks after
//! everything else that is ready, before it does the next. Where more are under way than there may be, the oldest is given up:
//! who shakes hands in earnest is done after a few round trips, who only holds a place is the first to lose it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::config::{ACME_TLS, HttpServer};
use crate::ops::tls_metrics::TlsMetrics;
use crate::wire::tls::TlsStream;

/// The handshakes of one shard.
#[derive(Debug)]
pub(crate) struct Handshakes {
    /// Those under way, oldest first, each with what ends it.
    under_way: RefCell<VecDeque<(u64, Rc<Notify>)>>,
    next: Cell<u64>,
    max: usize,
    timeout: Duration,
    /// Whoever has it does its step.
    turn: Semaphore,
    metrics: TlsMetrics,
}

impl Handshakes {
    pub(crate) fn new(options: &HttpServer, shards: usize, metrics: TlsMetrics) -> Self {
        Self {
            under_way: RefCell::default(),
            next: Cell::new(0),
            max: options.tls_handshake_limit.div_ceil(shards.max(1)),
            timeout: options.tls_handshake_timeout,
            turn: Semaphore::new(1),
            metrics,
        }
    }

    /// Shakes hands with who has connected; nothing when that came to nothing.
    pub(crate) async fn shake(&self, socket: TcpStream, config: Arc<ServerConfig>) -> Option<TlsStream> {
        let place = UnderWay::new(self);
        let (shaken, outcome) = tokio::select! {
            biased;
            () = place.given_up.notified() => (None, "given_up"),
            shaken = tokio::time::timeout(self.timeout, self.steps(socket, config)) => match shaken {
                Ok(Ok(stream)) => (Some(stream), "done"),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    (None, if error.kind() == ErrorKind::InvalidData { "refused" } else { "broken_off" })
                }
                Err(_) => (None, "timeout"),
            },
        };
        self.metrics.ended(outcome);
        shaken
    }

    async fn steps(&self, socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsStream> {
        // Nothing is made for who says nothing.
        socket.readable().await?;
        let stream = TlsStream::new(socket, config)?;
        loop {
            {
                let _turn = self.turn.acquire().await.map_err(io::Error::other)?;
                match stream.try_handshake() {
                    // That was all that it came for.
                    Ok(true) if stream.protocol_is(ACME_TLS) => return Err(ErrorKind::ConnectionAborted.into()),
                    Ok(true) => return Ok(stream),
                    Ok(false) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                // Whoever is next is woken when this is dropped, behind all that is ready now.
            }
            tokio::task::yield_now().await;
            match stream.held() {
                0 => stream.readable().await?,
                _ => stream.writable().await?,
            }
        }
    }
}

/// A place among the handshakes under way.
struct UnderWay<'a> {
    all: &'a Handshakes,
    number: u64,
    given_up: Rc<Notify>,
}

impl<'a> UnderWay<'a> {
    fn new(all: &'a Handshakes) -> Self {
        let number = all.next.replace(all.next.get() + 1);
        let given_up = Rc::new(Notify::new());
        let mut under_way = all.under_way.borrow_mut();
        if under_way.len() >= all.max
            && let Some((_, oldest)) = under_way.pop_front()
        {
            oldest.notify_one();
        }
        under_way.push_back((number, Rc::clone(&given_up)));
        all.metrics.under_way.inc();
        Self { all, number, given_up }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.all.under_way.borrow_mut();
        if let Ok(at) = under_way.binary_search_by_key(&self.number, |(number, _)| *number) {
            under_way.remove(at);
        }
        self.all.metrics.under_way.dec();
    }
}
