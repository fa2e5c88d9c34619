//! Accepting connections and dealing them to the shards.
//!
//! The first shard does it, in between: a thread for it alone would take turns with that shard at each connection.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};

use super::Front;
use super::refusal::Refusing;
use crate::client::shard::{NEWCOMERS_PER_ROUND, Shard};
use crate::limits::connections::{Excess, Place};
use crate::net::arrival::{Arrival, Peer, Way};
use crate::net::listeners::{Listener, Socket};
use crate::wire::stream::{DetachedStream, Stream};

/// How long to wait when the process has no descriptor left; connections that close meanwhile give theirs back.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted that wait for their shard.
pub(crate) const INBOX_CONNECTIONS: usize = 1_024;

/// Connections accepted before clients have their turn: a fraction of a millisecond.
const ACCEPTED_PER_TURN: usize = NEWCOMERS_PER_ROUND;

/// Where a shard's connections come from.
pub(crate) enum WayIn {
    /// It accepts them, for itself and for others.
    Acceptor(Acceptor),
    /// It is given them.
    Inbox(mpsc::Receiver<Arrived>),
}

impl WayIn {
    /// Brings `shard` its connections, until nobody gives it any.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub(crate) async fn serve(self, shard: Rc<Shard>) -> io::Result<()> {
        let front = Rc::new(Front::new(&shard));
        match self {
            Self::Acceptor(acceptor) => acceptor.keep(&front, shard).await,
            Self::Inbox(mut inbox) => {
                while let Some(Arrived { stream, arrival, place }) = inbox.recv().await {
                    match stream.attach() {
                        Ok(stream) => front.take_in(&shard, stream, arrival, place),
                        Err(error) => tracing::warn!(%error, shard = shard.index, "lost a connection"),
                    }
                }
                Ok(())
            }
        }
    }
}

/// A connection on its way to its shard.
#[derive(Debug)]
pub(crate) struct Arrived {
    stream: DetachedStream,
    arrival: Arrival,
    place: Place,
}

/// Whether connections are accepted. Those that are not wait in the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    On,
    /// Not at this moment.
    Paused,
    /// Never again, by this process.
    Over,
}

/// What the shard that accepts has beside what the others have.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) accepting: watch::Receiver<Accepting>,
    /// Where the other shards take theirs from, in their order.
    pub(crate) others: Vec<mpsc::Sender<Arrived>>,
}

impl Acceptor {
    /// Accepts connections for `shard` and the others, in turn, until dropped.
    ///
    /// # Errors
    /// When a listener cannot be watched.
    async fn keep(self, front: &Rc<Front>, shard: Rc<Shard>) -> io::Result<()> {
        let Self { listeners, mut accepting, others } = self;
        let doors = listeners.into_iter().map(Door::new).collect::<io::Result<Vec<_>>>()?;
        let refusing = Refusing::default();
        let mut exhausted = false;
        let mut turns = (0..=others.len()).cycle();
        let (mut first, mut in_turn) = (0, 0);
        loop {
            in_turn += 1;
            if in_turn > ACCEPTED_PER_TURN {
                in_turn = 0;
                tokio::task::yield_now().await;
            }
            let now = *accepting.borrow_and_update();
            match now {
                Accepting::On => {}
                Accepting::Paused => {
                    change(&mut accepting).await;
                    continue;
                }
                Accepting::Over => {
                    drop(doors);
                    return std::future::pending().await;
                }
            }
            let (at, accepted) = tokio::select! {
                biased;
                () = change(&mut accepting) => continue,
                accepted = poll_fn(|cx| accept_any(&doors, first, cx)) => accepted,
            };
            // At one where many come, the others are not forgotten.
            first = at + 1;
            match accepted {
                Ok((stream, peer)) => {
                    exhausted = false;
                    let way = &doors[at].way;
                    let place = match admit(&shard, way, peer) {
                        Ok(place) => place,
                        Err(excess) => {
                            // Who speaks TLS would have to be shaken hands with before it could be told.
                            if way.tls.is_none() {
                                refusing.refuse(stream, excess);
                            }
                            continue;
                        }
                    };
                    let arrival = Arrival { way: Arc::clone(way), peer };
                    match turns.next().unwrap_or_default() {
                        0 => front.take_in(&shard, stream, arrival, place),
                        // Another shard watches its sockets itself, so this one's watch on them ends here. One that is
                        // gone has ended with the server.
                        other => match stream.detach() {
                            Ok(stream) => {
                                if others[other - 1].send(Arrived { stream, arrival, place }).await.is_err() {
                                    return Ok(());
                                }
                            }
                            Err(error) => tracing::warn!(%error, "lost a connection"),
                        },
                    }
                }
                Err(error) if is_exhaustion(&error) => {
                    if !std::mem::replace(&mut exhausted, true) {
                        tracing::warn!(%error, "new connections wait");
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                // The client went away before it was accepted, or the network had a hiccup: the next may be fine.
                Err(error) => tracing::debug!(%error, "lost a connection"),
            }
        }
    }
}

/// Waits until it is something else; for ever where nobody is left who could say so.
async fn change(accepting: &mut watch::Receiver<Accepting>) {
    if accepting.changed().await.is_err() {
        std::future::pending().await
    }
}

/// A place for one more connection.
fn admit(shard: &Shard, way: &Way, peer: Peer) -> Result<Place, Excess> {
    let connections = &shard.hub.connections;
    // Whoever looks after the server gets in however many clients there are.
    if !way.role.serves_clients() {
        return Ok(connections.admit_inside());
    }
    // Whom a proxy asks for is known when it has said so.
    let address = peer.ip().filter(|_| !way.proxies.are(peer));
    connections.admit(address, shard.now_ms()).inspect_err(|excess| {
        shard.hub.metrics.refused.inc();
        tracing::warn!(?peer, limit = excess.limit(), "refused a connection: there are too many");
    })
}

/// A listener that is watched.
struct Door {
    socket: WatchedSocket,
    way: Arc<Way>,
}

enum WatchedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    fn new(listener: Listener) -> io::Result<Self> {
        let socket = match listener.socket {
            Socket::Tcp(socket) => WatchedSocket::Tcp(TcpListener::from_std(socket)?),
            // Its file is the server's.
            Socket::Unix(socket, _) => WatchedSocket::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Self { socket, way: listener.way })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match &self.socket {
            WatchedSocket::Tcp(socket) => {
                socket.poll_accept(cx).map_ok(|(stream, address)| (Stream::Tcp(stream), Peer::Tcp(address)))
            }
            WatchedSocket::Unix(socket) => {
                socket.poll_accept(cx).map_ok(|(stream, _)| (Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// The next connection at any of the doors, beginning at the one that is `first`.
fn accept_any(doors: &[Door], first: usize, cx: &mut Context<'_>) -> Poll<(usize, io::Result<(Stream, Peer)>)> {
    for nth in 0..doors.len() {
        let at = (first + nth) % doors.len();
        if let Poll::Ready(accepted) = doors[at].poll_accept(cx) {
            return Poll::Ready((at, accepted));
        }
    }
    Poll::Pending
}

/// Whether trying again at once would fail again.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
