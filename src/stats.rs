//! Figures about a broker.

/// Figures about a broker; each is true of some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerStats {
    /// Rooms there are.
    pub rooms: u64,
    /// One entry per shard.
    pub shards: Vec<ShardStats>,
}

/// Figures about one shard since the broker was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStats {
    /// Rooms that have their home here.
    pub rooms: u32,
    /// Rooms in which it serves handlers now.
    pub rooms_served: u32,
    /// Handlers it serves now.
    pub handlers: u32,
    /// Joins, leaves and other actions served.
    pub actions: u64,
    /// Times it was woken from sleep.
    pub wakes: u64,
    /// Turns in which it ran the handlers of a room.
    pub handler_runs: u64,
    /// Messages it handed to handlers, each counted once per handler.
    pub deliveries: u64,
    /// Handlers that panicked and were removed.
    pub panics: u64,
}
