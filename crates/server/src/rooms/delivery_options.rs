//! How a room is delivered.

use std::time::Duration;

use crate::config::SlowConsumer;

/// How a room is delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryOptions {
    /// How long messages may gather, to be written together.
    pub(crate) delay: Duration,
    pub(crate) slow_consumer: SlowConsumer,
    /// Whether the database has what the ring no longer has, or no longer shows.
    pub(crate) has_database: bool,
}
