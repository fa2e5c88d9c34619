//! Joins defaults, file, environment and flags into one checked configuration.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::options::{NAMESPACE_BYTES_MAX, NAMESPACES_MAX, ROOM, ROOM_BYTES, ROOM_LATER, SECTIONS, Section, Setting};
use super::parse::Format;
use super::setting::Kind as _;
use super::tree::{Node, Value};
use super::{Config, LogFormat, RoomOptions, Storage, StorageKind};

/// What the command line says; what is set here wins over everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Development mode.
    pub dev: bool,
    /// Development mode may listen where other machines reach it.
    pub dev_anywhere: bool,
    /// The file to read.
    pub config: Option<PathBuf>,
    /// Where to listen.
    pub listen: Option<SocketAddr>,
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
    /// The API key that was made up because development mode found none; worth printing once.
    pub generated_api_key: Option<String>,
    /// Things that look wrong and do not stop the server, a line each.
    pub warnings: Vec<String>,
}

/// Loads the configuration `flags` ask for, with the environment of this process.
///
/// # Errors
/// When the file cannot be read, or anything in it, in a `ROOMCAST_…` variable or in the flags cannot be used. The
/// message names the place and what belongs there.
pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    load_from(
        flags,
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    )
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
/// use roomcast::server::config::{Flags, load_from};
///
/// let environment = [("ROOMCAST_CLIENT_PING_INTERVAL".to_owned(), "10s".to_owned())];
/// let loaded = load_from(&Flags::default(), environment).unwrap();
/// assert_eq!(loaded.config.client.ping_interval.as_secs(), 10);
/// ```
pub fn load_from(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let mut config = if flags.dev { Config::dev() } else { Config::default() };
    let mut warnings = Vec::new();
    // Nothing until somebody says something: the default follows from other options.
    let message_bytes = std::mem::take(&mut config.websocket.message_size_limit);
    if let Some(path) = &flags.config {
        apply_file(&mut config, path)?;
    }
    let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        apply_variable(&mut config, &name, value, &mut warnings)?;
    }
    apply_flags(&mut config, flags)?;
    fit_messages(&mut config, message_bytes, &mut warnings);
    check_together(&config)?;
    let generated_api_key = if config.dev && config.http_api.key.is_none() { Some(random_key()?) } else { None };
    if generated_api_key.is_some() {
        config.http_api.key.clone_from(&generated_api_key);
    }
    Ok(Loaded { config, generated_api_key, warnings })
}

fn apply_file(config: &mut Config, path: &Path) -> Result<(), ConfigError> {
    let format = Format::of(path).ok_or_else(|| ConfigError::UnknownFormat { path: path.to_owned() })?;
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes_max: FILE_BYTES_MAX });
    }
    let root = format.parse(&path.display().to_string(), &text)?;
    apply_root(config, &root)
}

fn apply_root(config: &mut Config, root: &Node) -> Result<(), ConfigError> {
    let top = &SECTIONS[0];
    for (key, node) in members(root, "the file")? {
        if let Some(section) = SECTIONS.iter().find(|section| !section.name.is_empty() && section.name == key) {
            apply_section(config, section, node)?;
        } else if !apply_setting(config, top.settings, "", key, node)? {
            let sections = SECTIONS.iter().map(|section| section.name);
            return Err(unknown(node, "", key, top.later, names(top.settings).chain(sections)));
        }
    }
    Ok(())
}

fn apply_section(config: &mut Config, section: &Section, node: &Node) -> Result<(), ConfigError> {
    for (key, node) in members(node, section.name)? {
        match (section.name, key.as_str()) {
            ("channel", "without_namespace") => {
                apply_room(&mut config.channel.without_namespace, "channel.without_namespace", node)?;
            }
            ("channel", "namespaces") => apply_namespaces(config, node)?,
            _ => {
                if !apply_setting(config, section.settings, section.name, key, node)? {
                    let extra: &[&str] =
                        if section.name == "channel" { &["without_namespace", "namespaces"] } else { &[] };
                    let known = names(section.settings).chain(extra.iter().copied());
                    return Err(unknown(node, section.name, key, section.later, known));
                }
            }
        }
    }
    Ok(())
}

