//! Proxies: where the site's backend is asked, and how. `[client.proxy]`, `[channel.proxy]`, `[rpc.proxy]`, `[[proxies]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::render::without_query;
use super::tls::TlsOptions;
use crate::util::signature::Secret;

/// How the backend is asked about one kind of event. Nothing of a client's request is passed on unless it is named here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyOptions {
    /// Where: an address of `http` or `https`.
    pub endpoint: Option<String>,
    /// How long an answer may take, waiting for a free place included. Default 1 s: a client waits meanwhile.
    pub timeout: Duration,
    /// Calls under way at once. Default 128: thousands a second where the backend answers within milliseconds, and no more sockets
    /// than that where it does not.
    pub concurrency: usize,
    /// Calls that wait for a free place; beyond it they fail at once. Default 1,024.
    pub queue_size: usize,
    /// Headers of the client's handshake that are passed on, in lower case.
    pub http_headers: Vec<String>,
    /// Headers that the client writes into its `connect` command and that are passed on, in lower case.
    pub emulated_headers: Vec<String>,
    /// Whether data is said in base64, for applications whose data is not JSON.
    pub binary_encoding: bool,
    /// Whether what the backend attached to the connection when it connected is told.
    pub include_connection_meta: bool,
    /// Headers that every call has.
    pub static_headers: StaticHeaders,
    /// What an answer with another status than 200 comes to.
    pub status_to_code_transforms: Vec<StatusTransform>,
    /// How the backend is known where it speaks TLS.
    pub tls: TlsOptions,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            timeout: Duration::from_secs(1),
            concurrency: 128,
            queue_size: 1_024,
            http_headers: Vec::new(),
            emulated_headers: Vec::new(),
            binary_encoding: false,
            include_connection_meta: false,
            static_headers: StaticHeaders::default(),
            status_to_code_transforms: Vec::new(),
            tls: TlsOptions::default(),
        }
    }
}

/// Headers with their values, which may be secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticHeaders(pub(crate) BTreeMap<String, Secret>);

/// What a status comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusTransform {
    /// The status of the answer.
    pub status: u16,
    /// What the client is told.
    pub to: TransformTo,
}

/// What a client is told for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformTo {
    /// Its command failed.
    Error {
        /// 400 to 1999.
        code: u32,
        /// ASCII, at most 123 bytes.
        message: String,
        /// Whether its SDK tries again.
        temporary: bool,
    },
    /// It is disconnected.
    Disconnect {
        /// 4000 to 4999; from 4500 up it does not come again.
        code: u32,
        /// ASCII, at most 123 bytes.
        reason: String,
    },
}

/// All proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// Whether the backend says who a client is that brings no token.
    pub connect_enabled: bool,
    /// `[client.proxy.connect]`
    pub connect: ProxyOptions,
    /// Whether the backend is asked if a client may stay whose time is over, in place of a new token.
    pub refresh_enabled: bool,
    /// `[client.proxy.refresh]`
    pub refresh: ProxyOptions,
    /// `[channel.proxy.subscribe]`
    pub subscribe: ProxyOptions,
    /// `[channel.proxy.publish]`
    pub publish: ProxyOptions,
    /// `[channel.proxy.sub_refresh]`
    pub sub_refresh: ProxyOptions,
    /// `[rpc.proxy]`
    pub rpc: ProxyOptions,
    /// `[[proxies]]`, by name.
    pub named: BTreeMap<String, ProxyOptions>,
}

impl Proxies {
    /// The proxy of that name, `default` being the one of the kind of event.
    pub(crate) fn named<'a>(&'a self, name: &str, default: &'a ProxyOptions) -> Option<&'a ProxyOptions> {
        if name == DEFAULT_PROXY { Some(default) } else { self.named.get(name) }
    }

