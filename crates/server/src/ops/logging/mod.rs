//! Logs to the console and to a daily file at once.
//!
//! Lines are handed to a thread that writes them, so a slow disk does not slow a room. Most of what is logged is what strangers
//! do, so everything is bounded: what is cited of them, lines of one kind in a time, bytes that wait, bytes on the disk. What is
//! left out is counted, and the count is logged.

mod files;
mod queue;
mod repeats;
#[cfg(test)]
pub(crate) mod written;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::process::geteuid;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use self::files::{Bounds, Files};
use self::queue::{Queue, Sink, Worker};
use self::repeats::{LeaveOut, Repeats};
use crate::config::{Config, Log, LogFile, LogFormat};

/// Keeps the log writers alive. Hold it until the very end: dropping it writes out what is waiting.
#[must_use = "dropping this ends logging"]
pub struct LogGuard {
    control: LogControl,
    workers: Vec<Worker>,
}

/// Changes what is logged while it is. Cloning it makes another handle to the same log.
#[derive(Clone)]
pub struct LogControl {
    repeats: Arc<Repeats>,
    set_level: Arc<dyn Fn(EnvFilter) + Send + Sync>,
}

impl LogControl {
    /// Logs by another level from here on, and as many lines of a kind. The rest of `[log]` counts at the start.
    pub(crate) fn follow(&self, log: &Log) {
        self.repeats.limit(log.repeats_max as u64);
        // The configuration was checked.
        if let Ok(level) = level(&log.level) {
            (self.set_level)(level);
        }
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogControl")
    }
}

impl LogGuard {
    /// What changes the log while it is written.
    #[must_use]
    pub fn control(&self) -> LogControl {
        self.control.clone()
    }
}

/// Why logging could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogError {
    /// The directory of the log files cannot be made or written.
    Directory {
        /// The directory asked for.
        dir: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The level cannot be understood.
    Level(String),
    /// The system refused a thread that writes.
    Thread(io::Error),
    /// The program already logs elsewhere.
    AlreadySet,
}

/// Starts logging as `[log]` says, for the whole process.
///
/// # Errors
/// When the directory cannot be written, the level cannot be understood, or logging was started before.
pub fn start(config: &Config) -> Result<LogGuard, LogError> {
    let (level, handle) = reload::Layer::new(level(&config.log.level)?);
    let repeats = Arc::new(Repeats::new(config.log.repeats_max as u64));
    let sink_of = |sink| Queue::start(sink, Arc::clone(&repeats)).map_err(LogError::Thread);
    let (console, console_worker) = sink_of(Sink::Console)?;
    let mut workers = vec![console_worker];
    let mut layers = vec![layer(config.log.format, io::stderr().is_terminal(), console)];
    let place = match &config.log.file {
        LogFile::Off => None,
        LogFile::Daily => Some((config.log_dir(), None)),
        LogFile::At(path) => Some((path.parent().unwrap_or_else(|| Path::new("")).to_owned(), path.file_name())),
    };
    if let Some((dir, name)) = place {
        let bounds = Bounds { files: config.log.files_max, bytes: config.log.bytes_max as u64 };
        let (file, worker) = sink_of(Sink::Files(open_files(&dir, name, bounds)?))?;
        workers.push(worker);
        layers.push(layer(config.log.format, false, file));
    }
    let registry = tracing_subscriber::registry();
    // The console asks for spans of tokio's that no log should hold, so that the level is the log's alone; and it counts
    // lines itself, so none are left out.
    #[cfg(all(feature = "console", tokio_unstable))]
    let registry = registry.with(console_subscriber::spawn()).with(layers.with_filter(level));
    #[cfg(not(all(feature = "console", tokio_unstable)))]
    let registry = registry.with(layers).with(LeaveOut(Arc::clone(&repeats))).with(level);
    registry.try_init().map_err(|_| LogError::AlreadySet)?;
    let set_level = move |level| {
        // Fails where nobody logs any more.
        let _ = handle.reload(level);
    };
    Ok(LogGuard { control: LogControl { repeats, set_level: Arc::new(set_level) }, workers })
}

fn level(directives: &str) -> Result<EnvFilter, LogError> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(directives);
    filter.map_err(|error| LogError::Level(error.to_string()))
}

fn layer(format: LogFormat, ansi: bool, writer: Queue) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(BoxMakeWriter::new(writer)).with_ansi(ansi);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

fn open_files(dir: &Path, name: Option<&OsStr>, bounds: Bounds) -> Result<Files, LogError> {
    let refused = |error: io::Error| {
        let message = match error.kind() {
            io::ErrorKind::PermissionDenied => format!("{error} for the user with id {}", geteuid().as_raw()),
            _ => error.to_string(),
        };
        LogError::Directory { dir: dir.to_owned(), message }
    };
    Files::open(dir, name, bounds, SystemTime::now()).map_err(refused)
}

/// What a stranger has sent, for a line of the log: its beginning, and how long it was.
pub(crate) fn cut(bytes: &[u8]) -> String {
    // A character takes four bytes at most.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * CITED_CHARS_MAX)]);
    let mut cited = String::new();
    for character in text.chars().take(CITED_CHARS_MAX) {
        match character.is_control() {
            true => cited.extend(character.escape_default()),
            false => cited.push(character),
        }
    }
    if text.chars().count() > CITED_CHARS_MAX {
        cited.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    cited
}

/// Characters of what a stranger has sent: enough to know it again.
const CITED_CHARS_MAX: usize = 120;

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.control.repeats.tell_all();
        self.workers.drain(..).for_each(Worker::end);
    }
}

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogGuard")
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { dir, message } => write!(
                f,
                "cannot write logs to {}: {message}; give a directory you may write to --data-dir, or set `log.file` to false",
                dir.display()
            ),
            Self::Level(message) => write!(f, "the log level cannot be understood: {message}"),
            Self::Thread(error) => write!(f, "cannot start a thread that writes the log: {error}"),
            Self::AlreadySet => f.write_str("logging was started before in this process; start it once"),
        }
    }
}

impl std::error::Error for LogError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritable_directory_is_named() {
        let error = open_files(Path::new("/dev/null/logs"), None, Bounds { files: 1, bytes: 1 }).unwrap_err();
        assert!(error.to_string().contains("/dev/null/logs"), "{error}");
    }

    #[test]
    fn what_strangers_send_is_cited_in_part() {
        assert_eq!(cut(b"https://evil.example"), "https://evil.example");
        assert_eq!(cut(b"a\nb\x1b[31m\xff"), "a\\nb\\u{1b}[31m\u{fffd}");
        let long = cut("é".repeat(15_000).as_bytes());
        assert!(long.chars().count() < 150 && long.ends_with("… (30000 bytes)"), "{long}");
    }
}