fn apply_namespaces(config: &mut Config, node: &Node) -> Result<(), ConfigError> {
    const KEY: &str = "channel.namespaces";
    let Value::List(items) = &node.value else {
        return Err(wrong(node, KEY, format!("expected a list of namespaces, found {}", node.value.describe())));
    };
    if items.len() > NAMESPACES_MAX {
        return Err(wrong(node, KEY, format!("expected at most {NAMESPACES_MAX} namespaces, found {}", items.len())));
    }
    config.channel.namespaces.clear();
    for item in items {
        let name = members(item, KEY)?.iter().find(|(key, _)| key == "name");
        let Some((_, name)) = name else {
            return Err(wrong(item, KEY, "a namespace needs a `name`".to_owned()));
        };
        let Some(text) = String::read(&name.value).filter(|text| is_namespace_name(text)) else {
            let rule = format!("expected 1 to {NAMESPACE_BYTES_MAX} letters, digits, -, _ or . in quotes");
            return Err(wrong(name, "channel.namespaces.name", format!("{rule}, found {}", name.value.describe())));
        };
        let mut options = config.room_defaults();
        apply_room(&mut options, KEY, item)?;
        if config.channel.namespaces.insert(text.clone(), options).is_some() {
            return Err(wrong(name, "channel.namespaces.name", format!("{text:?} is declared twice; keep one")));
        }
    }
    Ok(())
}

fn apply_room(options: &mut RoomOptions, section: &str, node: &Node) -> Result<(), ConfigError> {
    for (key, node) in members(node, section)? {
        if key == "name" && section == "channel.namespaces" {
            continue;
        }
        if !apply_setting(options, ROOM, section, key, node)? {
            return Err(unknown(node, section, key, ROOM_LATER, names(ROOM)));
        }
    }
    Ok(())
}

/// Whether `settings` have the key; takes the value over if so.
fn apply_setting<T>(
    target: &mut T,
    settings: &[Setting<T>],
    section: &str,
    key: &str,
    node: &Node,
) -> Result<bool, ConfigError> {
    let Some(setting) = settings.iter().find(|setting| setting.key == key) else {
        return Ok(false);
    };
    (setting.read)(target, &node.value).map_err(|message| wrong(node, &path(section, key), message))?;
    Ok(true)
}

/// Takes one variable over. One that means nothing is a warning and no error: container platforms put variables named
/// after a service into every process, `ROOMCAST_PORT` among them.
fn apply_variable(
    config: &mut Config,
    name: &str,
    value: String,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let node = Node { place: format!("environment variable {name}"), value: Value::Plain(value) };
    if name == variable("channel", "namespaces") {
        let Value::Plain(text) = &node.value else { return Ok(()) };
        return apply_namespaces(config, &Format::Json.parse(&node.place, text)?);
    }
    for section in SECTIONS {
        if let Some(setting) = section.settings.iter().find(|setting| variable(section.name, setting.key) == name) {
            return apply_setting(config, section.settings, section.name, setting.key, &node).map(|_| ());
        }
    }
    let room = "channel.without_namespace";
    if let Some(setting) = ROOM.iter().find(|setting| variable(room, setting.key) == name) {
        return apply_setting(&mut config.channel.without_namespace, ROOM, room, setting.key, &node).map(|_| ());
    }
    // Sections that are not served at all are left to the warning below: their names are short, and a platform's
    // variable for a service such as `roomcast-node` would begin like them.
    let later = SECTIONS.iter().skip(1).flat_map(|section| section.later.iter().map(|key| (section.name, *key)));
    let mut later = later.chain(ROOM_LATER.iter().map(|key| (room, *key)));
    let is_of = |known: &str| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    if let Some((section, key)) = later.find(|(section, key)| is_of(&variable(section, key))) {
        return Err(ConfigError::NotSupportedYet { place: node.place, key: path(section, key) });
    }
    if !OTHER_VARIABLES.contains(&name) {
        let all = SECTIONS.iter().flat_map(|section| names(section.settings).map(|key| variable(section.name, key)));
        let all: Vec<String> = all.chain(names(ROOM).map(|key| variable(room, key))).collect();
        let hint = nearest(name, all.iter().map(String::as_str))
            .map_or_else(String::new, |it| format!("; did you mean {it}?"));
        warnings.push(format!("environment variable {name} means nothing to roomcast{hint}"));
    }
    Ok(())
}

