//! The options of proxies, as the file has them: `[client.proxy]`, `[channel.proxy]`, `[rpc]`, `[[proxies]]`.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use super::options::{Reload, Section, Setting, between, setting, sign, within};
use super::proxy::{ProxyOptions, RpcOptions, StaticHeaders};
use super::setting::{Kind, quote, read};
use super::status_transforms::{in_json, transforms, write_transforms};
use super::tls::Pem;
use super::tree::{Node, Value};
use super::url::{UrlError, http_url};
use crate::util::signature::Secret;

/// As long as a connection that nobody looks after; who waits longer for a backend has none.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Each has a socket.
const CONCURRENCY_MAX: usize = 16_384;
/// Each holds what a client may send in a message.
const QUEUE_MAX: usize = 1_000_000;
/// Each is looked for in every handshake.
const HEADERS_MAX: usize = 64;
/// Each may hold connections.
pub(super) const PROXIES_MAX: usize = 256;
/// Of those that the transport needs for itself.
const OURS: [&str; 11] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    // It would be answered in what nobody here unpacks, and as nobody here waits for.
    "accept-encoding",
    "expect",
];

/// The options of one proxy at a place of the struct.
macro_rules! proxy_settings {
    ($first:expr; $($path:ident.)*) => { proxy_settings!(@ [$first,] $($path.)*) };
    (; $($path:ident.)*) => { proxy_settings!(@ [] $($path.)*) };
    (@ [$($first:tt)*] $($path:ident.)*) => {
        &[
            $($first)*
            setting!("endpoint", Live, $($path.)* endpoint, "where the backend is asked, http:// or https://", endpoint),
            setting!(
                "timeout",
                Live,
                $($path.)* timeout,
                "how long an answer may take, waiting for a free place included",
                |v: &Duration| between(*v, TIMEOUT_MIN, TIMEOUT_MAX)
            ),
            setting!("concurrency", Live, $($path.)* concurrency, "calls under way at once", |v: &usize| within(
                v,
                &1,
                &CONCURRENCY_MAX
            )),
            setting!(
                "queue_size",
                Live,
                $($path.)* queue_size,
                "calls that wait for a free place; beyond it they fail at once",
                |v: &usize| within(v, &0, &QUEUE_MAX)
            ),
            names_setting!("http_headers", Live, $($path.)* http_headers, "headers of a client's handshake that are passed on"),
            names_setting!(
                "emulated_headers",
                Live,
                $($path.)* emulated_headers,
                "headers that a client writes into its connect command and that are passed on"
            ),
            setting!("binary_encoding", Live, $($path.)* binary_encoding, "say data in base64, for data that is not JSON"),
            setting!(
                "include_connection_meta",
                Live,
                $($path.)* include_connection_meta,
                "tell what the backend attached to the connection when it connected"
            ),
            setting!("http.static_headers", Live, $($path.)* static_headers, "headers that every call has", headers),
            Setting {
                key: "http.status_to_code_transforms",
                reload: Reload::Live,
                about: || "what a client is told for a status that is not 200".into(),
                read: |target, value| {
                    target.$($path.)* status_to_code_transforms = transforms(value)?;
                    Ok(())
                },
                write: |target| Some(write_transforms(&target.$($path.)* status_to_code_transforms)),
                copy: |target, source| {
                    target.$($path.)* status_to_code_transforms.clone_from(&source.$($path.)* status_to_code_transforms);
                },
            },
            setting!("http.tls.enabled", Live, $($path.)* tls.enabled, "know the backend by what follows"),
            setting!("http.tls.cert_pem", Live, $($path.)* tls.cert_pem, "the certificate that we show"),
            setting!("http.tls.key_pem", Live, $($path.)* tls.key_pem, "its key"),
            setting!(
                "http.tls.server_ca_pem",
                Live,
                $($path.)* tls.server_ca_pem,
                "who vouches for the backend; unset: this machine's authorities"
            ),
            setting!(
                "http.tls.insecure_skip_verify",
                Live,
                $($path.)* tls.insecure_skip_verify,
                "believe that any server is the backend; for development"
            ),
            setting!(
                "http.tls.server_name",
                Live,
                $($path.)* tls.server_name,
                "the name its certificate is for; unset: that of the endpoint"
            ),
        ]
    };
}

