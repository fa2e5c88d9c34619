//! The HTTP transports: the one list of their options, from which come the fields, the defaults and the sections of the file.

use std::borrow::Cow;

use super::http_api::is_path;
use super::options::{Section, Setting, setting};
use super::setting::{Kind as _, read};

/// `[http_stream]`, `[sse]`: a transport for clients that WebSocket does not reach.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpTransport {
    /// Whether clients may connect by it. Default true.
    pub enabled: bool,
    /// Its path. Default `/connection/http_stream`, `/connection/sse`.
    pub handler_prefix: String,
}

/// `http_transports!(section, its path, what it is called; …)`
macro_rules! http_transports {
    ($($(#[$doc:meta])* $section:ident, $path:literal, $name:literal;)+) => {
        /// The HTTP transports, each with a section of its own.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct HttpTransports {
            $($(#[$doc])* pub $section: HttpTransport,)+
        }

        impl Default for HttpTransports {
            fn default() -> Self {
                Self { $($section: HttpTransport { enabled: true, handler_prefix: $path.to_owned() },)+ }
            }
        }

        pub(super) const SECTIONS: &[Section] = &[$(
            Section {
                name: stringify!($section),
                settings: &[
                    setting!(
                        "enabled",
                        Live,
                        transports.$section.enabled,
                        concat!("whether clients may connect by ", $name)
                    ),
                    setting!(
                        "handler_prefix",
                        Live,
                        transports.$section.handler_prefix,
                        "the path where they do",
                        own_path
                    ),
                ],
            },
        )+];
    };
}

http_transports! {
    /// `[http_stream]`
    http_stream, "/connection/http_stream", "HTTP streaming";
    /// `[sse]`
    sse, "/connection/sse", "server-sent events";
}

/// Paths that are somebody else's.
const TAKEN: [&str; 4] = ["/connection/websocket", "/emulation", "/metrics", "/page"];

/// Whether a transport may be there.
pub(super) fn own_path(path: &String) -> Result<(), String> {
    if is_path(path) && !TAKEN.contains(&path.as_str()) {
        return Ok(());
    }
    Err(format!(
        "expected a path such as \"/connection/sse\", of letters, digits, -, _, . and ~, that is not one of {}; found {path:?}",
        TAKEN.join(", ")
    ))
}
