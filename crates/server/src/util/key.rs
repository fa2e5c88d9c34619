//! Names of connections for those that know no connections.

/// Which connection of a shard; the number tells it from earlier ones in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionKey {
    pub(crate) slot: usize,
    pub(crate) number: u64,
}

/// Which connection of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionAddress {
    pub(crate) shard: usize,
    pub(crate) key: ConnectionKey,
}

impl ConnectionAddress {
    /// Before all others.
    pub(crate) const FIRST: Self = Self { shard: 0, key: ConnectionKey { slot: 0, number: 0 } };
}
