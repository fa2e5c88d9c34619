//! What is said about a configuration, piece by piece: options are taken over, and what is wrong is gathered.

use std::collections::HashMap;
use std::time::Duration;

use super::absent::{self, Absent, NULL, Weight};
use super::answers::{Answer, Verdict, served};
use super::error::ConfigError;
use super::load::Flags;
use super::options::{NAMESPACE_BYTES_MAX, NAMESPACES_MAX, ROOM, SECTIONS, Section, Setting};
use super::setting::{Kind as _, listen};
use super::tree::{Node, Value};
use super::variables::{Variable, variable_of};
use super::{Config, NamespaceOptions, proxy_lists};

/// A configuration in the making.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) notes: Notes,
}

/// What was seen on the way.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What cannot be used, in the order in which it was read.
    pub(super) problems: Vec<ConfigError>,
    /// What looks wrong and stops nobody.
    pub(super) warnings: Vec<String>,
    /// What becomes of each option.
    pub(super) answers: Vec<Answer>,
    /// Options that this server may go without although the file promises them, and whether one was missed.
    accepted: HashMap<String, bool>,
    /// The namespace that is read, while one is.
    namespace: Option<String>,
    /// Nobody is served.
    is_tool: bool,
    /// Where each option was written last, by its path; `None` where it could not be used.
    written: HashMap<String, Option<String>>,
}

impl Draft {
    pub(super) fn new(config: Config, flags: &Flags) -> Self {
        let accepted = flags.accept.iter().map(|key| (key.clone(), false)).collect();
        Self { config, notes: Notes { accepted, is_tool: flags.is_tool, ..Notes::default() } }
    }

