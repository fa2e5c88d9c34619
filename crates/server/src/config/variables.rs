//! What the environment says: options by the names of variables, and those of named things, which are laid over the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use super::absent;
use super::draft::Notes;
use super::error::ConfigError;
use super::file::text_of;
use super::options::{ROOM, Setting};
use super::parse::Format;
use super::proxy_settings::{PROXY, RPC};
use super::tree::{Node, Value};

/// With what the names of options begin; what is said by the last of them counts most.
const PREFIXES: [&str; 2] = ["CENTRIFUGO_", "ROOMCAST_"];
/// Variables of ours that are no options: the file to read, whom to ask, and the binary that test suites start.
const OTHER_VARIABLES: &[&str] = &["ROOMCAST_CONFIG", "ROOMCAST_HEALTH_URL", "ROOMCAST_BIN"];
/// Values that a file may cite begin like this.
const CITED: &str = "CENTRIFUGO_VAR_";

/// Lists of things with a `name`: each list is one variable, in JSON, and each option of a thing in it another.
const NAMED: [&str; 4] = ["channel.namespaces", "rpc.namespaces", "proxies", "consumers"];
/// Tables of texts in which values may be cited.
const CITING: [&str; 3] = ["static_headers", "static_metadata", "channel_replacements"];

/// A variable, as an option is written.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) prefix: &'static str,
    pub(super) name: String,
    pub(super) node: Node,
}

/// The variables that may say something to us, by name.
#[derive(Debug)]
pub(super) struct Environment(BTreeMap<String, Said>);

