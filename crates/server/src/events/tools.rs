//! What `roomcast events` does with the log of a configuration.

use std::fmt::Write as _;

use super::error::EventsError;
use super::ledger;
use super::log::{self, Log};
use crate::config::Config;
use crate::util::clock::unix_ms;

/// Events that a listing reads at once.
const LISTED_AT_ONCE: usize = 256;

/// Where the log and the backend are, in words and one fact a line.
///
/// # Errors
/// When there is no log, or it cannot be read.
pub fn status(config: &Config) -> Result<String, EventsError> {
    let path = config.events_log();
    let connection = log::open_to_read(&path)?;
    let explain = |error| EventsError::sqlite(&path, error);
    let position = log::position(&connection).map_err(explain)?;
    let oldest = log::first(&connection).map_err(explain)?;
    let waiting_since = log::time_after(&connection, position.cursor).map_err(explain)?;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10}{value}");
    };
    line("log", path.display().to_string());
    line("epoch", position.epoch.clone());
    line("oldest", oldest.map_or_else(|| "none".to_owned(), |oldest| oldest.to_string()));
    line("newest", position.head.to_string());
    line("delivered", position.cursor.to_string());
    line("lag", (position.head.saturating_sub(position.cursor)).to_string());
    if let Some(since_ms) = waiting_since {
        line("waits", format!("{} s", unix_ms().saturating_sub(since_ms) / 1_000));
    }
    line("bytes", position.bytes.to_string());
    Ok(out)
}

/// Hands `show` up to `limit` events from `from` on, or from where the backend is, as lines of JSON, some at once.
///
/// # Errors
/// When there is no log, or it cannot be read; and those of `show`, which end it.
pub fn list<E: From<EventsError>>(
    config: &Config,
    from: Option<u64>,
    limit: usize,
    mut show: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let path = config.events_log();
    let connection = log::open_to_read(&path)?;
    let explain = |error| EventsError::sqlite(&path, error);
    let mut after = match from {
        Some(from) => from.saturating_sub(1),
        None => log::position(&connection).map_err(explain)?.cursor,
    };
    let mut left = limit;
    while left > 0 {
        let (events, _) = log::read(&connection, after, left.min(LISTED_AT_ONCE), unix_ms()).map_err(explain)?;
        let Some(last) = events.last() else { break };
        (after, left) = (last.offset, left.saturating_sub(events.len()));
        let mut lines = Vec::new();
        for event in &events {
            event.write(&mut lines);
            lines.push(b'\n');
        }
        show(&String::from_utf8_lossy(&lines))?;
    }
    Ok(())
}

/// Has the next event that is delivered be the one behind `offset`, on or back: those between are not told, or told again. The
/// server must not run.
///
/// # Errors
/// When there is no log, the server has it, or there is no such event.
pub fn skip(config: &Config, offset: u64) -> Result<String, EventsError> {
    let path = config.events_log();
    // There is one to skip in.
    drop(log::open_to_read(&path)?);
    let log = Log::open(&path, "")?;
    let before = ledger::skip(&log, offset)?;
    Ok(format!("the backend was at {before} and is at {offset}\n"))
}
