//! `[http_api]`: the server API, which a backend commands the server with.

use std::borrow::Cow;
use std::fmt;

use super::options::{Section, Setting, setting};
use super::setting::{Kind, quote, read};
use super::tree::Value;
use crate::util::secret::same_secret;

/// `[http_api]`: what a backend may do over HTTP, and how it shows that it is the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpApi {
    /// Whether there is no server API at all.
    pub disabled: bool,
    /// The path before the names of its methods. Default `/api`.
    pub handler_prefix: String,
    /// The key a request must bring. Empty, the default: every request is refused.
    pub key: ApiKey,
    /// Whether requests need no key. Whoever reaches the server may then do everything.
    pub insecure: bool,
    /// How an error is told.
    pub error_mode: ApiErrorMode,
    /// Whether the API is served to the outside, too, where what is inside has a place of its own.
    pub external: bool,
}

impl Default for HttpApi {
    fn default() -> Self {
        Self {
            disabled: false,
            handler_prefix: "/api".to_owned(),
            key: ApiKey::default(),
            insecure: false,
            error_mode: ApiErrorMode::Application,
            external: false,
        }
    }
}

/// The key of the server API; it shows nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// That key.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(key.to_owned())
    }

    /// Whether it is the one; an empty key is nobody's. Takes the same time for every wrong key of a length.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        !self.0.is_empty() && same_secret(self.0.as_bytes(), shown)
    }

    /// Puts dots in its place, if there is one.
    pub(super) fn hide(&mut self) {
        if !self.0.is_empty() {
            self.0 = "…".to_owned();
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "ApiKey()" } else { "ApiKey(…)" })
    }
}

/// How an error of the server API is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiErrorMode {
    /// In the body of an answer with status 200.
    #[default]
    Application,
    /// By the status of the answer, the error in its body.
    Transport,
}

pub(super) const SECTION: Section = Section {
    name: "http_api",
    settings: &[
        setting!("disabled", Live, http_api.disabled, "no server API"),
        setting!("handler_prefix", Live, http_api.handler_prefix, "the path before the names of its methods", prefix),
        setting!(
            "key",
            Live,
            http_api.key,
            "what a backend shows in the header X-API-Key; empty: every request is refused"
        ),
        setting!("insecure", Live, http_api.insecure, "ask for no key: whoever reaches the server may do everything"),
        setting!(
            "error_mode",
            Live,
            http_api.error_mode,
            "how errors are told: in answers with status 200 (empty) or by the status (transport)"
        ),
        setting!(
            "external",
            Live,
            http_api.external,
            "serve it to clients, too, where what is inside has a port or socket of its own"
        ),
    ],
};

/// Paths that are somebody else's.
const TAKEN: [&str; 4] = ["/connection", "/emulation", "/metrics", "/page"];
/// The longest prefix; more is a typing error.
const PREFIX_BYTES_MAX: usize = 128;

/// Whether something may be served there.
pub(super) fn is_path(path: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let is_bounded = path.len() > 1 && path.len() <= PREFIX_BYTES_MAX && path.bytes().all(fits);
    is_bounded && path.starts_with('/') && !path.ends_with('/') && !path.contains("//")
}

fn prefix(path: &String) -> Result<(), String> {
    let is_taken =
        TAKEN.iter().any(|taken| path.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    match is_path(path) && !is_taken {
        true => Ok(()),
        false => Err(format!(
            "expected a path such as \"/api\", of letters, digits, -, _, . and ~, that is not one of {}; found {path:?}",
            TAKEN.join(", ")
        )),
    }
}

impl Kind for ApiKey {
    const IS_SECRET: bool = true;

    fn expected() -> Cow<'static, str> {
        "text in quotes".into()
    }

    fn read(value: &Value) -> Option<Self> {
        value.text().map(Self::new)
    }

    fn write(&self) -> Option<String> {
        Some(quote(&self.0))
    }
}

impl Kind for ApiErrorMode {
    fn expected() -> Cow<'static, str> {
        "\"\" or \"transport\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        match value.text()? {
            "" => Some(Self::Application),
            "transport" => Some(Self::Transport),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(quote(match self {
            Self::Application => "",
            Self::Transport => "transport",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_itself_and_an_empty_one_is_nobodys() {
        let key = ApiKey::new("secret");
        assert!(key.is(b"secret"));
        for wrong in ["", "secre", "secret2", "Secret"] {
            assert!(!key.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(!ApiKey::default().is(b""));
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn a_prefix_is_a_path_of_its_own() {
        for good in ["/api", "/v1/server-api", "/healthy"] {
            assert_eq!(prefix(&good.to_owned()), Ok(()), "{good}");
        }
        for bad in ["", "/", "api", "/api/", "/a//b", "/a b", "/a?b", "/metrics", "/connection/websocket", "/page/x"] {
            assert!(prefix(&bad.to_owned()).is_err(), "{bad}");
        }
    }
}
