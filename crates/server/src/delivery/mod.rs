//! Who is given what, and when: messages of rooms on their way to the members of one shard.
//!
//! It uses `rooms`, `wire` and `config`. It is used by `client`.

pub(crate) mod feed;
pub(crate) mod lag;
pub(crate) mod sink;
pub(crate) mod turns;

#[cfg(test)]
mod tests;