    /// Takes over what a file says.
    pub(super) fn root(&mut self, root: &Node) {
        let top = SECTIONS[0];
        for (key, node) in self.notes.members(root, "the file") {
            if key == proxy_lists::PROXIES {
                self.proxies(node);
            } else if let Some(section) = section_named(key).filter(|section| !section.name.contains('.')) {
                self.section(section, node);
            } else if !self.notes.setting(&mut self.config, top.settings, ["", ""], key, node) {
                let sections = SECTIONS.iter().map(|section| section.name).filter(|name| !name.contains('.'));
                let known = names(top.settings).chain(sections);
                self.notes.foreign(node, "", key, known);
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
                ("rpc", "namespaces") => self.rpc_namespaces(node),
                (name, key) if section_named(&path(name, key)).is_some() => {
                    if let Some(section) = section_named(&path(name, key)) {
                        self.section(section, node);
                    }
                }
                (name, key) => {
                    if !self.notes.setting_within(&mut self.config, section.settings, [name; 2], key, node) {
                        let extra: &[&str] = match name {
                            "channel" => &["without_namespace", "namespaces"],
                            _ => &[],
                        };
                        let inside =
                            SECTIONS.iter().filter_map(|section| section.name.strip_prefix(name)?.strip_prefix('.'));
                        let known = names(section.settings).chain(extra.iter().copied()).chain(inside);
                        self.notes.foreign(node, name, key, known);
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
            options.history_meta_ttl = Duration::ZERO;
            let scope = name.as_deref().map_or_else(|| KEY.to_owned(), scope_of);
            self.notes.written.insert(scope.clone(), Some(item.place.clone()));
            self.notes.namespace.clone_from(&name);
            self.notes.room(&mut options, [KEY, &scope], item);
            self.notes.namespace = None;
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
    pub(super) fn variable(&mut self, variable: &Variable) {
        let Variable { prefix, name, node } = variable;
        let is = |section: &str, key: &str| *name == variable_of(prefix, &path(section, key));
        for section in SECTIONS.iter() {
            if let Some(setting) = section.settings.iter().find(|setting| is(section.name, setting.key)) {
                self.notes.setting(&mut self.config, section.settings, [section.name; 2], setting.key, node);
                return;
            }
        }
        let room = "channel.without_namespace";
        if let Some(setting) = ROOM.iter().find(|setting| is(room, setting.key)) {
            self.notes.setting(&mut self.config.channel.without_namespace, ROOM, [room; 2], setting.key, node);
            return;
        }
        if let Some((path, entry)) = absent::alone().find(|(path, _)| is("", path)) {
            return self.notes.not_served(node, &path, entry);
        }
        if variable.is_of_platform() {
            return;
        }
        // What is in a section that is not served at all, or of things that are not. Of ours it is left to the warning: a
        // platform's variable for a service such as `roomcast-node` would begin like it.
        let section = absent::alone().filter(|(path, _)| variable.is_in(path));
        if let Some((section, entry)) = section.max_by_key(|(path, _)| path.len()) {
            let rest = name[variable_of(prefix, &section).len()..].trim_start_matches('_').to_ascii_lowercase();
            return self.notes.not_served(node, &path(&section, &rest), entry);
        }
        let all = SECTIONS.iter().flat_map(|section| names(section.settings).map(|key| path(section.name, key)));
        // Without what all of them begin with, by which all would be alike.
        let all = all.chain(names(ROOM).map(|key| path(room, key))).map(|path| variable_of("", &path));
        let all: Vec<String> = all.collect();
        let hint = nearest(&name[prefix.len()..], all.iter().map(String::as_str))
            .map_or_else(String::new, |it| format!("; did you mean {prefix}{it}?"));
        self.notes.warnings.push(format!("{} means nothing to roomcast{hint}", node.place));
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
        let addresses = [Some(config.http_server.socket_addr()), config.http_server.internal_socket_addr()];
        let exposed = addresses.into_iter().flatten().find(|address| !address.ip().is_loopback());
        if let Some(address) = exposed.filter(|_| config.dev && !flags.dev_anywhere && !config.http_server.unix_only) {
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

    /// Notes that something was written, and where.
    pub(super) fn noticed(&mut self, scope: &str, place: &str) {
        self.written.insert(scope.to_owned(), Some(place.to_owned()));
    }

    fn members<'a>(&mut self, node: &'a Node, section: &str) -> &'a [(String, Node)] {
        match &node.value {
            Value::Table(members) => return members,
            Value::Other(NULL) => return &[],
            _ => {}
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
                self.foreign(node, section, key, names(ROOM));
            }
        }
    }

    /// Answers an option that this server has not: one that is not served, or a typing error.
    pub(super) fn foreign<'a>(&mut self, node: &Node, section: &str, key: &str, known: impl Iterator<Item = &'a str>) {
        let written = path(section, key);
        // One with a dot in its own name is no path.
        if absent::knows(&written) && !key.contains('.') {
            return self.absent(node, &written);
        }
        let nearest = nearest(key, known).map(|known| path(section, known));
        self.unknown(node, written, nearest);
    }

    fn unknown(&mut self, node: &Node, key: String, nearest: Option<String>) {
        let place = node.place.clone();
        match self.accepts(&key) {
            true => self.warnings.push(format!("{place}: there is no option `{}`", key.escape_debug())),
            false => self.problems.push(ConfigError::UnknownKey { place, key, nearest }),
        }
    }

    /// Whether the server may go without this option: wherever it stands, or in the namespace that is read.
    fn accepts(&mut self, key: &str) -> bool {
        let in_this = self.namespace.as_ref().and_then(|name| {
            let option = key.strip_prefix("channel.namespaces.")?;
            Some(format!("channel.namespaces.{name}.{option}"))
        });
        let mut is_accepted = false;
        for key in in_this.as_deref().into_iter().chain([key]) {
            if let Some(was_missed) = self.accepted.get_mut(key) {
                *was_missed = true;
                is_accepted = true;
            }
        }
        is_accepted
    }

    /// Answers each option that is here or in here, of which none is served.
    fn absent(&mut self, node: &Node, written: &str) {
        match &node.value {
            Value::Table(members) if !members.is_empty() => {
                for (key, node) in members {
                    let written = path(written, key);
                    match absent::knows(&written) {
                        true => self.absent(node, &written),
                        false => self.unknown(node, written, None),
                    }
                }
            }
            Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Table(_))) => {
                items.iter().for_each(|item| self.absent(item, written));
            }
            _ => match absent::find(written) {
                Some(entry) => self.not_served(node, written, entry),
                // A section without anything in it.
                None => self.answer(node, written, Verdict::Holds),
            },
        }
    }

    /// Answers an option that is not served.
    fn not_served(&mut self, node: &Node, key: &str, entry: &Absent) {
        if self.is_tool {
            return;
        }
        let (place, meaning) = (node.place.clone(), entry.meaning);
        let verdict = match entry.weight {
            Weight::Always => Verdict::Differs(meaning),
            _ if !entry.is_asked_for(&node.value) => Verdict::Holds,
            Weight::Otherwise => Verdict::Differs(meaning),
            Weight::Part => Verdict::Unused(meaning),
            Weight::Missing => Verdict::Missing(meaning),
            Weight::Refused if self.accepts(key) => Verdict::Missing(meaning),
            Weight::Refused => {
                let key = key.to_owned();
                self.problems.push(ConfigError::NotServed { place: place.clone(), key, meaning });
                Verdict::Refused(meaning)
            }
        };
        if let Verdict::Missing(meaning) = verdict {
            self.warnings.push(format!("{place}: `{key}` is not served: {meaning}"));
        }
        self.answer(node, key, verdict);
    }

    fn answer(&mut self, node: &Node, key: &str, verdict: Verdict) {
        self.answers.push(Answer { place: node.place.clone(), key: key.to_owned(), verdict });
    }

    /// What a file of Centrifugo's means otherwise by saying nothing of it.
    pub(super) fn unsaid(&self, flags: &Flags) -> Option<String> {
        let is_centrifugos = self.answers.iter().any(|answer| absent::find(&answer.key).is_some());
        let is_unsaid = is_centrifugos && flags.listen.is_none() && !self.written.contains_key("http_server.address");
        let hint = "`http_server.address` is not set: it is 127.0.0.1 here, where Centrifugo takes all addresses";
        is_unsaid.then(|| hint.to_owned())
    }

    /// Says which of the options that may be missed were not.
    pub(super) fn check_accepted(&mut self) {
        let idle = self.accepted.iter().filter(|(_, was_missed)| !**was_missed);
        let mut idle: Vec<_> = idle.map(|(key, _)| format!("`--accept {key}` has nothing to accept")).collect();
        idle.sort();
        self.warnings.append(&mut idle);
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
        let written = path(section, key);
        if matches!(node.value, Value::Other(NULL)) {
            self.answer(node, &written, Verdict::Holds);
            return true;
        }
        let read = (setting.read)(target, &node.value);
        self.written.insert(path(scope, key), read.is_ok().then(|| node.place.clone()));
        match read {
            Ok(()) => self.answer(node, &written, served(&written)),
            // A variable that somebody has emptied.
            Err(_) if matches!(&node.value, Value::Plain(text) if text.is_empty()) => {
                self.written.remove(&path(scope, key));
                self.answer(node, &written, Verdict::Holds);
            }
            Err(message) => self.problems.push(wrong(node, &written, message)),
        }
        true
    }

    /// The same of settings that have names of several parts, for whose first ones the file has tables.
    pub(super) fn setting_within<T>(
        &mut self,
        target: &mut T,
        settings: &'static [Setting<T>],
        [section, scope]: [&str; 2],
        key: &str,
        node: &Node,
    ) -> bool {
        // A key with a dot in its own name is no path.
        if !key.contains('.') || section.is_empty() {
            return self.setting(target, settings, [section, scope], key, node)
                || self.table_of_settings(target, settings, [section, scope], key, node);
        }
        false
    }

    fn table_of_settings<T>(
        &mut self,
        target: &mut T,
        settings: &'static [Setting<T>],
        [section, scope]: [&str; 2],
        table: &str,
        node: &Node,
    ) -> bool {
        let within = format!("{table}.");
        if !settings.iter().any(|setting| setting.key.starts_with(&within)) {
            return false;
        }
        for (inner, node) in self.members(node, &path(section, table)) {
            let key = format!("{within}{inner}");
            let is_known = self.setting(target, settings, [section, scope], &key, node)
                || self.table_of_settings(target, settings, [section, scope], &key, node);
            if !is_known {
                let known = names(settings).filter_map(|name| name.strip_prefix(&*within));
                self.foreign(node, &path(section, table), inner, known);
            }
        }
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

pub(super) fn wrong(node: &Node, key: &str, message: String) -> ConfigError {
    ConfigError::Value { place: node.place.clone(), key: key.to_owned(), message }
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

/// Between 0, nothing in common, and 1, equal: transposed or missing letters stay well above this.
const ALIKE: f64 = 0.8;
