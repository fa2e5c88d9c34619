//! Accepting connections and dealing them to the shards.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::hub::Hub;

/// Connections the system may hold that have not been accepted yet; a crowd that reconnects at once must not be turned away.
const BACKLOG: i32 = 4_096;

/// How long to wait when the process has no descriptor left; connections that close meanwhile give theirs back.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Binds the address, for itself alone: a second server on the same port is an error, not a competitor.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections and deals them to the shards in turn, until dropped.
pub(crate) async fn accept_forever(
    listener: &TcpListener,
    hub: &Hub,
    connections_max: u64,
    shards: &[mpsc::Sender<std::net::TcpStream>],
) {
    let mut exhausted = false;
    let mut next = 0;
    loop {
        // Each shard watches its sockets itself, so this thread's watch on them ends here.
        let accepted = match listener.accept().await {
            Ok((stream, _)) => stream.set_nodelay(true).and_then(|()| stream.into_std()),
            Err(error) => Err(error),
        };
        match accepted {
            Ok(stream) => {
                exhausted = false;
                if hub.metrics.sockets.get() as u64 >= connections_max {
                    hub.metrics.refused.inc();
                    tracing::warn!(connections_max, "refused a connection: there are too many");
                    continue;
                }
                // A shard that is gone has ended with the server.
                if shards[next].send(stream).await.is_err() {
                    return;
                }
                next = (next + 1) % shards.len();
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

/// Whether trying again at once would fail again.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
