//! What every load is made of, the lab's and those of `benches/`: connections that do not block, a poller that waits for all of
//! them, a checker of what each subscriber receives, and the start of a server to be measured.
//!
//! Whose turn it is, who comes and goes and when something is published is not decided here: that is a scenario of the lab
//! (`network`), or a workload of a bench.

mod connection;
mod delivery_checker;
mod poller;
mod server;

pub use self::connection::{Connection, OUT_BYTES_MAX};
pub use self::delivery_checker::{DeliveryChecker, Wrong};
pub use self::poller::{Events, Poller, Ready};
pub use self::server::{command_ending_with_us, free_address, wait_until_it_listens};
