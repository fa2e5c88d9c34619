//! Callbacks: questions about clients that the site's backend answers, by the proxies of the configuration.
//!
//! It uses `config`, `ops`, `limits`, `backend` and `auth`. It is used by `session`, which asks and is told, and by `rooms` and `client`, which
//! carry it there and back.

mod answer;
mod proxy;
mod question;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use tokio::runtime::Handle;

#[cfg(any(test, roomcast_fuzz))]
pub(crate) use self::answer::Entry;
pub(crate) use self::answer::{Admitted, Allowed, Answer, Extended};
use self::proxy::{Line, Proxy};
pub(crate) use self::question::{Event, Kind, Question, Way};
use crate::backend::EndsWithUs;
use crate::config::{Config, DEFAULT_PROXY, ProxyOptions};
use crate::limits::memory::Memory;
use crate::ops::metrics::Metrics;

/// The proxies of a server, those of them that are asked.
pub(crate) struct Callbacks {
    proxies: HashMap<(Kind, String), Arc<Proxy>>,
    /// Headers of handshakes that any of them passes on.
    kept_headers: Vec<HeaderName>,
    runtime: Handle,
}

impl Callbacks {
    /// By the configuration; `clock` says the milliseconds since 1970. All calls are made on `runtime`. What of the configuration
    /// cannot be used has been found when it was checked; a proxy of which that is so nevertheless answers nothing.
    pub(crate) fn new(
        config: &Config,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
        runtime: Handle,
        (memory, metrics): (&Arc<Memory>, &Metrics),
    ) -> Self {
        let mut lines = HashMap::<String, Arc<Line>>::new();
        let mut proxies = HashMap::new();
        let mut kept_headers = BTreeSet::new();
        for (kind, name) in asked(config) {
            let Some(options) = config.proxies.named(&name, own(config, kind)) else { continue };
            let Some(endpoint) = &options.endpoint else { continue };
            // One that several kinds of events have is one, with its bounds.
            let line = match lines.get(&name).filter(|_| name != DEFAULT_PROXY) {
                Some(line) => Arc::clone(line),
                None => match Line::new(options, endpoint, runtime.clone(), Arc::clone(memory)) {
                    Ok(line) => Arc::new(line),
                    Err(error) => {
                        tracing::error!(event = kind.name(), proxy = name, error, "a proxy cannot be used");
                        continue;
                    }
                },
            };
            lines.insert(name.clone(), Arc::clone(&line));
            kept_headers.extend(line.http_headers.iter().map(HeaderName::as_str).map(str::to_owned));
            let proxy = Proxy::new(line, metrics.proxy(kind.name(), &name), Arc::clone(&clock), config);
            proxies.insert((kind, name), Arc::new(proxy));
        }
        let kept_headers = kept_headers.iter().filter_map(|name| name.parse().ok()).collect();
        Self { proxies, kept_headers, runtime }
    }

    /// What of a handshake's headers is kept for the calls about its client; nothing where none of it is wanted.
    pub(crate) fn keep_headers(&self, headers: &HeaderMap) -> Option<Box<HeaderMap>> {
        let mut kept = HeaderMap::new();
        for name in &self.kept_headers {
            for value in headers.get_all(name) {
                kept.append(name, value.clone());
            }
        }
        (!kept.is_empty()).then(|| Box::new(kept))
    }

    /// Asks the backend. Whoever stops waiting ends the call.
    pub(crate) fn ask(
        &self,
        question: Question,
        way: Way,
        headers: Option<&HeaderMap>,
    ) -> impl Future<Output = Answer> + 'static {
        let proxy = self.proxies.get(&(question.event.kind(), question.proxy.clone())).cloned();
        let headers = headers.cloned();
        let asked = proxy.map(|proxy| {
            let work = async move { proxy.ask(question, &way, headers.as_ref()).await };
            EndsWithUs(self.runtime.spawn(work))
        });
        async move {
            match asked {
                // Nobody asks one that is not there; the configuration was checked.
                None => Answer::Failed,
                Some(mut asked) => (&mut asked.0).await.unwrap_or(Answer::Failed),
            }
        }
    }
}

/// Which proxies are asked about which kinds of events, by name.
fn asked(config: &Config) -> BTreeSet<(Kind, String)> {
    let mut asked = BTreeSet::new();
    let mut note = |is_asked: bool, kind: Kind, name: &str| {
        if is_asked {
            asked.insert((kind, name.to_owned()));
        }
    };
    note(config.proxies.connect_enabled, Kind::Connect, DEFAULT_PROXY);
    note(config.proxies.refresh_enabled, Kind::Refresh, DEFAULT_PROXY);
    for options in config.channel.all_options() {
        note(options.subscribe_proxy_enabled, Kind::Subscribe, &options.subscribe_proxy_name);
        note(options.publish_proxy_enabled, Kind::Publish, &options.publish_proxy_name);
        note(options.sub_refresh_proxy_enabled, Kind::SubRefresh, &options.sub_refresh_proxy_name);
    }
    for options in std::iter::once(&config.rpc.without_namespace).chain(config.rpc.namespaces.values()) {
        note(options.proxy_enabled, Kind::Rpc, &options.proxy_name);
    }
    asked
}

/// The proxy that a kind of event has for itself.
fn own(config: &Config, kind: Kind) -> &ProxyOptions {
    let proxies = &config.proxies;
    match kind {
        Kind::Connect => &proxies.connect,
        Kind::Refresh => &proxies.refresh,
        Kind::Subscribe => &proxies.subscribe,
        Kind::Publish => &proxies.publish,
        Kind::SubRefresh => &proxies.sub_refresh,
        Kind::Rpc => &proxies.rpc,
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("proxies", &self.proxies.len()).finish_non_exhaustive()
    }
}
