//! How often the configuration was read again, and when it was taken over last.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Figures of the configuration. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reloads {
    reloads: Family<ResultLabel, Counter>,
    last_good: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Reloads {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let help = "Times that the configuration was read again, by whether it was taken over";
        registry.register("config_reloads", help, this.reloads.clone());
        let help = "When the configuration was taken over last, in seconds since 1970";
        registry.register_with_unit("config_last_reload_timestamp", help, Unit::Seconds, this.last_good.clone());
        this
    }

    /// The server has begun with a configuration.
    pub(crate) fn begun(&self, now_ms: u64) {
        self.last_good.set((now_ms / 1_000) as i64);
    }

    /// Counts one.
    pub(crate) fn count(&self, is_taken: bool, now_ms: u64) {
        if is_taken {
            self.begun(now_ms);
        }
        let result = if is_taken { "taken" } else { "refused" };
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }
}
