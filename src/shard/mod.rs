//! The shard executors: they run handlers, wake readers that are too many for a publisher, and drop old messages.

mod executor;
mod group;

pub(crate) use self::executor::{Shard, run_on_thread};
