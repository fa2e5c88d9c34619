//! What a client can say once it has connected.

/// How much of the protocol a client speaks; all of them connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Commands, and pongs among them.
    #[default]
    Commands,
    /// Nothing, but its transport answers pings.
    Pongs,
    /// Nothing at all.
    Nothing,
}
