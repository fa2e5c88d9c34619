//! What is said about a configuration, piece by piece: options are taken over, and what is wrong is gathered.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::ConfigError;
use super::load::Flags;
use super::options::{NAMESPACE_BYTES_MAX, NAMESPACES_MAX, ROOM, ROOM_LATER, SECTIONS, Section, Setting};
use super::parse::Format;
use super::setting::{Kind as _, listen};
use super::tree::{Node, Value};
use super::{Config, NamespaceOptions, transports};

/// A configuration in the making.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) notes: Notes,
    pub(super) warnings: Vec<String>,
}

/// What was seen on the way.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What cannot be used, in the order in which it was read.
    pub(super) problems: Vec<ConfigError>,
    /// Where each option was written last, by its path; `None` where it could not be used.
    written: HashMap<String, Option<String>>,
}

impl Draft {
    pub(super) fn new(config: Config) -> Self {
        Self { config, notes: Notes::default(), warnings: Vec::new() }
    }

    /// Takes a file over.
    pub(super) fn file(&mut self, path: &Path) {
        match read(path) {
            Ok(root) => self.root(&root),
            Err(error) => self.notes.problems.push(error),
        }
    }

    fn root(&mut self, root: &Node) {
        let top = SECTIONS[0];
        for (key, node) in self.notes.members(root, "the file") {
            if let Some(section) = section_named(key).filter(|section| !section.name.contains('.')) {
                self.section(section, node);
            } else if !self.notes.setting(&mut self.config, top.settings, ["", ""], key, node) {
                let sections = SECTIONS.iter().map(|section| section.name).filter(|name| !name.contains('.'));
                let known = names(top.settings).chain(sections);
                let later = [top.later, transports::LATER].concat();
                self.notes.problems.push(unknown(node, "", key, &later, known));
            }
        }
    }

    fn section(&mut self, section: &Section, node: &Node) {
        for (key, node) in self.notes.members(node, section.name) {
            match (section.name, key.as_str()) {
                ("channel", "without_namespace") => {
                    let options = &mut self.config.channel.without_namespace;
                    self.notes.room(options, ["channel.without_namespace"; 2], node);
                }
                ("channel", "namespaces") => self.namespaces(node),
                (name, key) if section_named(&path(name, key)).is_some() => {
                    if let Some(section) = section_named(&path(name, key)) {
                        self.section(section, node);
                    }
                }
                (name, key) => {
                    if !self.notes.setting(&mut self.config, section.settings, [name; 2], key, node) {
                        let extra: &[&str] = match name {
                            "channel" => &["without_namespace", "namespaces"],
                            "client" => &["token", "subscription_token", "subscribe_to_user_personal_channel"],
                            _ => &[],
                        };
                        let known = names(section.settings).chain(extra.iter().copied());
                        self.notes.problems.push(unknown(node, name, key, section.later, known));
                    }
                }
            }
        }
    }

    fn namespaces(&mut self, node: &Node) {
        const KEY: &str = "channel.namespaces";
        let problems = &mut self.notes.problems;
        let Value::List(items) = &node.value else {
            let found = node.value.describe();
            return problems.push(wrong(node, KEY, format!("expected a list of namespaces, found {found}")));
        };
        if items.len() > NAMESPACES_MAX {
            let found = items.len();
            return problems.push(wrong(
                node,
                KEY,
                format!("expected at most {NAMESPACES_MAX} namespaces, found {found}"),
            ));
        }
        self.config.channel.namespaces.clear();
        for item in items {
            let name = self.namespace_name(item);
            let mut options = self.config.room_defaults();
            let scope = name.as_deref().map_or_else(|| KEY.to_owned(), scope_of);
            self.notes.written.insert(scope.clone(), Some(item.place.clone()));
            self.notes.room(&mut options, [KEY, &scope], item);
            if let Some(name) = name {
                self.config.channel.namespaces.insert(name, options);
            }
        }
    }

