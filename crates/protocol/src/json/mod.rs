//! The protocol as JSON: snake_case names, payloads embedded raw, zero values left out, messages joined by newlines.

mod compact;
mod decode;
mod encode;
mod write;

pub use compact::compact;
pub(super) use compact::{compact_into, is_compact};
pub(super) use decode::{Commands, connect_alone};
pub(super) use encode::{PublicationEncoder, client_info, encode_bare_push, encode_push, encode_reply, encode_result};

#[cfg(test)]
mod tests;