/// `names_setting!(key, Live or Restart, place in the struct, what it does)`
macro_rules! names_setting {
    ($key:literal, $reload:ident, $($field:ident).+, $about:literal) => {
        Setting {
            key: $key,
            reload: Reload::$reload,
            about: || $about.into(),
            read: |target, value| {
                target.$($field).+ = header_names(value)?;
                Ok(())
            },
            write: |target| target.$($field).+.write(),
            copy: |target, source| target.$($field).+.clone_from(&source.$($field).+),
        }
    };
}

/// The options of one of `[[proxies]]`.
pub(super) const PROXY: &[Setting<ProxyOptions>] = proxy_settings!(;);

/// The options of `[rpc.without_namespace]` and of each of `[[rpc.namespaces]]`.
pub(super) const RPC: &[Setting<RpcOptions>] = &[
    setting!("proxy_enabled", Live, proxy_enabled, "have the backend answer"),
    setting!("proxy_name", Live, proxy_name, "by which of the proxies; default: that of [rpc.proxy]"),
];

/// The sections of the proxies that stand beside the named ones.
pub(super) const OWN: [&str; 6] = [
    FIRST,
    "client.proxy.refresh",
    "channel.proxy.subscribe",
    "channel.proxy.publish",
    "channel.proxy.sub_refresh",
    "rpc.proxy",
];

/// The section whose options one of the sections has.
pub(super) fn repeated(section: &str) -> Option<&'static str> {
    let is_proxy =
        section == "rpc.proxy" || section.starts_with("client.proxy.") || section.starts_with("channel.proxy.");
    (is_proxy && section != FIRST).then_some(FIRST)
}

const FIRST: &str = "client.proxy.connect";

pub(super) const SECTIONS: &[Section] = &[
    Section { name: "client.proxy", settings: &[] },
    Section {
        name: FIRST,
        settings: proxy_settings!(
            setting!("enabled", Live, proxies.connect_enabled, "ask the backend who a client is that brings no token");
            proxies.connect.
        ),
    },
    Section {
        name: "client.proxy.refresh",
        settings: proxy_settings!(
            setting!(
                "enabled",
                Live,
                proxies.refresh_enabled,
                "ask the backend whether a client may stay whose time is over, in place of a new token"
            );
            proxies.refresh.
        ),
    },
    Section { name: "channel.proxy", settings: &[] },
    Section { name: "channel.proxy.subscribe", settings: proxy_settings!(; proxies.subscribe.) },
    Section { name: "channel.proxy.publish", settings: proxy_settings!(; proxies.publish.) },
    Section { name: "channel.proxy.sub_refresh", settings: proxy_settings!(; proxies.sub_refresh.) },
    Section {
        name: "rpc",
        settings: &[
            setting!("ping.enabled", Live, rpc.ping_enabled, "answer one procedure here, with nothing"),
            setting!("ping.method", Live, rpc.ping_method, "its name"),
            sign!(
                "namespace_boundary",
                rpc.namespace_boundary,
                ":",
                "divides a namespace from the rest of a procedure's name"
            ),
        ],
    },
    Section { name: "rpc.proxy", settings: proxy_settings!(; proxies.rpc.) },
    Section {
        name: "rpc.without_namespace",
        settings: &[
            setting!(
                "proxy_enabled",
                Live,
                rpc.without_namespace.proxy_enabled,
                "have the backend answer procedures without a namespace"
            ),
            setting!(
                "proxy_name",
                Live,
                rpc.without_namespace.proxy_name,
                "by which of the proxies; default: that of [rpc.proxy]"
            ),
        ],
    },
];

