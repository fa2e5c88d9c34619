//! The HTTP transports: the one list of their options, from which come the fields, the defaults and the sections of the file.

use std::borrow::Cow;

use super::options::{Section, Setting, setting};
use super::setting::{Kind as _, read};

/// `[http_stream]`, `[sse]`: a transport for clients that WebSocket does not reach.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpTransport {
    /// Whether clients may connect by it. Default true.
    pub enabled: bool,
}

impl Default for HttpTransport {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `http_transports!(section, what it is called; …)`
macro_rules! http_transports {
    ($($(#[$doc:meta])* $section:ident, $name:literal;)+) => {
        /// The HTTP transports, each with a section of its own.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct HttpTransports {
            $($(#[$doc])* pub $section: HttpTransport,)+
        }

        pub(super) const SECTIONS: &[Section] = &[$(
            Section {
                name: stringify!($section),
                settings: &[setting!(
                    "enabled",
                    transports.$section.enabled,
                    concat!("whether clients may connect by ", $name)
                )],
            },
        )+];
    };
}

http_transports! {
    /// `[http_stream]`
    http_stream, "HTTP streaming";
    /// `[sse]`
    sse, "server-sent events";
}
