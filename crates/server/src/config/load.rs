//! Joins defaults, file, environment and flags into one checked configuration.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::answers::Answer;
use super::draft::{Draft, Notes};
use super::error::ConfigError;
use super::options::ROOM_BYTES;
use super::tree::Node;
use super::variables::Environment;
use super::{Config, LogFormat, file};

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
    /// Options of the file that this server may go without although somebody relies on them, by name.
    pub accept: Vec<String>,
    /// Nobody is served: what is missing for that stops nothing, and is not said.
    pub is_tool: bool,
}

/// A configuration and what a person should hear about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration to run with.
    pub config: Config,
    /// Things that look wrong and do not stop the server, a line each.
    pub warnings: Vec<String>,
    /// What a person should know who moves in with a file of Centrifugo's.
    pub hint: Option<String>,
}

/// All there is to say about a configuration, for a person who corrects it or moves in with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Review {
    /// What it comes to, as far as it can be used.
    pub loaded: Loaded,
    /// All that is wrong with it, in the order in which it was read.
    pub problems: Vec<ConfigError>,
    /// What becomes of each option that was set.
    pub answers: Vec<Answer>,
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
/// variable with a JSON list, `ROOMCAST_CHANNEL_NAMESPACES`, and the options of one that is declared have variables of their
/// own: `ROOMCAST_CHANNEL_NAMESPACES_CHAT_PRESENCE`. Those named `CENTRIFUGO_` count as well, and less.
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
    let Review { loaded, problems, .. } = review_from(flags, environment);
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
    let Review { loaded, problems, .. } = review_from(flags, environment);
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

/// What all that is said comes to, what of it cannot be used, and what becomes of each option.
#[must_use]
pub fn review(flags: &Flags) -> Review {
    review_from(flags, variables())
}

/// The same, with the environment given.
pub fn review_from(flags: &Flags, environment: impl IntoIterator<Item = (String, String)>) -> Review {
    review_read(flags, Environment::new(environment), |environment, notes| match &flags.config {
        Some(path) => {
            environment.read_beside(path, notes);
            file::read(path)
        }
        None => Ok(file::nothing()),
    })
}

/// The same of a file that has this name and this text, without an environment.
#[cfg(any(test, roomcast_fuzz))]
pub(crate) fn review_text(flags: &Flags, name: &str, text: &str) -> Review {
    review_read(flags, Environment::new([]), |_, _| file::read_text(name.as_ref(), text))
}

fn review_read(
    flags: &Flags,
    mut environment: Environment,
    read: impl FnOnce(&mut Environment, &mut Notes) -> Result<Node, ConfigError>,
) -> Review {
    let mut draft = Draft::new(if flags.dev { Config::dev() } else { Config::default() }, flags);
    // Nothing until somebody says something: the default follows from other options.
    let message_bytes = std::mem::take(&mut draft.config.websocket.message_size_limit);
    draft.config.channel.without_namespace.history_meta_ttl = Duration::ZERO;
    let mut root = read(&mut environment, &mut draft.notes).unwrap_or_else(|error| {
        draft.notes.problems.push(error);
        file::nothing()
    });
    environment.lay_over(&mut root, &mut draft.notes);
    draft.root(&root);
    for variable in environment.rest() {
        draft.variable(&variable);
    }
    draft.flags(flags);
    let Draft { config, notes } = &mut draft;
    fit_messages(config, message_bytes, &mut notes.warnings);
    let of_all = config.channel.history_meta_ttl;
    for options in config.channel.all_options_mut().filter(|options| options.history_meta_ttl.is_zero()) {
        options.history_meta_ttl = of_all;
    }
    draft.check_together();
    draft.config.channel.inherit_data_format();
    draft.notes.check_accepted();
    let Draft { config, notes } = draft;
    let hint = notes.unsaid(flags);
    let Notes { problems, warnings, answers, .. } = notes;
    Review { loaded: Loaded { config, warnings, hint }, problems, answers }
}

pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
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
