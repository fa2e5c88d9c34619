//! Clients: one connection on its thread, what its session wants done, and the shard that both belong to.
//!
//! It uses `callbacks`, `delivery`, `rooms`, `session` and `wire`. It is used by `net`.

mod asking;
mod backlog;
mod completions;
pub(crate) mod connection;
mod connection_table;
mod connection_task;
pub(crate) mod deferred;
pub(crate) mod driver;
mod hearing;
mod held;
mod listening;
mod making;
mod membership;
mod scratch;
pub(crate) mod shard;
mod takeover;
#[cfg(test)]
mod tests;
mod turn;