fn endpoint(endpoint: &Option<String>) -> Result<(), String> {
    let Some(written) = endpoint else { return Ok(()) };
    if written.starts_with("grpc://") {
        return Err("gRPC is not served; give an address of http:// or https://".to_owned());
    }
    // Not shown: it may hold a key.
    match http_url(written) {
        Ok(_) => Ok(()),
        Err(UrlError::NotHttp) => Err("expected an address such as \"https://backend.example/callbacks\"".to_owned()),
        Err(UrlError::HasPassword) => {
            Err("put a password into `http.static_headers`, as Authorization, not into the address".to_owned())
        }
    }
}

fn header_name(name: &str) -> Result<String, String> {
    let name = name.trim().to_ascii_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("expected names of headers, found {name:?}"));
    }
    if OURS.contains(&name.as_str()) || name.starts_with("proxy-") {
        return Err(format!("{name} is said by the connection to the backend itself; it cannot be set"));
    }
    Ok(name)
}

fn header_names(value: &Value) -> Result<Vec<String>, String> {
    let written: Vec<String> = read(value)?;
    within(&written.len(), &0, &HEADERS_MAX)?;
    written.iter().map(|name| header_name(name)).collect()
}

fn headers(headers: &StaticHeaders) -> Result<(), String> {
    within(&headers.0.len(), &0, &HEADERS_MAX)?;
    headers.0.iter().try_for_each(|(name, value)| {
        header_name(name)?;
        let value = HeaderValue::from_str(&value.reveal());
        value.map(drop).map_err(|_| format!("the value of {name} cannot stand in a header"))
    })
}

impl Kind for StaticHeaders {
    const IS_SECRET: bool = true;

    fn expected() -> Cow<'static, str> {
        "headers with their values, such as { \"X-Key\" = \"…\" } (in the environment: in JSON)".into()
    }

    fn read(value: &Value) -> Option<Self> {
        let parsed = in_json(value);
        let Value::Table(members) = parsed.as_ref().map_or(value, |node| &node.value) else { return None };
        let read = |(name, node): &(String, Node)| Some((name.to_ascii_lowercase(), Secret::new(node.value.text()?)));
        members.iter().map(read).collect::<Option<_>>().map(Self)
    }

    fn write(&self) -> Option<String> {
        let members: Vec<_> =
            self.0.iter().map(|(name, value)| format!("{} = {}", quote(name), quote(&value.reveal()))).collect();
        Some(if members.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", members.join(", ")) })
    }
}

impl Kind for Option<Pem> {
    const IS_SECRET: bool = true;

    fn expected() -> Cow<'static, str> {
        "PEM (-----BEGIN …), that in base64, or the path of a file of it".into()
    }

    fn read(value: &Value) -> Option<Self> {
        let text = value.text()?;
        if text.is_empty() { Some(None) } else { Pem::read(text).ok().map(Some) }
    }

    fn write(&self) -> Option<String> {
        self.as_ref().map(|pem| quote(&pem.written()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_of_http_without_a_password() {
        for good in ["http://127.0.0.1:3000", "https://backend.example/callbacks?site=1", "http://[::1]:80/x"] {
            assert_eq!(endpoint(&Some(good.to_owned())), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("grpc://backend:10000", "gRPC"),
            ("backend:3000", "expected"),
            ("/callbacks", "expected"),
            ("ftp://backend", "expected"),
            ("http://", "expected"),
            ("http://u:secret@backend/", "static_headers"),
            ("http://backend/#x", "expected"),
        ] {
            let error = endpoint(&Some(bad.to_owned())).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{bad}: {error}");
        }
    }

    #[test]
    fn headers_that_hold_a_connection_together_are_not_ours_to_pass_on() {
        assert_eq!(header_name(" X-Request-ID"), Ok("x-request-id".to_owned()));
        for bad in
            ["Host", "content-length", "Connection", "Proxy-Authorization", "Accept-Encoding", "Expect", "a b", ""]
        {
            assert!(header_name(bad).is_err(), "{bad}");
        }
    }
}
