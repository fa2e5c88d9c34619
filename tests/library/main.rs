//! The embedded broker, by behaviour, through its public face only.
//!
//! `B1` to `B19` in names and comments number the bugs that other libraries of the kind have had.

mod accounting;
mod acknowledgement;
mod batches;
mod budget;
mod crash;
mod draining;
mod exclusive;
mod executors;
mod expiry;
mod handlers;
mod messages;
mod model;
mod order;
mod patterns;
mod payloads;
mod peers;
mod pinned;
mod policies;
mod polling;
mod property;
mod reads;
mod reentrant;
mod release;
mod resume;
mod rooms;
mod sets;
mod shards;
mod shutdown;
mod sink;
mod stress;
mod support;
mod texts;
mod timeouts;
mod traits;
mod waking;
mod yielding;
