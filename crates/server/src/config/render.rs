//! A configuration as a TOML file that, read again, gives the same configuration.

use std::fmt::Write as _;

use super::options::{ROOM, SECTIONS, Setting};
use super::proxy_settings::{PROXY, RPC, repeated};
use super::setting::quote;
use super::{Config, NamespaceOptions};

/// An address as it is shown to people: some backends are given a key behind the question mark.
pub(super) fn without_query(address: &str) -> Option<String> {
    address.find('?').map(|at| format!("{}?…", &address[..at]))
}

impl Config {
    /// The configuration as TOML, each option with what it does. Options without a value stand there commented out.
    ///
    /// Passwords are written in full: the result may be as secret as the file it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for section in SECTIONS.iter().filter(|section| !section.settings.is_empty()) {
            heading(&mut out, if section.name.is_empty() { None } else { Some(format!("[{}]", section.name)) });
            match repeated(section.name) {
                None => settings(&mut out, section.settings, self),
                Some(first) => repeated_settings(&mut out, section.settings, self, first),
            }
        }
        for (name, options) in &self.proxies.named {
            heading(&mut out, Some("[[proxies]]".to_owned()));
            let _ = writeln!(out, "name = {}", quote(name));
            settings(&mut out, PROXY, options);
        }
        for (name, options) in &self.rpc.namespaces {
            heading(&mut out, Some("[[rpc.namespaces]]".to_owned()));
            let _ = writeln!(out, "name = {}", quote(name));
            settings(&mut out, RPC, options);
        }
        heading(&mut out, Some("[channel.without_namespace]".to_owned()));
        settings(&mut out, ROOM, &self.channel.without_namespace);
        for (name, options) in &self.channel.namespaces {
            heading(&mut out, Some("[[channel.namespaces]]".to_owned()));
            let _ = writeln!(out, "name = {}", toml::Value::from(name.as_str()));
            settings(&mut out, ROOM, options);
        }
        out
    }
}

/// The options of a room as TOML.
pub(super) fn room(options: &NamespaceOptions) -> String {
    let mut out = String::new();
    settings(&mut out, ROOM, options);
    out
}

fn heading(out: &mut String, heading: Option<String>) {
    if let Some(heading) = heading {
        let _ = writeln!(out, "\n{heading}");
    }
}

fn settings<T>(out: &mut String, settings: &[Setting<T>], target: &T) {
    for setting in settings {
        one(out, setting, (setting.write)(target));
    }
}

/// The options of a section that has those of another: what is at its default there stands in the other one.
fn repeated_settings(out: &mut String, settings: &[Setting<Config>], config: &Config, first: &str) {
    let default = Config::default();
    let _ = writeln!(out, "# the options of [{first}]; where nothing else stands here they have its defaults");
    for setting in settings {
        let value = (setting.write)(config);
        let is_its_own = !PROXY.iter().any(|known| known.key == setting.key);
        if is_its_own || value != (setting.write)(&default) {
            one(out, setting, value);
        }
    }
}

fn one<T>(out: &mut String, setting: &Setting<T>, value: Option<String>) {
    let (key, about, reload) = (setting.key, (setting.about)(), setting.reload.name());
    let _ = match value {
        Some(value) => writeln!(out, "# {about} ({reload})\n{key} = {value}"),
        None => writeln!(out, "# {about} ({reload})\n# {key} ="),
    };
}
