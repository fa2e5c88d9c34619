//! Certificates that the server fetches for itself by ACME (RFC 8555), keeps, and renews.
//!
//! All of it happens beside the shards, on the runtime of the background. A shard looks up what is there by now, whole and at once:
//! the certificate of a name, or what is to be answered to an authority that asks whether a name leads here.
//!
//! # Guarantees
//! - Nothing is asked for but for the names of `host_whitelist`, each by itself: one that leads elsewhere holds up no other.
//! - A certificate is in use until another one takes its place. What cannot be had is said, counted, and tried again: later each time,
//!   never before the authority lets us, whether the server was restarted meanwhile or not.
//! - What is kept is whole at any time, and nobody's but the server's user.

mod cache;
mod door;
mod issue;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use self::cache::Cache;
use self::issue::Authority;
use crate::config::{self, ACME_TLS};
use crate::ops::tls_metrics::TlsMetrics;
use crate::util::panics::lock;
use crate::util::rng::Rng;

/// Where an authority asks over HTTP whether a name leads here (RFC 8555, 8.3).
pub(crate) const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The longest wait, and the longest sleep: a clock that is put right is noticed.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);

/// The certificates by their names, and what authorities are answered.
pub(crate) struct Autocert {
    options: config::Autocert,
    held: ArcSwap<HashMap<String, Arc<Held>>>,
    /// What is answered over HTTP, by token, and in TLS, by name. Few at a time, and changed rarely.
    tokens: ArcSwap<HashMap<String, String>>,
    proofs: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    changing: Mutex<()>,
    cache: Cache,
}

/// A certificate with its key.
#[derive(Debug)]
struct Held {
    key: Arc<CertifiedKey>,
    /// From when to when it is good, since 1970.
    lasts: Range<Duration>,
}

impl Held {
    /// When to ask for the next one: when two thirds of its time are over. `spread` (0 to 1) is when exactly, so that not all who
    /// have begun together come together.
    fn due(&self, spread: f64) -> Duration {
        let life = self.lasts.end.saturating_sub(self.lasts.start);
        (self.lasts.start + life * 2 / 3).saturating_sub(life.mul_f64(spread / 24.0))
    }
}

impl Autocert {
    /// With what is kept from before.
    pub(crate) fn new(options: &config::Autocert, data_dir: &Path) -> Self {
        let folder = options.cache_dir.clone().filter(|it| !it.as_os_str().is_empty());
        let cache = Cache::new(&folder.unwrap_or_else(|| data_dir.join("autocert")), &options.directory_url);
        let this = Self {
            options: options.clone(),
            held: ArcSwap::default(),
            tokens: ArcSwap::default(),
            proofs: ArcSwap::default(),
            changing: Mutex::default(),
            cache,
        };
        for name in &options.host_whitelist {
            this.look_for(name);
        }
        this
    }

    /// Takes over what is kept for a name, if it is good for longer than what is in use. It reads a file.
    fn look_for(&self, name: &str) {
        match self.cache.certificate(name) {
            Ok(None) => {}
            Ok(Some(held)) => {
                let is_longer = self.held.load().get(name).is_none_or(|known| known.lasts.end < held.lasts.end);
                if is_longer {
                    self.take(name, held);
                }
            }
            Err(error) => {
                tracing::warn!(name, %error, "cannot use the certificate that is kept; another one is fetched")
            }
        }
    }

    fn take(&self, name: &str, held: Held) {
        let _alone = lock(&self.changing);
        let mut all = HashMap::clone(&self.held.load());
        all.insert(name.to_owned(), Arc::new(held));
        self.held.store(Arc::new(all));
    }

    /// When the first of those in use is over, since 1970.
    pub(crate) fn ends_at(&self) -> Option<Duration> {
        self.held.load().values().map(|held| held.lasts.end).min()
    }

