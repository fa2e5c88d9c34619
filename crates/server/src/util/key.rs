//! Names of connections for those that know no connections.

/// Which connection of a shard; the number tells it from earlier ones in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionKey {
    pub(crate) slot: usize,
    pub(crate) number: u64,
}