    /// The name of a namespace, if it has one that can be used.
    fn namespace_name(&mut self, item: &Node) -> Option<String> {
        const KEY: &str = "channel.namespaces.name";
        let Value::Table(members) = &item.value else { return None };
        let problems = &mut self.notes.problems;
        let Some((_, name)) = members.iter().find(|(key, _)| key == "name") else {
            problems.push(wrong(item, "channel.namespaces", "a namespace needs a `name`".to_owned()));
            return None;
        };
        let Some(text) = String::read(&name.value).filter(|text| is_namespace_name(text)) else {
            let rule = format!("expected 1 to {NAMESPACE_BYTES_MAX} letters, digits, -, _ or . in quotes");
            problems.push(wrong(name, KEY, format!("{rule}, found {}", name.value.describe())));
            return None;
        };
        if self.config.channel.namespaces.contains_key(&text) {
            problems.push(wrong(name, KEY, format!("{text:?} is declared twice; keep one")));
            return None;
        }
        Some(text)
    }

    /// Takes one variable over. One that means nothing is a warning and no error: container platforms put variables named
    /// after a service into every process, `ROOMCAST_PORT` among them.
    pub(super) fn variable(&mut self, name: &str, value: String) {
        let node = Node { place: format!("environment variable {name}"), value: Value::Plain(value) };
        if name == variable("channel", "namespaces") {
            let Value::Plain(text) = &node.value else { return };
            return match Format::Json.parse(&node.place, text) {
                Ok(list) => self.namespaces(&list),
                Err(error) => self.notes.problems.push(error),
            };
        }
        for section in SECTIONS.iter() {
            if let Some(setting) = section.settings.iter().find(|setting| variable(section.name, setting.key) == name) {
                self.notes.setting(&mut self.config, section.settings, [section.name; 2], setting.key, &node);
                return;
            }
        }
        let room = "channel.without_namespace";
        if let Some(setting) = ROOM.iter().find(|setting| variable(room, setting.key) == name) {
            self.notes.setting(&mut self.config.channel.without_namespace, ROOM, [room; 2], setting.key, &node);
            return;
        }
        // Sections that are not served at all are left to the warning below: their names are short, and a platform's
        // variable for a service such as `roomcast-node` would begin like them.
        let later = SECTIONS.iter().skip(1).flat_map(|section| section.later.iter().map(|key| (section.name, *key)));
        let mut later = later.chain(ROOM_LATER.iter().map(|key| (room, *key)));
        let is_of = |known: &str| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        if let Some((section, key)) = later.find(|(section, key)| is_of(&variable(section, key))) {
            let key = path(section, key);
            return self.notes.problems.push(ConfigError::NotSupportedYet { place: node.place, key });
        }
        if !OTHER_VARIABLES.contains(&name) {
            let all =
                SECTIONS.iter().flat_map(|section| names(section.settings).map(|key| variable(section.name, key)));
            let all: Vec<String> = all.chain(names(ROOM).map(|key| variable(room, key))).collect();
            let hint = nearest(name, all.iter().map(String::as_str))
                .map_or_else(String::new, |it| format!("; did you mean {it}?"));
            self.warnings.push(format!("environment variable {name} means nothing to roomcast{hint}"));
        }
    }

