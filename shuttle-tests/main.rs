//! Scenarios under random schedules: the shipped types, in sizes that loom cannot carry. Run by `make shuttle`.
//!
//! Each scenario runs under many schedules, half of them drawn evenly and half by probabilistic concurrency testing, which
//! goes deep with few switches. All of them assert the order of messages, the accounting rule and that each message is
//! dropped once; a wake-up that is lost leaves a thread asleep for ever, which shuttle reports. A failure prints its
//! schedule.

mod blocking;
mod closing;
mod exclusive;
mod handlers;
mod ledger;
mod parking;
mod publishing;
mod rewriting;
mod rooms;
mod support;
