//! The certificates in use: replaced, whole and at once, when their files change.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use crate::config::{Identity, Pem, ServerTls};
use crate::net::autocert::Autocert;
use crate::ops::tls_metrics::TlsMetrics;
use crate::util::panics::lock;

/// How long before its end a certificate is warned of: those that are renewed by themselves are so a month before.
const WARNED_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How often the same warning is given.
const WARNED_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The certificate of one port, its key, and the authorities of its clients.
pub(crate) struct Certificates {
    /// Whose port it is.
    port: &'static str,
    in_use: ArcSwap<Identity>,
    kept: Mutex<Kept>,
    /// Who fetches them, where they are no files of somebody else's.
    fetched: Option<Arc<Autocert>>,
}

/// What the configuration names anew, and can be used.
pub(crate) struct Prepared {
    options: ServerTls,
    tickets: Option<Arc<dyn ProducesTickets>>,
    identity: Identity,
}

/// The ports that have some.
pub(crate) const EXTERNAL: &str = "external";
pub(crate) const INTERNAL: &str = "internal";

struct Kept {
    /// What the files said last, whether it could be used or not.
    seen: ServerTls,
    client_ca: Option<Pem>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    warned_at: Option<Duration>,
}

impl Certificates {
    /// Those that the configuration names.
    ///
    /// # Errors
    /// Which option cannot be used, and why.
    pub(crate) fn new(port: &'static str, options: &ServerTls) -> Result<Self, String> {
        let tickets = tickets();
        let identity = options.identity(tickets.clone())?;
        let kept = Kept { seen: options.clone(), client_ca: options.client_ca_pem.clone(), tickets, warned_at: None };
        Ok(Self { port, in_use: ArcSwap::from_pointee(identity), kept: Mutex::new(kept), fetched: None })
    }

    /// Those that `fetched` has, whenever it has them.
    ///
    /// # Errors
    /// None that the configuration could cause.
    pub(crate) fn fetched(port: &'static str, fetched: Arc<Autocert>) -> Result<Self, String> {
        let tickets = tickets();
        let identity = Identity::fetched(Arc::clone(&fetched) as Arc<_>, tickets.clone())?;
        let kept = Kept { seen: ServerTls::default(), client_ca: None, tickets, warned_at: None };
        Ok(Self { port, in_use: ArcSwap::from_pointee(identity), kept: Mutex::new(kept), fetched: Some(fetched) })
    }

    /// When the first of them is over, since 1970.
    fn ends_at(&self) -> Option<Duration> {
        match &self.fetched {
            None => self.in_use.load().ends_at,
            Some(fetched) => fetched.ends_at(),
        }
    }

