//! Joins defaults, file, environment and flags into one checked configuration.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::draft::{Draft, PREFIX};
use super::error::ConfigError;
use super::options::ROOM_BYTES;
use super::{Config, LogFormat};

/// What the command line says; what is set here wins over everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Development mode.
    pub dev: bool,
    /// Development mode may listen where other machines reach it.
    pub dev_anywhere: bool,
    /// The file to read.
    pub config: Option<PathBuf>,
    /// Where to listen: an address of this machine, a port, or both.
    pub listen: Option<String>,
    /// Where logs are kept.
    pub data_dir: Option<PathBuf>,
    /// What is logged.
    pub log_level: Option<String>,
    /// How a line of the log looks.
    pub log_format: Option<LogFormat>,
    /// How many shards deliver.
    pub shards: Option<NonZeroUsize>,
}

/// A configuration and what a person should hear about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration to run with.
    pub config: Config,
    /// Things that look wrong and do not stop the server, a line each.
    pub warnings: Vec<String>,
}

/// Loads the configuration `flags` ask for, with the environment of this process.
///
/// # Errors
/// When the file cannot be read, or anything in it, in a `ROOMCAST_…` variable or in the flags cannot be used. The
/// message names the place and what belongs there.
pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    load_from(flags, variables())
}

/// The same, with the environment given: for tests and for embedding.
///
/// A variable is named `ROOMCAST_`, the section and the option: `ROOMCAST_CLIENT_PING_INTERVAL=10s`. Namespaces are one
/// variable with a JSON list, `ROOMCAST_CHANNEL_NAMESPACES`.
///
/// # Errors
/// As [`load`].
///
/// ```
/// use roomcast_server::config::{Flags, load_from};
///
/// let environment = [("ROOMCAST_CLIENT_PING_INTERVAL".to_owned(), "10s".to_owned())];
/// let loaded = load_from(&Flags::default(), environment).unwrap();
/// assert_eq!(loaded.config.client.ping_interval.as_secs(), 10);
/// ```
pub fn load_from(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let (loaded, problems) = read(flags, environment);
    problems.into_iter().next().map_or(Ok(loaded), Err)
}

/// The same, with everything that is wrong and not the first of it alone: for a person who corrects it.
///
/// # Errors
/// All that [`load`] might say, in the order in which it was read. It is never empty.
pub fn check(flags: &Flags) -> Result<Loaded, Vec<ConfigError>> {
    check_from(flags, variables())
}

/// The same, with the environment given.
///
/// # Errors
/// As [`check`].
///
/// ```
/// use roomcast_server::config::{Flags, check_from};
///
/// let environment = [("ROOMCAST_SHARDS", "none"), ("ROOMCAST_HTTP_SERVER_PORT", "web")];
/// let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
/// assert_eq!(check_from(&Flags::default(), environment).unwrap_err().len(), 2);
/// ```
pub fn check_from(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Vec<ConfigError>> {
    let (loaded, problems) = read(flags, environment);
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

/// What all that is said comes to, and what of it cannot be used.
fn read(flags: &Flags, environment: impl IntoIterator<Item = (String, String)>) -> (Loaded, Vec<ConfigError>) {
    let mut draft = Draft::new(if flags.dev { Config::dev() } else { Config::default() });
    // Nothing until somebody says something: the default follows from other options.
    let message_bytes = std::mem::take(&mut draft.config.websocket.message_size_limit);
    if let Some(path) = &flags.config {
        draft.file(path);
    }
    let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        draft.variable(&name, value);
    }
    draft.flags(flags);
    fit_messages(&mut draft.config, message_bytes, &mut draft.warnings);
    draft.check_together();
    let Draft { config, notes, warnings } = draft;
    (Loaded { config, warnings }, notes.problems)
}

fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Makes the largest message one that a client in as many rooms as it may be in can come back with; says so where it was told
/// otherwise.
fn fit_messages(config: &mut Config, default: usize, warnings: &mut Vec<String>) {
    let rooms = config.client.channel_limit;
    let needed = rooms * ROOM_BYTES;
    let limit = &mut config.websocket.message_size_limit;
    match *limit {
        0 => *limit = needed.max(default),
        bytes if bytes < needed => warnings.push(format!(
            "`websocket.message_size_limit` {bytes} may be too small for `client.channel_limit` {rooms}: a client that comes back \
             sends connect and a subscribe for each of its rooms in one message; {needed} is always enough"
        )),
        _ => {}
    }
}
