//! A configuration as a TOML file that, read again, gives the same configuration.

use std::fmt::Write as _;

use super::options::{ROOM, SECTIONS, Setting};
use super::{Config, NamespaceOptions};

impl Config {
    /// The configuration as TOML, each option with what it does. Options without a value stand there commented out.
    ///
    /// Passwords are written in full: the result may be as secret as the file it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for section in SECTIONS.iter().filter(|section| !section.settings.is_empty()) {
            heading(&mut out, if section.name.is_empty() { None } else { Some(format!("[{}]", section.name)) });
            settings(&mut out, section.settings, self);
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
        let _ = match (setting.write)(target) {
            Some(value) => writeln!(out, "# {}\n{} = {value}", (setting.about)(), setting.key),
            None => writeln!(out, "# {}\n# {} =", (setting.about)(), setting.key),
        };
    }
}