#[derive(Debug)]
struct Said {
    /// Where it was said.
    place: String,
    text: String,
}

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let said = variables.into_iter().filter(|(name, _)| prefix_of(name).is_some()).map(|(name, text)| {
            let place = format!("environment variable {name}");
            (name, Said { place, text })
        });
        Self(said.collect())
    }

    /// Adds what a file `.env` beside the configuration says and the environment does not.
    pub(super) fn read_beside(&mut self, config: &Path, notes: &mut Notes) {
        let path = config.with_file_name(".env");
        let text = match text_of(&path) {
            Ok(text) => text,
            // A folder of that name is something else.
            Err(ConfigError::Read { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
                ) =>
            {
                return;
            }
            // What stands there may be what keeps somebody out.
            Err(ConfigError::Read { source, .. }) if source.kind() != ErrorKind::InvalidData => {
                let (place, message) = (path.display().to_string(), format!("it cannot be read: {source}"));
                return notes.problems.push(ConfigError::Syntax { place, message });
            }
            Err(error) => return notes.problems.push(error),
        };
        for (at, line) in text.lines().enumerate() {
            let Some((name, text)) = assignment(line) else { continue };
            if prefix_of(name).is_some() {
                let place = format!("{}:{}, {name}", path.display(), at + 1);
                self.0.entry(name.to_owned()).or_insert(Said { place, text });
            }
        }
    }

    /// Lays what is said of named things over a file, and cites values where they are asked for.
    pub(super) fn lay_over(&mut self, root: &mut Node, notes: &mut Notes) {
        self.cite_among(notes);
        for list in NAMED {
            for prefix in PREFIXES {
                self.lay_list(root, prefix, list, notes);
            }
        }
        self.cite_in(root, notes);
    }

    /// Cites values in variables that stand for tables of texts.
    fn cite_among(&mut self, notes: &mut Notes) {
        let is_citing = |name: &str| CITING.iter().any(|table| name.ends_with(&table.to_ascii_uppercase()));
        let citing: Vec<String> = self.0.keys().filter(|name| is_citing(name)).cloned().collect();
        for name in citing {
            let Some(Said { place, text }) = self.0.get(&name) else { continue };
            // It is JSON, in which a value is a part of a text in quotes.
            let in_quotes = |value: &str| {
                let quoted = serde_json::Value::from(value).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            };
            match self.cite(text, in_quotes) {
                Ok(text) => self.0.entry(name).and_modify(|said| said.text = text),
                Err(message) => {
                    notes.problems.push(ConfigError::Syntax { place: place.clone(), message });
                    continue;
                }
            };
        }
    }

    /// Lays one list of named things over a file.
    fn lay_list(&mut self, root: &mut Node, prefix: &'static str, list: &str, notes: &mut Notes) {
        let of_list = variable_of(prefix, list);
        // One without a list in it is how Centrifugo prints that there is none.
        let said = self.0.remove(&of_list).filter(|said| !matches!(said.text.trim(), "" | "{}"));
        if let Some(Said { place, text }) = said {
            match Format::Json.parse(&place, &text) {
                Ok(node) => put(root, list, node),
                Err(error) => notes.problems.push(error),
            }
        }
        let Some(Node { value: Value::List(items), .. }) = at(root, list) else { return };
        let mut taken = BTreeSet::new();
        for item in items {
            let Some(name) = at(item, "name").and_then(|name| name.value.text().map(in_variable)) else { continue };
            let of_item = format!("{of_list}_{name}_");
            let names = self.0.range(of_item.clone()..).map(|(name, _)| name);
            let names: Vec<String> = names.take_while(|name| name.starts_with(&of_item)).cloned().collect();
            for name in &names {
                let Some(key) = key_of(list, &name[of_item.len()..]) else { continue };
                let Some(Said { place, text }) = self.0.get(name) else { continue };
                taken.insert(name.clone());
                // One that somebody has emptied says nothing, unless an option can be empty.
                if !text.is_empty() || at(item, &key).is_none() || takes_nothing(list, &key) {
                    put(item, &key, Node { place: place.clone(), value: Value::Plain(text.clone()) });
                }
            }
        }
        // Names that differ in a sign that variables have not are meant by the same ones.
        self.0.retain(|name, _| !taken.contains(name));
    }

    /// Cites values in the tables of texts that may ask for them.
    fn cite_in(&self, node: &mut Node, notes: &mut Notes) {
        match &mut node.value {
            Value::Table(members) => {
                for (key, node) in members {
                    match &mut node.value {
                        Value::Table(texts) if CITING.contains(&key.as_str()) => {
                            for (_, text) in texts {
                                self.cite_text(text, notes);
                            }
                        }
                        _ => self.cite_in(node, notes),
                    }
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.cite_in(item, notes)),
            _ => {}
        }
    }

    fn cite_text(&self, node: &mut Node, notes: &mut Notes) {
        let (Value::Text(text) | Value::Plain(text)) = &mut node.value else { return };
        match self.cite(text, str::to_owned) {
            Ok(cited) => *text = cited,
            Err(message) => notes.problems.push(ConfigError::Syntax { place: node.place.clone(), message }),
        }
    }

    /// A text in which `${CENTRIFUGO_VAR_NAME}` is replaced by what the variable says, as `written`.
    fn cite(&self, text: &str, written: impl Fn(&str) -> String) -> Result<String, String> {
        let mut cited = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            cited.push_str(before);
            match after.split_once('}').filter(|(name, _)| name.starts_with(CITED)) {
                Some((name, after)) => {
                    let said = self.0.get(name).ok_or_else(|| format!("the environment has no variable {name}"))?;
                    cited.push_str(&written(&said.text));
                    rest = after;
                }
                None => {
                    cited.push_str("${");
                    rest = after;
                }
            }
        }
        cited.push_str(rest);
        Ok(cited)
    }

    /// What is left: options that stand alone.
    pub(super) fn rest(self) -> impl Iterator<Item = Variable> {
        let is_ours = |name: &String| !name.starts_with(CITED) && !OTHER_VARIABLES.contains(&name.as_str());
        self.0.into_iter().filter(move |(name, _)| is_ours(name)).filter_map(|(name, Said { place, text })| {
            let prefix = prefix_of(&name)?;
            Some(Variable { prefix, name, node: Node { place, value: Value::Plain(text) } })
        })
    }
}

impl Variable {
    /// Whether it stands for something in a section of Centrifugo's.
    pub(super) fn is_in(&self, section: &str) -> bool {
        let rest = self.name.strip_prefix(&variable_of(self.prefix, section));
        self.prefix == "CENTRIFUGO_" && rest.is_some_and(|rest| rest.starts_with('_'))
    }

    /// Whether a container platform puts it there for a service of that name.
    pub(super) fn is_of_platform(&self) -> bool {
        self.prefix == "CENTRIFUGO_" && (self.name.contains("_SERVICE_") || self.name.contains("_PORT"))
    }
}

/// The variable of an option.
pub(super) fn variable_of(prefix: &str, path: &str) -> String {
    format!("{prefix}{}", in_variable(path))
}

/// A name as it is written in the name of a variable.
fn in_variable(name: &str) -> String {
    name.replace(['.', '-'], "_").to_ascii_uppercase()
}

