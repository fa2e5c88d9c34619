//! The shard executors: they run handlers, wake readers that are too many for a publisher, and drop old messages.

mod executor;
mod group;
mod thread;

pub(crate) use self::executor::Shard;
pub(crate) use self::thread::run_on_thread;