    /// Takes over what the command line says.
    pub(super) fn flags(&mut self, flags: &Flags) {
        let Self { config, notes, .. } = self;
        let said = |flag: &str, value: String| Node { place: flag.to_owned(), value: Value::Plain(value) };
        if let Some(text) = &flags.listen {
            match listen(text) {
                Ok((address, port)) => {
                    config.http_server.address = address.unwrap_or(config.http_server.address);
                    config.http_server.port = port.unwrap_or(config.http_server.port);
                }
                Err(message) => {
                    notes.problems.push(wrong(&said("--listen", text.clone()), "http_server.address", message));
                }
            }
        }
        if let Some(data_dir) = &flags.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if let Some(level) = &flags.log_level {
            let log = SECTIONS.iter().find(|section| section.name == "log").map_or(&[][..], |section| section.settings);
            notes.setting(config, log, ["log"; 2], "level", &said("--log-level", level.clone()));
        }
        if let Some(format) = flags.log_format {
            config.log.format = format;
        }
        if let Some(shards) = flags.shards {
            notes.setting(config, SECTIONS[0].settings, [""; 2], "shards", &said("--shards", shards.to_string()));
        }
        config.dev_anywhere = config.dev && flags.dev_anywhere;
        let address = config.http_server.socket_addr();
        if config.dev && !flags.dev_anywhere && !address.ip().is_loopback() {
            notes.problems.push(ConfigError::DevExposed { address });
        }
    }
}

impl Notes {
    /// Notes that options contradict each other, with the place of the first that was written, unless one of them could not
    /// be used, which was said already.
    pub(super) fn conflict(&mut self, options: &[&str], message: &str) {
        let places: Vec<_> = options.iter().filter_map(|option| self.written.get(*option)).collect();
        if places.iter().any(|place| place.is_none()) {
            return;
        }
        let place = places.into_iter().flatten().next().map_or_else(String::new, |place| format!("{place}: "));
        self.problems.push(ConfigError::Conflict(format!("{place}{message}")));
    }

    fn members<'a>(&mut self, node: &'a Node, section: &str) -> &'a [(String, Node)] {
        if let Value::Table(members) = &node.value {
            return members;
        }
        let found = node.value.describe();
        self.problems.push(wrong(node, section, format!("expected a section with options, found {found}")));
        &[]
    }

    /// Takes the options of a room over.
    fn room(&mut self, options: &mut NamespaceOptions, [section, scope]: [&str; 2], node: &Node) {
        for (key, node) in self.members(node, section) {
            if key == "name" && section == "channel.namespaces" {
                continue;
            }
            if !self.setting(options, ROOM, [section, scope], key, node) {
                self.problems.push(unknown(node, section, key, ROOM_LATER, names(ROOM)));
            }
        }
    }

    /// Whether `settings` have the key; takes the value over if so. `scope` is the section, or the one of several.
    fn setting<T>(
        &mut self,
        target: &mut T,
        settings: &[Setting<T>],
        [section, scope]: [&str; 2],
        key: &str,
        node: &Node,
    ) -> bool {
        let Some(setting) = settings.iter().find(|setting| setting.key == key) else {
            return false;
        };
        let read = (setting.read)(target, &node.value);
        self.written.insert(path(scope, key), read.is_ok().then(|| node.place.clone()));
        self.problems.extend(read.err().map(|message| wrong(node, &path(section, key), message)));
        true
    }
}

/// The section of that name; one inside of another has the names of both.
fn section_named(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| !section.name.is_empty() && section.name == name).copied()
}

/// Under which name the options of a namespace are noted.
pub(super) fn scope_of(namespace: &str) -> String {
    format!("namespace `{namespace}`")
}

fn read(path: &Path) -> Result<Node, ConfigError> {
    let format = Format::of(path).ok_or_else(|| ConfigError::UnknownFormat { path: path.to_owned() })?;
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes_max: FILE_BYTES_MAX });
    }
    // Editors of some systems put it before a text; it says nothing.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    format.parse(&path.display().to_string(), text)
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

pub(super) fn path(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}", path(section, key).replace('.', "_").to_ascii_uppercase())
}

pub(super) const PREFIX: &str = "ROOMCAST_";
/// Variables of ours that are no options: the file to read, whom to ask, and the binary that test suites start.
const OTHER_VARIABLES: &[&str] = &["ROOMCAST_CONFIG", "ROOMCAST_HEALTH_URL", "ROOMCAST_BIN"];
/// Far more than a thousand namespaces need.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Between 0, nothing in common, and 1, equal: transposed or missing letters stay well above this.
const ALIKE: f64 = 0.8;
