//! Those who come when there is no place: they are told so in HTTP, whatever they would have asked for.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::limits::connections::Excess;
use crate::net::answer_headers;
use crate::net::http::Refusal;
use crate::wire::stream::Stream;

/// How many are told at once, whose sockets are beyond all limits on sockets meanwhile; those beyond are closed unheard.
const REFUSING_MAX: usize = 32;

/// How long one may take to ask, and to take its answer.
const REFUSING_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of the request that are waited for: a handshake has less.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Tells newcomers that there are too many of them.
#[derive(Debug, Default)]
pub(super) struct Refusing(Rc<Cell<usize>>);

impl Refusing {
    /// Answers whatever the client asks with a status, and closes.
    pub(super) fn refuse(&self, stream: Stream, excess: Excess) {
        let Self(count) = self;
        if count.get() >= REFUSING_MAX {
            return;
        }
        count.set(count.get() + 1);
        let guard = Counted(Rc::clone(count));
        tokio::task::spawn_local(async move {
            let _guard = guard;
            // Whoever does not listen is not waited for.
            let _ = tokio::time::timeout(REFUSING_TIMEOUT, tell(stream, excess)).await;
        });
    }
}

struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        let Self(count) = self;
        count.set(count.get() - 1);
    }
}

/// What is asked is read first: a socket that is closed with something unread takes back what it has said.
async fn tell(mut stream: Stream, excess: Excess) -> io::Result<()> {
    let (mut buffer, mut asked) = ([0; 1_024], Vec::new());
    while !asked.ends_with(b"\r\n\r\n") && asked.len() < HEAD_BYTES_MAX {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => asked.extend_from_slice(&buffer[..n]),
        }
    }
    stream.write_all(&answer(excess)).await?;
    stream.shutdown().await?;
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// With what somebody is refused.
pub(super) fn refusal(excess: Excess) -> Refusal {
    match excess.is_of_address() {
        true => (StatusCode::TOO_MANY_REQUESTS, "there are too many connections of your address: try again later\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "there are too many connections: try again later\n"),
    }
}

/// The same as a whole answer.
pub(super) fn answer(excess: Excess) -> Vec<u8> {
    answer_headers::refused(refusal(excess), &HeaderMap::new())
}
