//! Permanent storage: what is promised of it, over every store there is, and what happens when a store does not do its part.

mod crash;
#[path = "../soak/dice.rs"]
mod dice;
#[path = "../disk/mod.rs"]
mod failing_disk;
mod faulty;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
#[path = "../postgres/mod.rs"]
mod postgres_process;
mod power;
mod sqlite;
mod suite;
mod support;

use cap::Cap;

#[global_allocator]
static HEAP: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);
