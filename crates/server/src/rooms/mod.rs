//! The rooms of one server: publishing, the past, who is there, what may be seen, and when a room goes.
//!
//! It uses `config`, `session` for what it asks and is answered, `util` and the library. It is used by `delivery`, `client`, `net` and `db_tools`.

pub(crate) mod cluster;
#[cfg(test)]
mod contract;
pub(crate) mod delivery_options;
pub(crate) mod dormant;
pub(crate) mod emulation;
pub(crate) mod engine;
pub(crate) mod erasing;
pub(crate) mod expiry;
pub(crate) mod for_all;
pub(crate) mod handing_over;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod join_leave;
pub(crate) mod local;
pub(crate) mod memory;
pub(crate) mod parts;
pub(crate) mod presence;
pub(crate) mod removed;
pub(crate) mod ring_memory;
pub(crate) mod shard_commands;
pub(crate) mod stored;
mod tally;
pub(crate) mod terms;
pub(crate) mod users;
pub(crate) mod visible;
