//! Whether messages to clients by WebSocket are compressed, and from which size on.

use super::options::within;

/// `compression*` of `[websocket]` and `[uni_websocket]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// Whether clients that offer it have messages compressed, and may send them so. Default false: who has a text of their own in the
    /// same message as somebody's secret may guess that by how long both are together, and it takes processor time.
    pub enabled: bool,
    /// A message of fewer bytes goes as it is. Default 128: compressing a shorter one takes as long and spares next to nothing.
    pub min_size: usize,
    /// From 1, the fastest, to 9, the smallest. Default 1.
    pub level: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { enabled: false, min_size: 128, level: LEVELS[0] }
    }
}

/// Above, time is spent and next to nothing spared; 0 would compress nothing.
const LEVELS: [usize; 2] = [1, 9];
/// No more than this comes together in one message.
const MIN_SIZE_MAX: usize = u16::MAX as usize;

pub(super) const ABOUT_ENABLED: &str =
    "compress messages for clients that offer it (permessage-deflate), and take theirs";
pub(super) const ABOUT_MIN_SIZE: &str = "a message of fewer bytes goes as it is";
pub(super) const ABOUT_LEVEL: &str = "1 is the fastest, 9 the smallest";

pub(super) fn is_min_size(bytes: &usize) -> Result<(), String> {
    within(bytes, &0, &MIN_SIZE_MAX)
}

pub(super) fn is_level(level: &usize) -> Result<(), String> {
    within(level, &LEVELS[0], &LEVELS[1])
}