fn prefix_of(name: &str) -> Option<&'static str> {
    PREFIXES.into_iter().find(|prefix| name.starts_with(prefix))
}

/// The option of a thing in a list that the end of a variable's name stands for.
fn key_of(list: &str, name: &str) -> Option<String> {
    let served: Vec<&str> = match list {
        "channel.namespaces" => ROOM.iter().map(|setting| setting.key).collect(),
        "rpc.namespaces" => RPC.iter().map(|setting| setting.key).collect(),
        "proxies" => PROXY.iter().map(|setting| setting.key).collect(),
        _ => Vec::new(),
    };
    let missing = || absent::keys_of(list);
    if let Some(key) = served.into_iter().chain(missing()).find(|key| in_variable(key) == name) {
        return Some(key.to_owned());
    }
    let in_section = missing().find_map(|section| {
        let rest = name.strip_prefix(&in_variable(section))?.strip_prefix('_')?;
        Some(format!("{section}.{}", rest.to_ascii_lowercase()))
    });
    // Of things that are not served at all, whatever is said is said of them.
    in_section.or_else(|| absent::find(list).map(|_| name.to_ascii_lowercase()))
}

/// Whether an option of a thing in a list may be empty.
fn takes_nothing(list: &str, key: &str) -> bool {
    fn takes<T: Default>(settings: &[Setting<T>], key: &str) -> bool {
        let setting = settings.iter().find(|setting| setting.key == key);
        setting.is_some_and(|setting| (setting.read)(&mut T::default(), &Value::Plain(String::new())).is_ok())
    }
    match list {
        "channel.namespaces" => takes(ROOM, key),
        "rpc.namespaces" => takes(RPC, key),
        "proxies" => takes(PROXY, key),
        _ => false,
    }
}

/// What stands at a path.
fn at<'a>(node: &'a mut Node, path: &str) -> Option<&'a mut Node> {
    path.split('.').try_fold(node, |node, key| match &mut node.value {
        Value::Table(members) => members.iter_mut().find(|(known, _)| known == key).map(|(_, member)| member),
        _ => None,
    })
}

/// Puts something at a path, and sections around it where there are none.
fn put(node: &mut Node, path: &str, new: Node) {
    let Value::Table(members) = &mut node.value else { return };
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let found = members.iter().position(|(known, _)| known == key);
    let index = found.unwrap_or_else(|| {
        members.push((key.to_owned(), Node { place: new.place.clone(), value: Value::Table(Vec::new()) }));
        members.len() - 1
    });
    match rest {
        Some(rest) => put(&mut members[index].1, rest, new),
        None => members[index].1 = new,
    }
}

/// What a line of a file `.env` says.
fn assignment(line: &str) -> Option<(&str, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
    let value = value.trim();
    let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.rsplit_once(quote)).map(|(text, _)| text);
    let value = match (quoted('"'), quoted('\'')) {
        (Some(text), _) => text.replace("\\n", "\n").replace("\\\"", "\""),
        (None, Some(text)) => text.to_owned(),
        (None, None) => value.split_once(" #").map_or(value, |(value, _)| value).trim_end().to_owned(),
    };
    Some((name.trim(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_file_of_variables_is_read_as_shells_do() {
        for (line, expected) in [
            ("A=b", Some(("A", "b"))),
            ("export A = b # why", Some(("A", "b"))),
            ("A=\"b # c\\nd\" # why", Some(("A", "b # c\nd"))),
            ("A='b=\"c\"'", Some(("A", "b=\"c\""))),
            ("A=", Some(("A", ""))),
            ("# A=b", None),
            ("", None),
            ("A", None),
        ] {
            let read = assignment(line);
            assert_eq!(read.as_ref().map(|(name, value)| (*name, value.as_str())), expected, "{line}");
        }
    }

    #[test]
    fn the_end_of_a_variable_stands_for_an_option_of_a_thing() {
        assert_eq!(key_of("channel.namespaces", "HISTORY_SIZE").as_deref(), Some("history_size"));
        assert_eq!(key_of("channel.namespaces", "MAP_KEY_TTL").as_deref(), Some("map.key_ttl"));
        assert_eq!(key_of("channel.namespaces", "B_PRESENCE"), None, "it is another namespace's");
        assert_eq!(key_of("proxies", "HTTP_STATIC_HEADERS").as_deref(), Some("http.static_headers"));
        assert_eq!(key_of("rpc.namespaces", "PROXY_NAME").as_deref(), Some("proxy_name"));
    }
}