    /// What an authority is to be answered that asks at this path; `None` where nothing is asked.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        self.tokens.load().get(path.strip_prefix(CHALLENGES)?).cloned()
    }

    /// Whether it is one of the names of this server.
    fn is_ours(&self, name: &str) -> bool {
        self.options.host_whitelist.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Fetches certificates and renews them, for as long as the server runs.
    pub(crate) async fn keep(
        self: Arc<Self>,
        runtime: Handle,
        rng: Rng,
        clock: impl Fn() -> Duration,
        metrics: TlsMetrics,
    ) {
        // It ends with this, and the address is free then for another process.
        let mut beside = JoinSet::new();
        if let Some(address) = self.options.http_at() {
            beside.spawn(door::keep(address, Arc::clone(&self)));
        }
        let rng = Mutex::new(rng);
        let spread = || lock(&rng).fraction();
        let authority = match Authority::new(&self.options, runtime) {
            Ok(authority) => authority,
            Err(error) => {
                tracing::error!(error, "no certificate can be fetched");
                // Who comes there is sent to https even so.
                while beside.join_next().await.is_some() {}
                return;
            }
        };
        let mut plans = self.plans(&spread);
        loop {
            let now = clock();
            for (name, plan) in &mut plans {
                let not_before = authority.not_before();
                if plan.at.max(not_before) > now {
                    continue;
                }
                // Another process may have fetched it.
                let (this, looked_for) = (Arc::clone(&self), name.clone());
                let _ = tokio::task::spawn_blocking(move || this.look_for(&looked_for)).await;
                let due = |this: &Self| this.held.load().get(name).map(|held| held.due(spread()));
                if let Some(due) = due(&self).filter(|due| *due > now) {
                    *plan = Plan { at: due, failures: 0 };
                    continue;
                }
                tracing::info!(name, "asking for a certificate");
                match authority.certificate(&self, name).await {
                    Ok(()) => {
                        metrics.fetched("done");
                        let ends = self.held.load().get(name).map(|held| held.lasts.end.saturating_sub(now));
                        let days = ends.map(|left| left.as_secs() / (24 * 60 * 60));
                        tracing::info!(name, days, "there is a new certificate");
                        if let Some(end) = self.ends_at() {
                            metrics.set_end("external", end.as_secs() as i64);
                        }
                        // Whatever the authority thinks a life is, it is not asked for ever.
                        let next = due(&self).unwrap_or_default().max(now + self.options.retry_interval);
                        *plan = Plan { at: next, failures: 0 };
                    }
                    Err(error) => {
                        metrics.fetched("failed");
                        plan.failures += 1;
                        let wait = self.wait_after(plan.failures, spread());
                        plan.at = (clock() + wait).max(authority.not_before());
                        let again_in =
                            humantime::format_duration(Duration::from_secs(plan.at.saturating_sub(now).as_secs()))
                                .to_string();
                        match self.held.load().contains_key(name) {
                            true => {
                                tracing::warn!(name, error, again_in, "no new certificate; the one before stays in use")
                            }
                            false => tracing::error!(
                                name,
                                error,
                                again_in,
                                "no certificate: TLS handshakes for this name are refused"
                            ),
                        }
                    }
                }
                self.note(name, plan.clone()).await;
            }
            let now = clock();
            let next = plans.values().map(|plan| plan.at.max(authority.not_before())).min().unwrap_or(now + SLEEP_MAX);
            let sleep = next.saturating_sub(now).clamp(Duration::from_millis(50), SLEEP_MAX);
            tokio::time::sleep(sleep).await;
        }
    }

    /// When to ask for which name: by what is kept.
    fn plans(&self, spread: &impl Fn() -> f64) -> HashMap<String, Plan> {
        let mut plans = HashMap::new();
        for name in &self.options.host_whitelist {
            let held = self.held.load().get(name).cloned();
            if held.is_none() {
                tracing::warn!(
                    name,
                    "there is no certificate yet: TLS handshakes for this name are refused until there is one"
                );
            }
            let due = held.map(|held| held.due(spread())).unwrap_or_default();
            let plan = match self.cache.failures(name) {
                // Somebody may have restarted the server because the cause is mended; but not for ever.
                Some(plan) if plan.failures >= PATIENT_AFTER => Plan { at: due.max(plan.at), ..plan },
                Some(plan) => Plan { at: due, ..plan },
                None => Plan { at: due, failures: 0 },
            };
            plans.insert(name.clone(), plan);
        }
        plans
    }

    /// How long to wait when it has failed so many times.
    fn wait_after(&self, failures: u32, spread: f64) -> Duration {
        let doubled = self.options.retry_interval.saturating_mul(1 << (failures.saturating_sub(1)).min(16));
        doubled.min(WAIT_MAX).mul_f64(1.0 + spread / 4.0)
    }

    /// Keeps what has come of it, for the next process.
    async fn note(self: &Arc<Self>, name: &str, plan: Plan) {
        let (this, name) = (Arc::clone(self), name.to_owned());
        let noted = tokio::task::spawn_blocking(move || this.cache.note_failures(&name, &plan)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(%error, "cannot keep when to ask for a certificate again");
        }
    }
}

