//! Measures the roomcast server beside its rivals: the same workloads, on the same machine, in the same run.
//!
//! A `process` is a server of one of the `contenders`, on a core of its own. A `load` is a thread on the other core with
//! all the `client`s: it speaks every contender's `wire`, publishes `payload`s that prove themselves, and checks
//! what each member received. `workloads` says what is done and registers every measurement as a case; the `harness`
//! carries the cases out, each in a process of its own, and holds the figures against targets. `rivals` are the servers
//! of our own making.

pub mod cli;
pub mod client;
pub mod contenders;
mod count;
pub mod fault;
mod link;
pub mod load;
pub mod payload;
pub mod process;
mod rivals;
pub mod room;
pub mod wire;
mod workloads;
