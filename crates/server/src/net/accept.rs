//! Accepting connections and dealing them to the shards.
//!
//! The first shard does it, in between: a thread for it alone would take turns with that shard at each connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Front;
use crate::client::shard::Shard;
use crate::wire::stream::{DetachedStream, Stream};

/// Connections the system may hold that have not been accepted yet; a crowd that reconnects at once must not be turned away.
const BACKLOG: i32 = 4_096;

/// How long to wait when the process has no descriptor left; connections that close meanwhile give theirs back.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Binds the address, for itself alone: a second server on the same port is an error, not a competitor.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    // Those who are accepted have it from here.
    set_tcp_nodelay(&listener, true)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connections accepted that wait for their shard.
pub(crate) const INBOX_CONNECTIONS: usize = 1_024;

/// Where a shard's connections come from.
pub(crate) enum WayIn {
    /// It accepts them, for itself and for others.
    Acceptor(Acceptor),
    /// It is given them.
    Inbox(mpsc::Receiver<DetachedStream>),
}

impl WayIn {
    /// Brings `shard` its connections, until nobody gives it any.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub(crate) async fn serve(self, shard: Rc<Shard>) -> io::Result<()> {
        let front = Rc::new(Front::new(&shard.hub));
        match self {
            Self::Acceptor(acceptor) => acceptor.keep(&front, shard).await,
            Self::Inbox(mut inbox) => {
                while let Some(stream) = inbox.recv().await {
                    match stream.attach() {
                        Ok(stream) => front.take_in(&shard, stream),
                        Err(error) => tracing::warn!(%error, shard = shard.index, "lost a connection"),
                    }
                }
                Ok(())
            }
        }
    }
}

/// What the shard that accepts has beside what the others have.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: std::net::TcpListener,
    /// How many connections are taken.
    pub(crate) connections_max: u64,
    /// Where the other shards take theirs from, in their order.
    pub(crate) others: Vec<mpsc::Sender<DetachedStream>>,
}

impl Acceptor {
    /// Accepts connections for `shard` and the others, in turn, until dropped.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    async fn keep(self, front: &Rc<Front>, shard: Rc<Shard>) -> io::Result<()> {
        let Self { listener, connections_max, others } = self;
        let listener = TcpListener::from_std(listener)?;
        let mut exhausted = false;
        let mut turns = (0..=others.len()).cycle();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let stream = Stream::Tcp(stream);
                    exhausted = false;
                    let metrics = &shard.hub.metrics;
                    if metrics.sockets.get() as u64 >= connections_max {
                        metrics.refused.inc();
                        tracing::warn!(connections_max, "refused a connection: there are too many");
                        continue;
                    }
                    match turns.next().unwrap_or_default() {
                        0 => front.take_in(&shard, stream),
                        // Another shard watches its sockets itself, so this one's watch on them ends here. One that is
                        // gone has ended with the server.
                        other => match stream.detach() {
                            Ok(stream) => {
                                if others[other - 1].send(stream).await.is_err() {
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

/// Whether trying again at once would fail again.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
