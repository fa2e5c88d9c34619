//! Honest clients who come while the server is under attack: each is to be let in.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::attacks::peer::{Peer, hear_field, read_head, send};
use crate::target::Target;

/// Between two of them.
const EVERY: Duration = Duration::from_millis(250);

/// What became of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Came {
    /// How long each that was let in took until it was, in nanoseconds.
    pub(crate) nanos: Vec<u32>,
    /// Why the others were not, the first of them.
    pub(crate) refused: u64,
    pub(crate) why: Option<String>,
}

impl Came {
    /// Adds others.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.nanos.append(&mut other.nanos);
        self.refused += other.refused;
        self.why = self.why.take().or(other.why);
    }

    fn note(&mut self, came: io::Result<Duration>) {
        match came {
            Ok(took) => self.nanos.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX)),
            Err(error) => {
                self.refused += 1;
                self.why.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Those who come, one after another.
pub(crate) struct Newcomers {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Came>,
}

impl Newcomers {
    /// Has them come to that server, by turns for a WebSocket and for the page.
    pub(crate) fn begin(target: &Target) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (ends, peer) = (Arc::clone(&is_over), Peer { source: Ipv4Addr::LOCALHOST, target: target.clone() });
        let thread = thread::spawn(move || {
            let mut came = Came::default();
            for nth in 0_u64.. {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let begin = Instant::now();
                let served = if nth.is_multiple_of(2) { connect(&peer) } else { ask(&peer) };
                came.note(served.map(|()| begin.elapsed()));
                thread::sleep(EVERY.saturating_sub(begin.elapsed()));
            }
            came
        });
        Self { is_over, thread }
    }

    /// No more come; what became of those who did.
    pub(crate) fn end(self) -> Came {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// Connects, and is told so.
fn connect(peer: &Peer) -> io::Result<()> {
    let mut stream = peer.websocket()?;
    send(&mut stream, "{\"id\":1,\"connect\":{}}")?;
    match hear_field(&mut stream, "client")? {
        Some(_) => Ok(()),
        None => Err(io::Error::other("a client was not connected")),
    }
}

/// Asks for the page.
fn ask(peer: &Peer) -> io::Result<()> {
    use std::io::Write as _;
    let mut stream = peer.connect()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let head = read_head(&mut stream)?;
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(line).into_owned())),
    }
}
