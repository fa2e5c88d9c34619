//! `[[proxies]]` and `[[rpc.namespaces]]`: lists of what has a name.

use std::collections::BTreeMap;

use super::draft::{Draft, Notes, path, wrong};
use super::options::Setting;
use super::proxy::{DEFAULT_PROXY, is_name, scope_of};
use super::proxy_settings::{PROXIES_MAX, PROXY, RPC};
use super::setting::Kind as _;
use super::tree::{Node, Value};

/// The keys of both lists.
pub(super) const PROXIES: &str = "proxies";
pub(super) const RPC_NAMESPACES: &str = "rpc.namespaces";

impl Draft {
    pub(super) fn proxies(&mut self, node: &Node) {
        let named = &mut self.config.proxies.named;
        named_list(&mut self.notes, named, [PROXIES, PROXIES], node, PROXY, scope_of);
        if named.remove(DEFAULT_PROXY).is_some() {
            let message = format!("the name {DEFAULT_PROXY:?} stands for each event's own proxy; choose another");
            self.notes.problems.push(wrong(node, "proxies.name", message));
        }
    }

    pub(super) fn rpc_namespaces(&mut self, node: &Node) {
        let namespaces = &mut self.config.rpc.namespaces;
        let scope = |name: &str| format!("rpc namespace `{name}`");
        named_list(&mut self.notes, namespaces, [RPC_NAMESPACES, RPC_NAMESPACES], node, RPC, scope);
    }
}

/// Takes a list over, each of whose entries has a `name` and options.
fn named_list<T: Default>(
    notes: &mut Notes,
    into: &mut BTreeMap<String, T>,
    [key, section]: [&str; 2],
    node: &Node,
    settings: &'static [Setting<T>],
    scope_of: impl Fn(&str) -> String,
) {
    let Value::List(items) = &node.value else {
        let found = node.value.describe();
        return notes.problems.push(wrong(node, key, format!("expected a list, found {found}")));
    };
    if items.len() > PROXIES_MAX {
        let found = items.len();
        return notes.problems.push(wrong(node, key, format!("expected at most {PROXIES_MAX} entries, found {found}")));
    }
    into.clear();
    for item in items {
        let members = match &item.value {
            Value::Table(members) => members,
            other => {
                notes.problems.push(wrong(item, key, format!("expected options, found {}", other.describe())));
                continue;
            }
        };
        let name = members.iter().find(|(key, _)| key == "name").map(|(_, name)| name);
        let text = name.and_then(|name| String::read(&name.value)).filter(|name| is_name(name));
        match (name, &text) {
            (None, _) => notes.problems.push(wrong(item, key, "each needs a `name`".to_owned())),
            (Some(name), None) => {
                let message = "expected 2 to 64 letters, digits, -, _ or . in quotes".to_owned();
                notes.problems.push(wrong(name, &path(key, "name"), message));
            }
            (Some(name), Some(text)) if into.contains_key(text) => {
                notes.problems.push(wrong(name, &path(key, "name"), format!("{text:?} is declared twice; keep one")));
                continue;
            }
            _ => {}
        }
        let scope = text.as_deref().map_or_else(|| key.to_owned(), &scope_of);
        notes.noticed(&scope, &item.place);
        let mut options = T::default();
        for (key, node) in members.iter().filter(|(key, _)| key != "name") {
            if !notes.setting_within(&mut options, settings, [section, &scope], key, node) {
                notes.foreign(node, section, key, settings.iter().map(|setting| setting.key));
            }
        }
        if let Some(name) = text {
            into.insert(name, options);
        }
    }
}