    /// All of them, with the path of their section.
    pub(crate) fn all(&self) -> impl Iterator<Item = (String, &ProxyOptions)> {
        let Self { connect, refresh, subscribe, publish, sub_refresh, rpc, named, .. } = self;
        let own = [
            ("client.proxy.connect", connect),
            ("client.proxy.refresh", refresh),
            ("channel.proxy.subscribe", subscribe),
            ("channel.proxy.publish", publish),
            ("channel.proxy.sub_refresh", sub_refresh),
            ("rpc.proxy", rpc),
        ];
        let own = own.into_iter().map(|(section, options)| (section.to_owned(), options));
        own.chain(named.iter().map(|(name, options)| (scope_of(name), options)))
    }

    /// The same with secrets left out, to be shown to people.
    pub(super) fn hide_secrets(&mut self) {
        let Self { connect, refresh, subscribe, publish, sub_refresh, rpc, named, .. } = self;
        for proxy in [connect, refresh, subscribe, publish, sub_refresh, rpc].into_iter().chain(named.values_mut()) {
            proxy.tls.hide_secrets();
            if let Some(shown) = proxy.endpoint.as_deref().and_then(without_query) {
                proxy.endpoint = Some(shown);
            }
            proxy.static_headers.0.values_mut().for_each(|value| *value = Secret::new("…"));
        }
    }
}

/// `[rpc]`: procedures that clients may call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rpc {
    /// Whether one is answered here, with nothing.
    pub ping_enabled: bool,
    /// Its name. Default `ping`.
    pub ping_method: String,
    /// Divides a namespace from the rest of a procedure's name. Default `:`.
    pub namespace_boundary: String,
    /// `[rpc.without_namespace]`: those whose name has no `:`.
    pub without_namespace: RpcOptions,
    /// `[[rpc.namespaces]]` by name: those named `name:rest`.
    pub namespaces: BTreeMap<String, RpcOptions>,
}

impl Default for Rpc {
    fn default() -> Self {
        Self {
            ping_enabled: false,
            ping_method: "ping".to_owned(),
            namespace_boundary: ":".to_owned(),
            without_namespace: RpcOptions::default(),
            namespaces: BTreeMap::new(),
        }
    }
}

impl Rpc {
    /// The options of a procedure, if its namespace was declared.
    pub(crate) fn options_for(&self, method: &str) -> Option<&RpcOptions> {
        match super::channel_syntax::split_once(method, &self.namespace_boundary) {
            None | Some(("", _)) => Some(&self.without_namespace),
            Some((namespace, _)) => self.namespaces.get(namespace),
        }
    }

    /// Whether the backend has any.
    pub(crate) fn is_served(&self) -> bool {
        self.without_namespace.proxy_enabled || self.namespaces.values().any(|options| options.proxy_enabled)
    }
}

/// Which procedures the backend has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcOptions {
    /// Whether the backend is called.
    pub proxy_enabled: bool,
    /// By which proxy; `default` is `[rpc.proxy]`.
    pub proxy_name: String,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self { proxy_enabled: false, proxy_name: DEFAULT_PROXY.to_owned() }
    }
}

/// The name of a kind of event's own proxy.
pub(crate) const DEFAULT_PROXY: &str = "default";

/// Under which name the options of a named proxy are noted.
pub(super) fn scope_of(proxy: &str) -> String {
    format!("proxy `{proxy}`")
}

/// Whether a name can be that of a proxy or of a namespace of procedures.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (2..=64).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procedure_is_of_the_namespace_before_its_boundary() {
        let mut rpc = Rpc::default();
        rpc.namespaces.insert("shop".to_owned(), RpcOptions { proxy_enabled: true, ..RpcOptions::default() });
        let is_served = |rpc: &Rpc, method: &str| rpc.options_for(method).map(|options| options.proxy_enabled);
        for (method, found) in
            [("shop:buy", Some(true)), ("buy", Some(false)), (":buy", Some(false)), ("bank:buy", None)]
        {
            assert_eq!(is_served(&rpc, method), found, "{method}");
        }
        rpc.namespace_boundary = "/".to_owned();
        assert_eq!(is_served(&rpc, "shop/buy"), Some(true));
        assert_eq!(is_served(&rpc, "shop:buy"), Some(false));
    }
}
