//! `[channel]`: rooms, and the options that they have by their names.

use std::collections::BTreeMap;
use std::time::Duration;

use super::namespace::HISTORY_META_TTL;
use super::{ChannelSyntax, DataFormat, NamespaceOptions};

/// `[channel]`: rooms by namespace.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Channel {
    /// The longest room name, in bytes. Default 255.
    pub max_length: usize,
    /// [`NamespaceOptions::history_meta_ttl`] of the rooms that say nothing of it. Default 30 days.
    pub history_meta_ttl: Duration,
    /// What payloads may be in the rooms of namespaces that say nothing about it.
    pub publication_data_format: DataFormat,
    /// The signs in the names of rooms.
    pub syntax: ChannelSyntax,
    /// `[channel.without_namespace]`: rooms whose name has no `:`.
    pub without_namespace: NamespaceOptions,
    /// `[[channel.namespaces]]` by name: rooms named `name:rest`.
    pub namespaces: BTreeMap<String, NamespaceOptions>,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            max_length: 255,
            history_meta_ttl: HISTORY_META_TTL,
            publication_data_format: DataFormat::NotEmpty,
            syntax: ChannelSyntax::default(),
            without_namespace: NamespaceOptions::default(),
            namespaces: BTreeMap::new(),
        }
    }
}

impl Channel {
    /// The options of rooms without a namespace, and of each namespace.
    pub(crate) fn all_options(&self) -> impl Iterator<Item = &NamespaceOptions> {
        std::iter::once(&self.without_namespace).chain(self.namespaces.values())
    }

    /// The same, to be changed.
    pub(super) fn all_options_mut(&mut self) -> impl Iterator<Item = &mut NamespaceOptions> {
        std::iter::once(&mut self.without_namespace).chain(self.namespaces.values_mut())
    }

    /// Has rooms whose namespace says nothing of what payloads may be take what holds for all.
    pub(super) fn inherit_data_format(&mut self) {
        let of_all = self.publication_data_format;
        for options in self.all_options_mut().filter(|it| it.publication_data_format == DataFormat::NotEmpty) {
            options.publication_data_format = of_all;
        }
    }

    /// The options of a room by its name, or `None` when the name is of a namespace nobody declared (error 102 on the
    /// wire). Whether the name itself is acceptable is [`allows`](Self::allows)'s to say.
    #[must_use]
    pub fn options_for(&self, room: &str) -> Option<&NamespaceOptions> {
        match self.syntax.namespace_of(room) {
            "" => Some(&self.without_namespace),
            namespace => self.namespaces.get(namespace),
        }
    }

    /// Whether a room with these `options`, its namespace's, may bear this name (error 107 on the wire when not).
    #[must_use]
    pub fn allows(&self, room: &str, options: &NamespaceOptions) -> bool {
        options.channel_regex.as_ref().is_none_or(|regex| regex.is_match(self.syntax.divide(room).1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_find_the_options_of_their_namespace() {
        let mut channel = Channel::default();
        let chat = NamespaceOptions { presence: true, ..NamespaceOptions::default() };
        channel.namespaces.insert("chat".to_owned(), chat);

        assert!(channel.options_for("chat:1").unwrap().presence);
        assert!(channel.options_for("chat:1:2").unwrap().presence, "the first colon divides");
        assert!(channel.options_for("$chat:1").unwrap().presence, "a private room is one of its namespace");
        assert!(!channel.options_for("$lobby").unwrap().presence);
        assert!(channel.options_for("$news:1").is_none());
        assert!(!channel.options_for("chat").unwrap().presence, "a namespace's name alone is a plain room");
        assert!(channel.options_for("news:1").is_none());
        assert!(!channel.options_for(":1").unwrap().presence, "nothing before the colon is no namespace");
    }

    #[test]
    fn a_regex_sees_the_name_without_its_namespace() {
        let mut channel = Channel::default();
        let regex = Some(regex::Regex::new("^[0-9]+$").unwrap());
        let options = NamespaceOptions { channel_regex: regex, ..NamespaceOptions::default() };
        assert!(channel.allows("chat:42", &options));
        assert!(channel.allows("$chat:42", &options));
        assert!(channel.allows("42", &options));
        assert!(!channel.allows("$42", &options), "where there is no namespace it sees all of the name");
        assert!(!channel.allows("chat:lobby", &options));
        channel.syntax.namespace_boundary = "/".to_owned();
        assert!(channel.allows("chat/42", &options));
        assert!(!channel.allows("chat:42", &options));
    }
}
