//! `[events]`: who comes and goes, told to a backend.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;

use super::options::{Section, Setting, between, setting, within};
use super::render::without_query;
use super::setting::{Kind, quote, read};
use super::tls::TlsOptions;
use super::tree::Value;
use super::url::http_url;
use crate::util::signature::Secret;

/// `[events]`: the log of room events, and the backend that it is delivered to. Which rooms have events says their namespace
/// ([`NamespaceOptions::room_events`](super::NamespaceOptions::room_events)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomEventsOptions {
    /// Whether users that connect and disconnect are events as well, whatever rooms they are in.
    pub users: bool,
    /// Where batches of events are posted to; `None` keeps them in the log.
    pub endpoint: Option<Endpoint>,
    /// What signs the batches. Needed with an endpoint: whoever knows the URL could otherwise say who is in which room.
    pub secret: Option<WebhookSecret>,
    /// The secret before it, which signs them as well until the backend knows the new one.
    pub previous_secret: Option<WebhookSecret>,
    /// How the backend shows who it is, and how we do.
    pub tls: TlsOptions,
    /// The most events of a batch. Default 100: a batch is one transaction for most backends.
    pub batch_size: usize,
    /// How long the backend may take to answer a batch. Default 5 s.
    pub timeout: Duration,
    /// How long a room has had nobody before it is told to be vacated. Default 5 s: who reloads a page, or reconnects after a
    /// restart of the server, is back within it.
    pub vacated_delay: Duration,
    /// Bytes of the events in the log; beyond it the oldest go. Default 1 GiB, some ten million events.
    pub log_max_size: usize,
    /// How old an event of the log may be; older ones go. Default 7 days: a backend that was out over a long weekend is told all
    /// that it missed.
    pub log_max_age: Duration,
}