/// So many failures in a row are remembered over a restart.
const PATIENT_AFTER: u32 = 3;

/// When to ask next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    /// Since 1970.
    at: Duration,
    /// In a row.
    failures: u32,
}

/// What is answered to an authority until this is dropped.
struct Answered<'a> {
    all: &'a Autocert,
    token: String,
    name: String,
}

impl Autocert {
    /// Answers, over HTTP, `proof` where the token is asked for.
    fn answer_http(&self, token: &str, proof: &str) -> Answered<'_> {
        let answered = Answered { all: self, token: token.to_owned(), name: String::new() };
        self.change(&self.tokens, |tokens| drop(tokens.insert(token.to_owned(), proof.to_owned())));
        answered
    }

    /// Shows, in TLS, a certificate that proves it.
    fn answer_tls(&self, name: &str, proof: Arc<CertifiedKey>) -> Answered<'_> {
        let answered = Answered { all: self, token: String::new(), name: name.to_owned() };
        self.change(&self.proofs, |proofs| drop(proofs.insert(name.to_owned(), proof)));
        answered
    }

    fn change<T: Clone>(&self, place: &ArcSwap<HashMap<String, T>>, change: impl FnOnce(&mut HashMap<String, T>)) {
        let _alone = lock(&self.changing);
        let mut all = HashMap::clone(&place.load());
        change(&mut all);
        place.store(Arc::new(all));
    }
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.all.change(&self.all.tokens, |tokens| drop(tokens.remove(&self.token)));
        self.all.change(&self.all.proofs, |proofs| drop(proofs.remove(&self.name)));
    }
}

impl ResolvesServerCert for Autocert {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map(str::to_ascii_lowercase);
        let is_asked =
            hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(ACME_TLS) && protocols.next().is_none());
        if is_asked {
            return self.proofs.load().get(named.as_deref()?).cloned();
        }
        let name = named.as_deref().or(self.options.server_name.as_deref())?;
        self.held.load().get(name).map(|held| Arc::clone(&held.key))
    }
}

impl fmt::Debug for Autocert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Autocert").field("names", &self.options.host_whitelist).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_time_are_over() {
        let made = rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]).unwrap();
        let key = cache::certified(&(made.signing_key.serialize_pem() + &made.cert.pem())).unwrap();
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        let held = Held { key: Arc::new(key), lasts: days(100)..days(190) };
        assert_eq!(held.due(0.0), days(160), "thirty days before the end of ninety");
        assert!(held.due(1.0) > days(156) && held.due(1.0) < days(160));
    }

    #[test]
    fn each_failure_is_followed_by_twice_the_wait_up_to_a_day() {
        let options = config::Autocert::default();
        let nowhere = std::env::temp_dir().join("roomcast-autocert-nowhere");
        let autocert = Autocert::new(&options, &nowhere);
        let minutes = |failures| autocert.wait_after(failures, 0.0).as_secs() / 60;
        assert_eq!([1, 2, 3, 4].map(minutes), [5, 10, 20, 40]);
        assert_eq!([9, 10, u32::MAX].map(minutes), [1_280, 1_440, 1_440]);
        assert!(autocert.wait_after(1, 1.0) < Duration::from_secs(376));
        // Five failures in an hour are what Let's Encrypt allows.
        assert!([1, 2, 3, 4].map(minutes).iter().sum::<u64>() > 60);
    }
}
