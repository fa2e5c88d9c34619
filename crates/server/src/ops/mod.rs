//! What an operator sees and does: metrics, logs, the end, limits of the system.
//!
//! It uses `config`. It is used by everybody above `config`.

pub mod logging;
pub(crate) mod metrics;
mod reloads;
pub(crate) mod rlimit;
pub(crate) mod shutdown;
pub(crate) mod systemd;
pub(crate) mod tls_metrics;
