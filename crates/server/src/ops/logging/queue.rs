//! Lines on their way to a sink that may be slow or stuck: whoever logs never waits, and what waits is weighed.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing_subscriber::fmt::MakeWriter;

use super::files::Files;
use super::repeats::Repeats;

/// Bytes of lines that may wait for a slow console or disk, each sink: some thousands of lines.
pub(super) const QUEUE_BYTES_MAX: usize = 4 << 20;
/// What a line costs in the queue beside its bytes.
const LINE_BYTES_MORE: usize = 64;
/// How often somebody looks whether lines were left out, while there is something to log.
const LOOK: Duration = Duration::from_secs(1);
/// How long what waits at the end may take; a stuck console must not keep a server from ending.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines end up.
pub(super) enum Sink {
    Console,
    Files(Files),
    #[cfg(test)]
    Slow(Box<dyn Write + Send>),
}

/// The way to a sink.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    items: Sender<Item>,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    End,
}

/// The thread that writes what is in a queue.
#[derive(Debug)]
pub(super) struct Worker {
    queue: Queue,
    ended: Receiver<()>,
}

impl Queue {
    /// Starts a thread that writes to `sink`, and tells what `repeats` has left out.
    pub(super) fn start(sink: Sink, repeats: Arc<Repeats>) -> io::Result<(Self, Worker)> {
        let (items, lines) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let queue = Self { items, waiting: Arc::default() };
        let waiting = Arc::clone(&queue.waiting);
        thread::Builder::new().name("roomcast-log".to_owned()).spawn(move || {
            work(sink, &lines, &waiting, &repeats);
            let _ = end.send(());
        })?;
        Ok((queue.clone(), Worker { queue, ended }))
    }

    fn push(&self, line: &[u8]) {
        let weight = line.len() + LINE_BYTES_MORE;
        let Waiting { bytes, dropped } = &*self.waiting;
        // Relaxed, all of these: a bound and a count, which order nothing; the channel carries the line.
        if bytes.fetch_add(weight, Relaxed) + weight > QUEUE_BYTES_MAX {
            bytes.fetch_sub(weight, Relaxed);
            dropped.fetch_add(1, Relaxed);
        } else if self.items.send(Item::Line(line.to_vec())).is_err() {
            bytes.fetch_sub(weight, Relaxed);
        }
    }
}

impl Worker {
    /// Lets what waits be written, if the sink takes it in time.
    pub(super) fn end(self) {
        let _ = self.queue.items.send(Item::End);
        let _ = self.ended.recv_timeout(END_TIMEOUT);
    }
}

fn work(mut sink: Sink, lines: &Receiver<Item>, waiting: &Waiting, repeats: &Repeats) {
    let mut looked = Instant::now();
    let mut is_quiet = false;
    loop {
        let item = if is_quiet { lines.recv().map_err(RecvTimeoutError::from) } else { next(lines, &mut sink) };
        match item {
            Ok(Item::Line(line)) => {
                sink.write(&line);
                waiting.bytes.fetch_sub(line.len() + LINE_BYTES_MORE, Relaxed);
                is_quiet = false;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Item::End) | Err(RecvTimeoutError::Disconnected) => break,
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            // Lines are left out only where others of their kind came before, within a time that ends.
            is_quiet = repeats.tell(looked);
            let dropped = waiting.dropped.swap(0, Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "the log could not be written as fast as it came; lines were dropped");
            }
        }
    }
    sink.flush();
}

/// The next item; what has been written is put through before it is waited for.
fn next(lines: &Receiver<Item>, sink: &mut Sink) -> Result<Item, RecvTimeoutError> {
    lines.try_recv().or_else(|_| {
        sink.flush();
        lines.recv_timeout(LOOK)
    })
}

impl Sink {
    /// Writes a line. Nobody can be told when that fails.
    fn write(&mut self, line: &[u8]) {
        let _ = match self {
            Self::Console => io::stderr().write_all(line),
            Self::Files(files) => files.write(line, SystemTime::now()),
            #[cfg(test)]
            Self::Slow(sink) => sink.write_all(line),
        };
    }

    fn flush(&mut self) {
        if let Self::Files(files) = self {
            let _ = files.flush();
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes a line, which comes in one piece.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until it is told to, and then counts.
    struct Stuck {
        go: Receiver<()>,
        taken: Sender<usize>,
    }

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            let _ = self.taken.send(line.len());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_waits_for_a_stuck_sink_is_bounded_in_bytes() {
        let (go, gate) = mpsc::channel();
        let (taken, lengths) = mpsc::channel();
        let sink = Sink::Slow(Box::new(Stuck { go: gate, taken }));
        let (queue, worker) = Queue::start(sink, Arc::new(Repeats::new(0))).unwrap();
        let line = vec![b'x'; 15_000];
        for _ in 0..2_000 {
            queue.make_writer().write_all(&line).unwrap();
        }
        assert!(queue.waiting.bytes.load(Relaxed) <= QUEUE_BYTES_MAX);
        let dropped = queue.waiting.dropped.load(Relaxed) as usize;
        assert!(dropped > 0);
        drop(go);
        worker.end();
        let kept: Vec<usize> = lengths.try_iter().collect();
        assert!(kept.iter().sum::<usize>() <= QUEUE_BYTES_MAX + line.len(), "one is being written");
        assert_eq!(kept.len() + dropped, 2_000, "what is not written is counted");
    }
}
