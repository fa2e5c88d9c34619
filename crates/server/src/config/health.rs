//! `[health]`: where the server says whether it lives, and whether it takes clients.

use std::borrow::Cow;

use super::options::{Section, Setting, setting};
use super::setting::{Kind as _, read};
use super::transports::own_path;

/// `[health]`: the paths by which a platform asks after the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Where it is asked whether the server lives: whether restarting it would help. Default `/health`.
    pub handler_prefix: String,
    /// Where it is asked whether clients are to be sent here: not while it drains. Default `/ready`.
    pub ready_handler_prefix: String,
}

impl Default for Health {
    fn default() -> Self {
        Self { handler_prefix: "/health".to_owned(), ready_handler_prefix: "/ready".to_owned() }
    }
}

pub(super) const SECTION: Section = Section {
    name: "health",
    settings: &[
        setting!(
            "handler_prefix",
            Live,
            health.handler_prefix,
            "the path that says whether the server lives",
            own_path
        ),
        setting!(
            "ready_handler_prefix",
            Live,
            health.ready_handler_prefix,
            "the path that says whether clients are to be sent here: not while it drains",
            own_path
        ),
    ],
};
