//! Which database: what may be written for it, from the library's registry of back ends.

use std::borrow::Cow;

use super::setting::{Kind, quote};
use super::tree::Value;
use roomcast::store::Backend;

impl Kind for &'static Backend {
    fn expected() -> Cow<'static, str> {
        alternatives(Backend::ALL.iter().map(|database| quote(database.name()))).into()
    }

    fn read(value: &Value) -> Option<Self> {
        Backend::named(value.text()?)
    }

    fn write(&self) -> Option<String> {
        Some(quote(self.name()))
    }
}

/// For the printed configuration: where messages can be kept.
pub(super) fn places() -> String {
    let named = |database: &Backend| match database.file_name() {
        Some(_) => format!("{} (a file in data_dir)", database.name()),
        None => database.name().to_owned(),
    };
    format!("where messages are kept: {}", alternatives(Backend::ALL.iter().map(named)))
}

/// The same: the URLs of those that are servers.
pub(super) fn urls() -> String {
    let shown = |database: &Backend| Some(format!("of the {} server: {}", database.title(), database.url_example()?));
    Backend::ALL.iter().filter_map(shown).collect::<Vec<_>>().join("; ")
}

/// "a, b or c".
fn alternatives(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
        None => String::new(),
    }
}