    /// What the next connection is accepted by.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_use.load().config)
    }

    /// Takes the files as they are now; true when they have changed. Those that cannot be used change nothing. Those that
    /// could not be used the last time, and are the same, are passed over, unless `repeats`.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(crate) fn reload(&self, repeats: bool) -> Result<bool, String> {
        if self.fetched.is_some() {
            return Ok(false);
        }
        let mut kept = lock(&self.kept);
        let now = kept.seen.read_again()?;
        if now == kept.seen && !repeats {
            return Ok(false);
        }
        let has_changed = now != kept.seen;
        kept.seen = now.clone();
        // A ticket says whom its client was found to be; other authorities may find otherwise.
        let tickets = if now.client_ca_pem == kept.client_ca { kept.tickets.clone() } else { tickets() };
        let identity = now.identity(tickets.clone())?;
        self.in_use.store(Arc::new(identity));
        (kept.client_ca, kept.tickets) = (now.client_ca_pem, tickets);
        Ok(has_changed)
    }

    /// What is made of these options in place of those before, to be [put in use](Certificates::put_in_use) when all else can be
    /// done as well; nothing where they say the same.
    ///
    /// # Errors
    /// Which option cannot be used, and why.
    pub(crate) fn prepare(&self, options: &ServerTls) -> Result<Option<Prepared>, String> {
        let kept = lock(&self.kept);
        if self.fetched.is_some() || *options == kept.seen {
            return Ok(None);
        }
        // A ticket says whom its client was found to be; other authorities may find otherwise.
        let tickets = if options.client_ca_pem == kept.client_ca { kept.tickets.clone() } else { tickets() };
        let identity = options.identity(tickets.clone())?;
        Ok(Some(Prepared { options: options.clone(), tickets, identity }))
    }

    /// Goes by what was prepared from the next connection on.
    pub(crate) fn put_in_use(&self, Prepared { options, tickets, identity }: Prepared) {
        let mut kept = lock(&self.kept);
        self.in_use.store(Arc::new(identity));
        (kept.client_ca, kept.tickets) = (options.client_ca_pem.clone(), tickets);
        kept.seen = options;
        tracing::info!(port = self.port, "took over a changed certificate");
    }

    /// Whether they are those of the internal port.
    pub(crate) fn are_internal(&self) -> bool {
        self.port == INTERNAL
    }

    /// The same, with what came of it in the log and the metrics.
    pub(crate) fn reload_loudly(&self, metrics: &TlsMetrics, repeats: bool, now: Duration) {
        let port = self.port;
        match self.reload(repeats) {
            Ok(false) => {}
            Ok(true) => tracing::info!(port, "took over a changed certificate"),
            Err(error) => {
                metrics.not_reloaded(port);
                tracing::error!(port, error, "cannot use the changed certificate; the one before stays in use");
            }
        }
        let Some(end) = self.ends_at() else { return };
        metrics.set_end(port, end.as_secs() as i64);
        let mut kept = lock(&self.kept);
        let is_due = kept.warned_at.is_none_or(|at| now.saturating_sub(at) >= WARNED_EVERY);
        // Who fetches them says itself what it did not get, and some of them last for days.
        let warned_before = if self.fetched.is_some() { Duration::ZERO } else { WARNED_BEFORE };
        if end < now + warned_before && is_due {
            kept.warned_at = Some(now);
            let days = end.saturating_sub(now).as_secs() / (24 * 60 * 60);
            match end < now {
                true => tracing::error!(
                    port,
                    "the certificate is over: clients refuse it; renew it, its files are looked at"
                ),
                false => tracing::warn!(port, days, "the certificate ends soon: see why it was not renewed"),
            }
        }
    }
}

/// What clients come back with; without it, each has a whole handshake.
fn tickets() -> Option<Arc<dyn ProducesTickets>> {
    Ticketer::new().inspect_err(|error| tracing::warn!(%error, "TLS goes without tickets")).ok()
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        certificate: String,
        key: String,
    }

    fn pair() -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]).unwrap();
        Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    #[test]
    fn changed_files_are_taken_over_together_and_bad_ones_change_nothing() {
        let folder = std::env::temp_dir().join(format!("roomcast-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [at_certificate, at_key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
        let write = |certificate: &str, key: &str| {
            std::fs::write(&at_certificate, certificate).unwrap();
            std::fs::write(&at_key, key).unwrap();
        };
        let (first, second) = (pair(), pair());
        write(&first.certificate, &first.key);
        let mut options = ServerTls { enabled: true, ..ServerTls::default() };
        let read = |path: &std::path::Path| Pem::read(path.to_str().unwrap()).unwrap();
        (options.cert_pem, options.key_pem) = (Some(read(&at_certificate)), Some(read(&at_key)));
        let certificates = Certificates::new("external", &options).unwrap();
        let before = certificates.config();
        let is_as_before = || Arc::ptr_eq(&before, &certificates.config());
        assert_eq!(certificates.reload(false), Ok(false), "nothing has changed");

        write(&second.certificate, &first.key);
        let error = certificates.reload(false).unwrap_err();
        assert!(error.contains("`key_pem` is not the key"), "{error}");
        assert!(!error.contains("BEGIN"), "no key is said");
        assert!(is_as_before());
        assert_eq!(certificates.reload(false), Ok(false), "it was said");
        assert!(certificates.reload(true).is_err(), "to who asks");
        write("", "");
        assert!(certificates.reload(false).is_err());
        assert!(is_as_before());

        write(&second.certificate, &second.key);
        assert_eq!(certificates.reload(false), Ok(true));
        assert!(!is_as_before());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
