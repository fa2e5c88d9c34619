//! `[client.subscribe_to_user_personal_channel]`: a room of each user, which its clients are put into.

use super::options::{Section, Setting, setting};
use super::setting::{Kind as _, read};
use std::borrow::Cow;

/// `[client.subscribe_to_user_personal_channel]`: whether every client of a user is put into a room of that user when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersonalRooms {
    /// Whether it is. The room of user 42 is `#42`; a client without a user has none.
    pub enabled: bool,
    /// The namespace of these rooms; empty, the default, for rooms without one.
    pub personal_channel_namespace: String,
    /// Whether a user's connections are closed when a newer one of theirs has connected.
    pub single_connection: bool,
}

pub(super) const SECTION: Section = Section {
    name: "client.subscribe_to_user_personal_channel",
    settings: &[
        setting!(
            "enabled",
            Live,
            client.subscribe_to_user_personal_channel.enabled,
            "put every client of a user into a room of that user when it connects: #42 of user 42"
        ),
        setting!(
            "personal_channel_namespace",
            Live,
            client.subscribe_to_user_personal_channel.personal_channel_namespace,
            "the namespace of these rooms; empty: none"
        ),
        setting!(
            "single_connection",
            Live,
            client.subscribe_to_user_personal_channel.single_connection,
            "close the other connections of a user when a newer one has connected"
        ),
    ],
};
