//! How much of anything a client may ask for at once.

/// The bounds that hold before anything is allocated for a client.
///
/// The defaults are Centrifugo's where it has one, so that a client moved here meets nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one frame from a client (default 64 KiB). A transport closes with 1009 beyond it, having allocated no
    /// more than this.
    pub frame_bytes_max: usize,
    /// Commands in one frame (default 1,024). A client that comes back sends its `connect` and a subscribe for each of its
    /// rooms in one frame, so this has to be more than `rooms_per_client_max`; a batch of publishes is bounded by the
    /// frame's bytes long before; the bound is for frames of `{}`.
    pub commands_per_frame_max: usize,
    /// Bytes in the name of a room (default 255); a longer one answers error 107.
    pub room_name_bytes_max: usize,
    /// Rooms one client may be in at a time (default 128); one more answers error 106.
    pub rooms_per_client_max: usize,
    /// Publications in one history reply (default 300). It bounds the memory of a reply to this many messages.
    pub history_publications_max: usize,
    /// Publications that one subscribe reply recovers (default 300); a client that missed more is told that it did. It
    /// bounds the memory of a reply likewise, for every room of every client that comes back after an outage.
    pub recovery_publications_max: usize,
    /// Characters of the name a client gives itself in development mode (default 64); the rest is cut off. It goes
    /// out with every message, so it has to be short.
    pub display_name_chars_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 64 * 1024,
            commands_per_frame_max: 1024,
            room_name_bytes_max: 255,
            rooms_per_client_max: 128,
            history_publications_max: 300,
            recovery_publications_max: 300,
            display_name_chars_max: 64,
        }
    }
}