fn apply_flags(config: &mut Config, flags: &Flags) -> Result<(), ConfigError> {
    if let Some(listen) = flags.listen {
        (config.http_server.address, config.http_server.port) = (listen.ip(), listen.port());
    }
    if let Some(data_dir) = &flags.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if let Some(level) = &flags.log_level {
        let node = Node { place: "--log-level".to_owned(), value: Value::Plain(level.clone()) };
        let log = SECTIONS.iter().find(|section| section.name == "log").map_or(&[][..], |section| section.settings);
        apply_setting(config, log, "log", "level", &node)?;
    }
    if let Some(format) = flags.log_format {
        config.log.format = format;
    }
    if let Some(shards) = flags.shards {
        let node = Node { place: "--shards".to_owned(), value: Value::Plain(shards.to_string()) };
        apply_setting(config, SECTIONS[0].settings, "", "shards", &node)?;
    }
    config.dev_anywhere = config.dev && flags.dev_anywhere;
    let address = config.http_server.socket_addr();
    if config.dev && !flags.dev_anywhere && !address.ip().is_loopback() {
        return Err(ConfigError::DevExposed { address });
    }
    Ok(())
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

/// What no option can see alone.
fn check_together(config: &Config) -> Result<(), ConfigError> {
    let conflict = |message: String| Err(ConfigError::Conflict(message));
    if config.client.pong_timeout >= config.client.ping_interval {
        let [pong, ping] = [config.client.pong_timeout, config.client.ping_interval].map(humantime::format_duration);
        return conflict(format!("`client.pong_timeout` {pong} must be shorter than `client.ping_interval` {ping}"));
    }
    let rooms = config.client.channel_limit;
    if config.client.commands_per_message() <= rooms {
        let (commands, enough) = (config.client.commands_per_message(), rooms + 1);
        return conflict(format!(
            "`client.message_command_limit` {commands} must be {enough} or more: a client that comes back sends connect and a \
             subscribe for each of its rooms (`client.channel_limit` {rooms}) in one message"
        ));
    }
    for room in &config.client.subscribe_on_connect {
        let Some(options) = config.channel.options_for(room) else {
            return conflict(format!("`client.subscribe_on_connect`: {room:?} is of a namespace that nobody declared"));
        };
        if !options.allows_name(room) {
            return conflict(format!("`client.subscribe_on_connect`: {room:?} does not match its `channel_regex`"));
        }
    }
    if config.client.subscribe_on_connect.len() > config.client.channel_limit {
        return conflict(
            "`client.subscribe_on_connect` names more rooms than `client.channel_limit` allows".to_owned(),
        );
    }
    let unnamed = std::iter::once(("channel.without_namespace".to_owned(), &config.channel.without_namespace));
    let named = config.channel.namespaces.iter().map(|(name, options)| (format!("namespace `{name}`"), options));
    for (place, options) in unnamed.chain(named) {
        if options.history_size > 0 && options.history_ttl.is_zero() && options.storage == Storage::Off {
            return conflict(format!("{place}: `history_size` needs `history_ttl`, for example \"24h\""));
        }
        if options.history_meta_ttl < options.history_ttl {
            return conflict(format!("{place}: `history_meta_ttl` must not be shorter than `history_ttl`"));
        }
        // Development mode turns recovery on where nobody spoke of it, so a room without history is no contradiction.
        let recovers = options.allow_recovery || options.force_recovery;
        if recovers && options.history_size == 0 && !config.dev {
            return conflict(format!("{place}: recovery needs `history_size` and `history_ttl`"));
        }
    }
    if config.storage.kind == StorageKind::PostgreSql && config.storage.url.is_none() && config.stores() {
        return conflict("`storage.type` is postgresql, which needs `storage.url`".to_owned());
    }
    Ok(())
}

fn random_key() -> Result<String, ConfigError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| ConfigError::NoRandomness(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn members<'a>(node: &'a Node, section: &str) -> Result<&'a [(String, Node)], ConfigError> {
    match &node.value {
        Value::Table(members) => Ok(members),
        other => Err(wrong(node, section, format!("expected a section with options, found {}", other.describe()))),
    }
}

fn wrong(node: &Node, key: &str, message: String) -> ConfigError {
    ConfigError::Value { place: node.place.clone(), key: key.to_owned(), message }
}

fn unknown<'a>(
    node: &Node,
    section: &str,
    key: &str,
    later: &[&str],
    known: impl Iterator<Item = &'a str>,
) -> ConfigError {
    let (place, written) = (node.place.clone(), path(section, key));
    if later.contains(&key) {
        return ConfigError::NotSupportedYet { place, key: written };
    }
    ConfigError::UnknownKey { place, key: written, nearest: nearest(key, known).map(|known| path(section, known)) }
}

/// The name most like `key`, when it is like enough to be a typing error.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::jaro_winkler(key, known), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

fn is_namespace_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAMESPACE_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

fn names<T>(settings: &'static [Setting<T>]) -> impl Iterator<Item = &'static str> {
    settings.iter().map(|setting| setting.key)
}

fn path(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}", path(section, key).replace('.', "_").to_ascii_uppercase())
}

const PREFIX: &str = "ROOMCAST_";
/// Variables of ours that are no options: the file to read, whom to ask, and the binary that test suites start.
const OTHER_VARIABLES: &[&str] = &["ROOMCAST_CONFIG", "ROOMCAST_HEALTH_URL", "ROOMCAST_BIN"];
/// Far more than a thousand namespaces need.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Between 0, nothing in common, and 1, equal: transposed or missing letters stay well above this.
const ALIKE: f64 = 0.8;