impl Default for RoomEventsOptions {
    fn default() -> Self {
        Self {
            users: false,
            endpoint: None,
            secret: None,
            previous_secret: None,
            tls: TlsOptions::default(),
            batch_size: 100,
            timeout: Duration::from_secs(5),
            vacated_delay: Duration::from_secs(5),
            log_max_size: 1024 * 1024 * 1024,
            log_max_age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl RoomEventsOptions {
    /// Puts dots in the place of secrets.
    pub(super) fn hide(&mut self) {
        for secret in [&mut self.secret, &mut self.previous_secret].into_iter().flatten() {
            *secret = WebhookSecret { written: "…".to_owned(), key: Secret::new("…") };
        }
        if let Some(Endpoint(uri)) = &mut self.endpoint
            && let Some(Ok(shown)) = without_query(&uri.to_string()).map(|shown| shown.parse())
        {
            *uri = shown;
        }
        self.tls.hide_secrets();
    }
}

/// The URL of a backend, `http://…` or `https://…`, without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What was expected. Never what was found: there may be a password in it.
    pub fn new(text: &str) -> Result<Self, String> {
        http_url(text).map(Self).map_err(|_| Option::<Self>::expected().into_owned())
    }

    /// The URL itself.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What signs batches: `whsec_` and the key in base64, as [Standard Webhooks](https://www.standardwebhooks.com) has it, or a text
/// that is the key itself. It shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    written: String,
    key: Secret,
}

impl WebhookSecret {
    /// Reads a secret.
    ///
    /// # Errors
    /// What was expected.
    pub fn new(text: &str) -> Result<Self, String> {
        let key = match text.strip_prefix(SECRET_PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| "expected base64 after \"whsec_\"".to_owned())?,
            None => text.as_bytes().to_vec(),
        };
        if key.len() < SECRET_BYTES_MIN {
            return Err(format!("expected {SECRET_BYTES_MIN} bytes or more, found {}", key.len()));
        }
        Ok(Self { written: text.to_owned(), key: Secret::new(key) })
    }

    /// The key.
    pub(crate) fn key(&self) -> &Secret {
        &self.key
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

const SECRET_PREFIX: &str = "whsec_";
/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// A batch is held in memory, and is one request of the backend.
const BATCH_MAX: usize = 1_000;
/// Less than a request over the network may take.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// A request that takes longer is lost.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Nobody waits longer for somebody to come back.
const VACATED_DELAY_MAX: Duration = Duration::from_secs(60 * 60);
/// Some ten thousand events.
const LOG_SIZE_MIN: usize = 1024 * 1024;
/// More than a disk that is for this.
const LOG_SIZE_MAX: usize = 1024 * 1024 * 1024 * 1024;
/// A backend that restarts is back within it.
const LOG_AGE_MIN: Duration = Duration::from_secs(60);
/// Ten years.
const LOG_AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(super) const SECTION: Section = Section {
    name: "events",
    settings: &[
        setting!("users", Live, events.users, "users that connect and disconnect are events, too"),
        setting!("endpoint", Live, events.endpoint, "where events are posted to; unset: they stay in the log"),
        setting!(
            "secret",
            Live,
            events.secret,
            "what signs them: text, or whsec_ and base64, as Standard Webhooks has it"
        ),
        setting!("previous_secret", Live, events.previous_secret, "the one before it, which signs them as well"),
        setting!("tls.enabled", Live, events.tls.enabled, "know the backend by what follows"),
        setting!("tls.cert_pem", Live, events.tls.cert_pem, "the certificate that we show"),
        setting!("tls.key_pem", Live, events.tls.key_pem, "its key"),
        setting!(
            "tls.server_ca_pem",
            Live,
            events.tls.server_ca_pem,
            "who vouches for the backend; unset: this machine's authorities"
        ),
        setting!(
            "tls.insecure_skip_verify",
            Live,
            events.tls.insecure_skip_verify,
            "believe that any server is the backend; for development"
        ),
        setting!(
            "tls.server_name",
            Live,
            events.tls.server_name,
            "the name its certificate is for; unset: that of the endpoint"
        ),
        setting!("batch_size", Live, events.batch_size, "events posted at once, at most", |v: &usize| within(
            v, &1, &BATCH_MAX
        )),
        setting!("timeout", Live, events.timeout, "how long the backend may take for a batch", |v: &Duration| {
            between(*v, TIMEOUT_MIN, TIMEOUT_MAX)
        }),
        setting!(
            "vacated_delay",
            Live,
            events.vacated_delay,
            "how long nobody has been in a room before that is told",
            |v: &Duration| between(*v, Duration::ZERO, VACATED_DELAY_MAX)
        ),
        setting!(
            "log_max_size",
            Live,
            events.log_max_size,
            "bytes of events that are kept; of older ones the backend is told that they are gone",
            |v: &usize| within(v, &LOG_SIZE_MIN, &LOG_SIZE_MAX)
        ),
        setting!("log_max_age", Live, events.log_max_age, "how long events are kept", |v: &Duration| between(
            *v,
            LOG_AGE_MIN,
            LOG_AGE_MAX
        )),
    ],
};

impl Kind for Option<Endpoint> {
    fn expected() -> Cow<'static, str> {
        "a URL such as \"https://backend.example/roomcast/events\", without a user and a password".into()
    }

    const IS_SECRET: bool = true;

    fn read(value: &Value) -> Option<Self> {
        value.text().and_then(|text| Endpoint::new(text).ok()).map(Some)
    }

    fn write(&self) -> Option<String> {
        self.as_ref().map(|endpoint| quote(&endpoint.to_string()))
    }
}

impl Kind for Option<WebhookSecret> {
    fn expected() -> Cow<'static, str> {
        format!("text in quotes of {SECRET_BYTES_MIN} bytes or more, or whsec_ and as many in base64").into()
    }

    const IS_SECRET: bool = true;

    fn read(value: &Value) -> Option<Self> {
        value.text().and_then(|text| WebhookSecret::new(text).ok()).map(Some)
    }

    fn write(&self) -> Option<String> {
        self.as_ref().map(|secret| quote(&secret.written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_http_without_a_password() {
        for good in ["http://localhost:9000/events", "https://backend.example", "http://[::1]:80/a?b=c"] {
            assert!(Endpoint::new(good).is_ok(), "{good}");
        }
        for bad in ["", "backend", "http://a/#b", "http://ann:pass@a/b"] {
            let error = Endpoint::new(bad).expect_err(bad);
            assert!(!error.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_text_or_base64_and_shows_nowhere() {
        let text = WebhookSecret::new("a secret of 24 bytes ...").expect("text");
        let encoded = WebhookSecret::new("whsec_YSBzZWNyZXQgb2YgMjQgYnl0ZXMgLi4u").expect("base64");
        assert_eq!(text.key(), encoded.key());
        assert!(!format!("{text:?}").contains("24"));
        for bad in ["", "short", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64 at all"] {
            assert!(WebhookSecret::new(bad).is_err(), "{bad}");
        }
    }
}
