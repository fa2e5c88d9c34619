//! What is counted of TLS.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Whose port it is: `external` or `internal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    port: &'static str,
}

/// How a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    outcome: &'static str,
}

/// Handshakes and certificates. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsMetrics {
    handshakes: Family<EndLabel, Counter>,
    /// Those under way.
    pub(crate) under_way: Gauge,
    ends_at: Family<PortLabel, Gauge>,
    reload_failures: Family<PortLabel, Counter>,
    fetched: Family<EndLabel, Counter>,
}

impl TlsMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("tls_handshakes", "TLS handshakes, by how they ended", this.handshakes.clone());
        registry.register("tls_handshakes_under_way", "TLS handshakes that have not ended", this.under_way.clone());
        let help = "When the certificate in use is over, in seconds since 1970";
        registry.register("tls_certificate_ends_at_seconds", help, this.ends_at.clone());
        let help = "Times that changed files of a certificate could not be used";
        registry.register("tls_reload_failures", help, this.reload_failures.clone());
        let help = "Certificates that an authority was asked for, by what came of it";
        registry.register("tls_certificate_orders", help, this.fetched.clone());
        this
    }

    /// Counts a certificate that was asked for. `outcome` is `done` or `failed`.
    pub(crate) fn fetched(&self, outcome: &'static str) {
        self.fetched.get_or_create(&EndLabel { outcome }).inc();
    }

    /// Counts a handshake that ended. `outcome` is one of so many.
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.handshakes.get_or_create(&EndLabel { outcome }).inc();
    }

    /// Shows when a certificate is over.
    pub(crate) fn set_end(&self, port: &'static str, seconds: i64) {
        self.ends_at.get_or_create(&PortLabel { port }).set(seconds);
    }

    /// Counts files that cannot be used.
    pub(crate) fn not_reloaded(&self, port: &'static str) {
        self.reload_failures.get_or_create(&PortLabel { port }).inc();
    }
}
