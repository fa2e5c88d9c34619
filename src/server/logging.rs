//! Logs to the console and to a daily file at once.
//!
//! Lines are handed to a thread that writes them, so a slow disk does not slow a room. What that thread cannot keep up
//! with is dropped, and how many lines that were is counted.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use super::config::{Config, LogFormat};

/// Keeps the log writers alive. Hold it until the very end: dropping it writes out what is waiting.
#[must_use = "dropping this ends logging"]
pub struct LogGuard {
    _workers: Vec<WorkerGuard>,
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
    /// The program already logs elsewhere.
    AlreadySet,
}

/// Starts logging as `[log]` says, for the whole process.
///
/// # Errors
/// When the directory cannot be written, the level cannot be understood, or logging was started before.
pub fn start(config: &Config) -> Result<LogGuard, LogError> {
    let level = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&config.log.level)
        .map_err(|error| LogError::Level(error.to_string()))?;
    let (console, console_worker) = background(io::stderr());
    let mut workers = vec![console_worker];
    let mut layers = vec![layer(config.log.format, io::stderr().is_terminal(), console)];
    if config.log.file {
        let (file, worker) = background(daily_file(&config.log_dir(), config.log.files_max)?);
        workers.push(worker);
        layers.push(layer(config.log.format, false, file));
    }
    let registry = tracing_subscriber::registry();
    // The console asks for spans of tokio's that no log should hold, so that the level is the log's alone.
    #[cfg(all(feature = "console", tokio_unstable))]
    let registry = registry.with(console_subscriber::spawn()).with(layers.with_filter(level));
    #[cfg(not(all(feature = "console", tokio_unstable)))]
    let registry = registry.with(layers).with(level);
    registry.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(LogGuard { _workers: workers })
}

/// Whether `directives` can be a level: one of the levels, or a comma-separated list of a level and `module=level`.
///
/// A bare word that is no level would silently select a module of that name, which is what a misspelt level looks like.
pub(crate) fn check_level(directives: &str) -> Result<(), String> {
    let expected = "expected trace, debug, info, warn, error or off, or module=level, separated by commas";
    for directive in directives.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("{expected}; found `{directive}`"));
        }
    }
    EnvFilter::builder().parse(directives).map(|_| ()).map_err(|_| format!("{expected}; found `{directives}`"))
}

fn layer(format: LogFormat, ansi: bool, writer: NonBlocking) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(BoxMakeWriter::new(writer)).with_ansi(ansi);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

fn daily_file(dir: &Path, files_max: usize) -> Result<RollingFileAppender, LogError> {
    let refused = |message: String| LogError::Directory { dir: dir.to_owned(), message };
    std::fs::create_dir_all(dir).map_err(|error| refused(error.to_string()))?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("roomcast")
        .filename_suffix("log")
        .max_log_files(files_max)
        .build(dir)
        .map_err(|error| refused(error.to_string()))
}

fn background(writer: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("roomcast-log")
        .finish(writer)
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
            Self::AlreadySet => f.write_str("logging was started before in this process; start it once"),
        }
    }
}

impl std::error::Error for LogError {}

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "off"];
/// Lines waiting for a slow console or disk: about 4 MB of usual lines, each sink.
const LINES_WAITING_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_told_from_typing_errors() {
        for good in ["info", "WARN", "info,roomcast::server=debug", "off"] {
            assert_eq!(check_level(good), Ok(()), "{good}");
        }
        for bad in ["inof", "", "info,hyper", "roomcast=loud"] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unwritable_directory_is_named() {
        let error = daily_file(Path::new("/dev/null/logs"), 1).unwrap_err();
        assert!(error.to_string().contains("/dev/null/logs"), "{error}");
    }
}
